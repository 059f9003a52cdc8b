"""Shared ports: asking for what cannot be, and what becomes of connections in the hands of a liar.

Runs in: both
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from ....wire._generated import Kind
from ..case import ACTIVE, STOPPING, Aborts, Ends, Lives, case
from ..innocent import request
from ..scene import Problem, Scene
from ..talk import frame

__all__: list[str] = []

#: Enough clients that some of them are dealt to the liar, whatever the policy.
CLIENTS = 8
#: Seconds between two looks at what nobody tells of.
_LOOK = 0.01


async def beside(it: Scene, credit: int = 1) -> None:
    """Listen on the innocent worker's port, too."""
    await it.listens(port=it.clients.port, key=None, credit=credit)


async def all_served(it: Scene, count: int = CLIENTS) -> None:
    """Have clients ask, and each of them served by the innocent worker."""

    async def ask(number: int) -> None:
        try:
            server = await request(it.clients.port, b"client %d" % number)
        except ConnectionError as exc:
            problems.append(str(exc))
            return
        if server == it.it.worker_id:
            problems.append("the hostile worker served")

    problems: list[str] = []
    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(ask, number)
    if problems:
        raise Problem(f"{len(problems)} of {count} clients were not served: {problems[0]}")


async def all_served_beside(it: Scene, lie: Callable[[], Awaitable[None]]) -> None:
    """The same while the hostile worker, with credit for four, has its way with what it gets."""
    await beside(it, credit=4)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lie)
        await all_served(it)
        nursery.cancel_scope.cancel()


@case("port.request", "AWP-LI-5", Lives(), (ACTIVE,), forms=12)
async def wrong_requests(it: Scene) -> None:
    """Asks for ports that cannot be: each LISTEN gets one ERROR."""
    wrong: tuple[dict[str, Any], ...] = (
        {"transport": "carrier pigeon"},
        {"transport": "tcp", "port": 70_000},
        {"transport": "tcp", "port": -1, "host": "127.0.0.1"},
        {"transport": "tcp", "port": 0, "host": "localhost"},
        {"transport": "tcp", "port": 0, "host": "203.0.113.7"},
        {"transport": "unix"},
        {"transport": "unix", "path": "relative"},
        {"transport": "unix", "path": "/" + "x" * 5000},
        {"transport": "fd", "name": 0},
        {"transport": "fd", "name": "any"},
        {"transport": "tcp", "port": 0, "host": "127.0.0.1", "policy": "mine"},
        {"transport": "tcp", "port": 0, "host": "127.0.0.1", "modes": ["inherited"]},
    )
    await it.say(frame(Kind.LISTEN, None, wrong[it.form], channel=1))
    answer = await it.hear(Kind.LISTENING, Kind.ERROR, channel=1)
    if answer.kind == Kind.LISTENING:
        raise Problem(f"LISTENING {answer.payload}")


@case("port.fields", "AWP-FR-6", Aborts("protocol_error"), (ACTIVE,), forms=6)
async def wrong_fields(it: Scene) -> None:
    """Asks for a port with a field that is missing, or of a wrong type."""
    wrong: tuple[Any, ...] = (
        {},
        {"transport": 4},
        {"transport": "tcp", "port": "80"},
        {"transport": "tcp", "modes": "handoff"},
        {"transport": "tcp", "credit": "many"},
        [],
    )
    await it.say(frame(Kind.LISTEN, None, wrong[it.form], channel=1))


@case("port.twice", "AWP-CH-2", Aborts("protocol_error"), (ACTIVE,))
async def same_channel(it: Scene) -> None:
    """Listens twice on one channel."""
    asked = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "key": "a"}
    await it.say(frame(Kind.LISTEN, None, asked, channel=1) * 2)


@case("port.taken-back", "AWP-CH-2", Lives(), (ACTIVE,), forms=2)
async def taken_back(it: Scene) -> None:
    """Listens, where it can be and where not, closes that, and calls there, all in one write."""
    asked = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "key": "b"}
    wrong = {"transport": "carrier pigeon"}
    call = frame(Kind.CALL, ["db"], "hi", channel=1)
    listen = frame(Kind.LISTEN, None, (asked, wrong)[it.form], channel=1)
    await it.say(listen, frame(Kind.LISTEN_CLOSE, channel=1), call)
    answer = await it.hear(Kind.REPLY, Kind.ERROR, channel=1)
    if answer.kind != Kind.REPLY or answer.payload != "hi":
        raise Problem(f"the call was answered by {answer}: {answer.payload}")


