"""A channel in two sockets: bytes by the one, handles by the other, in the lines of Node's IPC.

Runs in: primary

Theory of operation
===================

For a runtime that can read bytes from an inherited socket, and descriptors on a channel of its own
only. To the pipe this is one carrier like any other: it marks the frames that have handles, sends
these by the lane, and gives on what came by both as if it had come by one, see `pairing`.

*Waiting.* Both sockets are in one ``epoll``, which is what is waited for. A frame whose handles are
not there holds up what is behind it, so meanwhile only the lane is watched. It is given up after
`PATIENCE` seconds. A lane that brings many handles which nobody declares is not watched either.

*Answers.* Node says of each handle whether it got it, in their order; what got lost on the way is
sent again, a few times. A handle is still ours until then wherever the worker acknowledges handles
(AWP-HA-3); else it was closed, and is lost. We say the same of those that come.

*The end.* A lane that ends, or says what is no line of Node's, is over: what is due is lost, and
the next handle that is to be sent ends the channel. The stream of bytes goes on until then.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, final

import attrs
import trio

from ..wire._generated import FLAG_LANE
from .carrier import End
from .fdsocket import RECEIVE_SIZE, Buffer, Descriptor, FdSocket, Group
from .handles import close_descriptors
from .kinds import is_udp_ipv6, real_kind
from .nodelines import ACK, KINDS, LONGEST, NACK, handle_line, read_line
from .pairing import Pairing

__all__ = ["LaneEnd", "LaneSocket"]

log = logging.getLogger("actorcluster.link")

PATIENCE: Final = 5.0
"""Seconds from a frame to its handles."""
_MOST_TRIES: Final = 4
_MOST_UNCLAIMED: Final = 128
_MOST_UNPAIRED: Final = 16
"""Descriptors without the line that they belong to."""
_MOST_UNANSWERED: Final = 1024
_MOST_ANSWERS: Final = 64 * 1024
"""Bytes of answers that it does not read."""
_READ_SIZE: Final = 16 * 1024
_MOST_READS: Final = 4
_FLAGS: Final = 8


class LaneEnd(End, Protocol):
    """Our end of the lane itself; `FdSocket` says what this means."""

    def receive_now(
        self, most: int = RECEIVE_SIZE
    ) -> tuple[memoryview, list[int], bool] | None: ...


@final
@attrs.define(eq=False)
class _Sent:
    """A handle that Node has not answered for."""

    line: bytes
    handle: Descriptor
    tries: int = 1


@final
class LaneSocket:
    """A carrier of bytes and handles, see `Carrier`.

    Args:
        stream: for the bytes, owned from now on.
        lane: for the handles, likewise.
    """

    def __init__(self, stream: socket.socket, lane: socket.socket) -> None:
        self._stream = FdSocket(stream)
        self._lane: LaneEnd = FdSocket(lane)
        self._numbers: dict[object, int] = {
            self._stream: stream.fileno(),
            self._lane: lane.fileno(),
        }
        self._epoll = select.epoll()
        self._watched: set[object] = set()
        self._pairing = Pairing()
        self._line = bytearray()
        self._came: deque[int | None] = deque()  # descriptors of lines; None: lost on the way
        self._unanswered: deque[_Sent] = deque()
        self._sent = 0  # handles, numbered
        self._posted = 0  # lines with handles, those that were sent again included
        self._groups: deque[int] = deque()  # of each, how many lines were posted with its last
        self._groups_sent = 0
        self._lane_is_over = self._stream_is_over = False
        self._until = float("inf")
        self.is_full_read = False

    def wrap_lane(self, wrap: Callable[[LaneEnd], LaneEnd]) -> None:
        """Have all that goes over the lane go through something else; nothing has so far."""
        number = self._numbers.pop(self._lane)
        self._lane = wrap(self._lane)
        self._numbers[self._lane] = number

    # ---- writing --------------------------------------------------------------------------

    @property
    def stalled(self) -> bool:
        return self._stream.stalled or self._lane.stalled

    @property
    def sends(self) -> int:
        return self._stream.sends + self._lane.sends

    @property
    def receives(self) -> int:
        return self._stream.receives + self._lane.receives

    @property
    def unsent(self) -> int:
        return self._stream.unsent + self._lane.unsent

    @property
    def groups_sent(self) -> int:
        while self._groups and self._groups[0] <= self._lane.groups_sent:
            self._groups.popleft()
            self._groups_sent += 1
        return self._groups_sent

    @trio.lowlevel.enable_ki_protection
    def send_now(self, buffers: Sequence[Buffer], fds: Sequence[Descriptor] = ()) -> bool:
        """See `FdSocket.send_now`; the descriptors go by the lane."""
        if fds:
            for fd in fds:
                self._send_handle(fd)
            self._groups.append(self._posted)
            head = bytearray(buffers[0])
            head[_FLAGS] |= FLAG_LANE
            buffers = (head, *buffers[1:])
        elif self._lane.unsent:
            self._write_lane((), ())
        return self._stream.send_now(buffers) and not self._lane.unsent

    def _send_handle(self, handle: Descriptor) -> None:
        fd = handle if isinstance(handle, int) else handle.fileno()
        kind = real_kind(fd)
        if kind not in KINDS:
            raise OSError(errno.EINVAL, f"Node can be given no {kind.name.lower()}")
        self._sent += 1
        sent = _Sent(handle_line(self._sent, kind, is_ipv6=is_udp_ipv6(fd, kind)), handle)
        self._post(sent)
        if self._lane_is_over:
            raise OSError(errno.EPIPE, "the lane for handles is over")

    def _post(self, sent: _Sent) -> None:
        if len(self._unanswered) >= _MOST_UNANSWERED:
            self._end_lane("it does not answer")
        if self._lane_is_over:
            return
        self._unanswered.append(sent)
        self._posted += 1
        self._write_lane((sent.line,), (sent.handle,))

    def _write_lane(self, buffers: Sequence[Buffer], fds: Sequence[Descriptor]) -> None:
        try:
            self._lane.send_now(buffers, fds)
        except trio.BrokenResourceError:
            self._end_lane("it was closed")

    async def wait_writable(self) -> None:
        """Wait until something of what is kept can be written."""
        await (self._lane if self._lane.unsent else self._stream).wait_writable()

    def shutdown_write(self) -> None:
        """See `FdSocket.shutdown_write`."""
        self._stream.shutdown_write()

    # ---- reading --------------------------------------------------------------------------

    @property
    def placed(self) -> int:
        return 0  # what comes by the stream may have to wait for the lane

    @trio.lowlevel.enable_ki_protection
    def gather_now(
        self, most: int = RECEIVE_SIZE, place: memoryview | None = None
    ) -> tuple[memoryview, list[Group]] | None:
        """See `FdSocket.gather_now`."""
        pairing = self._pairing
        if not (pairing.awaits or self._stream_is_over):
            self._read_stream(most)
        self._read_lane()
        if pairing.awaits and trio.current_time() >= self._until:
            pairing.give_up()
            self._until = float("inf")
        if self._stream_is_over and pairing.awaits:
            pairing.end()  # whoever has ended has sent all that it ever will
        if not pairing.awaits:
            self._until = float("inf")
        elif self._until == float("inf"):
            self._until = trio.current_time() + PATIENCE
        data, groups = pairing.take()
        close_descriptors(pairing.discarded)
        pairing.discarded = []
        if self._stream_is_over and not data:
            data = pairing.take_rest()
        has_more = self._stream.is_full_read and not pairing.awaits
        self.is_full_read = has_more or self._stream_is_over
        if not data and not groups and not self._stream_is_over:
            return None
        return memoryview(data), groups

    def _read_stream(self, most: int) -> None:
        got = self._stream.gather_now(most)
        if got is None:
            return
        data, groups = got
        for fds, _ in groups:  # there is a lane for them
            close_descriptors(fds)
        if data:
            self._pairing.feed(data)
        elif not groups:
            self._stream_is_over = True

    def _read_lane(self) -> None:
        for _ in range(_MOST_READS):
            if self._lane_is_over or not self._takes_handles:
                return
            got = self._lane.receive_now(_READ_SIZE)
            if got is None:
                return
            data, fds, truncated = got
            self._came.extend(fds)
            if truncated and not fds:
                self._came.append(None)
            if not data and not fds:
                self._end_lane("it was closed")
                return
            self._line += data
            self._read_lines()

    @property
    def _takes_handles(self) -> bool:
        return self._pairing.awaits or self._pairing.unclaimed < _MOST_UNCLAIMED

    def _read_lines(self) -> None:
        *lines, self._line = self._line.split(b"\n")
        for line in lines:
            try:
                said = read_line(line)
            except ValueError:
                self._end_lane("it says what Node does not")
                return
            if isinstance(said, int):
                self._take_handle(said)
            elif said != "other":
                self._take_answer(is_there=said == "ack")
        if len(self._line) > LONGEST or len(self._came) > _MOST_UNPAIRED:
            self._end_lane("it says too much at once")
        elif self._lane.unsent > _MOST_ANSWERS:
            self._end_lane("it does not read")

    def _take_handle(self, number: int) -> None:
        fd = self._came.popleft() if self._came else None
        if fd is not None:
            self._pairing.bring(number, fd)
        self._write_lane((NACK if fd is None else ACK,), ())

    def _take_answer(self, *, is_there: bool) -> None:
        if not self._unanswered:
            return
        sent = self._unanswered.popleft()
        if not is_there and sent.tries < _MOST_TRIES and _is_open(sent.handle):
            sent.tries += 1
            self._post(sent)

    def _end_lane(self, why: str) -> None:
        if not self._lane_is_over:
            self._lane_is_over = True
            log.info("a lane for handles is over: %s", why)
            close_descriptors([fd for fd in self._came if fd is not None])
            self._came.clear()
            self._unanswered.clear()
            self._pairing.end()

    def pending(self) -> int:
        """Return how many bytes are there to be read now."""
        return self._stream.pending()

    async def wait_readable(self) -> None:
        """Wait until there may be something to read, by either way, or to give up."""
        if self.is_closed:
            raise trio.ClosedResourceError("this end of the link is closed")
        self._watch(self._stream, not self._pairing.awaits and not self._stream_is_over)
        self._watch(self._lane, not self._lane_is_over and self._takes_handles)
        with trio.move_on_at(self._until):
            await trio.lowlevel.wait_readable(self._epoll)

    def _watch(self, which: object, wanted: bool) -> None:
        if wanted and which not in self._watched:
            self._epoll.register(self._numbers[which], select.EPOLLIN)
            self._watched.add(which)
        elif not wanted and which in self._watched:
            self._epoll.unregister(self._numbers[which])
            self._watched.discard(which)

    def interrupt(self) -> None:
        """See `FdSocket.interrupt`."""
        trio.lowlevel.notify_closing(self._epoll)

    # ---- the end --------------------------------------------------------------------------

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._stream.is_closed

    def close(self) -> None:
        """Close both sockets, and all that they brought; may be called again."""
        if self.is_closed:
            return
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(self._epoll)
        self._epoll.close()
        self._stream.close()
        self._lane.close()
        self._end_lane("the channel is")
        close_descriptors(self._pairing.take_all())


def _is_open(handle: Descriptor) -> bool:
    try:
        os.fstat(handle if isinstance(handle, int) else handle.fileno())
    except (OSError, trio.ClosedResourceError):
        return False
    return True
