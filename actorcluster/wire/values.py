"""Bodies as bytes, and bytes as bodies.

Runs in: both

msgpack does the work at C speed. It is laxer than the protocol, so the rest stands around it:

- What may be sent is judged by `sendable` before packing; what the packer then still refuses,
  `sendable.Inspector` explains. Either way the sender gets a TypeError with a path.
- A hook per received map catches keys that are not str or come twice, nesting is measured after
  decoding, everything else msgpack finds itself. Either way the receiver gets a ValueError.

Before it has seen the items, msgpack allocates up to 10,000 places for an array, and that on each
of 1024 levels. So a value is first read with a small limit on containers; one that exceeds it, or
is malformed, is read again only after `measure`, which allocates nothing, found it complete.

Handles travel outside the bytes. A body names them by their number among the message's handles
(extension type 1): `HandleIndex` after `Values.decode`, the handle itself after `Values.place`.
"""

from __future__ import annotations

import builtins
import functools
import reprlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Protocol, final

import attrs
import msgpack

from ..errors import HandleError
from ._generated import Ext
from .sendable import LEAVES, NESTS, SENDABLE, Inspector, entries, plain

__all__ = [
    "LEAST_BUFFER",
    "MAX_HANDLES",
    "RAW_HANDLES",
    "SHORT",
    "UNPACK_ERRORS",
    "Encoded",
    "HandleAdapter",
    "HandleIndex",
    "RawHandle",
    "RefAdapter",
    "Values",
    "is_flat",
    "may_be_deep",
    "measure",
    "too_deep",
]

#: The most descriptors that one ``sendmsg`` carries.
MAX_HANDLES: Final = 253
#: Everything that msgpack raises for bytes that are not one good value.
UNPACK_ERRORS: Final = (ValueError, OverflowError, msgpack.UnpackException)

# Plain ints: members of an IntEnum cost a dict lookup each.
_TIMESTAMP: Final = int(Ext.TIMESTAMP)
_HANDLE: Final = int(Ext.HANDLE)
_REF: Final = int(Ext.REF)

#: What can hold something in a decoded body.
_DECODED_NESTS: Final[frozenset[type]] = frozenset({dict, list})
#: Bodies that may be long by themselves.
_LONG: Final[frozenset[type]] = frozenset({bytes, bytearray, str})
#: What msgpack puts before them.
_LONGEST_HEAD: Final = 5
#: Up to this many bytes counting them is cheaper than walking over what they stand for.
SHORT: Final = 512
#: All bytes that do not begin an array or a map.
_OPEN_NOTHING: Final = bytes({*range(256)} - {*range(0x80, 0xA0)} - {*range(0xDC, 0xE0)})
#: Buffers of who has nothing to do any more, bytes.
LEAST_BUFFER: Final = 64
#: Larger arrays and maps need the second attempt of `Values.unpack`.
_FEW: Final[dict[str, int]] = {"max_array_len": 256, "max_map_len": 256}
#: A packer's buffer never shrinks; for a longer body one is made that fits.
_KEPT_BUFFER: Final = 1 << 20
#: After a longer payload the next one is expected to be as long.
_LONG_PAYLOAD: Final = 256 * 1024

_TEXTS: Final = {
    msgpack.ExtraData: "bytes behind the value",
    msgpack.FormatError: "not msgpack",
    msgpack.StackError: "nested too deep to be read",
    msgpack.OutOfData: "incomplete",
}


class HandleAdapter(Protocol):
    """How this pure layer sees the handles of the layer above."""

    @property
    def type(self) -> builtins.type[Any]:
        """The class of handles; instances of subclasses count."""

    def describe(self, handle: Any) -> tuple[int, dict[str, Any]]:
        """Kind and meta map of a handle; raises errors of its own if it cannot be sent."""

    def build(self, fd: int, kind: int, meta: dict[str, Any]) -> Any:
        """A handle that owns `fd` from now on."""

    def why_not(self, value: Any) -> str | None:
        """What keeps a value that is no handle from being sent as one; None: nothing to say."""


class RefAdapter(Protocol):
    """How this pure layer sees the refs of the layer above."""

    @property
    def type(self) -> builtins.type[Any]:
        """The class of refs; instances of subclasses count."""

    def describe(self, ref: Any) -> tuple[int | None, str | None]:
        """Actor id and name, either may be None; raises errors of its own."""

    def build(self, aid: int | None, name: str | None) -> Any:
        """A ref; ValueError if there can be none. Has no effect: what it gives may be dropped."""


