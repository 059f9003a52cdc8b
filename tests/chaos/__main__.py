"""The command line, see `tests.chaos`."""

from __future__ import annotations

import argparse
import sys
import time

import trio

from tests.chaos.storm import storm


def main(arguments: list[str]) -> int:
    """Run a storm and print all the counts; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--acknowledge", choices=["accept", "receipt"], default="accept")
    options = parser.parse_args(arguments)
    begin = time.monotonic()

    async def run() -> int:
        books = await storm(**vars(options))
        counts = books.summary()
        for name, count in counts.items():
            print(f"{name:24} {count}")
        seconds = time.monotonic() - begin
        broken = books.broken_promises()
        print(
            f"chaos: {'broken: ' + ', '.join(broken) if broken else 'ok'}"
            f" seed={options.seed} connections={counts['connections']}"
            f" kills={counts['kills']} seconds={seconds:.1f}"
        )
        return 1 if broken else 0

    return trio.run(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
