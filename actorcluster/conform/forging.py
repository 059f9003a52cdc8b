"""The program that starts Python programs fast: it has loaded what they need, and forks.

Runs in: worker

It is run by the interpreter of the program under test, by its path, and so imports nothing but
what every Python has. Its arguments are the number of a socket, the modules to be loaded with
commas between, and the program with its arguments, without the interpreter. Everything that differs
from one start to the next, the environment and the descriptors, is put into its place before the
fork, so that what a module does behind a fork (`os.register_at_fork`) finds it there.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from typing import Any

_HIGH = 500  # no program is given a descriptor with this number
_LONGEST = 1 << 20


def main() -> None:
    """Load modules, and serve; in each child, be the program."""
    number, modules, *program = sys.argv[1:]
    sys.path[0] = os.getcwd() if program[0] == "-m" else os.path.dirname(program[0])
    for module in filter(None, modules.split(",")):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what is there by now is never looked at again, nor copied for that
    control = socket.socket(fileno=fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, _HIGH))
    os.close(int(number))
    if _serve(control):
        _be(program)


def _serve(control: socket.socket) -> bool:
    """Do as the kit says until it is gone; gives True in a child."""
    control.send(b"{}")
    while True:
        data, fds, _, _ = socket.recv_fds(control, _LONGEST, 8)
        if not data:
            return False
        order = json.loads(data)
        if "start" not in order:
            control.send(json.dumps({"status": _status(order)}).encode())
            continue
        pid = _fork(order, fds)
        if pid == 0:
            control.close()
            return True
        control.send(json.dumps({"pid": pid}).encode())


def _status(order: dict[str, Any]) -> int | None:
    """Give how a child has ended; it is reaped if that is wanted."""
    options = os.WEXITED | os.WNOHANG | (0 if order.get("reap") else os.WNOWAIT)
    ended = os.waitid(os.P_PID, order["pid"], options)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def _fork(order: dict[str, Any], fds: list[int]) -> int:
    """Fork with the environment, the standard streams and the descriptors of a program."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH) for fd in fds]
    for fd in fds:
        os.close(fd)
    output, *passed = high
    numbers = order["numbers"]
    for fd, number in zip(passed, numbers, strict=True):
        os.dup2(fd, number)
    os.environ.clear()
    os.environ.update(order["start"])
    pid = os.fork()
    if pid == 0:
        os.setsid()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        for stream in (1, 2):
            os.dup2(output, stream)
        for fd in high:
            os.close(fd)
        return 0
    for fd in (*high, *numbers):
        os.close(fd)
    return pid


def _be(program: list[str]) -> None:
    """Be the program, as the interpreter would be."""
    if program[0] == "-m":
        sys.argv = program[1:]
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = program
        runpy.run_path(program[0], run_name="__main__")


if __name__ == "__main__":
    main()
