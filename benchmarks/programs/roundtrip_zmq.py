"""Questions and answers through pyzmq: two PAIR sockets, msgpack for what they carry."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import msgpack

from benchmarks.programs.common import Arguments, arguments
from benchmarks.programs.window import measure
from benchmarks.programs.zmqpair import Pair


def echo(address: str, size: int) -> None:
    """Answer every message with what it carries, decoded and encoded again."""
    pair = Pair(address, size, bind=False)
    pack, unpack = msgpack.Packer().pack, msgpack.unpackb
    while True:
        pair.send(pack(unpack(pair.recv())))


def main(given: Arguments) -> None:
    size = given.whole("size", 8)
    address = f"ipc://@actorcluster-benchmark-{os.getpid()}"  # abstract: no file is left behind
    context = multiprocessing.get_context("fork")
    process = context.Process(target=echo, args=(address, size), daemon=True)
    process.start()
    pair = Pair(address, size, bind=True)
    pack, unpack = msgpack.Packer().pack, msgpack.unpackb

    def send(body: Any) -> None:
        pair.send(pack(body))

    measure(send, lambda: unpack(pair.recv()), given)
    process.kill()
    process.join()


if __name__ == "__main__":
    main(arguments())
