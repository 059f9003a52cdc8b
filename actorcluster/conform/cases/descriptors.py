"""Descriptors in the stream, seen from outside: who has them, where they come, lost ones.

Runs in: both
"""

from __future__ import annotations

import fcntl
import os

import msgpack

from ...wire._generated import AbortCode, HandleKind, Kind
from ..case import Noted, case
from ..frames import HEADER, frame
from ..play import Play
from ..things import Thing

__all__: list[str] = []

_PIPE = int(HandleKind.PIPE_READ)
_TCP = int(HandleKind.TCP_SOCKET)


def references(count: int) -> list[msgpack.ExtType]:
    """Give handle extensions for the first so many handles."""
    return [msgpack.ExtType(1, bytes([index])) for index in range(count)]


async def _take(p: Play, things: list[Thing]) -> list[list[int]]:
    """Have the actor look at descriptors."""
    inodes = [one.inode for one in things]
    channel = await p.call("take_handle", references(len(things)), things=things)
    said = await p.reply(channel)
    shape = isinstance(said, list) and all(isinstance(one, list) and len(one) == 2 for one in said)
    p.check(shape, f"take_handle gave {said!r}")
    p.check([one[1] for one in said] == inodes, f"it has {said}, not the inodes {inodes}")
    return list(said)


@case("fds.many", "AWP-FD-4", "AWP-FD-3", level=2, caps="call handle")
async def _(p: Play) -> None:
    """As many descriptors in a frame as max_fds"""
    most = min(p.claims.limits["max_fds"], 253)
    await _take(p, [p.thing(_TCP) for _ in range(most)])
    await p.all_closed()


@case("fds.groups", "AWP-FD-3", level=2, caps="call handle", ways=("whole", "bytewise"))
async def _(p: Play) -> None:
    """Frames with one, two and one descriptors, sent one behind the other before any is answered"""
    if p.claims.limits["max_fds"] < 2:
        raise Noted("it takes one descriptor in a frame")
    waiting = []
    for count in (1, 2, 1):
        things = [p.thing(_TCP) for _ in range(count)]
        inodes = [one.inode for one in things]
        channel = await p.call("take_handle", references(count), things=things)
        waiting.append((channel, inodes))
    for channel, inodes in waiting:
        said = [one[1] for one in await p.reply(channel)]
        p.check(said == inodes, f"a frame has {said}, not {inodes}")


@case("fds.behind", "AWP-FD-3", level=2, caps="call handle")
async def _(p: Play) -> None:
    """The descriptors come with the byte behind the header"""
    thing = p.thing(_TCP)
    channel = p.channel()
    envelope = [None, None, [[_TCP, {}]]]
    data = frame(Kind.CALL, envelope, ["take_handle", references(1)], channel=channel, nfds=1)
    await p.raw(data[:HEADER])
    await p.line.drained()
    await p.raw(data[HEADER:], [thing.fd], [thing.name])
    thing.close_ours()
    said = await p.reply(channel)
    p.check([one[1] for one in said] == [thing.inode], f"it has {said}")


@case("fds.cloexec", "AWP-FD-4", level=2, caps="call handle")
async def _(p: Play) -> None:
    """Descriptors are close-on-exec from their arrival"""
    thing = p.thing(_PIPE) if "pipe-read" in p.claims.handles else p.thing(_TCP)
    half = frame(Kind.CALL, [None, None, [[thing.kind, {}]]], ["take_handle"], channel=2, nfds=1)
    await p.raw(half[:-1], [thing.fd], [thing.name])
    thing.close_ours()
    await p.poll(lambda: bool(p.program.holds(thing.inode)), "the descriptor has not arrived")
    numbers = p.program.holds(thing.inode)
    loose = [one for one in numbers if p.program.is_close_on_exec(one) is False]
    p.check(not loose, f"descriptor {loose} would be inherited")
    await p.raw(half[-1:])
    await p.reply(2)


@case("fds.ctrunc", "AWP-FD-5", "AWP-HA-4", level=2, caps="call handle", beside=True)
async def _(p: Play) -> None:
    """The worker is at its limit of open files: what is lost is answered, the rest stays in step"""
    await p.echo()
    p.program.forbid_descriptors()
    lost = p.thing(_TCP)
    channel = await p.call("take_handle", references(1), things=[lost])
    await p.error(channel, "handle_lost")
    if "handle.ack" in p.caps:
        heard = await p.ambient(
            lambda one: one.kind == Kind.HANDLE_ACK, "HANDLE_ACK", requirement="AWP-HA-4"
        )
        p.check(heard.item(1) == [1], f"HANDLE_ACK says {heard.envelope}", "AWP-HA-4")
    p.program.limit_descriptors(1024)
    await _take(p, [p.thing(_TCP)])
    await p.echo()
    await p.all_closed()


