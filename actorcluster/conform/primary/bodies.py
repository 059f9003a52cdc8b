"""Bodies read by hand: where their two objects end, and whether they keep the value profile.

Runs in: both
"""

from __future__ import annotations

from typing import Any, Final, final

import attrs

from ..frames import unpack_all

__all__ = ["Body", "read_body"]

#: For each first byte with a length behind it: bytes of that, and fixed bytes behind that.
_SIZED: Final = {
    **{0xC4 + i: (1 << i, 0) for i in range(3)},  # bin
    **{0xC7 + i: (1 << i, 1) for i in range(3)},  # ext, and its type
    **{0xD9 + i: (1 << i, 0) for i in range(3)},  # str
}
_FIXED: Final = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
_NESTS: Final = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
#: Nesting that everybody takes, and that nobody does.
_FINE, _DEEP = 60, 70
_EXTENSIONS: Final = frozenset({0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8})


@final
@attrs.frozen
class Body:
    """An envelope and a payload, or what stands in their place.

    Attributes:
        size: bytes.
        end: where the second object ends, one behind `size` if it is incomplete; None: no telling.
        is_broken: it certainly breaks the value profile.
        is_doubtful: it may break it.
        envelope_size: bytes of the first object.
    """

    size: int
    end: int | None
    is_broken: bool = False
    is_doubtful: bool = False
    envelope: Any = None
    payload: Any = None
    envelope_size: int = 0

    def element(self, index: int) -> Any:
        """An element of the envelope; None where there is none."""
        envelope = self.envelope
        if isinstance(envelope, list) and index < len(envelope):
            return envelope[index]
        return None if isinstance(envelope, list) or envelope is None else _Wrong()


class _Wrong:
    """In place of an element of what is no array."""


@final
class _Unclear(Exception):
    """A byte that msgpack does not know: no telling where anything ends."""


@final
class _Scan:
    """Walks over objects without making any."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.depth = 0
        self.has_extensions = False

    def skip(self) -> None:
        """Go behind the next object.

        Raises:
            IndexError: it is incomplete.
            _Unclear: it holds what is unknown.
        """
        left = [1]
        while left:
            if not left[-1]:
                left.pop()
                continue
            left[-1] -= 1
            children = self._one()
            if children is not None:
                left.append(children)
                self.depth = max(self.depth, len(left) - 1)
        if self.at > len(self.data):
            raise IndexError

    def _one(self) -> int | None:
        """Go behind one head and its bytes; returns how many objects it holds, None for a leaf."""
        byte = self.data[self.at]
        self.at += 1
        self.has_extensions |= byte in _EXTENSIONS
        if byte < 0x80 or byte >= 0xE0:
            return None
        if byte < 0x90:
            return 2 * (byte & 15)
        if byte < 0xA0:
            return byte & 15
        if byte < 0xC0:
            self.at += byte & 31
        elif byte in _FIXED:
            self.at += _FIXED[byte]
        elif byte in _SIZED:
            width, more = _SIZED[byte]
            length = self._number(width)
            self.at += length + more
        elif byte in _NESTS:
            count = self._number(_NESTS[byte])
            return count * (2 if byte >= 0xDE else 1)
        else:
            raise _Unclear
        return None

    def _number(self, width: int) -> int:
        if self.at + width > len(self.data):
            raise IndexError
        number = int.from_bytes(self.data[self.at : self.at + width], "big")
        self.at += width
        return number


def read_body(data: bytes) -> Body:
    """Read what is there."""
    scan = _Scan(data)
    size = len(data)
    try:
        scan.skip()
        envelope_size = scan.at
        scan.skip()
    except IndexError:
        return Body(size, size + 1, is_doubtful=True)
    except _Unclear:
        return Body(size, None, is_doubtful=True)
    if scan.at != size:
        return Body(size, scan.at, is_doubtful=True)
    if scan.depth > _FINE:
        is_broken = scan.depth > _DEEP
        return Body(size, size, is_broken, not is_broken, envelope_size=envelope_size)
    try:
        envelope, payload = unpack_all(data)
    except ValueError:
        # A timestamp that cannot be is nobody's fault for certain.
        broken = not scan.has_extensions
        return Body(size, size, broken, not broken, envelope_size=envelope_size)
    return Body(size, size, False, scan.has_extensions, envelope, payload, envelope_size)
