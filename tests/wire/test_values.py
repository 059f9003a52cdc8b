"""Bodies become bytes and bodies again, or an error that says where; nothing else."""

from __future__ import annotations

import collections
import datetime
import enum
import math
import tracemalloc
from typing import Any, NamedTuple

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.errors import HandleError
from actorcluster.wire.values import (
    MAX_HANDLES,
    RAW_HANDLES,
    Encoded,
    HandleIndex,
    RawHandle,
    RefAdapter,
    Values,
)
from tests.wire.strategies import HOSTILE, alike, bodies, ext, hostile_bytes, nested, received

UTC = datetime.UTC
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen
class Ref:
    aid: int | None = None
    name: str | None = None


class Refs:
    type = Ref

    def describe(self, ref: Ref) -> tuple[int | None, str | None]:
        if ref.name == "closed":
            raise RuntimeError("that ref is closed")
        return ref.aid, ref.name

    def build(self, aid: int | None, name: str | None) -> Ref:
        if name == "impossible":
            raise ValueError("there is no such ref")
        return Ref(aid, name)


REFS: RefAdapter = Refs()


def round_trip(body: Any, values: Values | None = None) -> Any:
    values = values or Values()
    return values.decode(values.encode(body).payload)


# ---- what arrives


@given(bodies)
def test_any_value_survives(body: Any) -> None:
    assert alike(received(body), round_trip(body))


class Color(enum.IntEnum):
    RED = 3


class Name(enum.StrEnum):
    ADA = "ada"


class Point(NamedTuple):
    x: int
    y: int


class Text(str):
    __slots__ = ()


class Blob(bytes):
    __slots__ = ()


class Number(float):
    __slots__ = ()


class Moment(datetime.datetime):
    pass


EAST = datetime.timezone(datetime.timedelta(hours=14))


@pytest.mark.parametrize(
    ("arrives", "sent"),
    [
        pytest.param(None, None, id="None"),
        pytest.param(2**64 - 1, 2**64 - 1, id="largest int"),
        pytest.param(-(2**63), -(2**63), id="smallest int"),
        pytest.param(math.nan, math.nan, id="nan"),
        pytest.param(-0.0, -0.0, id="minus zero"),
        pytest.param("\U0001f600\0", "\U0001f600\0", id="str"),
        pytest.param([1, [2]], (1, (2,)), id="tuple"),
        pytest.param(b"ab", bytearray(b"ab"), id="bytearray"),
        pytest.param(b"\1\0\2\0", memoryview(b"\1\0\2\0").cast("H"), id="memoryview of shorts"),
        pytest.param(3, Color.RED, id="IntEnum"),
        pytest.param("ada", Name.ADA, id="StrEnum"),
        pytest.param({"ada": 1}, {Name.ADA: 1}, id="StrEnum as key"),
        pytest.param([1, 2], Point(1, 2), id="namedtuple"),
        pytest.param(["x", b"y", 0.5], [Text("x"), Blob(b"y"), Number(0.5)], id="subclasses"),
        pytest.param({"a": {}}, collections.OrderedDict(a={}), id="OrderedDict"),
        pytest.param({"a": 1}, collections.Counter("a"), id="Counter"),
        pytest.param([], [], id="empty"),
        pytest.param(
            datetime.datetime(2024, 1, 1, 10, tzinfo=UTC),
            datetime.datetime(2024, 1, 2, 0, tzinfo=EAST),
            id="datetime",
        ),
        pytest.param(EPOCH, Moment(1970, 1, 1, tzinfo=UTC), id="datetime subclass"),
        pytest.param(
            datetime.datetime(1, 1, 1, tzinfo=UTC), datetime.datetime(1, 1, 1, tzinfo=UTC), id="min"
        ),
        pytest.param(
            datetime.datetime.max.replace(tzinfo=UTC),
            datetime.datetime.max.replace(tzinfo=UTC),
            id="max",
        ),
        pytest.param(
            datetime.datetime(9999, 12, 31, 10, tzinfo=UTC),
            datetime.datetime(
                9999, 12, 31, tzinfo=datetime.timezone(-datetime.timedelta(hours=10))
            ),
            id="datetime in its last year",
        ),
        pytest.param(msgpack.ExtType(77, b"x"), msgpack.ExtType(77, b"x"), id="unknown extension"),
        pytest.param(ext(-128, b""), ext(-128, b""), id="unknown extension of msgpack"),
        pytest.param(msgpack.ExtType(2, b""), msgpack.ExtType(2, b""), id="ref without adapter"),
    ],
)
def test_arrives(arrives: Any, sent: Any) -> None:
    assert alike([arrives], round_trip([sent]))
    assert alike(arrives, round_trip(sent))


