"""Messages in fragments, both ways, and large ones.

Runs in: both
"""

from __future__ import annotations

from ...wire._generated import FLAG_FRAG, FLAG_MORE, AbortCode, Kind
from ..case import case
from ..frames import frame, pack
from ..play import Play

__all__: list[str] = []

_MORE = FLAG_FRAG | FLAG_MORE
_SMALL_FRAMES = {"limits": {"max_frame": 16_384}}


async def _call_in_pieces(p: Play, payload: bytes, sizes: list[int]) -> int:
    """Send a CALL cut into pieces of these sizes, and what is left as the last."""
    channel = p.channel()
    at = 0
    envelope: list[None] | None = [None]
    for size in sizes:
        piece = payload[at : at + size]
        await p.raw(frame(Kind.CALL, envelope, piece, channel=channel, flags=_MORE))
        at += size
        envelope = None
    await p.raw(frame(Kind.CALL, envelope, payload[at:], channel=channel, flags=FLAG_FRAG))
    p.messages_sent += 1
    return channel


@case("lg.taken", "AWP-LG-1", "AWP-FR-7", caps="call frag", ways=("whole", "random"))
async def _(p: Play) -> None:
    """A call in pieces of 0 bytes, 1 byte and more"""
    payload = pack(["echo", "x" * 3000])
    channel = await _call_in_pieces(p, payload, [1, 0, 1, 1000, 0])
    p.check(await p.reply(channel) == "x" * 3000, "another echo")


@case("lg.cut-in-a-character", "AWP-LG-1", caps="call frag")
async def _(p: Play) -> None:
    """Pieces end in the midst of a character of UTF-8"""
    payload = pack(["echo", "äöü€😀" * 5])
    channel = await _call_in_pieces(p, payload, [1] * (len(payload) - 1))
    p.check(await p.reply(channel) == "äöü€😀" * 5, "another echo")


@case("lg.interleaved", "AWP-LG-2", caps="call frag")
async def _(p: Play) -> None:
    """Pieces of two calls alternate, with other frames in between"""
    one, other = p.channel(), p.channel()
    payloads = {one: pack(["echo", "a" * 900]), other: pack(["echo", "b" * 900])}
    for at in (0, 300, 600):
        for channel, payload in payloads.items():
            last = at == 600
            piece = payload[at:] if last else payload[at : at + 300]
            flags = FLAG_FRAG if last else _MORE
            envelope = None if at else [None]
            await p.raw(frame(Kind.CALL, envelope, piece, channel=channel, flags=flags))
        await p.ping()
    p.check(await p.reply(one) == "a" * 900, "another echo")
    p.check(await p.reply(other) == "b" * 900, "another echo")


@case("lg.sent", "AWP-LG-1", caps="call frag", welcome=_SMALL_FRAMES)
async def _(p: Play) -> None:
    """A REPLY that does not fit into the primary's max_frame comes in fragments"""
    text = "x" * 60_000
    said, frames = await p.whole_reply(await p.call("echo", text))
    p.check(said == text, "another echo")
    p.check(len(frames) > 3, f"it came in {len(frames)} frames")
    later = [one.envelope for one in frames[1:] if one.envelope is not None]
    p.check(not later, f"later fragments have the envelopes {later}")


@case("lg.tell-sent", "AWP-LG-1", "AWP-CH-1", caps="msg call frag", welcome=_SMALL_FRAMES)
async def _(p: Play) -> None:
    """TELLs that do not fit come in fragments, each on a channel of its own"""
    text = "y" * 40_000
    await p.ask("tell_back", [2, text])
    await p.until(lambda: p.messages_heard >= 2 or None, "the end of the second TELL")
    tells = [one for one in p.heard if one.kind == Kind.TELL]
    p.check(all(one.channel % 2 == 1 for one in tells), "a fragment on an even channel")
    lasts = [index for index, one in enumerate(tells) if not one.flags & FLAG_MORE]
    p.check(len(lasts) == 2, f"{len(lasts)} messages are complete")
    first = p.watch.joined(tells[: lasts[0] + 1])
    p.check(first == [1, text], "another message")
    p.check(all(one.flags & FLAG_FRAG for one in tells), "one without FRAG", "AWP-LG-1")


