"""The moving parts of a channel: a reader, a writer and a timer round one socket.

Runs in: both

Theory of operation
===================

Three tasks serve a channel, and nobody else waits for its socket.

The *reader* reads what is there, lets the pure `Connection` turn it into events and acts on each
at once, without a checkpoint: an answer wakes its asker, credit wakes senders, the rest goes to
``on_event``. It waits for nothing but the socket, so control frames are always heard, however
full a mailbox is. But it reads many small messages no faster than a busy task receives them: few
at once, and some scheduler passes later the next, unless those take long. What would pile up
otherwise are thousands of living objects, and Python's garbage collector takes longer to walk
over them than everything else here takes together.

The *writer* owns what was not written at once. `flush` is called after queueing frames: the
first call of a burst writes immediately (nothing is gained by waiting, and a round trip would
pay for it) and wakes the writer. Until that goes to sleep again everything else only queues, and
the writer looks once per scheduler pass and writes the lot with one system call. A dense stream
of small messages (`flush_small`) it even lets grow for a few passes: each system call here is one
there as well, and a wake-up, and a receiver that is faster than the sender pays for every one.
Anything else that is queued ends that at the next look. The writer sleeps after two looks in
vain: in a pass it may have its turn before or after a sender, so one says nothing. For the
acknowledgement of handles it wakes, but gives all others a turn first: an answer comes before it.

A task cancelled in the middle of a ``sendmsg`` would cut a frame in half; application tasks
therefore only queue, or write what can be written without waiting.

The *timer* sends acknowledgements and credit that nothing else carried along, 20 ms late at most.

A descriptor that was queued stays open until the peer has acknowledged it, or the end; then it
is closed here. Nobody can make that happen before its number has been handed to the kernel.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import trio

from ..errors import RemoteProtocolError
from ..wire._generated import AbortCode, Capability, State
from ..wire.connection import Batch, Connection
from ..wire.events import Event, HandlesAcknowledged
from .fdsocket import RECEIVE_SIZE, FdSocket, Group
from .handles import close_descriptors
from .pace import EVERY_MESSAGES, EVERY_SECONDS

__all__ = ["LINK_LIMITS", "Pipe", "close_all"]

log = logging.getLogger("actorcluster.link")

#: What both ends announce beside the settings: as many handles as one system call may carry.
LINK_LIMITS: Final = {"max_fds": 253, "fds_in_flight": 253}

#: The most that is read at once of a dense stream of small messages.
_DENSE_SIZE: Final = 16 * 1024
#: The same is read at once after a read that took so long, e.g. of many small broken messages:
#: nobody else has a turn in between.
_SLOW_SECONDS: Final = 0.01
#: Passes that a receiver gets after such a read: one per 64 messages, so many at most ...
_MOST_TURNS: Final = 16
#: ... and some more, so that a backlog gets smaller and not larger.
_SPARE_TURNS: Final = 2
_TIMER_SECONDS: Final = 0.02
_STALLED_SECONDS: Final = 0.01
#: Somebody may lead where no more than so many messages come at once.
_SPARSE: Final = 8
#: For the ABORT, where the socket is full; a peer at fault deserves no more patience.
_LAST_WORDS_SECONDS: Final = 0.5

#: A stream is dense when so many small messages came between two looks of the writer ...
_DENSE: Final = EVERY_MESSAGES // 2
#: ... and then it may grow to so many, which take the receiver longer than the wait.
_ENOUGH: Final = 4 * EVERY_MESSAGES


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
        #: what is not for `on_event`: class of the event -> what to do.
        self._acts: dict[type, Callable[[Any], None]] = {
            HandlesAcknowledged: self._on_handles_acknowledged
        }
        #: events of the last read.
        self._taken = 0
        self._fault: RemoteProtocolError | None = None
        #: whether somebody reads in the reader's place, and waits for something to read.
        self._leads = self._leader_waits = False
        #: what that one met: a fault, or the end.
        self._met_by_leader: RemoteProtocolError | None = None
        self._over = False
        #: the reader: whether it waits for something to read, or for its turn after a leader.
        self._waits = self._steps_aside = False
        self._stands_by: trio.lowlevel.Task | None = None
        self._reading = trio.CancelScope()
        self._ended = False
        # the writer: its task, None before it begins; whether it is awake; whether it gives all
        # others a turn before it looks
        self._writer: trio.lowlevel.Task | None = None
        self._writing = False
        self._is_patient = False
        #: small messages since the last `_push`, and whether anything else was queued since.
        self._gathered = 0
        self._hurry = False
        #: nothing can be written any more, and what is queued is dropped.
        self._broken = False
        #: bytes given to the socket so far, written or not.
        self._given = 0
        #: set and replaced with each `_push`, where somebody waits for that.
        self._pushed: trio.Event | None = None
        #: of frames with handles: their number, see `Batch`, and what keeps the descriptors open.
        self._lent: deque[tuple[int, tuple[Any, ...]]] = deque()
        self._grants_due = trio.Event()
        #: whether that is set; asked for each message.
        self.is_timed = False

    # ---- life -----------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection  # Ctrl-C is for the caller's code, not for these tasks
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the channel until the peer's end of file.

        Raises:
            RemoteProtocolError: the peer broke the protocol; it was sent an ABORT.

        Cancellation:
            The socket is closed, as it is in every other case.
        """
        fault: RemoteProtocolError | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._tick)
                task_status.started()
                try:
                    with self._reading:
                        await self._read()
                    if self._reading.cancelled_caught:
                        self._drain()
                except RemoteProtocolError as exc:
                    fault = exc
                    with trio.move_on_after(_LAST_WORDS_SECONDS):
                        await self.wait_flushed()
                nursery.cancel_scope.cancel()
        finally:
            self._end()
        if fault is not None:
            raise fault

    def finish(self) -> None:
        """The peer's process is gone: read what it left behind, then end. Never waits."""
        self._reading.cancel()

    def _end(self) -> None:
        self._ended = True
        self._writing, self._writer = False, None
        self._socket.close()
        self.connection.receive_eof()
        close_descriptors(self.connection.take_discarded())
        while self._lent:
            close_all(self._lent.popleft()[1])
        close_all(self.connection.take_unsent_handles())
        self._tell_progress()

    @property
    def ended(self) -> bool:
        """Whether the channel is over; nothing can be said or heard any more."""
        return self._ended

    # ---- reading --------------------------------------------------------------------------

    async def _read(self) -> None:
        socket, most = self._socket, _DENSE_SIZE
        while True:
            if self._leads:
                await self._stand_by()
                continue
            if self._met_by_leader is not None:
                raise self._met_by_leader
            if self._over:
                return
            try:
                got = socket.gather_now(most)
            except OSError as exc:  # the kernel has no memory: like the end of the stream
                log.error("a channel ends, it cannot be read: %s", exc)
                return
            begin = time.perf_counter()
            if got is not None and not self._take(*got):
                return
            is_slow = time.perf_counter() - begin > _SLOW_SECONDS
            most = _DENSE_SIZE if is_slow else RECEIVE_SIZE
            if self._taken >= EVERY_MESSAGES and await self._give_turns(self._taken):
                most = _DENSE_SIZE
            elif socket.is_full_read:
                await trio.lowlevel.checkpoint()
            if not socket.is_full_read:
                await self._wait_readable()

    async def _wait_readable(self) -> None:
        self._waits = True
        try:
            await self._socket.wait_readable()
        except trio.ClosedResourceError:
            if self._socket.is_closed:
                raise
        finally:
            self._waits = False

    # ---- reading in the reader's place ----------------------------------------------------

    @property
    def may_lead(self) -> bool:
        """Whether who begins to wait for something of the peer's may read meanwhile, see `lead`."""
        if self._leads or self._ended or self._taken > _SPARSE or self._is_full:
            return False
        return self._waits or self._steps_aside

    @trio.lowlevel.enable_ki_protection
    async def lead(self, is_over: Callable[[], bool]) -> None:
        """Read in the reader's place, until something is over; returns earlier if it must.

        For a task that waits for one thing of the peer's and nothing else: it saves the pass of the
        scheduler that passes from the reader to who was waiting, a quarter of a round trip. What
        comes meanwhile is acted upon as ever. Only while `may_lead`.

        Args:
            is_over: called after each read; `interrupt` has it called at once.

        Cancellation:
            ``is_over`` was false when it was last called, and nothing was read since.
        """
        self._leads = True
        if self._waits:
            self._socket.interrupt()  # the reader stands by from its next turn on
        try:
            while not is_over():
                self._leader_waits = True
                try:
                    await self._socket.wait_readable()
                except trio.ClosedResourceError:  # it was interrupted, or is closed
                    if self._ended:
                        return
                    continue
                finally:
                    self._leader_waits = False
                if not self._read_once():
                    return
        finally:
            self._leads = False
            if self._stands_by is not None:  # it may find that the next one leads already
                task, self._stands_by = self._stands_by, None
                trio.lowlevel.reschedule(task)

    def interrupt(self) -> None:
        """Have whoever leads look whether it is over."""
        if self._leader_waits:
            self._socket.interrupt()

    def _read_once(self) -> bool:
        """Read as the reader does; False when that is the one to go on."""
        try:
            got = self._socket.gather_now(RECEIVE_SIZE)
            if got is not None and not self._take(*got):
                self._over = True
        except OSError:  # it will be there for the reader as well
            return False
        except RemoteProtocolError as exc:
            self._met_by_leader = exc
            return False
        return not (self._over or self._socket.is_full_read or self._taken >= EVERY_MESSAGES)

    async def _stand_by(self) -> None:
        """Let somebody else read."""
        self._stands_by = trio.lowlevel.current_task()
        self._steps_aside = True

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._stands_by = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        self._steps_aside = False

    async def _give_turns(self, messages: int) -> bool:
        """Let others run for as long as it takes to receive so many messages.

        Returns:
            False when they took much longer: it is not us that somebody waits for.
        """
        turns = min(messages // EVERY_MESSAGES, _MOST_TURNS) + _SPARE_TURNS
        until = time.perf_counter() + turns * EVERY_SECONDS
        for _ in range(turns):
            await trio.lowlevel.checkpoint()
            if time.perf_counter() > until:
                return False
        return True

    def _drain(self) -> None:
        """Read what is there now, but not what somebody who has the peer's end goes on writing."""
        left = self._socket.pending()
        while left > 0 and (got := self._socket.receive_now()) is not None:
            data, fds, truncated = got
            left -= len(data)
            if not self._take(data, [(fds, truncated)] if fds or truncated else []):
                return

    def _take(self, data: memoryview, groups: list[Group]) -> bool:
        """Act on what was read; False when nothing more is to be read."""
        if not data and not groups:
            return False
        connection = self.connection
        fault: RemoteProtocolError | None = None
        for fds, truncated in groups:
            connection.receive_descriptors(fds, truncated)
        try:
            events = connection.receive(data)
        except RemoteProtocolError as exc:
            fault = exc
            events = connection.take_events()
        self._taken = len(events)
        acts, on_event = self._acts, self._on_event
        for event in events:
            acts.get(type(event), on_event)(event)
        if discarded := connection.take_discarded():
            close_descriptors(discarded)
        if fault is None and self._fault is not None:
            fault = self._fault
            connection.abort(fault.code, str(fault))
        if fault is not None:
            raise fault
        if connection.wants_to_send():
            if not groups:
                self.flush()
            elif not self._writing:  # it is HANDLE_ACK, which an answer may take along
                self._wake_writer(is_patient=True)
        elif not self.is_timed and connection.due():
            self._set_timer()
        return connection.state is not State.CLOSED  # after an ABORT nothing more counts

    def _on_handles_acknowledged(self, event: HandlesAcknowledged) -> None:
        # The core counts what it gave us to write. What the kernel did not get yet cannot have
        # arrived, and closing it here would send whatever takes over its number.
        if event.upto > self._socket.groups_sent:
            self._fault = RemoteProtocolError(
                f"frame {event.upto} with handles is acknowledged, it was not sent",
                requirement="AWP-HA-4",
                code=AbortCode.PROTOCOL_ERROR,
            )
        else:
            self._release(event.upto)

    def _release(self, upto: int) -> None:
        """Close our copies of what has arrived."""
        lent = self._lent
        while lent and lent[0][0] <= upto:
            close_all(lent.popleft()[1])

    # ---- writing --------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection  # a writer that is awake and was not woken sleeps for ever
    def flush(self) -> None:
        """Send what was queued: the first of a burst at once, the rest when the writer looks."""
        self._hurry = True
        if self._writing and not self._is_patient:
            return
        if self._ended:
            close_all(self.connection.take_unsent_handles())
        elif self._writer is not None:  # else it has yet to begin, and begins with a look
            self._wake_writer(is_patient=False)
            self._push()

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
            self.flush()

    def _push(self) -> bool:
        """Write until nothing is left or the socket is full.

        Returns:
            False when the socket is full.
        """
        self._gathered, self._hurry = 0, False
        connection = self.connection
        done = not self._socket.unsent or self._write_now(())
        while done and connection.wants_to_send():
            done = self._write_now(connection.data_to_send())
        if self._lent and Capability.HANDLE_ACK not in connection.capabilities:
            self._release(self._socket.groups_sent)  # nobody will say when they have arrived
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
        except trio.BrokenResourceError:
            # Whatever the peer said before it went away is still to be read; the reader ends us.
            self._broken = True
        except (OSError, trio.ClosedResourceError) as exc:
            # A descriptor was closed behind our back, or the peer lets none through. Something is
            # missing in the stream now.
            log.error("a channel ends, it cannot be written: %s", exc)
            self._broken = True
            self._reading.cancel()
        return True

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        self._writer = trio.lowlevel.current_task()
        self._writing = True  # frames may have been queued before this task existed
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

    # ---- the timer ------------------------------------------------------------------------

    def _set_timer(self) -> None:
        self.is_timed = True
        self._grants_due.set()

    @trio.lowlevel.enable_ki_protection
    async def _tick(self) -> None:
        while True:
            await self._grants_due.wait()
            await trio.sleep(_TIMER_SECONDS)
            self._grants_due = trio.Event()
            self.is_timed = False
            self.connection.flush_grants()
            if self.connection.wants_to_send():
                self.flush()
            if self.connection.due():  # the peer does not read; it would learn of nothing else
                self._set_timer()


def close_all(handles: Iterable[Any]) -> None:
    """Close handles that nobody needs any more, all of them, whatever happens to one."""
    for handle in handles:
        try:
            handle.close()
        except OSError:  # closed behind our back, or a late write error; it is gone anyway
            pass
