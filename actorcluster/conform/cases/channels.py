"""Ids of channels: opened, reused, used too late.

Runs in: both
"""

from __future__ import annotations

from ...wire._generated import FLAG_FRAG, FLAG_MORE, AbortCode, Kind
from ..case import case
from ..frames import frame
from ..play import Play

__all__: list[str] = []


@case("ch.open", "AWP-CH-2", caps="call")
async def _(p: Play) -> None:
    """A CALL on the channel of a call that is open"""
    await p.call("sleep", 60_000, channel=2)
    await p.call("echo", 1, channel=2)
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("ch.odd", "AWP-CH-2", caps="call")
async def _(p: Play) -> None:
    """A CALL on a channel with an id of the worker's"""
    await p.call("echo", 1, channel=7)
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("ch.again", "AWP-CH-1", "AWP-CH-4", caps="call")
async def _(p: Play) -> None:
    """An id is used again, as soon as its call has ended"""
    for number in range(20):
        said = await p.reply(await p.call("echo", number, channel=2), "AWP-CH-1")
        p.check(said == number, f"echo gave {said}")


@case("ch.highest", "AWP-CH-1", caps="call")
async def _(p: Play) -> None:
    """The highest id, then the lowest"""
    for channel in (0xFFFFFFFE, 2):
        said = await p.reply(await p.call("echo", channel, channel=channel))
        p.check(said == channel, f"echo gave {said}")


@case("ch.late-cancel", "AWP-CH-3", "AWP-CA-2", caps="call")
async def _(p: Play) -> None:
    """CANCEL of a call that was answered is ignored"""
    channel = await p.call("echo", 1)
    await p.reply(channel)
    await p.send(Kind.CANCEL, [], channel=channel)
    await p.echo()
    p.quiet()


@case("ch.late-answers", "AWP-CH-3", caps="call")
async def _(p: Play) -> None:
    """REPLY, ERROR and LISTEN_CLOSE on channels of the worker's that are not open"""
    await p.send(Kind.REPLY, None, "late", channel=3)
    await p.send(Kind.ERROR, None, {"code": "app", "message": "late"}, channel=5)
    await p.send(Kind.LISTEN_CLOSE, channel=7)
    await p.echo()
    p.quiet()


@case("ch.other-use", "AWP-CH-3", caps="call")
async def _(p: Play) -> None:
    """REPLY, ERROR and LISTEN_CLOSE on the channel of a call of ours: ignored, or protocol_error"""
    channel = await p.call("sleep", 600_000)
    for kind, payload in (
        (Kind.REPLY, "not ours to answer"),
        (Kind.ERROR, {"code": "app", "message": ""}),
        (Kind.LISTEN_CLOSE, None),
    ):
        await p.send(kind, None, payload, channel=channel)
    found = await p.pong_or_abort()
    if found.kind == Kind.ABORT:
        await p.abort(AbortCode.PROTOCOL_ERROR)
        return
    p.inbox.remove(found)
    p.quiet()
    await p.send(Kind.CANCEL, [], channel=channel)
    await p.error(channel, "cancelled")


@case("ch.late-descriptors", "AWP-CH-3", "AWP-FD-7", level=2, caps="call handle")
async def _(p: Play) -> None:
    """A REPLY with a descriptor on a channel that is not open: it is closed"""
    thing = p.thing(8)
    await p.send(Kind.REPLY, [[[8, {}]]], None, channel=3, things=[thing])
    await p.echo()
    p.quiet()
    await p.all_closed()


@case("ch.zero", "AWP-CH-2", level=1)
async def _(p: Play) -> None:
    """A LISTEN_CLOSE on channel 0"""
    await p.raw(frame(Kind.LISTEN_CLOSE))
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("ch.stop-elsewhere", "AWP-CH-2", level=1)
async def _(p: Play) -> None:
    """A SETTINGS on another channel than 0"""
    await p.raw(frame(Kind.SETTINGS, None, {}, channel=4))
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("ch.two-messages", "AWP-CH-2", "AWP-LG-7", caps="msg call frag")
async def _(p: Play) -> None:
    """A CALL on the channel of a TELL that is not complete"""
    await p.raw(frame(Kind.TELL, [None], b"\xa2", channel=2, flags=FLAG_FRAG | FLAG_MORE))
    await p.raw(frame(Kind.CALL, [None], ["echo", 1], channel=2))
    await p.abort(AbortCode.PROTOCOL_ERROR)
