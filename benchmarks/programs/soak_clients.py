"""Clients of the soak: connect, say something, hear it again, leave; a few at a time."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Final

import trio

from benchmarks.programs.common import Arguments, arguments, say

CLIENTS: Final = 4
PATIENCE: Final = 5.0  # seconds
PAUSE: Final = 0.005  # seconds


async def ask_again_and_again(port: int, counts: Counter[str]) -> None:
    """Be one client after another."""
    while True:
        try:
            with trio.fail_after(PATIENCE):
                async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                    await stream.send_all(b"hello")
                    heard = b"".join([bytes(part) async for part in stream])
        except trio.TooSlowError:
            counts["hung"] += 1
        except (OSError, trio.BrokenResourceError):
            counts["failed"] += 1
        else:
            counts["answered" if heard == b"hello" else "failed"] += 1
        await trio.sleep(PAUSE)


async def main(given: Arguments) -> None:
    counts: Counter[str] = Counter({"answered": 0, "failed": 0, "hung": 0})
    async with trio.open_nursery() as nursery:
        for _ in range(CLIENTS):
            nursery.start_soon(ask_again_and_again, given.whole("port", 0), counts)
        await trio.lowlevel.wait_readable(sys.stdin)  # closed when it was long enough
        nursery.cancel_scope.cancel()
    say(**counts)


if __name__ == "__main__":
    trio.run(main, arguments())
