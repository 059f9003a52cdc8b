"""A worker that leaves daemons behind: ``python -m tests.conform.daemons FILE``.

It is `broken_worker` otherwise. Before, it starts three processes that outlive it, and writes their
pids into the file: one in a session of its own, one that forked twice, and one that has nothing of
its environment any more.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Mapping
from typing import NoReturn


def lies_low(heard: int) -> NoReturn:
    os.write(heard, f"{os.getpid()}\n".encode())
    os.close(heard)
    while True:
        signal.pause()


def forked(*, twice: bool, environment: Mapping[str, str] | None = None) -> int:
    """Fork a daemon, which tells its pid."""
    told, heard = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if twice and os.fork():
            os._exit(0)
        if environment is not None:
            os.set_inheritable(heard, True)
            program = [
                sys.executable,
                "-c",
                f"from tests.conform import daemons as d; d.lies_low({heard})",
            ]
            os.execve(sys.executable, program, environment)
        lies_low(heard)
    os.close(heard)
    if twice:
        os.waitpid(child, 0)
    with os.fdopen(told) as file:
        return int(file.readline())


def main() -> None:
    pids = [
        forked(twice=False),
        forked(twice=True),
        forked(twice=True, environment={"PYTHONPATH": os.getcwd()}),
    ]
    with open(sys.argv[1], "a", encoding="ascii") as file:
        file.writelines(f"{pid}\n" for pid in pids)
    runpy.run_module("tests.conform.broken_worker", run_name="__main__")


if __name__ == "__main__":
    main()
