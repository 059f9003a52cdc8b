"""What is told of a start that failed, and of many answers: briefly, and in order."""

from __future__ import annotations

import copy
import pickle
import traceback
from typing import Any

import pytest
import trio

from actorcluster import Actor, WorkerStartError, open_primary


async def fails_early(actor: Actor) -> None:
    """Fail before it is ready."""
    raise ValueError("first line\nsecond line")


async def answers_late(actor: Actor, seconds: float) -> None:
    """Answer after a while."""
    async for message in actor.mailbox:
        with message:
            await trio.sleep(seconds)
            await message.reply(seconds)


async def test_a_start_that_failed_is_one_line_and_a_page() -> None:
    """The page stands below the error where nobody catches it."""
    async with open_primary() as primary:
        with pytest.raises(WorkerStartError) as caught:
            await primary.fork(fails_early, name="x", run="task", ready="called")
    error = caught.value
    assert "worker x ended before it was ready: " in str(error)
    assert 1 == len(str(error).splitlines())
    assert "ValueError: first line" in "".join(traceback.format_exception(error))
    assert error.report is not None
    assert "in fails_early" in str(error.report)
    assert WorkerStartError("never seen").report is None


async def test_answers_of_many_are_in_order(autojump_clock: trio.abc.Clock) -> None:
    async with open_primary() as primary:
        workers = [
            await primary.fork(answers_late, seconds, run="task")
            for seconds in (3.0, 1.0, 9.0, 2.0)
        ]
        answers = await primary.gather(None, timeout=5)
    assert [worker.id for worker in workers] == list(answers)
    assert [3.0, 1.0, 2.0] == [answer for answer in answers.values() if isinstance(answer, float)]


class OddClass(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__qualname__", "__name__"):
            raise SystemExit("it has no name")
        return super().__getattribute__(name)


class Odd(Exception, metaclass=OddClass):
    pass


class OddTrace(Exception):
    @property
    def __traceback__(self) -> None:  # type: ignore[override]  # wrong on purpose
        raise ValueError("it comes from nowhere")


class OddText(Odd):
    def __str__(self) -> str:
        raise SystemExit("it has no text")


class OddLoader:
    def get_source(self, name: str) -> str:
        raise ValueError("it has no source")


ODD_CLASSES = {"class": Odd, "trace": OddTrace, "text": OddText}


async def fails_oddly(actor: Actor, what: str) -> None:
    """Raise what can hardly be described."""
    if what in ODD_CLASSES:
        raise ODD_CLASSES[what]
    there: dict[str, Any] = {"__name__": "there", "__loader__": OddLoader()}
    exec(compile("1 / 0", "/nonexistent/there.py", "exec"), there)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("class", "cannot be written: it has no name"),
        ("loader", "cannot be written: it has no source"),
        ("trace", "cannot be described"),
        ("text", "cannot be described"),
    ],
)
async def test_what_cannot_be_described_ends_like_all(
    what: str, told: str, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody restarts it, so why it failed is logged: at its end, in the primary."""
    async with open_primary() as primary:
        worker = await primary.fork(fails_oddly, what, name="x", run="task")
        status = await worker.wait()
    assert "error" == status.reason
    assert status.error is not None
    assert told in f"{status.error.text} {status.error.traceback}"
    assert "x: error" in caplog.text
    assert "x failed: error" in str(status.report)


async def test_a_status_can_be_copied(autojump_clock: trio.abc.Clock) -> None:
    """Nothing of what made it goes along: code, and all that a module holds."""
    async with open_primary() as primary:
        worker = primary.fork_soon(fails_early, name="x", run="task")
        status = await worker.wait()
    for other in (copy.deepcopy(status), pickle.loads(pickle.dumps(status))):
        assert status == other
        assert other.error is not None
        assert "in fails_early" in (other.error.traceback or "")
        assert str(status.report) == str(other.report)
