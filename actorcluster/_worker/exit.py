"""How a worker's life ended, in words: pure arithmetic on a wait status and what was known before.

Runs in: primary
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, final

import attrs

from .._link.failure import (
    Noted,
    errno_from,
    frames_of,
    name_of,
    remote_details,
    text_of,
    traceback_text,
    type_name,
    written,
)
from .deferred import Deferred, settled
from .report import CrashReport
from .words import printable

__all__ = [
    "ExitStatus",
    "RemoteFailure",
    "Status",
    "Verdict",
    "add_report",
    "exit_status",
    "failure_from",
    "failure_of",
    "in_words",
    "never_started",
    "signal_name",
    "task_exit",
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
        errno: of an ``OSError``, else None.
    """

    type: str
    text: str
    errno: int | None = None
    _traceback: str | Deferred[str] | None = attrs.field(default=None, repr=False, eq=settled)

    @property
    def traceback(self) -> str | None:
        """The traceback as text, or None. A page; print it."""
        text: str | None = settled(self._traceback)
        return text


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
        rusage: ``resource.struct_rusage`` of the process, or None.
    """

    code: int | None
    signal: str | None
    reason: Reason
    voluntary: bool = False
    _error: RemoteFailure | Deferred[RemoteFailure] | None = attrs.field(
        default=None, alias="error", eq=settled
    )
    rusage: Any = attrs.field(default=None, repr=False)
    _report: CrashReport | Deferred[CrashReport] | None = attrs.field(
        default=None, repr=False, eq=settled
    )

    @property
    def error(self) -> RemoteFailure | None:
        """What main raised, or why no process came into being; else None."""
        error: RemoteFailure | None = settled(self._error)
        return error

    @property
    def report(self) -> CrashReport | None:
        """More about it, when it failed; None for ``normal`` and ``shutdown``. A page; print it."""
        report: CrashReport | None = settled(self._report)
        return report

    def __str__(self) -> str:
        """Say it in a few words on one line, e.g. ``SIGKILL``, ``killed SIGTERM``, ``exit 3``."""
        return in_words(self.code, self.signal, self.reason, self.error)

    def __repr__(self) -> str:
        names = ("code", "signal", "reason", "voluntary", "error")
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"ExitStatus({values})"


def add_report(status: ExitStatus, report: Deferred[CrashReport]) -> None:
    """Give a status its report, before anybody else has seen it."""
    object.__setattr__(status, "_report", report)


def in_words(
    code: int | None,
    signal: str | None,
    reason: str,
    raised: RemoteFailure | Deferred[RemoteFailure] | None,
) -> str:
    """Say it as an `ExitStatus` of these does."""
    error: RemoteFailure | None = settled(raised)
    if reason == "error" and error is not None:
        return printable(f"error {error.type}: {error.text}")
    if signal is not None:
        return signal if reason == "signal" else f"{reason} {signal}"
    if reason == "exit":
        return f"exit {code}"
    if code is None and error is not None:  # there never was a process, or it still lives
        return printable(f"{reason}: {_brief(error.text)}")
    return reason


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


def task_exit(
    error: BaseException | None,
    *,
    told_to_stop: bool,
    verdict: Verdict | None = None,
    signal: str | None = None,
) -> ExitStatus:
    """Judge a life that had no process of its own, as one with a process would be judged.

    Args:
        error: what main raised; None when it returned, or was cancelled.
        told_to_stop: it was, by our wish or its own.
        verdict: why it was cancelled, if for that.
        signal: the name of what it was cancelled by, if by `Worker.kill`.

    Returns:
        The status; exactly one reason, see `ExitStatus`.
    """
    code: int | None = 0
    reason: Reason = "shutdown" if told_to_stop else "normal"
    failure = None
    if isinstance(error, SystemExit):
        code = _exit_code(error.code)
        reason = reason if code == 0 else "exit"
    elif error is not None:
        code, reason, failure = _MAIN_RAISED, "error", failure_of(error)
    elif verdict is not None:
        code, reason = None, verdict
    elif signal is not None:
        code, reason = None, "signal"
    return ExitStatus(
        code=code,
        signal=signal if reason == "signal" else None,
        reason=reason,
        voluntary=told_to_stop,
        error=failure,
    )


def _exit_code(code: object) -> int:
    """What Python makes of the argument of SystemExit."""
    if code is None:
        return 0
    return code & 0xFF if isinstance(code, int) else 1


def failure_of(exc: BaseException) -> RemoteFailure | Deferred[RemoteFailure]:
    """Describe what a main raised in this process; most of it when somebody looks."""
    try:
        text = text_of(exc)
        number = _errno(exc) if isinstance(exc, OSError) else None
        frames = frames_of(exc)
        if frames is not None:
            return Deferred(_failure, type(exc), text, number, frames)
        stack = traceback_text(remote_details(exc))
        return RemoteFailure(type=type_name(exc), text=text, errno=number, traceback=stack)
    except BaseException:  # noqa: BLE001  (whatever its methods do, it is a failure of main's)
        return RemoteFailure(type=_name(type(exc)), text="(it cannot be described)")


def _failure(
    kind: type[BaseException], text: str, number: int | None, frames: Sequence[Noted | None]
) -> RemoteFailure:
    """Make what `failure_of` has noted; the traceback is written when that is read, too."""
    stack = Deferred(_traceback, frames, kind, text)
    return RemoteFailure(type=_name(kind), text=text, errno=number, traceback=stack)


def _name(kind: type[BaseException]) -> str:
    try:
        return name_of(kind)
    except BaseException:  # noqa: BLE001  (it is main's class, and may be odd)
        return "(it cannot be named)"


def _traceback(frames: Sequence[Noted | None], kind: type[BaseException], text: str) -> str:
    """Write what `frames_of` has noted, whatever main's class and who has its source do."""
    try:
        return written(frames, kind, text)
    except BaseException as exc:  # noqa: BLE001  (it is theirs, and here nobody could handle it)
        return f"(its traceback cannot be written: {text_of(exc)})\n{text}"


def _errno(exc: BaseException) -> int | None:
    number = exc.errno if isinstance(exc, OSError) else None
    return number if isinstance(number, int) else None


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
        errno=errno_from(info),
        traceback=traceback_text(remote),
    )


def never_started(exc: Exception, reason: Literal["lost", "killed", "start_timeout"]) -> ExitStatus:
    """Make the status of a life that never had a process."""
    stack = traceback_text(remote_details(exc))
    error = RemoteFailure(type=type_name(exc), text=str(exc), errno=_errno(exc), traceback=stack)
    return ExitStatus(code=None, signal=None, reason=reason, error=error)
