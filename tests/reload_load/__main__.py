"""The command line, see `tests.reload_load`."""

from __future__ import annotations

import argparse
import functools
import sys
import time

import trio

from tests.reload_load.load import half


def main(arguments: list[str]) -> int:
    """Run both halves and print all the counts; 1 if a promise was broken, 2 if it is void."""
    parser = argparse.ArgumentParser(prog="python -m tests.reload_load", allow_abbrev=False)
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    begin = time.monotonic()
    verdicts: list[str] = []
    for preload in (False, True):
        extra = int(preload)  # of an odd number, the second half has one more
        run = functools.partial(
            half,
            reloads=(options.reloads + extra) // 2,
            kills=(options.kills + extra) // 2,
            seed=options.seed + extra,
            preload=preload,
        )
        books = trio.run(run)
        print("preloaded" if preload else "not preloaded")
        for name, count in books.summary().items():
            print(f"    {name:26} {count}")
        verdicts += books.broken_promises()
        if books.is_void():
            verdicts.append("void")
    seconds = time.monotonic() - begin
    print(
        f"reload_load: {'broken: ' + ', '.join(verdicts) if verdicts else 'ok'}"
        f" seed={options.seed} seconds={seconds:.1f}"
    )
    if not verdicts:
        return 0
    return 2 if set(verdicts) == {"void"} else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
