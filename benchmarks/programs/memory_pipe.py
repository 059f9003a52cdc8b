"""So many processes of ``multiprocessing``, each of which has answered one message.

Its fork server has Trio imported beforehand, as ours has.
"""

from __future__ import annotations

import multiprocessing
import sys
from typing import Any

from benchmarks.programs.common import Arguments, arguments, say


def echo(connection: Any) -> None:
    """Answer every message with what it carries."""
    while True:
        connection.send(connection.recv())


def main(given: Arguments) -> None:
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "trio"])
    processes, ends = [], []
    for _ in range(given.whole("workers", 8)):
        ours, theirs = context.Pipe()
        process = context.Process(target=echo, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        processes.append(process)
        ends.append(ours)
    received = 0
    for number, end in enumerate(ends):
        end.send(number)
        received += end.recv() == number
    say(workers=[process.pid for process in processes])
    sys.stdin.read()  # until they have been looked at
    for process in processes:
        process.kill()
        process.join()
    say(sent=len(processes), received=received)


if __name__ == "__main__":
    main(arguments())
