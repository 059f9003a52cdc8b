"""What a hostile worker says first, and how it cuts what it hears into frames.

Runs in: both

Hearing goes by the headers alone, and decodes what is looked at only: there is much to hear.
"""

from __future__ import annotations

import struct
from typing import Any, Final, final

import attrs
import msgpack

from ...wire._generated import AbortCode, Kind
from ..frames import HEADER, frame, kind_name, pack

__all__ = [
    "CAPABILITIES",
    "HANDLES",
    "HEADER",
    "MAX_NOISE",
    "Frame",
    "Splitter",
    "frame",
    "hello",
    "kind_name",
    "pack",
]

#: A primary under test announces to send nothing larger; more than that is not a frame but noise.
MAX_NOISE: Final = 1 << 26

CAPABILITIES: Final = (
    "ack", "call", "frag", "handle", "handle.ack", "handle.head", "handle.send",
    "listen.handoff", "listen.shared", "log", "monitor", "msg",
)  # fmt: skip
HANDLES: Final = (
    "tcp-socket", "tcp-listener", "udp-socket", "unix-stream", "unix-listener",
    "pipe-read", "pipe-write", "file", "memfd",
)  # fmt: skip

_HEAD: Final = struct.Struct(">BBIBBBBBBI")


def hello(
    caps: tuple[str, ...] = CAPABILITIES, limits: dict[str, int] | None = None, **more: Any
) -> bytes:
    """Introduce a worker that can everything, where nothing else is said."""
    said = {"versions": [[1, 0]], "caps": caps, "limits": limits or {}, "handles": HANDLES, **more}
    return frame(Kind.HELLO, None, said)


@final
@attrs.frozen
class Frame:
    """What somebody has said.

    Attributes:
        raw: all of it.
    """

    kind: int
    flags: int
    nfds: int
    channel: int
    body: bytes
    raw: bytes

    def decoded(self) -> tuple[Any, Any]:
        """Envelope and payload.

        Raises:
            ValueError: the body does not hold two values.
        """
        unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=MAX_NOISE)
        unpacker.feed(self.body)
        try:
            return unpacker.unpack(), unpacker.unpack()
        except (msgpack.UnpackException, ValueError, RecursionError) as exc:
            raise ValueError(f"{kind_name(self.kind)} with a broken body: {exc!r}") from None

    @property
    def payload(self) -> Any:
        """Its payload."""
        return self.decoded()[1]

    @property
    def elements(self) -> list[Any]:
        """The elements of its envelope, none if that is no array."""
        envelope = self.decoded()[0]
        return envelope if isinstance(envelope, list) else []

    def abort_name(self) -> str:
        """The code of an ABORT, by name where it has one."""
        payload = self.payload
        code = payload.get("code") if isinstance(payload, dict) else None
        known = {int(one): one.name.lower() for one in AbortCode}
        return known.get(code, str(code)) if isinstance(code, int) else repr(code)

    def __str__(self) -> str:
        return f"{kind_name(self.kind)} on channel {self.channel}, {len(self.body)} bytes"


@final
class Splitter:
    """Cuts what arrives into frames.

    Attributes:
        count: bytes so far.
    """

    def __init__(self) -> None:
        self._begun = bytearray()
        self.count = 0

    def feed(self, data: bytes) -> list[Frame]:
        """Give the frames that this completes.

        Raises:
            ValueError: these are no frames.
        """
        self._begun += data
        self.count += len(data)
        frames = []
        at = 0
        while len(self._begun) - at >= HEADER:
            head = _HEAD.unpack_from(self._begun, at)
            if (head[0], head[1], head[3], head[8]) != (0x95, 0xCE, 0xCE, 0xCE):
                raise ValueError(f"no frame: {self._begun[at : at + HEADER].hex()}")
            end = at + HEADER + head[2]
            if head[2] > MAX_NOISE:
                raise ValueError(f"a frame of {head[2]} bytes")
            if len(self._begun) < end:
                break
            raw = bytes(self._begun[at:end])
            frames.append(Frame(head[4], head[5], head[6], head[9], raw[HEADER:], raw))
            at = end
        del self._begun[:at]
        return frames

    def missing(self) -> int:
        """How many bytes the frame that has begun still needs, at least; 0: none has."""
        if not self._begun:
            return 0
        if len(self._begun) < HEADER:
            return HEADER - len(self._begun)
        return HEADER + int.from_bytes(self._begun[2:6], "big") - len(self._begun)