@pytest.mark.parametrize("by_key", [False, True])
def test_depth_at_the_limit(by_key: bool) -> None:
    assert alike(nested(64, by_key=by_key), round_trip(nested(64, by_key=by_key)))
    assert alike(nested(2, "x" * 600), round_trip(nested(2, "x" * 600), Values(max_depth=2)))


def test_large_containers_arrive() -> None:
    body = {"rows": [*range(300)], **{f"k{i}": [i] for i in range(300)}}
    assert alike(body, round_trip(body))


def test_buffer_of_a_large_message_is_not_kept() -> None:
    values = Values()
    values.encode(b"warm")
    tracemalloc.start()
    try:
        values.encode(bytes(8 << 20))
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()


# ---- what is refused on arrival


def check_decoder(data: bytes) -> None:
    """A value or ValueError, and nothing is left behind for the next."""
    values = Values(refs=REFS)
    for form in (data, bytearray(data), memoryview(data)):
        try:
            body = values.decode(form)
            body = values.place(body, [f"handle {i}" for i in range(256)])
        except ValueError as exc:
            outcome: tuple[Any, ...] = (type(exc), bool(str(exc)), values.indexes)
            assert (ValueError, True, []) == outcome
        else:
            # What was accepted obeys the rules: it can be sent on, and arrives unchanged.
            assert alike(body, round_trip(body, Values(refs=REFS)))


@given(hostile_bytes)
def test_any_bytes_give_a_value_or_value_error(data: bytes) -> None:
    check_decoder(data)


@pytest.mark.parametrize("prefix", [b"", b"\x91", b"\x92\xd4\x01\x00", b"\x81\xa1k"])
@pytest.mark.parametrize("start", HOSTILE, ids=lambda data: data.hex()[:24])
def test_hostile_beginnings(prefix: bytes, start: bytes) -> None:
    for data in (prefix + start, prefix + start * 60, prefix + start + b"\xc0" * 300):
        check_decoder(data)


def stamp(seconds: int, nanoseconds: int = 0) -> bytes:
    return (
        b"\xc7\x0c\xff" + nanoseconds.to_bytes(4, "big") + seconds.to_bytes(8, "big", signed=True)
    )


LAST_SECOND = 253402300799


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        pytest.param("incomplete", b"", id="nothing"),
        pytest.param("incomplete", b"\x92\x01", id="half an array"),
        pytest.param("incomplete", b"\xdd\xff\xff\xff\xff", id="huge array"),
        pytest.param("incomplete", b"\xdf\xff\xff\xff\xff", id="huge map"),
        pytest.param("incomplete", b"\xdc\x01\x00" + bytes(255), id="array a bit too short"),
        pytest.param("bytes behind the value", b"\x01\x02", id="two values"),
        pytest.param("bytes behind the value", b"\xdc\x01\x00" + bytes(257), id="array too long"),
        pytest.param("not msgpack", b"\xc1", id="the unused byte"),
        pytest.param("not msgpack", b"\x91\xc1", id="the unused byte inside"),
        pytest.param("'utf-8' codec can't decode", b"\xa1\xff", id="invalid UTF-8"),
        pytest.param("'utf-8' codec can't decode", b"\xa3\xed\xa0\x80", id="surrogate"),
        pytest.param("'utf-8' codec can't decode", b"\x81\xa1\xff\x01", id="key not UTF-8"),
        pytest.param("map key that is not str", b"\x81\xc4\x01a\x01", id="bytes key"),
        pytest.param("int is not allowed for map key", b"\x81\x01\x01", id="int key"),
        pytest.param("list is not allowed for map key", b"\x81\x90\x01", id="list key"),
        pytest.param("dict is not allowed for map key", b"\x81\x80\x01", id="map key"),
        pytest.param("map key twice: 'a'", b"\x82\xa1a\x01\xa1a\x01", id="duplicate key"),
        pytest.param("map key twice: 'a'", b"\x91\x82\xa1a\x01\xd9\x01a\x01", id="other header"),
        pytest.param("nested deeper than 64 levels", b"\x91" * 65 + b"\x01", id="depth 65"),
        pytest.param("nested deeper than 64 levels", b"\x91" * 64 + b"\x90", id="depth 65, empty"),
        pytest.param("nested deeper than 64 levels", b"\x81\xa0" * 65 + b"\x01", id="maps"),
        pytest.param("nested deeper than 64", b"\x91" * 1024 + b"\x01", id="msgpack's depth"),
        pytest.param("nested too deep to be read", b"\x91" * 1025 + b"\x01", id="beyond it"),
        pytest.param("nanoseconds", stamp(0, 10**9), id="too many nanoseconds"),
        pytest.param("invalid timestamp data", b"\xc7\x03\xffabc", id="timestamp of 3 bytes"),
        pytest.param("date value out of range", stamp(LAST_SECOND + 1), id="year 10000"),
        pytest.param("date value out of range", stamp(-62135596801), id="year 0"),
        pytest.param("too large to convert", stamp(2**63 - 1), id="the end of time"),
        pytest.param("days=", stamp(-(2**63)), id="the beginning of time"),
        pytest.param("days=", stamp(10**9 * 86400), id="days out of range"),
        pytest.param("a handle-ref is one byte", b"\xc7\x00\x01", id="handle without number"),
        pytest.param("a handle-ref is one byte", b"\xd5\x01\0\0", id="handle of two bytes"),
        pytest.param("max_ext_len", b"\xc9\xff\xff\xff\xff\x05", id="length that overflows"),
    ],
)
def test_refused(text: str, payload: bytes) -> None:
    with pytest.raises(ValueError, match=text):
        Values().decode(payload)


