"""Handles: each kind, what a descriptor really is, acknowledgements, giving them away.

Runs in: both
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from typing import Any

from ...wire._generated import BUILT_HANDLE_NAMES, HANDLE_NAMES, AbortCode, HandleKind, Kind
from ..case import Case, Noted, Story, add, case
from ..frames import frame
from ..play import Play
from ..things import MAKERS, Thing
from .descriptors import references

__all__: list[str] = []

_TCP = int(HandleKind.TCP_SOCKET)
_LISTENER = int(HandleKind.TCP_LISTENER)
#: A socket, which is in non-blocking mode, and what is not.
_OF_MODES = (_TCP, int(HandleKind.PIPE_READ), int(HandleKind.FILE), int(HandleKind.UNIX_STREAM))
#: In the shape of each kind, to pass for it.
_FALSE = {_TCP: int(HandleKind.PIPE_READ), _LISTENER: _TCP, int(HandleKind.FILE): _TCP}


def _take_story(kind: int) -> Story:
    async def play(p: Play) -> None:
        name = HANDLE_NAMES[kind]
        if name not in p.claims.handles:
            raise Noted(f"it does not take {name}")
        thing = p.thing(kind)
        said = await p.ask("take_handle", references(1), things=[thing])
        if kind == HandleKind.OPAQUE:  # whatever it is
            said = [[kind, inode] for _, inode in said]
        p.check(said == [[kind, thing.inode]], f"it is {said}, not {[[kind, thing.inode]]}")
        await p.all_closed()

    return play


def _enter_kinds() -> None:
    for kind, name in HANDLE_NAMES.items():
        if name in BUILT_HANDLE_NAMES:
            add(
                Case(
                    id=f"ha.take.{name}",
                    requirements=("AWP-HA-2", "AWP-FD-7"),
                    title=f"A descriptor of kind {name} arrives as what it is",
                    level=2,
                    caps=frozenset({"call", "handle"}),
                    story=_take_story(kind),
                )
            )


_enter_kinds()


async def _take_as(p: Play, thing: Thing, kind: int, meta: dict[str, Any] | None = None) -> int:
    """Have it take what is said to be of that kind; gives the channel of the call."""
    channel = p.channel()
    payload = ["take_handle", references(1)]
    await p.send(
        Kind.CALL, [None, None, [[kind, meta or {}]]], payload, channel=channel, things=[thing]
    )
    return channel


@case("ha.false", "AWP-HA-2", level=2, caps="call handle")
async def _(p: Play) -> None:
    """A pipe that calls itself a TCP socket: unsupported_handle, or the command's failure"""
    channel = await _take_as(p, p.thing(int(HandleKind.PIPE_READ)), _TCP)
    heard = await p.outcome(channel)
    p.check(heard.kind == Kind.ERROR, f"it was taken: {heard}")
    await p.echo()
    await p.all_closed()


@case("ha.false-listener", "AWP-HA-2", level=2, caps="call handle")
async def _(p: Play) -> None:
    """A connected TCP socket that calls itself a listener"""
    channel = await _take_as(p, p.thing(_TCP), _LISTENER)
    heard = await p.outcome(channel)
    p.check(heard.kind == Kind.ERROR, f"it was taken: {heard}")
    await p.echo()
    await p.all_closed()


@case("ha.kind-nobody-knows", "AWP-EV-3", "AWP-FD-7", level=2, caps="call handle")
async def _(p: Play) -> None:
    """A handle of a kind of a future version: unsupported_handle, and it goes on"""
    channel = await _take_as(p, p.thing(99), 99)
    await p.error(channel, "unsupported_handle")
    await p.echo()
    await p.all_closed()


@case("ha.kind-not-listed", "AWP-HA-8", "AWP-FD-7", level=2, caps="msg call handle")
async def _(p: Play) -> None:
    """A CALL and a TELL with a handle that is what it says, of a kind that HELLO did not list"""
    others = [kind for kind in MAKERS if HANDLE_NAMES[kind] not in p.claims.handles]
    if not others:
        raise Noted("it takes every kind")
    channel = await p.call("take_handle", references(1), things=[p.thing(others[0])])
    await p.error(channel, "unsupported_handle")
    await p.tell("take_handle", references(1), things=[p.thing(others[0])])
    code = (await p.expect(Kind.UNDELIVERABLE)).field("code")
    p.check(code == "unsupported_handle", f"the TELL got {code}")
    await p.echo()
    await p.all_closed()