@case("port.many", "AWP-LM-2", Lives(), (ACTIVE,))
async def many(it: Scene) -> None:
    """Has more listeners than max_listeners: the last are refused, and all ports go with it."""
    count = it.limit("max_listeners") + 3
    asked = {"transport": "tcp", "host": "127.0.0.1", "port": 0}
    for number in range(count):
        said = {**asked, "key": f"{it.it.pid} {number}"}
        await it.say(frame(Kind.LISTEN, None, said, channel=1 + 2 * number))
    answers = [await it.hear(Kind.LISTENING, Kind.ERROR) for _ in range(count)]
    refused = [one.payload.get("code") for one in answers if one.kind == Kind.ERROR]
    if refused != ["refused"] * 3:
        raise Problem(f"{count} LISTENs: {len(refused)} were answered by ERROR {set(refused)}")


@case("port.close-at-once", "AWP-LI-5", Lives(), (ACTIVE,))
async def close_at_once(it: Scene) -> None:
    """Listens and closes at once, fifty times."""
    asked = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "key": f"{it.it.pid}"}
    await it.say(
        *(
            frame(Kind.LISTEN, None, asked, channel=1 + 2 * n)
            + frame(Kind.LISTEN_CLOSE, channel=1 + 2 * n)
            for n in range(50)
        )
    )


@case("port.refused", "AWP-CA-3", Lives(), (STOPPING,))
async def while_stopping(it: Scene) -> None:
    """Listens when it was told to stop: that is refused."""
    await it.say(frame(Kind.LISTEN, None, {"transport": "tcp", "port": 0}, channel=1))
    await it.hear_error("refused", channel=1)


# ---- connections -------------------------------------------------------------------------------


@case("conn.rejects", "AWP-LI-4", Lives(), (ACTIVE,), needs=("innocent",), also=("AWP-LI-3",))
async def rejects_all(it: Scene) -> None:
    """Listens beside the innocent worker and rejects every connection: all are served by that."""

    async def reject() -> None:
        while True:
            conn = await it.hear(Kind.CONN)
            first = conn.elements[0]
            numbers = list(range(first, first + conn.nfds))
            reply = frame(Kind.CONN_REPLY, [numbers[-1], numbers], channel=conn.channel)
            await it.acknowledge()
            await it.say(reply, frame(Kind.CONN_CREDIT, [len(numbers)], channel=conn.channel))

    await all_served_beside(it, reject)
    await it.say(frame(Kind.LISTEN_CLOSE, channel=1))


@case("conn.dies-before-reply", "AWP-LI-4", Ends(), (ACTIVE,), forms=3, needs=("innocent",))
async def dies_between(it: Scene) -> None:
    """Dies with connections that it has not replied to: the innocent worker serves them."""

    async def die() -> None:
        await it.hear(Kind.CONN)
        await it.it.end(*((0,), (3,), (0,))[it.form], signal=(0, 0, 9)[it.form])

    await all_served_beside(it, die)


@case("conn.never-acknowledges", "AWP-HA-3", Ends(), (ACTIVE,), needs=("innocent",))
async def never_acknowledges(it: Scene) -> None:
    """Rejects connections and never says that they arrived; they are served once it is gone."""

    async def reject() -> None:
        conn = await it.hear(Kind.CONN)
        last = conn.elements[0] + conn.nfds - 1
        numbers = list(range(conn.elements[0], last + 1))
        await it.say(frame(Kind.CONN_REPLY, [last, numbers], channel=conn.channel))
        await it.sync()
        await it.it.end()

    await all_served_beside(it, reject)


@case("conn.closes-listener", "AWP-LI-4", Lives(), (ACTIVE,), needs=("innocent",))
async def closes_with_connections(it: Scene) -> None:
    """Closes its listener with connections that it has not replied to: they are served."""

    async def close() -> None:
        while True:
            conn = await it.hear(Kind.CONN)
            await it.acknowledge()
            await it.say(frame(Kind.LISTEN_CLOSE, channel=conn.channel))

    await all_served_beside(it, close)


