"""``python -m tests.liveness --minutes 10``: nobody is accused, however little there is to run on.

First it measures what it costs to ask an idle worker. Then it keeps all processors busy, with
workers that compute, that flood their primary and that are flooded, and with processes beside them,
and counts alarms. In the end one worker does get stuck, and has to be found. The exit code is 1 if
anybody was accused, or nobody was found, or the processors were not busy.
"""

from __future__ import annotations

import argparse
import sys

import trio

from actorcluster.wire._generated import Kind
from actorcluster.wire.frames import encode_frame
from actorcluster.wire.session import NIL
from tests.liveness.load import PROCESSORS, cost, load


def main(arguments: list[str]) -> int:
    """Do as the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.liveness", allow_abbrev=False)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load (default: 10)")
    parser.add_argument("--heartbeat", type=float, default=1.0, help="of the workers (default: 1)")
    parser.add_argument("--cost", type=float, default=10.0, help="seconds to measure it (0: not)")
    options = parser.parse_args(arguments)

    async def run() -> int:
        if options.cost:
            await print_cost(options.cost)
        return await print_load(60 * options.minutes, options.heartbeat) if options.minutes else 0

    return trio.run(run)


async def print_cost(seconds: float) -> None:
    """Measure what it costs, with so short a heartbeat that there is something to measure."""
    found = await cost(seconds, workers=16, heartbeat=0.3)
    worker, primary = found.an_hour(5.0)
    size = len(encode_frame(Kind.PING, 0, NIL, NIL))
    print(
        f"cost: a question takes {found.worker * 1e6:.0f} us of the worker's processor and"
        f" {found.primary * 1e6:.0f} us of the primary's, and {size} bytes each way;"
        f" with heartbeat=5 in an hour {worker * 1e3:.0f} ms and {primary * 1e3:.0f} ms",
        flush=True,
    )


async def print_load(seconds: float, heartbeat: float) -> int:
    """Load the machine; 1 if anything is wrong."""
    result = await load(seconds, heartbeat=heartbeat)
    for alarm in result.alarms:
        print(f"alarm: {alarm}\n{alarm.stack or alarm.no_stack}")
    broken = result.broken()
    print(
        f"load: {'broken: ' + ', '.join(broken) if broken else 'ok'}"
        f" alarms={len(result.alarms)} seconds={seconds:g} heartbeat={heartbeat:g}"
        f" processors={PROCESSORS} busy={result.busy:.1%}"
        f" received={result.messages} sent={result.sent}"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
