"""The writing side of a channel: what was queued leaves at once, or in few and large pieces.

Runs in: both

Theory of operation
===================

The *writer* owns what was not written at once. `flush` is called after queueing frames: the first
call in a scheduler pass writes immediately (nothing is gained by waiting, and a round trip would
pay for it). The second wakes the writer. Until that goes to sleep again everything else only
queues, and the writer looks once per scheduler pass and writes the lot with one system call. Of
asks and answers a portion leaves earlier: where many are under way both ends then work at the same
time, each on a part of them, and not in turns on all. So does one of large messages, which are in
the processor's cache then as they were encoded a moment ago. A dense stream of small messages
(`flush_small`) it even lets grow for a few passes: each system call here is one there as well, and
a wake-up, and a receiver that is faster than the sender pays for every one. Anything else that is
queued ends that at the next look. The writer sleeps after two looks in vain: in a pass it may have
its turn before or after a sender, so one says nothing. For the acknowledgement of handles it wakes,
but gives all others a turn first: an answer comes before it.

A task cancelled in the middle of a ``sendmsg`` would cut a frame in half; application tasks
therefore only queue, or write what can be written without waiting.

A descriptor that was queued stays open until the peer has acknowledged it, or the end; then it
is closed here. Nobody can make that happen before its number has been handed to the kernel.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import trio

from ..wire._generated import Capability
from ..wire.connection import Batch, Connection
from .carrier import Carrier
from .pace import EVERY_MESSAGES
from .passes import Passes, passes

__all__ = ["Writing", "close_all"]

log = logging.getLogger("actorcluster.link")

_STALLED_SECONDS: Final = 0.01
_TROUBLE: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)
#: A stream is dense when so many small messages came between two looks of the writer ...
_DENSE: Final = EVERY_MESSAGES // 2
#: ... and then it may grow to so many, which take the receiver longer than the wait.
_ENOUGH: Final = 4 * EVERY_MESSAGES
#: So many asks, answers and the like do not wait for the writer's look.
_PORTION: Final = 24
#: Nor do large messages of so many bytes: half of what the other end takes with one read.
_HEAP: Final = 256 * 1024


class Writing:
    """The half of a `Pipe` that writes.

    Args:
        socket: this end, owned from now on.
        connection: the protocol core of this end.
    """

    def __init__(self, socket: Carrier, connection: Connection) -> None:
        self.connection = connection
        self._socket = socket
        #: of the reader; cancelled when there is no sense in reading on.
        self._reading = trio.CancelScope()
        self._ended = False
        # the writer: its task, None before it begins; whether it is awake; whether it gives all
        # others a turn before it looks
        self._writer: trio.lowlevel.Task | None = None
        self._writing = False
        self._is_patient = False
        self._passes = Passes()
        #: the pass of the scheduler in which the latest `_push` was.
        self._pushed_in = -1
        #: small messages since the last `_push`, and whether anything else was queued since; of
        #: that, how much while the writer was awake.
        self._gathered = 0
        self._hurry = False
        self._hurried = 0
        #: bytes of large messages that were queued while it was awake.
        self._heaped = 0
        #: nothing can be written any more, and what is queued is dropped.
        self._broken = False
        #: nothing will be queued any more.
        self._is_last = False
        #: bytes given to the socket so far, written or not.
        self._given = 0
        #: set and replaced with each `_push`, where somebody waits for that.
        self._pushed: trio.Event | None = None
        #: of frames with handles: their number, see `Batch`, and what keeps the descriptors open.
        self._lent: deque[tuple[int, tuple[Any, ...]]] = deque()

    # ---- writing --------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection  # a writer that is awake and was not woken sleeps for ever
    def flush(self) -> None:
        """Send what was queued: the first of a burst at once, the rest when the writer looks."""
        self._hurry = True
        if not self._writing or self._is_patient:
            self._write_or_wake()
        else:
            self._hurried += 1
            if self._hurried >= _PORTION and not self._is_full:
                self._push()

    def _write_or_wake(self) -> None:
        if self._ended:
            close_all(self.connection.take_unsent_handles())
        elif self._writer is not None:  # else it has yet to begin, and begins with a look
            is_first = self._writing or self._pushed_in != self._passes.count
            if is_first and self._push() and not self._writing:
                return  # nothing is left, and maybe nothing more comes in this pass
            self._wake_writer(is_patient=False)

    def _wake_writer(self, *, is_patient: bool) -> None:
        if self._writer is not None and not self._writing:
            self._writing = True
            trio.lowlevel.reschedule(self._writer)
        self._is_patient = is_patient

    def write_now(self) -> None:
        """Write what was queued before `run`, so without Trio; the rest is written there."""
        self._push()

    @trio.lowlevel.enable_ki_protection
    def flush_once(self) -> None:
        """Do the same where no burst follows: unless something is left the writer sleeps on.

        To look in vain it would keep the loop from sleeping for two passes.
        """
        asleep = self._writer is not None and not self._writing
        if not asleep or not self._push() or self.connection.wants_to_send():
            self.flush()

    def flush_small(self) -> None:
        """Do the same for a small message, which may wait for more in a dense stream of them."""
        self._gathered += 1
        if not self._writing or self._is_patient:
            self._write_or_wake()

    def _heap(self, size: int) -> None:
        """A large message was queued while the writer is awake."""
        self._heaped += size
        if self._heaped >= _HEAP and not self._is_full:
            self._push()

    def _push(self) -> bool:
        """Write until nothing is left or the socket is full.

        Returns:
            False when the socket is full.
        """
        self._gathered, self._hurry, self._hurried, self._heaped = 0, False, 0, 0
        self._pushed_in = self._passes.count
        connection = self.connection
        done = not self._socket.unsent or self._write_now(())
        while done and connection.wants_to_send():
            done = self._write_now(connection.data_to_send())
        if self._lent and Capability.HANDLE_ACK not in connection.capabilities:
            self._release(self._socket.groups_sent)  # nobody will say when they have arrived
        if done and self._is_last:
            self.shutdown_write()
        self._tell_progress()
        return done

    def _write_now(self, batches: Sequence[Batch]) -> bool:
        """Give batches to the socket; False when it keeps something for later."""
        lent, socket = self._lent, self._socket
        for batch in batches:  # all of them first: they are ours to close, whatever happens
            self._given += sum(map(len, batch.buffers))
            if batch.handles:
                lent.append((batch.number, batch.handles))
        try:
            if self._broken:
                return True
            done = not socket.unsent or socket.send_now(())  # what it kept the last time
            for batch in batches:
                done = socket.send_now(batch.buffers, batch.handles)
            return done
        except _TROUBLE as exc:
            self._cannot_write(exc)
        return True

    def _cannot_write(self, exc: Exception) -> None:
        self._broken = True
        # When the peer is gone, whatever it said before is still to be read; the reader ends us.
        if not isinstance(exc, trio.BrokenResourceError):
            # A descriptor was closed behind our back, or the peer lets none through. Something is
            # missing in the stream now.
            log.error("a channel ends, it cannot be written: %s", exc)
            self._reading.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        self._writer = trio.lowlevel.current_task()
        self._writing = True  # frames may have been queued before this task existed
        self._passes = passes()
        while True:
            if self._is_patient:
                await trio.lowlevel.checkpoint()
                self._is_patient = False
            await self._write_burst()
            self._writing = False
            await trio.lowlevel.wait_task_rescheduled(self._end_writer)

    def _end_writer(self, _: Any) -> trio.lowlevel.Abort:
        self._writer = None  # who calls flush() from now on must not reschedule it as well
        return trio.lowlevel.Abort.SUCCEEDED

    async def _write_burst(self) -> None:
        was_idle, seen = True, 0
        while True:
            new, seen = self._gathered - seen, self._gathered
            grows = new >= _DENSE and seen < _ENOUGH and not self._hurry
            is_idle = not self.connection.wants_to_send() and not self._is_full
            if not is_idle and not grows:
                await self._push_all()
                seen = 0
            if is_idle and was_idle:
                return
            was_idle = is_idle
            await trio.lowlevel.checkpoint()

    @property
    def _is_full(self) -> bool:
        """Whether the socket keeps bytes for later."""
        return self._socket.unsent > 0 and not self._broken

    async def _push_all(self) -> None:
        while not self._push():
            if self._socket.stalled:
                await trio.sleep(_STALLED_SECONDS)
            else:
                try:
                    await self._socket.wait_writable()
                except trio.ClosedResourceError:
                    if self._socket.is_closed:
                        raise

    # ---- waiting for what was written -----------------------------------------------------

    @property
    def is_flushed(self) -> bool:
        """Whether everything queued so far has been written, or never will be."""
        if self._broken or self._ended:
            return True
        return not self._socket.unsent and not self.connection.has_unsent()

    async def wait_flushed(self) -> None:
        """Wait until everything queued so far has been written.

        Cancellation:
            What is queued stays queued.
        """
        self.flush()
        while not self.is_flushed:
            await self._progress()
        await trio.lowlevel.checkpoint()

    @property
    def is_clear(self) -> bool:
        """Whether what is given to `write_at_once` would be written, as far as anybody knows."""
        return self._writer is not None and not (self._socket.unsent or self._broken)

    def write_at_once(self, frames: bytes) -> bool:
        """Write urgent frames that were taken from the connection; see `write_out`.

        Returns:
            False when the socket keeps some of it for later.
        """
        self._given += len(frames)
        try:
            return self._socket.send_now((frames,))
        except _TROUBLE as exc:
            self._cannot_write(exc)
        return True

    async def write_out(self) -> None:
        """Write the urgent frames queued so far, without waiting for the end of a burst.

        Returns once the kernel has them, which is at once, without a checkpoint, unless the socket
        is full. Other traffic cannot delay it: urgent frames go first.

        Cancellation:
            What is queued stays queued.
        """
        connection = self.connection
        if self._writer is not None:
            if not self._is_full and self._write_now((Batch([connection.urgent_to_send()]),)):
                return  # the writer need not even wake up
            if not self._push() and connection.wants_to_send():
                self._write_now(connection.data_to_send(1))  # fixes their place in the stream
        if self.is_flushed:
            return
        self.flush()
        position = self._given
        while self._is_full and self._given - self._socket.unsent < position:
            await self._progress()

    async def _progress(self) -> None:
        if self._pushed is None:
            self._pushed = trio.Event()
        await self._pushed.wait()

    def _tell_progress(self) -> None:
        if self._pushed is not None:
            self._pushed.set()
            self._pushed = None

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more comes, after `wait_flushed`."""
        if not self._ended:
            self._socket.shutdown_write()

    def end_writing(self) -> None:
        """Send what was queued, and then tell the peer that nothing more comes (AWP-ST-2)."""
        self._is_last = True
        self.flush()

    def _release(self, upto: int) -> None:
        """Close our copies of what has arrived."""
        lent = self._lent
        while lent and lent[0][0] <= upto:
            close_all(lent.popleft()[1])


def close_all(handles: Iterable[Any]) -> None:
    """Close handles that nobody needs any more, all of them, whatever happens to one."""
    for handle in handles:
        try:
            handle.close()
        except OSError:  # closed behind our back, or a late write error; it is gone anyway
            pass
