"""Monitors between two connections: numbers, limits, and texts that have to fit."""

from __future__ import annotations

from typing import Any

import pytest

from actorcluster.errors import LocalProtocolError, MessageTooLarge
from actorcluster.wire import events
from actorcluster.wire._generated import BUILT_CAPABILITIES, LIMIT_DEFAULTS, AbortCode, Kind
from actorcluster.wire.connection import Connection
from tests.wire.pair import ConnectionPair
from tests.wire.talk import breaks, frame, said

DOWN = events.Down(1, 3 << 32, "signal", {"signal": "SIGKILL"})


def introduced(**options: Any) -> ConnectionPair:
    pair = ConnectionPair(**options)
    pair.start()
    return pair


def carry(source: Connection, target: Connection) -> list[Any]:
    """Let one end hear what the other has said."""
    return [
        event
        for batch in source.data_to_send()
        for event in target.receive(b"".join(batch.buffers))
    ]


def test_asked_and_answered() -> None:
    pair = introduced()
    assert 1 == pair.worker.send_monitor("db")
    assert [events.Monitored(1, "db")] == carry(pair.worker, pair.primary)
    for _ in range(2):  # the second time there is nobody any more who asks
        pair.primary.send_down(1, 3 << 32, "signal", {"signal": "SIGKILL"})
    assert [DOWN] == carry(pair.primary, pair.worker)
    assert [] == carry(pair.primary, pair.worker)


def test_taken_back_while_the_answer_is_on_its_way() -> None:
    pair = introduced()
    pair.worker.send_monitor("db")
    carry(pair.worker, pair.primary)
    pair.primary.send_down(1, 3 << 32, "signal", {"signal": "SIGKILL"})
    for _ in range(2):
        pair.worker.send_demonitor(1)
    assert [] == carry(pair.primary, pair.worker)
    assert [] == carry(pair.worker, pair.primary)


def test_a_new_number_for_each() -> None:
    pair = introduced()
    numbers = []
    for _ in range(3):
        numbers.append(pair.worker.send_monitor("db"))
        pair.worker.send_demonitor(numbers[-1])
    assert [1, 2, 3] == numbers


def test_after_the_highest_number_comes_the_lowest_that_is_free() -> None:
    worker = introduced().worker
    assert 1 == worker.send_monitor("db")
    worker._next_monitor = 2**32 - 1
    assert [2**32 - 1, 2] == [worker.send_monitor("db") for _ in range(2)]


def test_no_more_than_the_primary_takes() -> None:
    pair = introduced(primary={"limits": {"max_monitors": 2}})
    for name in ("a", "b"):
        pair.worker.send_monitor(name)
    with pytest.raises(LocalProtocolError, match="there are 2 monitors"):
        pair.worker.send_monitor("c")
    pair.worker.send_demonitor(1)
    assert 3 == pair.worker.send_monitor("c")
    assert 4 == len(carry(pair.worker, pair.primary))
    breaks(pair.primary, frame(Kind.MONITOR, [9, "d"]), "AWP-SU-4", AbortCode.LIMIT_EXCEEDED)


@pytest.mark.parametrize("side", ["worker", "primary"])
def test_without_the_capability(side: str) -> None:
    capabilities = BUILT_CAPABILITIES - {"monitor"}
    pair = introduced(**{side: {"capabilities": capabilities}})
    with pytest.raises(LocalProtocolError, match="needs the capability monitor"):
        pair.worker.send_monitor("db")
    breaks(pair.primary, frame(Kind.MONITOR, [1, "db"]), "AWP-HS-3", AbortCode.PROTOCOL_ERROR)


def test_a_name_that_fits_nowhere() -> None:
    worker = introduced().worker
    with pytest.raises(MessageTooLarge):
        worker.send_monitor("x" * LIMIT_DEFAULTS["max_frame"])
    assert 1 == worker.send_monitor("x")


def test_long_and_broken_texts_are_made_to_fit() -> None:
    pair = introduced(worker={"limits": {"max_frame": 16384}})
    pair.worker.send_monitor("db")
    carry(pair.worker, pair.primary)
    detail = {"code": 1, "type": "x" * 100_000, "text": "\udcff" + "\U0001f600" * 100_000}
    pair.primary.send_down(1, 3 << 32, "error", detail)
    (down,) = carry(pair.primary, pair.worker)
    assert {"code": 1, "type": "x" * 1000, "text": "?" + "\U0001f600" * 999} == down.detail


def test_when_the_connection_is_over() -> None:
    """Nobody is told anything, and that is no error."""
    pair = introduced()
    pair.worker.send_monitor("db")
    carry(pair.worker, pair.primary)
    for end in (pair.worker, pair.primary):
        end.abort(AbortCode.INTERNAL)
        said(end)
    pair.worker.send_demonitor(1)
    pair.primary.send_down(1, None, "gone", {})
    assert [] == said(pair.worker) == said(pair.primary)
    with pytest.raises(LocalProtocolError, match="cannot send MONITOR"):
        pair.worker.send_monitor("db")


def test_answers_that_nobody_reads_are_bounded() -> None:
    primary = introduced().primary
    with pytest.raises(Exception, match="answers were provoked and not read"):
        for _ in range(100_000):
            primary.receive(frame(Kind.MONITOR, [1, "db"]))
            primary.send_down(1, None, "no_such_actor", {})
