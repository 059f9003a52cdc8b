"""The fixture that proves that a test left nothing behind.

It compares what this process owns before and after the test: child processes and whatever they
started (zombies too), descriptors, threads, temporary files, socket files, system tasks of Trio.
It waits for nothing: what is dying but not gone when the test ends has leaked.

Every test with processes has it (`ROOMS`); others ask with ``pytest.mark.no_leaks``. Unclosed
sockets, handles and coroutines show as `ResourceWarning`: the fixture collects garbage, and the
warnings of this test suite are errors.
"""

from __future__ import annotations

import functools
import gc
import os
import stat
import sys
import tempfile
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

ROOMS = frozenset(
    "link worker cluster e2e examples chaos reload_load hardened hostile liveness tasks"
    " node_parity node_adapter full_house conform samples run_wrapper mixed trace".split()
)
"""Directories of tests/ whose tests have the fixture without asking."""

# Whoever this test run starts inherits the mark, also when its parent died and it was adopted:
# /proc/<pid>/environ shows the environment with which a process, or the one it was forked from,
# was executed. Runs beside this one have their own. Setting it does not change ours.
_MARK_NAME = "ACTORCLUSTER_TEST_RUN"
_MARK = os.environ.setdefault(_MARK_NAME, uuid.uuid4().hex)

# Whoever was there before us is not ours and never will be; looking at them all takes 10 ms a test.
_STRANGERS = set(filter(str.isdigit, os.listdir("/proc")))

# Trio keeps idle threads for ten seconds; while one works it bears the name of its work.
_IDLE_TRIO_THREAD = "Trio thread "


def covers(node: pytest.Item) -> bool:
    """Whether the test's room, or its mark, asks for the fixture."""
    tests = Path(__file__).parent
    inside = node.path.is_relative_to(tests) and node.path.relative_to(tests).parts[0] in ROOMS
    return inside or node.get_closest_marker("no_leaks") is not None


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, private_tmp: Path) -> Iterator[None]:
    """Fail the test that leaves anything behind, naming it."""
    if not covers(request.node):
        yield
        return
    request.getfixturevalue("share_the_fork_server")  # it is there before and after
    gc.collect()  # what an earlier test left to the collector is not this test's fault
    before = Snapshot.take(private_tmp)
    yield
    gc.collect()
    leaks = Snapshot.take(private_tmp).since(before)
    tmp_path = (request.node.funcargs or {}).get("tmp_path")  # None: it was interrupted
    if tmp_path is not None:
        leaks += [f"socket file {path}" for path in _socket_files(tmp_path)]
    if leaks:
        pytest.fail("left behind:\n  " + "\n  ".join(leaks), pytrace=False)


@pytest.fixture(scope="session")
def private_tmp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary directory of this run's own: whatever appears in it, we made it."""
    tmp_path_factory.getbasetemp()  # pytest's own directories stay where they would have been
    before = os.environ.get("TMPDIR"), tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="actorcluster-tests-") as name:
        os.chmod(name, 0o1777)  # workers with another uid use it too
        os.environ["TMPDIR"] = tempfile.tempdir = name
        yield Path(name)
    if before[0] is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before[0]
    tempfile.tempdir = before[1]


@attrs.frozen
class Snapshot:
    """What this process owns, each thing by what makes it unique, with words to name it."""

    processes: dict[tuple[int, int], str]
    descriptors: dict[tuple[int, str], str]
    threads: dict[int, str]
    files: dict[str, str]

    @classmethod
    def take(cls, tmp: Path) -> Snapshot:
        """Look at this process and at the temporary directory `tmp` now."""
        return cls(_processes(), _descriptors(), _threads(), _files(tmp))

    def since(self, before: Snapshot) -> list[str]:
        """What is here now and was not `before`, in words."""
        return [
            words
            for field in attrs.fields(Snapshot)
            for key, words in getattr(self, field.name).items()
            if key not in getattr(before, field.name)
        ]


def _processes() -> dict[tuple[int, int], str]:
    """Our children and theirs, and those with our mark; keyed by pid and start time."""
    us = os.getpid()
    seen: dict[int, tuple[int, int, str]] = {}
    marked = set()
    everybody = set(filter(str.isdigit, os.listdir("/proc")))
    _STRANGERS.intersection_update(everybody)  # a number that is free may become one of ours
    for pid in map(int, everybody - _STRANGERS):
        try:
            text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue  # gone since the listing
        state, parent, *rest = text.rpartition(")")[2].split()
        seen[pid] = int(parent), int(rest[17]), state
        if f"{_MARK_NAME}={_MARK}".encode() in _read(f"/proc/{pid}/environ").split(b"\0"):
            marked.add(pid)
    ours = {pid for pid in seen if pid != us and (pid in marked or _descends(pid, us, seen))}
    return {(pid, seen[pid][1]): _describe_process(pid, *seen[pid]) for pid in ours}


def _descends(pid: int, ancestor: int, seen: dict[int, tuple[int, int, str]]) -> bool:
    while pid in seen and pid != ancestor:
        pid = seen[pid][0]
    return pid == ancestor


def _describe_process(pid: int, parent: int, _: int, state: str) -> str:
    command = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace")
    kind = "zombie" if state == "Z" else "process"
    return f"{kind} {pid} (parent {parent}, state {state}): {command or 'no command line'}"


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""  # a zombie has neither, somebody else's process keeps them to itself


def _descriptors() -> dict[tuple[int, str], str]:
    found = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # the descriptor with which /proc/self/fd itself was read
        found[fd, target] = f"descriptor {fd} -> {target}"
    return found


def _threads() -> dict[int, str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    # Threads that other means than `threading` started have a frame, but no name.
    return {
        ident: f"thread {names.get(ident, ident)}"
        for ident in sys._current_frames()
        if not names.get(ident, "").startswith(_IDLE_TRIO_THREAD)
    }


def _files(tmp: Path) -> dict[str, str]:
    # A pytest that a test starts keeps its last three directories, by its own rule.
    names = (name for name in os.listdir(tmp) if not name.startswith("pytest-of-"))
    return {name: f"temporary file {tmp / name}" for name in names}


def _socket_files(top: Path) -> list[str]:
    return [
        os.path.join(directory, name)
        for directory, _, names in os.walk(top)
        for name in names
        if stat.S_ISSOCK(os.lstat(os.path.join(directory, name)).st_mode)
    ]


def run_without_leaking_tasks(
    async_fn: Callable[..., Awaitable[Any]], *args: Any, **options: Any
) -> Any:
    """`trio.run`, failing when a system task outlives the test.

    The test's own tasks need no such check: they cannot outlive their nurseries.
    """

    @functools.wraps(async_fn)
    async def checked(*args: Any) -> Any:
        before = _system_tasks()
        result = await async_fn(*args)
        if left := [task.name for task in _system_tasks() - before]:
            pytest.fail(f"left behind: Trio system tasks {left}", pytrace=False)
        return result

    return trio.run(checked, *args, **options)


def _system_tasks() -> set[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return {task for nursery in root.child_nurseries for task in nursery.child_tasks}
