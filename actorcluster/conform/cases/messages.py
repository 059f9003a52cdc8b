"""Messages: order, numbers, addresses, what cannot be delivered, ACK.

Runs in: both
"""

from __future__ import annotations

import itertools

from ...wire._generated import FLAG_FRAG, FLAG_MORE, AbortCode, Kind
from ..case import case
from ..frames import frame
from ..play import NAME, WORKER_ID, Play

__all__: list[str] = []

_ACK_SECONDS = 1.0
_STALLED = {"limits": {"window": 65536}}


@case("ms.order", "AWP-MS-2", caps="msg call", ways=("whole", "random"))
async def _(p: Play) -> None:
    """What many TELLs have the actor say comes in their order"""
    data = [frame(Kind.TELL, [None], ["tell_back", [1, number]]) for number in range(50)]
    await p.raw(b"".join(data))
    p.messages_sent += len(data)
    await p.echo()
    said = [one.payload[1] for one in p.heard if one.kind == Kind.TELL]
    p.check(said == list(range(50)), f"they came as {said}")


@case("ms.tell-back", "AWP-MS-2", "AWP-MS-9", caps="msg call")
async def _(p: Play) -> None:
    """The actor sends three TELLs, then its answer"""
    said = await p.ask("tell_back", [3, {"x": b"\x00"}])
    p.check(said == 3, f"the answer is {said!r}")
    tells = [one for one in p.heard if one.kind == Kind.TELL]
    wanted = [[number, {"x": b"\x00"}] for number in (1, 2, 3)]
    p.check([one.payload for one in tells] == wanted, f"they were {tells}")
    p.check(all(one.item(0) is None for one in tells), "`to` is not nil")


@case("ms.tell-back-large", "AWP-LG-2", "AWP-MS-2", caps="msg call frag")
async def _(p: Play) -> None:
    """The actor sends two TELLs in fragments and answers: all end, whichever is first"""
    text = "x" * 600_000
    await p.ask("tell_back", [2, text])
    await p.until(lambda: p.messages_heard >= 2 or None, "the second TELL")
    tells = [one for one in p.heard if one.kind == Kind.TELL]
    ends = [at + 1 for at, one in enumerate(tells) if not one.flags & FLAG_MORE]
    wholes = [
        p.watch.joined(tells[start:end]) for start, end in zip([0, *ends], ends, strict=False)
    ]
    p.check(wholes == [[1, text], [2, text]], "they are not what they were")


@case("ms.no-such-actor", "AWP-MS-5", caps="msg call")
async def _(p: Play) -> None:
    """A TELL to a name that nobody has is answered with its number and its address"""
    await p.echo()
    await p.send(Kind.TELL, ["nobody"], 1)
    heard = await p.expect(Kind.UNDELIVERABLE)
    p.check(heard.field("code") == "no_such_actor", f"code is {heard.field('code')}")
    p.check(heard.item(0) == 2, f"it speaks of message {heard.item(0)}, not 2", "AWP-MS-6")
    p.check(heard.item(1) == "nobody", f"its `to` is {heard.item(1)!r}")


@case("ms.no-such-aid", "AWP-MS-5", caps="msg call")
async def _(p: Play) -> None:
    """A CALL to another worker's aid, which cannot be here"""
    await p.error(await p.call("echo", 1, to=(WORKER_ID + 1) << 32), "no_such_actor")


@case("ms.no-such-number", "AWP-MS-5", caps="call")
async def _(p: Play) -> None:
    """A CALL to an actor of this worker that there is not"""
    await p.error(await p.call("echo", 1, to=(WORKER_ID << 32) + 99), "no_such_actor")


@case("ms.addresses", "AWP-MS-9", caps="msg call")
async def _(p: Play) -> None:
    """TELLs by name, by aid and with nothing said, from nil and from others"""
    senders = (None, 0, (WORKER_ID + 1) << 32)
    addresses = (None, NAME, WORKER_ID << 32)
    for sender in senders:
        for to in addresses:
            await p.send(Kind.TELL, [to, sender], ["tell_back", [1, 0]])
            await p.expect(Kind.TELL)
    await p.send(Kind.TELL, None, ["tell_back", [1, 0]])
    await p.expect(Kind.TELL)


@case("ms.passed-on", "AWP-EV-1", "AWP-MS-9", caps="call")
async def _(p: Play) -> None:
    """A CALL that the primary passes on, with the sender's name and vendors' keys"""
    meta = {"name": "other", "tp": "00-x-01", "com.example.x": [1], "grease.y": None, "ttl": 60000}
    channel = p.channel()
    await p.send(Kind.CALL, [None, 9 << 32, None, meta], ["echo", 4], channel=channel)
    p.check(await p.reply(channel) == 4, "no echo")


