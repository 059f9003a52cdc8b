"""Open sockets with ``multiprocessing``: a message, then ``reduction.send_handle``."""

from __future__ import annotations

import multiprocessing
import socket
from multiprocessing import reduction
from typing import Any

from benchmarks.programs.common import Arguments, arguments, now, say, spread, tcp_pair

Connection = Any  # of multiprocessing; its class is generic in later versions only


def receiver(connection: Connection) -> None:
    """Take every socket; say at each end what it was, and answer each question with the port."""
    received = checksum = 0
    while True:
        body = connection.recv()
        if "end" in body:
            connection.send({"sent": body["end"], "received": received, "checksum": checksum})
            received = checksum = 0
            continue
        with socket.socket(fileno=reduction.recv_handle(connection)) as sock:
            port = sock.getpeername()[1]
        received += 1
        checksum += body["n"] + port
        if "ask" in body:
            connection.send({"n": body["n"], "port": port})


def send_for(
    connection: Connection, pid: int, sock: socket.socket, seconds: float, chunk: int
) -> dict[str, Any]:
    """Send for so long, then wait until all have arrived."""
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            connection.send({"n": sent})
            reduction.send_handle(connection, sock.fileno(), pid)
            sent += 1
    connection.send({"end": sent})
    result: dict[str, Any] = connection.recv()
    return result


def ask_for(
    connection: Connection, pid: int, sock: socket.socket, seconds: float
) -> dict[str, Any]:
    """Ask about one after another for so long."""
    sent, checksum, until = 0, 0, now() + seconds
    times: list[float] = []
    while (asked := now()) < until:
        connection.send({"n": sent, "ask": True})
        reduction.send_handle(connection, sock.fileno(), pid)
        answer = connection.recv()
        times.append(now() - asked)
        checksum += answer["n"] + answer["port"]
        sent += 1
    return {"sent": sent, "received": len(times), "checksum": checksum, **spread(times)}


def main(given: Arguments) -> None:
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    process = context.Process(target=receiver, args=(theirs,), daemon=True)
    process.start()
    assert process.pid is not None
    result: dict[str, Any] = {}
    with tcp_pair() as (sock, port):
        for seconds in given.phases():
            started = now()
            if given.text("mode", "send") == "send":
                result = send_for(ours, process.pid, sock, seconds, given.whole("chunk", 16))
            else:
                result = ask_for(ours, process.pid, sock, seconds)
            result["seconds"] = now() - started
    process.kill()
    process.join()
    say(port=port, **result)


if __name__ == "__main__":
    main(arguments())
