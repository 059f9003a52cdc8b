"""How a worker finds its connection, and loses it.

Runs in: both
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator

import trio

from ...wire._generated import Kind
from ..case import Noted, case
from ..frames import frame
from ..play import WORKER_ID, Play
from ..process import Program, status_text

__all__: list[str] = []

_STANDALONE_SECONDS = 2.0
#: Node makes descriptors close-on-exec that it finds open when it starts: those below this number.
_NODES_OWN = 16


@case("tr.cloexec", "AWP-TR-2", level=0, begin="active")
async def _(p: Play) -> None:
    """The worker's end is close-on-exec."""
    assert p.program.end is not None
    inodes = [
        number
        for number, what in p.program.descriptors().items()
        if what.startswith("socket:") and number > 2
    ]
    if p.line.lane is not None:  # what is numbered higher Node can do nothing about
        inodes = [number for number in inodes if number < _NODES_OWN]
    loose = [n for n in inodes if p.program.is_close_on_exec(n) is False]
    p.check(not loose, f"descriptors {loose} are sockets and would be inherited")


@case("tr.worker-id", "AWP-TR-1", "AWP-HS-1", level=0, begin="hello")
async def _(p: Play) -> None:
    """HELLO repeats the id from the environment, if it says one."""
    said = p.heard[0].field("worker")
    p.check(said in (None, WORKER_ID), f"it is {WORKER_ID}, and says {said}", "AWP-HS-1")


@case("tr.limits", "AWP-TR-8", begin="hello", level=1)
async def _(p: Play) -> None:
    """The limits of ACTORCLUSTER_LIMITS are announced in HELLO."""
    wanted = {"window": 131_072, "max_message": 1_048_576}
    words = " ".join(f"{name}={value}" for name, value in wanted.items())
    async with _another(p, {"ACTORCLUSTER_LIMITS": words}) as other:
        await other.hello()
        said = {name: other.claims.limits[name] for name in wanted}
        p.check(said == wanted, f"HELLO says {said} for {words}")


@case("tr.number", "AWP-TR-1", "AWP-HS-1", level=0, begin="process")
async def _(p: Play) -> None:
    """The descriptor is the one that the variable names, whatever its number."""
    async with _another(p, {}, number=93) as other:
        await other.hello()
        await other.raw(other.welcome_frame())
        await other.expect(Kind.READY, requirement="AWP-HS-1")
        await other.ping("AWP-HS-1")


@case("tr.alone", "AWP-TR-3", level=0, begin="process")
async def _(p: Play) -> None:
    """Without the variable it runs by itself, or says why not and exits with status 2."""
    program = Program(
        p.command, {"ACTORCLUSTER_CONFORMANCE": "1"}, number=None, forge=p.program.forge
    )
    try:
        with trio.move_on_after(p.timeout):
            status = await program.wait()
            words = program.last_words()
            is_well = status == 0 or (status == 2 and bool(words.strip()))
            text = f"the program {status_text(status)}, and said {words[-200:]!r}"
            p.check(is_well, text)
            return
        raise Noted("it runs by itself")
    finally:
        await program.close()


@case("tr.reset", "AWP-TR-6", "AWP-ST-3", level=0)
async def _(p: Play) -> None:
    """The primary's end is closed with unread input: the worker takes ECONNRESET for the end."""
    p.line.hold()
    await p.raw(frame(Kind.PING, body=b"\xc0\x01"))
    await p.poll(lambda: p.line.waiting() > 0, "no PONG was written", requirement="AWP-PI-1")
    p.line.close()
    await p.ends_well("AWP-TR-6", within=2.0)


@case("tr.broken-pipe", "AWP-TR-6", caps="msg call")
async def _(p: Play) -> None:
    """The primary's end is closed while the worker is writing: no signal ends it."""
    p.generous = False
    await p.call("tell_back", [200, "x" * 4096])
    await p.expect(Kind.TELL, requirement="AWP-TR-6")
    p.line.close()
    await p.ends_well("AWP-TR-6", within=2.0)