@pytest.mark.parametrize(
    ("arrives", "payload"),
    [
        pytest.param(datetime.datetime.max.replace(tzinfo=UTC), stamp(LAST_SECOND, 999999999)),
        pytest.param(datetime.datetime.min.replace(tzinfo=UTC), stamp(-62135596800)),
        pytest.param(EPOCH - datetime.timedelta(microseconds=1), stamp(-1, 999999999)),
        pytest.param(EPOCH, b"\xd6\xff\0\0\0\0"),
        pytest.param(nested(63, []), b"\x91" * 63 + b"\x90"),
        pytest.param(nested(64, b"\x91" * 600), b"\x91" * 64 + b"\xc5\x02\x58" + b"\x91" * 600),
        pytest.param(1, b"\xcf\0\0\0\0\0\0\0\1"),
        pytest.param(0.5, b"\xca\x3f\0\0\0"),
        pytest.param({"": b""}, b"\xde\0\1\xdb\0\0\0\0\xc6\0\0\0\0"),
    ],
)
def test_accepted(arrives: Any, payload: bytes) -> None:
    assert alike(arrives, Values().decode(payload))


@pytest.mark.parametrize("header", [b"\xdc\xff\xff", b"\xdc\x07\xd0", b"\xde\x01\x00"])
def test_headers_allocate_nothing(header: bytes) -> None:
    values = Values()
    bomb = (header + b"\xa0" * (header[0] == 0xDE)) * 1000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="incomplete"):
            values.decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


# ---- handles


def test_handles_are_numbered_by_first_appearance() -> None:
    values = Values()
    one, two, three = (RawHandle(fd, 1) for fd in (10, 11, 12))
    body = {"a": [two, one], "b": {"c": two}, "d": three}
    encoded = values.encode(body, three)
    assert (three, two, one) == encoded.handles
    decoded = values.decode(encoded.payload)
    assert {
        "a": [HandleIndex(1), HandleIndex(2)],
        "b": {"c": HandleIndex(1)},
        "d": HandleIndex(0),
    } == decoded
    assert body == values.place(decoded, encoded.handles)


def test_equal_handles_are_still_two() -> None:
    one, two = RawHandle(3, 1), RawHandle(3, 1)
    encoded = Values().encode([one, two, one])
    assert [id(one), id(two)] == [id(handle) for handle in encoded.handles]


def test_handles_of_one_message_are_not_those_of_the_next() -> None:
    values = Values()
    handle = RawHandle(3, 1)
    assert (handle,) == values.encode(1, handle).handles
    assert () == values.encode(1).handles
    with pytest.raises(TypeError):
        values.encode([handle, set()])
    assert () == values.encode(1).handles


def test_handle_alone_is_a_body() -> None:
    values = Values()
    handle = RawHandle(3, 1)
    encoded = values.encode(handle)
    assert handle is values.place(values.decode(encoded.payload), encoded.handles)


def test_too_many_handles() -> None:
    values = Values()
    handles = [RawHandle(fd, 1) for fd in range(MAX_HANDLES + 1)]
    assert tuple(handles[:-1]) == values.encode(handles[:-1]).handles
    with pytest.raises(HandleError, match="at most 253 handles"):
        values.encode(handles)
    with pytest.raises(HandleError, match="at most 253 handles"):
        values.encode(handles[1:], handles[0])


def test_handle_argument_that_is_none() -> None:
    with pytest.raises(TypeError, match=r"^handle: int is not a RawHandle$"):
        Values().encode(1, 7)


def test_raw_handles_describe_themselves() -> None:
    handle = RAW_HANDLES.build(7, 10, {"mode": "r"})
    assert RawHandle(7, 10, {"mode": "r"}) == handle
    assert (10, {"mode": "r"}) == RAW_HANDLES.describe(handle)


