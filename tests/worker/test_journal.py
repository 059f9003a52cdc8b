"""What becomes of a worker's log records in its primary: pure books, and records of `logging`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._worker.journal import Journal
from actorcluster._worker.logquota import CHARACTERS, RECORDS, LogQuota
from actorcluster.wire.events import Log
from tests.worker.rig import leaves, rig, settle

ROOM = 2 * RECORDS


# ---- the quota ----------------------------------------------------------------------------------


def test_a_burst_passes_and_what_is_beyond_it_is_counted() -> None:
    quota = LogQuota()
    assert [True] * ROOM == [quota.take(5.0, 1) for _ in range(ROOM)]
    assert not quota.take(5.0, 1)
    assert (1, 1) == (quota.dropped, quota.untold)


def test_it_fills_with_time_and_no_further_than_full() -> None:
    quota = LogQuota()
    assert all(quota.take(0.0, 1) for _ in range(ROOM))
    assert [True] * 10 + [False] == [quota.take(0.01, 1) for _ in range(11)]
    assert ROOM == sum(quota.take(1000.0, 1) for _ in range(2 * ROOM))


def test_characters_count_as_well() -> None:
    quota = LogQuota()
    assert [True] * 4 + [False] == [quota.take(0.0, CHARACTERS) for _ in range(5)]
    assert quota.take(1.0, CHARACTERS)


def test_a_clock_that_stands_still_or_goes_back_fills_nothing() -> None:
    quota = LogQuota()
    assert all(quota.take(9.0, 1) for _ in range(ROOM))
    assert not quota.take(8.0, 1)
    assert not quota.take(8.0, 1)


def test_who_drops_is_told_from_time_to_time_and_at_the_end() -> None:
    quota = LogQuota()
    assert 0 == quota.to_tell(0.0)
    quota.untold = 7
    assert 7 == quota.to_tell(1.0)
    quota.untold = 2
    assert 0 == quota.to_tell(10.5)
    assert 2 == quota.to_tell(11.0)
    quota.untold = 3
    assert 3 == quota.rest()
    assert 0 == quota.rest()


# ---- records ------------------------------------------------------------------------------------


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[list[logging.LogRecord]]:
    """What is logged, in a list that stays the same."""
    found: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = found.append  # type: ignore[method-assign, assignment]
    logger = logging.getLogger("actorcluster.worker")
    logger.addHandler(handler)
    with caplog.at_level(logging.DEBUG, "actorcluster.worker"):
        yield found
    logger.removeHandler(handler)


def said(message: str = "hello", **changes: Any) -> Log:
    fields = {"level": 30, "time": time.time(), "logger": "app", "attributes": {}, **changes}
    return Log(message=message, **fields)


async def note(event: Log, name: str = "web.2") -> None:
    Journal(name, 7).note(event, 1234)


async def test_a_record_says_whose_it_is(records: list[logging.LogRecord]) -> None:
    await note(said(attributes={"line": 5}))
    (record,) = records
    assert ("actorcluster.worker.web.2", logging.WARNING) == (record.name, record.levelno)
    assert "app: hello" == record.getMessage()
    assert (1234, "web.2") == (record.process, record.processName)
    assert ("web.2", 7, "app", {"line": 5}) == tuple(
        getattr(record, f"worker{name}") for name in ("", "_id", "_logger", "_attributes")
    )


async def test_those_without_a_name_share_a_logger(records: list[logging.LogRecord]) -> None:
    """Their names are new each time, and a logger is never forgotten."""
    await note(said(), "worker-12")
    (record,) = records
    assert "actorcluster.worker.unnamed" == record.name
    assert "worker-12: app: hello" == record.getMessage()
    assert "actorcluster.worker.worker-12" not in logging.root.manager.loggerDict


async def test_texts_are_escaped_and_cut_off(records: list[logging.LogRecord]) -> None:
    await note(said("%s {} \x1b[31m\nFAKE", logger="a\n" + "l" * 500))
    await note(said("m" * 100_000))
    first, second = records
    assert "a\\n" + "l" * 254 + r": %s {} \x1b[31m\nFAKE" == first.getMessage()
    assert len("app: ") + 16 * 1024 == len(second.getMessage())


@pytest.mark.parametrize(("level", "expected"), [(0, 1), (10, 10), (13, 13), (50, 50), (255, 50)])
async def test_levels(level: int, expected: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1, "actorcluster.worker")
    await note(said(level=level))
    assert [expected] == [record.levelno for record in caplog.records]


@pytest.mark.parametrize("when", [0.0, -1e300, 1e300, math.nan, 4e9])
async def test_a_time_that_makes_no_sense_is_replaced(
    when: float, records: list[logging.LogRecord]
) -> None:
    """Formatting it would fail."""
    before = time.time()
    await note(said(time=when))
    assert before <= records[0].created <= time.time()
    assert logging.Formatter("%(asctime)s").format(records[0])


async def test_a_record_keeps_its_own_time(records: list[logging.LogRecord]) -> None:
    when = float(int(time.time()) - 100) + 0.25
    await note(said(time=when))
    assert (when, 250.0) == (records[0].created, records[0].msecs)


async def test_attributes_are_few_and_short_and_plain(records: list[logging.LogRecord]) -> None:
    given = {
        "a\n": "\x1b" + "v" * 5000,
        "list": [1],
        "bytes": b"",
        "none": None,
        "f": 0.5,
        "b": True,
    }
    await note(said(attributes={**given, **{f"k{i}": i for i in range(100)}}))
    found: dict[str, Any] = vars(records[0])["worker_attributes"]
    assert 32 == len(found)
    assert {
        "a\\n": r"\x1b" + "v" * 1023,
        "none": None,
        "f": 0.5,
        "b": True,
    }.items() <= found.items()
    assert not {"list", "bytes"} & set(found)


async def test_what_nobody_would_see_costs_no_quota(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "actorcluster.worker")
    journal = Journal("web", 1)
    for _ in range(2 * ROOM):
        journal.note(said(), None)
    assert 0 == journal.dropped
    assert [] == caplog.records


async def test_a_flood_is_cut_off_and_told(
    records: list[logging.LogRecord], autojump_clock: trio.testing.MockClock
) -> None:
    journal = Journal("web", 1)
    for _ in range(ROOM + 500):
        journal.note(said(), None)
    assert 500 == journal.dropped
    await trio.sleep(1)
    journal.note(said("again"), None)
    await trio.sleep(1)
    for _ in range(ROOM + 3):
        journal.note(said(), None)
    journal.close()
    told = [record.getMessage() for record in records if record.name == "actorcluster.worker"]
    texts = [f"worker web logs too much: {count} records were dropped" for count in (1, 503)]
    assert texts == told


async def test_attributes_count_as_the_text_does(
    records: list[logging.LogRecord], autojump_clock: trio.testing.MockClock
) -> None:
    journal = Journal("web", 1)
    for _ in range(ROOM):
        journal.note(Log(20, time.time(), "app", "", {f"{n:02}": "x" * 1000 for n in range(32)}), 1)
    shown = sum(record.name == "actorcluster.worker.web" for record in records)
    assert 4 * CHARACTERS // (32 * 1002 + 3) == shown == ROOM - journal.dropped


async def test_a_worker_that_floods(records: list[logging.LogRecord]) -> None:
    """By the wire; it lives on, and its owner can see it."""
    async with rig() as one:
        await one.comes_online()
        for _ in range(50):
            for _ in range(100):
                one.worker.connection.send_log(40, time.time(), "app", "x")
            one.worker.channel.flush()
            await settle()
        await leaves(one)
        assert one.life.logs_dropped > 0
    shown = sum(record.name == "actorcluster.worker.w" for record in records)
    assert 5000 == shown + one.life.logs_dropped
    assert any("logs too much" in record.getMessage() for record in records)
