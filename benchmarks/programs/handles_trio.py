"""Open sockets with Trio and msgpack alone: each with its message in one ``sendmsg``."""

from __future__ import annotations

import array
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any

import msgpack
import trio

from benchmarks.programs.common import Arguments, arguments, now, say, spread, tcp_pair
from benchmarks.programs.triopipe import start


async def receiver(end: socket.socket) -> None:
    """Take every socket; say at each end what it was, and answer each question with the port."""
    pipe = trio.socket.from_stdlib_socket(end)
    received = checksum = 0
    while True:
        data, ancillary, _, _ = await pipe.recvmsg(4096, socket.CMSG_SPACE(4))
        body = msgpack.unpackb(data)
        if "end" in body:
            result = {"sent": body["end"], "received": received, "checksum": checksum}
            await pipe.send(msgpack.packb(result))
            received = checksum = 0
            continue
        port = look(ancillary)
        received += 1
        checksum += body["n"] + port
        if "ask" in body:
            await pipe.send(msgpack.packb({"n": body["n"], "port": port}))


def look(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """Take what came along, and close it; returns the port of its other end."""
    (fd,) = array.array("i", ancillary[0][2])
    sock = trio.socket.socket(fileno=fd)
    port: int = sock.getpeername()[1]
    sock.close()
    return port


async def send(pipe: Any, body: Any, sock: socket.socket) -> None:
    """Send one message with a socket."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))]
    await pipe.sendmsg([msgpack.packb(body)], ancillary)


async def send_for(pipe: Any, sock: socket.socket, seconds: float, chunk: int) -> dict[str, Any]:
    """Send for so long, then wait until all have arrived."""
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            await send(pipe, {"n": sent}, sock)
            sent += 1
    await pipe.send(msgpack.packb({"end": sent}))
    result: dict[str, Any] = msgpack.unpackb(await pipe.recv(4096))
    return result


async def ask_for(pipe: Any, sock: socket.socket, seconds: float) -> dict[str, Any]:
    """Ask about one after another for so long."""
    sent, checksum, until = 0, 0, now() + seconds
    times: list[float] = []
    while (asked := now()) < until:
        await send(pipe, {"n": sent, "ask": True}, sock)
        answer = msgpack.unpackb(await pipe.recv(4096))
        times.append(now() - asked)
        checksum += answer["n"] + answer["port"]
        sent += 1
    return {"sent": sent, "received": len(times), "checksum": checksum, **spread(times)}


async def measure(end: socket.socket, given: Arguments) -> None:
    """Be the primary."""
    pipe = trio.socket.from_stdlib_socket(end)
    result: dict[str, Any] = {}
    with tcp_pair() as (sock, port):
        for seconds in given.phases():
            started = now()
            if given.text("mode", "send") == "send":
                result = await send_for(pipe, sock, seconds, given.whole("chunk", 16))
            else:
                result = await ask_for(pipe, sock, seconds)
            result["seconds"] = now() - started
    say(port=port, **result)


def main(given: Arguments) -> None:
    pid, end = start(receiver, kind=socket.SOCK_SEQPACKET)
    try:
        trio.run(measure, end, given)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(arguments())
