"""What hypothesis draws for the tests of the wire: values, bytes that are not, frames, splits.

Runs in: both
"""

from __future__ import annotations

import datetime
from typing import Any

import attrs
import msgpack
from hypothesis import strategies as st

from actorcluster.wire.frames import encode_frame

__all__ = [
    "HOSTILE",
    "FrameDraft",
    "alike",
    "bodies",
    "drafts",
    "ext",
    "fragments",
    "hostile_bytes",
    "nested",
    "received",
    "splits",
]

# ---- values

_zones = st.timedeltas(
    min_value=datetime.timedelta(hours=-23, minutes=-59),
    max_value=datetime.timedelta(hours=23, minutes=59),
).map(datetime.timezone)


def _has_utc(value: datetime.datetime) -> bool:
    try:
        value.astimezone(datetime.UTC)
    except OverflowError:
        return False
    return True


def ext(code: Any, data: Any) -> Any:
    """An ExtType that its constructor may refuse."""
    return tuple.__new__(msgpack.ExtType, (code, data))


def _view(data: bytes) -> memoryview:
    return memoryview(data)


unknown_exts = st.builds(
    ext, st.integers(-128, 127).filter(lambda code: code not in (-1, 1)), st.binary(max_size=20)
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=40),
    st.binary(max_size=40),
    st.binary(max_size=40).map(bytearray),
    st.binary(max_size=40).map(_view),
    st.datetimes(timezones=_zones).filter(_has_utc),
    unknown_exts,
)


def _nests(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=6),
        st.lists(inner, max_size=6).map(tuple),
        st.dictionaries(st.text(max_size=8), inner, max_size=6),
    )


def _nested_in(levels: int, shape: int, body: Any) -> Any:
    for level in range(levels):
        body = [body] if shape >> level & 1 else {"": body}
    return body


_deep = st.builds(_nested_in, st.integers(0, 64), st.integers(0, 2**64 - 1), scalars)

#: Any value of the data model, handles and refs aside; some of them as deep as allowed.
bodies: st.SearchStrategy[Any] = st.one_of(st.recursive(scalars, _nests, max_leaves=12), _deep)


def nested(levels: int, body: Any = 0, *, by_key: bool = False) -> Any:
    """`body` inside so many lists or dicts."""
    for _ in range(levels):
        body = {"k": body} if by_key else [body]
    return body


def received(value: Any) -> Any:
    """What arrives when `value` is sent."""
    match value:
        case msgpack.ExtType():
            return value
        case bytearray() | memoryview():
            return bytes(value)
        case datetime.datetime():
            return value.astimezone(datetime.UTC)
        case list() | tuple():
            return [received(item) for item in value]
        case dict():
            return {key: received(item) for key, item in value.items()}
    return value


