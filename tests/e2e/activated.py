"""A primary that was passed sockets: ``python -m tests.e2e.activated``."""

from __future__ import annotations

import errno
import os
from typing import Any

import trio

from actorcluster import Actor, open_primary, run


async def serve(actor: Actor, names: list[int | str]) -> None:
    """Serve each of them; tell what became of it, and what the environment says."""
    found: list[Any] = []
    async with trio.open_nursery() as nursery:
        for name in names:
            try:
                listener = await actor.listen_fd(name)
            except OSError as exc:
                found.append(errno.errorcode[exc.errno or 0])
                continue
            address = listener.address
            found.append(address if isinstance(address, str) else list(address))
            nursery.start_soon(trio.serve_listeners, _serve, [listener])
        await actor.send(
            {"found": found, "env": sorted(name for name in os.environ if "LISTEN_" in name)}
        )


async def _serve(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(b"%d" % os.getpid())


async def main() -> None:
    """Have two workers that know the sockets, and one that does not; say what they say."""
    async with open_primary() as primary:
        for method in ("forkserver", "exec"):
            config: dict[str, Any] = {"listen_fds": "systemd", "start_method": method}
            names = ["web", "other", 4, "third", 99]
            worker = await primary.fork(serve, names, settings=config)
            with await worker.mailbox.receive() as message:
                print(worker.pid, message.body, flush=True)
        worker = await primary.fork(serve, ["web", 3])
        with await worker.mailbox.receive() as message:
            print("last", message.body, flush=True)
        await primary.mailbox.receive()  # until it is stopped


if __name__ == "__main__":
    run(main)
