"""What is to be sent, in the order in which it may leave.

Runs in: both

Theory of operation
===================

Frames leave in the order in which they were put, with three exceptions.

*Urgent* frames (credit, acknowledgements, pong, cancel ...) are small and go first.

*Large* messages go in fragments of at most 256 KiB, cut while they leave, and while one is
under way others may pass: answers always, but later *mail* (TELL, CALL, STOP ...: everything
whose order a receiver can see) waits until an earlier large mail is complete (AWP-LG-2). Large
answers take turns, one fragment each, so none of them holds up the others; only so many are
begun that their unfinished parts fit into the peer's ``max_partial``.

*Final* frames (GOODBYE, ABORT) go when everything else has left.

While more descriptors than the peer wants are unacknowledged (``fds_in_flight``), a frame with
handles waits, and everything behind it.

What has been taken counts as sent: whoever cannot write it at once keeps it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from typing import Any, Final, final

import attrs

from ._generated import FLAG_FRAG, FLAG_MORE, Kind
from .batches import SMALL, Batch, Batches
from .frames import encode_frame, encode_head

__all__ = ["FRAGMENT_SIZE", "SLACK", "Answer", "Outbox", "Outgoing"]

FRAGMENT_SIZE: Final = 256 * 1024
#: Payloads of a whole number of fragments are usual, and nearly all of them are a little longer.
SLACK: Final = 1024
#: Small frames are joined to buffers of about this size.
_JOIN: Final = 128 * 1024
#: So many frames at most may be joined without a look at each.
_MANY: Final = 512
_BYTES: Final = frozenset({bytes})
#: nil, the envelope of every fragment but the first.
_NIL: Final = b"\xc0"
_BIN_HEADER: Final = 5
_KIND_OFFSET: Final = 7
#: What a frame takes in memory beside its bytes.
_OBJECT: Final = 64
#: So many urgent frames pile up only where the peer does not read.
_JAM: Final = 1024

#: Kinds that may pass an unfinished large mail: answers, and what belongs to a listener.
_PASSING: Final = frozenset(
    {
        Kind.REPLY,
        Kind.ERROR,
        Kind.UNDELIVERABLE,
        Kind.UNIMPLEMENTED,
        Kind.LISTEN,
        Kind.LISTENING,
        Kind.CONN,
        Kind.LISTEN_CLOSE,
    }
)


class Answer(bytes):
    """A frame that the connection made by itself, to be counted: see `Outbox.answers`."""

    __slots__ = ()


@attrs.define(eq=False, repr=False)
class Outgoing:
    """A message that is not just a few bytes, or has handles.

    Attributes:
        large: it goes in fragments; decided when it was put, for it needs a channel then.
        head: of a message in one frame without handles, where that was made before: header and
            envelope.
        offset: how much of the payload has left.
    """

    kind: int
    channel: int
    envelope: bytes
    payload: memoryview
    handles: tuple[Any, ...]
    large: bool
    head: bytes = b""
    offset: int = 0

    @property
    def size(self) -> int:
        """Bytes that the peer keeps of it at most."""
        return len(self.envelope) + len(self.payload)

    @property
    def is_laden(self) -> bool:
        """Whether it would have been queued as a frame, were it not for its handles."""
        return bool(self.handles) and not self.large and len(self.payload) <= SMALL


@final
class Outbox:
    """The queues of one connection's sending side.

    Attributes:
        fragment_size: longer messages (envelope and payload) go in fragments of this length.
        slack: the last fragment may be so much longer, that none is made for a few bytes.
        max_partial: the peer's limit of that name.
        fds_in_flight: the peer's limit of that name; None when it does not acknowledge handles.
        answers: memory of `Answer` frames that have not left yet.
        handle_frames: how many frames with handles have left.
        put: queues a small frame without handles; the hot path.
    """

    def __init__(self) -> None:
        self.fragment_size = FRAGMENT_SIZE
        self.slack = 0
        self.max_partial = FRAGMENT_SIZE
        self.fds_in_flight: int | None = None
        self.answers = 0
        self.handle_frames = 0
        self._urgent: deque[bytes] = deque()
        self._queue: deque[bytes | Outgoing] = deque()
        self._waiting: deque[Outgoing] = deque()
        self._ring: deque[Outgoing] = deque()
        self._ring_size = 0
        self._large_mail: Outgoing | None = None
        self._held: deque[bytes | Outgoing] = deque()
        self._final: list[bytes] = []
        self._unacknowledged: deque[tuple[int, int]] = deque()
        self._fds_out = 0
        self.put = self._queue.append

    # ---- in -------------------------------------------------------------------------------

    def put_urgent(self, frame: bytes) -> None:
        """Queue a frame that may overtake everything."""
        self._urgent.append(frame)

    def put_answer(self, frame: bytes, *, urgent: bool = False) -> None:
        """Queue a frame that the peer made us send, see `answers`."""
        self.answers += len(frame) + _OBJECT
        (self._urgent if urgent else self._queue).append(Answer(frame))

    def count(self, kinds: Container[int]) -> int:
        """How many frames and messages of these kinds have not left, answers left out."""
        items = (*self._ring, *self._waiting, *self._queue)
        return sum(type(item) is not Answer and _kind_of(item) in kinds for item in items)

    def put_message(
        self,
        kind: int,
        channel: int,
        envelope: bytes,
        payload: bytes | memoryview,
        handles: tuple[Any, ...] = (),
    ) -> None:
        """Queue a message of any size. One that `is_large` needs a ``channel`` of its own."""
        large = self.is_large(len(envelope) + len(payload))
        if large or handles or len(payload) > SMALL:
            view = memoryview(payload)
            self._queue.append(Outgoing(kind, channel, envelope, view, handles, large))
        else:
            self._queue.append(encode_frame(kind, channel, envelope, payload))

    def put_whole(self, kind: int, head: bytes, payload: bytes | memoryview) -> None:
        """Queue a message without handles that goes in one frame, its payload uncopied.

        Args:
            kind: of it.
            head: of the frame, and the envelope.
            payload: the body.
        """
        self._queue.append(Outgoing(kind, 0, b"", memoryview(payload), (), False, head))

    def put_final(self, frame: bytes) -> None:
        """Queue a frame that goes after all others, which no longer wait for anything."""
        self._final.append(frame)
        self.fds_in_flight = None

    def is_large(self, length: int) -> bool:
        """Whether a message of ``length`` bytes (envelope and payload) goes in fragments."""
        return length > self.fragment_size

    def channels(self) -> set[int]:
        """The channels of all that has not left as a whole."""
        items = (*self._ring, *self._waiting, *self._held, *self._queue)
        return {item.channel for item in items if isinstance(item, Outgoing)}

    def acknowledge(self, upto: int) -> bool:
        """Book a HANDLE_ACK; False when it names frames that never left."""
        while self._unacknowledged and self._unacknowledged[0][0] <= upto:
            self._fds_out -= self._unacknowledged.popleft()[1]
        return upto <= self.handle_frames

    def clear(self) -> list[Any]:
        """Drop everything, at the end of the connection; returns handles that never left."""
        handles = [
            handle
            for item in (*self._ring, *self._waiting, *self._held, *self._queue)
            if isinstance(item, Outgoing) and item.offset == 0
            for handle in item.handles
        ]
        self._large_mail = None
        self.answers = self._ring_size = 0
        self._final.clear()
        for lane in (self._urgent, self._queue, self._held, self._waiting, self._ring):
            lane.clear()
        return handles

    # ---- out ------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        """Whether `take` would give anything now."""
        if self._urgent or self._ring:
            return True
        if self._queue:
            return not self._must_wait(self._queue[0])
        return bool(self._final)

    @property
    def is_empty(self) -> bool:
        """Whether all has left; unlike ``not outbox``, counts what waits for HANDLE_ACK."""
        return not (self._urgent or self._ring or self._queue or self._final)

    @property
    def is_jammed(self) -> bool:
        """Whether urgent frames pile up, because the peer does not read."""
        return len(self._urgent) > _JAM

    @property
    def has_urgent(self) -> bool:
        """Whether any urgent frames wait."""
        return bool(self._urgent)

    @property
    def has_mail(self) -> bool:
        """Whether any mail may be left, or part of it."""
        return bool(self._queue) or self._large_mail is not None

    def take_urgent(self) -> bytes:
        """Take the urgent frames alone; empty when there are none."""
        if len(self._urgent) == 1:  # as ever
            frame = self._urgent.popleft()
            if type(frame) is Answer:
                self.answers -= len(frame) + _OBJECT
            return frame
        out = Batches()
        self._take_urgent(out)
        return b"".join(out.small)

    def take(self, limit: int) -> list[Batch]:
        """Take about ``limit`` bytes, at least one frame if any may leave."""
        if len(self._queue) == 1 and not (self._ring or self._final):
            alone = self._take_alone()
            if alone is not None:
                return [alone]
        out = Batches()
        while True:
            size = out.size
            self._take_urgent(out)
            self._take_run(out)
            if out.size >= limit:
                break
            if self._ring:
                self._take_piece(out)
            elif out.size == size:
                break
        if self._final and not (self._queue or self._ring):
            out.add(b"".join(self._final))
            self._final.clear()
        return out.finish()

    def _take_alone(self) -> Batch | None:
        """Take the one frame that is not urgent, if it is small; as the rest does in more steps."""
        item = self._queue[0]
        if type(item) is bytes:
            self._queue.clear()
            return Batch([self.take_urgent() + item if self._urgent else item])
        if not isinstance(item, Outgoing) or not item.is_laden:
            return None
        if self._urgent or self._must_wait(item):
            return None
        self._queue.clear()
        handles = item.handles
        if self.fds_in_flight is not None:
            self._fds_out += len(handles)
        return Batch([_laden_frame(item)], handles, self._number(len(handles)))

    def _take_urgent(self, out: Batches) -> None:
        for frame in self._urgent:
            out.add(frame)
            if type(frame) is Answer:
                self.answers -= len(frame) + _OBJECT
        self._urgent.clear()

    def _take_run(self, out: Batches) -> None:
        """Take what goes whole, up to a buffer full, and begin what goes in fragments."""
        queue, small = self._queue, out.small
        if self._large_mail is None and len(queue) <= _MANY and _BYTES.issuperset(map(type, queue)):
            size = sum(map(len, queue))  # type: ignore[arg-type]  # all are bytes
            if size <= _JOIN:
                small.extend(queue)  # type: ignore[arg-type]  # all are bytes
                queue.clear()
                out.size += size
                out.join()
                return
        taken, room = 0, _JOIN
        while queue and taken < room:
            item = queue.popleft()
            if self._large_mail is not None and _is_mail(item):
                self._held.append(item)
            elif not isinstance(item, Outgoing):
                small.append(item)
                taken += len(item)
                if type(item) is Answer:
                    self.answers -= len(item) + _OBJECT
            elif item.head:
                out.add_large(item.head, item.payload)
                room -= len(item.payload)
            elif self._must_wait(item):
                queue.appendleft(item)
                break
            else:
                size = out.size
                self._begin(item, out)
                room -= out.size - size
        out.size += taken
        out.join()

    def _must_wait(self, item: bytes | Outgoing) -> bool:
        """Whether a frame's handles are more than the peer wants to have under way."""
        if not isinstance(item, Outgoing) or self.fds_in_flight is None or not item.handles:
            return False
        return 0 < self._fds_out and self._fds_out + len(item.handles) > self.fds_in_flight

    def _begin(self, message: Outgoing, out: Batches) -> None:
        """Take a message whole, or make it one of those that are taken in fragments."""
        if self.fds_in_flight is not None:
            self._fds_out += len(message.handles)
        if message.is_laden:
            out.start(message.handles, self._number(len(message.handles)))
            out.add(_laden_frame(message))
            return
        if not message.large:
            self._take_frame(message, message.payload, b"", 0, out)
            return
        self._waiting.append(message)
        if _is_mail(message):
            self._large_mail = message
        self._admit()

    def _admit(self) -> None:
        """Let large messages that wait take turns with the others, if the peer has the memory."""
        waiting = self._waiting
        while waiting and (not self._ring or self._ring_size + waiting[0].size <= self.max_partial):
            self._ring_size += waiting[0].size
            self._ring.append(waiting.popleft())

    def _take_piece(self, out: Batches) -> None:
        """Take one fragment of the large message whose turn it is."""
        message = self._ring[0]
        room = self.fragment_size - len(message.envelope) - _BIN_HEADER
        if len(message.payload) - message.offset <= room + self.slack:
            room += self.slack
        piece = message.payload[message.offset : message.offset + room]
        last = message.offset + len(piece) == len(message.payload)
        flags = FLAG_FRAG if last else FLAG_FRAG | FLAG_MORE
        self._take_frame(message, piece, _bin_head(len(piece)), flags, out)
        if not last:
            self._ring.rotate(-1)
            return
        self._ring.popleft()
        self._ring_size -= message.size
        self._admit()
        if message is self._large_mail:
            self._large_mail = None
            self._queue.extendleft(reversed(self._held))
            self._held.clear()

    def _take_frame(
        self, message: Outgoing, piece: memoryview, bin_head: bytes, flags: int, out: Batches
    ) -> None:
        """Take one frame of a message; with the first go its envelope and its handles."""
        envelope, handles = message.envelope, message.handles
        if message.offset:
            envelope, handles = _NIL, ()
        if handles:
            out.start(handles, self._number(len(handles)))
        length = len(envelope) + len(bin_head) + len(piece)
        nfds = len(handles)
        head = encode_head(message.kind, message.channel, length, flags=flags, nfds=nfds)
        out.add_large(head + envelope + bin_head, piece)
        message.offset += len(piece)

    def _number(self, nfds: int) -> int:
        """Number a frame with handles that leaves now."""
        self.handle_frames += 1
        if self.fds_in_flight is not None:
            self._unacknowledged.append((self.handle_frames, nfds))
        return self.handle_frames


def _laden_frame(message: Outgoing) -> bytes:
    nfds = len(message.handles)
    return encode_frame(message.kind, message.channel, message.envelope, message.payload, nfds=nfds)


def _kind_of(item: bytes | Outgoing) -> int:
    return item.kind if isinstance(item, Outgoing) else item[_KIND_OFFSET]


def _is_mail(item: bytes | Outgoing) -> bool:
    return _kind_of(item) not in _PASSING


def _bin_head(size: int) -> bytes:
    """The head of a msgpack bin, in its shortest form (AWP-LG-1)."""
    if size < 2**8:
        return bytes((0xC4, size))
    if size < 2**16:
        return b"\xc5" + size.to_bytes(2, "big")
    return b"\xc6" + size.to_bytes(4, "big")