def alike(one: Any, other: Any) -> bool:
    """Equal, of the same types, all the way down; nan is like nan, 0.0 not like -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, dict):
        return [*one] == [*other] and all(map(alike, one.values(), other.values()))
    if attrs.has(type(one)):
        fields = attrs.fields(type(one))
        return all(alike(getattr(one, f.name), getattr(other, f.name)) for f in fields)
    return bool(one == other)


# ---- bytes

#: Beginnings of values that are incomplete, forbidden, or worse.
HOSTILE = [
    *(bytes([byte]) for byte in range(0x80, 0x100)),
    b"\xdd\xff\xff\xff\xff",  # an array of 2**32-1
    b"\xdf\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x05",  # ext; the length overflows in 32 bits where 1 is added
    b"\xdc\x01\x01",  # an array of 257: more than is read in the first attempt
    b"\xa1\xff",  # a str that is not UTF-8
    b"\xa3\xed\xa0\x80",  # a surrogate
    b"\x81\x01\x02",  # a map with an int key, a bin key, nil, a list, twice the same
    b"\x81\xc4\x01a\x02",
    b"\x81\xc0\x02",
    b"\x81\x90\x02",
    b"\x82\xa1a\x01\xa1a\x02",
    b"\xd6\xff\xff\xff\xff\xff",  # timestamps: good, too many nanoseconds, out of all ranges
    b"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xc7\x0c\xff\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00",
    b"\xc7\x0c\xff\x00\x00\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00",
    b"\xc7\x03\xffabc",
    b"\xd4\x01\x00",  # handles: the first, the last, one of two bytes, one of none
    b"\xd4\x01\xff",
    b"\xd5\x01\x00\x00",
    b"\xc7\x00\x01",
    b"\xd4\x02\x90",  # refs: nobody, an actor, a list in a list
    b"\xd5\x02\x91\x07",
    b"\xd6\x02\x91\x91\x91\x91",
    b"\xca\x7f\xc0\x00\x00",
    b"\x91" * 70,
    b"\x81\xa0" * 70,
    b"\x91" * 1100,
    b"\x95\xce\x00\x00\x00\x02\xce\x20\x00\x00\x00\xce\x00\x00\x00\x00",  # a header
]


def _encode(body: Any) -> bytes:
    """Not by the code under test."""
    data: bytes = msgpack.packb(received(body), datetime=True)
    return data


encoded = bodies.map(_encode)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    """A good value with some bytes replaced, removed or inserted."""
    data = bytearray(draw(encoded))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(
            st.one_of(st.binary(max_size=2), st.sampled_from(HOSTILE))
        )
    return bytes(data)


#: Bytes that are rarely a value and often nearly one.
hostile_bytes: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=100),
    st.lists(st.one_of(st.sampled_from(HOSTILE), encoded), max_size=8).map(b"".join),
    _damaged(),
)

# ---- frames


def _brief(data: bytes) -> str:
    return repr(data) if len(data) < 500 else f"{data[:20]!r} and {len(data) - 20} bytes more"


@attrs.frozen
class FrameDraft:
    """A frame to be encoded; `envelope` and `payload` are bytes already."""

    kind: int
    flags: int
    nfds: int
    channel: int
    envelope: bytes = attrs.field(repr=_brief)
    payload: bytes = attrs.field(repr=_brief)

    def encode(self) -> bytes:
        return encode_frame(
            self.kind,
            self.channel,
            self.envelope,
            self.payload,
            flags=self.flags,
            nfds=self.nfds,
        )


_SAMPLES = [
    msgpack.packb(sample)
    for sample in (
        None,
        1,
        "text",
        b"bytes" * 20,
        [1, "two", [3.0, None]],
        {"op": "inc", "n": 1, "id": 12345},
        {f"key{n}": n for n in range(12)},  # past the length below which depth needs no look
        {"rows": [{"id": n} for n in range(40)]},
        *([size] * size for size in (255, 256, 257, 3000)),
        *("x" * size for size in (300, 5000, 32752, 33000, 70000)),
    )
]
_samples = st.one_of(
    st.sampled_from(_SAMPLES),
    st.sampled_from(_SAMPLES),
    st.one_of(scalars, _deep).map(_encode),
)
_envelopes = st.one_of(
    st.sampled_from([b"\xc0", b"\x92\xc0\xc0", b"\x91\x07"]),
    _samples.map(lambda item: b"\x94\xc0\xc0\x90" + item),
)


def drafts(payloads: st.SearchStrategy[bytes] = _samples) -> st.SearchStrategy[FrameDraft]:
    """Frames of any kind with good envelopes; by default with good payloads."""
    return st.builds(
        FrameDraft,
        kind=st.sampled_from([0x06, 0x07, 0x20, 0x21, 0xF3]),
        flags=st.sampled_from([0, 0x80, 0x01]),
        nfds=st.sampled_from([0, 0, 1, 2, 255]),
        channel=st.sampled_from([0, 1, 2**32 - 1]),
        envelope=_envelopes,
        payload=payloads,
    )


#: Good fragments and bad ones.
fragments: st.SearchStrategy[FrameDraft] = st.builds(
    FrameDraft,
    kind=st.just(0x20),
    flags=st.sampled_from([0x02, 0x03, 0x82]),
    nfds=st.just(0),
    channel=st.just(4),
    envelope=st.just(b"\xc0"),
    payload=_samples,
)


@st.composite
def splits(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` in pieces: byte by byte, or cut anywhere."""
    if len(data) < 300 and draw(st.booleans()):
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)]
