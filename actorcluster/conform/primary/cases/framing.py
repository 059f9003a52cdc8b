"""Bytes that are no frames, or frames of the wrong size.

Runs in: both
"""

from __future__ import annotations

from typing import Any, Final

from ....wire._generated import FLAG_FRAG, FLAG_MORE, FLAG_OPTIONAL, Kind
from ..case import (
    ACTIVE,
    CLOSING,
    EVERYWHERE,
    HANDSHAKE,
    OPEN,
    STARTING,
    STOPPING,
    Aborts,
    Ends,
    Lives,
    case,
)
from ..scene import Problem, Scene
from ..talk import HEADER, frame, pack

__all__: list[str] = []

#: In which a frame's body is looked at.
HEEDED: Final = (HANDSHAKE, STARTING, ACTIVE, STOPPING)


@case("framing.noise", "AWP-FR-4", Aborts("bad_signature"), EVERYWHERE)
async def noise(it: Scene) -> None:
    """Says random bytes."""
    await it.say(b"\x00" + it.chance.randbytes(4095))


@case("framing.signature", "AWP-FR-4", Aborts("bad_signature"), EVERYWHERE, forms=4)
async def signature(it: Scene) -> None:
    """Has one of the bytes 0, 1, 6 and 11 of a header wrong."""
    data = bytearray(it.usual())
    data[(0, 1, 6, 11)[it.form]] ^= 0x01
    await it.say(bytes(data))


@case("framing.resync", "AWP-FR-4", Aborts("bad_signature"), OPEN)
async def resync(it: Scene) -> None:
    """Says a byte too many between two good frames."""
    await it.say(it.usual(), b"\xc0", it.usual(), it.usual())


@case("framing.long", "AWP-FR-3", Aborts("bad_length"), EVERYWHERE)
async def length_long(it: Scene) -> None:
    """States a length that is one too large."""
    data = bytearray(it.usual())
    data[5] += 1
    await it.say(bytes(data), it.usual())


@case("framing.short", "AWP-FR-3", Aborts("bad_length"), EVERYWHERE)
async def length_short(it: Scene) -> None:
    """States a length that is one too small."""
    data = bytearray(it.usual())
    data[5] -= 1
    await it.say(bytes(data), it.usual())


@case("framing.empty", "AWP-FR-3", Aborts("bad_length"), HEEDED)
async def length_none(it: Scene) -> None:
    """States a length of 0, where a body must hold two objects."""
    await it.say(frame(it.usual()[7], body=b""))


@case("framing.three-objects", "AWP-FR-2", Aborts("bad_length"), OPEN, also=("AWP-FR-3",))
async def three_objects(it: Scene) -> None:
    """Puts a third object into a body."""
    await it.say(frame(Kind.TELL, body=pack([None]) + pack("hi") + pack("ho")))


@case("framing.giant", "AWP-FR-5", Aborts("frame_too_large"), EVERYWHERE, forms=3)
async def length_huge(it: Scene) -> None:
    """States a length over max_frame, by one, by much, or the largest there is; and no body."""
    length = (it.limit("max_frame") + 1, 1 << 31, (1 << 32) - 1)[it.form]
    await it.say(frame(it.usual()[7], body=b"", length=length))


@case("framing.largest", "AWP-FR-5", Lives(), OPEN)
async def largest(it: Scene) -> None:
    """Sends a frame of exactly max_frame, which is allowed."""
    size = it.limit("max_frame") - len(pack([20, 0.0, "log"])) - 1 - 5
    data = frame(Kind.LOG, [20, 0.0, "log"], ["x" * size], flags=FLAG_OPTIONAL)
    if len(data) != HEADER + it.limit("max_frame"):
        raise AssertionError(f"the case is wrong: {len(data)}")
    await it.say(data)


@case("framing.truncated", "AWP-TR-7", Ends(), EVERYWHERE, also=("AWP-TR-6",))
async def truncated(it: Scene) -> None:
    """Closes in the midst of a frame."""
    await it.say(it.usual()[:-1])
    await it.it.end()


@case("framing.byte-by-byte", "AWP-FR-7", Lives(), (STARTING, *OPEN))
async def byte_by_byte(it: Scene) -> None:
    """Says two frames in single bytes."""
    says = frame(Kind.LOG, [20, 0.0, "log"], ["hi"], flags=FLAG_OPTIONAL) * 2
    for byte in says:
        await it.say(bytes((byte,)))


