"""What the hostile worker does, one function for each fault; runs in the hostile worker.

Those that are about amounts are in `loads`.

A function that returns leaves it to the speaker to end like a good worker.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable
from typing import Final

from tests.hostile.speech import (
    CANCEL,
    CONN_REPLY,
    ERROR,
    GOODBYE,
    HELLO,
    LOG,
    READY,
    REPLY,
    TELL,
    Speaker,
    frame,
)

__all__ = ["FAULTS", "SMALL", "fault"]

#: The window that the primary announces when nobody says otherwise.
WINDOW: Final = 4 << 20
SMALL: Final = 64 << 10

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


def _use_many_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_use_many_descriptors()
