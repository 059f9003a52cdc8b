"""Every vector read twice: by our reader, and by `independent`, which shares no code with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire._generated import KINDS
from actorcluster.wire.frames import Frame, FrameReader
from actorcluster.wire.values import HandleIndex, Values

from . import independent
from .diagnostic import same, to_diagnostic
from .vectors import FRAMES, PRELUDES, STREAMS, Vector, each, kind_name, reads_of


def test_it_shares_no_code() -> None:
    tree = ast.parse(Path(independent.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names}
    sources = {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    assert {"math", "struct"} == {
        name for name in names if name.islower() and name != "annotations"
    }
    assert {"__future__", "collections.abc", "typing"} == sources


@each(FRAMES)
def test_frames(vector: Vector) -> None:
    (frame,) = independent.frames_of(bytes.fromhex(vector["hex"]))
    assert [] == frame.pop("problems")
    assert vector["hex"][32:] == frame.pop("body")
    assert same(vector["frame"], {**frame, "kind": kind_name(frame["kind"])}), frame


def ours(data: bytes, max_frame: int) -> Iterator[dict[str, Any]]:
    reader = FrameReader(Values(), max_frame=max_frame)
    try:
        frames = reader.feed(data)
    except RemoteProtocolError as exc:
        yield from map(shown, reader.take_frames())
        yield {"broken": exc.requirement}
    else:
        yield from map(shown, frames)


def shown(frame: Frame) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": frame.kind,
        "flags": frame.flags,
        "nfds": frame.nfds,
        "channel": frame.channel,
        "bad": frame.error is not None and opened(frame.kind),
    }
    if frame.error is None and opened(frame.kind):
        found["envelope"] = to_diagnostic(frame.envelope, placeholder)
        found["payload"] = to_diagnostic(frame.payload, placeholder)
    return found


def theirs(data: bytes, max_frame: int) -> Iterator[dict[str, Any]]:
    try:
        for frame in independent.frames_of(data, max_frame):
            problems = frame.pop("problems")
            frame.pop("body")
            if not opened(frame["kind"]):
                problems = []
            if problems or not opened(frame["kind"]):
                frame.pop("envelope", None)
                frame.pop("payload", None)
            yield {**frame, "bad": bool(problems)}
    except independent.Broken as exc:
        yield {"broken": str(exc)}


def opened(kind: int) -> bool:
    """Whether a receiver looks into the body at all."""
    return kind in KINDS and KINDS[kind].name not in ("PING", "PONG")


def placeholder(value: Any) -> Any:
    if isinstance(value, HandleIndex):
        return msgpack.ExtType(1, bytes([value.index]))
    raise TypeError(f"{value!r} in a frame")


@pytest.mark.parametrize("max_frame", [16384, 1 << 20])
@each(STREAMS)
def test_streams(vector: Vector, max_frame: int) -> None:
    data = b"".join(read.data for read in reads_of(vector))
    found, expected = [*ours(data, max_frame)], [*theirs(data, max_frame)]
    assert same(expected, found), (expected, found)


@pytest.mark.parametrize("name", PRELUDES)
def test_preludes(name: str) -> None:
    for step in PRELUDES[name]["steps"]:
        data = bytes.fromhex(step.get("send") or step["receive"])
        found, expected = [*ours(data, 1 << 20)], [*theirs(data, 1 << 20)]
        assert same(expected, found), (expected, found)
