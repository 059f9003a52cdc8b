"""How a life ended: every combination that a wait status and what was known before can form."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from actorcluster import ExitStatus
from actorcluster._worker.exit import (
    RemoteFailure,
    Verdict,
    exit_status,
    failure_from,
    never_started,
)
from actorcluster._worker.words import printable

FAILURE = RemoteFailure(type="ValueError", text="broken")
VERDICTS: tuple[Verdict, ...] = ("killed", "hung", "start_timeout", "protocol", "lost")


def code(number: int) -> int:
    return number << 8


@pytest.mark.parametrize(
    ("waitstatus", "known", "expected"),
    [
        # it ended by itself
        (code(0), {}, (0, None, "normal")),
        (code(0), {"told_to_stop": True}, (0, None, "shutdown")),
        (code(1), {"error": FAILURE}, (1, None, "error")),
        (code(1), {"error": FAILURE, "told_to_stop": True}, (1, None, "error")),
        (code(1), {}, (1, None, "exit")),  # sys.exit(1), or the interpreter itself failed
        (code(7), {"error": FAILURE}, (7, None, "exit")),
        (code(255), {}, (255, None, "exit")),
        # a signal
        (9, {}, (None, "SIGKILL", "signal")),
        (11 | 0x80, {}, (None, "SIGSEGV", "signal")),  # with a core dump
        (15, {"told_to_stop": True}, (None, "SIGTERM", "signal")),
        (40, {}, (None, "SIG40", "signal")),
        # we ended it
        (9, {"verdict": "killed", "told_to_stop": True}, (None, "SIGKILL", "killed")),
        (15, {"verdict": "killed"}, (None, "SIGTERM", "killed")),
        (9, {"verdict": "hung"}, (None, "SIGKILL", "hung")),
        (9, {"verdict": "hung", "told_to_stop": True}, (None, "SIGKILL", "hung")),
        (9, {"verdict": "start_timeout"}, (None, "SIGKILL", "start_timeout")),
        (9, {"verdict": "protocol"}, (None, "SIGKILL", "protocol")),
        (15, {"verdict": "lost"}, (None, "SIGTERM", "lost")),
        # we wanted to, and it ended by itself in that instant
        (code(0), {"verdict": "killed", "told_to_stop": True}, (0, None, "shutdown")),
        (code(0), {"verdict": "start_timeout"}, (0, None, "normal")),
        (code(0), {"verdict": "hung"}, (0, None, "normal")),
        (code(3), {"verdict": "killed"}, (3, None, "exit")),
        # it left in answer to our ABORT or SIGTERM
        (code(0), {"verdict": "protocol"}, (0, None, "protocol")),
        (code(1), {"verdict": "protocol", "error": FAILURE}, (1, None, "protocol")),
        (code(143), {"verdict": "lost"}, (143, None, "lost")),
        # nobody knows
        (None, {}, (None, None, "lost")),
        (None, {"verdict": "killed"}, (None, None, "killed")),
    ],
)
def test_reasons(waitstatus: int | None, known: dict[str, Any], expected: tuple[Any, ...]) -> None:
    status = exit_status(waitstatus, **{"told_to_stop": False, **known})
    assert expected == (status.code, status.signal, status.reason)
    assert known.get("told_to_stop", False) is status.voluntary
    assert known.get("error") is status.error


def test_every_life_has_exactly_one_reason() -> None:
    statuses = (None, code(0), code(1), code(2), 9)
    for waitstatus, told, verdict, error in itertools.product(
        statuses, (False, True), (None, *VERDICTS), (None, FAILURE)
    ):
        status = exit_status(waitstatus, told_to_stop=told, verdict=verdict, error=error)
        assert status.reason in (
            *("normal", "shutdown", "error", "exit", "signal"),
            *VERDICTS,
        )
        assert (status.code is None) or (status.signal is None)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (exit_status(code(0), told_to_stop=False), "normal"),
        (exit_status(code(0), told_to_stop=True), "shutdown"),
        (exit_status(code(3), told_to_stop=False), "exit 3"),
        (exit_status(code(1), told_to_stop=False, error=FAILURE), "error ValueError: broken"),
        (exit_status(9, told_to_stop=False), "SIGKILL"),
        (exit_status(15, told_to_stop=True, verdict="killed"), "killed SIGTERM"),
        (exit_status(None, told_to_stop=False), "lost"),
        (never_started(OSError("no such program"), "lost"), "lost: no such program"),
        (
            never_started(
                RuntimeError("preloading x failed:\nTraceback\n  File\nOops: y\n"), "lost"
            ),
            "lost: preloading x failed: Oops: y",
        ),
        (never_started(RuntimeError("too slow"), "start_timeout"), "start_timeout: too slow"),
    ],
)
def test_in_words(status: ExitStatus, expected: str) -> None:
    assert expected == str(status)


def test_words_of_a_worker_stay_on_their_line() -> None:
    """What main raised is the worker's text: it must not reach a terminal as it is."""
    error = RemoteFailure(type="E", text="a\x1b[31mred\nline\u202eback\x00")
    status = exit_status(code(1), told_to_stop=False, error=error)
    assert r"error E: a\x1b[31mred\nline\u202eback\x00" == str(status)
    assert "a\x1b[31mred\nline\u202eback\x00" == error.text
    assert "grün, 日本 \\" == printable("grün, 日本 \\")


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, None),
        ({"code": 3}, None),
        ({"code": 3, "remote": "odd"}, None),
        ({"code": "app", "message": "m"}, RemoteFailure(type="app", text="m")),
        ({"message": 5}, RemoteFailure(type="error", text="5")),
        (
            {"message": "m", "remote": {"type": "T", "stack": ["a", "b", 3]}},
            RemoteFailure(type="T", text="m", traceback="a\nb\n3"),
        ),
        ({"remote": {"stack": "odd"}}, RemoteFailure(type="error", text="")),
    ],
)
def test_last_words(info: dict[str, Any], expected: RemoteFailure | None) -> None:
    assert expected == failure_from(info)


def test_no_process() -> None:
    status = never_started(OSError("no such program"), "lost")
    assert (None, None, "lost", False) == (
        status.code,
        status.signal,
        status.reason,
        status.voluntary,
    )
    assert status.error is not None
    assert ("OSError", "no such program") == (status.error.type, status.error.text)
    assert status.error.traceback is not None