@case("lg.in-order", "AWP-LG-2", "AWP-MS-2", caps="msg call frag", welcome=_SMALL_FRAMES)
async def _(p: Play) -> None:
    """The next message to an address begins when the one before is complete"""
    await p.ask("tell_back", [3, "z" * 30_000])
    open_channel = 0
    for one in p.heard:
        if one.kind != Kind.TELL:
            continue
        p.check(open_channel in (0, one.channel), "messages to one address alternate")
        open_channel = one.channel if one.flags & FLAG_MORE else 0


@case("lg.control-between", "AWP-MS-4", "AWP-PI-1", caps="call frag", welcome=_SMALL_FRAMES)
async def _(p: Play) -> None:
    """PONG does not wait for all of a large answer that nobody reads"""
    channel = await p.call("echo", "x" * 60_000)
    await p.ping()
    await p.reply(channel)


@case("lg.too-large", "AWP-LG-3", caps="msg call frag", limits={"max_message": 65536})
async def _(p: Play) -> None:
    """A call that grows over max_message: one ERROR too_large, its other pieces are dropped"""
    most = p.claims.limits["max_message"]
    channel = p.channel()
    sent = 0
    while sent <= most:
        envelope = None if sent else [None]
        await p.raw(frame(Kind.CALL, envelope, bytes(15_000), channel=channel, flags=_MORE))
        sent += 15_000
    for _ in range(3):
        await p.raw(frame(Kind.CALL, None, bytes(15_000), channel=channel, flags=_MORE))
    await p.raw(frame(Kind.CALL, None, b"", channel=channel, flags=FLAG_FRAG))
    error = await p.error(channel, "too_large")
    data = error.get("data")
    if data is not None:
        p.check(data.get("limit") == most, f"its data is {data}", "AWP-FR-6")
    await p.echo()
    p.quiet()


