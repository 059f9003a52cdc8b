"""One-way messages through ``multiprocessing.Pipe``: blocking calls, one process at each end."""

from __future__ import annotations

import multiprocessing
from typing import Any

from benchmarks.programs.common import Arguments, arguments, now, say

Connection = Any  # of multiprocessing; its class is generic in later versions only


def send_for(connection: Connection, seconds: float, data: str | bytes, chunk: int) -> None:
    """Send for so long, looking at the clock once in a chunk; then say how many it were."""
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            connection.send({"n": sent, "data": data})
            sent += 1
    connection.send({"end": sent})


def receive_all(connection: Connection) -> dict[str, Any]:
    """Look at every message until the one that says how many were sent."""
    received = checksum = 0
    while True:
        body = connection.recv()
        if "end" in body:
            return {"sent": body["end"], "received": received, "checksum": checksum}
        received += 1
        checksum += body["n"] + len(body["data"])


def receiver(connection: Connection) -> None:
    """Receive all, say what it was, and again."""
    while True:
        connection.send(receive_all(connection))


def sender(connection: Connection, data: str | bytes, chunk: int) -> None:
    """Send for as many seconds as the primary says."""
    while True:
        send_for(connection, connection.recv(), data, chunk)


def main(given: Arguments) -> None:
    data, chunk = given.data(), given.whole("chunk", 256)
    to_worker = given.text("direction", "to_worker") == "to_worker"
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=receiver if to_worker else sender,
        args=(theirs,) if to_worker else (theirs, data, chunk),
        daemon=True,
    )
    process.start()
    result: dict[str, Any] = {}
    for seconds in given.phases():
        started = now()
        if to_worker:
            send_for(ours, seconds, data, chunk)
            result = ours.recv()
        else:
            ours.send(seconds)
            result = receive_all(ours)
        result["seconds"] = now() - started
    process.kill()
    process.join()
    say(**result)


if __name__ == "__main__":
    main(arguments())
