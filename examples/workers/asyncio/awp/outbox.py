"""What waits to be sent: order, credit, fragments and descriptors in flight.

Urgent frames go first. All others share one queue, in which a message in fragments stands with its
next fragment and goes to the end after it: so a large message keeps nobody waiting, and nobody
keeps it waiting. Messages are charged (SPEC.md, section 14): one that there is no credit for waits
outside of the queue, by its address, and with it those behind it that go there.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from .awp_v1 import FLAG_FRAG, FLAG_MORE, KINDS, LIMIT_DEFAULTS, LIMIT_FLOORS, Kind
from .framing import header
from .handles import Handle
from .values import NIL, pack

FRAGMENT = 256 * 1024
LEAST_COST = 256

Address = int | str | None


@dataclass(eq=False, slots=True)
class Message:
    """A TELL, CALL or REPLY on its way out."""

    kind: Kind
    channel: int
    to: Address
    envelope: bytes
    payload: bytes
    handles: Sequence[Handle]
    on_sent: Callable[[int], None]
    number: int = 0
    offset: int = 0
    cost: int = 0
    started: bool = False


@dataclass(slots=True)
class Item:
    """Bytes for the socket, and the descriptors that go with their first one."""

    data: bytes
    handles: Sequence[Handle] = ()
    provoked: bool = False
    on_written: Callable[[], None] | None = None


@dataclass(slots=True)
class Outbox:
    """The queues of one connection.

    Attributes:
        limits: what the primary can receive.
        credit: what may still be spent; negative after the window became smaller.
        spent: what was spent and has not come back.
        sent: TELLs and CALLs that are complete on the wire.
        provoked: bytes of answers that the primary asked for and has not read.
        fragments: whether messages may go in fragments.
    """

    limits: dict[str, int] = field(default_factory=lambda: dict(LIMIT_DEFAULTS))
    spent: int = 0
    sent: int = 0
    provoked: int = 0
    fragments: bool = False
    handle_ack: bool = False
    new_channel: Callable[[], int] = field(default=lambda: 1)
    end_channel: Callable[[int], None] = field(default=lambda _channel: None)
    _urgent: deque[Item] = field(default_factory=deque)
    _queue: deque[Item | Message] = field(default_factory=deque)
    _waiting: OrderedDict[Address, deque[Message]] = field(default_factory=OrderedDict)
    _busy: set[Address] = field(default_factory=set)
    _unacknowledged: deque[Sequence[Handle]] = field(default_factory=deque)
    _answers: deque[Message] = field(default_factory=deque)
    _unfinished: int = 0
    _in_flight: int = 0
    _acknowledged: int = 0
    _frames_with_handles: int = 0

    @property
    def credit(self) -> int:
        """What may be spent."""
        return self.limits["window"] - self.spent

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left that could be sent without more credit."""
        return not self._urgent and not self._queue and not self._answers

    def set_limits(self, limits: object) -> None:
        """Take over what the primary announced; less than the floor counts as the floor."""
        if isinstance(limits, dict):
            for name, value in limits.items():
                if name in self.limits and isinstance(value, int):
                    self.limits[name] = max(value, LIMIT_FLOORS[name])
        self.admit()

    def put(
        self,
        kind: Kind,
        channel: int,
        body: bytes,
        *,
        flags: int = 0,
        provoked: bool = False,
        on_written: Callable[[], None] | None = None,
    ) -> None:
        """Queue a frame that is neither charged nor in fragments."""
        data = header(kind, flags, 0, channel, len(body)) + body
        item = Item(data, provoked=provoked, on_written=on_written)
        self.provoked += len(data) if provoked else 0
        (self._urgent if KINDS[kind].urgent else self._queue).append(item)

    def answer(self, message: Message) -> None:
        """Queue a REPLY: it costs nothing, but a large one may wait for other large ones."""
        self._answers.append(message)
        self.admit()

    def _is_cut(self, message: Message) -> bool:
        """Whether a message goes in fragments."""
        size = len(message.envelope) + len(message.payload)
        return self.fragments and size > min(FRAGMENT, self.limits["max_frame"])

    def _fits(self, message: Message) -> bool:
        """Whether the primary has room for one more that is not complete (AWP-LG-8)."""
        if not self._unfinished or not self._is_cut(message):
            return True
        return self._unfinished + len(message.payload) <= self.limits["max_partial"]

    def send(self, message: Message) -> None:
        """Queue a TELL or CALL, or let it wait for credit."""
        key = None if message.to in (None, 0, "primary") else message.to
        self._waiting.setdefault(key, deque()).append(message)
        self.admit()

    def admit(self) -> None:
        """Begin what there is credit for, in the order of sending for each address.

        Who comes first and lacks credit lets nobody else go first, or a large message might
        wait for ever.
        """
        while self._answers and self._fits(self._answers[0]):
            self._begin(self._answers.popleft())
        for key in list(self._waiting):
            if key in self._busy:
                continue
            line = self._waiting[key]
            while line and key not in self._busy:
                message = line[0]
                cost = self.cost(message)
                if cost > self.credit or not self._fits(message):
                    return
                line.popleft()
                message.cost = cost
                self.spent += cost
                self._begin(message)
                if message in self._queue:
                    self._busy.add(key)
            if not line:
                del self._waiting[key]

    def cost(self, message: Message) -> int:
        """What it costs to begin that message (AWP-FC-1)."""
        size = 16 + len(message.envelope) + len(message.payload)
        return min(self.limits["window"], max(LEAST_COST, size))

    def _begin(self, message: Message) -> None:
        message.started = True
        if not self._is_cut(message):
            self._queue.append(self._whole(message))
            return
        self._unfinished += len(message.payload)
        if message.kind == Kind.TELL:
            message.channel = self.new_channel()
        self._queue.append(message)

    def _whole(self, message: Message) -> Item:
        body = message.envelope + message.payload
        head = header(message.kind, 0, len(message.handles), message.channel, len(body))
        self._complete(message)
        return Item(head + body, message.handles)

    def _complete(self, message: Message) -> None:
        if message.kind != Kind.REPLY:
            self.sent += 1
            message.number = self.sent
        message.on_sent(message.number)

    def _fragment(self, message: Message) -> Item:
        """The next piece of a message, which stands at the end of the queue if there are more."""
        first = message.offset == 0
        envelope = message.envelope if first else NIL
        room = min(self.limits["max_frame"] - len(envelope) - 5, FRAGMENT)
        piece = message.payload[message.offset : message.offset + room]
        message.offset += len(piece)
        body = envelope + pack(piece)
        flags, handles = FLAG_FRAG, message.handles if first else ()
        if message.offset < len(message.payload):
            flags |= FLAG_MORE
            self._queue.append(message)
        data = header(message.kind, flags, len(handles), message.channel, len(body)) + body
        if not flags & FLAG_MORE:
            self._complete(message)
            self._leave(message)
        return Item(data, handles)

    def _leave(self, message: Message) -> None:
        """A message in fragments is complete, or abandoned."""
        self._unfinished -= len(message.payload)
        if message.kind == Kind.TELL:
            self.end_channel(message.channel)
        if message.kind != Kind.REPLY:
            self._busy.discard(None if message.to in (None, 0, "primary") else message.to)
        self.admit()

    def abandon(self, message: Message) -> bool:
        """Take back a message that is not complete; give whether the primary is to be told."""
        if not message.started:
            for key, line in list(self._waiting.items()):
                if message in line:
                    line.remove(message)
                    if not line:
                        del self._waiting[key]
            return False
        if message not in self._queue:
            return False
        self._queue.remove(message)
        self.spent -= message.cost
        if not message.offset:
            self._leave(message)
            return False
        self.put(Kind.CANCEL, message.channel, NIL + NIL)
        self._leave(message)
        return True

    def next(self) -> Item | None:
        """What is to be written next; None: nothing, for now."""
        if self._urgent:
            return self._taken(self._urgent.popleft())
        if not self._queue:
            return None
        front = self._queue[0]
        if not self._has_room(front):
            return None
        self._queue.popleft()
        item = front if isinstance(front, Item) else self._fragment(front)
        if item.handles:
            self._in_flight += len(item.handles) if self.handle_ack else 0
        return self._taken(item)

    def _taken(self, item: Item) -> Item:
        self.provoked -= len(item.data) if item.provoked else 0
        return item

    def _has_room(self, front: Item | Message) -> bool:
        """Whether as many descriptors may be under way (AWP-FD-8)."""
        count = len(front.handles) if isinstance(front, Item) or not front.offset else 0
        return not self._in_flight or self._in_flight + count <= self.limits["fds_in_flight"]

    def written(self, item: Item) -> None:
        """The first byte of an item, and with it its descriptors, went out."""
        if not item.handles:
            return
        self._frames_with_handles += 1
        if self.handle_ack:
            self._unacknowledged.append(item.handles)
        else:
            for handle in item.handles:
                handle.close()

    def handles_acknowledged(self, upto: int) -> bool:
        """The primary has so many frames with descriptors; False if it cannot have them."""
        if upto > self._frames_with_handles:
            return False
        while self._acknowledged < upto:
            handles = self._unacknowledged.popleft()
            self._acknowledged += 1
            self._in_flight -= len(handles)
            for handle in handles:
                handle.close()
        return True

    def drop_waiting(self, *, streams: bool = False) -> list[Message]:
        """Forget what waits for credit, and with `streams` what is not complete; give it."""
        dropped = [message for line in self._waiting.values() for message in line]
        self._waiting.clear()
        if streams:
            dropped += [one for one in self._queue if isinstance(one, Message)]
            dropped += self._answers
            self._answers.clear()
            self._queue = deque(one for one in self._queue if isinstance(one, Item))
        return dropped

    def close(self) -> None:
        """The connection is over: close what was to be sent, or was not acknowledged."""
        for handles in self._unacknowledged:
            for handle in handles:
                handle.close()
        for one in [*self._urgent, *self._queue, *self._answers, *self.drop_waiting()]:
            for handle in one.handles:
                handle.close()
        self._urgent.clear()
        self._queue.clear()
        self._answers.clear()
        self._unacknowledged.clear()
