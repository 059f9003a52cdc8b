"""SETTINGS: answered in order, and what a new window means.

Runs in: both
"""

from __future__ import annotations

from ...wire._generated import AbortCode, Kind
from ..case import case
from ..frames import frame
from ..play import Play

__all__: list[str] = []


@case("se.ack", "AWP-SE-1", level=1)
async def _(p: Play) -> None:
    """Each SETTINGS gets one SETTINGS_ACK"""
    for number in range(3):
        await p.send(Kind.SETTINGS, None, {"heartbeat": 1000 + number})
        await p.expect(Kind.SETTINGS_ACK)
    await p.alive()
    p.quiet()


@case("se.glued", "AWP-SE-1", level=1, ways=("whole", "bytewise"))
async def _(p: Play) -> None:
    """Ten SETTINGS in one write get ten SETTINGS_ACKs"""
    await p.raw(frame(Kind.SETTINGS, None, {"log_level": 20}) * 10)
    for _ in range(10):
        await p.expect(Kind.SETTINGS_ACK)
    await p.alive()
    p.quiet()


@case("se.unknown", "AWP-SE-1", "AWP-EV-1", level=1)
async def _(p: Play) -> None:
    """Unknown keys, and limits that nobody knows"""
    said = {"grease.x": 1, "future": [], "limits": {"grease.y": 5, "max_future": 9}, "config": {}}
    await p.send(Kind.SETTINGS, None, said)
    await p.expect(Kind.SETTINGS_ACK)
    await p.alive()


@case("se.starting", "AWP-SE-1", "AWP-ST-8", level=1, begin="hello")
async def _(p: Play) -> None:
    """SETTINGS directly behind WELCOME"""
    await p.raw(p.welcome_frame() + frame(Kind.SETTINGS, None, {"heartbeat": 500}))
    await p.expect(Kind.SETTINGS_ACK)
    await p.expect(Kind.READY, requirement="AWP-HS-4")


@case("se.body", "AWP-FR-6", level=1)
async def _(p: Play) -> None:
    """SETTINGS whose limits are no map"""
    await p.send(Kind.SETTINGS, None, {"limits": [1]})
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("se.window-raised", "AWP-SE-2", "AWP-FC-1", caps="msg call",
      welcome={"limits": {"window": 65536}})  # fmt: skip
async def _(p: Play) -> None:
    """A larger window of ours gives the worker the difference"""
    p.generous = False
    await p.call("tell_back", [1000, "x" * 200])
    await p.until(lambda: p.watch.books.theirs_spent == 65536 or None, "65,536 bytes of messages")
    await p.ping()
    p.check(p.messages_heard == 256, f"{p.messages_heard} messages came", "AWP-FC-1")
    await p.send(Kind.SETTINGS, None, {"limits": {"window": 131_072}})
    await p.expect(Kind.SETTINGS_ACK)
    await p.until(lambda: p.messages_heard >= 512 or None, "256 messages more")
    await p.ping()
    p.check(p.messages_heard == 512, f"{p.messages_heard} messages came, not 512")


@case("se.window-lowered", "AWP-SE-2", caps="msg call",
      welcome={"limits": {"window": 131_072}})  # fmt: skip
async def _(p: Play) -> None:
    """A smaller window of ours makes credit negative: as much has to come back first"""
    p.generous = False
    await p.call("tell_back", [1000, "x" * 200])
    await p.until(lambda: p.messages_heard >= 512 or None, "512 messages")
    await p.send(Kind.SETTINGS, None, {"limits": {"window": 65536}})
    await p.expect(Kind.SETTINGS_ACK)
    await p.send(Kind.CREDIT, [65536])
    await p.ping()
    p.check(p.messages_heard == 512, f"{p.messages_heard} messages came, not 512")
    await p.send(Kind.CREDIT, [256])
    await p.until(lambda: p.messages_heard >= 513 or None, "one message more")
    await p.ping()
    p.check(p.messages_heard == 513, f"{p.messages_heard} messages came, not 513")


@case("se.window-below-message", "AWP-SE-2", "AWP-FC-1", caps="msg call",
      welcome={"limits": {"window": 131_072}})  # fmt: skip
async def _(p: Play) -> None:
    """A message waits that is larger than our new window: it costs the new one"""
    p.generous = False
    await p.call("tell_back", [2, "x" * 100_000])
    await p.until(lambda: p.messages_heard >= 1 or None, "the first message")
    await p.ping()
    await p.send(Kind.SETTINGS, None, {"limits": {"window": 65536}})
    await p.expect(Kind.SETTINGS_ACK)
    await p.send(Kind.CREDIT, [p.watch.books.theirs_spent])
    await p.until(lambda: p.messages_heard >= 2 or None, "the second message")


@case("se.window-in-the-middle", "AWP-SE-2", "AWP-FC-1", caps="msg call frag",
      welcome={"limits": {"window": 65536, "max_frame": 16_384}})  # fmt: skip
async def _(p: Play) -> None:
    """The window grows while a message in fragments is on its way: it costs what it did at first"""
    p.generous = False
    p.line.hold()
    await p.call("tell_back", [1, "x" * 900_000])
    await p.poll(lambda: p.line.waiting() > 20_000, "no fragment was written")
    await p.send(Kind.SETTINGS, None, {"limits": {"window": 131_072}})
    p.line.go_on()
    await p.expect(Kind.SETTINGS_ACK)
    await p.until(lambda: p.messages_heard >= 1 or None, "the message")
    await p.call("tell_back", [300, "y"])
    await p.until(lambda: p.messages_heard >= 257 or None, "256 messages of 256 bytes each")
    await p.ping()
    p.check(p.messages_heard == 257, f"{p.messages_heard - 1} messages came, not 256")
