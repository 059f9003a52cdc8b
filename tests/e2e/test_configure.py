"""Workers that are told of other settings while they run, and what they log in their primary."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any

import pytest
import trio

from actorcluster import MessageTooLarge, PeerClosed, open_primary
from tests.e2e import configured_actors as actors
from tests.worker.lines import until

SECONDS = 60
METHODS = ["forkserver", "exec"]


@pytest.mark.parametrize("method", METHODS)
async def test_what_a_worker_logs(method: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "actorcluster.worker")
    with trio.fail_after(SECONDS):
        async with open_primary(settings={"start_method": method}) as primary:
            worker = await primary.fork(actors.logs, name="web")
            await worker.ask([logging.WARNING, "no\ndb"])
            await worker.ask([logging.DEBUG, "detail"])
            status = await worker.disconnect()
    assert "shutdown" == status.reason
    found = [record for record in caplog.records if record.name == "actorcluster.worker.web"]
    assert [("app.told: no\\ndb", 30), ("app.told: detail", 10)] == [
        (record.getMessage(), record.levelno) for record in found
    ]
    assert {worker.pid} == {record.process for record in found}


async def test_last_words_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = primary.fork_soon(actors.logs_and_fails, name="bad")
            assert "error" == (await worker.wait()).reason
    assert "app: last words" in caplog.text


async def test_a_level_that_is_not_worth_sending(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "actorcluster.worker")
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = await primary.fork(actors.logs, name="web")
            worker.configure(log_level="WARNING")
            await worker.ask([logging.INFO, "not sent"])
            await worker.ask([logging.WARNING, "sent"])
            worker.configure(log_level=logging.DEBUG)
            await worker.ask([logging.DEBUG, "sent again"])
            await worker.disconnect()
    found = [record for record in caplog.records if record.name == "actorcluster.worker.web"]
    assert ["app.told: sent", "app.told: sent again"] == [r.getMessage() for r in found]


async def test_a_task_logs_in_its_primary_anyway(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            task = await primary.fork(actors.logs, name="task", run="task")
            await task.ask([logging.WARNING, "once"])
            with pytest.raises(ValueError, match="part of this process"):
                task.configure(log_level=10)
            await task.disconnect()
    assert ["app.told"] == [r.name for r in caplog.records if r.getMessage().endswith("once")]


@pytest.mark.parametrize("when", ["before", "later"])
async def test_config(when: str) -> None:
    """What is said before the introductions waits for them; nothing that is not named changes."""
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = primary.fork_soon(actors.tells_config)
            if when == "later":
                await worker.ask(None)
            worker.configure(config={"rate": 5, "gone": [1]})
            worker.configure(config={"gone": None})
            assert {"rate": 5, "gone": None} == await worker.ask(None)


async def test_another_heartbeat() -> None:
    """The next question comes after a third of it; and there may be none."""
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = await primary.fork(actors.waits, heartbeat=math.inf)
            channel: Any = worker._life.channel
            worker.configure(heartbeat=0.03)
            for _ in range(3):
                heard = channel.heard
                await until(partial(lambda before: channel.heard > before, heard))
            worker.configure(heartbeat=math.inf)
            await trio.testing.wait_all_tasks_blocked(0.05)
            heard = channel.heard
            await trio.sleep(0.2)
            assert heard == channel.heard


async def test_a_heartbeat_that_finds_a_worker_stuck() -> None:
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = await primary.fork(actors.waits, heartbeat=1.0, hung_after=1.0)
            with pytest.raises(ValueError, match="hung_after"):
                worker.configure(heartbeat=1.1)
            worker.configure(heartbeat=0.3)
            worker.kill("SIGSTOP")
            assert "hung" == (await worker.wait()).reason


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"heartbeat": 0}, ValueError, "heartbeat"),
        ({"heartbeat": -1}, ValueError, "heartbeat"),
        ({"heartbeat": "1"}, TypeError, "heartbeat"),
        ({"log_level": "LOUD"}, ValueError, "log_level"),
        ({"log_level": 256}, ValueError, "log_level"),
        ({"log_level": 1.5}, TypeError, "log_level"),
        ({"config": 5}, TypeError, "config"),
        ({"config": {"x": object()}}, TypeError, "x"),
        ({"config": {5: 1}}, TypeError, "key of type int"),
        ({"config": {"x": bytes(2_000_000)}}, MessageTooLarge, "2000"),
    ],
)
@pytest.mark.parametrize("when", ["before", "later"])
async def test_what_is_wrong_changes_nothing(
    when: str, settings: dict[str, Any], error: type[Exception], text: str
) -> None:
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = primary.fork_soon(actors.tells_config)
            if when == "later":
                await worker.ask(None)
            with pytest.raises(error, match=text):
                worker.configure(**settings)
            assert {} == await worker.ask(None)


async def test_the_end_takes_no_settings() -> None:
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = await primary.fork(actors.waits)
            worker.kill()
            await worker.wait()
            with pytest.raises(PeerClosed, match="no more settings"):
                worker.configure(log_level=10)
            program = primary.fork_soon(settings={"exec": ("/no/such",)})
            program.configure(log_level=10)  # it may still come to be
            assert "lost" == (await program.wait()).reason
