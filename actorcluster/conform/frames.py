"""Frames as the kit writes and reads them: by hand, able to lie, and strict with others.

Runs in: both

Written from the specification, and not with the library's `wire.frames`: the judge must not share
the faults of what it judges. `frame` writes whatever it is told to. `Cutter` reads what a worker
wrote and notes each departure from the form that a *sender* has to keep, which a receiver would
mostly forgive.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

import attrs
import msgpack

from .._counted import counted
from ..wire._generated import FLAG_FRAG, FLAG_LANE, FLAG_MORE, FLAG_OPTIONAL, KINDS, Kind

__all__ = [
    "HEADER",
    "Cutter",
    "Fault",
    "Heard",
    "Marker",
    "frame",
    "kind_name",
    "pack",
    "unpack_all",
]

HEADER: Final = 16
_HEAD: Final = struct.Struct(">BBIBBBBBBI")
_KNOWN_FLAGS: Final = FLAG_MORE | FLAG_FRAG | FLAG_OPTIONAL
_OPAQUE: Final = (Kind.PING, Kind.PONG)
_NUMBER_AT: Final = 9


def pack(value: Any) -> bytes:
    """Encode one value."""
    data: bytes = msgpack.packb(value, use_bin_type=True)
    return data


def frame(
    kind: int,
    envelope: Any = None,
    payload: Any = None,
    *,
    channel: int = 0,
    flags: int = 0,
    nfds: int = 0,
    body: bytes | None = None,
    length: int | None = None,
    reserved: int = 0,
) -> bytes:
    """Write a frame, true or not.

    Args:
        kind: its code.
        envelope: to be encoded.
        payload: to be encoded.
        channel: of the header; so are `flags`, `nfds`, and `reserved`, its byte 10.
        body: in place of envelope and payload.
        length: in place of the body's.
    """
    if body is None:
        body = pack(envelope) + pack(payload)
    size = len(body) if length is None else length
    head = _HEAD.pack(0x95, 0xCE, size, 0xCE, kind, flags, nfds, reserved, 0xCE, channel)
    return head + body


def kind_name(code: int) -> str:
    """Give the name in the registry, or the number for what is not there."""
    return KINDS[code].name if code in KINDS else f"0x{code:02x}"


@attrs.frozen
class Fault:
    """A departure from what a sentence of the specification demands."""

    requirement: str
    text: str


@attrs.frozen
class Heard:
    """A frame that the worker sent.

    Attributes:
        kind: and the other numbers are those of its header.
        body: as it came.
        fds: descriptors of the group that came for it.
        faults: of its form.
        at: seconds since the case began.
        order: counts the frames of the connection from 0.
    """

    kind: int
    flags: int
    nfds: int
    channel: int
    body: bytes
    envelope: Any
    payload: Any
    fds: tuple[int, ...] = ()
    faults: tuple[Fault, ...] = ()
    at: float = 0.0
    order: int = 0
    raw: bytes = b""

    @property
    def name(self) -> str:
        """Its kind in words."""
        return kind_name(self.kind)

    def item(self, index: int) -> Any:
        """Give an element of the envelope; None where it ends before that."""
        envelope = self.envelope
        if not isinstance(envelope, list) or index >= len(envelope):
            return None
        return envelope[index]

    def field(self, key: str) -> Any:
        """Give what a map as the payload says under that key."""
        return self.payload.get(key) if isinstance(self.payload, dict) else None

    def __str__(self) -> str:
        where = f" on {self.channel}" if self.channel else ""
        if self.kind in _OPAQUE:
            return f"{self.name}{where} {self.body.hex()[:80]}"
        said = f"{self.envelope!r:.200} {self.payload!r:.200}"
        return f"{self.name}{where} {said}"


def unpack_all(data: bytes) -> list[Any]:
    """Decode values that follow each other.

    Raises:
        ValueError: what is there is not msgpack within the value profile, or is cut off.
    """
    unpacker = msgpack.Unpacker(
        raw=False,
        strict_map_key=False,
        object_pairs_hook=_checked_map,
        max_buffer_size=0,
    )
    unpacker.feed(data)
    values = []
    end = 0
    try:
        while end < len(data):
            values.append(unpacker.unpack())
            end = unpacker.tell()
    except msgpack.OutOfData:
        raise ValueError("it is cut off") from None
    except (msgpack.UnpackException, ValueError, TypeError) as exc:
        raise ValueError(f"{type(exc).__name__}: {exc}") from exc
    return values


def _checked_map(pairs: Sequence[tuple[Any, Any]]) -> dict[str, Any]:
    values = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError(f"map key {key!r} is not a str")  # noqa: TRY004  (one kind of fault)
        if key in values:
            raise ValueError(f"map key {key!r} is there twice")
        values[key] = value
    return values


class Dealer(Protocol):
    """A way of handles beside the bytes: `lane.Lane`."""

    def take(self, count: int) -> tuple[int, ...] | None:
        """Give the handles of the next frame; None: they are not here."""

    def take_faults(self) -> list[Fault]:
        """Give what was wrong with how they came."""


class Cutter:
    """Cuts what a worker wrote into frames, and deals descriptors to them.

    Args:
        lane: by which they come; None: beside the bytes.
    """

    def __init__(self, lane: Dealer | None = None) -> None:
        self._lane = lane
        self._data = bytearray()
        self._groups: deque[tuple[int, ...]] = deque()
        self._count = 0
        self.broken: Fault | None = None

    @property
    def unfinished(self) -> int:
        """How many bytes of a frame that is not complete are here."""
        return len(self._data)

    def add_group(self, fds: Sequence[int]) -> None:
        """Descriptors came with a read."""
        self._groups.append(tuple(fds))

    def take_groups(self) -> list[int]:
        """Give the descriptors that no frame has claimed."""
        left = [fd for group in self._groups for fd in group]
        self._groups.clear()
        return left

    def feed(self, data: bytes, at: float) -> list[Heard]:
        """Take bytes; gives the frames that they complete. After `broken` nothing comes."""
        self._data += data
        frames: list[Heard] = []
        while self.broken is None and len(self._data) >= HEADER:
            heard = self._next(at)
            if heard is None:
                break
            frames.append(heard)
        return frames

    def _next(self, at: float) -> Heard | None:
        parts = _HEAD.unpack_from(self._data)
        signature = (parts[0], parts[1], parts[3], parts[8])
        if signature != (0x95, 0xCE, 0xCE, 0xCE):
            text = f"no frame begins with {bytes(self._data[:HEADER]).hex(' ')}"
            self.broken = Fault("AWP-FR-1", text)
            return None
        length, kind, flags, nfds, reserved, channel = parts[2], *parts[4:8], parts[9]
        end = HEADER + length
        if len(self._data) < end:
            return None
        fds = self._deal(nfds, flags) if nfds else ()
        if fds is None:
            return None
        raw = bytes(self._data[:end])
        del self._data[:end]
        faults = _header_faults(kind, flags, reserved, self._lane is not None)
        envelope, payload = None, None
        if kind not in _OPAQUE:
            envelope, payload, fault = _decode(raw[HEADER:])
            faults += [fault] if fault else []
        if nfds:
            faults += self._descriptor_faults(kind, flags, nfds, len(fds))
        heard = Heard(
            kind, flags, nfds, channel, raw[HEADER:], envelope, payload,
            fds, tuple(faults), at, self._count, raw,
        )  # fmt: skip
        self._count += 1
        return heard

    def _deal(self, nfds: int, flags: int) -> tuple[int, ...] | None:
        """Give the descriptors of a frame; None: they are on their way."""
        if self._lane is None:
            return self._groups.popleft() if self._groups else ()
        return self._lane.take(nfds) if flags & FLAG_LANE else ()

    def _descriptor_faults(self, kind: int, flags: int, nfds: int, came: int) -> list[Fault]:
        text = f"{kind_name(kind)} declares {counted(nfds, 'descriptor')}, {came} came for it"
        if self._lane is None:
            return [] if came == nfds else [Fault("AWP-FD-1", text)]
        faults = self._lane.take_faults()
        if not flags & FLAG_LANE:
            faults.append(Fault("AWP-LN-1", f"{kind_name(kind)} has handles, and no LANE"))
        elif came != nfds:
            faults.append(Fault("AWP-LN-2", text))
        return faults


class Marker:
    """Sets the flag LANE in the headers of a stream whose frames have handles."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0  # bytes of a body

    def marked(self, data: bytes) -> bytes:
        """Give the next piece of the stream; a header cut just before `nfds` stays as it is."""
        marked = bytearray(data)
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            begin = at - len(self._head)
            step = min(HEADER - len(self._head), len(data) - at)
            self._head += data[at : at + step]
            at += step
            number = begin + _NUMBER_AT
            if 0 < number < len(data) and data[number] and self._head[:2] == b"\x95\xce":
                marked[number - 1] |= FLAG_LANE
            if len(self._head) == HEADER:
                self._left = _HEAD.unpack(self._head)[2]
                self._head.clear()
        return bytes(marked)


def _header_faults(kind: int, flags: int, reserved: int, has_lane: bool) -> list[Fault]:
    faults = []
    known = _KNOWN_FLAGS | (FLAG_LANE if has_lane else 0)
    if reserved:
        faults.append(Fault("AWP-FR-1", f"byte 10 of {kind_name(kind)} is {reserved:#04x}"))
    if flags & ~known:
        faults.append(Fault("AWP-FR-8", f"{kind_name(kind)} has the flags {flags:#04x}"))
    return faults


def _decode(body: bytes) -> tuple[Any, Any, Fault | None]:
    try:
        values = unpack_all(body)
    except ValueError as exc:
        return None, None, Fault("AWP-FR-2", f"a body of {len(body)} bytes: {exc}")
    if len(values) != 2:
        text = f"a body of {len(body)} bytes holds {len(values)} objects"
        return None, None, Fault("AWP-FR-2", text)
    return values[0], values[1], None