@case("ms.numbers", "AWP-MS-6", caps="msg call frag")
async def _(p: Play) -> None:
    """A message in fragments counts with its last, an abandoned one not at all"""
    await p.raw(frame(Kind.TELL, [None], b"\xa2", channel=2, flags=FLAG_FRAG | FLAG_MORE))
    await p.raw(frame(Kind.TELL, [None], b"\xa2", channel=4, flags=FLAG_FRAG | FLAG_MORE))
    await p.raw(frame(Kind.CANCEL, [], channel=4))
    await p.send(Kind.TELL, ["nobody"], 1)  # number 1
    await p.raw(frame(Kind.TELL, None, b"hi", channel=2, flags=FLAG_FRAG))  # number 2
    await p.send(Kind.TELL, ["nobody"], 1)  # number 3
    numbers = [(await p.expect(Kind.UNDELIVERABLE)).item(0) for _ in range(2)]
    p.check(numbers == [1, 3], f"they have the numbers {numbers}, not 1 and 3")


@case("ms.ack", "AWP-MS-3", "AWP-MS-8", caps="msg ack")
async def _(p: Play) -> None:
    """ACK comes within a second"""
    for number in range(5):
        await p.tell("no command", number)
    began = p.line.now()
    await p.until(lambda: p.highest(Kind.ACK) >= 5 or None, "ACK of 5")
    took = p.line.now() - began
    if took > _ACK_SECONDS + p.slack:
        p.notes.append(f"ACK came after {took:.1f} s, not 1")


@case("ms.ack-1000", "AWP-MS-3", caps="msg ack")
async def _(p: Play) -> None:
    """ACK comes for 3000 messages, at least every 1000 and what one read brings more"""
    window = p.claims.limits["window"]
    for _ in range(30):
        await p.until(
            lambda: p.watch.books.ours_owed + 100 * 256 <= window or None,
            "CREDIT",
            requirement="AWP-FC-5",
        )
        await p.raw(frame(Kind.TELL, [None], 0) * 100)
        p.messages_sent += 100
    await p.until(lambda: p.highest(Kind.ACK) >= 3000 or None, "ACK of 3000")
    numbers = [0, *(one.item(0) for one in p.heard if one.kind == Kind.ACK)]
    longest = max(later - earlier for earlier, later in itertools.pairwise(numbers))
    p.check(longest <= 2900, f"from one ACK to the next were {longest} messages")


@case("ms.ack-not-in-force", "AWP-HS-3", caps="msg call ack",
      grant=frozenset({"msg", "call"}))  # fmt: skip
async def _(p: Play) -> None:
    """Without `ack` in force there is no ACK"""
    await p.tell("no command")
    await p.echo()
    await p.until(lambda: p.total(Kind.CREDIT) or None, "CREDIT", requirement="AWP-FC-5")
    p.check(p.highest(Kind.ACK) == 0, "ACK came")


@case("ms.ack-in-mailbox", "AWP-MS-8", "AWP-MS-3", caps="msg call ack", welcome=_STALLED)
async def _(p: Play) -> None:
    """What lies in the mailbox is acknowledged, though nobody reads it"""
    await p.stall()
    await p.tell("no command")
    await p.tell("no command")
    await p.until(lambda: p.highest(Kind.ACK) >= 3 or None, "ACK of 3")


@case("ms.ack-ahead", "AWP-MS-8", level=1, caps="ack")
async def _(p: Play) -> None:
    """ACK of a message that the worker did not send"""
    await p.send(Kind.ACK, [1])
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("ms.ack-of-sent", "AWP-MS-7", "AWP-MS-8", caps="msg call ack")
async def _(p: Play) -> None:
    """ACK of what the worker did send, twice and lower"""
    p.generous = False
    await p.ask("tell_back", [3, None])
    for number in (2, 3, 3, 1):
        await p.send(Kind.ACK, [number])
    await p.echo()


@case("ms.undeliverable", "AWP-MS-5", caps="msg call")
async def _(p: Play) -> None:
    """UNDELIVERABLE for what the worker did send is taken"""
    await p.ask("tell_back", [1, None])
    error = {"code": "mailbox_full", "message": "", "x-future": 1}
    await p.send(Kind.UNDELIVERABLE, [1, None], error)
    await p.echo()


@case("ms.urgent", "AWP-MS-4", caps="msg call")
async def _(p: Play) -> None:
    """REPLY to a call comes behind the TELLs that were sent before it"""
    await p.ask("tell_back", [20, "x" * 1000])
    kinds = [one.kind for one in p.heard if one.kind in (Kind.TELL, Kind.REPLY)]
    p.check(kinds == [Kind.TELL] * 20 + [Kind.REPLY], "REPLY has overtaken TELLs")