@case("tr.unusable", "AWP-TR-3", level=0, begin="process")
async def _(p: Play) -> None:
    """A transport that nobody knows: it says so and exits with status 2"""
    environment = {"ACTORCLUSTER_CHANNEL": "pigeon:7", "ACTORCLUSTER_WORKER_ID": "7"}
    await _refuses(p, Program(p.command, environment, number=None, forge=p.program.forge))


async def _refuses(p: Play, program: Program) -> None:
    """Wait until it has ended with status 2, and has said why."""
    try:
        with trio.move_on_after(p.timeout):
            status = await program.wait()
            words = program.last_words()
            text = f"the program {status_text(status)}, and said {words[-200:]!r}"
            p.check(status == 2 and bool(words.strip()), text)
            return
        raise p.fail("it still runs")
    finally:
        await program.close()


@case("tr.unknown-lane", "AWP-TR-3", level=2, caps="handle", begin="process")
async def _(p: Play) -> None:
    """A side lane of a form that nobody knows: it says so and exits with status 2"""
    environment = {"ACTORCLUSTER_WORKER_ID": "7", "ACTORCLUSTER_CONFORMANCE": "1"}
    await _refuses(p, Program(p.command, environment, lane="pigeon", forge=p.program.forge))


@case("tr.unix", "AWP-TR-10", level=0, begin="process")
async def _(p: Play) -> None:
    """unix: it connects, once, and says the token"""
    with tempfile.TemporaryDirectory(prefix="conform-") as directory:
        path = os.path.join(directory, "channel")
        with trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            await listener.bind(path)
            listener.listen()
            await _connects(p, listener, path)


async def _connects(p: Play, listener: trio.socket.SocketType, path: str) -> None:
    token = "0123456789abcdef0123456789abcdef"  # noqa: S105  (nobody else can connect there)
    environment = {
        "ACTORCLUSTER_CHANNEL": f"unix:{path}",
        "ACTORCLUSTER_WORKER_ID": str(WORKER_ID),
        "ACTORCLUSTER_TOKEN": token,
        "ACTORCLUSTER_CONFORMANCE": "1",
    }
    program = Program(p.command, environment, number=None, forge=p.program.forge)
    try:
        end = await _accepted(p, listener, program)
        program.end = socket.socket(fileno=end.detach())
        program.end.setblocking(False)
        other = Play(p.case, program, timeout=p.timeout, command=p.command)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.line.read_forever)
            nursery.start_soon(other.serve)
            hello = await other.hello()
            p.check(hello.field("token") == token, f"its token is {hello.field('token')!r}")
            await other.raw(other.welcome_frame())
            await other.expect(Kind.READY)
            await other.ping()
            other.line.shut_down()
            await other.ends_well("AWP-ST-3", within=2.0)
            nursery.cancel_scope.cancel()
    finally:
        await program.close()


async def _accepted(
    p: Play, listener: trio.socket.SocketType, program: Program
) -> trio.socket.SocketType:
    """Wait for the worker to connect; one that knows only ``fd:`` exits with status 2."""
    ends: list[trio.socket.SocketType] = []
    ended: list[int] = []
    with trio.move_on_after(p.timeout):
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                ended.append(await program.wait())
                nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            ends.append((await listener.accept())[0])
            nursery.cancel_scope.cancel()
        if ends:
            return ends[0]
        if ended == [2]:
            raise Noted("it knows nothing but fd:")
        raise p.fail(f"it did not connect: the process {status_text(program.status)}")
    raise p.fail("it did not connect")


@contextlib.asynccontextmanager
async def _another(p: Play, environment: dict[str, str], number: int = -1) -> AsyncIterator[Play]:
    """Play against one more process, which is started in another way."""
    basic = {"ACTORCLUSTER_WORKER_ID": str(WORKER_ID), "ACTORCLUSTER_CONFORMANCE": "1"}
    lane = "" if p.line.lane is None else "node"
    program = Program(p.command, {**basic, **environment}, number, lane, p.program.forge)
    other = Play(p.case, program, timeout=p.timeout, command=p.command)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other.line.read_forever)
            nursery.start_soon(other.serve)
            yield other
            nursery.cancel_scope.cancel()
    finally:
        await program.close()