def test_body_names_a_handle_that_is_not_there() -> None:
    values = Values()
    body = values.decode(b"\x92\xd4\x01\x00\xd4\x01\x01")
    with pytest.raises(ValueError, match="handle 1 of 1"):
        values.place(body, ["only one"])
    # Also without any handle, and with another body decoded in between.
    body = values.decode(b"\xd4\x01\x00")
    values.decode(b"\x01")
    with pytest.raises(ValueError, match="handle 0 of 0"):
        values.place(body, ())


def test_place_without_handles_does_not_look() -> None:
    body = [HandleIndex(0)]  # as none of the decoder's makes it
    assert [HandleIndex(0)] == Values().place(body, ())


def test_read_leaves_the_numbers_to_its_caller() -> None:
    values = Values()
    assert [HandleIndex(3), HandleIndex(3)] == values.read(b"\x92\xd4\x01\x03\xd4\x01\x03")
    assert [3, 3] == values.indexes
    assert 1 == values.read(b"\x01")
    assert [] == values.indexes


def test_numbers_are_counted_once_when_a_value_is_read_twice() -> None:
    values = Values()
    values.read(b"\x92\xd4\x01\x00\xdc\x01\x2c" + bytes(300))
    assert [0] == values.indexes


# ---- refs


@pytest.mark.parametrize("ref", [Ref(7), Ref(2**52, "web.2"), Ref(None, "web"), Ref(None)])
def test_refs_survive(ref: Ref) -> None:
    assert [{"r": ref}] == round_trip([{"r": ref}], Values(refs=REFS))


def test_error_of_an_adapter_passes() -> None:
    values = Values(refs=REFS)
    with pytest.raises(RuntimeError, match="that ref is closed"):
        values.encode(["x", Ref(None, "closed")])
    assert Encoded(b"\x01", ()) == values.encode(1)


def test_faults_of_the_body_come_before_those_of_an_adapter() -> None:
    with pytest.raises(TypeError, match=r"^body\[1\]: set"):
        Values(refs=REFS).encode([Ref(None, "closed"), set()])


def test_without_adapter_a_ref_is_an_unknown_extension() -> None:
    payload = Values(refs=REFS).encode(Ref(7)).payload
    values = Values()
    body = values.decode(payload)
    assert msgpack.ExtType(2, b"\x91\x07") == body
    assert payload == values.encode(body).payload
    with pytest.raises(TypeError, match="ExtType 2 is the wire's own"):
        Values(refs=REFS).encode(body)
    with pytest.raises(TypeError, match="body: Ref cannot be sent"):
        values.encode(Ref(7))


@pytest.mark.parametrize(
    "inner",
    [
        [],
        7,
        {"aid": 7},
        ["web"],
        [-1],
        [True],
        [7.0],
        [7, 7],
        [7, b"web"],
        [None, "impossible"],
        [[[]]],
    ],
)
def test_refs_that_are_refused(inner: Any) -> None:
    payload = msgpack.packb(msgpack.ExtType(2, msgpack.packb(inner)))
    with pytest.raises(ValueError, match=r"\[aid, name\?\]|no such ref"):
        Values(refs=REFS).decode(payload)


def test_refs_may_grow() -> None:
    payload = msgpack.packb(msgpack.ExtType(2, msgpack.packb([7, "web", {"more": 1}, 2])))
    assert Ref(7, "web") == Values(refs=REFS).decode(payload)


@given(st.binary(max_size=40))
def test_any_bytes_in_a_ref(data: bytes) -> None:
    payload = msgpack.packb(msgpack.ExtType(2, data))
    try:
        ref = Values(refs=REFS).decode(payload)
    except ValueError:
        return
    assert isinstance(ref, Ref)


def test_after_a_long_body_whatever_follows_is_encoded_as_ever() -> None:
    """A long payload is the buffer of its packer, which must not be written to again."""
    sizes = [400_000, 500_000, 3_000_000, 5, 400_000, 300_000, 150_000, 1, 1, 2_000_000]
    values = Values()
    payloads = [values.pack({"n": size, "data": b"x" * size}) for size in sizes]
    assert sizes == [len(msgpack.unpackb(payload)["data"]) for payload in payloads]
    assert bytes is type(values.pack([1]))


def test_after_a_long_body_errors_are_the_same() -> None:
    values = Values()
    values.pack(["x" * 400_000])
    with pytest.raises(TypeError, match="lone surrogate"):
        values.pack(["x" * 400_000, "\ud800"])
    assert msgpack.packb([1]) == values.pack([1])