@case(
    "framing.loris",
    "AWP-HS-1",
    {HANDSHAKE: Ends(killed=True), STARTING: Ends(killed=True)},
    slow=True,
)
async def loris(it: Scene) -> None:
    """Says HELLO, or READY, a byte at a time and never all of it."""
    for byte in it.usual()[:-1]:
        await it.say(bytes((byte,)))


@case("framing.flags", "AWP-FR-8", Lives(), (STARTING, *OPEN))
async def unknown_flags(it: Scene) -> None:
    """Sets all flags that mean nothing."""
    await it.say(frame(Kind.LOG, [20, 0.0, "log"], ["hi"], flags=0xFC))


@case("framing.byte-10", "AWP-FR-1", Lives(), (STARTING, *OPEN))
async def byte_ten(it: Scene) -> None:
    """Has a value in byte 10, which is to be ignored."""
    data = bytearray(frame(Kind.LOG, [20, 0.0, "log"], ["hi"], flags=FLAG_OPTIONAL))
    data[10] = 0xFF
    await it.say(bytes(data))


@case("framing.old-header", "AWP-FR-4", Aborts("bad_signature"), OPEN)
async def short_integers(it: Scene) -> None:
    """Writes the header's integers in fewer bytes, as a msgpack library would."""
    await it.say(b"\x95\x05" + pack(Kind.TELL << 24) + b"\x00" + pack([None]) + pack("hi") * 9)


# ---- bodies ------------------------------------------------------------------------------------

#: What msgpack does not know, or the value profile forbids; each is one object.
BROKEN: Final[dict[str, bytes]] = {
    "c1": b"\xc1",
    "utf-8": b"\xa2\xff\xfe",
    "key": b"\x81\x01\x02",
    "twice": b"\x82\xa1a\x01\xa1a\x02",
    "handle": b"\xd4\x01\x07",
    "ref": b"\xc7\x03\x02\x91\xa1x",
    "timestamp": b"\xc7\x03\xff\0\0\0",
    "deep": b"\x91" * 200 + b"\xc0",
}


@case("body.data", "AWP-FR-6", Lives(), OPEN, forms=len(BROKEN), also=("AWP-VA-1", "AWP-MS-5"))
async def broken_tell(it: Scene) -> None:
    """Breaks the value profile in a TELL: that message is answered, the next one is taken."""
    body = list(BROKEN.values())[it.form]
    await it.say(frame(Kind.TELL, body=pack([None]) + body))
    await it.hear_error("bad_payload")


@case("body.call", "AWP-FR-6", Lives(), OPEN, forms=len(BROKEN), also=("AWP-VA-1", "AWP-MS-5"))
async def broken_call(it: Scene) -> None:
    """Breaks the value profile in a CALL: that call fails."""
    body = list(BROKEN.values())[it.form]
    await it.say(frame(Kind.CALL, channel=1, body=pack([None]) + body))
    await it.hear_error("bad_payload", channel=1)


@case("body.envelope", "AWP-FR-6", Lives(), OPEN, forms=6)
async def broken_envelope(it: Scene) -> None:
    """Has an envelope in a TELL that is not shaped as it must be."""
    wrong: tuple[Any, ...] = (
        "text",
        {"to": 1},
        [1.5],
        [None, "me"],
        [None, None, 3],
        [None] * 3 + [7],
    )
    await it.say(frame(Kind.TELL, wrong[it.form], "hi"))
    await it.hear_error("bad_payload")


@case("body.control", "AWP-FR-6", Aborts("protocol_error"), HEEDED, forms=4)
async def broken_control(it: Scene) -> None:
    """Breaks the value profile in a control frame."""
    kind = {HANDSHAKE: Kind.HELLO, STARTING: Kind.READY}.get(it.state, Kind.SETTINGS)
    body = (b"\xc1", b"\xa2\xff\xfe", b"\x81\x01\x02", b"\x91" * 200 + b"\xc0")[it.form]
    await it.say(frame(kind, body=b"\xc0" + body))


@case("body.fields", "AWP-FR-6", Aborts("protocol_error"), OPEN, forms=11)
async def wrong_fields(it: Scene) -> None:
    """Has a wrong type, or nothing, where a control frame must have something."""
    frames = (
        frame(Kind.CREDIT, [-1]),
        frame(Kind.CREDIT, []),
        frame(Kind.ACK, ["1"]),
        frame(Kind.SETTINGS, None, {"limits": {"window": "large"}}),
        frame(Kind.SETTINGS, None, [1]),
        frame(Kind.MONITOR, [1 << 32, "db"]),
        frame(Kind.MONITOR, [1]),
        frame(Kind.UNIMPLEMENTED, [256]),
        frame(Kind.HANDLE_ACK, [0, "lost"]),
        frame(Kind.GOODBYE, None, {"recv": "all"}),
        frame(Kind.GOODBYE, None, {}),
    )
    await it.say(frames[it.form])


