"""A supervisor tree: a store, web workers that ask it, and a child whose end ends the program.

$ python examples/supervised.py [PORT]
$ kill -9 PID                                     # of the store: requests wait for the next
$ kill -9 PID                                     # of a web worker: nobody else notices
$ curl http://127.0.0.1:8000/quit                 # the last request
"""

from __future__ import annotations

import os
import sys

import _http

import actorcluster
from actorcluster import Actor, Backoff, Child, Pool, Supervisor, events


async def store(actor: Actor) -> None:
    hits = 0
    async for message in actor.mailbox:
        with message:
            hits += 1
            await message.reply(hits)


async def web(actor: Actor, port: int) -> None:
    async def respond(target: str) -> str:
        if target == "/quit":
            await actor.ref("watch").send("enough")
        hits = await actor.ref("store").ask("hit")  # waits while the store is started again
        return f"{actor.name} {os.getpid()}: request {hits}\n"

    await _http.serve_http(await actor.listen_tcp(port, host="127.0.0.1"), respond)


async def watch(actor: Actor) -> None:
    async for _ in actor.mailbox:  # ends without one when everything is stopped
        return


def tree(port: int) -> Supervisor:
    quickly = Backoff(min=0.01, max=1.0)
    return Supervisor(
        strategy="one_for_one",  # rest_for_one: the web workers are restarted with the store
        children=[
            Child("store", store, backoff=quickly),
            Pool("web", web, count=2, args=(port,), ready="listening", backoff=quickly),
            Child("watch", watch, run="task", restart="transient", significant=True),
        ],
    )


async def main(port: int = 8000) -> None:
    async with actorcluster.open_primary(tree(port)) as primary:
        print(primary.tree(), flush=True)
        listening = await primary.wait_for(events.Listening, primary.workers[2])
        print("serving http://{}:{}/".format(*listening.address), flush=True)
        with primary.events() as happenings:
            async for event in happenings:
                match event:
                    case events.Restart(name=name, status=status, delay=delay):
                        print(f"{name}: {status}, again in {delay:.2f} s", flush=True)
    print("the watch has ended, and so has everything")


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
