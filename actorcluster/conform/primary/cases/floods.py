"""Lies by sheer amount: answers provoked and not read, and memory asked for and not used.

Runs in: both
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, Final

from ....wire._generated import FLAG_FRAG, FLAG_MORE, Kind
from ..case import ACTIVE, EVERYWHERE, HANDSHAKE, OPEN, STARTING, Aborts, Cut, Ends, Lives, case
from ..lives import Gone
from ..scene import Scene
from ..talk import frame, pack

__all__: list[str] = []

_CHUNK: Final = 1 << 16
#: Bytes after which a primary that has not said stop never will.
_ENOUGH: Final = 1 << 28
LIMIT: Final = Cut(("limit_exceeded",))
#: Who reads nothing gets no credit back either, and a primary may come to that first.
LIMIT_OR_FLOW: Final = Cut(("limit_exceeded", "flow_violation"))


async def flood(it: Scene, data: Iterator[bytes] | bytes) -> None:
    """Say it for ever, and read nothing until the primary has had enough."""
    if isinstance(data, bytes):
        data = itertools.repeat(data * (1 + _CHUNK // len(data)))
    it.it.stop_reading()
    said = 0
    try:
        for piece in data:
            await it.it.say(piece)
            said += len(piece)
            if said > _ENOUGH:
                break
    except Gone:
        pass
    it.it.read_on()


def numbered(data: bytes) -> Iterator[bytes]:
    """The same frame on one channel after another, in chunks."""
    channels = itertools.count(1, 2)
    many = 1 + _CHUNK // len(data)
    while True:
        yield b"".join(
            data[:12] + channel.to_bytes(4, "big") + data[16:]
            for channel in itertools.islice(channels, many)
        )


@case("flood.ping", "AWP-LM-2", LIMIT, OPEN, also=("AWP-FC-3",), slow=True)
async def pings(it: Scene) -> None:
    """Sends PING without end and reads no PONG."""
    await flood(it, frame(Kind.PING, None, bytes(1024)))


@case("flood.settings", "AWP-LM-2", LIMIT, OPEN, slow=True)
async def settings(it: Scene) -> None:
    """Sends SETTINGS without end and reads no acknowledgement."""
    await flood(it, frame(Kind.SETTINGS, None, {"limits": {}}))


@case("flood.tell-nobody", "AWP-LM-2", LIMIT_OR_FLOW, OPEN, slow=True)
async def tells(it: Scene) -> None:
    """Writes to nobody without end and reads no answer."""
    await flood(it, frame(Kind.TELL, ["nobody"], "hi"))


@case("flood.call-nobody", "AWP-LM-2", LIMIT_OR_FLOW, OPEN, slow=True)
async def calls(it: Scene) -> None:
    """Calls nobody without end and reads no answer."""
    await flood(it, numbered(frame(Kind.CALL, ["nobody"], "hi")))


@case("flood.call-broken", "AWP-LM-2", LIMIT_OR_FLOW, OPEN, slow=True)
async def broken_calls(it: Scene) -> None:
    """Makes calls without end whose bodies cannot be read."""
    await flood(it, numbered(frame(Kind.CALL, body=b"\x91\xc0\xa1\xff")))


@case("flood.find", "AWP-LM-2", LIMIT_OR_FLOW, OPEN, slow=True)
async def finds(it: Scene) -> None:
    """Asks without end who somebody is and reads no answer."""
    await flood(it, numbered(frame(Kind.CALL, ["db", None, None, {"find": True}], None)))


@case("flood.listen", "AWP-LM-2", LIMIT, (ACTIVE,), slow=True)
async def listens(it: Scene) -> None:
    """Asks without end for ports that cannot be, and reads no answer."""
    await flood(it, numbered(frame(Kind.LISTEN, None, {"transport": "x"})))


@case("flood.monitor", "AWP-LM-2", LIMIT, OPEN, also=("AWP-SU-4",), slow=True)
async def monitors(it: Scene) -> None:
    """Monitors nobody without end, each time under another number, and reads no DOWN."""
    numbers = itertools.count()
    chunks = (
        b"".join(frame(Kind.MONITOR, [n, "nobody" * 10]) for n in itertools.islice(numbers, 700))
        for _ in itertools.repeat(None)
    )
    await flood(it, chunks)


@case("flood.unknown", "AWP-EV-2", LIMIT, (STARTING, *OPEN))
async def unknown(it: Scene) -> None:
    """Sends unknown kinds without end."""
    await flood(it, frame(0x60))


@case("flood.log", "AWP-LO-3", Lives(), (STARTING, *OPEN), slow=True, also=("AWP-FC-3",))
async def logs(it: Scene) -> None:
    """Logs twenty thousand records with control characters in them."""
    record = frame(Kind.LOG, [20, 0.0, "flood\x1b[2J"], ["hi\r\n\x1b]0;x\x07" * 3], flags=0x80)
    await it.say(record * 20_000)


@case("flood.serving", "AWP-LI-7", Lives(), OPEN)
async def servings(it: Scene) -> None:
    """Says SERVING ten thousand times."""
    await it.say(frame(Kind.SERVING, None, {"info": {"n": 1}}) * 10_000)


@case("flood.leave", "AWP-ST-7", Lives(), (ACTIVE,))
async def leaves(it: Scene) -> None:
    """Wants to leave a thousand times."""
    await it.say(frame(Kind.LEAVE, None, {"reason": 999}) * 1000)
    await it.hear(Kind.STOP)
    it.state = "STOPPING"


@case("flood.fragments", "AWP-LG-3", LIMIT_OR_FLOW, OPEN, also=("AWP-LM-2",), slow=True)
async def partials(it: Scene) -> None:
    """Begins messages without end, with pieces of no size."""
    await flood(it, numbered(it.piece(0, b"", first=True)))


@case("flood.envelopes", "AWP-LG-3", LIMIT_OR_FLOW, OPEN, also=("AWP-LM-2",), slow=True)
async def envelopes(it: Scene) -> None:
    """Begins messages without end whose envelopes hold as many objects as they can."""
    body = pack([None, None, None, None, *[[]] * 230]) + b"\xc4\x00"
    await flood(it, numbered(frame(Kind.TELL, flags=FLAG_FRAG | FLAG_MORE, body=body)))


# ---- who does not read -------------------------------------------------------------------------


@case(
    "slow.never-reads", "AWP-FC-3", Ends(killed=True), (ACTIVE,), slow=True, needs=("tell", "stop")
)
async def never_reads(it: Scene) -> None:
    """Reads nothing any more, while the primary sends, and is then told to stop."""
    it.it.stop_reading()
    await it.command("tell", [1000, "x" * 10_000])
    await it.command("stop")


@case("slow.no-credit", "AWP-FC-2", Lives(), (ACTIVE,), needs=("tell",))
async def no_credit(it: Scene) -> None:
    """Gives no credit back: what the primary sends waits, and its answers still come."""
    await it.command("tell", [200, "x" * 40_000])
    await it.say(frame(Kind.CALL, [None], ["echo", 1], channel=1))
    await it.hear(Kind.REPLY, channel=1)


# ---- memory bombs ------------------------------------------------------------------------------


def bomb(it: Scene, payload: bytes) -> bytes:
    """A frame that is good here, but for its payload."""
    kind = {HANDSHAKE: Kind.HELLO, STARTING: Kind.READY}.get(it.state, Kind.TELL)
    return frame(kind, body=b"\xc0" + payload)


BOMBS: Final[dict[str, tuple[str, bytes]]] = {
    "array": ("an array", b"\xdd\xff\xff\xff\xff"),
    "arrays": ("sixty arrays, one in another,", b"\xdd\x00\xff\xff\xff" * 60),
    "map": ("a map", b"\xdf\xff\xff\xff\xff"),
    "str": ("a str", b"\xdb\xff\xff\xff\xff"),
    "bin": ("a bin", b"\xc6\xff\xff\xff\xff"),
    "ext": ("an extension", b"\xc9\xff\xff\xff\xff\x05"),
}


def _enter_bombs() -> None:
    for name, (what, data) in BOMBS.items():

        async def explode(it: Scene, data: bytes = data) -> None:
            await it.say(bomb(it, data))

        explode.__doc__ = f"States {what} of billions that is not there."
        case(f"bomb.{name}", "AWP-VA-2", Aborts("bad_length"), EVERYWHERE)(explode)


_enter_bombs()


@case("bomb.nesting", "AWP-VA-1", {
    HANDSHAKE: Aborts("protocol_error"), STARTING: Aborts("protocol_error"),
    "ACTIVE": Lives(), "STOPPING": Lives(),
})  # fmt: skip
async def nesting(it: Scene) -> None:
    """Nests arrays as deep as a frame is long."""
    await it.say(bomb(it, b"\x91" * (it.limit("max_frame") - 2) + b"\xc0"))
    if it.state in OPEN:
        await it.hear(Kind.UNDELIVERABLE)


@case("bomb.objects", "AWP-LM-2", Lives(), OPEN)
async def objects(it: Scene) -> None:
    """Sends a message of as many objects as fit into it."""
    count = min(it.limit("max_message"), it.limit("max_frame")) - 64
    await it.say(
        frame(Kind.TELL, body=b"\x91\xc0\xdd" + count.to_bytes(4, "big") + b"\x90" * count)
    )


@case("bomb.keys", "AWP-VA-1", Lives(), OPEN)
async def keys(it: Scene) -> None:
    """Sends a map with the same key ten thousand times."""
    payload = b"\xde\x27\x10" + b"\xa1k\x01" * 10_000
    await it.say(frame(Kind.TELL, body=b"\x91\xc0" + payload))
    await it.hear_error("bad_payload")


@case("bomb.exponents", "AWP-LM-2", Lives(), OPEN)
async def numbers(it: Scene) -> None:
    """Sends the largest integers, floats that are none, and timestamps far away."""
    values: list[Any] = [1 << 63, (1 << 64) - 1, -(1 << 63), float("nan"), float("inf"), 5e-324]
    stamp = b"\xc7\x0c\xff\x3b\x9a\xc9\xff\x7f\xff\xff\xff\xff\xff\xff\xff"
    body = b"\x91\xc0\x97" + b"".join(map(pack, values)) + stamp
    await it.say(frame(Kind.TELL, body=body))