@case("fds.no-cap", "AWP-FD-6", level=2, caps="msg handle", grant=frozenset({"msg", "call"}))
async def _(p: Play) -> None:
    """A TELL with a descriptor, and `handle` is not in force"""
    thing = p.thing(_TCP)
    await p.send(Kind.TELL, [None, None, [[_TCP, {}]]], 1, things=[thing])
    await p.abort(AbortCode.FD_VIOLATION)


@case("fds.starting", "AWP-FD-6", level=2, caps="handle", begin="hello", beside=True)
async def _(p: Play) -> None:
    """A descriptor with WELCOME"""
    thing = p.thing(_TCP)
    await p.raw(p.welcome_frame(), [thing.fd], [thing.name])
    thing.close_ours()
    await p.abort(AbortCode.FD_VIOLATION)


@case(
    "fds.too-many-undeclared",
    "AWP-FD-6",
    level=2,
    caps="handle",
    limits={"max_fds": 2},
    beside=True,
)
async def _(p: Play) -> None:
    """Descriptors that no frame declares: more than four times max_fds are too many"""
    most = 4 * p.claims.limits["max_fds"]
    for _ in range(most + 1):
        thing = p.thing(_PIPE)
        await p.raw(frame(Kind.PING, body=b"\xc0\x01"), [thing.fd], [thing.name])
        thing.close_ours()
    await p.abort(AbortCode.FD_VIOLATION)


@case("fds.leak", "AWP-FD-7", level=2, caps="call handle")
async def _(p: Play) -> None:
    """200 descriptors that are taken, refused, broken, unknown: none is left"""
    await _take(p, [p.thing(_TCP)])
    before = len(p.program.descriptors())
    for _ in range(50):
        await p.tell("no command", things=[p.thing(_TCP)])
        await p.call("take_handle", references(1), to="nobody", things=[p.thing(_TCP)])
        await p.send(0x60, None, None, nfds=1, flags=0x80, things=[p.thing(_TCP)])
        await p.call("take_handle", references(1), things=[p.thing(_TCP)])
        await p.echo()
    await p.all_closed()
    now = len(p.program.descriptors())
    p.check(now <= before, f"it had {before} descriptors, and has {now}")


@case("fds.hand-offs", "AWP-FD-7", "AWP-HA-4", level=2, caps="call handle", slow=True)
async def _(p: Play) -> None:
    """5000 descriptors, one after another: none is left"""
    await _take(p, [p.thing(_TCP)])
    before = len(p.program.descriptors())
    for _ in range(5000):
        thing = p.thing(_PIPE if "pipe-read" in p.claims.handles else _TCP)
        await _take(p, [thing])
        p.things.remove(thing)
        thing.close()
    now = len(p.program.descriptors())
    p.check(now <= before, f"it had {before} descriptors, and has {now}")


@case("fds.sent-first-byte", "AWP-FD-1", level=2, caps="call handle.send", beside=True)
async def _(p: Play) -> None:
    """Descriptors from the worker come with the first byte of their frame"""
    p.line.read_size = 1
    for count in (1, 3):
        said = await p.ask("give_handle", count)
        p.check(said == references(count), f"give_handle gave {said!r}")
    offset = 0
    starts = []
    for one in p.heard:
        starts += [offset] if one.nfds else []
        offset += len(one.raw)
    p.check(p.line.group_offsets == starts, f"they came at {p.line.group_offsets}, not {starts}")


@case("fds.sent-behind-much", "AWP-FD-1", "AWP-FD-2", level=2, caps="call handle.send")
async def _(p: Play) -> None:
    """A REPLY with descriptors behind one that fills the socket, both read late"""
    p.line.hold()
    large = await p.call("echo", "x" * 900_000)
    given = await p.call("give_handle", 2)
    await p.poll(lambda: p.line.waiting() > 10_000, "nothing is written")
    p.line.go_on()
    await p.reply(large)
    await p.reply(given)
    frames = [one for one in p.heard if one.nfds]
    p.check([len(one.fds) for one in frames] == [2], f"{[len(one.fds) for one in frames]} came")


@case("fds.non-blocking", "AWP-FD-9", level=2, caps="call handle.send")
async def _(p: Play) -> None:
    """Sockets from the worker are in non-blocking mode"""
    await p.ask("give_handle", 2)
    fds = [fd for one in p.heard for fd in one.fds]
    p.check(len(fds) == 2, f"{len(fds)} descriptors came", "AWP-FD-1")
    blocking = [fd for fd in fds if not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK]
    p.check(not blocking, f"{len(blocking)} of them are blocking")
