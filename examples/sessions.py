"""Sessions in a worker's memory: the primary looks at each request, and finds the worker.

Whoever makes a session puts its own name at the end of the id. The requests that follow carry the
id, here in the path (a cookie would do as well), so they can go where the session is.

$ python examples/sessions.py [PORT]
"""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Sequence

import _http

import actorcluster
from actorcluster import Actor, Candidate, NewConnection, Peek, Pool, Supervisor, events


def by_session(connection: NewConnection, candidates: Sequence[Candidate]) -> Candidate | None:
    """The worker that the id names; None, the next in turn, if there is no id or no such worker."""
    found = re.match(rb"GET /\w+\.([\w.]+) ", connection.head)
    name = found[1].decode() if found else ""
    return next((one for one in candidates if one.name == name), None)


async def web(actor: Actor, port: int) -> None:
    visits: dict[str, int] = {}

    async def respond(target: str) -> str:
        session = target.removeprefix("/")
        if session not in visits:
            session = f"{uuid.uuid4().hex}.{actor.name}"
        visits[session] = visits.get(session, 0) + 1
        return f"{actor.name}: visit {visits[session]} of /{session}\n"

    listeners = await actor.listen_tcp(port, host="127.0.0.1", policy="by_session")
    await _http.serve_http(listeners, respond)


async def main(port: int = 8000) -> None:
    tree = Supervisor(children=[Pool("web", web, args=(port,), count=2, ready="listening")])
    looking = Peek(by_session, until=b"\r\n", timeout=5.0)  # the first line will do
    async with actorcluster.open_primary(tree, policies={"by_session": looking}) as primary:
        for shared in primary.statistics().ports:  # none, if Ctrl-C came before it was there
            print("listening on", *shared.address)
        with primary.events(events.Exit) as exits:
            async for event in exits:
                print(f"{event.worker.name} is gone, and its sessions are")


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