@case("body.ignored", "AWP-FR-6", Lives(), (STARTING, *OPEN), forms=3)
async def broken_courtesy(it: Scene) -> None:
    """Has a broken body in LOG and EXIT_INFO, which are then ignored."""
    frames = (
        frame(Kind.LOG, body=b"\xc1\xc1"),
        frame(Kind.LOG, ["loud", None, 7], {"not": "a text"}, flags=FLAG_OPTIONAL),
        frame(Kind.EXIT_INFO, None, "no map"),
    )
    await it.say(frames[it.form])


@case("body.trailing", "AWP-EV-1", Lives(), OPEN)
async def trailing(it: Scene) -> None:
    """Adds elements and keys that nobody knows: all of them are ignored."""
    await it.say(
        frame(Kind.TELL, [None, None, None, {"x-key": 1, "a.b": 2}, "more", [1]], "hi"),
        frame(Kind.SERVING, None, {"x-key": 1, "grease.1": {}}),
        frame(Kind.ACK, [0, "more"]),
    )


# ---- kinds -------------------------------------------------------------------------------------


@case("kind.unknown", "AWP-EV-2", Lives(), (STARTING, *OPEN), forms=5)
async def unknown_kind(it: Scene) -> None:
    """Sends a frame of an unknown kind: it is told so, on that channel."""
    kind = (0x60, 0x00, 0xFF, 0x25, 0xC0)[it.form]
    await it.say(frame(kind, None, None, channel=77))
    answer = await it.hear(Kind.UNIMPLEMENTED)
    if answer.elements[:1] != [kind] or answer.channel != 77:
        raise Problem(f"UNIMPLEMENTED {answer.elements} on channel {answer.channel}")


@case("kind.optional", "AWP-EV-2", Lives(), (STARTING, *OPEN))
async def optional_kind(it: Scene) -> None:
    """Sends frames of unknown kinds with OPTIONAL, some with bodies that nobody can read."""
    for kind in (0x60, 0xF0, 0xFE):
        await it.say(frame(kind, body=b"\xc1" * 9, channel=5, flags=FLAG_OPTIONAL))


@case("kind.grease", "AWP-EV-4", Lives(), OPEN)
async def grease(it: Scene) -> None:
    """Sends two hundred frames of grease."""
    await it.say(frame(0xF7, "grease", bytes(100), flags=FLAG_OPTIONAL) * 200)


@case(
    "kind.too-many",
    "AWP-EV-2",
    {STARTING: Aborts("limit_exceeded")} | dict.fromkeys(OPEN, Aborts("limit_exceeded")),
)
async def unknown_kinds(it: Scene) -> None:
    """Sends unknown frames until the primary has enough, as it may after a hundred."""
    await it.say(frame(0x60) * 2000)


# ---- channels ----------------------------------------------------------------------------------


@case("channel.parity", "AWP-CH-2", Aborts("protocol_error"), OPEN, forms=2, also=("AWP-CH-1",))
async def wrong_parity(it: Scene) -> None:
    """Opens a channel that is the primary's to open."""
    calls = frame(Kind.CALL, [None], "hi", channel=2)
    await it.say((calls, it.piece(4, b"\xc0", first=True))[it.form])


@case("channel.listen-parity", "AWP-CH-2", Aborts("protocol_error"))
async def listen_parity(it: Scene) -> None:
    """Listens on a channel that is the primary's to open."""
    await it.say(frame(Kind.LISTEN, None, {"transport": "tcp", "port": 0}, channel=2))


@case("channel.zero", "AWP-CH-2", Aborts("protocol_error"), OPEN, forms=5)
async def needs_channel(it: Scene) -> None:
    """Says on channel 0 what needs a channel."""
    kinds = (Kind.CALL, Kind.REPLY, Kind.ERROR, Kind.CANCEL, Kind.LISTEN_CLOSE)
    body = {"code": "app"} if kinds[it.form] == Kind.ERROR else None
    await it.say(frame(kinds[it.form], None, body))


