"""The primary: the tree of the example, reloaded and killed; and what is written down meanwhile."""

from __future__ import annotations

import functools
import importlib.util
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import trio

import actorcluster
from actorcluster import Backoff, Listen, Primary, Supervisor, Worker, events
from tests.chaos.clients import Failure, attempt
from tests.chaos.crowd import crowd
from tests.chaos.service import HOST
from tests.chaos.storm import PATIENCE
from tests.mixed.books import Books, Shares
from tests.mixed.clients import ask, who
from tests.ports import free_port
from tests.program import ROOT
from tests.reload_load.load import recording

if TYPE_CHECKING:
    from languages import Language

__all__ = ["PLACE", "languages", "run"]

PLACE: Final = ROOT / "examples" / "mixed_cluster"
CLIENTS: Final = 8
#: On average, between two kills; drawn from an exponential distribution.
KILLS_PER_SECOND: Final = 7.0

_NAME: Final = "tests_mixed_languages"
_HELLO: Final = "hello, all of you"


def languages() -> tuple[Language, ...]:
    """The table of the example, which is no package."""
    found: tuple[Language, ...] = _example().LANGUAGES
    return found


def _example() -> ModuleType:
    if _NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(_NAME, PLACE / "languages.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[_NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_NAME])
    return sys.modules[_NAME]


async def run(
    those: Sequence[Language],
    built: Path,
    log: Path,
    *,
    requests: int,
    kills: int,
    reloads: int,
    seed: int,
    patience: float = PATIENCE,
    say: Callable[[str], None] = lambda _: None,
) -> Books:
    """Play all parts, see `tests.mixed`.

    Args:
        those: the languages, built.
        built: where.
        log: a file that is not there yet.
        requests: before all else.
        kills: under load, one child after the other.
        reloads: likewise.
        seed: for the moments of the kills.
        patience: seconds; a client that waits longer hangs.
        say: is told what comes next.
    """
    books = Books(level_1={one.name for one in those if one.has_mail})
    site, port = _Site(those, books, log), free_port()
    with recording(books):
        async with actorcluster.open_primary(site.tree(built, port)) as primary:
            site.primary = primary
            say("shares")
            await site.share_out(port, requests)
            site.is_bounded = True  # from its next life on, each has one connection open at a time
            async with crowd("tests.mixed.clients", port, CLIENTS, patience) as clients:
                say("reloads")
                await site.reload(reloads)
                say("kills")
                await site.kill(kills, random.Random(seed))
                await trio.sleep(0.1)  # so that what a kill cut off is over, with clients there
                site.take(await clients.finish())
            answers = await primary.gather(["echo", _HELLO], timeout=patience)
            books.echoed = {primary.workers[it].name for it in answers if answers[it] == _HELLO}
    books.logged.update(line.split()[-1] for line in log.read_text().splitlines())
    return books


class _Site:
    """What is in service, and what happens to it."""

    def __init__(self, those: Sequence[Language], books: Books, log: Path) -> None:
        self.primary: Primary
        self.is_bounded = False
        self._those = those
        self._books = books
        self._log = log

    def tree(self, built: Path, port: int) -> Supervisor:
        children = [
            one.child(
                built,
                port,
                settings=functools.partial(self._settings, one),
                backoff=Backoff(min=0, max=0),
                start_timeout=120,
            )
            for one in self._those
        ]
        listen = Listen(port, host=HOST, policy="round_robin")
        return Supervisor(max_restarts=10**6, listeners=[listen], children=children)

    def _settings(self, one: Language, _number: int, _name: str) -> Mapping[str, Any]:
        """The settings of a life."""
        bounds = {"MAX_CONNECTIONS": "1", "ACCESS_LOG": str(self._log)}
        return {**one.settings, "env": bounds if self.is_bounded else {}}

    # ---- shares -------------------------------------------------------------------------------

    async def share_out(self, port: int, requests: int) -> None:
        """One client after the other; first with those who accept for themselves, then without."""
        beside = [one.name for one in self._those if one.connections == "shared"]
        if beside:
            await self._visit(port, requests // 4)
        for name in beside:
            await self.primary.terminate_child(name)
        await self._visit(port, requests)
        for name in beside:
            await self.primary.restart_child(name)

    async def _visit(self, port: int, requests: int) -> None:
        before, served = self._dealt(), Counter[str]()
        for number in range(requests):
            end, answer = await attempt(port, 0, f"shares.{number}", float("inf"), ask)
            served[who(answer) if end.outcome == "served" else end.outcome] += 1
        dealt = self._dealt()
        dealt.subtract(before)
        self._books.shares.append(Shares(served, dealt, requests))

    def _dealt(self) -> Counter[str]:
        (port,) = self.primary.statistics().ports
        names = [one.name for one in self._those if one.connections == "dealt"]
        return Counter({name: port.dealt.get(self._worker(name).id, 0) for name in names})

    # ---- lives --------------------------------------------------------------------------------

    async def reload(self, count: int) -> None:
        """Replace one child after the other, so many in all, and each at least once."""
        names = [one.name for one in self._those]
        rounds, rest = divmod(max(count, len(names)), len(names))
        for _ in range(rounds):  # in the order of the tree, each when the one before it is done
            await self.primary.reload(ready_timeout=120)
            self._books.reloads.update(names)
        for name in names[:rest]:
            await self.primary.reload(name, ready_timeout=120)
            self._books.reloads[name] += 1

    async def kill(self, count: int, dice: random.Random) -> None:
        """End one child after the other, and wait for its next life."""
        self._books.first_kill = time.monotonic()
        for turn in range(count):
            await trio.sleep(dice.expovariate(KILLS_PER_SECOND))
            one = self._those[turn % len(self._those)]
            victim = self._worker(one.name)
            kind = events.Online if one.connections == "none" else events.Listening
            with self.primary.events(kind) as happenings:
                self._books.kills.append(victim.id)
                self._books.killed[one.name] += 1
                if one.connections == "shared":
                    await self._kill_wrapper(victim)
                else:
                    victim.kill("SIGKILL")
                async for event in happenings:
                    if event.worker.name == one.name:
                        break

    async def _kill_wrapper(self, victim: Worker) -> None:
        """Its program dies with it, but a moment later."""
        (program,) = Path(f"/proc/{victim.pid}/task/{victim.pid}/children").read_text().split()
        pidfd = os.pidfd_open(int(program))
        try:
            began = time.monotonic()
            victim.kill("SIGKILL")
            await trio.lowlevel.wait_readable(pidfd)
            self._books.beside_kills.append((began, time.monotonic()))
        finally:
            os.close(pidfd)

    def _worker(self, name: str) -> Worker:
        """The latest life of a child."""
        return max(
            (one for one in self.primary.workers.values() if one.name == name),
            key=lambda one: one.id,
        )

    def take(self, report: Mapping[str, Any]) -> None:
        """Take what the clients say."""
        self._books.served = Counter(report["served"])
        self._books.failures = [Failure(**each) for each in report["failures"]]
        self._books.slowest = report["slowest"]
