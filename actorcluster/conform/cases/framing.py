"""Headers, lengths, and ways to cut the stream.

Runs in: both
"""

from __future__ import annotations

from ...wire._generated import FLAG_OPTIONAL, AbortCode, Kind
from ..case import case
from ..frames import HEADER, frame, pack
from ..play import Play

__all__: list[str] = []

_PONGS = 40


async def _pings(p: Play, count: int) -> None:
    bodies = [pack(None) + pack(["ping", number]) for number in range(count)]
    await p.raw(b"".join(frame(Kind.PING, body=body) for body in bodies))
    for body in bodies:
        pong = await p.expect(Kind.PONG)
        p.check(pong.body == body, f"PONG {pong.body.hex()} for {body.hex()}")


@case("fr.cuts", "AWP-FR-7", level=0, ways=("bytewise", "random"))
async def _(p: Play) -> None:
    """PINGs in pieces: byte by byte, and at random places"""
    await _pings(p, _PONGS)


@case("fr.order", "AWP-FR-7", caps="call", ways=("whole", "random"))
async def _(p: Play) -> None:
    """100 calls in one write are answered in their order"""
    channels = [p.channel() for _ in range(100)]
    data = [frame(Kind.CALL, [None], ["echo", number], channel=number) for number in channels]
    await p.raw(b"".join(data))
    for number in channels:
        p.check(await p.reply(number) == number, f"no echo on {number}")
    answers = [one.channel for one in p.heard if one.kind == Kind.REPLY]
    p.check(answers == channels, f"answers came on {answers}")


@case("fr.reserved-byte", "AWP-FR-1", level=0)
async def _(p: Play) -> None:
    """Byte 10 is not 0: nobody minds"""
    await p.raw(frame(Kind.PING, body=b"\xc0\x01", reserved=0xFF))
    await p.expect(Kind.PONG)


@case("fr.unknown-flags", "AWP-FR-8", level=0)
async def _(p: Play) -> None:
    """Flags that are not specified are ignored"""
    await p.raw(frame(Kind.PING, body=b"\xc0\x01", flags=0x74))
    await p.expect(Kind.PONG)


@case("fr.compressed", "AWP-FR-8", caps="call")
async def _(p: Play) -> None:
    """A CALL with the reserved flags is what it is without"""
    channel = p.channel()
    await p.send(Kind.CALL, [None], ["echo", 5], channel=channel, flags=0x0C | FLAG_OPTIONAL)
    p.check(await p.reply(channel) == 5, "no echo")


@case("fr.max-frame", "AWP-FR-5", level=0)
async def _(p: Play) -> None:
    """A frame as long as max_frame is taken"""
    body = pack(None) + pack(b"x" * (p.claims.limits["max_frame"] - 6))
    p.check(len(body) == p.claims.limits["max_frame"], "the kit counts wrongly")
    await p.raw(frame(Kind.PING, body=body))
    pong = await p.expect(Kind.PONG)
    p.check(pong.body == body, "PONG has another body")


@case("fr.too-long", "AWP-FR-5", "AWP-LM-2", level=0)
async def _(p: Play) -> None:
    """A header with a length of one more: ABORT comes before any of the body"""
    p.generous = False
    data = frame(Kind.PING, body=b"", length=p.claims.limits["max_frame"] + 1)
    await p.raw(data)
    await p.abort(AbortCode.FRAME_TOO_LARGE)


@case("fr.huge", "AWP-FR-5", "AWP-VA-2", level=0)
async def _(p: Play) -> None:
    """A header with a length of 4 GiB: ABORT, and no memory is taken"""
    p.generous = False
    before = p.program.memory()
    await p.raw(frame(Kind.TELL, body=b"", length=0xFFFFFFFF))
    await p.abort(AbortCode.FRAME_TOO_LARGE)
    grown = p.program.memory() - before
    p.check(grown < 64 << 20, f"memory grew by {grown >> 20} MiB", "AWP-VA-2")


@case("fr.text", "AWP-FR-4", level=0, ways=("whole", "bytewise"))
async def _(p: Play) -> None:
    """Something that is another protocol"""
    await p.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await p.abort(AbortCode.BAD_SIGNATURE)


@case("fr.text-first", "AWP-FR-4", level=0, begin="hello")
async def _(p: Play) -> None:
    """Something that is another protocol, in place of WELCOME"""
    await p.raw(b"\x00" * HEADER)
    await p.abort(AbortCode.BAD_SIGNATURE)


@case("fr.half-a-header", "AWP-ST-3", level=0)
async def _(p: Play) -> None:
    """The primary is gone in the midst of a header"""
    await p.raw(frame(Kind.PING, body=b"\xc0\x01")[:9])
    p.line.shut_down()
    await p.ends_well(within=2.0)


@case("fr.half-a-body", "AWP-ST-3", level=0)
async def _(p: Play) -> None:
    """The primary is gone in the midst of a body"""
    await p.raw(frame(Kind.TELL, body=b"\x91\xc0", length=1000))
    p.line.shut_down()
    await p.ends_well(within=2.0)


@case("fr.control-body", "AWP-FR-6", level=1)
async def _(p: Play) -> None:
    """A SETTINGS whose body breaks the value profile"""
    await p.raw(frame(Kind.SETTINGS, body=b"\xc0\x81\x01\x02"))
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("fr.data-body", "AWP-FR-6", caps="call")
async def _(p: Play) -> None:
    """A CALL whose envelope is a map: ERROR for it alone"""
    channel = p.channel()
    await p.raw(frame(Kind.CALL, {"to": None}, 1, channel=channel))
    await p.error(channel, "bad_payload")
    await p.echo()


@case("fr.good-behind-bad", "AWP-FR-6", "AWP-VA-1", caps="msg call", ways=("whole", "bytewise"))
async def _(p: Play) -> None:
    """A message that is broken and one that is not, in one write"""
    bad = frame(Kind.TELL, body=b"\x91\xc0\xa2\xff\xfe")
    channel = p.channel()
    await p.raw(bad + frame(Kind.CALL, [None], ["echo", "good"], channel=channel))
    p.messages_sent += 2
    heard = await p.expect(Kind.UNDELIVERABLE)
    p.check(heard.field("code") == "bad_payload", f"code is {heard.field('code')}")
    p.check(heard.item(0) == 1, f"it speaks of message {heard.item(0)}", "AWP-MS-6")
    p.check(await p.reply(channel) == "good", "no echo")
