"""What is told about a life that ended badly: one value, and a page for people.

Runs in: primary
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import attrs

from .words import printable

if TYPE_CHECKING:
    from .exit import RemoteFailure

__all__ = ["CrashReport", "PastLife"]


@final
@attrs.frozen(kw_only=True)
class PastLife:
    """An earlier life of the same name.

    Attributes:
        incarnation: its number.
        ended: in a few words, as ``str`` of its `ExitStatus`.
        ago: seconds from its end to the end of the life that is reported.
    """

    incarnation: int
    ended: str
    ago: float


@final
@attrs.frozen(kw_only=True)
class CrashReport:
    """Why a worker failed, and what was going on; ``str`` makes a page of it.

    Attributes:
        name: of its place in the tree.
        worker_id: of the worker.
        incarnation: of that name.
        pid: of the process; None if there was none.
        ended: in a few words, as ``str`` of the `ExitStatus`.
        reason: in one word, as in the `ExitStatus`.
        code: exit code or None.
        signal: name of the signal or None.
        error: what main raised, with the traceback, or None.
        rusage: ``resource.struct_rusage`` of the process, or None.
        uptime: seconds that it was ready; 0.0 if it never was.
        asks_in_flight: asks to it that were not answered when it ended.
        history: earlier lives of that name that the primary remembers, the last one first.
        stderr: the last lines that it wrote there, 50 and 16 KiB at most; None if they were not
            captured, see ``stderr="capture"`` of `Settings`. As it wrote them: control characters
            are in them.
        stderr_dropped: lines before those.
        stderr_unshown: bytes that our own stderr did not take, because nobody read them there.
        stack: of all threads, if it was stuck and somebody could look; see `events.Hung`.
    """

    name: str
    worker_id: int
    incarnation: int
    pid: int | None
    ended: str
    reason: str
    code: int | None
    signal: str | None
    error: RemoteFailure | None
    rusage: Any
    uptime: float
    asks_in_flight: int
    history: tuple[PastLife, ...]
    stderr: tuple[str, ...] | None = None
    stderr_dropped: int = 0
    stderr_unshown: int = 0
    stack: str | None = None

    def __str__(self) -> str:
        """Make a page for people: nothing of it can do anything to a terminal."""
        who = f"worker {self.worker_id}, life {self.incarnation}, process {self.pid}"
        lines = [f"{self.name} failed: {self.ended}", f"  {who}, ready for {self.uptime:.3g} s"]
        if self.rusage is not None:
            cpu = self.rusage.ru_utime + self.rusage.ru_stime
            lines.append(f"  {cpu:.3g} s of CPU, at most {self.rusage.ru_maxrss / 1024:.3g} MiB")
        lines.append(f"  asks in flight: {self.asks_in_flight}")
        lines += [
            f"  life {past.incarnation} ended {past.ago:.3g} s before: {past.ended}"
            for past in self.history
        ]
        page = None if self.error is None else self.error.traceback
        trace = () if page is None else tuple(page.splitlines())
        lines += ["  " + printable(line) for line in trace]
        if self.stack is not None:
            lines.append("  it was stuck:")
            lines += ["    " + printable(line) for line in self.stack.splitlines()]
        return "\n".join(lines + self._stderr_lines(trace))

    def _stderr_lines(self, trace: Sequence[str]) -> list[str]:
        if self.stderr is None:
            return ["  stderr: not captured"]
        if not self.stderr:
            return ["  stderr: empty"]
        before = f", {self.stderr_dropped} lines before" if self.stderr_dropped else ""
        unshown = f", {self.stderr_unshown} bytes not passed on" if self.stderr_unshown else ""
        head = f"  stderr{before}{unshown}:"
        written = _without(trace, self.stderr)
        return [head, *("    " + printable(line) for line in written)]


def _without(trace: Sequence[str], lines: Sequence[str]) -> Sequence[str]:
    """Leave a traceback out of what was written that stands above already.

    Written, it begins with frames of ours, which the one above does not have.
    """
    head, tail = trace[:1], tuple(trace[1:])
    for at in range(len(lines) - len(tail), 0, -1) if head else ():
        if tuple(lines[at : at + len(tail)]) == tail:
            first = at - 1
            while first and lines[first].startswith("  "):
                first -= 1
            before, is_head, _ = lines[first].rpartition(head[0])
            if is_head:
                rest = [before] if before else []  # main wrote it without ending the line
                return [*lines[:first], *rest, "(the traceback above)", *lines[at + len(tail) :]]
    return lines
