"""What the worker processes of these tests do instead of speaking the protocol."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import random
import signal
import socket
import ssl
import sys
import threading
import time
from typing import Any

from actorcluster._worker import bootstrap


def facts() -> int:
    """Say who and where I am; the answer is my exit code, 0 at the end of file."""
    identity = bootstrap.take_identity()
    with socket.socket(fileno=identity.channel_fd) as channel:
        channel.sendall(json.dumps(_facts(identity)).encode() + b"\n")
        return int(channel.recv(100) or b"0")


def _facts(identity: bootstrap.Identity) -> dict[str, Any]:
    return {
        "worker_id": identity.worker_id,
        "channel": identity.channel_fd,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "cwd": os.getcwd(),
        "umask": os.umask(0),
        "env": dict(os.environ),
        "argv": sys.argv,
        "path": sys.path,
        "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
        "fds": {fd: os.fstat(fd).st_ino for fd in _fds()},
        "inheritable": [fd for fd in _fds() if os.get_inheritable(fd)],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "signals": {n: str(signal.getsignal(getattr(signal, n))) for n in ("SIGINT", "SIGTERM")},
        "threads": len(os.listdir("/proc/self/task")),
        "random": [random.random(), os.urandom(8).hex(), ssl.RAND_bytes(8).hex()],
        "modules": sorted(sys.modules),
        "time": time.tzname[0],
        "buffering": [sys.stdout.line_buffering, sys.stderr.line_buffering],
    }


def _fds() -> list[int]:
    return sorted(fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_open(fd))


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False  # it was the descriptor with which the list was read
    return True


def named() -> int:
    """Run the entry that the command line names."""
    code: int = globals()[sys.argv[1]]()
    return code


def echo() -> int:
    """Copy stdin to stdout and stderr through Python's stream objects."""
    text = sys.stdin.read()
    sys.stdout.write(text)
    sys.stderr.write(text.upper())
    return 0


def farewell() -> int:
    """End with an atexit function, a thread at work, and something left in buffers of all kinds."""
    atexit.register(print, "atexit")

    def work() -> None:
        time.sleep(0.05)
        print("thread")

    threading.Thread(target=work).start()
    file = open(os.environ["FAREWELL"], "w")
    file.write("left in a buffer")
    atexit.register(file.fileno)  # somebody still has it when the process ends
    ctypes.CDLL(None).printf(b"C library\n")
    sys.stdout.write("main\n")
    return 7


def farewell_to_nobody() -> int:
    """End with something that cannot be written."""
    sys.stdout = open("/dev/full", "w")
    sys.stdout.write("left in a buffer")
    return 7


def leave() -> int:
    """End by SystemExit."""
    raise SystemExit(9)


def signal_myself() -> int:
    """Have a second thread signal the first: the C library must know its thread id."""
    seen = threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: seen.set())
    main = threading.main_thread()
    assert main.ident is not None
    thread = threading.Thread(target=signal.pthread_kill, args=(main.ident, signal.SIGUSR1))
    thread.start()
    thread.join()
    return 0 if seen.wait(10) else 1


def use_trio() -> int:
    """Run Trio, a thread and a program."""
    import subprocess

    import trio

    async def main() -> int:
        await trio.to_thread.run_sync(time.sleep, 0)
        done = await trio.run_process([sys.executable, "-c", "exit(0)"], stdin=subprocess.DEVNULL)
        return done.returncode

    return trio.run(main)


def wait() -> int:
    """Wait for the end of the channel, as a worker with an event loop would."""
    with (
        socket.socket(fileno=bootstrap.take_identity().channel_fd) as channel,
        contextlib.suppress(ConnectionError),  # the test may close the channel as it likes
    ):
        channel.sendall(b"+")
        channel.recv(1)
    return 0


def spin() -> int:
    """Never come back, but keep the lifeline."""
    identity = bootstrap.take_identity()
    bootstrap.Lifeline(identity.channel_fd, grace=0.05)
    os.write(identity.channel_fd, b"+")
    while True:
        pass


def wait_for_thread(ident: int, *, to_run: bool) -> None:
    """Wait until it runs, or has gone; one that is over may still have to end."""
    while (ident in sys._current_frames()) is not to_run:
        time.sleep(0.001)


def disarm() -> int:
    """Disarm the lifeline in time, and outlive the channel."""
    identity = bootstrap.take_identity()
    lifeline = bootstrap.Lifeline(identity.channel_fd, grace=0.0)
    wait_for_thread(lifeline._thread, to_run=True)
    lifeline.disarm()
    lifeline.disarm()
    wait_for_thread(lifeline._thread, to_run=False)
    os.write(identity.channel_fd, b"+")
    with socket.socket(fileno=identity.channel_fd) as channel, contextlib.suppress(ConnectionError):
        channel.recv(1)
    return 21


def forget() -> int:
    """End with the lifeline armed."""
    bootstrap.Lifeline(bootstrap.take_identity().channel_fd, grace=1000.0)
    return 5


def hold_the_interpreter() -> int:
    """Call C code that keeps the interpreter's lock for ever."""
    import ctypes

    identity = bootstrap.take_identity()
    bootstrap.Lifeline(identity.channel_fd)
    os.write(identity.channel_fd, b"+")
    ctypes.PyDLL(None).pause()
    return 1
