"""The files of protocol/vectors as Python sees them, and the ways to cut a stream.

Runs in: both
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import attrs
import msgpack
import pytest

from actorcluster.wire._generated import KINDS

from .diagnostic import to_diagnostic

__all__ = [
    "FRAMES",
    "PRELUDES",
    "STREAMS",
    "Read",
    "Vector",
    "as_given",
    "bytewise",
    "each",
    "ends_inside_a_frame",
    "kind_name",
    "load",
    "merged",
    "reads_of",
    "split_frames",
]

Vector = dict[str, Any]

_FILES = pathlib.Path(__file__).parents[2] / "protocol" / "vectors"


def load(name: str) -> Any:
    """Read one of the vector files."""
    return json.loads((_FILES / f"{name}.json").read_text(encoding="utf-8"))


PRELUDES: dict[str, Any] = load("preludes")
FRAMES: list[Vector] = load("frames") + load("values")
STREAMS: list[Vector] = [
    vector
    for name in ("streams", "fragments", "descriptors", "faults", "aborts", "monitors", "codes")
    for vector in load(name)
]


def each(vectors: Iterable[Vector]) -> pytest.MarkDecorator:
    """Run a test with each of the vectors."""
    return pytest.mark.parametrize("vector", [pytest.param(v, id=v["id"]) for v in vectors])


def kind_name(code: int) -> str:
    """The name in the registry, or the number for kinds that are not there."""
    return KINDS[code].name if code in KINDS else f"0x{code:02x}"


# ---- reads


@attrs.frozen
class Read:
    """What one ``recvmsg`` gave."""

    data: bytes
    fds: tuple[str, ...] = ()
    truncated: bool = False

    @property
    def has_group(self) -> bool:
        """Whether descriptors came, or would have come."""
        return bool(self.fds) or self.truncated


def reads_of(vector: Vector) -> list[Read]:
    """The reads of a stream vector, repetitions written out."""
    return [
        Read(bytes.fromhex(read["hex"]), tuple(read.get("fds", ())), read.get("truncated", False))
        for read in vector["reads"]
        for _ in range(read.get("repeat", 1))
    ]


def as_given(reads: list[Read]) -> Iterator[Read]:
    """As the vector has them."""
    yield from reads


def bytewise(reads: list[Read]) -> Iterator[Read]:
    """One byte at a time; a group comes with the first byte of its read."""
    for read in reads:
        for at in range(len(read.data)):
            if at == 0:
                yield Read(read.data[:1], read.fds, read.truncated)
            else:
                yield Read(read.data[at : at + 1])


def merged(reads: list[Read]) -> Iterator[Read]:
    """As few reads as the kernel may make of them: at most one group in each."""
    held = Read(b"")
    for read in reads:
        if held.has_group and read.has_group:
            yield held
            held = read
        else:
            truncated = held.truncated or read.truncated
            held = Read(held.data + read.data, held.fds + read.fds, truncated)
    yield held


# ---- frames, by header arithmetic and plain msgpack: no code of ours is involved


def frame_end(data: bytes) -> int:
    """Where the first frame of ``data`` ends, by its header."""
    return 16 + int.from_bytes(data[2:6], "big")


def ends_inside_a_frame(reads: list[Read]) -> bool:
    """Whether the last frame is not complete, or is none."""
    data = b"".join(read.data for read in reads)
    while data.startswith(b"\x95\xce") and len(data) >= 16:
        data = data[frame_end(data) :] if len(data) >= frame_end(data) else data[:1]
    return bool(data)


def split_frames(data: bytes) -> list[dict[str, Any]]:
    """Frames in diagnostic form."""
    frames = []
    while data:
        if (0x95, 0xCE, 0xCE, 0xCE) != (data[0], data[1], data[6], data[11]):
            raise ValueError(f"no frame: {data[:16].hex()}")
        frames.append(_frame(data[: frame_end(data)]))
        data = data[frame_end(data) :]
    return frames


def _frame(data: bytes) -> dict[str, Any]:
    body = data[16:]
    frame: dict[str, Any] = {
        "kind": kind_name(data[7]),
        "flags": data[8],
        "nfds": data[9],
        "channel": int.from_bytes(data[12:16], "big"),
        "body": body.hex(),
    }
    if frame["kind"] not in ("PING", "PONG"):  # whose bodies may be anything
        unpacker = msgpack.Unpacker()
        unpacker.feed(body)
        frame["envelope"] = to_diagnostic(unpacker.unpack())
        frame["payload"] = to_diagnostic(unpacker.unpack())
        if unpacker.tell() != len(body):
            raise ValueError(f"{frame['kind']} does not fill its length: {body.hex()}")
    return frame
