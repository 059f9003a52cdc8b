"""Questions and answers through ``multiprocessing.Pipe``."""

from __future__ import annotations

import multiprocessing
from typing import Any

from benchmarks.programs.common import Arguments, arguments
from benchmarks.programs.window import measure


def echo(connection: Any) -> None:
    """Answer every message with what it carries."""
    while True:
        connection.send(connection.recv())


def main(given: Arguments) -> None:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=echo, args=(theirs,), daemon=True)
    process.start()
    measure(ours.send, ours.recv, given)
    process.kill()
    process.join()


if __name__ == "__main__":
    main(arguments())
