"""One port and one supervision tree, workers in all kinds of languages.

$ python examples/mixed_cluster/mixed.py [PORT [REQUESTS [DIRECTORY]]]
$ curl http://127.0.0.1:8000/                     # somebody answers, in turn
$ kill -9 PID                                     # of any of them: it comes back
"""

from __future__ import annotations

import functools
import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import trio
from languages import LANGUAGES, Language

import actorcluster
from actorcluster import Listen, Primary, Supervisor, events

HOST = "127.0.0.1"
CLIENTS = 4


def place_for(directory: str | None) -> Path:
    """Where the programs are built, and stay: the next start has nothing to do."""
    if directory is not None:
        return Path(directory).resolve()
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "actorcluster" / "mixed_cluster"


def build(built: Path) -> list[Language]:
    """Build what can be built here; says what is left out, and why."""
    found = []
    for language in LANGUAGES:
        if (need := language.missing()) is not None:
            print(f"left out: {language.name}, for {need} is not installed", flush=True)
            continue
        if language.build:
            print(f"building {language.name}", flush=True)
        try:
            language.make(built)
        except subprocess.CalledProcessError as failure:
            print(f"left out: {language.name}, which cannot be built:\n{failure.output.decode()}")
            continue
        found.append(language)
    return found


def tree(languages: Iterable[Language], built: Path, port: int) -> Supervisor:
    """A child for each; the supervisor holds the port, whoever comes first."""
    return Supervisor(
        listeners=[Listen(port, host=HOST, policy="round_robin")],
        children=[language.child(built, port) for language in languages],
    )


async def main(port: int = 8000, requests: int = 1000, directory: str | None = None) -> None:
    built = place_for(directory)
    languages = await trio.to_thread.run_sync(build, built)
    port = port or free_port()
    async with actorcluster.open_primary(tree(languages, built, port)) as primary:
        print(f"serving http://{HOST}:{port}/", flush=True)
        await ask_everybody(primary)
        await trio.to_thread.run_sync(visit_all, port, requests)
        report(primary, languages, port, requests)
        with primary.events(events.Restart) as happenings:
            async for event in happenings:
                print(f"{event.name}: {event.status}, again in {event.delay:.2f} s", flush=True)


async def ask_everybody(primary: Primary) -> None:
    """A message for all; whoever takes messages answers."""
    answers = await primary.gather(["echo", "hello, all of you"], timeout=60)
    names = [primary.workers[number].name for number, said in answers.items() if echoed(said)]
    print(f"{len(names)} answer a message for all: {', '.join(names)}", flush=True)


def echoed(answer: object) -> bool:
    return answer == "hello, all of you"  # the others' answer is an exception: NotHandled


def visit_all(port: int, requests: int) -> None:
    """Some clients at a time, each with a connection of its own."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(functools.partial(visit, port), range(requests)))


def visit(port: int, number: int) -> None:
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", f"/{number}", headers={"Connection": "close"})
    with connection.getresponse() as response:
        page = response.read()
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"request {number}: {response.status} {page!r}")


def report(primary: Primary, languages: Iterable[Language], number: int, requests: int) -> None:
    """Who served how many: the primary knows of those that it dealt out."""
    # It is there whoever runs just now, for the supervisor holds it; others there may be, too.
    (port,) = (one for one in primary.statistics().ports if one.address == (HOST, number))
    workers = {worker.name: worker for worker in primary.workers.values()}
    print(f"{requests} requests were served by")
    for language in languages:
        worker = workers[language.name]
        if language.connections == "dealt":
            served = str(port.dealt[worker.id])
        elif language.connections == "shared":
            served = str(requests - sum(port.dealt.values()))  # accepted by itself
        else:
            served = "-"
        print(f"{language.name:>12} {served:>5}  {language.what} (process {worker.pid})")
    print("Ctrl-C ends it", flush=True)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as probe:
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:3]), *sys.argv[3:4])
