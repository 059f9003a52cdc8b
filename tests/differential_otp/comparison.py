"""Two logs, step by step: what is equal, what may differ, and what may not."""

from __future__ import annotations

from collections import Counter
from typing import Final

import attrs

from .differences import DIFFERENCES, Cut, Difference, Past, Point, Verdict
from .model import Run
from .scenarios import Add, ByHand, Exit, Fail, Group, Scenario, Step, parent_of

__all__ = ["Result", "compare"]

Logs = list[list[str]]


@attrs.define
class Result:
    """What comparing gave.

    Attributes:
        events: of both sides, how many were compared.
        left_out: how many came after a cut, on either side.
        uses: how often each allowed difference was met, by its id.
        fault: what is not equal and may not differ, to be read; empty if there is none.
    """

    events: int = 0
    left_out: int = 0
    uses: Counter[str] = attrs.Factory(Counter)
    fault: str = ""


def compare(
    scenario: Scenario,
    otp: Logs,
    ours: Run,
    allowed: tuple[Difference, ...] = DIFFERENCES,
) -> Result:
    """Compare the logs of a scenario."""
    return _Comparison(scenario, otp, ours, allowed).result()


class _Comparison:
    """Walks along both logs."""

    def __init__(
        self, scenario: Scenario, otp: Logs, ours: Run, allowed: tuple[Difference, ...]
    ) -> None:
        self.scenario = scenario
        self.otp = otp
        self.ours = ours
        self.allowed = allowed
        self.forgotten: list[str] = []
        self.past: list[Past] = []
        self.done = Result()

    def result(self) -> Result:
        """Compare."""
        done = self.done
        if len(self.otp) != len(self.scenario.steps):
            done.fault = self._report(len(self.otp) - 1, "Erlang's side came to no end")
            return done
        clock = self.scenario.clock()
        for index, (step, now) in enumerate(zip(self.scenario.steps, clock, strict=True)):
            if self._is_about_forgotten(step) or not self._step(index, step, now):
                done.left_out += sum(map(len, self.otp[index:] + self.ours.events[index:]))
                break
        return done

    def _step(self, index: int, step: Step, now: float) -> bool:
        """Compare one step; False when nothing after it can be compared."""
        otp, ours = self.otp[index], self.ours.events[index]
        if self._is_trouble(otp + ours):
            return False
        otp, ours = self._known(otp), self._known(ours)
        while otp != ours:
            equal = _count_equal(otp, ours)
            past = [Past(now, index, step, event) for event in otp[:equal]]
            first, second = (events[equal] if events[equal:] else "" for events in (otp, ours))
            books = self.ours.books[index]
            at = Point(self.scenario, index, step, now, books, self.past + past, first, second)
            verdict = self._judge(at)
            if verdict is None:
                text = f"after {equal} equal events: Erlang {first!r}, ours {second!r}"
                self.done.fault = self._report(index, text)
                return False
            if isinstance(verdict, Cut) or self._decides(verdict.name):
                return False
            self.forgotten.append(verdict.name)
            if self._is_trouble(otp[equal:] + ours[equal:]):
                return False
            otp, ours = self._known(otp), self._known(ours)
            if verdict.and_reply:
                otp, ours = _without_replies(otp), _without_replies(ours)
        self.past += [Past(now, index, step, event) for event in otp]
        self.done.events += len(otp) + len(ours)
        return True

    def _judge(self, at: Point) -> Verdict | None:
        for difference in self.allowed:
            verdict = difference.judge(at)
            if verdict is not None:
                self.done.uses[difference.id] += 1
                return verdict
        return None

    # ---- who is forgotten -----------------------------------------------------------------

    def _is_forgotten(self, name: str) -> bool:
        return any(f"{name}.".startswith(f"{one}.") for one in self.forgotten)

    def _known(self, events: list[str]) -> list[str]:
        return [event for event in events if not self._is_forgotten(_subject(event))]

    def _is_about_forgotten(self, step: Step) -> bool:
        """Whether the script goes on with somebody who runs on one side only."""
        return isinstance(step, (Exit, Fail, ByHand, Add)) and self._is_forgotten(step.name)

    def _is_trouble(self, events: list[str]) -> bool:
        """Whether a child that runs on one side only means something to its supervisor."""
        failures = (event for event in events if event.startswith("fail"))
        return any(self._is_forgotten(_subject(event)) for event in failures)

    def _decides(self, name: str) -> bool:
        """Whether a supervisor may end or not because of a child that is to be forgotten."""
        group, child = self.scenario.specs[parent_of(name)], self.scenario.specs[name]
        assert isinstance(group, Group)
        return group.auto == "all_significant" and getattr(child, "significant", False)

    # ---- to be read -----------------------------------------------------------------------

    def _report(self, index: int, text: str) -> str:
        lines = [self.scenario.term(), f"step {index}, {text}"]
        for number, step in enumerate(self.scenario.steps[: index + 1]):
            lines.append(f"  {number}: {step}")
            otp, ours = ((logs + [[]] * 99)[number] for logs in (self.otp, self.ours.events))
            if otp == ours:
                lines += [f"      {event}" for event in otp]
            else:
                lines += [f"    Erlang {event}" for event in otp]
                lines += [f"    ours   {event}" for event in ours]
        return "\n".join(lines)


_NOBODY: Final = ""


def _subject(event: str) -> str:
    """Whom an event is about."""
    verb, _, rest = event.partition(" ")
    return _NOBODY if verb == "reply" else rest.partition(" ")[0]


def _without_replies(events: list[str]) -> list[str]:
    return [event for event in events if not event.startswith("reply ")]


def _count_equal(otp: list[str], ours: list[str]) -> int:
    equal = 0
    for first, second in zip(otp, ours, strict=False):
        if first != second:
            break
        equal += 1
    return equal