@case("channel.not-zero", "AWP-CH-2", Aborts("protocol_error"), OPEN, forms=5)
async def needs_none(it: Scene) -> None:
    """Says on a channel what belongs to channel 0."""
    frames = (
        frame(Kind.SERVING, None, {}, channel=1),
        frame(Kind.ACK, [0], channel=1),
        frame(Kind.TELL, [None], "hi", channel=1),
        frame(Kind.GOODBYE, None, {"recv": 0}, channel=2),
        frame(Kind.SETTINGS, None, {}, channel=3),
    )
    await it.say(frames[it.form])


@case("channel.unknown", "AWP-CH-3", Lives(), (*OPEN, CLOSING))
async def unknown_channel(it: Scene) -> None:
    """Speaks of channels that are not open, as if they had just been closed."""
    await it.say(
        frame(Kind.REPLY, None, 1, channel=4_000_000_000),
        frame(Kind.ERROR, None, {"code": "app"}, channel=4_000_000_000),
        frame(Kind.CANCEL, None, channel=4_000_000_001),
        frame(Kind.CONN_REPLY, [1], channel=4_000_000_001),
        frame(Kind.CONN_CREDIT, [1], channel=4_000_000_001),
        frame(Kind.LISTEN_CLOSE, None, channel=4_000_000_001),
    )


# ---- fragments ---------------------------------------------------------------------------------


@case("fragment.more-alone", "AWP-LG-7", Aborts("protocol_error"), OPEN)
async def more_alone(it: Scene) -> None:
    """Sets MORE without FRAG."""
    await it.say(frame(Kind.TELL, [None], b"hi", channel=1, flags=FLAG_MORE))


@case("fragment.kind", "AWP-LG-7", Aborts("protocol_error"), OPEN)
async def fragment_of_control(it: Scene) -> None:
    """Sets FRAG on a kind that is never cut."""
    await it.say(frame(Kind.SETTINGS, None, b"\x80", flags=FLAG_FRAG))


@case("fragment.mixed", "AWP-LG-7", Aborts("protocol_error"), OPEN, forms=3)
async def mixed_fragments(it: Scene) -> None:
    """Says something else on the channel of an unfinished message."""
    other = (
        frame(Kind.CALL, None, b"\xc0", channel=1, flags=FLAG_FRAG),
        frame(Kind.TELL, [None], "hi", channel=1),
        frame(Kind.CALL, [None], "hi", channel=1),
    )
    await it.say(it.piece(1, b"\x91", first=True), other[it.form])


@case("fragment.not-bin", "AWP-LG-7", Lives(), OPEN, also=("AWP-FR-6",))
async def no_bin(it: Scene) -> None:
    """Has something in a fragment that is no bin: that message is broken."""
    flags = FLAG_FRAG | FLAG_MORE
    await it.say(frame(Kind.TELL, [None], 7, channel=1, flags=flags), it.piece(1, b"", more=False))
    await it.hear_error("bad_payload")


@case("fragment.too-large", "AWP-LG-3", Lives(), OPEN, forms=2)
async def too_large(it: Scene) -> None:
    """Sends a message in fragments that grows beyond max_message, by one byte or to the double."""
    size = it.limit("max_message") * (1, 2)[it.form] + 1
    whole = b"\xc6" + (size - 5).to_bytes(4, "big") + bytes(size - 5)
    step = min(it.limit("max_frame"), 1 << 16) - 64
    for at in range(0, size, step):
        piece, more = whole[at : at + step], at + step < size
        await it.say(it.piece(1, piece, first=at == 0, more=more))
    await it.hear_error("too_large")


@case("fragment.abandoned", "AWP-LG-6", Lives(), OPEN)
async def abandoned(it: Scene) -> None:
    """Abandons a TELL and a CALL in fragments: only the CALL is answered."""
    flags = FLAG_FRAG | FLAG_MORE
    await it.say(
        it.piece(1, b"\x91", first=True),
        frame(Kind.CALL, [None], b"\x91", channel=3, flags=flags),
        frame(Kind.CANCEL, None, channel=1),
        frame(Kind.CANCEL, None, channel=3),
    )
    await it.hear_error("cancelled", channel=3)


@case("fragment.never-finished", "AWP-LG-3", Lives(), OPEN)
async def large_unfinished(it: Scene) -> None:
    """Begins messages of many times max_partial together, and finishes none."""
    data = bytes(min(it.limit("max_frame"), it.limit("max_message")) // 2)
    for number in range(4 * it.limit("max_partial") // len(data)):
        await it.say(it.piece(1 + 2 * number, data, first=True))
