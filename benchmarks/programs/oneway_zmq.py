"""One-way messages through pyzmq: two PAIR sockets, msgpack for what they carry, blocking calls."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import msgpack

from benchmarks.programs.common import Arguments, arguments, now, say
from benchmarks.programs.zmqpair import Pair


def send_for(pair: Pair, seconds: float, data: str | bytes, chunk: int) -> None:
    """Send for so long, looking at the clock once in a chunk; then say how many it were."""
    pack, send = msgpack.Packer().pack, pair.send
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            send(pack({"n": sent, "data": data}))
            sent += 1
    send(pack({"end": sent}))


def receive_all(pair: Pair) -> dict[str, Any]:
    """Look at every message until the one that says how many were sent."""
    unpack, receive = msgpack.unpackb, pair.recv
    received = checksum = 0
    while True:
        body = unpack(receive())
        if "end" in body:
            return {"sent": body["end"], "received": received, "checksum": checksum}
        received += 1
        checksum += body["n"] + len(body["data"])


def worker(address: str, to_worker: bool, data: str | bytes, chunk: int) -> None:
    """Receive all and say what it was, or send for as many seconds as the primary says."""
    pair = Pair(address, len(data), bind=False)
    while True:
        if to_worker:
            pair.send(msgpack.packb(receive_all(pair)))
        else:
            send_for(pair, msgpack.unpackb(pair.recv()), data, chunk)


def main(given: Arguments) -> None:
    data, chunk = given.data(), given.whole("chunk", 256)
    to_worker = given.text("direction", "to_worker") == "to_worker"
    address = f"ipc://@actorcluster-benchmark-{os.getpid()}"  # abstract: no file is left behind
    process = multiprocessing.get_context("fork").Process(
        target=worker, args=(address, to_worker, data, chunk), daemon=True
    )
    process.start()
    pair = Pair(address, len(data), bind=True)
    result: dict[str, Any] = {}
    for seconds in given.phases():
        started = now()
        if to_worker:
            send_for(pair, seconds, data, chunk)
            result = msgpack.unpackb(pair.recv())
        else:
            pair.send(msgpack.packb(seconds))
            result = receive_all(pair)
        result["seconds"] = now() - started
    process.kill()
    process.join()
    say(**result)


if __name__ == "__main__":
    main(arguments())
