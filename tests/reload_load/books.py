"""What is known after a run, and whether it is as it should be."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Final, Literal

import attrs

from tests.chaos.clients import Failure

__all__ = ["STATES", "Books", "Rollout", "Sightings"]

State = Literal["S0", "S1", "S2", "S3", "S4"]
STATES: Final[tuple[State, ...]] = ("S0", "S1", "S2", "S3", "S4")

#: By address of the client's end: when something happened, and which worker it concerned.
Sightings = dict[tuple[str, int | None], list[tuple[float, int]]]

LEAST_PER_SECOND: Final = 200


@attrs.frozen(kw_only=True)
class Rollout:
    """One release.

    Attributes:
        version: of it; None: it was a broken one.
        begun: before it was written, ``time.monotonic()``.
        ended: when the reload had returned.
        is_done: it was not aborted.
    """

    version: int | None
    begun: float
    ended: float
    is_done: bool


@attrs.define(kw_only=True)
class Books:
    """The books of one half.

    Attributes:
        rollouts: in order; the first is what was there in the beginning.
        first_kill: when; ``inf`` if there was none.
        kills: ids of the workers that were killed.
        accepted: by the primary.
        dealt: to a worker.
        taken: a worker said that it had.
        answers, failures: see `tests.reload_load.clients`.
        logged: ids that were written down, each with how often.
    """

    rollouts: list[Rollout] = attrs.Factory(list)
    first_kill: float = math.inf
    kills: list[int] = attrs.Factory(list)
    accepted: Sightings = attrs.Factory(dict)
    dealt: Sightings = attrs.Factory(dict)
    taken: Sightings = attrs.Factory(dict)
    answers: list[tuple[float, float, int]] = attrs.Factory(list)
    failures: list[Failure] = attrs.Factory(list)
    logged: Counter[str] = attrs.Factory(Counter)

    # ---- how far it had come --------------------------------------------------------------

    def state_of(self, failure: Failure) -> State:
        """How far a connection had come that failed."""
        if self.logged[failure.name]:
            return "S4"
        if _last(self.taken, failure) is not None:
            return "S3"
        if _last(self.dealt, failure) is not None:
            return "S2"
        return "S0" if _last(self.accepted, failure) is None else "S1"

    def alone(self) -> list[Failure]:
        """What failed before anybody was killed."""
        return [failure for failure in self.failures if failure.ended < self.first_kill]

    def lost_by(self) -> tuple[Counter[int], int]:
        """Assign those that were taken and not written down.

        Returns:
            how many each killed worker lost, and how many nobody did.
        """
        lost: Counter[int] = Counter()
        nobodys = 0
        for failure in self.failures:
            if self.state_of(failure) == "S3":
                owner = _last(self.taken, failure)
                if owner in self.kills:
                    lost[owner] += 1
                else:
                    nobodys += 1
        return lost, nobodys

    # ---- the right release ----------------------------------------------------------------

    def allowed(self) -> list[tuple[float, set[int]]]:
        """From when on which releases may answer."""
        found: list[tuple[float, set[int]]] = []
        present: set[int] = set()
        for rollout in self.rollouts:
            if rollout.version is not None:
                found.append((rollout.begun, present | {rollout.version}))
                present = {rollout.version} if rollout.is_done else present | {rollout.version}
                found.append((rollout.ended, present))
        return found

    def wrong_versions(self) -> int:
        """How many answers came from a release that was not in service while they were asked."""
        times = self.allowed()
        wrong = position = 0
        for begun, took, version in sorted(self.answers):
            while position + 1 < len(times) and times[position + 1][0] <= begun:
                position += 1
            present = set(times[position][1])
            for since, versions in itertools.islice(times, position + 1, None):
                if since > begun + took:
                    break
                present |= versions
            wrong += version not in present
        return wrong

    # ---- all of it ------------------------------------------------------------------------

    def least_per_second(self) -> int:
        """Answers in the whole second with the fewest."""
        seconds = Counter(int(begun + took) for begun, took, _ in self.answers)
        inner = range(min(seconds, default=0) + 1, max(seconds, default=0))
        return min((seconds[second] for second in inner), default=0)

    def summary(self) -> dict[str, int]:
        """Everything, in numbers."""
        states = Counter(map(self.state_of, self.failures))
        outcomes = Counter(failure.outcome for failure in self.failures)
        good = [rollout for rollout in self.rollouts[1:] if rollout.version is not None]
        return {
            "requests": len(self.answers) + len(self.failures),
            "reloads": len(good),
            "reloads_aborted_by_kills": sum(not rollout.is_done for rollout in good),
            "broken_releases": sum(rollout.version is None for rollout in self.rollouts),
            "kills": len(self.kills),
            "failed_without_kills": len(self.alone()),
            **{f"failed_{state}": states[state] for state in STATES},
            "most_S3_per_kill": max(self.lost_by()[0].values(), default=0),
            "S3_unacknowledged": self.lost_by()[1],
            "hung": outcomes["hung"],
            "refused": outcomes["refused"],
            "wrong": outcomes["wrong"],
            "twice": sum(count > 1 for count in self.logged.values()),
            "wrong_version": self.wrong_versions(),
            "slowest_ms": round(max((took for _, took, _ in self.answers), default=0.0) * 1000),
            "least_per_second": self.least_per_second(),
        }

    def broken_promises(self) -> list[str]:
        """Name what must not be."""
        summary = self.summary()
        zero = (
            *("failed_without_kills", "failed_S0", "failed_S1", "failed_S2", "S3_unacknowledged"),
            *("hung", "refused", "wrong", "twice", "wrong_version"),
        )
        broken = [f"{name}={summary[name]}" for name in zero if summary[name]]
        if summary["most_S3_per_kill"] > 1:
            broken.append(f"most_S3_per_kill={summary['most_S3_per_kill']}")
        aborted = [one for one in self.rollouts if not one.is_done and one.version is not None]
        if any(one.ended < self.first_kill for one in aborted):
            broken.append("a good release was aborted")
        if any(one.is_done for one in self.rollouts if one.version is None):
            broken.append("a broken release came into service")
        return broken

    def is_void(self) -> bool:
        """Whether too little was going on."""
        return self.least_per_second() < LEAST_PER_SECOND


def _last(sightings: Sightings, failure: Failure) -> int | None:
    """Whom it concerned that happened to a connection last, if it happened at all."""
    found = None
    for when, worker in sightings.get((failure.host, failure.port), ()):
        if failure.begun <= when <= failure.ended:
            found = worker
    return found
