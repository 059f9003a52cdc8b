"""A primary that ends in one of several ways, after it has said who its workers are."""

from __future__ import annotations

import os
import socket
import sys
from types import TracebackType

import trio

from actorcluster import open_primary
from tests.node_parity import actors


async def main(how: str, path: str) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    async with open_primary(settings={"listen_fds": [server.fileno()]}) as primary:
        listening = await primary.fork(actors.obeys, ["listen"], ready="listening")
        workers = [listening]
        if how == "fails":
            workers.append(await primary.fork(actors.obeys, ["listen"], ready="listening"))
        if how == "exits":
            workers.append(await primary.fork(actors.exits_when_told, 42, ready="called"))
            workers.append(await primary.fork(actors.says_whether_connected, path, ready="called"))
            leaves = ["leave_session"], ["listen_fd", server.fileno()]
            workers.append(await primary.fork(actors.obeys, *leaves, ready="listening"))
        print(*(worker.pid for worker in workers), flush=True)
        print(server.getsockname()[1], flush=True)
        if how == "exits":
            os._exit(0)
        raise KeyError("the primary's own")


def last_resort(kind: type[BaseException], exc: BaseException, _: TracebackType | None) -> None:
    """The caller's own handler."""
    print(type(exc).__name__, flush=True)
    os._exit(42)


if __name__ == "__main__":
    if sys.argv[1] == "last resort":
        sys.excepthook = last_resort
    trio.run(main, sys.argv[1], sys.argv[2])
