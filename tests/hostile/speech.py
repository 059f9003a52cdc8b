"""A worker's end of the protocol as somebody else would write it: nothing of ours is imported.

It says whatever it is told to, allowed or not, and brings a connection into any of the states.
"""

from __future__ import annotations

import array
import os
import signal
import socket
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import msgpack

__all__ = [
    "CALL", "CANCEL", "CONN_REPLY", "ERROR", "GOODBYE", "HELLO", "LEAVE", "LISTEN", "LOG",
    "MONITOR", "PING", "READY", "REPLY", "SETTINGS", "SOMEBODY", "STOP", "TELL", "UNDELIVERABLE",
    "WELCOME", "Speaker", "frame",
]  # fmt: skip

HELLO, WELCOME, READY, GOODBYE, PING, SETTINGS, STOP, LEAVE = 1, 2, 3, 4, 6, 8, 0x0D, 0x0E
LISTEN, CONN_REPLY = 0x10, 0x13
TELL, CALL, REPLY, ERROR, CANCEL, UNDELIVERABLE, LOG = 0x20, 0x21, 0x22, 0x23, 0x24, 0x26, 0x50
MONITOR = 0x42

CAPABILITIES: Final = (
    "ack", "call", "frag", "handle", "handle.ack", "handle.send", "listen.handoff",
    "listen.shared", "log", "monitor", "msg",
)  # fmt: skip
HEADER: Final = 16

#: Name of an actor that lives on, so what asks for its end stays open; that is how vectors call it.
SOMEBODY: Final = "db"


def frame(
    kind: int,
    envelope: Any = None,
    payload: Any = None,
    *,
    channel: int = 0,
    flags: int = 0,
    nfds: int = 0,
    body: bytes | None = None,
    length: int | None = None,
) -> bytes:
    """A frame; ``body`` replaces envelope and payload, ``length`` what the header says of them."""
    if body is None:
        body = msgpack.packb(envelope) + msgpack.packb(payload)
    size = (len(body) if length is None else length).to_bytes(4, "big")
    number = channel.to_bytes(4, "big")
    return b"\x95\xce%b\xce%b\xce%b%b" % (size, bytes((kind, flags, nfds, 0)), number, body)


class Speaker:
    """The channel of this process, and how far it has come on it."""

    def __init__(self) -> None:
        number = int(os.environ["ACTORCLUSTER_CHANNEL"].removeprefix("fd:"))
        self.socket = socket.socket(fileno=number)
        self._heard = bytearray()
        self.state = "before HELLO"
        self.about: dict[str, Any] = {}
        """What else is in its HELLO."""
        self.question = 0
        """Channel of the primary's call, where the fault is about one."""

    # ---- saying, hearing ------------------------------------------------------------------

    def say(self, *data: bytes) -> None:
        """Write it all, or live on without a word when the primary hears nothing any more."""
        try:
            self.socket.sendall(b"".join(data))
        except OSError:
            self.lie_low()

    def say_with(self, data: bytes, fds: Iterable[int]) -> None:
        """Write it with descriptors at its first byte."""
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        try:
            sent = self.socket.sendmsg([data], [rights])
        except OSError:
            self.lie_low()
        self.say(data[sent:])

    def hear(self, kind: int) -> int:
        """Read until the primary says such a frame; returns its channel."""
        while True:
            head = self._take(HEADER)
            self._take(int.from_bytes(head[2:6], "big"))
            if head[7] == kind:
                return int.from_bytes(head[12:16], "big")

    def _take(self, size: int) -> bytes:
        while len(self._heard) < size:
            # No more than that: descriptors that belong to what follows would be lost.
            data = self.socket.recv(size - len(self._heard))
            if not data:
                self.lie_low()
            self._heard += data
        taken = bytes(self._heard[:size])
        del self._heard[:size]
        return taken

    def lie_low(self) -> NoReturn:
        """Say nothing, read nothing, and do not end by oneself."""
        while True:
            signal.pause()

    def tell_test(self, text: str) -> None:
        """Say something to whoever started the primary, beside the protocol."""
        os.write(1, text.encode() + b"\n")

    # ---- one state after another ----------------------------------------------------------

    def reach(self, state: str) -> None:
        """Do all that leads to a state, as a good worker does it."""
        while self.state != state:
            self._advance()

    def _advance(self) -> None:
        if self.state == "before HELLO":
            said = {"versions": [[1, 0]], "caps": CAPABILITIES, **self.about}
            self.say(frame(HELLO, None, said))
            self.hear(WELCOME)
            self.state = "before READY"
        elif self.state == "before READY":
            self.say(frame(READY, None, {}))
            self.state = "active"
        elif self.state == "active":
            self.say(frame(LEAVE, None, {}))
            self.hear(STOP)
            self.state = "stopping"
        else:
            self.say(frame(GOODBYE, None, {"recv": 0}))
            self.hear(GOODBYE)
            self.state = "closing"

    def leave(self) -> NoReturn:
        """Do what is left to be done, and end as a good worker does."""
        self.reach("closing")
        os._exit(0)
