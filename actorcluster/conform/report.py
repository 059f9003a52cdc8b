"""What came of it: lines for people, JSON, JUnit, and the exit status.

Runs in: both
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import attrs

from .._counted import counted
from .case import Outcome, Result
from .claims import LEVELS, NARROW, Claims
from .material import requirements
from .options import Options

__all__ = ["Report", "write_json", "write_junit", "write_transcripts"]

_MARKS: Final = {
    Outcome.PASS: "ok",
    Outcome.NON_STRICT: "non-strict",
    Outcome.FAIL: "FAIL",
    Outcome.INFO: "info",
    Outcome.UNCLAIMED: "unclaimed",
}
_RANK: Final = [Outcome.UNCLAIMED, Outcome.INFO, Outcome.PASS, Outcome.NON_STRICT, Outcome.FAIL]
_STDERR_LINES: Final = 8
#: Failures of which it is worth saying that they are the same.
_MANY: Final = 5
_DIGITS: Final = re.compile(r"\d+")


@attrs.frozen(kw_only=True)
class Report:
    """What came of trying a program.

    Attributes:
        claims: None: it never came so far as to claim anything.
        results: of the cases that were played.
        not_run: the others that were asked for.
        left: by the name of the case, how many processes the program had left behind.
    """

    options: Options
    claims: Claims | None
    results: Sequence[Result]
    not_run: Sequence[str]
    left: Mapping[str, int] = attrs.field(factory=dict)

    def of(self, outcome: Outcome) -> list[Result]:
        """Give those that came out so."""
        return [one for one in self.results if one.outcome is outcome]

    @property
    def bad(self) -> list[Result]:
        """Those on account of which the program does not pass."""
        bad = (Outcome.FAIL, Outcome.NON_STRICT) if self.options.strict else (Outcome.FAIL,)
        known = self.options.known
        found = [one for one in self.results if one.outcome in bad and one.case.id not in known]
        if self.options.level is not None:
            found += self.lacking
        return found

    @property
    def lacking(self) -> list[Result]:
        """Those that were not claimed, and are part of the level; one `listen.*` is enough."""
        found = []
        for one in self.of(Outcome.UNCLAIMED):
            caps = {"listen.*" if cap.startswith("listen.") else cap for cap in one.case.caps}
            if not caps or self.claims is None or self.claims.missing(frozenset(caps)):
                found.append(one)
        return found

    @property
    def surprises(self) -> list[Result]:
        """Those that were expected to fail, and passed."""
        return [one for one in self.of(Outcome.PASS) if one.case.id in self.options.known]

    @property
    def exit_status(self) -> int:
        """0 or 1."""
        passes = self.claims is not None and not self.bad and not self.surprises
        return 0 if passes and not self.not_run else 1

    def by_requirement(self) -> dict[str, Outcome]:
        """Give the worst outcome for each sentence."""
        worst: dict[str, Outcome] = {}
        for one in self.results:
            names = [one.fault.requirement] if one.fault else one.case.requirements
            for name in names:
                other = worst.get(name, Outcome.UNCLAIMED)
                worst[name] = max(other, one.outcome, key=_RANK.index)
        return {name: worst[name] for name in requirements() if name in worst}

    @property
    def level(self) -> int:
        """The level about which the badge speaks."""
        claimed = self.claims.level if self.claims is not None else 0
        return claimed if self.options.level is None else self.options.level

    def badge(self) -> str:
        """Say in one line what may be said of the program."""
        if self.claims is None:
            return "not conformant: it never said HELLO as it must"
        counts = Counter(one.outcome for one in self.results)
        musts = [
            name
            for name, outcome in self.by_requirement().items()
            if requirements()[name].level == "MUST" and outcome is not Outcome.UNCLAIMED
        ]
        failed = len(self.of(Outcome.FAIL))
        head = f"L{self.level} conformant" if not self.exit_status else f"not L{self.level}"
        if self.options.only or self.options.caps:
            head = "passed" if not self.exit_status else "not passed"
        parts = [f"{len(musts)} MUST", f"{failed} fail"]
        parts += [f"{counts[one]} {one}" for one in (Outcome.NON_STRICT, Outcome.UNCLAIMED)]
        seconds = sum(one.seconds for one in self.results)
        parts.append(f"{counted(len(self.results), 'case')}, {seconds:.1f} s of work")
        return f"{head}: {', '.join(parts)}"

    def _common(self) -> Iterator[str]:
        """Say it if most failures are one and the same, whatever its numbers."""
        failed = self.of(Outcome.FAIL)
        texts = Counter(_DIGITS.sub("#", one.text) for one in failed)
        for text, count in texts.most_common(1):
            if count >= _MANY and 2 * count > len(failed):
                first = next(one for one in failed if _DIGITS.sub("#", one.text) == text)
                yield f"{count} of {len(failed)} failures are the same, as in {first.case.id}:"
                yield f"    {first.text}"
                yield ""

    def lines(self) -> Iterator[str]:
        """Say what came of it: what many have in common first, the badge last."""
        yield from self._common()
        for one in self.results:
            if one.outcome in (Outcome.FAIL, Outcome.NON_STRICT):
                yield from result_lines(one)
        if self.options.level is not None:
            for one in self.lacking:
                yield f"{_MARKS[one.outcome]:10} {one.case.id}  {one.text}"
        for one in self.surprises:
            yield f"{one.case.id} is expected to fail, and passed"
        yield ""
        counts = Counter(self.by_requirement().values())
        yield f"sentences: {', '.join(f'{counts[one]} {one}' for one in Outcome if counts[one])}"
        bad = [name for name, one in self.by_requirement().items() if one is Outcome.FAIL]
        if bad:
            yield f"broken: {', '.join(bad)}"
        if self.claims is not None:
            lacking = self.claims.missing(_wanted(self.level))
            if lacking:
                yield f"not offered, and part of L{self.level}: {', '.join(lacking)}"
            yield from (text for level, text in NARROW.items() if level <= self.level)
        if self.left:
            yield f"{_MARKS[Outcome.INFO]:10} {self._left_text()}"
        if self.not_run:
            yield f"not run: {counted(len(self.not_run), 'case')}"
        yield self.badge()

    def _left_text(self) -> str:
        names = list(self.left)
        shown = f"{', '.join(names[:5])}{', ...' if names[5:] else ''}"
        count = f"{sum(self.left.values())} in {counted(len(names), 'case')}"
        return f"it left processes behind, {count}, which were ended: {shown}"


def _wanted(level: int) -> frozenset[str]:
    return frozenset().union(*LEVELS[: level + 1])


def result_lines(one: Result) -> Iterator[str]:
    """Say what came of a case."""
    names = f"[{one.fault.requirement}]" if one.fault else f"[{one.case.requirements[0]}]"
    yield f"{_MARKS[one.outcome]:10} {one.case.id}  {names}"
    yield f"           {one.case.title}"
    yield f"           {one.text}"
    for line in one.stderr.splitlines()[-_STDERR_LINES:]:
        yield f"           | {line}"


def write_json(report: Report, path: str) -> None:
    """Write it for programs."""
    claims = report.claims
    form = {
        "command": list(report.options.command),
        "level": report.level,
        "claims": None
        if claims is None
        else {
            "level": claims.level,
            "caps": sorted(claims.caps),
            "handles": sorted(claims.handles),
            "limits": claims.limits,
            "impl": claims.impl,
        },
        "badge": report.badge(),
        "passed": report.exit_status == 0,
        "requirements": {name: str(one) for name, one in report.by_requirement().items()},
        "cases": [_case_form(one) for one in report.results],
        "not_run": list(report.not_run),
        "left": dict(report.left),
    }
    Path(path).write_text(json.dumps(form, indent=1) + "\n", encoding="utf-8")


def _case_form(one: Result) -> dict[str, Any]:
    return {
        "id": one.case.id,
        "requirements": list(one.case.requirements),
        "title": one.case.title,
        "outcome": str(one.outcome),
        "broken": one.fault.requirement if one.fault else None,
        "text": one.text,
        "seconds": round(one.seconds, 4),
    }


def write_junit(report: Report, path: str) -> None:
    """Write it as CI systems read it."""
    bad = {one.case.id for one in report.bad}
    suite = ET.Element(
        "testsuite",
        name="actorcluster conform",
        tests=str(len(report.results)),
        failures=str(len(bad)),
        skipped=str(len(report.of(Outcome.UNCLAIMED))),
        time=f"{sum(one.seconds for one in report.results):.3f}",
    )
    for one in report.results:
        element = ET.SubElement(
            suite,
            "testcase",
            classname=f"conform.{one.case.area}",
            name=one.case.id,
            time=f"{one.seconds:.3f}",
        )
        if one.case.id in bad:
            ET.SubElement(element, "failure", message=_clean(one.text)).text = _clean(one.stderr)
        elif one.outcome is Outcome.UNCLAIMED:
            ET.SubElement(element, "skipped", message=_clean(one.text))
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _clean(text: str) -> str:
    """Drop what XML cannot hold."""
    return "".join(one if one >= " " or one in "\n\t" else "?" for one in text)


def write_transcripts(report: Report, directory: str) -> list[str]:
    """Write what was said in cases that failed, one file for each.

    Returns:
        their paths.
    """
    paths = []
    for one in report.results:
        if one.transcript is not None:
            path = Path(directory, f"{one.case.id}.json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps([one.transcript], indent=1) + "\n", encoding="utf-8")
            paths.append(str(path))
    return paths
