"""Shared ports: connections that are handed over, and those that the worker accepts itself.

Runs in: both
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Sequence
from typing import Any

import trio

from ...wire._generated import AbortCode, HandleKind, Kind
from ..case import Noted, case
from ..play import WORKER_ID, Play
from ..things import Thing, tcp_pair

__all__: list[str] = []

_TCP = int(HandleKind.TCP_SOCKET)
_LISTENER = int(HandleKind.TCP_LISTENER)
_HELLO = b"%d\n" % WORKER_ID
_HANDOFF = "call listen.handoff"
_CONN_OR_ABORT = (Kind.CONN_REPLY, Kind.ABORT)


class _Client:
    """A client of a connection that is handed over."""

    def __init__(self, p: Play, sock: socket.socket, thing: Thing | None = None) -> None:
        self._p = p
        sock.setblocking(False)
        self.sock = sock
        self.thing = thing

    async def hears(self, data: bytes, requirement: str = "AWP-LI-2") -> None:
        """Wait until the worker has said just that."""
        got = b""
        with trio.move_on_after(self._p.timeout):
            while len(got) < len(data):
                more = await self._receive()
                if not more:
                    break
                got += more
        self._p.check(got == data, f"the client heard {got!r}, not {data!r}", requirement)

    async def _receive(self) -> bytes:
        while True:
            try:
                return self.sock.recv(65536)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self.sock)
            except ConnectionResetError:
                return b""

    def says(self, data: bytes) -> None:
        self.sock.sendall(data)

    async def ends(self, requirement: str = "AWP-LI-2") -> None:
        """Say that nothing more comes, and hear the same."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        with trio.move_on_after(self._p.timeout):
            more = await self._receive()
            self._p.check(not more, f"the client heard {more!r} and not the end", requirement)
            return
        raise self._p.fail("the connection is not closed", requirement)


async def _listen(p: Play, **request: Any) -> tuple[int, int]:
    """Have the worker listen in mode handoff.

    Returns:
        the listener's channel, and its credit.
    """
    command = await p.call(
        "listen", {"transport": "tcp", "host": "127.0.0.1", "port": 0, **request}
    )
    heard = await p.expect(Kind.LISTEN, requirement="AWP-LI-1")
    said = (heard.field("transport"), heard.field("port"))
    p.check(said == ("tcp", 0), f"LISTEN says {heard.payload}", "AWP-LI-1")
    modes = heard.field("modes")
    p.check(modes is None or "handoff" in modes, f"it takes the modes {modes}", "AWP-HS-3")
    credit = heard.field("credit")
    answer = {"mode": "handoff", "address": ["127.0.0.1", 4711], "policy": "round_robin"}
    await p.send(Kind.LISTENING, None, answer, channel=heard.channel)
    address = await p.reply(command)
    p.check(address == ["127.0.0.1", 4711], f"the command gave {address}", "AWP-LI-1")
    return heard.channel, 1 if credit is None else credit


def _client(p: Play) -> _Client:
    served, client = tcp_pair()
    fd = served.detach()
    found = os.fstat(fd)
    name = f"conn-{len(p.things)}"
    thing = Thing(_TCP, fd, found.st_ino, [client], name, found.st_dev)
    p.things.append(thing)
    return _Client(p, client, thing)


async def _hand_over(
    p: Play, channel: int, first: int, count: int = 1, meta: dict[str, Any] | None = None
) -> list[_Client]:
    clients = [_client(p) for _ in range(count)]
    things = [one.thing for one in clients if one.thing is not None]
    envelope = [first, [[_TCP, meta or {}]] * count]
    await p.send(Kind.CONN, envelope, channel=channel, things=things)
    return clients


async def _taken(p: Play, channel: int, upto: int) -> None:
    """Wait until all connections up to this one are taken."""
    said = 0
    while said < upto:
        heard = await p.expect(Kind.CONN_REPLY, channel=channel, requirement="AWP-LI-2")
        p.check(not heard.item(1), f"it rejects {heard.item(1)}", "AWP-LI-2")
        said = heard.item(0)
    p.check(said == upto, f"CONN_REPLY speaks of {said}, not {upto}", "AWP-LI-3")


async def _rejected(p: Play, channel: int, numbers: Sequence[int]) -> None:
    """Wait until just these connections are rejected."""
    rejected: list[int] = []
    while len(rejected) < len(numbers):
        heard = await p.expect(Kind.CONN_REPLY, channel=channel, requirement="AWP-LI-3")
        rejected += heard.item(1) or []
    p.check(rejected == list(numbers), f"it rejects {rejected}, not {list(numbers)}", "AWP-LI-3")