@case("ha.shared-mode", "AWP-FD-9", level=2, caps="call handle")
async def _(p: Play) -> None:
    """Shared handles, a socket and what is in blocking mode: looked at, closed, modes as before"""
    things = [p.thing(kind) for kind in _OF_MODES if HANDLE_NAMES[kind] in p.claims.handles]
    for thing in things:
        ours = os.dup(thing.fd)
        thing.others.append(ours)
        before = fcntl.fcntl(ours, fcntl.F_GETFL)
        said = await p.reply(await _take_as(p, thing, thing.kind, {"shared": True}))
        p.check([one[1] for one in said] == [thing.inode], f"it is {said}", "AWP-HA-2")
        await p.echo()
        now = fcntl.fcntl(ours, fcntl.F_GETFL)
        name = HANDLE_NAMES[thing.kind]
        p.check(now == before, f"the flags of a {name} were {before:#o}, and are {now:#o}")


@case("ha.meta-nobody-knows", "AWP-EV-3", level=2, caps="call handle")
async def _(p: Play) -> None:
    """A handle with keys in its meta map that nobody knows"""
    thing = p.thing(_TCP)
    meta = {"peer": ["::1", 40_000], "x-future": [1], "tls": {"version": 3}, "shared": False}
    said = await p.reply(await _take_as(p, thing, _TCP, meta))
    p.check([one[1] for one in said] == [thing.inode], f"it is {said}")


@case("ha.ack", "AWP-HA-4", level=2, caps="msg call handle handle.ack")
async def _(p: Play) -> None:
    """HANDLE_ACK counts frames with descriptors: taken, bounced, of unknown kinds"""
    await p.call("take_handle", references(1), things=[p.thing(_TCP)])
    await p.tell("no command", to="nobody", things=[p.thing(_TCP)])
    await p.raw(frame(Kind.PING, body=b"\xc0\x01"))
    await p.tell("no command", things=[p.thing(_TCP)])
    await p.until(lambda: p.highest(Kind.HANDLE_ACK) >= 3 or None, "HANDLE_ACK of 3")
    lost = [one.item(1) for one in p.heard if one.kind == Kind.HANDLE_ACK and one.item(1)]
    p.check(not lost, f"lost are {lost}")


@case("ha.ack-not-in-force", "AWP-HS-3", level=2, caps="call handle handle.ack",
      grant=frozenset({"msg", "call", "handle"}))  # fmt: skip
async def _(p: Play) -> None:
    """Without `handle.ack` in force there is no HANDLE_ACK"""
    await p.ask("take_handle", references(1), things=[p.thing(_TCP)])
    await p.echo()
    p.check(p.highest(Kind.HANDLE_ACK) == 0, "HANDLE_ACK came")


@case("ha.ack-ahead", "AWP-HA-4", level=2, caps="handle.ack")
async def _(p: Play) -> None:
    """HANDLE_ACK of a frame that the worker did not send"""
    await p.send(Kind.HANDLE_ACK, [1])
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("ha.entries", "AWP-HA-5", level=2, caps="call handle")
async def _(p: Play) -> None:
    """More entries than descriptors, and fewer: a broken body, and all are closed"""
    for entries in ([[_TCP, {}]] * 2, []):
        channel = p.channel()
        envelope = [None, None, entries]
        await p.send(Kind.CALL, envelope, ["echo"], channel=channel, things=[p.thing(_TCP)])
        await p.error(channel, "bad_payload")
    await p.echo()
    await p.all_closed()


@case("ha.give", "AWP-HA-5", "AWP-FD-1", level=2, caps="call handle.send")
async def _(p: Play) -> None:
    """The actor gives sockets that listen"""
    said = await p.ask("give_handle", 3)
    p.check(said == references(3), f"give_handle gave {said!r}")
    (heard,) = [one for one in p.heard if one.nfds]
    entries = heard.item(0)
    kinds = [one[0] for one in entries]
    p.check(kinds == [_LISTENER] * 3, f"their kinds are {kinds}")
    shared = [one for one in entries if len(one) > 1 and (one[1] or {}).get("shared")]
    p.check(not shared, "they are marked `shared`", "AWP-HA-3")
    for fd in heard.fds:
        p.check(stat.S_ISSOCK(os.fstat(fd).st_mode), "a descriptor is no socket")
        with socket.socket(fileno=os.dup(fd)) as sock:
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            p.check(bool(listens), "a socket does not listen")


