"""A primary with an innocent worker, and hostile ones beside it: ``python -m tests.hostile.stage``.

Reads cells (state, tab, fault) from standard input, plays them and writes what came of each as a
line of JSON. Those that only wait for time to pass are played together, all others one by one.
This process has nothing else in it, so its memory and its descriptors are the primary's.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import logging
import os
import resource
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

import actorcluster
from actorcluster import ActorClusterError, HandleError, PeerClosed, Worker, events
from tests.hostile.speech import SOMEBODY
from tests.hostile.table import TABLE, Cell, Ends

ROOT: Final = Path(__file__).parents[2]

#: Longer than any cell takes, and than an innocent worker may be kept waiting.
PATIENCE: Final = 60
#: What the primary announces to workers whose objects it wants to be few, not only their bytes.
TIGHT: Final = {"mailbox_size": 64 * 1024, "max_message": 64 * 1024}
TIGHTLY: Final = ("memory bomb: arrays that are there", "memory bomb: a frame over max_message")


@attrs.define
class Played:
    """What came of a cell; from `served` on: of all cells that were played together.

    Attributes:
        errors: of each `events.Error`: its class, requirement, code, and text.
        reason: of the worker's exit.
        seen: what the primary's user saw, where the fault is about that.
        is_gone: whether the process is.
        served: answers of the innocent worker.
        waited: seconds for the slowest of them.
        descriptors: those of the primary that are left behind.
        tasks: likewise.
        memory: growth of the primary's at its peak, bytes.
    """

    state: str
    fault: str
    errors: list[list[Any]] = attrs.Factory(list)
    reason: str | None = None
    seen: str | None = None
    is_gone: bool = False
    served: int = 0
    waited: float = 0.0
    descriptors: int = 0
    tasks: int = 0
    memory: int = 0
    seconds: float = 0.0


class Innocent:
    """A worker that is asked all the time, and what came of it."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self.served = 0
        self.waited = 0.0
        self._news = trio.Event()

    async def serve(self) -> None:
        while True:
            begin = trio.current_time()
            with trio.fail_after(PATIENCE):
                answer = await self._worker.ask(self.served)
            if answer != self.served:
                raise AssertionError(f"{answer} for {self.served}")
            self.waited = max(self.waited, trio.current_time() - begin)
            self.served += 1
            news, self._news = self._news, trio.Event()
            news.set()
            await trio.sleep(0.002)

    async def serves_on(self) -> None:
        """Wait for an answer to what was not asked yet."""
        for _ in range(2):
            await self._news.wait()


# ---- what the primary does, where the fault needs it -------------------------------------------


async def _ask(worker: Worker, played: Played) -> None:
    patience = 0.2 if (played.fault, played.state) == ("never answers", "active") else PATIENCE
    try:
        with trio.fail_after(patience):
            played.seen = await worker.ask("question")
    except (ActorClusterError, trio.TooSlowError) as exc:
        played.seen = type(exc).__name__


async def _tell(worker: Worker, played: Played) -> None:
    await worker.send("the only one")


async def _stop(worker: Worker, played: Played) -> None:
    await worker.disconnect(0.1)


async def _fill(worker: Worker, played: Played) -> None:
    """Say as much as anybody can to one that never reads, then want it to stop."""
    if played.state == "active":
        with trio.move_on_after(0.5):
            while True:
                await worker.send(bytes(10_000))
        channel = worker.statistics().channel
        assert channel is not None
        played.seen = f"{channel.unconfirmed} sends"
        await worker.disconnect(0.1)


async def _use(worker: Worker, played: Played) -> None:
    async for message in worker.mailbox:
        with message:
            assert message.handle is None
            handle = message._event.handles[0]
            try:
                handle.into_stream()
            except HandleError as exc:
                played.seen = str(exc)
                handle.close()


async def _answer(worker: Worker, played: Played) -> None:
    async for message in worker.mailbox:
        with message:
            await message.reply(bytes(1000))


_Act = Callable[[Worker, Played], Awaitable[None]]
_ACTS: Final[dict[str, _Act]] = {
    "reply twice": _ask,
    "never answers": _ask,
    "never reads": _fill,
    "ignores STOP": _stop,
    "wrong-kind descriptors": _use,
    "floods: CALL that is answered": _answer,
    "floods: UNDELIVERABLE": _tell,
}


