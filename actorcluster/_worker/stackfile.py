"""How the stack of a worker is had that does not answer: without its loop, and without the GIL.

Runs in: both

Theory of operation
===================

A worker keeps a file in memory open, and has faulthandler write the stacks of all threads there
whenever a certain signal comes. That happens inside the signal handler, in C: it needs neither the
loop nor the GIL, so it works while Python code runs in circles and while C code keeps the
interpreter to itself. A system call that was interrupted goes on.

The primary holds no descriptor for it. When it wants to know, it looks for a file of that name
among the descriptors of the process, empties it, sends the signal, and reads. The stack is there
when something is, and no thread is in the handler, where the signal is blocked. A process that has
no such file is no Python worker of ours and gets no signal, nor does one that does not catch it:
the default action of a real-time signal is to end the process. One that is stopped would not see it
before it is continued.

Some system calls end when a signal comes, ``pause`` and ``sleep`` among them; Python's own go on.
A worker that was stuck in such a call may be on its way a moment later, or gone. So for the first
two milliseconds, which is more than it takes, we wait for nothing else.

The signal is one of the real-time ones, which mean nothing by themselves. A program that has a use
for that number installs its own handler, which replaces ours.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import time
from typing import Final, NamedTuple

import trio

from .process import Process, above_stdio
from .stack import Look, read_stack

__all__ = ["SIGNAL", "can_run", "look_into", "offer_stack", "processor_time", "renew_stack"]

#: 46 where the C library keeps two for itself, as on nearly every Linux.
SIGNAL: Final = signal.SIGRTMIN + 12 if sys.platform == "linux" else 0

_NAME: Final = "actorcluster-stack"
_LINK: Final = f"/memfd:{_NAME} (deleted)"
_MOST: Final = 512 * 1024
"""Bytes; a hundred threads of a hundred calls each, which is all that faulthandler writes."""
_PATIENCE: Final = 2.0
_PAUSE: Final = 0.005
_BRIEF_PATIENCE: Final = 0.002
_BRIEF_PAUSE: Final = 0.0001
_STDIO: Final = 3
_NANO: Final = 1e-9


# ---- in the worker ------------------------------------------------------------------------------


class _Offer:
    """The descriptor of what this process offers; -1: nothing."""

    fd = -1


def offer_stack() -> None:
    """Have this process write its stacks when it is asked to; one that cannot does without.

    Any number of calls. What a fork server offers, its next worker has: then see `renew_stack`.
    """
    if _Offer.fd >= 0 or not SIGNAL:
        return
    with contextlib.suppress(OSError):  # no room for a descriptor
        fd = os.memfd_create(_NAME, os.MFD_CLOEXEC)
        if fd < _STDIO:  # this process runs without some of its standard streams
            low, fd = fd, above_stdio(fd)
            os.close(low)
        faulthandler.register(SIGNAL, file=fd, all_threads=True, chain=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {SIGNAL})
        _Offer.fd = fd


def renew_stack() -> None:
    """In a fork server that has forked: have a new file, for what it had is the worker's now."""
    if _Offer.fd < 0:
        return
    try:
        fd = os.memfd_create(_NAME, os.MFD_CLOEXEC)
    except OSError:  # no room for a descriptor: two workers must not share one
        faulthandler.unregister(SIGNAL)
        os.close(_Offer.fd)
        _Offer.fd = -1
    else:
        os.dup2(fd, _Offer.fd, inheritable=False)
        os.close(fd)


# ---- in the primary -----------------------------------------------------------------------------


class _Status(NamedTuple):
    """Of a thread, the state and what becomes of our signal there."""

    state: str
    is_caught: bool
    is_blocked: bool


class _Question(NamedTuple):
    """What was asked of whom.

    Attributes:
        process: it is about.
        fd: of the file in which the answer comes.
        begin: where it begins there.
        blocking: threads that block the signal always, by number.
    """

    process: Process
    fd: int
    begin: int
    blocking: frozenset[str]


