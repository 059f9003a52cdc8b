"""Values: msgpack within the profile of SPEC.md, section 5.

A body is two msgpack objects, envelope and payload. What is wrong with one that cannot be read
decides what becomes of the connection, so there are two errors: `BadBody` spoils one message,
`BadLength` means that `length` of the header is not the size of the body.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgpack

from .awp_v1 import Ext
from .handles import Handle

NIL = b"\xc0"
_NO_LIMIT = 2**32 - 1


class BadBody(Exception):
    """No msgpack, or outside of the profile."""


class BadLength(Exception):
    """The objects end before the body does, or would end behind it."""


def pack(value: object, handles: list[Handle] | None = None) -> bytes:
    """Encode a value.

    A `Handle` becomes a reference into `handles`, to which it is appended if it is not there.

    Raises:
        ValueError: the value is outside of the profile.
    """

    def extend(other: object) -> msgpack.ExtType:
        if isinstance(other, Handle) and handles is not None:
            if not any(one is other for one in handles):
                handles.append(other)
            place = next(at for at, one in enumerate(handles) if one is other)
            return msgpack.ExtType(Ext.HANDLE, bytes([place]))
        raise TypeError(f"no message can hold a {type(other).__name__}")

    _check_keys(value)
    encoded: bytes = msgpack.packb(value, default=extend)
    return encoded


def _check_keys(value: object) -> None:
    for _ in levels(value):
        pass


def levels(value: object) -> Sequence[int]:
    """One element for each level of arrays and maps in a value, looking at every key.

    Raises:
        ValueError: a key is not a str.
    """
    found: list[int] = []
    level = [value]
    while level:
        below: list[object] = []
        containers = 0
        for one in level:
            if isinstance(one, dict):
                if not all(isinstance(key, str) for key in one):
                    raise ValueError("a map in a message has str for keys")
                containers += 1
                below += one.values()
            elif isinstance(one, (list, tuple)) and not isinstance(one, msgpack.ExtType):
                containers += 1
                below += one
        if containers:
            found.append(containers)
        level = below
    return found


def _pairs(pairs: list[tuple[object, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError("a map's key is no str")  # noqa: TRY004 - as msgpack's own errors
        if key in found:
            raise ValueError("a map has a key twice")
        found[key] = value
    return found


class Decoder:
    """Takes one object after the other from a body that is to have so many.

    Attributes:
        handles: what handle references in the next objects may point to.
        end: where the last object ended.
    """

    def __init__(self, body: bytes, max_depth: int, objects: int = 2) -> None:
        self.handles: Sequence[Handle] = ()
        self.end = 0
        self._body = body
        self._max_depth = max_depth
        self._objects = objects
        size = max(len(body), 1)
        self._unpacker = msgpack.Unpacker(
            raw=False,
            strict_map_key=False,
            object_pairs_hook=_pairs,
            ext_hook=self._extension,
            max_buffer_size=size,
        )
        self._unpacker.feed(body)

    def take(self) -> object:
        """The next object.

        Raises:
            BadBody: it is outside of the profile.
            BadLength: the objects do not end where the body does.
        """
        try:
            value: object = self._unpacker.unpack()
            deep = len(levels(value)) > self._max_depth
        except (ValueError, TypeError, msgpack.UnpackException) as error:
            _check_length(self._body, self._objects)
            raise BadBody(str(error)) from error
        if deep:
            _check_length(self._body, self._objects)
            raise BadBody(f"more than {self._max_depth} levels")
        self.end = self._unpacker.tell()
        return value

    def finish(self) -> None:
        """Nothing may be left.

        Raises:
            BadLength: there is.
        """
        if self.end != len(self._body):
            raise BadLength(f"{len(self._body) - self.end} bytes behind the last object")

    def _extension(self, code: int, data: bytes) -> object:
        if code == Ext.HANDLE:
            if len(data) != 1 or data[0] >= len(self.handles):
                raise ValueError("a reference to a handle that is not there")
            return self.handles[data[0]]
        if code == Ext.REF:
            _check_reference(data)
        return msgpack.ExtType(code, data)


def _check_reference(data: bytes) -> None:
    value = msgpack.unpackb(data, strict_map_key=False)
    fits = isinstance(value, list) and bool(value)
    if not fits or not isinstance(value[0], (int, type(None))):
        raise ValueError("a reference to an actor is [aid?, name?]")


def _check_length(body: bytes, objects: int) -> None:
    """Raise `BadLength` unless so many objects fill the body, whatever they are.

    Where they cannot be told from each other, as behind a byte that is not msgpack, nothing is
    known, and so nothing is said.
    """
    lenient = msgpack.Unpacker(
        raw=True,
        strict_map_key=False,
        max_buffer_size=max(len(body), 1),
        max_str_len=_NO_LIMIT,
        max_bin_len=_NO_LIMIT,
        max_array_len=_NO_LIMIT,
        max_map_len=_NO_LIMIT,
        max_ext_len=_NO_LIMIT,
    )
    lenient.feed(body)
    try:
        for _ in range(objects):
            lenient.skip()
    except msgpack.OutOfData:
        raise BadLength("an object would end behind the body") from None
    except (ValueError, msgpack.UnpackException):
        return
    if lenient.tell() != len(body):
        raise BadLength("bytes behind the last object")