# ---- one cell ----------------------------------------------------------------------------------


async def _play(primary: actorcluster.Primary, played: Played) -> None:
    outcome = TABLE[played.state, played.fault]
    reason = outcome.reason if isinstance(outcome, Ends) else ""
    heard, said = os.pipe()
    worker = primary.fork_soon(
        exec=(sys.executable, "-m", "tests.hostile.worker", played.state, played.fault),
        start_timeout=2 if reason == "start_timeout" else PATIENCE,
        # Who is lost is not to be killed before that, for being slow to leave.
        shutdown=PATIENCE if reason in ("", "lost") else 0.1,
        settings={"stdio": ("ignore", said), **(TIGHT if played.fault in TIGHTLY else {})},
    )
    with primary.events(events.Error, events.Exit, worker=worker) as happens:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_note, happens, played)
            nursery.start_soon(_act, worker, played, heard)
            with trio.move_on_after(PATIENCE):
                status = await worker.wait()
                played.reason = status.reason
            if played.reason is None:
                worker.kill("SIGKILL")
                await worker.wait()
            os.close(said)
    _empty(worker)
    assert worker.pid is not None
    played.is_gone = not os.path.exists(f"/proc/{worker.pid}")


async def _note(happens: events.Subscription[events.Error | events.Exit], played: Played) -> None:
    """Note errors until it has ended."""
    async for event in happens:
        if isinstance(event, events.Exit):
            return
        exc = event.error
        code = getattr(exc, "code", None)
        facts = [type(exc).__name__, getattr(exc, "requirement", None), code, str(exc)]
        if len(played.errors) < 10:
            played.errors.append(facts)


async def _act(worker: Worker, played: Played, heard: int) -> None:
    """Wait until the worker has come to the fault, then do what that needs."""
    async with trio.lowlevel.FdStream(heard) as stream:
        await stream.receive_some(100)
    act = _ACTS.get(played.fault)
    if act is not None:
        with contextlib.suppress(PeerClosed):
            await act(worker, played)


def _empty(worker: Worker) -> None:
    try:
        while True:
            worker.mailbox.receive_nowait()._discard()
    except trio.EndOfChannel:
        pass


# ---- what they leave ---------------------------------------------------------------------------


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _memory(field: str) -> int:
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1]) * 1024


def _forget_peak() -> None:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


async def _play_measured(
    primary: actorcluster.Primary, innocent: Innocent, cells: Sequence[Cell]
) -> list[Played]:
    """Play cells together; each gets what all of them left behind."""
    gc.collect()
    innocent.waited, served = 0.0, innocent.served
    descriptors = _descriptors()
    tasks = trio.lowlevel.current_statistics().tasks_living
    memory = _memory("VmRSS")
    _forget_peak()
    all_played = [Played(state, fault) for state, fault in cells]
    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        for played in all_played:
            nursery.start_soon(_play, primary, played)
    await innocent.serves_on()
    for played in all_played:
        played.served = innocent.served - served
        played.waited = innocent.waited
        played.seconds = trio.current_time() - begin
        played.descriptors = _descriptors() - descriptors
        played.tasks = trio.lowlevel.current_statistics().tasks_living - tasks
        played.memory = _memory("VmHWM") - memory
    return all_played


async def _main(cells: Sequence[Cell]) -> None:
    slow = [cell for cell in cells if isinstance(TABLE[cell], Ends)]
    groups = [slow] * bool(slow) + [[cell] for cell in cells if cell not in slow]
    async with actorcluster.open_primary(settings={"cwd": str(ROOT)}) as primary:
        innocent = Innocent(await primary.fork("tests.e2e.actors:echo", name=SOMEBODY))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(innocent.serve)
            await innocent.serves_on()
            for group in groups:
                for played in await _play_measured(primary, innocent, group):
                    print(json.dumps(attrs.asdict(played)), flush=True)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    logging.getLogger("actorcluster").addHandler(logging.NullHandler())
    logging.getLogger("actorcluster").propagate = False
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    lines = sys.stdin.read().splitlines()
    trio.run(functools.partial(_main, [(a, b) for a, b in (line.split("\t") for line in lines)]))
