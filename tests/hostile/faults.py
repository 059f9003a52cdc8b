"""What the hostile worker does, one function for each fault; runs in the hostile worker.

A function that returns leaves it to the speaker to end like a good worker.
"""

from __future__ import annotations

import itertools
import os
import random
import resource
import time
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgpack

from tests.hostile.speech import (
    CALL,
    CANCEL,
    CONN_REPLY,
    ERROR,
    GOODBYE,
    HELLO,
    LISTEN,
    LOG,
    PING,
    READY,
    REPLY,
    SETTINGS,
    TELL,
    UNDELIVERABLE,
    Speaker,
    frame,
)

__all__ = ["FAULTS"]

FRAG, MORE = 2, 1
KIB: Final = 1 << 10
MIB: Final = 1 << 20
#: The window, and the longest frame, that the primary announces when nobody says otherwise.
WINDOW: Final = 4 * MIB
SMALL: Final = 64 * KIB

Commit = Callable[[Speaker], None]
FAULTS: Final[dict[str, Commit]] = {}


def fault(name: str) -> Callable[[Commit], Commit]:
    def enter(commit: Commit) -> Commit:
        FAULTS[name] = commit
        return commit

    return enter


def usual(state: str) -> bytes:
    """What a good worker might say next."""
    if state == "before HELLO":
        return frame(HELLO, None, {"versions": [[1, 0]]})
    if state == "before READY":
        return frame(READY, None, {})
    return frame(GOODBYE, None, {"recv": 0}) if state == "stopping" else frame(TELL, [None], "hi")


# ---- bytes that are no frames ------------------------------------------------------------------


@fault("random bytes")
def random_bytes(it: Speaker) -> None:
    it.say(random.Random(it.state).randbytes(4096))
    it.lie_low()


@fault("wrong signature")
def wrong_signature(it: Speaker) -> None:
    data = bytearray(usual(it.state))
    data[6] = 0xCD
    it.say(bytes(data))
    it.lie_low()


@fault("length + 1")
def length_long(it: Speaker) -> None:
    data = bytearray(usual(it.state))
    data[5] += 1
    it.say(bytes(data), usual(it.state))
    it.lie_low()


@fault("length - 1")
def length_short(it: Speaker) -> None:
    data = bytearray(usual(it.state))
    data[5] -= 1
    it.say(bytes(data), usual(it.state))
    it.lie_low()


@fault("length 2^31")
def length_huge(it: Speaker) -> None:
    it.say(frame(TELL, body=b"", length=1 << 31))
    it.lie_low()


@fault("truncated, then closed")
def truncated(it: Speaker) -> None:
    it.say(usual(it.state)[:-1])
    it.socket.close()
    it.lie_low()


@fault("slow loris")
def slow_loris(it: Speaker) -> None:
    """One byte at a time, for ever where somebody waits for the frame."""
    data = usual(it.state)
    for byte in data[:-1]:
        it.say(bytes((byte,)))
        time.sleep(0.01)
    if it.state != "active":
        it.lie_low()
    it.say(data[-1:])


# ---- introductions -----------------------------------------------------------------------------


@fault("duplicate HELLO")
def duplicate_hello(it: Speaker) -> None:
    hello = frame(HELLO, None, {"versions": [[1, 0]]})
    it.say(hello, *([hello] if it.state == "before HELLO" else []))
    it.lie_low()


@fault("unknown major")
def unknown_major(it: Speaker) -> None:
    it.say(frame(HELLO, None, {"versions": [[2, 0], [9, 1]]}))
    it.lie_low()


# ---- descriptors -------------------------------------------------------------------------------


def message(nfds: int, kind: int = 8) -> bytes:
    return frame(TELL, [None, None, [[kind, {}]] * nfds], "hi", nfds=nfds)


def pipes(count: int) -> list[int]:
    return [os.pipe()[0]] * count


@fault("undeclared descriptors")
def undeclared(it: Speaker) -> None:
    """More than any frames under way could have declared, on frames that are allowed otherwise."""
    if it.state in ("before HELLO", "before READY"):
        it.say_with(usual(it.state)[:-1], pipes(1))
        it.lie_low()
    for _ in range(5):
        it.say_with(frame(LOG, [20, 0.0, "log"], ["hi"]), pipes(253))
    it.lie_low()


@fault("too many descriptors")
def too_many(it: Speaker) -> None:
    it.say_with(message(254), pipes(253))
    it.lie_low()


@fault("more descriptors than declared")
def more_than_declared(it: Speaker) -> None:
    it.say_with(message(1), pipes(2))
    it.lie_low()


@fault("missing descriptors")
def missing(it: Speaker) -> None:
    it.say(message(1))


@fault("wrong-kind descriptors")
def wrong_kind(it: Speaker) -> None:
    """A pipe that is called a TCP socket, and one that is called what nobody takes."""
    it.say_with(message(1, 1), pipes(1))
    it.say_with(message(1, 15), pipes(1))


# ---- messages ----------------------------------------------------------------------------------


@fault("window overrun")
def window_overrun(it: Speaker) -> None:
    data = frame(TELL, [None], bytes(SMALL))
    for _ in range(WINDOW // SMALL + 1):
        it.say(data)


@fault("unknown channel")
def unknown_channel(it: Speaker) -> None:
    it.say(
        frame(REPLY, None, 1, channel=4_000_000_000),
        frame(ERROR, None, {"code": "app"}, channel=4_000_000_000),
        frame(CANCEL, None, channel=4_000_000_001),
        frame(CONN_REPLY, [1], channel=4_000_000_001),
    )


@fault("reply twice")
def reply_twice(it: Speaker) -> None:
    channel = it.question
    it.say(*(frame(REPLY, None, text, channel=channel) for text in ("first", "second")))


# ---- what is not done --------------------------------------------------------------------------


@fault("never reads")
@fault("ignores STOP")
def silent(it: Speaker) -> None:
    it.lie_low()


@fault("never answers")
def never_answers(it: Speaker) -> None:
    """Obeys, where it has not said that it goes, but owes an answer to the end."""
    if it.state != "active":
        it.lie_low()
    it.hear(CANCEL)


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
def flood_asks(it: Speaker) -> None:
    """Of which max_calls wait for an answer; the others are refused."""
    calls = (frame(CALL, [None], "hi", channel=1 + 2 * n) for n in itertools.count())
    for _ in range(20) if it.state == "closing" else itertools.count():
        it.say(*itertools.islice(calls, 1000))


@fault("floods: LISTEN")
def flood_listens(it: Speaker) -> None:
    """For what cannot be bound."""
    asks = (frame(LISTEN, None, {"transport": "x"}, channel=1 + 2 * n) for n in itertools.count())
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


def _use_many_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_use_many_descriptors()
