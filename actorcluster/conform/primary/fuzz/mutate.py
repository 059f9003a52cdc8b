"""Wrong in ways that matter: changes of frames that know how frames and values are made.

Runs in: both

Everything is drawn from one source of chance, so that the same seed gives the same bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Final, final

import attrs
import msgpack

from ....wire._generated import KINDS
from ...frames import HEADER, pack

__all__ = ["Mutator", "Piece", "Raw"]

_KINDS: Final = (*KINDS, 0x00, 0x60, 0x80, 0xC0, 0xF0, 0xFE, 0xFF)
#: Of other languages' integers, and one to either side.
_EDGES: Final = tuple(
    edge + more
    for edge in (0, 1 << 7, 1 << 8, 1 << 15, 1 << 16, 1 << 20, 1 << 31, 1 << 32, 1 << 53, 1 << 63)
    for more in (-1, 0, 1)
)
_MOST: Final = (1 << 64) - 1


@final
@attrs.frozen
class Raw:
    """What stands for a value, and need not be one."""

    data: bytes


@final
@attrs.frozen
class Piece:
    """What is written at once.

    Attributes:
        fds: how many descriptors go with it.
    """

    data: bytes
    fds: int = 0


#: Encoded values that are strange in some way, most of them legal.
_STRANGE: Final = tuple(
    bytes.fromhex(text)
    for text in """
    c0 c1 c2 c3 00 7f e0 ff cc00 cdffff ceffffffff cfffffffffffffffff d080 d38000000000000000
    ca7fc00000 cb7ff0000000000000 cbfff8000000000000 cb4059000000000000 a0 a1ff a2c328 a3eda080
    d900 d9ff da0000 dbffffffff c400 c6ffffffff 90 9190 dc0000 dcffff ddffffffff 80 81c0c0 8101c0
    82a161c0a161c0 de0000 dfffffffff d40100 d401ff c70301919101 c7020291c0 c7040292cf00 d4ff00
    d6ff00000000 d7ff0000000000000000 c70cff3b9ac9ff7fffffffffffffff c7006300 d42a00
    """.split()
)


def encode(value: Any) -> bytes:
    """Encode a value in which there may be some that are none."""
    if isinstance(value, Raw):
        return value.data
    if isinstance(value, list):
        return _head(len(value), 0x90, 0xDC) + b"".join(map(encode, value))
    if isinstance(value, dict):
        pairs = [encode(key) + encode(item) for key, item in value.items()]
        return _head(len(value), 0x80, 0xDE) + b"".join(pairs)
    return pack(value)


def _head(count: int, small: int, large: int) -> bytes:
    if count < 16:
        return bytes((small | count,))
    return bytes((large,)) + count.to_bytes(2, "big")


@final
class Mutator:
    """Changes things.

    Args:
        chance: where all decisions come from.
        limits: of the primary; what matters is just beside them.
        tame: takes out of a frame what would do harm elsewhere.
    """

    def __init__(
        self, chance: random.Random, limits: dict[str, int], tame: Callable[[Piece], Piece]
    ) -> None:
        self._chance = chance
        self._limits = limits
        self._tame = tame

    # ---- values ---------------------------------------------------------------------------

    def strange(self) -> Any:
        """Give some value."""
        chance = self._chance
        makers: Sequence[Callable[[], Any]] = (
            lambda: Raw(chance.choice(_STRANGE)),
            lambda: chance.choice(_EDGES),
            lambda: _MOST - chance.randrange(3),
            lambda: -chance.choice(_EDGES[:28]),
            lambda: "x" * chance.choice((0, 1, 31, 32, 255, 256, 5000)),
            lambda: bytes(chance.choice((0, 1, 255, 256, 9000))),
            lambda: Raw(b"\x91" * chance.choice((10, 60, 63, 64, 65, 66, 100, 1000)) + b"\xc0"),
            lambda: Raw(b"\x81\xa1k" * chance.choice((10, 63, 64, 65, 66, 500)) + b"\xc0"),
            lambda: [None] * chance.choice((1, 5, 100)),
            lambda: {"x-key": chance.random(), "grease.1": [1]},
            lambda: Raw(chance.randbytes(chance.randrange(1, 20))),
            lambda: chance.choice((True, False, None, 1.5, float("inf"), "primary", "db")),
        )
        return chance.choice(makers)()

    def value(self, value: Any) -> Any:
        """Change something in a value."""
        chance = self._chance
        if isinstance(value, list) and value and chance.random() < 0.8:
            return self._list(list(value))
        if isinstance(value, dict) and value and chance.random() < 0.8:
            return self._map(dict(value))
        if type(value) is int and chance.random() < 0.5:
            return max(-(1 << 63), min(value + chance.choice((-1, 1, 2, 256)), _MOST))
        return self.strange()

    def _list(self, items: list[Any]) -> Any:
        chance = self._chance
        at = chance.randrange(len(items))
        what = chance.randrange(6)
        if what == 0:
            del items[at]
        elif what == 1:
            items.insert(at, self.strange())
        elif what == 2:
            items.append(self.strange())
        else:
            items[at] = self.value(items[at])
        return items

    def _map(self, items: dict[Any, Any]) -> Any:
        chance = self._chance
        key = chance.choice(list(items))
        what = chance.randrange(6)
        if what == 0:
            del items[key]
        elif what == 1:
            items[chance.choice(("x-key", "", "k" * 300, "find", "room", "ttl"))] = self.strange()
        elif what == 2:
            pairs = b"".join(encode(k) + encode(v) for k, v in items.items())
            return Raw(_head(len(items) + 1, 0x80, 0xDE) + pairs + encode(key) + encode(items[key]))
        else:
            items[key] = self.value(items[key])
        return items

    # ---- frames ---------------------------------------------------------------------------

    def frame(self, data: bytes) -> bytes:
        """Change a frame somehow."""
        if len(data) < HEADER:
            return self._bit(data)
        return self._chance.choice(_OF_FRAMES)(self, data)

    def _header_field(self, data: bytes) -> bytes:
        """Another kind, flags, nfds or channel."""
        chance, new = self._chance, bytearray(data)
        what = chance.randrange(5)
        if what == 0:
            new[7] = chance.choice(_KINDS)
        elif what == 1:
            new[8] = chance.choice((0x01, 0x02, 0x03, 0x80, 0xFF, 0x08))
        elif what == 2:
            most = self._limits["max_fds"]
            new[9] = min(255, chance.choice((0, 1, 2, most, most + 1, 255)))
        else:
            channel = int.from_bytes(data[12:16], "big")
            other = chance.choice((0, 1, 2, channel + 1, channel ^ 1, channel + 2, (1 << 32) - 1))
            new[12:16] = (other & 0xFFFFFFFF).to_bytes(4, "big")
        return bytes(new)

    def _length(self, data: bytes) -> bytes:
        """Another length, while the body stays."""
        most = self._limits["max_frame"]
        real = len(data) - HEADER
        lengths = (real - 1, real + 1, 0, most, most + 1, 1 << 31, (1 << 32) - 1)
        length = max(0, self._chance.choice(lengths))
        return data[:2] + length.to_bytes(4, "big") + data[6:]

    def _bit(self, data: bytes) -> bytes:
        """Another bit, anywhere."""
        new = bytearray(data)
        new[self._chance.randrange(len(new))] ^= 1 << self._chance.randrange(8)
        return bytes(new)

    def _body_bytes(self, data: bytes) -> bytes:
        """Bytes of the body changed, added or cut off, under a right length."""
        chance, body = self._chance, bytearray(data[HEADER:])
        at = chance.randrange(len(body) + 1)
        what = chance.randrange(4)
        if what == 0:
            del body[at:]
        elif what == 1:
            body[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif what == 2:
            body[at : at + 1] = chance.choice(_STRANGE)
        else:
            body += chance.choice(_STRANGE)
        return self._rebuilt(data, bytes(body))

    def _body_values(self, data: bytes) -> bytes:
        """Something else in the envelope or the payload."""
        unpacker = msgpack.Unpacker(strict_map_key=False)
        unpacker.feed(data[HEADER:])
        try:
            envelope, payload = unpacker.unpack(), unpacker.unpack()
        except (msgpack.UnpackException, ValueError, TypeError, RecursionError):
            return self._body_bytes(data)
        try:
            for _ in range(self._chance.randrange(1, 4)):
                if self._chance.random() < 0.5:
                    envelope = self.value(envelope)
                else:
                    payload = self.value(payload)
            return self._rebuilt(data, encode(envelope) + encode(payload))
        except (ValueError, OverflowError, TypeError, RecursionError):  # too deep, say
            return self._body_bytes(data)

    def _size(self, data: bytes) -> bytes:
        """As large as a limit, or one byte more or less."""
        limits, chance = self._limits, self._chance
        envelope = b"\x91\xc0"
        which = chance.choice(("max_frame", "max_message", "max_meta", "window"))
        size = limits[which] + chance.choice((-1, 0, 1))
        if which == "max_meta":
            body = b"\x94\xc0\xc0\xc0\x81\xa3x-y\xda" + (n := max(0, size - 13)).to_bytes(2, "big")
            return self._rebuilt(data, body + b"y" * min(n, 65535) + b"\xc0")
        if which == "max_frame":
            size -= len(envelope)
        if size > limits["max_frame"] + 1:
            return data
        body = envelope + b"\xc6" + (size - 5).to_bytes(4, "big") + bytes(size - 5)
        return self._rebuilt(data, body)

    def _none(self, data: bytes) -> bytes:
        return data

    @staticmethod
    def _rebuilt(data: bytes, body: bytes) -> bytes:
        return data[:2] + len(body).to_bytes(4, "big") + data[6:HEADER] + body

    # ---- bursts ---------------------------------------------------------------------------

    def burst(self, frames: list[Piece]) -> list[Piece]:
        """Change a sequence of frames, and how it is cut."""
        chance = self._chance
        frames = list(frames)
        for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3, 5))):
            at = chance.randrange(len(frames))
            what = chance.randrange(12)
            if what == 0:
                frames.insert(at, frames[at])
            elif what == 1 and len(frames) > 1:
                del frames[at]
            elif what == 2:
                frames.append(frames.pop(at))
            elif what == 3:
                frames[at] = Piece(frames[at].data, chance.choice((0, 0, 1, 2, 3)))
            else:
                frames[at] = Piece(self.frame(frames[at].data), frames[at].fds)
        frames = [self._tame(piece) for piece in frames if piece.data]
        return self._cut(frames) if frames else [Piece(b"\0")]

    def _cut(self, frames: list[Piece]) -> list[Piece]:
        """Cut differently from how frames end."""
        chance = self._chance
        way = chance.randrange(4)
        if way == 0:
            return frames
        pieces: list[Piece] = []
        for piece in frames:
            joins = bool(pieces) and not piece.fds
            if way == 1 and joins and len(pieces[-1].data) < 1 << 17:
                pieces[-1] = Piece(pieces[-1].data + piece.data, pieces[-1].fds)
            elif way == 2 and 1 < len(piece.data) < 400:
                at = chance.randrange(1, len(piece.data))
                pieces += [Piece(piece.data[:at], piece.fds), Piece(piece.data[at:])]
            elif way == 3 and len(piece.data) < 80:
                pieces += [Piece(piece.data[:1], piece.fds)]
                pieces += [Piece(piece.data[i : i + 1]) for i in range(1, len(piece.data))]
            else:
                pieces.append(piece)
        return pieces


_OF_FRAMES: Final[tuple[Callable[[Mutator, bytes], bytes], ...]] = (
    Mutator._header_field,
    Mutator._header_field,
    Mutator._length,
    Mutator._bit,
    Mutator._bit,
    Mutator._body_bytes,
    Mutator._body_values,
    Mutator._body_values,
    Mutator._body_values,
    Mutator._body_values,
    Mutator._size,
    Mutator._none,
)
