"""The language-neutral vectors of protocol/vectors: the vectors themselves, and the single frames.

Runs in: both

The vectors are written from the specification. Where one of these tests fails, SPEC.md decides
who is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest

from actorcluster.wire._generated import LIMIT_DEFAULTS, REQUIREMENTS, Kind
from actorcluster.wire.frames import FrameReader, encode_frame, encode_head
from actorcluster.wire.values import HandleIndex, RawHandle, Values

from .diagnostic import from_diagnostic, same, to_diagnostic
from .vectors import FRAMES, STREAMS, Vector, each, kind_name

VECTORS = FRAMES + STREAMS

PING = bytes.fromhex("95ce00000002ce06000000ce00000000c00b")


# ---- the vectors themselves


def annotated(vector: Vector) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Everything with a comment for each byte field: hex, and the pairs that make it up."""
    if vector["kind"] == "frame":
        yield vector["hex"], vector["bytes"]
    for read in vector.get("reads", ()):
        yield read["hex"], read["bytes"]
    for step in vector.get("before", ()):
        yield step.get("send") or step["receive"], step["bytes"]


@each(VECTORS)
def test_every_byte_has_its_comment(vector: Vector) -> None:
    for whole, pairs in annotated(vector):
        assert whole == "".join(part for part, _ in pairs)
        assert all(comment.strip() for _, comment in pairs)


@each(FRAMES)
def test_plain_msgpack_agrees_with_the_frame(vector: Vector) -> None:
    data = bytes.fromhex(vector["hex"])
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    length, word, channel, envelope, payload = unpacker.unpack()
    assert len(data) == unpacker.tell() == 16 + length
    assert (0x95, 0xCE, 0xCE, 0xCE) == (data[0], data[1], data[6], data[11])
    found = {
        "kind": kind_name(word >> 24),
        "flags": word >> 16 & 0xFF,
        "nfds": word >> 8 & 0xFF,
        "channel": channel,
        "envelope": to_diagnostic(envelope),
        "payload": to_diagnostic(payload),
    }
    assert same(vector["frame"], found), found


@each(VECTORS)
def test_every_requirement_exists(vector: Vector) -> None:
    assert vector["requirements"]
    assert set(vector["requirements"]) <= set(REQUIREMENTS)
    assert set(vector.get("abort", {}).get("requirement", ())) <= set(vector["requirements"])


def test_every_vector_has_a_name_of_its_own() -> None:
    assert len(VECTORS) == len({vector["id"] for vector in VECTORS})


# ---- frames


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def single_bytes(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def glued(data: bytes) -> Iterator[bytes]:
    yield data + PING[:20]
    yield PING[20:]


@pytest.mark.parametrize("cut", [whole, single_bytes, glued])
@each(FRAMES)
def test_reader(vector: Vector, cut: Callable[[bytes], Iterator[bytes]]) -> None:
    data = bytes.fromhex(vector["hex"])
    reader = FrameReader(Values(), max_frame=LIMIT_DEFAULTS["max_frame"])
    frame, *more = [frame for piece in cut(data) for frame in reader.feed(piece)]
    found = {
        "kind": kind_name(frame.kind),
        "flags": frame.flags,
        "nfds": frame.nfds,
        "channel": frame.channel,
        "envelope": to_diagnostic(frame.envelope, placeholder),
        "payload": to_diagnostic(frame.payload, placeholder),
    }
    assert same(vector["frame"], found), found
    assert frame.error is None
    assert frame.kind not in (Kind.PING, Kind.PONG) or data[16:] == frame.body
    assert (1 if cut is glued else 0) == len(more)
    assert 0 == reader.buffered()


def placeholder(value: Any) -> Any:
    if isinstance(value, HandleIndex):
        return msgpack.ExtType(1, bytes([value.index]))
    raise TypeError(f"{value!r} in a frame")


@each(vector for vector in FRAMES if vector["canonical"])
def test_encoder(vector: Vector) -> None:
    frame = vector["frame"]
    kind = int.from_bytes(bytes.fromhex(vector["hex"])[7:8], "big")
    envelope = msgpack.packb(from_diagnostic(frame["envelope"]))
    payload = Values().encode(sendable(from_diagnostic(frame["payload"]), {})).payload
    rest = {"flags": frame["flags"], "nfds": frame["nfds"]}
    encoded = encode_frame(kind, frame["channel"], envelope, payload, **rest)
    assert vector["hex"] == encoded.hex()
    head = encode_head(kind, frame["channel"], len(envelope + payload), **rest)
    assert vector["hex"][:32] == head.hex()


def sendable(value: Any, handles: dict[int, RawHandle]) -> Any:
    """What a user would hand over to get these bytes."""
    match value:
        case list():
            return [sendable(item, handles) for item in value]
        case dict():
            return {key: sendable(item, handles) for key, item in value.items()}
        case msgpack.ExtType(code=1):
            return handles.setdefault(value.data[0], RawHandle(value.data[0], 1))
        case msgpack.Timestamp():
            return value.to_datetime()
    return value
