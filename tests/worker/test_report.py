"""The page about a life that failed."""

from __future__ import annotations

import resource
from typing import Any

import pytest

from actorcluster import CrashReport
from actorcluster._worker.exit import RemoteFailure
from actorcluster._worker.report import PastLife


def rusage(**known: float) -> Any:
    """As the kernel gives it, with some numbers known."""
    names = [name for name in dir(resource.struct_rusage) if name.startswith("ru_")]
    fields = [name for name in FIELDS if name in names]
    return resource.struct_rusage(known.get(name, 0) for name in fields)


FIELDS = (
    "ru_utime ru_stime ru_maxrss ru_ixrss ru_idrss ru_isrss ru_minflt ru_majflt ru_nswap"
    " ru_inblock ru_oublock ru_msgsnd ru_msgrcv ru_nsignals ru_nvcsw ru_nivcsw"
).split()


def report(**changes: Any) -> CrashReport:
    """One of a worker that raised."""
    fields: dict[str, Any] = {
        "name": "web.2",
        "worker_id": 7,
        "incarnation": 3,
        "pid": 4711,
        "ended": "error ValueError: broken",
        "reason": "error",
        "code": 1,
        "signal": None,
        "error": RemoteFailure(
            type="ValueError", text="broken", traceback='Traceback:\n  File "a\x1b[2J.py"'
        ),
        "rusage": rusage(ru_utime=1.0, ru_stime=0.25, ru_maxrss=20 * 1024),
        "uptime": 12.3456,
        "asks_in_flight": 2,
        "history": (
            PastLife(incarnation=2, ended="SIGKILL", ago=13.0),
            PastLife(incarnation=1, ended="exit 3", ago=60.25),
        ),
    }
    return CrashReport(**{**fields, **changes})


def test_the_whole_page() -> None:
    assert (
        "web.2 failed: error ValueError: broken\n"
        "  worker 7, life 3, process 4711, ready for 12.3 s\n"
        "  1.25 s of CPU, at most 20 MiB\n"
        "  asks in flight: 2\n"
        "  life 2 ended 13 s before: SIGKILL\n"
        "  life 1 ended 60.2 s before: exit 3\n"
        "  Traceback:\n"
        '    File "a\\x1b[2J.py"\n'
        "  stderr: not captured"
    ) == str(report())


def test_where_it_was_stuck() -> None:
    head = "Current thread 0x1 (most recent call first):"
    page = str(report(error=None, stack=f'{head}\n  File "a\x1b.py", line 3 in main\n'))
    assert (
        "  it was stuck:\n"
        f"    {head}\n"
        '      File "a\\x1b.py", line 3 in main\n'
        "  stderr: not captured"
    ) == "\n".join(page.splitlines()[-4:])


@pytest.mark.parametrize("error", [None, RemoteFailure(type="x", text="y")])
def test_what_is_not_known_is_left_out(error: RemoteFailure | None) -> None:
    page = str(report(error=error, rusage=None, history=(), pid=None))
    assert (
        "web.2 failed: error ValueError: broken\n"
        "  worker 7, life 3, process None, ready for 12.3 s\n"
        "  asks in flight: 2\n"
        "  stderr: not captured"
    ) == page


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({"stderr": ()}, ["  stderr: empty"]),
        ({"stderr": ("a", "\x1b[2Jb", "")}, ["  stderr:", "    a", "    \\x1b[2Jb", "    "]),
        ({"stderr": ("a",), "stderr_dropped": 3}, ["  stderr, 3 lines before:", "    a"]),
        (
            {"stderr": ("a",), "stderr_dropped": 1, "stderr_unshown": 2},
            ["  stderr, 1 lines before, 2 bytes not passed on:", "    a"],
        ),
    ],
)
def test_what_it_wrote_in_the_end(given: dict[str, Any], lines: list[str]) -> None:
    page = str(report(error=None, history=(), **given)).splitlines()
    assert lines == page[4:]