@case("li.handoff", "AWP-LI-2", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """A connection is handed over, taken, served, and closed"""
    channel, _ = await _listen(p)
    (client,) = await _hand_over(p, channel, 1)
    await _taken(p, channel, 1)
    await client.hears(_HELLO)
    client.says(b"what is this?")
    await client.hears(b"what is this?")
    await client.ends()
    await p.all_closed()


@case("li.reply-first", "AWP-LI-2", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """Nothing is written to a connection before CONN_REPLY is written"""
    channel, _ = await _listen(p)
    p.line.hold()
    (client,) = await _hand_over(p, channel, 1)
    await client.hears(_HELLO)
    p.line.read_now()  # what was written before is there now
    came = any(one.kind == Kind.CONN_REPLY for one in p.heard)
    p.check(came, "the client heard something before there was CONN_REPLY")


@case("li.several", "AWP-LI-2", "AWP-LI-8", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """Several connections in one CONN, as many as the credit allows"""
    channel, credit = await _listen(p, credit=4)
    count = min(credit, p.claims.limits["max_fds"], 8)
    clients = await _hand_over(p, channel, 1, count)
    await _taken(p, channel, count)
    for client in clients:
        await client.hears(_HELLO)
    for client in clients:
        await client.ends()
    await p.all_closed()


@case("li.credit", "AWP-LI-1", "AWP-LI-8", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """Credit comes back for closed connections: more can be served than it was at first"""
    channel, credit = await _listen(p, credit=2)
    for number in range(1, credit + 6):
        due = number - credit
        await p.until(
            lambda due=due: p.total(Kind.CONN_CREDIT, channel=channel) >= due or None,  # type: ignore[misc]  # mypy infers no default
            f"CONN_CREDIT for connection {number}",
        )
        (client,) = await _hand_over(p, channel, number)
        await _taken(p, channel, number)
        await client.hears(_HELLO)
        await client.ends()


@case("li.overdrawn", "AWP-LI-1", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """More connections than the credit allows"""
    channel, credit = await _listen(p, credit=1)
    most = p.claims.limits["max_fds"]
    given = 0
    clients: list[_Client] = []
    while given <= credit:  # whatever was closed so far: nothing was
        count = min(most, credit + 1 - given)
        clients += await _hand_over(p, channel, given + 1, count)
        given += count
    granted = p.total(Kind.CONN_CREDIT, channel=channel)
    for _ in range(granted):
        given += 1
        clients += await _hand_over(p, channel, given)
    await p.abort(AbortCode.FLOW_VIOLATION)


@case("li.gap", "AWP-LI-1", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """The first connection has the number 2"""
    channel, _ = await _listen(p)
    await _hand_over(p, channel, 2)
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("li.unlisten", "AWP-LI-3", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """A connection that crosses LISTEN_CLOSE is rejected, and closed"""
    channel, _ = await _listen(p, credit=2)
    command = await p.call("unlisten")
    await p.expect(Kind.LISTEN_CLOSE, channel=channel)
    count = await p.reply(command)
    p.check(count == 1, f"unlisten gave {count}")
    await _hand_over(p, channel, 1)
    await _rejected(p, channel, [1])
    await p.all_closed()
    await p.echo()


@case("li.strange-listener", "AWP-LI-3", "AWP-CH-3", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """Two connections of a listener that there never was"""
    await _hand_over(p, 9, 1, min(2, p.claims.limits["max_fds"]))
    await _rejected(p, 9, [1, 2][: min(2, p.claims.limits["max_fds"])])
    await p.all_closed()
    await p.echo()


@case("li.stopping", "AWP-LI-3", "AWP-ST-1", "AWP-ST-8", level=2, caps=_HANDOFF + " msg",
      welcome={"limits": {"window": 65536}})  # fmt: skip
async def _(p: Play) -> None:
    """A connection that comes behind STOP is rejected"""
    channel, _ = await _listen(p, credit=2)
    await p.stall()
    await p.send(Kind.STOP, None, {})
    await _hand_over(p, channel, 1)
    await _rejected(p, channel, [1])
    await p.all_closed()


@case("li.stop-serves-on", "AWP-ST-1", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """A connection that was taken before STOP is served to its end, or closed by the deadline"""
    channel, _ = await _listen(p)
    (client,) = await _hand_over(p, channel, 1)
    await _taken(p, channel, 1)
    await client.hears(_HELLO)
    await p.send(Kind.STOP, None, {"deadline": 20_000})
    client.says(b"still there?")
    with contextlib.suppress(Exception):
        await client.hears(b"still there?")
    await client.ends()
    p.drop(lambda heard: heard.kind == Kind.LISTEN_CLOSE)
    await p.part()


@case("li.error", "AWP-CA-1", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """LISTEN gets an ERROR: the command ends with it"""
    command = await p.call("listen", {"transport": "tcp", "host": "127.0.0.1", "port": 80})
    heard = await p.expect(Kind.LISTEN)
    error = {"code": "os.EADDRINUSE", "message": "somebody has it"}
    await p.send(Kind.ERROR, None, error, channel=heard.channel)
    await p.error(command, "os.EADDRINUSE")
    await p.echo()


@case("li.unimplemented", "AWP-EV-5", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """LISTEN gets UNIMPLEMENTED: that counts as ERROR unimplemented"""
    command = await p.call("listen", {"transport": "tcp", "host": "127.0.0.1", "port": 80})
    heard = await p.expect(Kind.LISTEN)
    await p.send(Kind.UNIMPLEMENTED, [int(Kind.LISTEN)], channel=heard.channel)
    answer = await p.outcome(command, "AWP-EV-5")
    p.check(answer.kind == Kind.ERROR, f"the command got {answer}")
    await p.echo()


@case("li.closed-by-primary", "AWP-LI-3", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """LISTEN_CLOSE from the primary: the listener is gone, what is open goes on"""
    channel, _ = await _listen(p)
    (client,) = await _hand_over(p, channel, 1)
    await _taken(p, channel, 1)
    await client.hears(_HELLO)
    await p.send(Kind.LISTEN_CLOSE, channel=channel)
    await p.echo()
    client.says(b"still there?")
    await client.hears(b"still there?")
    await client.ends()


@case("li.head", "AWP-HA-6", level=2, caps=_HANDOFF + " handle.head")
async def _(p: Play) -> None:
    """A connection with a head: the worker reads that first, then what is in the socket"""
    channel, _ = await _listen(p)
    client = _client(p)
    client.says(b" and the rest")
    assert client.thing is not None
    envelope = [1, [[_TCP, {"head": b"the head"}]]]
    await p.send(Kind.CONN, envelope, channel=channel, things=[client.thing])
    await _taken(p, channel, 1)
    await client.hears(_HELLO + b"the head and the rest", "AWP-HA-6")
    await client.ends("AWP-HA-6")


@case("li.lost", "AWP-FD-5", level=2, caps=_HANDOFF, beside=True)
async def _(p: Play) -> None:
    """A CONN whose descriptor did not come is rejected; the next one is in step"""
    channel, _ = await _listen(p, credit=4)
    await p.echo()
    p.program.forbid_descriptors()
    await _hand_over(p, channel, 1)
    await _rejected(p, channel, [1])
    p.program.limit_descriptors(1024)
    await p.echo()


@case("li.refs", "AWP-FD-5", "AWP-LI-3", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """A pipe in place of a connection is not taken"""
    channel, _ = await _listen(p)
    thing = p.thing(int(HandleKind.PIPE_READ))
    await p.send(Kind.CONN, [1, [[_TCP, {}]]], channel=channel, things=[thing])
    heard = await p.expect(Kind.CONN_REPLY, channel=channel, requirement="AWP-HA-2")
    p.check(heard.item(1) == [1], f"CONN_REPLY says {heard.envelope}", "AWP-HA-2")
    await p.all_closed()


@case("li.none", "AWP-FR-6", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """A CONN without connections"""
    channel, _ = await _listen(p)
    await p.send(Kind.CONN, [1, []], channel=channel)
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("li.before-listening", "AWP-LI-3", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """A connection that comes before LISTENING: rejected, or protocol_error; and closed"""
    command = await p.call("listen", {"transport": "tcp", "host": "127.0.0.1", "port": 0})
    heard = await p.expect(Kind.LISTEN)
    await _hand_over(p, heard.channel, 1)
    found = await p.until(
        lambda: next((one for one in p.heard if one.kind in _CONN_OR_ABORT), None),
        "CONN_REPLY or ABORT",
    )
    if found.kind == Kind.ABORT:
        await p.abort(AbortCode.PROTOCOL_ERROR)
        return
    await _rejected(p, heard.channel, [1])
    await p.all_closed()
    error = {"code": "os.EADDRINUSE", "message": "somebody has it"}
    await p.send(Kind.ERROR, None, error, channel=heard.channel)
    await p.error(command, "os.EADDRINUSE")


@case("li.partly-strange", "AWP-EV-3", "AWP-LI-3", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """Two connections, the handle of one of a kind that nobody knows: at least that is rejected"""
    channel, credit = await _listen(p, credit=4)
    if min(credit, p.claims.limits["max_fds"]) < 2:
        raise Noted("it takes one connection in a frame")
    things = [thing for thing in (_client(p).thing, _client(p).thing) if thing is not None]
    await p.send(Kind.CONN, [1, [[_TCP, {}], [99, {}]]], channel=channel, things=things)
    rejected: list[int] = []
    while 2 not in rejected:
        heard = await p.expect(Kind.CONN_REPLY, channel=channel, requirement="AWP-LI-3")
        rejected += heard.item(1) or []
    await p.echo()


@case("li.leak", "AWP-FD-7", "AWP-LI-8", level=2, caps=_HANDOFF)
async def _(p: Play) -> None:
    """100 connections one after another: no descriptor is left"""
    channel, credit = await _listen(p, credit=4)
    before = 0
    for number in range(1, 101):
        due = number - credit
        await p.until(
            lambda due=due: p.total(Kind.CONN_CREDIT, channel=channel) >= due or None,  # type: ignore[misc]  # mypy infers no default
            f"CONN_CREDIT for connection {number}",
            requirement="AWP-LI-1",
        )
        (client,) = await _hand_over(p, channel, number)
        await _taken(p, channel, number)
        await client.hears(_HELLO)
        await client.ends()
        if number == 5:
            await p.all_closed()
            before = len(p.program.descriptors())
    await p.all_closed()
    now = len(p.program.descriptors())
    p.check(now <= before, f"it had {before} descriptors, and has {now}")


# ---- shared ------------------------------------------------------------------------------------


async def _share(p: Play, **request: Any) -> tuple[int, int, Thing]:
    """Have the worker listen in mode shared.

    Returns:
        the listener's channel, the port, and the socket.
    """
    wanted = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "modes": ["shared"], **request}
    command = await p.call("listen", wanted)
    heard = await p.expect(Kind.LISTEN)
    thing = p.thing(_LISTENER)
    with socket.socket(fileno=os.dup(thing.fd)) as sock:
        address = list(sock.getsockname()[:2])
    handles = [[_LISTENER, {"shared": True}]]
    ours = os.dup(thing.fd)
    thing.others.append(ours)
    answer = {"mode": "shared", "address": address}
    await p.send(Kind.LISTENING, [handles], answer, channel=heard.channel, things=[thing])
    said = await p.reply(command)
    p.check(said == address, f"the command gave {said}, not {address}", "AWP-LI-7")
    return heard.channel, address[1], thing


@case("li.shared", "AWP-FD-9", level=2, caps="call listen.shared")
async def _(p: Play) -> None:
    """The worker accepts on a socket of the primary's, and leaves its mode alone"""
    _, port, thing = await _share(p)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        client = _Client(p, sock)
        await client.hears(_HELLO, "AWP-FD-9")
        client.says(b"echo")
        await client.hears(b"echo", "AWP-FD-9")
        await client.ends("AWP-FD-9")
    (ours,) = [one for one in thing.others if isinstance(one, int)]
    flags = fcntl.fcntl(ours, fcntl.F_GETFL)
    p.check(bool(flags & os.O_NONBLOCK), "the shared socket is in blocking mode now")
    await p.ping()


@case("li.shared-unlisten", "AWP-FD-7", level=2, caps="call listen.shared")
async def _(p: Play) -> None:
    """After `unlisten` the shared socket is closed in the worker, and still listens"""
    channel, port, thing = await _share(p)
    count = await p.ask("unlisten")
    p.check(count == 1, f"unlisten gave {count}")
    await p.expect(Kind.LISTEN_CLOSE, channel=channel)
    await p.poll(lambda: not p.program.holds(thing.inode), "the worker has the socket still")
    with socket.create_connection(("127.0.0.1", port)):
        pass


@case("li.shared-kind", "AWP-HA-8", level=2, caps="call listen.shared")
async def _(p: Play) -> None:
    """LISTENING with a handle of a kind that nobody knows: the command fails, and it goes on"""
    wanted = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "modes": ["shared"]}
    command = await p.call("listen", wanted)
    heard = await p.expect(Kind.LISTEN)
    thing = p.thing(_LISTENER)
    answer = {"mode": "shared", "address": ["127.0.0.1", 1]}
    await p.send(Kind.LISTENING, [[[99, {}]]], answer, channel=heard.channel, things=[thing])
    ended = await p.outcome(command)
    p.check(ended.kind == Kind.ERROR, f"the command got {ended}")
    await p.echo()
    await p.all_closed()


@case("li.shared-no-socket", "AWP-FD-5", level=2, caps="call listen.shared", beside=True)
async def _(p: Play) -> None:
    """The socket of LISTENING is lost: the command fails, and it goes on"""
    wanted = {"transport": "tcp", "host": "127.0.0.1", "port": 0, "modes": ["shared"]}
    command = await p.call("listen", wanted)
    heard = await p.expect(Kind.LISTEN)
    await p.ping()
    p.program.forbid_descriptors()
    thing = p.thing(_LISTENER)
    handles = [[_LISTENER, {"shared": True}]]
    answer = {"mode": "shared", "address": ["127.0.0.1", 1]}
    await p.send(Kind.LISTENING, [handles], answer, channel=heard.channel, things=[thing])
    answer_there = await p.outcome(command, "AWP-FD-5")
    p.check(answer_there.kind == Kind.ERROR, f"the command got {answer_there}")
    p.program.limit_descriptors(1024)
    await p.echo()
