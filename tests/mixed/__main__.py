"""The command line, see `tests.mixed`."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.mixed.cluster import languages, run


def main(arguments: list[str]) -> int:
    """Play all parts and print all the counts; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.mixed", allow_abbrev=False)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--reloads", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--built", type=Path, help="where the programs are built, and stay")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        built = options.built or Path(place)
        those = []
        for one in languages():
            if (need := one.missing()) is not None:
                print(f"left out: {one.name}, for {need} is not installed")
                continue
            print(f"building {one.name}") if one.build else None
            one.make(built)
            those.append(one)
        begin = time.monotonic()
        play = functools.partial(
            run,
            those,
            built,
            Path(place) / "log",
            requests=options.requests,
            kills=options.kills,
            reloads=options.reloads,
            seed=options.seed,
            say=lambda what: print(f"{time.monotonic() - begin:6.1f} s: {what}", flush=True),
        )
        books = trio.run(play)
    seconds = time.monotonic() - begin
    for shares in books.shares:
        rest = {name: n for name, n in shares.served.items() if name not in shares.dealt}
        print(f"of {shares.asked} requests dealt {dict(shares.dealt)}, beside them {rest}")
    for name in (one.name for one in those):
        print(f"{name:>12} reloaded {books.reloads[name]}, killed {books.killed[name]},", end=" ")
        print(f"served {books.served[name]} under load")
    for name, count in books.summary().items():
        print(f"{name:24} {count}")
    broken = books.broken_promises()
    print(f"echoed: {', '.join(sorted(books.echoed))}")
    print(
        f"mixed: {'broken: ' + ', '.join(broken) if broken else 'ok'}"
        f" seed={options.seed} kills={books.killed.total()} seconds={seconds:.1f}"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
