"""Fork a process whose parent is our parent: ``clone(CLONE_PARENT)`` as CPython's own fork does it.

Runs in: both

``os.fork()`` makes children of the process that calls it; a fork server needs siblings, so that
whoever started it can wait for them. What ``os.fork()`` does round the system call
(``PyOS_BeforeFork`` and its two ends, which also run ``os.register_at_fork`` functions) is public
C API and done here too. What glibc does round it is

- locks and ``pthread_atfork``: needed only by a process with other threads. We refuse to have any;
- the thread id that the C library remembers: without ``CLONE_CHILD_SETTID`` at its place the child
  would go on believing in its parent's, which ``pthread_kill`` uses.

``CLONE_PARENT_SETTID`` writes the pid into memory of the caller's choice before the child runs its
first instruction and before a signal can end the caller. In memory shared with somebody who
outlives the caller, that is the one record of a new process that cannot be lost.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import signal
import sys
from typing import Final

__all__ = ["available", "clone_sibling", "thread_count"]

_CLONE_NUMBERS: Final = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT: Final = 0x0000_8000
_CLONE_PARENT_SETTID: Final = 0x0010_0000
_CLONE_CHILD_CLEARTID: Final = 0x0020_0000
_CLONE_CHILD_SETTID: Final = 0x0100_0000
_PR_GET_TID_ADDRESS: Final = 40


@functools.cache
def available() -> tuple[bool, str]:
    """Whether `clone_sibling` works on this machine, and if not, why not."""
    why = _why_not()
    return why is None, why or ""


def _why_not() -> str | None:
    if sys.platform != "linux":
        return f"clone(CLONE_PARENT) is Linux's, this is {sys.platform}"
    if platform.machine() not in _CLONE_NUMBERS or sys.maxsize < 2**32:
        return f"the number of clone() is not known for {platform.machine()}"
    if sys.implementation.name != "cpython":
        return f"PyOS_BeforeFork is CPython's, this is {sys.implementation.name}"
    if not sys.executable:
        return "sys.executable does not name the interpreter"
    try:
        os.close(os.pidfd_open(os.getpid()))
        thread_count()
    except OSError as exc:
        return f"no pidfd or no /proc: {exc}"
    return None


def thread_count() -> int:
    """How many threads this process has, those that Python does not know included."""
    return len(os.listdir("/proc/self/task"))


def clone_sibling(pid_address: int) -> int:
    """Fork a child of our parent; the caller must be single-threaded.

    Args:
        pid_address: where the kernel puts the child's pid, an int of 4 bytes.

    Returns:
        The child's pid in the caller, 0 in the child.

    Raises:
        OSError: there is no child.
    """
    # All are looked up here: the child would find them on pages that it would have to copy.
    syscall, python = _libc().syscall, ctypes.pythonapi
    after_in_child, after_in_parent = python.PyOS_AfterFork_Child, python.PyOS_AfterFork_Parent
    flags = _CLONE_PARENT | _CLONE_PARENT_SETTID | signal.SIGCHLD
    tid_address = _tid_address()
    if tid_address:
        flags |= _CLONE_CHILD_SETTID | _CLONE_CHILD_CLEARTID
    arguments = _arguments(flags, pid_address, tid_address)
    python.PyOS_BeforeFork()
    pid: int = syscall(*arguments)
    if pid == 0:
        after_in_child()
        return 0
    error = ctypes.get_errno()
    after_in_parent()
    if pid < 0:
        raise OSError(error, f"clone: {os.strerror(error)}")
    return pid


def _arguments(flags: int, pid_address: int, tid_address: int) -> list[ctypes.c_long]:
    """The system call's arguments; the child goes on on a copy of our stack."""
    machine = platform.machine()
    stack = tls = 0
    last = (tid_address, tls) if machine == "x86_64" else (tls, tid_address)
    values = (_CLONE_NUMBERS[machine], flags, stack, pid_address, *last)
    return [ctypes.c_long(value) for value in values]


@functools.cache
def _libc() -> ctypes.PyDLL:
    libc = ctypes.PyDLL(None, use_errno=True)  # PyDLL: the interpreter's lock is kept
    libc.syscall.restype = ctypes.c_long
    return libc


def _tid_address() -> int:
    """Where the C library remembers this thread's id, or 0 when that cannot be told.

    glibc tells the kernel that very place. Other libraries do not, hence the look at what is there.
    """
    address = ctypes.c_void_p()
    failed = _libc().prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0)
    if failed or not address.value:
        return 0
    is_it = ctypes.c_int.from_address(address.value).value == os.getpid()
    return address.value if is_it else 0
