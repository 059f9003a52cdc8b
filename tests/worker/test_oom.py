"""Whether a worker was killed for want of memory: from the kernel's files to the verdict."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import attrs
import pytest

from actorcluster._worker.exit import Status, exit_status
from actorcluster._worker.memorykills import MemoryKills
from actorcluster._worker.oom import Tally, count_in, counter_file

# ---- where it is counted ----------------------------------------------------------------------

V1 = """\
12:pids:/user.slice/user-1000.slice
5:memory:/user.slice/user-1000.slice/session-1.scope
1:name=systemd:/user.slice/user-1000.slice/session-1.scope
0::/user.slice/user-1000.slice/session-1.scope
"""
V1_TOGETHER = "8:cpu,memory:/jobs/a b\n"
V2 = "0::/system.slice/web.service\n"

V1_MOUNTS = r"""
24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
31 23 0:28 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw,nosuid,nodev shared:10 - cgroup2 cgroup2 rw,nsdelegate
36 31 0:33 / /sys/fs/cgroup/pids rw,relatime shared:15 - cgroup cgroup rw,pids
37 31 0:34 / /sys/fs/cgroup/memory rw,relatime shared:16 - cgroup cgroup rw,memory
"""
V2_MOUNTS = "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_IN_A_CONTAINER = "700 690 0:30 /docker/4f2a /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
ODD = r"41 31 0:38 / /mnt/c\040group\0112 rw,relatime - cgroup2 none rw" + "\n"


@pytest.mark.parametrize(
    ("cgroups", "mounts", "expected"),
    [
        (
            V1,
            V1_MOUNTS,
            "/sys/fs/cgroup/memory/user.slice/user-1000.slice/session-1.scope/memory.oom_control",
        ),
        (V2, V2_MOUNTS, "/sys/fs/cgroup/system.slice/web.service/memory.events.local"),
        (V2, V1_MOUNTS, "/sys/fs/cgroup/unified/system.slice/web.service/memory.events.local"),
        ("0::/\n", V2_MOUNTS, "/sys/fs/cgroup/memory.events.local"),
        ("4:memory:/\n0::/\n", V1_MOUNTS, "/sys/fs/cgroup/memory/memory.oom_control"),
        ("4:memory:/docker/4f2a\n", V1_IN_A_CONTAINER, "/sys/fs/cgroup/memory/memory.oom_control"),
        (
            "4:memory:/docker/4f2a/x\n",
            V1_IN_A_CONTAINER,
            "/sys/fs/cgroup/memory/x/memory.oom_control",
        ),
        (V1_TOGETHER, V1_MOUNTS, "/sys/fs/cgroup/memory/jobs/a b/memory.oom_control"),
        ("0::/a\n", ODD, "/mnt/c group\t2/a/memory.events.local"),
    ],
)
def test_where_it_is_counted(cgroups: str, mounts: str, expected: str) -> None:
    assert expected == counter_file(cgroups, mounts)


@pytest.mark.parametrize(
    ("cgroups", "mounts"),
    [
        ("", V2_MOUNTS),
        (V2, ""),
        (V1, V2_MOUNTS),
        ("3:pids:/\n", V1_MOUNTS),
        ("4:memory:/docker/4f2b\n", V1_IN_A_CONTAINER),
        ("4:memory:/docker/4f2abc\n", V1_IN_A_CONTAINER),
        ("0::/../other\n", V2_MOUNTS),
    ],
)
def test_it_cannot_be_seen_from_here(cgroups: str, mounts: str) -> None:
    assert counter_file(cgroups, mounts) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3),
        ("low 0\nhigh 0\nmax 12\noom 4\noom_kill 2\noom_group_kill 1\n", 2),
        ("low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n", 0),
        ("oom_kill_disable 0\nunder_oom 0\n", None),
        ("", None),
    ],
)
def test_what_is_counted(text: str, expected: int | None) -> None:
    assert expected == count_in(text)


# ---- what it proves ---------------------------------------------------------------------------

# Each death: the count when that worker was started, the count now, how many are undecided.
DEATHS: list[tuple[list[tuple[int, int, int]], list[bool]]] = [
    ([(0, 1, 1)], [True]),
    ([(0, 0, 1)], [False]),
    ([(7, 7, 1)], [False]),
    ([(7, 8, 1)], [True]),
    # two deaths and one count: whose was it?
    ([(0, 1, 2), (0, 1, 1)], [False, False]),
    ([(0, 2, 2), (0, 2, 1)], [True, True]),
    ([(0, 2, 3), (0, 2, 2), (0, 2, 1)], [False, False, False]),
    ([(0, 3, 3), (0, 3, 2), (0, 3, 1)], [True, True, True]),
    # a count explains one death, and is used up
    ([(0, 1, 1), (0, 1, 1)], [True, False]),
    ([(0, 1, 1), (0, 2, 1)], [True, True]),
    ([(0, 1, 1), (1, 1, 1)], [True, False]),
    # what explains nobody is nobody's later
    ([(0, 5, 1), (0, 5, 1)], [True, False]),
    ([(0, 5, 2), (0, 5, 1), (0, 5, 1)], [True, True, False]),
    # one that began after the first was counted, and is not undecided together with it
    ([(0, 1, 2), (1, 1, 1), (0, 2, 1)], [False, False, True]),
]


@pytest.mark.parametrize(("deaths", "expected"), DEATHS)
def test_what_a_count_proves(deaths: list[tuple[int, int, int]], expected: list[bool]) -> None:
    tally = Tally()
    assert expected == [
        tally.explains(before=before, now=now, deaths=number) for before, now, number in deaths
    ]


@pytest.mark.parametrize(
    ("waitstatus", "verdict", "expected"),
    [
        (signal.SIGKILL, None, "oom"),
        (signal.SIGKILL, "killed", "killed"),
        (signal.SIGKILL, "start_timeout", "start_timeout"),
        (signal.SIGKILL, "lost", "lost"),
    ],
)
def test_the_reason(waitstatus: int, verdict: Any, expected: str) -> None:
    status = exit_status(waitstatus, told_to_stop=False, verdict=verdict, is_oom=True)
    assert (expected, f"{expected} SIGKILL") == (status.reason, str(status))
    assert "signal" == exit_status(waitstatus, told_to_stop=False).reason


# ---- reading it -------------------------------------------------------------------------------


@attrs.define(eq=False)
class Dead:
    """A process that has ended, or not."""

    pid: int
    status: Status | None = None

    def poll(self) -> Status | None:
        return self.status


class Kernel:
    """The files of a kernel: process 100 is in one cgroup, 101 in another, others in none."""

    def __init__(self, top: Path) -> None:
        self.proc = str(top / "proc")
        self._groups = top / "cgroup"
        mounts = f"30 23 0:26 / {self._groups} rw - cgroup2 cgroup2 rw\n"
        tells = {"self/mountinfo": mounts, "100/cgroup": "0::/one\n", "101/cgroup": "0::/other\n"}
        for name, text in tells.items():
            path = top / "proc" / name
            path.parent.mkdir(parents=True)
            path.write_text(text)

    def count(self, group: str, number: int) -> Path:
        """Say how many were killed."""
        file = self._groups / group / "memory.events.local"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"low 0\noom_kill {number}\n")
        return file


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


KILLED: Status = (signal.SIGKILL, None)


def test_each_cgroup_has_its_own_count(kernel: Kernel) -> None:
    kernel.count("one", 0)
    kernel.count("other", 5)
    kills = MemoryKills(kernel.proc)
    one, other = Dead(100, KILLED), Dead(101, KILLED)
    kills.started(one)
    kills.started(other)
    kernel.count("other", 6)
    assert not kills.is_proven(one)
    assert kills.is_proven(other)
    assert not kills.is_proven(other)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, True),
        ((0, None), True),
        ((signal.SIGTERM, None), True),
        ((None, None), True),
        (KILLED, False),
    ],
)
def test_who_else_could_be_counted(kernel: Kernel, status: Status | None, expected: bool) -> None:
    kernel.count("one", 0)
    kills = MemoryKills(kernel.proc)
    one, other = Dead(100, KILLED), Dead(100, status)
    kills.started(one)
    kills.started(other)
    kernel.count("one", 1)
    assert expected == kills.is_proven(one)
    kills.forget(other)
    kernel.count("one", 2)
    later = Dead(100, KILLED)
    kills.started(later)
    kernel.count("one", 3)
    assert kills.is_proven(later)


def test_no_count_proves_nothing(kernel: Kernel) -> None:
    kills = MemoryKills(kernel.proc)
    early = Dead(100, KILLED)
    kills.started(early)  # there is no file yet
    kernel.count("one", 1)
    late, outside = Dead(100, KILLED), Dead(102, KILLED)
    kills.started(late)
    kills.started(outside)
    assert not kills.is_proven(early)
    assert not kills.is_proven(outside)
    kernel.count("one", 2).unlink()
    assert not kills.is_proven(late)
