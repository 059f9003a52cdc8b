"""Actors and programs of workers that connect to a socket."""

from __future__ import annotations

import os
import sys

import trio

from actorcluster import Actor
from actorcluster._worker.bootstrap import IDENTITY


async def echo(actor: Actor) -> None:
    """Answer with what it was sent, handle included."""
    async for message in actor.mailbox:
        with message:
            if message.handle is None:
                await message.reply(message.body)
            else:
                await message.reply(message.body, message.handle)


async def tell_environment(actor: Actor) -> None:
    """Say which of the variables are left for programs that it would start."""
    await actor.send([name for name in IDENTITY if name in os.environ])


async def serve(actor: Actor) -> None:
    """Say who it is to whoever connects."""
    listeners = await actor.listen_tcp(0, host="127.0.0.1")

    async def answer(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"%d" % actor.id)

    await trio.serve_listeners(answer, listeners)


#: A worker of level 0, in a few lines: says HELLO with its token, READY, GOODBYE.
PLAIN = """\
import os, socket, struct, sys
def frame(kind, body):
    head = struct.pack(">BBIBBBBBBI", 0x95, 0xCE, len(body), 0xCE, kind, 0, 0, 0, 0xCE, 0)
    return head + body
def read(sock, size):
    data = b""
    while len(data) < size:
        data += sock.recv(size - len(data)) or sys.exit(0)
    return data
sock = socket.socket(socket.AF_UNIX)
scheme, path = os.environ["ACTORCLUSTER_CHANNEL"].split(":", 1)
assert scheme == "unix"
sock.connect(path)
token = os.environ["ACTORCLUSTER_TOKEN"].encode()
versions = bytes.fromhex("a8 76657273696f6e73 91 92 01 00")
said = b"\\xa5token" + b"\\xd9" + bytes([len(token)]) + token
sock.sendall(frame(1, b"\\xc0\\x82" + versions + said))
while True:
    head = read(sock, 16)
    kind, body = head[7], read(sock, int.from_bytes(head[2:6], "big"))
    if kind == 2:
        sock.sendall(frame(3, b"\\xc0\\x80"))
    elif kind == 6:
        sock.sendall(head[:7] + b"\\x07" + head[8:] + body)
    elif kind == 0x0D:
        sock.sendall(frame(4, b"\\xc0\\x81\\xa4recv\\x00"))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1000):
            pass
        break
"""

if __name__ == "__main__":
    # A primary whose worker never connects; says where it might.
    import actorcluster

    WAITS = (
        "import os, time; print(os.environ['ACTORCLUSTER_CHANNEL'], flush=True); time.sleep(1e6)"
    )

    async def main() -> None:
        async with actorcluster.open_primary() as primary:
            await primary.fork(echo)
            primary.setup_primary(exec=(sys.executable, "-c", WAITS), channel="unix", silent=True)
            waits = primary.fork_soon()
            while waits.stdout is None:  # noqa: ASYNC110  (nobody tells)
                await trio.sleep(0.01)
            path = (await waits.stdout.receive_some()).decode().strip()
            await primary.fork(echo, settings={"channel": "fd"})  # by who was told of the socket
            print(path, flush=True)
            await trio.sleep_forever()

    actorcluster.run(main)
