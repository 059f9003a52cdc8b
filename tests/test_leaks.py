"""The fixture of tests/leaks.py catches each kind of leak, by name, and nothing else."""

from __future__ import annotations

import pytest

from tests.nested import run_nested

TESTS = """
import os, pathlib, socket, stat, subprocess, tempfile, threading, _thread
import hypothesis, pytest, trio
from hypothesis import strategies as st

pytestmark = pytest.mark.no_leaks
kept = []
until_exit, _held = os.pipe()

def until_it_is(pid, command):  # in the midst of exec, which Popen does not wait for, it is nothing
    while pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\\0")[:-1] != command:
        os.sched_yield()

def test_process():
    kept.append(subprocess.Popen(["cat"], stdin=until_exit))
    until_it_is(kept[-1].pid, [b"cat"])

def test_zombie():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

def test_orphan():
    script = "exec 3<&0; cat - <&3 >/dev/null & echo $!"
    shell = ["sh", "-c", script]
    pid = subprocess.run(shell, stdin=until_exit, stdout=subprocess.PIPE, check=True).stdout
    until_it_is(int(pid), [b"cat", b"-"])

def test_descriptor():
    os.open("/dev/null", os.O_RDONLY)

def test_swapped_descriptor():
    os.dup2(os.open("/dev/zero", os.O_RDONLY), until_exit + 10)

def test_thread():
    threading.Thread(target=os.read, args=(until_exit, 1), name="straggler", daemon=True).start()

def test_nameless_thread():
    runs = threading.Event()
    _thread.start_new_thread(lambda: (runs.set(), os.read(until_exit, 1)), ())
    runs.wait()

def test_temporary_file():
    os.close(tempfile.mkstemp(prefix="forgotten-")[0])

def test_socket_file(tmp_path):
    os.mknod(tmp_path / "left.sock", stat.S_IFSOCK)  # the path is too long to bind

def test_unclosed_socket():
    cycle = [socket.socket()]
    cycle.append(cycle)

async def test_system_task():
    trio.lowlevel.spawn_system_task(trio.sleep_forever, name="straggling task")

def test_clean_process():
    subprocess.run(["true"], check=True)

def test_clean_thread():
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()

def test_clean_file(tmp_path):
    (tmp_path / "kept by pytest").touch()
    with tempfile.NamedTemporaryFile(), socket.socket():
        pass

async def test_clean_trio():
    await trio.to_thread.run_sync(int)
    await trio.run_process(["true"])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 0)

@hypothesis.given(st.binary())
def test_clean_property(data):
    assert data == bytes(data)
"""


def test_each_kind_of_leak_fails_its_test_and_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_nested(pytester, monkeypatch, TESTS)
    # Leaks are found after the test has passed, except the system task, while Trio still runs.
    leaks, clean = 10, 5
    result.assert_outcomes(passed=leaks + clean, errors=leaks, failed=1)
    result.stdout.fnmatch_lines_random(
        [
            "  process * (parent *, state *): cat ",
            "  zombie * (parent *, state Z): *",
            "  process * (parent *, state *): *cat - *",  # or the shell that is about to become it
            "  descriptor * -> /dev/null",
            "  descriptor * -> /dev/zero",
            "  thread straggler",
            "  temporary file */forgotten-*",
            "  socket file */left.sock",
            "E *ResourceWarning: unclosed <socket.socket *",
            "left behind: Trio system tasks ['straggling task']",
        ]
    )
    result.stdout.re_match_lines_random([r"  thread \d+"])
