"""STOP, GOODBYE, ABORT and the end of file.

Runs in: both
"""

from __future__ import annotations

import trio

from ...wire._generated import AbortCode, Kind
from ..case import case
from ..frames import frame
from ..play import Play

__all__: list[str] = []

_LONG = 600_000
_WHILE = 0.3  # seconds, far less than anybody waits for GOODBYE who does
_STALLED = {"limits": {"window": 65536}}


@case("st.stop", "AWP-ST-1", "AWP-ST-2", level=0)
async def _(p: Play) -> None:
    """STOP, GOODBYE both ways, the end, status 0"""
    await p.stop()
    p.quiet("AWP-ST-2")


@case("st.stop-bare", "AWP-ST-1", level=0)
async def _(p: Play) -> None:
    """STOP with an empty map"""
    await p.send(Kind.STOP, None, {})
    await p.part()


@case("st.stop-nil-deadline", "AWP-ST-1", level=0)
async def _(p: Play) -> None:
    """STOP with a deadline of nil, an unknown reason and an unknown key"""
    await p.send(Kind.STOP, None, {"deadline": None, "reason": 99, "grease.x": 1})
    await p.part()


@case("st.stop-starting", "AWP-ST-1", "AWP-ST-8", level=0, begin="hello")
async def _(p: Play) -> None:
    """STOP directly behind WELCOME"""
    await p.raw(p.welcome_frame() + frame(Kind.STOP, None, {}))
    await p.expect(Kind.GOODBYE)
    await p.send(Kind.GOODBYE, None, {"recv": 0})
    p.line.shut_down()
    await p.eof("AWP-ST-2")
    await p.ends_well()


@case("st.eof-after-goodbye", "AWP-ST-2", level=0)
async def _(p: Play) -> None:
    """The worker shuts down its side behind its GOODBYE, before it has ours; it may end by then"""
    await p.send(Kind.STOP, None, {})
    await p.expect(Kind.GOODBYE)
    began = p.line.now()
    await p.eof()
    took = p.line.now() - began
    with trio.move_on_after(_WHILE):
        await p.program.wait()
    if p.program.status is not None and took > 1:
        p.notes.append(f"its side was shut down only as it ended, after {took:.1f} s")
    await p.send(Kind.GOODBYE, None, {"recv": 0})
    p.line.shut_down()
    await p.ends_well()


@case("st.goodbye-lost", "AWP-ST-2", level=0)
async def _(p: Play) -> None:
    """The end of file in place of the primary's GOODBYE is an orderly end, too"""
    await p.send(Kind.STOP, None, {})
    await p.expect(Kind.GOODBYE)
    p.line.shut_down()
    await p.ends_well()


@case("st.goodbye-first", "AWP-ST-2", level=0)
async def _(p: Play) -> None:
    """The primary's GOODBYE without any STOP is answered"""
    await p.send(Kind.GOODBYE, None, {"recv": 0})
    await p.expect(Kind.GOODBYE)
    p.line.shut_down()
    await p.eof()
    await p.ends_well()


@case("st.goodbye-and-eof", "AWP-ST-8", "AWP-ST-3", level=0)
async def _(p: Play) -> None:
    """The end of file directly behind the primary's GOODBYE is an orderly end: status 0"""
    await p.send(Kind.GOODBYE, None, {"recv": 0})
    p.line.shut_down()
    await p.eof()
    await p.ends_well()


@case("st.recv", "AWP-ST-5", "AWP-MS-6", caps="msg call")
async def _(p: Play) -> None:
    """GOODBYE counts all messages: calls, messages, bounced and refused ones"""
    await p.echo()
    await p.tell("no command")
    await p.send(Kind.TELL, ["nobody"], 1)
    await p.expect(Kind.UNDELIVERABLE, requirement="AWP-MS-5")
    await p.echo()
    goodbye = await p.stop()
    said = goodbye.field("recv")
    p.check(said == p.messages_sent, f"recv is {said}, {p.messages_sent} were sent")


@case("st.recv-none", "AWP-ST-5", level=0)
async def _(p: Play) -> None:
    """GOODBYE where there was no message: recv is 0"""
    said = (await p.stop()).field("recv")
    p.check(said == 0, f"recv is {said}")


