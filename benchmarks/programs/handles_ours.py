"""Open sockets with actorcluster, one in each message: sent away, or asked about one by one.

The same connected TCP socket is sent each time and kept open here; what arrives is made a socket,
asked for the port of its other end, and closed.
"""

from __future__ import annotations

import socket
from typing import Any

import trio

import actorcluster
from actorcluster import Actor, Message, Worker
from benchmarks.programs.common import Arguments, arguments, now, say, spread, tcp_pair


def look(message: Message) -> int:
    """Take what a message brings, and close it; returns the port of its other end."""
    assert message.handle is not None
    sock = message.handle.into_socket()
    port: int = sock.getpeername()[1]
    sock.close()
    return port


async def receiver(actor: Actor) -> None:
    """Take every socket; say at each end what it was, and answer each question with the port."""
    received = checksum = 0
    async for message in actor.mailbox:
        body = message.body
        if "end" in body:
            result = {"sent": body["end"], "received": received, "checksum": checksum}
            await actor.send(result)
            received = checksum = 0
            continue
        received += 1
        port = look(message)
        checksum += body["n"] + port
        if message.is_ask:
            await message.reply({"n": body["n"], "port": port})


async def send_for(
    worker: Worker, sock: socket.socket, seconds: float, chunk: int
) -> dict[str, Any]:
    """Send for so long, then wait until all have arrived."""
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            await worker.send({"n": sent}, sock, keep_open=True)
            sent += 1
    await worker.send({"end": sent})
    result: dict[str, Any] = (await worker.mailbox.receive()).body
    return result


async def ask_for(worker: Worker, sock: socket.socket, seconds: float) -> dict[str, Any]:
    """Ask about one after another for so long."""
    sent, checksum, until = 0, 0, now() + seconds
    times: list[float] = []
    while (asked := now()) < until:
        answer = await worker.ask({"n": sent}, sock, keep_open=True)
        times.append(now() - asked)
        checksum += answer["n"] + answer["port"]
        sent += 1
    return {"sent": sent, "received": len(times), "checksum": checksum, **spread(times)}


async def main(given: Arguments) -> None:
    result: dict[str, Any] = {}
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(receiver)
        with tcp_pair() as (sock, port):
            for seconds in given.phases():
                started = now()
                if given.text("mode", "send") == "send":
                    result = await send_for(worker, sock, seconds, given.whole("chunk", 16))
                else:
                    result = await ask_for(worker, sock, seconds)
                result["seconds"] = now() - started
        worker.kill("SIGKILL")
    say(port=port, **result)


if __name__ == "__main__":
    trio.run(main, arguments())