def processor_time(pid: int) -> float | None:
    """Seconds that the main thread of a process ran; None: nobody knows."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[0]) * _NANO
    except (OSError, ValueError, IndexError):
        return None


def can_run(pid: int) -> bool:
    """Whether the main thread of a process runs, or would if it had a processor."""
    try:
        return _status(f"/proc/{pid}").state == "R"
    except OSError:
        return False


async def look_into(process: Process) -> Look:
    """Find out where a process is that does not answer. Takes two seconds at most.

    Cancellation:
        Nothing is left behind.
    """
    try:
        return await _look_into(process)
    except (FileNotFoundError, ProcessLookupError):
        has_ended = process.poll() is not None
        return Look(no_stack="it has ended" if has_ended else "/proc says nothing about it")
    except PermissionError:
        return Look(no_stack="its user does not let this one look into it")
    except OSError as exc:
        return Look(no_stack=f"{exc}")


async def _look_into(process: Process) -> Look:
    if process.poll() is not None:
        return Look(no_stack="it has ended")
    status = _status(f"/proc/{process.pid}")
    if status.state in "Tt":
        who = "a debugger holds it" if status.state == "t" else "it is stopped"
        return Look(stopped=True, no_stack=who)
    fd = _open_file(process.pid)
    if fd is None:
        return Look(no_stack="it is no Python worker of ours")
    try:
        if not status.is_caught:
            return Look(no_stack=f"it does not listen to signal {SIGNAL}")
        question = _Question(process, fd, os.fstat(fd).st_size, _blocking(process.pid))
        os.ftruncate(fd, 0)  # it goes on where it was, and what was before takes no memory
        if not process.send_signal(SIGNAL):
            return Look(no_stack="it has ended")
        look = _brief_answer(question)
        with trio.move_on_after(_PATIENCE):
            while look is None:
                await trio.sleep(_PAUSE)
                look = _answer(question)
        return look or Look(no_stack=f"no answer to signal {SIGNAL} within {_PATIENCE:g} s")
    finally:
        os.close(fd)


def _brief_answer(question: _Question) -> Look | None:
    """Give nobody else a turn until it is there, or for two milliseconds."""
    until = time.monotonic() + _BRIEF_PATIENCE
    while (look := _answer(question)) is None and time.monotonic() < until:
        time.sleep(_BRIEF_PAUSE)
    return look


def _answer(question: _Question) -> Look | None:
    """What it wrote, if that is there now."""
    process, fd, begin, blocking = question
    has_ended = process.poll() is not None
    if not has_ended:
        try:
            # The order matters: who has written something has blocked the signal before.
            if not os.fstat(fd).st_size or _blocking(process.pid) - blocking:
                return None
        except FileNotFoundError:
            return None  # it ends just now
    stack = read_stack(os.pread(fd, _MOST, begin).decode("ascii", "replace"))
    if stack is None:
        return Look(no_stack="it has ended" if has_ended else "its main thread is not among them")
    return Look(stack=stack)


def _open_file(pid: int) -> int | None:
    """Open the file that a worker keeps for us; it may be anything, so we look before."""
    for name in sorted(os.listdir(f"/proc/{pid}/fd"), key=int):
        try:
            if os.readlink(f"/proc/{pid}/fd/{name}") != _LINK:
                continue
            found = os.open(f"/proc/{pid}/fd/{name}", os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # closed meanwhile
        try:
            if os.readlink(f"/proc/self/fd/{found}") == _LINK:
                return os.open(f"/proc/self/fd/{found}", os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.close(found)
    return None


def _blocking(pid: int) -> frozenset[str]:
    """Which threads of a process block our signal, by number."""
    found = set()
    for tid in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            if _status(f"/proc/{pid}/task/{tid}").is_blocked:
                found.add(tid)
    return frozenset(found)


def _status(path: str) -> _Status:
    with open(f"{path}/status", errors="replace") as file:  # there is its name, which may be any
        fields = dict(line.split(":\t", 1) for line in file if ":\t" in line)

    def has(name: str) -> bool:
        return bool(int(fields[name], 16) >> (SIGNAL - 1) & 1)

    return _Status(fields["State"].strip()[0], has("SigCgt"), has("SigBlk"))
