"""The handler that sends a worker's records to its primary: threads, bounds, ends."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from actorcluster._worker.loghandler import LogQueue, PrimaryHandler
from actorcluster.wire import events
from tests.worker.boss import Boss


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """One of its own, that nobody else hears."""
    logger = logging.Logger("app.db")  # noqa: LOG001  (it is to be forgotten)
    yield logger
    logger.handlers.clear()


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Boss, LogQueue]]:
    boss = Boss()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(boss.link.run)
        await boss.start()
        yield boss, LogQueue(boss.link)
        boss.close()


async def hear_logs(boss: Boss, count: int) -> list[events.Log]:
    return [await boss.hear(events.Log) for _ in range(count)]


async def test_a_record_as_it_arrives(logger: logging.Logger) -> None:
    async with served() as (boss, queue):
        logger.addHandler(PrimaryHandler(queue))
        logger.warning("no %s", "db")
        (log,) = await hear_logs(boss, 1)
    assert (30, "app.db", "no db") == (log.level, log.logger, log.message)
    expected = {"function": "test_a_record_as_it_arrives", "thread": "MainThread"}
    assert expected.items() <= log.attributes.items()
    assert log.attributes["file"].endswith("test_loghandler.py")


async def test_levels_of_the_handler_and_of_the_primary(logger: logging.Logger) -> None:
    async with served() as (boss, queue):
        logger.addHandler(PrimaryHandler(queue, "INFO"))
        logger.debug("not for the handler")
        logger.info("1")
        queue.level = logging.ERROR
        logger.warning("not for the primary")
        logger.error("2")
        assert ["1", "2"] == [log.message for log in await hear_logs(boss, 2)]


async def test_an_exception_with_its_traceback(logger: logging.Logger) -> None:
    async with served() as (boss, queue):
        logger.addHandler(PrimaryHandler(queue))
        try:
            raise ValueError("on purpose")
        except ValueError:
            logger.exception("it failed")
        (log,) = await hear_logs(boss, 1)
    assert log.message.startswith("it failed\nTraceback")
    assert log.message.endswith("ValueError: on purpose")


async def test_what_cannot_be_sent_is_made_fit(logger: logging.Logger) -> None:
    async with served() as (boss, queue):
        logger.addHandler(PrimaryHandler(queue))
        logger.warning("half of a \ud83d")
        (log,) = await hear_logs(boss, 1)
    assert "half of a \\ud83d" == log.message


async def test_from_other_threads(logger: logging.Logger) -> None:
    async with served() as (boss, queue):
        logger.addHandler(PrimaryHandler(queue))

        def work() -> None:
            for i in range(50):
                logger.info("%d", i)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        logs = await hear_logs(boss, 200)
        for thread in threads:
            thread.join()
    assert sorted([str(i) for i in range(50)] * 4) == sorted(log.message for log in logs)


async def test_a_loop_that_stands_still_costs_records_and_they_are_counted(
    logger: logging.Logger,
) -> None:
    async with served() as (boss, queue):
        logger.addHandler(PrimaryHandler(queue))
        for number in range(1500):
            logger.info("%d", number)
        logs = await hear_logs(boss, 1000)
        logger.info("later")
        logs += await hear_logs(boss, 2)
    texts = [log.message for log in logs]
    missing = "500 log records were dropped here: there were too many"
    assert [*map(str, range(1000)), missing, "later"] == texts


async def test_a_primary_that_does_not_read_costs_no_memory(logger: logging.Logger) -> None:
    """What it did not read waits, and is sent when it reads again."""
    async with served() as (boss, queue):
        logger.addHandler(PrimaryHandler(queue))
        sent = 0
        while queue._size < 900_000:  # the kernel takes some
            logger.info("x" * 10_000)
            sent += 1
            await trio.testing.wait_all_tasks_blocked()
        for _ in range(200):
            logger.info("x" * 10_000)
        await trio.testing.wait_all_tasks_blocked()
        assert queue._size <= 1024 * 1024
        held = boss.link.connection._outbox._queue
        assert sum(len(frame) for frame in held if isinstance(frame, bytes)) < 1024 * 1024
        logger.info("the last")
        last = ""
        while last != "the last":
            last = (await boss.hear(events.Log)).message
            logger.info("the last")


async def test_what_waits_at_the_end_is_sent(logger: logging.Logger) -> None:
    async with served() as (boss, queue):
        logger.addHandler(PrimaryHandler(queue))
        for number in range(1200):
            logger.info("%d", number)
        queue.flush(is_last=True)
        boss.link.connection.send_goodbye()
        boss.link.flush()
        logs = await hear_logs(boss, 1001)
        await boss.hear(events.Goodbye)
    assert "999" == logs[-2].message
    assert logs[-1].message.startswith("200 log records were dropped")


async def test_after_the_end_nothing_happens(logger: logging.Logger) -> None:
    async with served() as (boss, queue):
        logger.addHandler(PrimaryHandler(queue))
        boss.link.connection.send_goodbye()
        logger.info("too late")
        await trio.testing.wait_all_tasks_blocked()
        assert 0 == len(queue._lines)
    logger.info("nobody is there")
    assert 0 == len(queue._lines)


async def test_a_forked_copy_does_nothing(logger: logging.Logger) -> None:
    async with served() as (_, queue):
        logger.addHandler(PrimaryHandler(queue))
        pid = os.fork()
        if pid == 0:
            logger.info("from a copy")
            os._exit(len(queue._lines))
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def test_a_handler_that_is_left_behind_by_the_loop(logger: logging.Logger) -> None:
    """A thread may log after Trio has ended."""
    kept: list[LogQueue] = []

    async def main() -> None:
        boss = Boss()
        kept.append(LogQueue(boss.link))
        boss.link._socket.close()
        boss.close()

    await trio.to_thread.run_sync(trio.run, main)
    logger.addHandler(PrimaryHandler(kept[0]))
    logger.info("nobody is there")
    assert 0 == len(kept[0]._lines)
