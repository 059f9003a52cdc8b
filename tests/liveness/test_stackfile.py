"""What a worker keeps for whoever wants its stack; each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BEGIN = """\
import os, resource, sys
from actorcluster._worker import stackfile
from actorcluster._worker.stackfile import SIGNAL, offer_stack, renew_stack

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

def room(there_is):
    if there_is:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))

def files():
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    found = [name for name in names if os.path.lexists(name)]
    return [os.stat(name).st_ino for name in found if "actorcluster-stack" in os.readlink(name)]

def caught():
    return stackfile._status("/proc/self").is_caught

"""
_NO_ROOM = "offer_stack(); before = files(); room(False); renew_stack(); room(True)"


def says(code: str) -> str:
    """What a program prints that begins as above."""
    command = [sys.executable, "-c", _BEGIN + code]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("print(len(files()), caught())", "0 False"),
        ("offer_stack(); print(len(files()), caught())", "1 True"),
        ("offer_stack(); offer_stack(); print(len(files()), caught())", "1 True"),
        ("room(False); offer_stack(); room(True); print(len(files()), caught())", "0 False"),
        ("renew_stack(); print(len(files()), caught())", "0 False"),
        (
            "offer_stack(); old = files(); renew_stack(); print(old != files(), len(files()))",
            "True 1",
        ),
        (f"{_NO_ROOM}; print(len(before), len(files()), caught())", "1 0 False"),
        (f"{_NO_ROOM}; offer_stack(); print(len(files()), caught())", "1 True"),
        ("os.close(0); offer_stack(); print(os.path.lexists('/proc/self/fd/0'))", "False"),
    ],
)
def test_what_is_offered(code: str, expected: str) -> None:
    assert expected == says(code).strip()