@attrs.frozen
class RawHandle:
    """A descriptor, for who uses this core without the rest of the package."""

    fd: int
    kind: int
    meta: dict[str, Any] = attrs.Factory(dict)


@final
class _RawHandles:
    type: Final = RawHandle

    def describe(self, handle: RawHandle) -> tuple[int, dict[str, Any]]:
        return handle.kind, handle.meta

    def build(self, fd: int, kind: int, meta: dict[str, Any]) -> RawHandle:
        return RawHandle(fd, kind, meta)

    def why_not(self, value: Any) -> None:
        return None


RAW_HANDLES: Final[HandleAdapter] = _RawHandles()


@attrs.frozen
class HandleIndex:
    """Stands in a decoded body where the message's handle of that number belongs."""

    index: int


#: What is such a place in a decoded body, or may hold one.
_PLACES: Final[frozenset[type]] = _DECODED_NESTS | {HandleIndex}


@attrs.define
class Encoded:
    """A body as bytes, and the handles that travel with it.

    Attributes:
        payload: the encoded body.
        handles: each handle once: the one given as ``handle=``, then by first appearance.
        entries: kind and meta of each of them, once they were described, see `Sending.describe`.
    """

    payload: bytes | memoryview
    handles: tuple[Any, ...]
    entries: Sequence[tuple[int, dict[str, Any]]] = ()


