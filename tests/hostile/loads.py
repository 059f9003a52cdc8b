"""Faults by sheer amount: floods, and memory bombs; entered into the faults of `faults`.

Runs in the hostile worker.
"""

from __future__ import annotations

import itertools
from typing import Any, Final, NoReturn

import msgpack

from tests.hostile.faults import FAULTS, SMALL, fault
from tests.hostile.speech import (
    CALL,
    HELLO,
    LISTEN,
    LOG,
    MONITOR,
    PING,
    READY,
    SETTINGS,
    SOMEBODY,
    TELL,
    UNDELIVERABLE,
    Speaker,
    frame,
)

__all__ = ["FAULTS"]

FRAG, MORE = 2, 1
KIB: Final = 1 << 10
MIB: Final = 1 << 20

# ---- floods: answers are provoked and not read -------------------------------------------------


def flood(it: Speaker, data: bytes) -> NoReturn:
    data *= 1 + SMALL // len(data)
    while True:
        it.say(data)


@fault("floods: PING")
def flood_pings(it: Speaker) -> None:
    flood(it, frame(PING, None, bytes(KIB)))


@fault("floods: unknown kinds")
def flood_unknown(it: Speaker) -> None:
    data = frame(0x60)
    it.say(data * 101)
    if it.state != "closing":
        it.lie_low()


@fault("floods: SETTINGS")
def flood_settings(it: Speaker) -> None:
    data = frame(SETTINGS, None, {"limits": {}})
    if it.state == "closing":
        it.say(data * 10_000)
    else:
        flood(it, data)


@fault("floods: TELL to nobody")
def flood_bounces(it: Speaker) -> None:
    if it.state == "closing":
        it.say(frame(TELL, ["nobody"], "hi") * 10_000)
    else:
        flood(it, frame(TELL, ["nobody"], "hi"))