@case("st.sleeps", "AWP-ST-1", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """STOP ends what sleeps, by ERROR stopping, before GOODBYE"""
    channels = [await p.call("sleep", _LONG) for _ in range(3)]
    await p.echo()
    await p.send(Kind.STOP, None, {"deadline": 20_000})
    for channel in channels:
        await p.error(channel, "stopping")
    await p.part()


@case("st.refused", "AWP-ST-8", "AWP-CA-3", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """A CALL behind STOP is refused"""
    await p.stall()
    await p.send(Kind.STOP, None, {})
    channel = await p.call("echo", 1)
    await p.error(channel, "refused", "stopping")
    await p.unstall()
    await p.part()


@case("st.finishes", "AWP-ST-1", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """What was begun before STOP is answered, with a REPLY or an ERROR"""
    stalled = await p.stall()
    waiting = await p.call("echo", "waits in the mailbox")
    await p.send(Kind.STOP, None, {"deadline": 20_000})
    await p.ping()
    await p.unstall()
    await p.outcome(stalled, "AWP-CA-1")
    await p.outcome(waiting, "AWP-CA-1")
    await p.part()


@case("st.deadline", "AWP-ST-1", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """A worker that cannot finish says GOODBYE when the deadline is over"""
    await p.stall()
    began = p.line.now()
    await p.send(Kind.STOP, None, {"deadline": 300})
    await p.expect(Kind.GOODBYE)
    took = p.line.now() - began
    if took > 0.3 + p.slack:
        p.notes.append(f"GOODBYE came after {took * 1000:.0f} ms, not 300")


@case("st.deadline-begun", "AWP-CA-5", "AWP-ST-1", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """At the deadline a call that was begun gets an ERROR, and none that promises it was not"""
    begun = await p.stall()
    waiting = await p.call("echo", "waits in the mailbox")
    await p.send(Kind.STOP, None, {"deadline": 300})
    heard = await p.outcome(begun, "AWP-CA-1")
    code = heard.field("code") if heard.kind == Kind.ERROR else None
    p.check(heard.kind == Kind.ERROR, f"it got {heard}, and cannot be done")
    p.check(code not in ("stopping", "refused"), f"it was begun, and {code} says that it was not")
    await p.outcome(waiting, "AWP-CA-1")
    await p.expect(Kind.GOODBYE)


@case("st.stop-twice", "AWP-ST-6", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """A second STOP, with an earlier deadline: that holds"""
    await p.stall()
    await p.send(Kind.STOP, None, {"deadline": 600_000})
    await p.ping()
    await p.send(Kind.STOP, None, {"deadline": 200})
    await p.expect(Kind.GOODBYE)


@case("st.stop-later", "AWP-ST-6", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """A second STOP, with a later deadline: the first holds"""
    await p.stall()
    await p.send(Kind.STOP, None, {"deadline": 300})
    await p.send(Kind.STOP, None, {"deadline": 600_000})
    await p.expect(Kind.GOODBYE)


@case("st.stopping-settings", "AWP-ST-8", "AWP-SE-1", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """SETTINGS, PING, and unknown kinds in STOPPING"""
    await p.stall()
    await p.send(Kind.STOP, None, {})
    await p.send(Kind.SETTINGS, None, {"heartbeat": 1000})
    await p.raw(frame(0x60))
    await p.expect(Kind.SETTINGS_ACK, requirement="AWP-SE-1")
    await p.expect(Kind.UNIMPLEMENTED, requirement="AWP-EV-2")
    await p.ping()
    await p.unstall()
    await p.part()


@case("st.eof", "AWP-ST-3", level=0)
async def _(p: Play) -> None:
    """The end of file without a word: it ends within 2 s, with status 0"""
    p.line.shut_down()
    await p.ends_well(within=2.0)


@case("st.closed", "AWP-ST-3", level=0)
async def _(p: Play) -> None:
    """The primary's socket is closed"""
    p.line.close()
    await p.ends_well(within=2.0)


@case("st.eof-busy", "AWP-ST-3", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """The primary is gone while the actor waits for credit"""
    await p.stall()
    p.line.shut_down()
    await p.ends_well(within=2.0)


@case("st.eof-behind-data", "AWP-ST-3", "AWP-TR-6", level=0)
async def _(p: Play) -> None:
    """What came before the end of file is processed, by the loop that reads"""
    await p.raw(frame(Kind.PING, body=b"\xc0\x07"))
    p.line.shut_down()
    await p.expect(Kind.PONG, requirement="AWP-TR-6")
    await p.ends_well(within=2.0)


@case("st.abort", "AWP-ST-4", level=0)
async def _(p: Play) -> None:
    """ABORT: it closes at once and sends nothing more"""
    await p.send(Kind.ABORT, None, {"code": int(AbortCode.INTERNAL), "detail": "a test"})
    await p.eof()
    p.quiet()
    await p.exited(within=2.0)


@case("st.abort-broken", "AWP-ST-4", level=1)
async def _(p: Play) -> None:
    """ABORT on another channel: that ends the connection, too, whatever is said to it"""
    await p.raw(frame(Kind.ABORT, None, {"code": 1}, channel=4))
    await p.eof()
    await p.exited(within=2.0)


@case("st.abort-busy", "AWP-ST-4", caps="call")
async def _(p: Play) -> None:
    """ABORT while calls are open: no answer to them is sent any more"""
    for _ in range(3):
        await p.call("sleep", _LONG)
    await p.echo()
    await p.send(Kind.ABORT, None, {"code": 64, "x": [1]})
    await p.eof()
    p.quiet()
    await p.exited(within=2.0)


@case("st.no-leave", "AWP-HS-4", level=0)
async def _(p: Play) -> None:
    """It does not leave unless it is told to"""
    await p.ping()
    p.check(not any(one.kind == Kind.LEAVE for one in p.heard), "it said LEAVE")
    p.check(p.program.status is None, "it has ended")
