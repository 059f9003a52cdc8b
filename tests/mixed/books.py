"""What is known after a run, and whether it is as it should be."""

from __future__ import annotations

from collections import Counter

import attrs

from tests.chaos.clients import Failure
from tests.reload_load.books import Books as LoadBooks

__all__ = ["Books", "Shares"]


@attrs.frozen
class Shares:
    """Who served how many of some requests, one after another.

    Attributes:
        served: by name, as the answers say.
        dealt: by name, as the primary says; of those that it deals to.
        asked: how many requests there were.
    """

    served: Counter[str]
    dealt: Counter[str]
    asked: int

    def broken_promises(self) -> list[str]:
        """Name what must not be."""
        broken = []
        if max(self.dealt.values()) - min(self.dealt.values()) > 1:
            broken.append(f"uneven={dict(self.dealt)}")
        if any(self.served[name] != count for name, count in self.dealt.items()):
            broken.append(f"dealt={dict(self.dealt)} served={dict(self.served)}")
        if self.asked != self.served.total():
            broken.append(f"asked={self.asked} served={self.served.total()}")
        return broken


@attrs.define(kw_only=True)
class Books(LoadBooks):
    """The books of one run.

    Attributes:
        shares: of requests before all else.
        reloads: how many there were, by name.
        killed: likewise.
        beside_kills: of who accepts for itself: when it was killed, and when its program was gone,
            ``time.monotonic()``. The kernel kills that when it ends the wrapper.
        served: requests under load, by name.
        slowest: seconds that one of those took.
        level_1: who claims to take messages.
        echoed: who answered the message for all.
    """

    shares: list[Shares] = attrs.Factory(list)
    reloads: Counter[str] = attrs.Factory(Counter)
    killed: Counter[str] = attrs.Factory(Counter)
    beside_kills: list[tuple[float, float]] = attrs.Factory(list)
    served: Counter[str] = attrs.Factory(Counter)
    slowest: float = 0.0
    level_1: set[str] = attrs.Factory(set)
    echoed: set[str] = attrs.Factory(set)

    def accounts(self) -> tuple[Counter[str], list[Failure]]:
        """Assign each failure to the kill that explains it.

        Returns:
            how many failed by kill, and those that no kill explains.
        """
        by_kill: Counter[str] = Counter()
        unexplained = []
        for failure in self.failures:
            cause = self._cause(failure)
            if cause is None:
                unexplained.append(failure)
            else:
                by_kill[cause] += 1
        return by_kill, unexplained

    def _cause(self, failure: Failure) -> str | None:
        if failure.outcome != "cut":
            return None
        address = failure.host, failure.port
        if self._concerns(self.accepted, failure):
            takers = [
                worker
                for when, worker in self.taken.get(address, ())
                if failure.begun <= when <= failure.ended
            ]
            is_killed = bool(takers) and takers[-1] in self.kills
            return f"worker {takers[-1]}" if is_killed else None
        for began, over in self.beside_kills:
            if failure.begun <= over and began <= failure.ended:
                return f"beside {began}"
        return None

    def _concerns(self, sightings: object, failure: Failure) -> bool:
        assert isinstance(sightings, dict)
        times = sightings.get((failure.host, failure.port), ())
        return any(failure.begun <= when <= failure.ended for when, _ in times)

    def summary(self) -> dict[str, int]:
        """Everything, in numbers."""
        by_kill, unexplained = self.accounts()
        beside = [count for cause, count in by_kill.items() if cause.startswith("beside")]
        outcomes = Counter(failure.outcome for failure in self.failures)
        return {
            "requests": self.served.total() + len(self.failures),
            "served": self.served.total(),
            "reloads": self.reloads.total(),
            "kills": self.killed.total(),
            "failed_without_kills": len(self.alone()),
            "failed_acknowledged": by_kill.total() - sum(beside),
            "failed_beside": sum(beside),
            "failed_unexplained": len(unexplained),
            "most_per_kill": max(by_kill.values(), default=0),
            "hung": outcomes["hung"],
            "refused": outcomes["refused"],
            "twice": sum(count > 1 for count in self.logged.values()),
            "slowest_ms": round(self.slowest * 1000),
        }

    def broken_promises(self) -> list[str]:
        """Name what must not be."""
        broken = [promise for shares in self.shares for promise in shares.broken_promises()]
        summary = self.summary()
        zero = ("failed_without_kills", "failed_unexplained", "hung", "refused", "twice")
        broken += [f"{name}={summary[name]}" for name in zero if summary[name]]
        if summary["most_per_kill"] > 1:
            broken.append(f"most_per_kill={summary['most_per_kill']}")
        if silent := self.level_1 - self.echoed:
            broken.append(f"silent={','.join(sorted(silent))}")
        return broken
