"""Questions and answers where there are only blocking calls: so many are sent before one is read.

One thread does it all, so answers come in the order of the questions. It is the fastest that can
be done there, and less than tasks that each wait for an answer of their own. All that is in flight
has to fit into the buffers of the sockets, else both ends block while they write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks.programs.common import Arguments, now, say, spread


def ask_for(
    send: Callable[[Any], Any], receive: Callable[[], Any], seconds: float, given: Arguments
) -> dict[str, Any]:
    """Ask for so many seconds, looking at every answer."""
    data, in_flight = given.data(), given.whole("in_flight", 1)
    asked: deque[float] = deque()
    times: list[float] = []
    sent = checksum = 0
    started = now()
    until = started + seconds
    while True:
        while len(asked) < in_flight and (moment := now()) < until:
            asked.append(moment)
            send({"n": sent, "data": data})
            sent += 1
        if not asked:
            break
        answer = receive()
        times.append(now() - asked.popleft())
        assert answer["n"] == len(times) - 1
        checksum += answer["n"] + len(answer["data"])
    elapsed = now() - started
    counts = {"sent": sent, "received": len(times), "checksum": checksum, "seconds": elapsed}
    return counts | spread(times)


def measure(send: Callable[[Any], Any], receive: Callable[[], Any], given: Arguments) -> None:
    """Be the primary: warm up, measure, say."""
    result: dict[str, Any] = {}
    for seconds in given.phases():
        result = ask_for(send, receive, seconds, given)
    say(**result)