@case("ha.keeps-copy", "AWP-HA-3", level=2, caps="call handle.send handle.ack")
async def _(p: Play) -> None:
    """A handle's sender keeps its copy until HANDLE_ACK, and then closes it"""
    p.generous = False
    await p.ask("give_handle", 2)
    inodes = [os.fstat(fd).st_ino for one in p.heard for fd in one.fds]
    p.check(len(inodes) == 2, f"{len(inodes)} descriptors came", "AWP-FD-1")
    await p.echo()
    held = [bool(p.program.holds(inode)) for inode in inodes]
    p.check(all(held), "a copy was closed before HANDLE_ACK")
    await p.send(Kind.HANDLE_ACK, [1])
    for inode in inodes:
        await p.poll(
            lambda inode=inode: not p.program.holds(inode),  # type: ignore[misc]  # mypy infers no default
            "a copy is still open behind HANDLE_ACK",
        )


@case("ha.closes-copy", "AWP-HA-3", level=2, caps="call handle.send",
      grant=frozenset({"msg", "call", "handle", "handle.send"}))  # fmt: skip
async def _(p: Play) -> None:
    """Without `handle.ack` in force the copy is closed once it was sent"""
    await p.ask("give_handle", 2)
    inodes = [os.fstat(fd).st_ino for one in p.heard for fd in one.fds]
    p.check(len(inodes) == 2, f"{len(inodes)} descriptors came", "AWP-FD-1")
    for inode in inodes:
        await p.poll(
            lambda inode=inode: not p.program.holds(inode),  # type: ignore[misc]  # mypy infers no default
            "a copy is still open",
        )


@case("ha.not-listed", "AWP-HA-1", level=2, caps="call handle.send",
      welcome={"handles": ["file", "pipe-read"]})  # fmt: skip
async def _(p: Play) -> None:
    """The primary takes no listeners: the command that gives one fails"""
    channel = await p.call("give_handle", 1)
    heard = await p.outcome(channel)
    p.check(heard.kind == Kind.ERROR and not heard.nfds, f"it was sent: {heard}")
    await p.echo()


@case("ha.in-flight", "AWP-FD-8", level=2, caps="call handle.send handle.ack",
      welcome={"limits": {"fds_in_flight": 4}})  # fmt: skip
async def _(p: Play) -> None:
    """No more descriptors than fds_in_flight come without HANDLE_ACK"""
    p.generous = False
    channels = [await p.call("give_handle", 2) for _ in range(4)]
    await p.reply(channels[0])
    await p.reply(channels[1])
    await p.ping()
    flying = sum(one.nfds for one in p.heard)
    p.check(flying <= 4, f"{flying} descriptors came, not 4")
    p.generous = True
    await p.send(Kind.HANDLE_ACK, [2])
    for channel in channels[2:]:
        await p.reply(channel)


@case("ha.head-too-large", "AWP-HA-7", "AWP-LG-3", level=2, caps="msg call frag handle handle.head",
      limits={"max_message": 65536})  # fmt: skip
async def _(p: Play) -> None:
    """A head counts as part of the payload: over max_message it is too_large"""
    head = bytes(min(p.claims.limits["max_message"], p.claims.limits["max_frame"] - 200))
    channel = p.channel()
    envelope = [None, None, [[_TCP, {"head": head}]]]
    payload = ["take_handle", references(1), "x" * 100]
    await p.send(Kind.CALL, envelope, payload, channel=channel, things=[p.thing(_TCP)])
    await p.error(channel, "too_large")
    await p.all_closed()


@case("ha.head-large", "AWP-HA-7", level=2, caps="call handle handle.head",
      limits={"max_meta": 1024})  # fmt: skip
async def _(p: Play) -> None:
    """A head does not count against max_meta"""
    channel = p.channel()
    head = bytes(8 * p.claims.limits["max_meta"])
    thing = p.thing(_TCP)
    envelope = [None, None, [[_TCP, {"head": head}]]]
    await p.send(
        Kind.CALL, envelope, ["take_handle", references(1)], channel=channel, things=[thing]
    )
    said = await p.reply(channel)
    p.check([one[1] for one in said] == [thing.inode], f"it is {said}")
