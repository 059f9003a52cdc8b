"""How a worker's life ended, in words: pure arithmetic on a wait status and what was known before.

Runs in: primary
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Mapping
from typing import Any, Final, Literal, final

import attrs

from .._link.failure import remote_details, traceback_text, type_name
from .report import CrashReport
from .words import printable

__all__ = [
    "ExitStatus",
    "RemoteFailure",
    "Status",
    "Verdict",
    "exit_status",
    "failure_from",
    "never_started",
]

Status = tuple[int | None, resource.struct_rusage | None]
"""As `os.wait4` gives them: wait status, resource usage. None when somebody else took them."""

Reason = Literal[
    "normal",
    "shutdown",
    "error",
    "exit",
    "signal",
    "killed",
    "hung",
    "start_timeout",
    "protocol",
    "lost",
    "oom",
]

#: Why *we* ended a process; becomes the reason when that is what it died of.
Verdict = Literal["killed", "hung", "start_timeout", "protocol", "lost"]

_MAIN_RAISED: Final = 1


@final
@attrs.frozen(kw_only=True)
class RemoteFailure:
    """What a worker's main function raised, as data.

    Attributes:
        type: qualified name of the exception's class. To show, never to import.
        text: its message.
        traceback: the traceback as text, or None.
    """

    type: str
    text: str
    traceback: str | None = attrs.field(default=None, repr=False)  # a page; print it


@final
@attrs.frozen(kw_only=True)
class ExitStatus:
    """How one worker process ended.

    Attributes:
        code: exit code, or None when a signal ended it or the status is unknown.
        signal: name of the signal that ended it, e.g. ``"SIGKILL"``, else None.
        reason: ``normal`` main returned; ``shutdown`` told to stop, gone in time; ``error`` main
            raised; ``exit`` another non-zero code; ``signal`` a signal that was not ours,
            ``worker.kill()`` included; ``killed`` ended by us past the deadline;
            ``hung``, ``start_timeout``, ``protocol`` ended by us for that; ``lost`` the channel
            ended but the process lived, or its status is unknown; ``oom`` killed by the kernel
            because no memory was left, and only if its own counts prove that.
        voluntary: the worker was told to leave, or asked to.
        error: what main raised, or why no process came into being; else None.
        rusage: ``resource.struct_rusage`` of the process, or None.
        report: more about it, when it failed; None for ``normal`` and ``shutdown``.
    """

    code: int | None
    signal: str | None
    reason: Reason
    voluntary: bool = False
    error: RemoteFailure | None = None
    rusage: Any = attrs.field(default=None, repr=False)
    report: CrashReport | None = attrs.field(default=None, repr=False)  # a page; print it

    def __str__(self) -> str:
        """Say it in a few words on one line, e.g. ``SIGKILL``, ``killed SIGTERM``, ``exit 3``."""
        if self.reason == "error" and self.error is not None:
            return printable(f"error {self.error.type}: {self.error.text}")
        if self.signal is not None:
            return self.signal if self.reason == "signal" else f"{self.reason} {self.signal}"
        if self.reason == "exit":
            return f"exit {self.code}"
        if self.code is None and self.error is not None:  # there never was a process
            return printable(f"{self.reason}: {_brief(self.error.text)}")
        return self.reason


def _brief(text: str) -> str:
    """What is said first and last, where a traceback stands between."""
    first, *rest = text.strip().splitlines() or [""]
    return f"{first} {rest[-1].strip()}" if rest else first


def signal_name(number: int) -> str:
    """Give the name of a signal number, also of real-time signals that have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def exit_status(
    waitstatus: int | None,
    *,
    told_to_stop: bool,
    verdict: Verdict | None = None,
    is_oom: bool = False,
    error: RemoteFailure | None = None,
    rusage: Any = None,
) -> ExitStatus:
    """Judge a life by its wait status and by what was known before.

    Args:
        waitstatus: as ``os.wait4`` gives it; None when somebody else took it.
        told_to_stop: a Stop was sent, by our wish or the worker's.
        verdict: why we ended the process, when we did.
        is_oom: it is proven that the kernel killed it for want of memory.
        error: the worker's last words, when it had some.
        rusage: resource usage from ``os.wait4``.

    Returns:
        The status; exactly one reason, see `ExitStatus`.
    """
    code, signum = split(waitstatus)
    if verdict in ("lost", "protocol"):
        # What it did in answer to our ABORT or SIGTERM is not the reason.
        reason: Reason = verdict
    elif signum is not None:
        # These verdicts count only when the process died of the signal: one that ended by itself
        # in the same instant keeps its own exit code.
        reason = verdict or ("oom" if is_oom else "signal")
    elif code is None:
        reason = verdict or "lost"
    elif code == 0:
        reason = "shutdown" if told_to_stop else "normal"
    elif code == _MAIN_RAISED and error is not None:
        reason = "error"
    else:
        reason = "exit"
    return ExitStatus(
        code=code,
        signal=None if signum is None else signal_name(signum),
        reason=reason,
        voluntary=told_to_stop,
        error=error,
        rusage=rusage,
    )


def split(waitstatus: int | None) -> tuple[int | None, int | None]:
    """Split a wait status into (exit code, signal number); one of them, or both, is None."""
    if waitstatus is None:
        return None, None
    low = waitstatus & 0x7F
    return (None, low) if low else (waitstatus >> 8 & 0xFF, None)


def failure_from(info: Mapping[str, Any]) -> RemoteFailure | None:
    """Read the last words of a worker: an error map, or a mere code."""
    remote = info.get("remote")
    if "message" not in info and not isinstance(remote, dict):
        return None
    remote = remote if isinstance(remote, dict) else {}
    return RemoteFailure(
        type=str(remote.get("type") or info.get("code") or "error"),
        text=str(info.get("message", "")),
        traceback=traceback_text(remote),
    )


def never_started(exc: Exception, reason: Literal["lost", "killed", "start_timeout"]) -> ExitStatus:
    """Make the status of a life that never had a process."""
    stack = traceback_text(remote_details(exc))
    error = RemoteFailure(type=type_name(exc), text=str(exc), traceback=stack)
    return ExitStatus(code=None, signal=None, reason=reason, error=error)
