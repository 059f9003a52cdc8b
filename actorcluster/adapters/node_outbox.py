"""What is to be said to a process of Node's, in which order; no I/O.

Runs in: both

While a descriptor is not acknowledged nothing follows it but acknowledgements: where lines are
long, Node may give a descriptor to the wrong one of two messages. Node may also say that it had no
room for it; then the line is sent again, `_TRIES` times in all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, final

import attrs

from .._link.nodelines import handle_message
from ..errors import RemoteProtocolError
from ..wire._generated import AbortCode
from .node_lines import encode_line, is_internal, violation

__all__ = ["NodeOutbox", "Outgoing"]

_TRIES: Final = 4
_MOST_ANSWERS: Final = 1000


@final
@attrs.define(eq=False, repr=False)
class Outgoing:
    """A line, and what goes with it.

    Attributes:
        line: the bytes.
        handle: whose descriptor goes with the first of them, or None.
        charge: what the message costs its sender, to be given back once it is written.
        connection: channel and number, if it hands over a connection.
        message: number of the message, if it is one.
        tries: how often it was sent.
        has_left: whether the kernel has the descriptor.
    """

    line: bytes
    handle: Any = None
    charge: int = 0
    connection: tuple[int, int] | None = None
    message: int | None = None
    tries: int = 0
    has_left: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether it is neither a message nor has it a handle."""
        return self.handle is None and self.message is None

    def is_connection_of(self, channel: int) -> bool:
        """Whether it hands over a connection of that listener, and nobody has seen it yet."""
        return not self.tries and self.connection is not None and self.connection[0] == channel


@final
class NodeOutbox:
    """Lines in order, and the one whose descriptor is under way."""

    def __init__(self) -> None:
        self._urgent: deque[Outgoing] = deque()
        self._queue: deque[Outgoing] = deque()
        self._in_flight: Outgoing | None = None
        self._done: list[Any] = []
        self._plain = 0  # lines in the queue that no credit bounds

    def put(self, out: Outgoing) -> None:
        """Say something."""
        self._plain += out.is_plain
        self._queue.append(out)

    def expect(self) -> None:
        """The other side asks for something, which will be answered by `put`.

        Raises:
            RemoteProtocolError: it does not read the answers.
        """
        if self._plain >= _MOST_ANSWERS:
            raise _unread()

    def provoked(self, message: dict[str, Any]) -> None:
        """Answer what the other side has said, before all else.

        Raises:
            RemoteProtocolError: it does not read the answers.
        """
        if len(self._urgent) >= _MOST_ANSWERS:
            raise _unread()
        self._urgent.append(Outgoing(encode_line(message)))

    def tell(self, number: int, body: Any, charge: int, handle: Any = None, **kind: str) -> None:
        """Pass on a message.

        Args:
            number: of the message.
            body: its body.
            charge: see `Outgoing`.
            handle: goes with it.
            kind: of the handle, in Node's words: ``type`` and maybe ``dgramType``.

        Raises:
            TypeError: it cannot be said to a Node program.
        """
        if is_internal(body):
            raise TypeError("a message whose 'cmd' begins with NODE_ is for the runtime alone")
        if handle is not None:
            body = handle_message(body, kind)
        self.put(Outgoing(encode_line(body), handle, charge=charge, message=number))

    def next_to_send(self) -> Outgoing | None:
        """Take what is to be written next; None: nothing, for now.

        What has a handle has to be told about by `sent`, when its descriptor has left.
        """
        if self._urgent:
            return self._urgent.popleft()
        if self._in_flight is not None or not self._queue:
            return None
        out = self._queue.popleft()
        self._plain -= out.is_plain
        if out.handle is not None:
            out.tries += 1
            self._in_flight = out
        return out

    def sent(self) -> None:
        """Note that the descriptor which goes with the latest line has left."""
        if self._in_flight is not None:
            self._in_flight.has_left = True

    def is_under_way(self, connection: tuple[int, int]) -> bool:
        """Whether the descriptor of that connection is not acknowledged."""
        return self._in_flight is not None and self._in_flight.connection == connection

    def receipt(self, *, is_lost: bool) -> Outgoing | None:
        """Take in the acknowledgement of a descriptor; returns what is given up, if it is.

        Raises:
            RemoteProtocolError: there is none under way.
        """
        sent = self._in_flight
        if sent is None or not sent.has_left:
            raise violation("NODE-5", "an acknowledgement of a descriptor that was not sent")
        self._in_flight = None
        if is_lost and sent.tries < _TRIES:
            sent.has_left = False
            self._queue.appendleft(sent)
            return None
        self._done.append(sent.handle)
        return sent if is_lost else None

    def drop(self, is_it: Callable[[Outgoing], bool]) -> list[Outgoing]:
        """Take back what was not sent so far; its handles are done."""
        dropped = [one for one in self._queue if is_it(one)]
        for one in dropped:
            self._queue.remove(one)
            self.done(one.handle)
        return dropped

    def done(self, handle: Any) -> None:
        """Nobody needs a handle any more."""
        if handle is not None:
            self._done.append(handle)

    def take_done(self) -> list[Any]:
        """Take the handles that nobody needs any more, for the caller to close."""
        done, self._done = self._done, []
        return done

    def close(self) -> list[Any]:
        """Give up all that was not sent; returns its handles, for the caller to close."""
        for one in (*self._queue, *([] if self._in_flight is None else [self._in_flight])):
            self.done(one.handle)
        self._queue.clear()
        self._plain = 0
        self._urgent.clear()
        self._in_flight = None
        return self.take_done()


def _unread() -> RemoteProtocolError:
    text = f"{_MOST_ANSWERS} answers were provoked and not read"
    return violation("NODE-1", text, AbortCode.LIMIT_EXCEEDED)