@case("lg.max-message", "AWP-LG-3", caps="call", limits={"max_message": 65536})
async def _(p: Play) -> None:
    """A payload of just max_message is taken"""
    most = p.claims.limits["max_message"]
    text = "x" * (most - len(pack(["echo", "x" * 60_000])) + 60_000)
    payload = pack(["echo", text])
    p.check(len(payload) == most, "the kit counts wrongly")
    sizes = [15_000] * (most // 15_000)
    channel = await _call_in_pieces(p, payload, sizes)
    p.check(await p.reply(channel) == text, "another echo")


@case("lg.max-partial", "AWP-LG-3", "AWP-LM-2", caps="msg call frag",
      limits={"max_partial": 65536, "max_message": 65536})  # fmt: skip
async def _(p: Play) -> None:
    """Unfinished messages together over max_partial: the one that is too much is too_large"""
    channels = [p.channel() for _ in range(6)]
    for channel in channels:
        await p.raw(frame(Kind.CALL, [None], bytes(15_000), channel=channel, flags=_MORE))
    for channel in channels:
        await p.raw(frame(Kind.CALL, None, b"", channel=channel, flags=FLAG_FRAG))
    codes = [(await p.outcome(channel)).field("code") for channel in channels]
    p.check("too_large" in codes, f"the codes are {codes}")
    p.check(codes[0] == "bad_payload", f"the first, which fitted, got {codes[0]}")
    await p.echo()


@case("lg.max-partial-edge", "AWP-LG-3", caps="msg call frag",
      limits={"max_partial": 65536, "max_message": 65536})  # fmt: skip
async def _(p: Play) -> None:
    """Pieces of just max_partial are taken: an envelope of a few bytes does not count"""
    most = p.claims.limits["max_partial"]
    text = "x" * (most - len(pack(["echo", "x" * 60_000])) + 60_000)
    payload = pack(["echo", text])
    p.check(len(payload) == most, "the kit counts wrongly")
    channel = await _call_in_pieces(p, payload, [15_000] * (most // 15_000))
    p.check(await p.reply(channel) == text, "another echo")


@case("lg.reply-too-large", "AWP-LG-3", caps="call frag",
      welcome={"limits": {"max_message": 65536}})  # fmt: skip
async def _(p: Play) -> None:
    """An answer that the primary could not take: an ERROR comes in its place"""
    await p.error(await p.call("echo", "x" * 70_000), "too_large", "app")
    await p.echo()


@case("lg.again", "AWP-LG-6", caps="msg call frag")
async def _(p: Play) -> None:
    """Behind CANCEL the channel is free: another message begins there"""
    await p.raw(frame(Kind.TELL, [None], b"\x92", channel=2, flags=_MORE))
    await p.send(Kind.CANCEL, [], channel=2)
    data = pack(["tell_back", [1, "again"]])
    await p.raw(frame(Kind.TELL, [None], data[:5], channel=2, flags=_MORE))
    await p.raw(frame(Kind.TELL, None, data[5:], channel=2, flags=FLAG_FRAG))
    p.messages_sent += 1
    heard = await p.expect(Kind.TELL)
    p.check(heard.payload == [1, "again"], f"it said {heard}")


@case("lg.meta", "AWP-LG-3", "AWP-LM-2", caps="call", limits={"max_meta": 1024})
async def _(p: Play) -> None:
    """An envelope over max_meta is too_large"""
    most = p.claims.limits["max_meta"]
    channel = p.channel()
    meta = {"com.example.long": "x" * most}
    await p.send(Kind.CALL, [None, None, None, meta], ["echo", 1], channel=channel)
    await p.error(channel, "too_large")
    await p.echo()


@case("lg.abandoned", "AWP-LG-6", caps="msg call frag")
async def _(p: Play) -> None:
    """CANCEL of a CALL that is not complete: ERROR cancelled, and nothing was charged"""
    channel = p.channel()
    await p.raw(frame(Kind.CALL, [None], b"\x92", channel=channel, flags=_MORE))
    await p.send(Kind.CANCEL, [], channel=channel)
    await p.error(channel, "cancelled")
    await p.raw(frame(Kind.TELL, [None], b"\x92", channel=channel, flags=_MORE))
    await p.send(Kind.CANCEL, [], channel=channel)
    await p.echo()
    p.quiet()
    await p.until(lambda: p.total(Kind.CREDIT) >= 256 or None, "CREDIT", requirement="AWP-FC-5")
    p.check(p.total(Kind.CREDIT) == 256, f"CREDIT of {p.total(Kind.CREDIT)}, not 256")


@case("lg.abandoned-handles", "AWP-LG-6", "AWP-FD-7", level=2, caps="msg call frag handle")
async def _(p: Play) -> None:
    """CANCEL of a TELL with a descriptor that is not complete: it is closed"""
    thing = p.thing(1)
    await p.send(
        Kind.TELL, [None, None, [[1, {}]]], b"\x92", channel=2, flags=_MORE, things=[thing]
    )
    await p.raw(frame(Kind.CANCEL, [], channel=2))
    await p.echo()
    await p.all_closed()


@case("lg.stopping", "AWP-LG-5", caps="msg call frag", welcome={"limits": {"window": 65536}})
async def _(p: Play) -> None:
    """A call that began before STOP is taken though it ends behind it"""
    await p.stall()
    channel = p.channel()
    payload = pack(["echo", "begun"])
    await p.raw(frame(Kind.CALL, [None], payload[:3], channel=channel, flags=_MORE))
    await p.send(Kind.STOP, None, {"deadline": 20_000})
    await p.raw(frame(Kind.CALL, None, payload[3:], channel=channel, flags=FLAG_FRAG))
    p.messages_sent += 1
    await p.ping()
    await p.unstall()
    heard = await p.outcome(channel)
    p.check(heard.field("code") != "refused", "it was refused at its last fragment")
    await p.part()


@case("lg.more-alone", "AWP-LG-7", caps="call frag")
async def _(p: Play) -> None:
    """A CALL with MORE and without FRAG"""
    await p.raw(frame(Kind.CALL, [None], b"x", channel=2, flags=FLAG_MORE))
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("lg.other-kind", "AWP-LG-7", caps="msg call frag")
async def _(p: Play) -> None:
    """A fragment of a TELL behind that of a CALL on one channel"""
    await p.raw(frame(Kind.CALL, [None], b"\x92", channel=2, flags=_MORE))
    await p.raw(frame(Kind.TELL, None, b"\x92", channel=2, flags=FLAG_FRAG))
    await p.abort(AbortCode.PROTOCOL_ERROR)


@case("lg.not-a-bin", "AWP-LG-7", caps="call frag")
async def _(p: Play) -> None:
    """A fragment whose payload is a str is a broken body, and no more"""
    channel = p.channel()
    await p.raw(frame(Kind.CALL, [None], "x", channel=channel, flags=FLAG_FRAG))
    await p.error(channel, "bad_payload")
    await p.echo()