@final
class Values:
    """Encodes and decodes the bodies of one connection.

    Attributes:
        max_depth: how many containers may be inside each other.
        indexes: numbers of the handles that `unpack` and `unpacker` came across, until cleared.
        found: handles that `pack` came across, until taken.
    """

    def __init__(
        self,
        *,
        handles: HandleAdapter = RAW_HANDLES,
        refs: RefAdapter | None = None,
        max_depth: int = 64,
    ) -> None:
        self.max_depth = max_depth
        self.indexes: list[int] = []
        self._handles = handles
        self._refs = refs
        self.found: list[Any] = []
        self._unplaced = 0
        opaque = (handles.type,) if refs is None else (handles.type, refs.type)
        reserved = {_TIMESTAMP, _HANDLE} if refs is None else {_TIMESTAMP, _HANDLE, _REF}
        self._leaves = LEAVES.union(opaque)
        self._inspector = Inspector(
            opaque=opaque,
            reserved=frozenset(reserved),
            max_depth=max_depth,
            why_not=handles.why_not,
        )
        self._options: dict[str, Any] = {
            "object_pairs_hook": _checked_map,
            "ext_hook": self._decode_ext,
            "timestamp": 3,
        }
        self._unpack_few = functools.partial(msgpack.unpackb, **self._options, **_FEW)
        self._unpack_many = functools.partial(msgpack.unpackb, **self._options)
        self._pack = self._new_pack()

    def _new_packer(self, **options: Any) -> Any:
        return msgpack.Packer(default=self._encode_other, datetime=True, **options)

    def _new_pack(self, **options: Any) -> Callable[[Any], bytes | memoryview]:
        pack: Callable[[Any], bytes | memoryview] = self._new_packer(**options).pack
        return pack

    def shrink(self) -> None:
        """Give back memory, as `Connection.shrink` does."""
        self._pack = self._new_pack(buf_size=LEAST_BUFFER)

    def _pack_uncopied(self, size: int, body: Any) -> memoryview:
        """Give the packer's buffer itself: a copy would be as large as the body once more.

        Nor does the buffer grow, which takes five times as long: 10 ms for 16 MiB.
        """
        packer = self._new_packer(autoreset=False, buf_size=size)
        packer.pack(body)
        buffer: memoryview = packer.getbuffer()
        return buffer

    def _pack_like(self, size: int, body: Any) -> bytes | memoryview:
        """Pack what is probably as long as what came before."""
        buffer = self._pack_uncopied(size, body)
        if len(buffer) > size // 2:
            return buffer
        self._pack = self._new_pack()
        return bytes(buffer)

    # ---- encode

    def encode(self, body: Any, handle: Any = None) -> Encoded:
        """The body as bytes, plus its handles. Nothing happens to the handles.

        Raises:
            TypeError: something in `body` cannot be sent; the text names the path to it.
            HandleError: more handles than a message carries.
        """
        if handle is not None:
            self._check_handle(handle)
            self.found.append(handle)
        return Encoded(self.pack(body), self.take_found())

    def take_found(self) -> tuple[Any, ...]:
        """Take the handles that `pack` came across."""
        if not self.found:
            return ()
        handles = tuple(self.found)
        self.found.clear()
        return handles

    def pack(self, body: Any) -> bytes | memoryview:
        """What `encode` does, but the handles are left for `take_found`, if it succeeds."""
        pack = self._pack
        kind = type(body)
        if kind is dict:
            leaves = self._leaves
            for key, value in body.items():
                if type(key) is not str or type(value) not in leaves:
                    self._check(body)
                    break
        elif kind in _LONG:
            if len(body) > _KEPT_BUFFER:
                pack = functools.partial(self._pack_uncopied, len(body) + _LONGEST_HEAD)
        elif kind not in self._leaves:
            self._check(body)
        try:
            payload = pack(body)
        except Exception:
            self.found.clear()
            self._pack = self._new_pack()
            problem = self._inspector.problem(body)
            if problem is None:
                raise  # not about the body's values: a closed ref, too many handles, no memory
            raise TypeError(problem) from None
        if len(payload) > _LONG_PAYLOAD:
            self._pack = functools.partial(self._pack_like, len(payload))
        return payload

    def _check(self, body: Any) -> None:
        try:
            if type(body) in NESTS and plain(body, self.max_depth, self._leaves):
                return
        except RecursionError:
            pass  # the caller has nearly used up Python's stack; the inspector needs none of it
        problem = self._inspector.problem(body)
        if problem is not None:
            self.found.clear()
            raise TypeError(problem)

    def _check_handle(self, handle: Any) -> None:
        if not isinstance(handle, self._handles.type):
            name = type(handle).__name__
            raise TypeError(f"handle: {name} is not a {self._handles.type.__name__}")

    def _encode_other(self, value: Any) -> Any:
        """Called by the packer for what it does not know; the answer is packed instead."""
        if isinstance(value, self._handles.type):
            return msgpack.ExtType(_HANDLE, bytes((self._index_of(value),)))
        if self._refs is not None and isinstance(value, self._refs.type):
            aid, name = self._refs.describe(value)
            return msgpack.ExtType(_REF, msgpack.packb([aid] if name is None else [aid, name]))
        if isinstance(value, datetime) and value.utcoffset() is not None:
            # Of a subclass: the packer takes datetime itself only.
            utc = value.astimezone(UTC)
            return datetime.combine(utc.date(), utc.time(), UTC)
        raise TypeError(f"{type(value).__name__} cannot be sent; {SENDABLE}")

    def _index_of(self, handle: Any) -> int:
        found = self.found
        for index, known in enumerate(found):
            if known is handle:  # not ==: two equal handles may be two descriptors
                return index
        if len(found) == MAX_HANDLES:
            raise HandleError(f"a message carries at most {MAX_HANDLES} handles")
        found.append(handle)
        return len(found) - 1

    # ---- decode

    def decode(self, payload: bytes | bytearray | memoryview) -> Any:
        """The value; a `HandleIndex` stands where a handle belongs, see `place`.

        Raises:
            ValueError: whatever is wrong with `payload`.
        """
        body = self.read(payload)
        if self.indexes:
            self._unplaced += len(self.indexes)
            self.indexes.clear()
        return body

    def read(self, data: bytes | bytearray | memoryview) -> Any:
        """Like `decode`, but what it came across in ``indexes`` is left there for the caller."""
        self.indexes.clear()
        try:
            value = self.unpack(data)
            if self._is_too_deep(data, value):
                raise ValueError(f"nested deeper than {self.max_depth} levels")
        except UNPACK_ERRORS as exc:
            self.indexes.clear()
            raise ValueError(_text_of(exc)) from None
        return value

    def _is_too_deep(self, data: bytes | bytearray | memoryview, value: Any) -> bool:
        limit = self.max_depth
        # Each level costs a byte at least.
        if len(data) <= limit or (len(data) <= SHORT and not may_be_deep(bytes(data), limit)):
            return False
        return too_deep(value, limit)

    def unpack(self, data: bytes | bytearray | memoryview) -> Any:
        """One value that fills `data`, its depth unchecked; raises one of `UNPACK_ERRORS`."""
        seen = len(self.indexes)
        try:
            return self._unpack_few(data)
        except UNPACK_ERRORS:
            del self.indexes[seen:]
        measure(data, 1, [])
        return self._unpack_many(data)

    def unpacker(self, max_length: int, read_size: int = 1 << 16) -> Any:
        """A ``msgpack.Unpacker`` that reads a stream of values of up to `max_length` bytes each.

        It takes `read_size` bytes of memory at once, and more if that is not enough.
        It also fails for good values with large containers: give those to `unpack`.
        """
        return msgpack.Unpacker(
            **self._options,
            **_FEW,
            max_buffer_size=0,  # whoever feeds it holds those bytes already
            read_size=read_size,
            max_str_len=max_length,
            max_bin_len=max_length,
            max_ext_len=max_length,
        )

    def _decode_ext(self, code: int, data: bytes) -> Any:
        if code == _HANDLE:
            if len(data) != 1:
                raise ValueError("a handle-ref is one byte")
            self.indexes.append(data[0])
            return HandleIndex(data[0])
        if code == _REF and self._refs is not None:
            return self._refs.build(*_parse_ref(data))
        # Not by its constructor, which refuses msgpack's own range -128..-2: a relay keeps it.
        return tuple.__new__(msgpack.ExtType, (code, data))

    def place(self, body: Any, handles: Sequence[Any]) -> Any:
        """The body with each `HandleIndex` replaced, in place, by the handle of that number.

        Raises:
            ValueError: the body names a handle that is not there.
        """
        if not handles and not self._unplaced:
            return body
        kind = type(body)
        inner = body.values() if kind is dict else body if kind is list else (body,)
        if _PLACES.isdisjoint(map(type, inner)):  # most handles stand beside a body, not in it
            return body
        holder = [body]
        nests: list[Any] = [holder]
        while nests:
            nest = nests.pop()
            for key, value in entries(nest):
                kind = type(value)
                if kind is HandleIndex:
                    self._unplaced = max(0, self._unplaced - 1)
                    if value.index >= len(handles):
                        raise ValueError(f"handle {value.index} of {len(handles)}")
                    nest[key] = handles[value.index]
                elif kind in _DECODED_NESTS:
                    nests.append(value)
        return holder[0]