@fault("floods: broken TELL")
def flood_broken(it: Speaker) -> None:
    """The first is good, so that those behind it are broken while it is on its way."""
    bad = frame(TELL, [None], body=b"\x91\xc0\xa1\xff")
    it.say(frame(TELL, [None], "hi"), bad * (250 * KIB // len(bad)))
    if it.state != "closing":
        flood(it, bad)


@fault("floods: CALL to nobody")
def flood_calls(it: Speaker) -> None:
    calls = (frame(CALL, ["nobody"], "hi", channel=1 + 2 * n) for n in itertools.count())
    for _ in range(20) if it.state == "closing" else itertools.count():
        it.say(*itertools.islice(calls, 1000))


@fault("floods: CALL to the primary")
@fault("floods: CALL that is answered")
def flood_asks(it: Speaker) -> None:
    """Of which max_calls wait for an answer, where nobody gives one; the others are refused."""
    calls = (frame(CALL, [None], "hi", channel=1 + 2 * n) for n in itertools.count())
    for _ in range(20) if it.state == "closing" else itertools.count():
        it.say(*itertools.islice(calls, 1000))


@fault("floods: CALL with room")
def flood_questions(it: Speaker) -> None:
    """About mail that never was; each is answered at once."""
    meta = [None, None, {"room": True}]
    calls = (frame(CALL, [SOMEBODY, *meta], 1, channel=1 + 2 * n) for n in itertools.count())
    for _ in range(20) if it.state == "closing" else itertools.count():
        it.say(*itertools.islice(calls, 1000))


@fault("floods: LISTEN")
def flood_listens(it: Speaker) -> None:
    """For what cannot be bound."""
    asks = (frame(LISTEN, None, {"transport": "x"}, channel=1 + 2 * n) for n in itertools.count())
    for _ in range(20) if it.state == "closing" else itertools.count():
        it.say(*itertools.islice(asks, 1000))


@fault("floods: MONITOR")
def flood_monitors(it: Speaker) -> None:
    """Of one who lives on."""
    it.say(*(frame(MONITOR, [n, SOMEBODY]) for n in range(5000)))
    if it.state != "closing":
        it.lie_low()


@fault("floods: MONITOR of nobody")
def flood_downs(it: Speaker) -> None:
    """Each is answered at once, which frees its number; few of them are read together."""
    asks = (frame(MONITOR, [n, "nobody" * 10]) for n in itertools.count())
    for _ in range(20) if it.state == "closing" else itertools.count():
        it.say(*itertools.islice(asks, 1000))


@fault("floods: UNDELIVERABLE")
def flood_undeliverable(it: Speaker) -> None:
    """The only message of the primary's comes back for ever."""
    flood(it, frame(UNDELIVERABLE, [1], {"code": "no_such_actor"}))


@fault("floods: LOG")
def flood_log(it: Speaker) -> None:
    it.say(frame(LOG, [20, 0.0, "flood"], ["hi" * 10], flags=0x80) * 20_000)


# ---- memory bombs ------------------------------------------------------------------------------


def bomb(it: Speaker, payload: bytes) -> None:
    """The payload that a good worker's frame would have here is this."""
    kind = {"before HELLO": HELLO, "before READY": READY}.get(it.state, TELL)
    it.say(frame(kind, body=b"\xc0" + payload))


@fault("memory bomb: declared array")
def bomb_array(it: Speaker) -> None:
    bomb(it, b"\xdd\xff\xff\xff\xff")
    it.lie_low()


@fault("memory bomb: declared arrays, one in another")
def bomb_arrays(it: Speaker) -> None:
    bomb(it, b"\xdd\x00\xff\xff\xff" * 60)
    it.lie_low()


@fault("memory bomb: declared map")
def bomb_map(it: Speaker) -> None:
    bomb(it, b"\xdf\xff\xff\xff\xff")
    it.lie_low()


@fault("memory bomb: declared str, bin, ext")
def bomb_strings(it: Speaker) -> None:
    heads = (b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x05")
    bomb(it, b"\x93" + b"".join(heads))
    it.lie_low()


@fault("memory bomb: nesting")
def bomb_nesting(it: Speaker) -> None:
    bomb(it, b"\x91" * (MIB - 17) + b"\xc0")
    if it.state not in ("active", "stopping", "closing"):
        it.lie_low()


@fault("memory bomb: arrays that are there")
def bomb_real(it: Speaker) -> None:
    """As many objects as fit into the largest message; run with small limits."""
    count = 60 * KIB
    body = b"\x91\xc0" + b"\xdd" + count.to_bytes(4, "big") + b"\x90" * count
    it.say(frame(TELL, body=body))


@fault("memory bomb: a frame over max_message")
def bomb_frame(it: Speaker) -> None:
    """Smaller than frames may be without a word, larger than this worker's messages may be."""
    count = MIB - 17
    body = b"\x91\xc0" + b"\xdd" + count.to_bytes(4, "big") + b"\x90" * count
    it.say(frame(TELL, body=body[: MIB - 1]))
    it.lie_low()


def piece(channel: int, data: bytes, envelope: Any = None) -> bytes:
    return frame(TELL, envelope, data, channel=channel, flags=FRAG | MORE)


@fault("memory bomb: many unfinished messages")
def bomb_partials(it: Speaker) -> None:
    for start in range(0, 20_000, 1000):
        it.say(*(piece(1 + 2 * n, b"", [None]) for n in range(start, start + 1000)))
    if it.state != "closing":
        it.lie_low()


@fault("memory bomb: unfinished envelopes")
def bomb_envelopes(it: Speaker) -> None:
    """Each with as many objects as fit into what is not counted."""
    body = msgpack.packb([None, None, None, None, *[[]] * 230]) + b"\xc4\x00"
    for start in range(0, 5000, 1000):
        channels = range(start, start + 1000)
        flags = FRAG | MORE
        it.say(*(frame(TELL, channel=1 + 2 * n, flags=flags, body=body) for n in channels))
    if it.state != "closing":
        it.lie_low()


@fault("memory bomb: large unfinished messages")
def bomb_large(it: Speaker) -> None:
    """A hundred megabytes that are never complete."""
    data = bytes(128 * KIB)
    for n in range(100):
        channel = 1 + 2 * n
        it.say(piece(channel, data, [None]), *(piece(channel, data) for _ in range(7)))
