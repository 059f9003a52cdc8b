"""Node programs under a primary that writes a trace: no key of their tickets is in it."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

import pytest
import trio

from actorcluster import open_primary
from actorcluster.conform.frames import kind_name
from actorcluster.trace.reading import as_json, as_lines, load
from actorcluster.trace.tracefile import Frame, Spawn
from tests.node_adapter.clusters import our_cluster
from tests.node_adapter.stories import STORIES
from tests.program import PATIENCE
from tests.require import require
from tests.trace import actors
from tests.trace.forms import forms, found_in

KEY_SIZE = 48


def decoded(path: Path) -> bytes:
    """All that ``--decode`` can print of a file."""
    trace = load(str(path))
    return "\n".join([*as_lines(trace), *map(json.dumps, as_json(trace))]).encode()


def keys_of(place: Path) -> list[list[bytes]]:
    """Of each worker of `https.js`: the key that was its own, and the one it has in the end."""
    files = sorted(place.glob("*.tickets-*"))
    return [[bytes.fromhex(line) for line in file.read_text().split("\n")] for file in files]


@require("node")
async def test_the_keys_of_tickets_are_in_no_trace_and_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They go through the primary: sessions of the one worker are resumed by the other."""
    path = tmp_path / "t"
    caplog.set_level(logging.DEBUG)
    with tempfile.TemporaryDirectory(prefix="ac-") as place, trio.fail_after(4 * PATIENCE):
        async with our_cluster(trace=path, trace_bodies=True) as cluster:
            turns, resumed, ends = await STORIES["resumed_sessions"](cluster, Path(place))
        (own, shared), (other, same) = keys_of(Path(place))
    assert ([True] * 3, [False, True, True, True]) == (turns, resumed)
    assert [0, 0] == [end["code"] for end in ends]
    assert {KEY_SIZE} == {len(key) for key in (own, other)}
    assert (True, True) == (shared == same, shared in (own, other))

    trace = load(str(path))
    assert ["node", "node"] == [one.protocol for one in trace.records if isinstance(one, Spawn)]
    listens = [
        (kind_name(one.header[7]), *one.masked)
        for one in trace.records
        if isinstance(one, Frame) and one.masked
    ]
    assert [("LISTEN", "data"), ("LISTENING", "data")] == sorted({*listens})
    assert 4 == len(listens)
    for key in (own, other):
        assert set() == found_in(path.read_bytes(), key)
        assert set() == found_in(decoded(path), key)
        assert set() == found_in(caplog.text.encode(), key)


async def test_a_key_that_is_in_a_trace_is_found(tmp_path: Path) -> None:
    """So it would be by the test above, in whatever form it got there."""
    key = bytes(range(250, 256)) + bytes(range(7, 49))
    wanted = forms(key[16:32])
    with trio.fail_after(PATIENCE):
        async with open_primary(trace=tmp_path / "t", trace_bodies=True) as primary:
            worker = await primary.fork(actors.echo)
            for name, form in wanted.items():
                assert form == await worker.ask(form), name
            await worker.ask([list(key), key.hex()])
    data = (tmp_path / "t").read_bytes()
    assert wanted.keys() == found_in(data, key)
    assert set() == found_in(data, key[::-1])
    assert {"hex", "numbers"} <= found_in(decoded(tmp_path / "t"), key)