def may_be_deep(data: bytes, limit: int) -> bool:
    """False if `data` cannot open more than `limit` containers. For `SHORT` data a bargain."""
    return len(data.translate(None, _OPEN_NOTHING)) > limit


def is_flat(value: Any) -> bool:
    """Whether a decoded value has no list or dict inside."""
    kind = type(value)
    inner = value.values() if kind is dict else value if kind is list else ()
    return _DECODED_NESTS.isdisjoint(map(type, inner))


def too_deep(value: Any, limit: int) -> bool:
    """Whether more than `limit` lists and dicts are inside each other in a decoded value."""
    if is_flat(value):
        return False
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for nest in level
            for inner in (nest.values() if type(nest) is dict else nest)
            if type(inner) in _DECODED_NESTS
        ]
        if not level:
            return False
    return True


def measure(data: bytes | bytearray | memoryview, count: int, ends: list[int]) -> None:
    """Append to `ends` where each of the first `count` values in `data` ends.

    Looks at structure only and builds nothing, so no header can make it allocate.

    Raises:
        msgpack.OutOfData: the bytes end inside a value.
        msgpack.UnpackException: there is no telling where a value ends.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=0, read_size=len(data) + 1)
    unpacker.feed(data)
    for _ in range(count):
        unpacker.skip()
        ends.append(unpacker.tell())


def _checked_map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in pairs:
        if type(key) is not str:
            raise ValueError("map key that is not str")
        if key in made:
            raise ValueError(f"map key twice: {reprlib.repr(key)}")
        made[key] = value
    return made


def _parse_ref(data: bytes) -> tuple[int | None, str | None]:
    parts = msgpack.unpackb(data, **_FEW)
    if type(parts) is list and parts:
        aid, name = (*parts, None)[:2]  # more may follow, from a later minor version
        if (aid is None or (type(aid) is int and aid >= 0)) and (name is None or type(name) is str):
            return aid, name
    raise ValueError("an actor-ref is [aid, name?]")


def _text_of(exc: Exception) -> str:
    for kind, text in _TEXTS.items():  # they come without a text of their own
        if isinstance(exc, kind):
            return text
    return str(exc)
