"""The moving parts of a channel: a reader, a writer and a timer round one socket.

Runs in: both

Theory of operation
===================

Three tasks serve a channel.

The *reader* reads what is there, lets the pure `Connection` turn it into events and acts on each
at once, without a checkpoint: an answer wakes its asker, credit wakes senders, the rest goes to
``on_event``. It waits for nothing but the socket, so control frames are always heard, however
full a mailbox is. But it reads many small messages no faster than a busy task receives them: few
at once, and some scheduler passes later the next, unless those take long. What would pile up
otherwise are thousands of living objects, and Python's garbage collector takes longer to walk
over them than everything else here takes together. Where much comes in few messages it reads
twice before others have a turn: a scheduling point costs nearly as much as to read and decode what
fits into the buffer, but what lies for long has left the processor's cache. And where it is many
frames that are no plain messages, which cost a scheduling point in no time, others have a turn
after each few hundred: nobody keeps the process busy by what is refused, or given back.

Somebody who waits for one thing of the peer's and nothing else, an asker or a worker's receiver,
may *lead*: it reads in the reader's place, which stands by, so what it waits for need not be passed
on to it in another scheduler pass. Where much comes at once the reader goes on. It does so, too,
when nobody leads any more; but where one lead follows another it is asked again only at the end of
the pass, for to find that the next one leads already would be all that it does.

The *writer* is in `writing`.

The *timer* sends acknowledgements and credit that nothing else carried along, 20 ms late at most.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import trio

from ..errors import RemoteProtocolError
from ..wire._generated import AbortCode, State
from ..wire.connection import Connection
from ..wire.events import Event, HandlesAcknowledged
from .allocator import keep_large_blocks
from .carrier import Carrier
from .fdsocket import RECEIVE_SIZE, Group
from .handles import close_descriptors
from .pace import EVERY_MESSAGES, EVERY_SECONDS
from .writing import Writing, close_all

__all__ = ["LINK_LIMITS", "Pipe"]

_E = TypeVar("_E", bound=Event)

log = logging.getLogger("actorcluster.link")

#: What both ends announce beside the settings: as many handles as one system call may carry.
LINK_LIMITS: Final = {"max_fds": 253, "fds_in_flight": 253}

#: The most that is read at once of a dense stream of small messages.
_DENSE_SIZE: Final = 16 * 1024
#: The same is read at once after a read that took so long, e.g. of many small broken messages, or
#: of bodies of many values: nobody else has a turn in between. A full one that did not allows twice
#: as much.
_SLOW_SECONDS: Final = 0.01
#: So many reads that fill the buffer follow each other without a turn for others.
_MOST_READS: Final = 2
#: Of what was read so many frames, plain messages apart, are acted upon without a turn for others.
_MOST_FRAMES: Final = 256
#: Passes that a receiver gets after such a read: one per 64 messages, so many at most ...
_MOST_TURNS: Final = 16
#: ... and some more, so that a backlog gets smaller and not larger.
_SPARE_TURNS: Final = 2
_TIMER_SECONDS: Final = 0.02
#: Somebody may lead where no more than so many messages come at once.
_SPARSE: Final = 8
#: For the ABORT, where the socket is full; a peer at fault deserves no more patience.
_LAST_WORDS_SECONDS: Final = 0.5


def _hear_nothing(_: Event) -> None:
    """Who heard events of a channel that has ended."""


class Pipe(Writing):
    """Moves frames between a socket and a `Connection`; knows nothing of what they mean.

    Args:
        socket: this end, owned from now on.
        connection: the protocol core of this end.
        on_event: called for each event, between two checkpoints; must not raise.
    """

    def __init__(
        self, socket: Carrier, connection: Connection, on_event: Callable[[Event], None]
    ) -> None:
        super().__init__(socket, connection)
        keep_large_blocks()
        self._on_event = on_event
        #: what is not for `on_event`: class of the event -> what to do.
        self._acts: dict[type, Callable[[Any], None]] = {
            HandlesAcknowledged: self._on_handles_acknowledged
        }
        #: what was read and not acted upon yet, by somebody else before the stream was given to us,
        #: or by us. Nothing else is read before.
        self.unread: bytes | memoryview = b""
        #: reads that brought something.
        self.heard = 0
        #: events of the last read.
        self._taken = 0
        self._fault: RemoteProtocolError | None = None
        #: whether somebody reads in the reader's place, and waits for something to read.
        self._leads = self._leader_waits = False
        #: whether the next one mostly leads before the reader has had its turn.
        self._is_led_in_a_row = False
        #: it read handles, and the reader has yet to see that they are acknowledged.
        self._ack_waits = False
        #: who acts on an event says: an urgent frame will be written, as soon as others had a turn.
        self.reply_follows = False
        #: what that one met: a fault, or the end.
        self._met_by_leader: Exception | None = None
        self._over = False
        #: the reader: whether it waits for something to read, or for its turn after a leader.
        self._waits = self._steps_aside = False
        self._stands_by: trio.lowlevel.Task | None = None
        self._grants_due = trio.Event()
        #: whether that is set; asked for each message.
        self.is_timed = False
        #: less than so much may be owed to the peer without a word to anybody, if what left its
        #: mailbox costs less than `light`: the timer is set and gives it back. Asked for each
        #: message.
        self.most_owed_silently = 0
        self.light = 0

    def pass_to(self, kind: type[_E], act: Callable[[_E], None]) -> None:
        """Have events of a kind passed to this instead, without asking what they are."""
        self._acts[kind] = act

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
                        if self._met_by_leader is not None:
                            raise self._met_by_leader
                        await self._drain()
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
        # Nothing is heard any more. Of what is bound to this there is no way back to it but by the
        # collector, which may take its time.
        self._acts.clear()
        self._on_event = _hear_nothing

    @property
    def ended(self) -> bool:
        """Whether the channel is over; nothing can be said or heard any more."""
        return self._ended

    def has_unread(self) -> bool:
        """Whether the peer has said something that nobody has read yet."""
        return not self._ended and (bool(self.unread) or self._socket.pending() > 0)

    # ---- reading --------------------------------------------------------------------------

    async def _read(self) -> None:
        socket, most, quick = self._socket, _DENSE_SIZE, _DENSE_SIZE
        reads = messages = 0
        while True:
            while self._leads:
                await self._stand_by()
                self._is_led_in_a_row = self._leads
            if self._ack_waits:
                self._flush_ack()
            if self._met_by_leader is not None:
                raise self._met_by_leader
            if self._over or self._ended or (self.unread and not await self._take_unread()):
                return
            try:
                got = self._gather(most)
            except OSError as exc:  # the kernel has no memory: like the end of the stream
                log.error("a channel ends, it cannot be read: %s", exc)
                return
            begin = time.perf_counter()
            if got is not None and not self._take(*got):
                return
            took = time.perf_counter() - begin
            if took > _SLOW_SECONDS:
                quick = _DENSE_SIZE
            elif most == quick and socket.is_full_read:
                quick = min(2 * quick, RECEIVE_SIZE)
            most = quick
            if self.unread and not await self._take_unread():
                return
            reads, messages = reads + 1, messages + self._taken
            if self._taken >= EVERY_MESSAGES and await self._give_turns(self._taken):
                most = _DENSE_SIZE
            elif socket.is_full_read:
                if reads < _MOST_READS and messages < EVERY_MESSAGES and took < EVERY_SECONDS / 2:
                    continue
                await trio.lowlevel.checkpoint()
            if not socket.is_full_read:
                await self._wait_readable()
            reads = messages = 0

    def _gather(self, most: int) -> tuple[memoryview, list[Group]] | None:
        """Read what is there now; of a long message, to where it is put together."""
        connection, socket = self.connection, self._socket
        place = connection.place()
        got = socket.gather_now(connection.fitting(most) if place is None else most, place)
        if place is not None and socket.placed:
            connection.placed(socket.placed)
        return got

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
        if self._socket.is_full_read or self.unread:
            return False
        if self._over or self._met_by_leader is not None:
            return False  # the reader has to come back, to end it
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
                if self._ack_waits:
                    self._flush_ack()
                self._leader_waits = True
                try:
                    await self._socket.wait_readable()
                except trio.ClosedResourceError:  # it was interrupted, or is closed
                    if self._ended:
                        return
                    continue
                finally:
                    self._leader_waits = False
                if self._ended or not self._read_once():
                    self._is_led_in_a_row = False
                    return
        finally:
            self._leads = False
            if self._is_led_in_a_row:
                self._passes.at_the_end(self._go_on)
            else:
                self._go_on()

    def _go_on(self) -> bool:
        """Have the reader go on, unless somebody leads; tells whether it does."""
        if self._leads or self._stands_by is None:
            return False
        self._is_led_in_a_row = False
        task, self._stands_by = self._stands_by, None
        trio.lowlevel.reschedule(task)
        return True

    def _flush_ack(self) -> None:
        """Send the acknowledgement of handles that a leader read; no answer came before it."""
        self._ack_waits = False
        if self.connection.wants_to_send():
            self.flush()

    def interrupt(self) -> None:
        """Have whoever leads look whether it is over."""
        if self._leader_waits:
            self._socket.interrupt()

    def _read_once(self) -> bool:
        """Read as the reader does; False when that is the one to go on."""
        if self.unread:  # the process is gone, and the reader takes in what it left behind
            return False
        try:
            got = self._gather(RECEIVE_SIZE)
        except OSError:  # it will be there for the reader as well
            return False
        try:
            if got is not None and not self._take(*got):
                self._over = True
        except Exception as exc:  # noqa: BLE001  (the reader's to raise, whatever it is)
            self._met_by_leader = exc
            return False
        if self.unread or self._over:
            return False
        return not (self._socket.is_full_read or self._taken >= EVERY_MESSAGES)

    async def _stand_by(self) -> None:
        """Let somebody else read."""
        self._stands_by = trio.lowlevel.current_task()
        self._steps_aside = True

        def abort(_: Any) -> trio.lowlevel.Abort:
            self._stands_by = None
            self._steps_aside = False
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

    async def _drain(self) -> None:
        """Read what is there now, but not what somebody who has the peer's end goes on writing."""
        left = self._socket.pending()
        with trio.CancelScope(shield=True):
            while not self.unread or await self._take_unread():
                if left <= 0 or (got := self._socket.gather_now()) is None:
                    return
                left -= len(got[0])
                if not self._take(*got):
                    return

    async def _take_unread(self) -> bool:
        """Act on what is left of what was read, others having turns; False as `_take` does."""
        taken = 0
        while self.unread:
            taken += self._taken
            await trio.lowlevel.checkpoint()
            if not self._take(memoryview(self.unread), []):
                return False
        self._taken += taken
        return True

    def _take(self, data: memoryview, groups: list[Group]) -> bool:
        """Act on what was read; False when nothing more is to be read."""
        if not data and not groups and not self._socket.placed:
            if self._writing:  # it has yet to look for what answers, and the end cancels it
                self._push()
            return False
        self.heard += 1
        connection = self.connection
        fault: RemoteProtocolError | None = None
        for fds, truncated in groups:
            connection.receive_descriptors(fds, truncated)
        try:
            events = connection.receive(data, most=_MOST_FRAMES)
        except RemoteProtocolError as exc:
            fault = exc
            events = connection.take_events()
        self.unread = connection.unread
        self._taken = len(events)
        self.reply_follows = False
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
            elif self._leads:  # it is HANDLE_ACK, which an answer may take along
                self._ack_waits = True
            elif self.reply_follows:  # likewise; the timer sends it if not
                self._set_timer()
            elif not self._writing:
                self._wake_writer(is_patient=True)
        if not self.is_timed and connection.due():
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

    # ---- the timer ------------------------------------------------------------------------

    def _set_timer(self) -> None:
        self.is_timed = True
        window = self.connection.inbound_window
        self.most_owed_silently, self.light = window.silent, window.light
        self._grants_due.set()

    @trio.lowlevel.enable_ki_protection
    async def _tick(self) -> None:
        while True:
            await self._grants_due.wait()
            await trio.sleep(_TIMER_SECONDS)
            self._grants_due = trio.Event()
            self.is_timed = False
            self.most_owed_silently = 0
            self.connection.flush_grants()
            if self.connection.wants_to_send():
                self.flush()
            if self.connection.due():  # the peer does not read; it would learn of nothing else
                self._set_timer()
