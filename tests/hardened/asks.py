"""Asks under kills, cancellations and closes: ``python -m tests.hardened.asks [COUNT [SEED]]``.

Many tasks ask a few workers. What becomes of each ask is drawn beforehand: it is answered (at once,
after a while, with the handle it brought), failed, forgotten, kept until its deadline; its worker
dies of it. Every so often somebody else's ask is cancelled, or a worker is killed, stopped, told to
leave or suspended for a moment, and replaced. When all asks have begun, the primary closes.

Each worker notes each ask that it receives in one file, before anything else. Exactly one outcome
means: each ask of ours ended once, an answer is the answer to this ask, with the handle that was
given; nobody received an ask twice, and an answered one was received. Order means: of what one
task sends to one worker, sends and asks, nothing comes before what was sent earlier.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any, Final, final

import attrs
import trio

import actorcluster
from actorcluster import (
    Actor,
    Handle,
    Message,
    NotHandled,
    PeerClosed,
    Primary,
    RemoteError,
    Worker,
)

__all__ = ["Result", "run", "serve"]

_TASKS: Final = 16
_WORKERS: Final = 3
#: One in so many asks is cancelled by somebody else, one in so many ends a worker.
_CANCEL_EVERY: Final = 8
_HARM_EVERY: Final = 40
_DEADLINE_SECONDS: Final = 0.01
#: How often each fate is drawn.
_FATES: Final = {"answer": 60, "later": 20, "fail": 6, "forget": 6, "keep": 4, "die": 1}
_HARMS: Final = ("SIGKILL", "SIGTERM", "disconnect", "leave", "suspend")
_OUTCOMES: Final = frozenset({"answer", "fail", "not handled", "cancelled", "closed"})
_NOTE: Final = struct.Struct("<q")


# ---- in workers -----------------------------------------------------------------------------


async def serve(actor: Actor, path: str) -> None:
    """Note what comes, and do with it what it says."""
    notes = os.open(path, os.O_WRONLY | os.O_APPEND)
    latest: dict[int, int] = collections.defaultdict(lambda: -1)
    try:
        async with trio.open_nursery() as nursery:
            async for message in actor.mailbox:
                task, number = message.body["task"], message.body["number"]
                if message.is_ask or number < latest[task]:  # a number less than 0: out of order
                    os.write(notes, _NOTE.pack(-1 if number < latest[task] else number))
                latest[task] = number
                nursery.start_soon(_act, actor, message)
    finally:
        os.close(notes)


async def _act(actor: Actor, message: Message) -> None:
    number, handle = message.body["number"], message.handle
    with message, contextlib.nullcontext() if handle is None else contextlib.closing(handle):
        match message.body["fate"]:
            case "answer":
                await message.reply([number, handle])
            case "later":
                for _ in range(number % 32):
                    await trio.lowlevel.checkpoint()
                await message.reply([number, handle])
            case "fail":
                message.fail(ValueError(number))
            case "keep":
                await trio.sleep_forever()
            case "die":
                os.kill(os.getpid(), 9)
            case "leave":
                actor.kill()


# ---- in the primary -------------------------------------------------------------------------


@final
@attrs.frozen
class Result:
    """What came of all asks.

    Attributes:
        outcomes: by number of the ask.
        harms: what was done to workers.
        seconds: how long it took.
    """

    outcomes: dict[int, str]
    harms: collections.Counter[str] = attrs.Factory(collections.Counter)
    seconds: float = 0.0

    def check(self, count: int, notes: list[int]) -> None:
        """Compare with what the workers noted."""
        received = collections.Counter(notes)
        assert 0 == received[-1], "out of order"
        assert set(range(count)) == set(self.outcomes), "asks without an outcome"
        assert [] == [number for number, times in received.items() if times > 1], "received twice"
        assert set(self.outcomes.values()) <= _OUTCOMES
        for number, outcome in self.outcomes.items():
            if outcome in ("answer", "fail"):
                assert 1 == received[number], f"ask {number} has an answer of nobody"

    def __str__(self) -> str:
        counts = collections.Counter(self.outcomes.values())
        words = [f"{name}={times}" for name, times in counts.most_common()]
        harms = " ".join(f"{name}={times}" for name, times in self.harms.most_common())
        return f"asks={len(self.outcomes)} {' '.join(words)}; {harms}; {self.seconds:.1f} s"


@final
class _Asking:
    """All asks of a run, and the harm done meanwhile."""

    def __init__(self, primary: Primary, path: str, count: int, seed: int) -> None:
        self.result = Result({})
        self._primary = primary
        self._path = path
        self._dice = random.Random(seed)
        self._numbers: Iterator[int] = iter(range(count))
        self._count = count
        self.all_begun = trio.Event()
        self._scopes: dict[int, trio.CancelScope] = {}
        self.workers: list[Worker] = [self._fork() for _ in range(_WORKERS)]

    def _fork(self) -> Worker:
        return self._primary.fork_soon(serve, self._path)

    def _some_worker(self, dice: random.Random) -> Worker:
        """Choose one; it may be about to end, but not have ended long ago."""
        place = dice.randrange(len(self.workers))
        if not self.workers[place].is_connected():
            with contextlib.suppress(trio.ClosedResourceError):
                self.workers[place] = self._fork()
        return self.workers[place]

    async def ask_on(self, task: int) -> None:
        """Ask until all have begun."""
        dice = random.Random(self._dice.random())
        for number in self._numbers:
            if number % _HARM_EVERY == _HARM_EVERY - 1:
                await self._do_harm(dice)
            if number % _CANCEL_EVERY == 0 and self._scopes:
                dice.choice(list(self._scopes.values())).cancel()
            if number == self._count - 1:
                self.all_begun.set()
            fate = dice.choices([*_FATES], [*_FATES.values()])[0]
            worker = self._some_worker(dice)
            target = worker if dice.random() < 0.5 else self._primary.ref(worker.name)
            with trio.CancelScope() as scope:
                self._scopes[number] = scope
                if fate == "keep":
                    scope.deadline = trio.current_time() + _DEADLINE_SECONDS
                outcome = await self._ask(target, dice, {"task": task, "fate": fate}, number)
            del self._scopes[number]
            if scope.cancelled_caught:
                outcome = "cancelled"
            assert number not in self.result.outcomes
            self.result.outcomes[number] = outcome

    async def _ask(
        self, target: Any, dice: random.Random, body: dict[str, Any], number: int
    ) -> str:
        """Send a message and ask; returns what came of the ask."""
        body["number"] = number
        handle = None
        try:
            if dice.random() < 0.3:
                await target.send({**body, "fate": "nothing"})
            if dice.random() < 0.2:
                handle = Handle.of(os.memfd_create("test"))
                os.truncate(handle.fileno(), number)
            answered, given = await target.ask(body, handle)
        except NotHandled:
            return "not handled"
        except RemoteError as exc:
            return "fail" if str(number) in str(exc) else f"the failure of another: {exc}"
        except (PeerClosed, trio.ClosedResourceError):
            return "closed"
        finally:
            if handle is not None:
                handle.close()
        assert number == answered, "the answer to another ask"
        assert (handle is None) == (given is None)
        if given is not None:
            assert number == os.fstat(given.fileno()).st_size, "another handle"
            given.close()
        return "answer"

    async def _do_harm(self, dice: random.Random) -> None:
        """Let a worker end, or pause, in one way or another."""
        place = dice.randrange(len(self.workers))
        worker, harm = self.workers[place], dice.choice(_HARMS)
        self.result.harms[harm] += 1
        if harm == "suspend":
            worker.kill("SIGSTOP")
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            worker.kill("SIGCONT")
            return
        with contextlib.suppress(trio.ClosedResourceError):
            self.workers[place] = self._fork()
        if harm == "disconnect":
            with trio.CancelScope() as scope:
                scope.cancel()
                await worker.disconnect(0.05)
        elif harm == "leave":
            with contextlib.suppress(trio.WouldBlock, PeerClosed):
                worker.send_nowait({"task": -1, "number": 0, "fate": "leave"})
        else:
            worker.kill(harm)


async def run(count: int, seed: int) -> Result:
    """Do it, and check it."""
    begin = time.perf_counter()
    with tempfile.NamedTemporaryFile() as file:
        async with trio.open_nursery() as nursery:
            async with actorcluster.open_primary() as primary:
                asking = _Asking(primary, file.name, count, seed)
                for task in range(_TASKS):
                    nursery.start_soon(asking.ask_on, task)
                await asking.all_begun.wait()
        notes = [number for (number,) in _NOTE.iter_unpack(file.read())]
    asking.result.check(count, notes)
    return attrs.evolve(asking.result, seconds=time.perf_counter() - begin)


def main(count: int = 10_000, seed: int | None = None) -> None:
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    print(f"seed={seed}", flush=True)
    print(trio.run(run, count, seed))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
