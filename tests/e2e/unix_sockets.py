"""Workers at unix sockets; ``python -m tests.e2e.unix_sockets PATH`` has one, and waits."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import trio

from actorcluster import Actor, open_primary, run


async def serve(
    actor: Actor, path: str, mode: int | None = None, policy: str | None = None
) -> None:
    """Tell each client my id."""
    listener = await actor.listen_unix(path, mode=mode, policy=policy)

    async def handler(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(bytes([actor.id]))

    await trio.serve_listeners(handler, [listener])


async def tries(actor: Actor, *paths: str) -> None:
    """Send what became of each path: the name of an error, its file, or the address."""
    found: list[Any] = []
    for path in paths:
        try:
            listener = await actor.listen_unix(path)
        except OSError as exc:
            found.append([errno.errorcode[exc.errno or 0], exc.filename])
        except ValueError as exc:
            found.append([type(exc).__name__, str(exc)])
        else:
            found.append([None, listener.address])
            await listener.aclose()
    await actor.send(found)
    await trio.sleep_forever()


async def moved(actor: Actor, directory: str, path: str) -> None:
    """Serve a path as it is called from another directory."""
    os.chdir(directory)
    await serve(actor, path)


async def main(path: str, *others: str) -> None:
    """Have a worker, and one for each other path that shares the socket; say its pid, and wait."""
    async with open_primary() as primary:
        worker = await primary.fork(serve, path, ready="listening")
        for other in others:
            await primary.fork(serve, other, None, "none", ready="listening")
        print("worker", worker.pid, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    run(main, *sys.argv[1:])
