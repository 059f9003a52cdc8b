"""Calls: one answer to each, cancelling, deadlines, how many at a time.

Runs in: both
"""

from __future__ import annotations

import trio

from ...wire._generated import Kind
from ..case import case
from ..frames import frame
from ..play import Play
from ..process import status_text

__all__: list[str] = []

_LONG = 600_000  # ms: longer than any case


@case("ca.echo", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """One REPLY, and no more, for a call"""
    said = await p.ask("echo", {"a": [1, None, "ü"], "b": b"\x00\xff"})
    p.check(said == {"a": [1, None, "ü"], "b": b"\x00\xff"}, f"echo gave {said!r}")
    await p.echo()
    p.quiet()


@case("ca.fail", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """A command that fails: ERROR app, with its text"""
    error = await p.error(await p.call("fail", "told to"), "app")
    p.check(error.get("message") == "told to", f"message is {error.get('message')!r}")
    await p.echo()
    p.quiet()


@case("ca.not-handled", "AWP-CA-5", caps="call")
async def _(p: Play) -> None:
    """What is no command: ERROR not_handled"""
    for payload in (["no such command"], [], [7], ["echo".upper(), 1]):
        await p.error(await p.call(*payload), "not_handled")
    channel = p.channel()
    await p.send(Kind.CALL, [None], {"a": "map"}, channel=channel)
    await p.error(channel, "not_handled")


@case("ca.wrong-argument", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """Commands whose argument is of another type: one answer to each, and the actor goes on"""
    for payload in (["tell_back", 7], ["tell_back", ["many", 1]], ["sleep", "long"], ["log", 1]):
        await p.outcome(await p.call(*payload))
        await p.echo()
    p.quiet()


@case("ca.concurrent", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """Who sleeps keeps nobody waiting"""
    sleeping = await p.call("sleep", _LONG)
    await p.echo()
    await p.send(Kind.CANCEL, [], channel=sleeping)
    await p.error(sleeping, "cancelled")


@case("ca.sleep", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """A sleep ends by itself, with nil"""
    began = p.line.now()
    said = await p.ask("sleep", 100)
    took = p.line.now() - began
    p.check(said is None, f"it gave {said!r}")
    p.check(took >= 0.09, f"it took {took * 1000:.0f} ms, not 100")


@case("ca.cancel", "AWP-CA-1", "AWP-CA-2", caps="call")
async def _(p: Play) -> None:
    """CANCEL ends a call, with ERROR cancelled, and only this one"""
    first, second = await p.call("sleep", _LONG), await p.call("sleep", _LONG)
    await p.echo()  # both sleep by now
    await p.send(Kind.CANCEL, [], channel=second)
    await p.error(second, "cancelled")
    count = await p.ask("cancel_state")
    p.check(count == 1, f"{count} sleeps were cancelled, not 1")
    p.quiet()
    await p.send(Kind.CANCEL, ["a reason", {"more": 1}], channel=first)
    await p.error(first, "cancelled")
    count = await p.ask("cancel_state")
    p.check(count == 2, f"{count} sleeps were cancelled, not 2")


@case("ca.cancel-twice", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """CANCEL and again CANCEL: one answer"""
    channel = await p.call("sleep", _LONG)
    for _ in range(3):
        await p.send(Kind.CANCEL, [], channel=channel)
    await p.error(channel, "cancelled")
    await p.echo()
    p.quiet()


@case("ca.cancel-at-once", "AWP-CA-1", caps="call", ways=("whole", "bytewise"))
async def _(p: Play) -> None:
    """CALL and CANCEL in one write: one answer, whichever"""
    channel = p.channel()
    await p.raw(
        frame(Kind.CALL, [None], ["sleep", _LONG], channel=channel)
        + frame(Kind.CANCEL, [], channel=channel)
    )
    await p.error(channel, "cancelled")
    await p.echo()
    p.quiet()


@case("ca.cancel-in-mailbox", "AWP-CA-1", caps="msg call",
      welcome={"limits": {"window": 65536}})  # fmt: skip
async def _(p: Play) -> None:
    """CANCEL of a call that waits in the mailbox"""
    await p.stall()
    channel = await p.call("echo", 1)
    await p.send(Kind.CANCEL, [], channel=channel)
    await p.unstall()
    heard = await p.outcome(channel)
    code = heard.field("code")
    p.check(heard.kind == Kind.REPLY or code == "cancelled", f"the answer is {heard}")
    await p.echo()


@case("ca.ttl", "AWP-CA-4", caps="call")
async def _(p: Play) -> None:
    """The end of ttl ends a sleep, with deadline_exceeded"""
    await p.error(await p.call("sleep", _LONG, ttl=50), "deadline_exceeded")


@case("ca.ttl-long", "AWP-CA-4", caps="call")
async def _(p: Play) -> None:
    """A ttl that is not over changes nothing; it may be a float"""
    p.check(await p.ask("echo", 3, ttl=60_000.5) == 3, "no echo")


@case("ca.max-calls", "AWP-CA-3", "AWP-LM-2", caps="call", limits={"max_calls": 2})
async def _(p: Play) -> None:
    """One call more than max_calls: refused; then there is room again"""
    most = p.claims.limits["max_calls"]
    sleeping = [await p.call("sleep", _LONG) for _ in range(most)]
    await p.error(await p.call("echo", 1), "refused")
    await p.send(Kind.CANCEL, [], channel=sleeping[0])
    await p.error(sleeping[0], "cancelled")
    await p.echo("AWP-CA-3")


@case("ca.many", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """As many calls at a time as are allowed, answered in another order"""
    count = min(p.claims.limits["max_calls"], 200)
    channels = [await p.call("sleep", _LONG) for _ in range(count)]
    for channel in reversed(channels):
        await p.send(Kind.CANCEL, [], channel=channel)
    for channel in channels:
        await p.error(channel, "cancelled")
    p.quiet()


@case("ca.eof", "AWP-CA-6", "AWP-ST-3", caps="call")
async def _(p: Play) -> None:
    """The primary is gone while calls are open: the worker ends"""
    for _ in range(5):
        await p.call("sleep", _LONG)
    await p.echo()
    p.line.shut_down()
    await p.ends_well("AWP-ST-3", within=2.0)


@case("ca.crash", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """The command that crashes: SIGABRT ends it, and it says nothing more"""
    await p.call("crash")
    status = await p.exited()
    p.check(status == -6, f"the process {status_text(status)}")
    p.check(not p.inbox, f"it said {p.inbox}")


@case("ca.exit", "AWP-CA-1", caps="call")
async def _(p: Play) -> None:
    """The command that exits: with that status, and nothing more is said"""
    await p.call("exit", 23)
    status = await p.exited()
    p.check(status == 23, f"the process {status_text(status)}")
    with trio.move_on_after(p.timeout):
        await p.eof()
    p.check(not p.inbox, f"it said {p.inbox}")
