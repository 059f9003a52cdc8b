"""Command lines, patience and endings of ``actorcluster-run``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from actorcluster.run_wrapper import read_wish, read_wishes
from actorcluster.run_wrapper.child import environment, start
from actorcluster.run_wrapper.endings import Ending, ending, patience

WISHES: dict[str, tuple[str, dict[str, Any]]] = {
    "8000": ("unknown", {"transport": "tcp", "port": 8000}),
    ":0": ("unknown", {"transport": "tcp", "port": 0}),
    "web=127.0.0.1:80": ("web", {"transport": "tcp", "port": 80, "host": "127.0.0.1"}),
    "[::1]:65535": ("unknown", {"transport": "tcp", "port": 65535, "host": "::1"}),
    "a=unix:/run/x=y.sock": ("a", {"transport": "unix", "path": "/run/x=y.sock"}),
}


@pytest.mark.parametrize("text", WISHES)
def test_a_wish(text: str) -> None:
    wish = read_wish(text)
    assert WISHES[text] == (wish.name, {k: v for k, v in wish.request.items() if k != "modes"})
    assert ["shared"] == wish.request["modes"]


@pytest.mark.parametrize(
    "text", ["", "web", "65536", "-1", "localhost:80", "a:b=80", "unix:x.sock", "²", "x=", "::1"]
)
def test_no_wish(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_wish(text)
    assert text.rpartition("=")[2] in str(caught.value) or str(caught.value)


@pytest.mark.parametrize(
    ("texts", "place"),
    [
        (["8000", "a=8000"], "8000"),
        (["127.0.0.1:8000", "80", "127.0.0.1:8000"], "127.0.0.1:8000"),
        (["[::1]:8000", "[0:0::1]:8000"], "[::1]:8000"),
        (["8000", "127.0.0.1:8000"], "8000 beside 127.0.0.1:8000"),
        (["127.0.0.1:8000", "[::]:8000"], "127.0.0.1:8000 beside [::]:8000"),
        (["127.0.0.1:8000", "0.0.0.0:8000"], "127.0.0.1:8000 beside 0.0.0.0:8000"),
        (["unix:/x", "b=unix:/x"], "unix:/x"),
    ],
)
def test_one_port_twice(texts: list[str], place: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_wishes(texts)
    assert f"{place}: no program can have one port twice" == str(caught.value)


def test_ports_0_are_counted() -> None:
    texts = [":0", "127.0.0.1:0", "a=0", "0.0.0.0:80", "[::1]:80", "unix:/x", "unix:/y"]
    keys = [wish.request.get("key") for wish in read_wishes(texts)]
    assert ["1", "1", "2", None, None, None, None] == keys


@pytest.mark.parametrize(("deadline", "seconds"), [(0, 0), (0.4, 0.2), (1, 0.5), (30, 29.5)])
def test_patience(deadline: float, seconds: float) -> None:
    assert seconds == patience(deadline)


TERM, KILL, SEGV = signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV


@pytest.mark.parametrize(
    ("status", "told", "expected"),
    [
        (0, 0, Ending()),
        (3 << 8, 0, Ending(3)),
        (3 << 8, TERM, Ending(3)),
        (TERM, 0, Ending(signal=TERM)),
        (TERM, TERM, Ending()),
        (KILL, TERM, Ending(signal=KILL)),
        (KILL, KILL, Ending(signal=KILL)),
        (SEGV | 0x80, TERM, Ending(signal=SEGV)),
    ],
)
def test_endings(status: int, told: int, expected: Ending) -> None:
    found = ending(status, told=told)
    assert expected == found
    assert (found != Ending()) is found.is_failure


def test_environment() -> None:
    its_own = {"HOME": "/x", "LISTEN_ADDRESS": "::", "LISTEN_PORT": "80"}
    others = {"LISTEN_FDS": "7", "LISTEN_PID": "1", "LISTEN_PIDFDID": "5", "LISTEN_FDNAMES": "x"}
    ours = its_own | others
    assert its_own == environment(ours, [])
    told = {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b", "LISTEN_PID": str(os.getpid())}
    assert its_own | told == environment(ours, ["a", "b"])


def test_a_program_that_is_nowhere_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    child = start(["no-such-program"], [])
    os.waitpid(child.pid, 0)
    expected = "actorcluster-run: no-such-program: No such file or directory\n"
    assert expected == capfd.readouterr().err


# The process that starts it is killed when the other one is there, and has told the kernel nothing.
ORPHANED = """
import os, signal
from actorcluster.run_wrapper.child import start

parent, setpgid = os.getpid(), os.setpgid

def late(pid, group):
    setpgid(pid, group)
    if os.getpid() != parent:
        os.kill(parent, signal.SIGKILL)
        while os.getppid() == parent:
            pass

os.setpgid = late
start(["echo", "it runs"], ())
signal.pause()
"""


def test_its_wrapper_is_killed_before_the_kernel_knows() -> None:
    """Nobody would end it: so it does not begin."""
    code = [sys.executable, "-c", ORPHANED]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    assert (-signal.SIGKILL, "", "") == (done.returncode, done.stdout, done.stderr)
