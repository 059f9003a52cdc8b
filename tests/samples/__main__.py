"""``python -m tests.samples -- COMMAND``: a worker in any language keeps nothing of what it got.

COMMAND is the conformance actor of the specification's annex A. It serves connections that are
handed over, then takes ten windows of messages at once. The exit code is 1 if it kept descriptors,
or answered less than it was asked.
"""

from __future__ import annotations

import argparse
import sys

import trio

from tests.samples.load import BLOB, MIB, conformance_actor, hand_offs, overload


def main(arguments: list[str]) -> int:
    """Do as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.samples", allow_abbrev=False)
    parser.add_argument("-n", type=int, default=10_000, help="hand-offs (default: 10000)")
    parser.add_argument("--times", type=int, default=10, help="windows at once (default: 10)")
    parser.add_argument("--lane", choices=["node"], help="by which handles go; without: none")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)

    async def run() -> int:
        async with conformance_actor(options.command, lane=options.lane) as (_, worker):
            began = trio.current_time()
            found = await hand_offs(worker, options.n)
            seconds = trio.current_time() - began
            print(f"{options.n} hand-offs in {seconds:.1f} s: descriptors {found}")
            answered, memory = await overload(worker, options.times)
            asked = options.times * 4 * MIB // BLOB
            print(f"{answered} of {asked} calls answered, at most {memory / MIB:.0f} MiB")
            return int(found.after > found.before or answered != asked)

    return trio.run(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
