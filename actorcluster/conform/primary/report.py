"""What came of the cases against a primary, in the form of the kit's other reports.

Runs in: both
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from ..._counted import counted
from ..case import Case as KitCase
from ..case import Outcome, Result
from ..frames import Fault, kind_name
from ..material import requirements
from ..report import Report, result_lines
from ..transcript import redacted
from .case import CASES, Case
from .lives import Said
from .play import Played
from .talk import Splitter

__all__ = ["INTERNAL", "PrimaryReport", "coverage", "result_of", "vector_of"]

#: Sentences that a primary keeps and of which a hostile worker sees nothing, and why.
INTERNAL: Final[dict[str, str]] = {
    "AWP-TR-4": "over unix:, before the kit is there: tests/e2e/test_unix_channel.py",
    "AWP-FD-2": "the kernel takes frames with descriptors whole, as small as they are",
    "AWP-MS-4": "what is queued behind what, nobody outside knows",
    "AWP-MS-7": "what the primary tells its own application",
    **{
        f"AWP-LN-{number}": "about a lane, which the stand-in does not have: tests/lanes"
        for number in range(1, 7)
    },
}
_LONGEST: Final = 1 << 16


@attrs.frozen(kw_only=True)
class PrimaryReport(Report):
    """What came of trying a primary; claims are a worker's."""

    @property
    def exit_status(self) -> int:
        """0 or 1."""
        return 1 if self.bad or self.surprises or self.not_run or not self.results else 0

    def badge(self) -> str:
        """Say in one line what may be said of the program."""
        counts = Counter(one.outcome for one in self.results)
        head = "survived" if not self.exit_status else "did not pass"
        seconds = sum(one.seconds for one in self.results)
        names = {name for one in self.results for name in one.case.requirements}
        parts = [counted(len(names), "sentence"), f"{counts[Outcome.FAIL]} fail"]
        return f"{head}: {', '.join(parts)}, {counted(len(self.results), 'case')}, {seconds:.1f} s"

    def lines(self) -> Iterator[str]:
        """Say what came of it, the badge last."""
        for one in self.bad:
            yield from result_lines(one)
        for one in self.surprises:
            yield f"{one.case.id} is expected to fail, and passed"
        if self.not_run:
            yield f"not run: {counted(len(self.not_run), 'case')}"
        yield self.badge()


def kit_case(case: Case) -> KitCase:
    """The same as the kit's reports have it."""
    return KitCase(id=case.id, requirements=case.requirements, title=case.text, slow=case.slow)


def result_of(played: Played, stderr: str) -> Result:
    """Put it as a result."""
    case = kit_case(played.case)
    if played.passed:
        return Result(case=case, outcome=Outcome.PASS, seconds=played.seconds)
    text = "; ".join(played.problems)
    transcript = None
    if played.logs:
        state, log = played.logs[0]
        transcript = vector_of(
            f"transcript.{case.id}", case.requirements, f"{state}: {text}", log, _last_burst(log)
        )
    return Result(
        case=case,
        outcome=Outcome.FAIL,
        text=text,
        fault=Fault(case.requirements[0], text),
        seconds=played.seconds,
        transcript=transcript,
        stderr=stderr,
    )


def _last_burst(log: Sequence[Said]) -> int:
    """Where the last begins that the worker said without hearing anything."""
    at = max((index for index, said in enumerate(log) if said.by == "worker"), default=0)
    while at > 0 and log[at - 1].by == "worker":
        at -= 1
    return at


def vector_of(
    name: str, requirements: Sequence[str], comment: str, log: Sequence[Said], begin: int
) -> dict[str, Any]:
    """Write what was said as a stream vector, see protocol/vectors/README.md.

    Args:
        begin: where in the log the reads begin; what was said before is ``before``.
    """
    reads = [said for said in log[begin:] if said.by == "worker"]
    return {
        "id": name,
        "kind": "stream",
        "requirements": list(requirements),
        "comment": comment,
        "prelude": {"role": "primary", "steps": []},
        "before": [
            {"receive" if said.by == "worker" else "send": _hex(said), **_more(said)}
            for said in log[:begin]
        ],
        "reads": [{"hex": _hex(said), **_more(said)} for said in reads],
        "expect": [],
        "observed": [
            {"kind": kind_name(one.kind), "channel": one.channel, "body": one.body[:_LONGEST].hex()}
            for said in log[begin:]
            if said.by == "primary"
            for one in _frames(said)
        ],
    }


def _hex(said: Said) -> str:
    return redacted(said.data).hex()


def _more(said: Said) -> dict[str, Any]:
    more: dict[str, Any] = {"comment": "; ".join(map(str, _frames(said)[:20]))}
    if said.fds:
        more["fds"] = [f"fd{number}" for number in range(said.fds)]
    if len(said.data) > _LONGEST:
        more["cut"] = len(said.data)
    return more


def _frames(said: Said) -> list[Any]:
    try:
        return list(Splitter().feed(said.data))
    except ValueError:
        return []


def coverage() -> tuple[list[str], list[str]]:
    """Say for each MUST that a primary has to keep which cases try it.

    Returns:
        lines for people; the sentences that have neither a case nor a reason.
    """
    lines, missing, internal = [], [], 0
    musts = [
        one
        for one in requirements().values()
        if one.level == "MUST" and one.is_built and one.applies in ("primary", "both")
    ]
    for one in musts:
        cases = [case.id for case in CASES.values() if one.id in case.requirements]
        if cases:
            shown = ", ".join(cases[:6]) + (f" and {len(cases) - 6} more" if cases[6:] else "")
            lines.append(f"{one.id:11} {len(cases):4}  {shown}")
        elif one.id in INTERNAL:
            internal += 1
            lines.append(f"{one.id:11} internal: {INTERNAL[one.id]}")
        else:
            missing.append(one.id)
            lines.append(f"{one.id:11} NO CASE: {one.text[:80]}")
    share = 100 * internal / len(musts)
    counts = f"{len(missing)} without a case, {internal} internal ({share:.0f} %)"
    lines.append(f"{len(musts)} MUST, {counts}")
    lines.append(f"{len(CASES)} cases")
    return lines, missing


def write(path: Path, text: str) -> None:
    """Write a file where there may be no directory yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
