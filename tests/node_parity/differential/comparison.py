"""Two traces, observer by observer: what is equal, what may differ, and what may not."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from .running import Line, Trace, play_both
from .scenarios import Scenario

__all__ = ["DIFFERENCES", "Difference", "Result", "compare", "compared"]

_ANY: Final = object()


@attrs.frozen(kw_only=True)
class Difference:
    """One that is meant, see differences.toml.

    Attributes:
        scenario, who: patterns of names.
        event: in whose lines.
        field: of it that may differ.
        only: who alone may have such a line.
        node, ours: values of the field.
        reason: why.
        is_race: Node's own outcome depends on who is faster there, so it need not be met.
    """

    scenario: str
    who: str
    event: str
    reason: str
    field: str | None = None
    only: Literal["node", "ours"] | None = None
    node: Any = _ANY
    ours: Any = _ANY
    is_race: bool = False

    def __str__(self) -> str:
        what = f"only {self.only}" if self.only else self.field
        return f"{self.scenario}, {self.who}, {self.event}: {what}"

    def allows(self, at: _Place, what: str, node: Any = None, ours: Any = None) -> bool:
        """Whether this is it; ``what`` is a field, or who alone has the line."""
        return (
            what in (self.field, self.only)
            and self.event == at.event
            and fnmatchcase(at.scenario, self.scenario)
            and fnmatchcase(at.who, self.who)
            and self.node in (_ANY, node)
            and self.ours in (_ANY, ours)
        )


@attrs.frozen
class _Place:
    """Where traces differ."""

    scenario: str
    who: str
    event: str


@attrs.define
class Result:
    """What comparing gave.

    Attributes:
        lines: how many were compared, of both sides.
        uses: how often each allowed difference was met.
        faults: what may not differ, to be read, and in which scenario.
    """

    lines: int = 0
    uses: Counter[Difference] = attrs.Factory(Counter)
    faults: list[tuple[Scenario, str]] = attrs.Factory(list)

    def unused(self) -> list[Difference]:
        """Give the allowed differences that were not met and should have been."""
        return [one for one in DIFFERENCES if not self.uses[one] and not one.is_race]


def _read() -> tuple[Difference, ...]:
    found = tomllib.loads((Path(__file__).parent / "differences.toml").read_text())
    entries = tuple(Difference(**entry) for entry in found["difference"])
    for entry in entries:
        if (entry.field is None) == (entry.only is None) or not entry.reason:
            raise ValueError(f"{entry}: needs a reason, and either a field or only")
    return entries


DIFFERENCES: Final = _read()


def compared(scenarios: Sequence[Scenario], program: str = "node") -> Result:
    """Play scenarios on both sides, and compare."""
    theirs, ours = play_both(scenarios, program)
    result = Result()
    for scenario in scenarios:
        compare(scenario, theirs.get(scenario.name, {}), ours.get(scenario.name, {}), result)
    return result


def compare(scenario: Scenario, node: Trace, ours: Trace, result: Result) -> None:
    """Compare what both sides saw of a scenario."""
    for who in sorted(node.keys() | ours.keys()):
        sides = _in_order(node.get(who, [])), _in_order(ours.get(who, []))
        result.lines += sum(map(len, sides))
        fault = _Walk(scenario.name, who, result.uses).along(*sides)
        if fault:
            result.faults.append((scenario, _report(scenario, who, fault, *sides)))


def _in_order(lines: Sequence[Line]) -> list[Line]:
    """Both ends of a life come in either order, on either side: the channel's goes first."""
    lines = list(lines)
    for index, pair in enumerate(pairwise(lines)):
        if ("exit", "disconnect") == (pair[0]["event"], pair[1]["event"]):
            lines[index : index + 2] = reversed(pair)
    return lines


class _Walk:
    """Goes along the lines of one observer."""

    def __init__(self, scenario: str, who: str, uses: Counter[Difference]) -> None:
        self.scenario, self.who = scenario, who
        self.uses = uses

    def along(self, node: list[Line], ours: list[Line]) -> str:
        """Give the first difference that is not allowed, or nothing."""
        node, ours = node[:], ours[:]
        while node or ours:
            if node and ours and node[0]["event"] == ours[0]["event"]:
                fault = self._fields(node.pop(0), ours.pop(0))
                if fault:
                    return fault
            elif node and self._is_allowed(node[0]["event"], "node"):
                node.pop(0)
            elif ours and self._is_allowed(ours[0]["event"], "ours"):
                ours.pop(0)
            else:
                return f"Node has {_event(node)}, ours {_event(ours)}"
        return ""

    def _fields(self, node: Line, ours: Line) -> str:
        for field in sorted(node.keys() | ours.keys()):
            first, second = node.get(field), ours.get(field)
            if first != second and not self._is_allowed(node["event"], field, first, second):
                return f"{node['event']}: Node's {field} is {first!r}, ours {second!r}"
        return ""

    def _is_allowed(self, event: str, what: str, *values: Any) -> bool:
        place = _Place(self.scenario, self.who, event)
        for difference in DIFFERENCES:
            if difference.allows(place, what, *values):
                self.uses[difference] += 1
                return True
        return False


def _event(lines: list[Line]) -> str:
    return repr(lines[0]["event"]) if lines else "nothing more"


def _report(scenario: Scenario, who: str, fault: str, node: list[Line], ours: list[Line]) -> str:
    lines = [f"{scenario.name}: {scenario}", f"  {who}: {fault}"]
    lines += [f"    Node {line}" for line in node]
    lines += [f"    ours {line}" for line in ours]
    return "\n".join(lines)
