"""The moving parts of a channel: a reader, a writer and a timer round one socket.

Runs in: both

Theory of operation
===================

Three tasks serve a channel, and nobody else touches its socket.

The *reader* reads whatever is there, lets the pure `Connection` turn it into events and acts on
each at once, without a checkpoint: an answer wakes its asker, credit wakes senders, the rest
goes to ``on_event``. It never waits for anything but the socket, so control frames are always
heard, however full a mailbox is.

The *writer* owns what could not be written at once. `flush` is called after queueing frames: the
first call of a burst writes immediately (nothing is gained by waiting, and a round trip would
pay for it), then the writer is woken, and until it has run everything else only queues; it
writes the whole burst with one system call. It stays awake one more pass after each write, so a
sender in a loop pays one system call per scheduler pass. A task cancelled in the middle of a
``sendmsg`` would cut a frame in half; application tasks therefore only queue.

The *timer* sends acknowledgements and credit that nothing else carried along, 20 ms late at most.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, final

import trio

from ..errors import RemoteProtocolError
from ..wire.connection import Batch, Connection
from ..wire.events import Event, HandlesAcknowledged
from .fdsocket import FdSocket
from .handles import close_descriptors

__all__ = ["LINK_LIMITS", "Pace", "Pipe", "close_all"]

#: What both ends announce beside the settings: as many handles as one system call may carry.
LINK_LIMITS: Final = {"max_fds": 253, "fds_in_flight": 253}

_EVERY_MESSAGES: Final = 64
_EVERY_SECONDS: Final = 0.001
_TIMER_SECONDS: Final = 0.02
_STALLED_SECONDS: Final = 0.01


@final
class Pace:
    """Makes an await a cancellation point always, and a scheduling point often enough.

    A scheduling point costs more than a whole small message, so it is taken every 64 messages or
    every millisecond, whichever comes first.
    """

    __slots__ = ("_count", "_last")

    def __init__(self) -> None:
        self._count = 0
        self._last = 0.0

    async def step(self) -> None:
        """Take a cancellation point; a scheduling point when one is due."""
        self._count += 1
        now = time.perf_counter()
        if self._count >= _EVERY_MESSAGES or now - self._last >= _EVERY_SECONDS:
            self._count = 0
            await trio.lowlevel.checkpoint()
            self._last = time.perf_counter()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()


class Pipe:
    """Moves frames between a socket and a `Connection`; knows nothing of what they mean.

    Args:
        socket: this end, owned from now on.
        connection: the protocol core of this end.
        on_event: called for each event, between two checkpoints; must not raise.
    """

    def __init__(
        self, socket: FdSocket, connection: Connection, on_event: Callable[[Event], None]
    ) -> None:
        self.connection = connection
        self._socket = socket
        self._on_event = on_event
        self._unacknowledged_handles: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._writing = False
        self._broken = False
        self._writer: trio.lowlevel.Task | None = None
        self._flushed = trio.Event()
        self._timer_wanted = trio.Event()
        self._reading = trio.CancelScope()
        self._ended = False

    # ---- life -----------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the channel until the peer's end of file.

        Raises:
            RemoteProtocolError: the peer broke the protocol; it was sent an ABORT.

        Cancellation:
            The socket is closed, as it is in every other case.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._tick)
                task_status.started()
                with self._reading:
                    await self._read()
                self._drain()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            fault = group.split(RemoteProtocolError)[0]
            if fault is None:
                raise
            raise _leaf(fault) from None
        finally:
            self._ended = True
            self._close_socket()

    def finish(self) -> None:
        """The peer's process is gone: read what it left behind, then end. Never waits."""
        self._reading.cancel()

    def _close_socket(self) -> None:
        self._socket.close()
        self.connection.receive_eof()
        close_descriptors(self.connection.take_discarded())
        for _, handles in self._unacknowledged_handles:
            close_all(handles)
        self._unacknowledged_handles.clear()
        for handle in self.connection.take_unsent_handles():
            handle.close()

    @property
    def ended(self) -> bool:
        """Whether the channel is over; nothing can be said or heard any more."""
        return self._ended

    # ---- reading --------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection  # descriptors must not be lost between two lines
    async def _read(self) -> None:
        while True:
            got = self._socket.receive_now()
            if got is None:
                await self._socket.wait_readable()
                continue
            if not self._take(*got):
                return
            if self._socket.is_full_read:
                await trio.lowlevel.checkpoint()
            else:
                await self._socket.wait_readable()

    @trio.lowlevel.enable_ki_protection
    def _drain(self) -> None:
        """Read what the peer left behind, without waiting for anything."""
        while (got := self._socket.receive_now()) is not None and self._take(*got):
            pass

    def _take(self, data: memoryview, fds: list[int], truncated: bool) -> bool:
        """Act on one read; False at the end of the stream."""
        if not data and not fds:
            return False
        connection = self.connection
        fault: RemoteProtocolError | None = None
        try:
            events = connection.receive(data, fds, truncated)
        except RemoteProtocolError as exc:
            fault = exc
            events = connection.take_events()
        on_event = self._on_event
        for event in events:
            on_event(event)
        if discarded := connection.take_discarded():
            close_descriptors(discarded)
        if fault is not None:
            self._push()  # the ABORT; there is no later
            raise fault
        if connection.wants_to_send():
            self.flush()
        elif connection.due():
            self._timer_wanted.set()
        return True

    def release_handles(self, event: HandlesAcknowledged) -> None:
        """The peer has them: close our copies."""
        held = self._unacknowledged_handles
        while held and held[0][0] <= event.upto:
            close_all(held.popleft()[1])

    # ---- writing --------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what was queued: the first of a burst at once, the rest with the writer."""
        if self._writing or self._writer is None:
            return
        self._writing = True
        self._push()
        trio.lowlevel.reschedule(self._writer)

    def _push(self) -> bool:
        """Write until nothing is left or the socket is full.

        Returns:
            False when the socket is full.
        """
        if self._broken:
            self._drop(self.connection.data_to_send())
            return True
        connection, socket = self.connection, self._socket
        try:
            if not socket.send_now(()):
                return False
            while connection.wants_to_send():
                for batch in connection.data_to_send():
                    handles = batch.handles
                    done = socket.send_now(batch.buffers, [h.fileno() for h in handles])
                    if handles:
                        self._unacknowledged_handles.append((batch.number, handles))
                if not done:
                    return False
        except trio.BrokenResourceError:
            # Whatever the peer said before it went away is still to be read; the reader ends us.
            self._broken = True
        return True

    def _drop(self, batches: list[Batch]) -> None:
        """Nobody is there to read this."""
        for batch in batches:
            close_all(batch.handles)

    async def _write(self) -> None:
        self._writer = trio.lowlevel.current_task()
        self._writing = True  # frames may have been queued before this task existed
        while True:
            await self._write_burst()
            self._writing = False
            self._flushed.set()
            self._flushed = trio.Event()
            await trio.lowlevel.wait_task_rescheduled(self._end_writer)

    def _end_writer(self, _: Any) -> trio.lowlevel.Abort:
        self._writer = None  # who calls flush() from now on must not reschedule it as well
        return trio.lowlevel.Abort.SUCCEEDED

    async def _write_burst(self) -> None:
        while True:
            wrote = self.connection.wants_to_send()
            while not self._push():
                if self._socket.stalled:
                    await trio.sleep(_STALLED_SECONDS)
                else:
                    await self._socket.wait_writable()
            if not wrote:
                return
            await trio.lowlevel.checkpoint()

    @property
    def is_flushed(self) -> bool:
        """Whether everything queued so far has been written, or never will be."""
        if self._broken or self._ended:
            return True
        return not self._socket.unsent and not self.connection.wants_to_send()

    async def wait_flushed(self) -> None:
        """Wait until everything queued so far has been written.

        Cancellation:
            What is queued stays queued.
        """
        while not self.is_flushed:
            await self._flushed.wait()
        await trio.lowlevel.checkpoint()

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more comes, after `wait_flushed`."""
        self._socket.shutdown_write()

    async def _tick(self) -> None:
        while True:
            await self._timer_wanted.wait()
            await trio.sleep(_TIMER_SECONDS)
            self._timer_wanted = trio.Event()
            self.connection.flush_grants()
            self.flush()


def close_all(handles: tuple[Any, ...]) -> None:
    """Close handles that nobody needs any more."""
    for handle in handles:
        handle.close()


def _leaf(group: BaseExceptionGroup[RemoteProtocolError]) -> RemoteProtocolError:
    """Take the one protocol fault out of the groups that nurseries wrap it in."""
    exc: BaseException = group
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    assert isinstance(exc, RemoteProtocolError)
    return exc
