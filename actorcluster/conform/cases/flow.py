"""Credit, both ways: withheld, returned, and what a message costs.

Runs in: both
"""

from __future__ import annotations

from ...wire._generated import FLAG_FRAG, FLAG_MORE, AbortCode, Kind
from ..books import cost_of
from ..case import case
from ..frames import frame, pack
from ..play import Play

__all__: list[str] = []

_CREDIT_SECONDS = 1.0
_FLOOR = 65536
_STALLED = {"limits": {"window": _FLOOR}}


async def _credited(p: Play, amount: int) -> None:
    """Wait until so much was returned, and no more."""
    began = p.line.now()
    await p.until(
        lambda: p.total(Kind.CREDIT) >= amount or None,
        f"CREDIT of {amount} (it is {p.total(Kind.CREDIT)})",
        requirement="AWP-FC-4",
    )
    took = p.line.now() - began
    if took > _CREDIT_SECONDS + p.slack:
        p.notes.append(f"CREDIT came after {took:.1f} s, not 1")
    said = p.total(Kind.CREDIT)
    p.check(said == amount, f"CREDIT of {said} for messages that cost {amount}", "AWP-FC-4")


@case("fc.window", "AWP-FC-1", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """No more than the window comes while credit is withheld; as much as is given comes then"""
    p.generous = False
    await p.call("tell_back", [300, "x"])
    await p.until(lambda: p.messages_heard >= 256 or None, "256 messages of 256 bytes each")
    await p.ping()
    p.check(p.messages_heard == 256, f"{p.messages_heard} messages came, not 256")
    await p.send(Kind.CREDIT, [512])
    await p.until(lambda: p.messages_heard >= 258 or None, "two messages more")
    await p.ping()
    p.check(p.messages_heard == 258, f"{p.messages_heard} messages came, not 258")


@case("fc.last-byte", "AWP-FC-1", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """One byte of credit too few holds a message back"""
    p.generous = False
    await p.call("tell_back", [300, "x"])
    await p.until(lambda: p.messages_heard >= 256 or None, "256 messages of 256 bytes each")
    await p.send(Kind.CREDIT, [255])
    await p.ping()
    p.check(p.messages_heard == 256, f"{p.messages_heard} messages came, not 256")
    await p.send(Kind.CREDIT, [1])
    await p.until(lambda: p.messages_heard >= 257 or None, "one message more")


@case("fc.larger-than-window", "AWP-FC-1", caps="msg call frag", welcome=_STALLED)
async def _(p: Play) -> None:
    """A message larger than the window costs the whole window"""
    p.generous = False
    body = "x" * 60_000
    await p.call("tell_back", [2, body + "y" * 10_000])
    await p.until(lambda: p.messages_heard >= 1 or None, "the first message")
    await p.ping()
    p.check(p.messages_heard == 1, "the second message came without credit")
    await p.send(Kind.CREDIT, [_FLOOR - 1])
    await p.ping()
    p.check(p.messages_heard == 1, "the second message came with too little credit")
    await p.send(Kind.CREDIT, [1])
    await p.until(lambda: p.messages_heard >= 2 or None, "the second message")


@case("fc.answers-are-free", "AWP-FC-2", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """Answers come although there is no credit"""
    p.generous = False
    for _ in range(3):
        said = await p.ask("echo", "x" * 30_000)
        p.check(len(said) == 30_000, "another answer")
    await p.error(await p.call("fail", "free"), "app")
    await p.stall()
    await p.error(await p.call("echo", 1, to="nobody"), "no_such_actor")


@case("fc.returned-small", "AWP-FC-4", "AWP-FC-5", caps="msg")
async def _(p: Play) -> None:
    """A small message gives back 256"""
    await p.tell("no command")
    await _credited(p, 256)


@case("fc.returned-exact", "AWP-FC-4", caps="msg")
async def _(p: Play) -> None:
    """Messages of 240 and of 241 bytes, at the edge of the least cost"""
    total = 0
    for size in (239, 240, 241, 242, 1000):
        payload = b"x" * (size - 5)
        body = pack([None]) + pack(payload)
        await p.raw(frame(Kind.TELL, body=body))
        total += max(256, 16 + len(body))
    p.messages_sent += 5
    await _credited(p, total)


@case("fc.returned-calls", "AWP-FC-4", caps="call")
async def _(p: Play) -> None:
    """Calls are charged like messages, and give back when they leave the mailbox"""
    await p.call("sleep", 600_000)
    await p.ask("echo", "x" * 5000)
    await _credited(p, p.watch.books.ours_owed + p.total(Kind.CREDIT))


@case("fc.returned-bounced", "AWP-FC-4", caps="msg call")
async def _(p: Play) -> None:
    """A bounced, a refused and a broken message give back what they cost"""
    await p.send(Kind.TELL, ["nobody"], "x" * 600)
    await p.error(await p.call("echo", "x" * 700, to="nobody"), "no_such_actor")
    await p.raw(frame(Kind.TELL, body=b"\x91\xc0\xa2\xff\xfe"))
    await _credited(p, p.watch.books.ours_owed + p.total(Kind.CREDIT))


@case("fc.returned-fragments", "AWP-FC-1", "AWP-FC-4", caps="msg frag")
async def _(p: Play) -> None:
    """A message in fragments costs what it would cost in one frame"""
    payload = pack("x" * 5000)
    pieces = [payload[:100], payload[100:101], b"", payload[101:4000], payload[4000:]]
    for index, piece in enumerate(pieces):
        more = FLAG_MORE if index + 1 < len(pieces) else 0
        envelope = [None] if index == 0 else None
        await p.raw(frame(Kind.TELL, envelope, piece, channel=2, flags=FLAG_FRAG | more))
    await _credited(p, 16 + len(pack([None])) + len(payload))


@case("fc.returned-large", "AWP-FC-4", caps="msg frag", limits={"window": _FLOOR})
async def _(p: Play) -> None:
    """A message larger than the worker's window gives back the window"""
    window = p.claims.limits["window"]
    payload = pack("x" * (window + 1000))
    size = 15_000
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    for index, piece in enumerate(pieces):
        more = FLAG_MORE if index + 1 < len(pieces) else 0
        envelope = [None] if index == 0 else None
        await p.raw(frame(Kind.TELL, envelope, piece, channel=2, flags=FLAG_FRAG | more))
    await _credited(p, cost_of(len(payload), window))


@case("fc.withheld", "AWP-FC-4", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """What lies in the mailbox gives nothing back before it is read"""
    await p.stall()
    await p.until(lambda: p.watch.books.ours_owed == 0 or None, "CREDIT", requirement="AWP-FC-5")
    before = p.total(Kind.CREDIT)
    for _ in range(10):
        await p.tell("no command")
    await p.ping()
    p.check(p.total(Kind.CREDIT) == before, "CREDIT came for messages that nobody read")
    await p.unstall()
    await _credited(p, before + 2560)


@case("fc.overspent", "AWP-FC-6", caps="msg call", welcome=_STALLED, limits={"window": _FLOOR})
async def _(p: Play) -> None:
    """As much as the window may lie in the mailbox, and one message more is too much"""
    await p.stall()
    await p.until(lambda: p.watch.books.ours_owed == 0 or None, "CREDIT", requirement="AWP-FC-5")
    await p.raw(frame(Kind.TELL, [None], 0) * (p.claims.limits["window"] // 256))
    await p.ping()
    await p.raw(frame(Kind.TELL, [None], 0))
    await p.abort(AbortCode.FLOW_VIOLATION)


@case("fc.overcredited", "AWP-FC-6", level=1)
async def _(p: Play) -> None:
    """CREDIT for what the worker never spent"""
    await p.send(Kind.CREDIT, [1])
    await p.abort(AbortCode.FLOW_VIOLATION)


@case("fc.overcredited-by-one", "AWP-FC-6", caps="msg call")
async def _(p: Play) -> None:
    """CREDIT of one more than the worker spent"""
    p.generous = False
    await p.ask("tell_back", [2, None])
    await p.send(Kind.CREDIT, [512 + 1])
    await p.abort(AbortCode.FLOW_VIOLATION)


@case("fc.other-channels", "AWP-FC-6", level=1)
async def _(p: Play) -> None:
    """CREDIT on another channel is for streams, and ignored"""
    await p.send(Kind.CREDIT, [1_000_000], channel=3)
    await p.alive()


@case("fc.reads-on", "AWP-FC-3", caps="msg call", welcome=_STALLED)
async def _(p: Play) -> None:
    """It reads on with a full mailbox and nothing read of what it says"""
    await p.stall()
    p.line.hold()
    answers = 100
    for number in range(answers):
        await p.call("echo", number, to="nobody")
    await p.poll(lambda: p.line.unread() == 0, "the worker has not read what there was")
    p.line.go_on()
    for number in range(answers):
        await p.error(2 * number + 4, "no_such_actor")
    await p.ping()
