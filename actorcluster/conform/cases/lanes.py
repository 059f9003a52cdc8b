"""Handles by a side lane: numbered, early, late, lost, and none of anybody's.

Runs in: both

These are played where the kit is told to give the worker a lane; all other cases are, too.
"""

from __future__ import annotations

from typing import Final

from ...wire._generated import HandleKind, Kind
from ..case import case
from ..frames import frame
from ..lane import Lane
from ..play import Play
from ..things import Thing
from .descriptors import references

__all__: list[str] = []

_TCP: Final = int(HandleKind.TCP_SOCKET)
_CAPS: Final = "call handle"
_PATIENCE: Final = 5.0
_FAR_AHEAD: Final = 5000


def _lane(p: Play) -> Lane:
    assert p.line.lane is not None
    return p.line.lane


async def _declare(p: Play, count: int) -> int:
    """Send a CALL that declares so many handles; they go their own way."""
    channel = p.channel()
    envelope = [None, None, [[_TCP, {}]] * count]
    payload = ["take_handle", references(count)]
    await p.raw(frame(Kind.CALL, envelope, payload, channel=channel, nfds=count))
    p.messages_sent += 1
    return channel


async def _by_lane(p: Play, things: list[Thing], numbers: list[int] | None = None) -> None:
    await _lane(p).send([one.fd for one in things], numbers)
    for one in things:
        one.close_ours()


async def _taken(p: Play, channel: int, things: list[Thing], requirement: str = "") -> None:
    said = await p.reply(channel, requirement)
    inodes = [one.inode for one in things]
    p.check([one[1] for one in said] == inodes, f"it has {said}, not {inodes}", requirement)


@case("ln.late", "AWP-LN-3", "AWP-LN-2", level=2, caps=_CAPS, lane=True)
async def _(p: Play) -> None:
    """The handles come behind their frame, one after the other"""
    channel = await _declare(p, 2)
    await p.line.drained()
    things = [p.thing(_TCP), p.thing(_TCP)]
    for one in things:
        await _by_lane(p, [one])
    await _taken(p, channel, things)
    await p.echo()
    await p.all_closed()


@case("ln.early", "AWP-LN-2", level=2, caps=_CAPS, lane=True)
async def _(p: Play) -> None:
    """The handles of three frames come before any of these, and in another order"""
    things = [p.thing(_TCP) for _ in range(4)]
    one, two, three, four = _lane(p).number(4)
    order = [three, one, four, two]
    await _by_lane(p, [things[number - one] for number in order], order)
    await p.ping()
    channels = [await _declare(p, count) for count in (1, 2, 1)]
    await _taken(p, channels[0], things[:1])
    await _taken(p, channels[1], things[1:3])
    await _taken(p, channels[2], things[3:])
    await p.echo()
    await p.all_closed()


@case("ln.lost", "AWP-LN-3", "AWP-FD-5", level=2, caps=_CAPS, lane=True)
async def _(p: Play) -> None:
    """A handle that does not come is lost after five seconds, and closed when it comes after all"""
    (number,) = _lane(p).number(1)
    began = p.line.now()
    channel = await _declare(p, 1)
    error = await p.error(channel, "handle_lost")
    took = p.line.now() - began
    p.check(took > _PATIENCE - 0.5, f"it waited for {took:.1f} s: {error}")
    if took > _PATIENCE + p.slack:
        p.notes.append(f"it waited for {took:.1f} s, not {_PATIENCE:g}")
    await _by_lane(p, [p.thing(_TCP)], [number])
    thing = p.thing(_TCP)
    await _taken(p, await p.call("take_handle", references(1), things=[thing]), [thing])
    await p.all_closed()


@case("ln.beside", "AWP-LN-1", level=2, caps=_CAPS, lane=True)
async def _(p: Play) -> None:
    """A descriptor beside the bytes belongs to no frame, and is closed"""
    stray, thing = p.thing(_TCP), p.thing(_TCP)
    channel = p.channel()
    (number,) = _lane(p).number(1)
    data = frame(
        Kind.CALL,
        [None, None, [[_TCP, {}]]],
        ["take_handle", references(1)],
        channel=channel,
        nfds=1,
    )
    p.watch.say(data)
    await p.line.write_beside(data, stray.fd)
    p.messages_sent += 1
    stray.close_ours()
    await _by_lane(p, [thing], [number])
    await _taken(p, channel, [thing])
    await p.all_closed("AWP-LN-1")


@case("ln.numbers", "AWP-LN-4", level=2, caps=_CAPS, lane=True)
async def _(p: Play) -> None:
    """Numbers that are none, that were had already, and far ahead: closed, and it goes on"""
    thing = p.thing(_TCP)
    await _taken(p, await p.call("take_handle", references(1), things=[thing]), [thing])
    for number in (0, 1, _FAR_AHEAD):
        await _by_lane(p, [p.thing(_TCP)], [number])
    thing = p.thing(_TCP)
    await _taken(p, await p.call("take_handle", references(1), things=[thing]), [thing])
    await p.all_closed("AWP-LN-4")


@case("ln.ended", "AWP-LN-3", "AWP-LN-6", level=2, caps=_CAPS, lane=True)
async def _(p: Play) -> None:
    """The lane ends: what is due is lost at once; all else goes on, or it leaves"""
    channel = await _declare(p, 1)
    await p.line.drained()
    _lane(p).end()
    found = await p.until(
        lambda: next((one for one in p.inbox if one.kind in (Kind.ERROR, Kind.LEAVE)), None),
        "ERROR handle_lost, or LEAVE",
    )
    if found.kind == Kind.LEAVE:
        p.inbox.remove(found)
    await p.error(channel, "handle_lost")
    await p.ping()


@case("ln.given", "AWP-LN-1", "AWP-LN-2", level=2, caps="call handle.send", lane=True)
async def _(p: Play) -> None:
    """Handles from the worker come by the lane, with numbers in the order of their frames"""
    for count in (1, 3):
        said = await p.ask("give_handle", count)
        p.check(said == references(count), f"give_handle gave {said!r}")
    frames = [one for one in p.heard if one.nfds]
    p.check([len(one.fds) for one in frames] == [1, 3], f"there came {frames}", "AWP-LN-2")
    faults = [fault for one in frames for fault in one.faults]
    p.check(not faults, f"{faults}")