@case("conn.takes-and-dies", "AWP-LI-2", Ends(), (ACTIVE,), needs=("innocent",))
async def takes_and_dies(it: Scene) -> None:
    """Takes a connection and dies: that client is gone, and nobody else."""
    await it.clients.pause()
    try:
        await beside(it)
        taken = trio.Event()

        async def take() -> None:
            conn = await it.hear(Kind.CONN)
            last = conn.elements[0] + conn.nfds - 1
            await it.say(frame(Kind.CONN_REPLY, [last], channel=conn.channel))
            await it.sync()
            await it.it.end(1)
            taken.set()

        async def ask() -> None:
            with contextlib.suppress(ConnectionError):
                await request(it.clients.port, b"maybe")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            for _ in range(CLIENTS):
                nursery.start_soon(ask)
        await all_served(it)
    finally:
        it.clients.go_on()


@case("conn.over-credit", "AWP-LI-9", Aborts("protocol_error"), (ACTIVE,), forms=3)
async def replies_to_nothing(it: Scene) -> None:
    """Replies to connections that it was never given."""
    await it.listens()
    envelope: Any = ([1], [1, [1]], [(1 << 64) - 1])[it.form]
    await it.say(frame(Kind.CONN_REPLY, envelope, channel=1))


@case("conn.replies-twice", "AWP-LI-9", Aborts("protocol_error"), (ACTIVE,))
async def replies_twice(it: Scene) -> None:
    """Takes a connection, then rejects it."""
    port = await it.listens()
    with socket.create_connection(("127.0.0.1", port)):
        conn = await it.hear(Kind.CONN)
        number = conn.elements[0]
        take = frame(Kind.CONN_REPLY, [number], channel=conn.channel)
        await it.say(take, frame(Kind.CONN_REPLY, [number, [number]], channel=conn.channel))
        await it.it.hear_end()


@case("conn.credit", "AWP-LI-8", Lives(), (ACTIVE,), forms=2)
async def strange_credit(it: Scene) -> None:
    """Gives credit for billions, and has closed more connections than it ever had."""
    await it.listens()
    most = (1 << 32) - 1
    envelope: Any = ([most], [0, (1 << 64) - 1, (1 << 64) - 1])[it.form]
    await it.say(frame(Kind.CONN_CREDIT, envelope, channel=1) * 3)


@case("conn.after-stop", "AWP-LI-3", Lives(), (ACTIVE,), needs=("innocent", "stop"))
async def rejects_when_stopped(it: Scene) -> None:
    """Leaves with a listener open and connections in its hands: all are served."""
    await beside(it, credit=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(all_served, it)
        await it.hear(Kind.CONN)
        await it.acknowledge()
        await it.say(frame(Kind.LEAVE, None, {}))
        await it.hear(Kind.STOP)
        it.state = STOPPING
        await it.reach("CLOSING")
        it.it.shut()
        await it.it.hear_end()
        it.it.hang_up()


@case("port.file", "AWP-LI-5", Ends(), (ACTIVE,))
async def unix_file(it: Scene) -> None:
    """Dies with a unix socket: its file is gone, too."""
    path = f"/tmp/awp-hostile-{it.it.pid}"  # noqa: S108  # as a worker would choose it
    asked = {"transport": "unix", "path": path, "modes": ["handoff"]}
    await it.say(frame(Kind.LISTEN, None, asked, channel=1))
    answer = await it.hear(Kind.LISTENING, Kind.ERROR, channel=1)
    if answer.kind == Kind.ERROR:
        raise Problem(f"a unix socket cannot be had: {answer.payload}")
    await it.it.end()
    patience = trio.current_effective_deadline() - trio.current_time()
    with trio.move_on_after(patience / 2):  # when the primary has seen the end, nobody is told
        while await trio.Path(path).exists():  # noqa: ASYNC110  # nobody tells
            await trio.sleep(_LOOK)
        return
    raise Problem("the socket's file is still there")
