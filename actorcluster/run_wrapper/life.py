"""The wrapper as a worker: what the primary says, and what becomes of the program.

Runs in: worker

It speaks level 0 and, of level 2, only what a shared port needs. It takes no messages: nobody can
ask a program that has never heard of them.

The program is started once all ports are bound. STOP goes on to it as SIGTERM, and as SIGKILL to
those who are still there shortly before the primary would kill the wrapper; then nobody would be
left to end what the program has started.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Final

import attrs
import trio

from .._link.fdsocket import FdSocket
from .._link.handles import close_descriptors
from .._worker.bootstrap import take_identity, take_limits, take_token
from ..errors import RemoteProtocolError
from ..wire._generated import ErrorCode, State
from ..wire.connection import Connection
from ..wire.events import Aborted, ErrorReceived, Event, Goodbye, Listening, Stop, Welcome
from ..wire.values import RawHandle
from .child import Child, start
from .endings import ORPHAN_SECONDS, Ending, ending, patience
from .wishes import Wish

__all__ = ["Plan", "live"]

_CAPABILITIES: Final = ("handle", "handle.ack", "listen.shared")
_HANDLES: Final = ("tcp-listener", "unix-listener")
_FAREWELL_SECONDS: Final = 5.0
_ABORT_SECONDS: Final = 1.0


@attrs.frozen
class Plan:
    """What is to be wrapped.

    Attributes:
        command: program and arguments.
        wishes: the ports that it wants.
        stop_signal: tells it to end.
        stop_timeout: seconds that it then has at most, if the primary would wait for longer.
    """

    command: tuple[str, ...]
    wishes: tuple[Wish, ...] = ()
    stop_signal: int = signal.SIGTERM
    stop_timeout: float | None = None


async def live(plan: Plan) -> Ending:
    """Be a worker until the program has ended, or cannot be started.

    Raises:
        RuntimeError: this process is no worker, or cannot reach its primary.
    """
    wrapper = _Wrapper(plan)
    try:
        with trio.open_signal_receiver(signal.SIGCHLD, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                wrapper.nursery = nursery
                nursery.start_soon(wrapper.hear_signals, signals)
                nursery.start_soon(wrapper.write)
                nursery.start_soon(wrapper.read)
                await wrapper.over.wait()
                nursery.cancel_scope.cancel()
    finally:
        wrapper.close()
    return wrapper.ending


class _Wrapper:
    """What the tasks of one worker share.

    Attributes:
        over: set when nothing is left to do.
        ending: how this process is to end then.
    """

    nursery: trio.Nursery

    def __init__(self, plan: Plan) -> None:
        identity = take_identity()
        self.over = trio.Event()
        self.ending = Ending()
        self._plan = plan
        self._socket = FdSocket(socket.socket(fileno=identity.channel_fd))
        self._connection = Connection(
            "worker", limits=take_limits(), capabilities=_CAPABILITIES, handle_names=_HANDLES
        )
        self._connection.send_hello(
            worker=identity.worker_id,
            token=take_token(),
            pid=os.getpid(),
            implementation={"name": "actorcluster-run", "lang": "python"},
        )
        self._child: Child | None = None
        self._asked: dict[int, Wish] = {}
        self._bound: dict[int, int] = {}
        self._is_stopping = False
        self._is_leaving = False
        self._is_orphan = False
        self._told = 0
        self._something = trio.Event()
        self._something.set()
        self._at_end = trio.Event()

    def close(self) -> None:
        """Close the connection and what is left of the sockets; end what is left of the program."""
        if self._child is not None:
            self._child.end()
        self._socket.close()
        self._close_bound()

    def _close_bound(self) -> None:
        close_descriptors(list(self._bound.values()))
        self._bound.clear()

    # ---- the connection -------------------------------------------------------------------

    async def write(self) -> None:
        """Write whatever there is to write."""
        try:
            while True:
                await self._something.wait()
                self._something = trio.Event()
                for batch in self._connection.data_to_send():
                    self._socket.send_now(batch.buffers)
                while self._socket.unsent:
                    await self._socket.wait_writable()
                    self._socket.send_now(())
                if self._is_leaving:
                    self._socket.shutdown_write()
                    return
        except trio.BrokenResourceError:
            return  # the reader finds the end of the stream

    async def read(self) -> None:
        """Take what the primary says, to the end of the stream."""
        while True:
            got = self._socket.receive_now()
            if got is None:
                await self._socket.wait_readable()
                continue
            data, fds, truncated = got
            if not data:
                self._connection.receive_eof()
                break
            try:
                events = self._connection.receive(bytes(data), fds, truncated)
            except RemoteProtocolError as exc:
                self._fail(f"the primary broke the protocol: {exc}")
                events = self._connection.take_events()
            close_descriptors(self._connection.take_discarded())
            for event in events:
                self._heard(event)
            self._something.set()
            await trio.lowlevel.checkpoint()
        self._at_end.set()
        self._primary_is_gone()

    def _heard(self, event: Event) -> None:
        match event:
            case Welcome():
                if self._connection.statistics().state is not State.STARTING:
                    return  # told to stop already, by what came right behind
                self._connection.send_ready()
                for wish in self._plan.wishes:
                    self._asked[self._connection.send_listen(wish.request)] = wish
                self._start_when_bound()
            case Listening(handle=RawHandle() as handle):
                self._bound[event.channel] = handle.fd
                self._start_when_bound()
            case ErrorReceived():
                asked = self._asked.get(event.channel)
                what = "?" if asked is None else f"{asked.name} ({asked.place})"
                self._fail(f"no port for {what}: {event.error.get('message')}")
            case Stop():
                self._stop(event.deadline)
            case Goodbye():
                self._stop(_FAREWELL_SECONDS)
            case Aborted():
                self._fail(f"the primary gave up: {event.detail}")
                self.over.set()  # at once, and nothing more is sent

    def _primary_is_gone(self) -> None:
        """End of file: after our GOODBYE, or because there is no primary any more (AWP-ST-3)."""
        if self._child is None or self._child.poll() or self._is_leaving:
            self.over.set()
            return
        self._is_orphan = True
        self._tell_child(ORPHAN_SECONDS)

    # ---- the program ----------------------------------------------------------------------

    def _start_when_bound(self) -> None:
        if self._child is not None or self._is_stopping or len(self._bound) < len(self._asked):
            return
        sockets = [(wish.name, self._bound[channel]) for channel, wish in self._asked.items()]
        self._child = start(self._plan.command, sockets)
        self._close_bound()  # it has its own
        self._connection.send_serving()

    def _stop(self, deadline: float | None) -> None:
        """The primary wants it to end, in so many seconds if that is not None."""
        self._is_stopping = True
        seconds = patience(deadline) if deadline is not None else None
        if self._plan.stop_timeout is not None:
            seconds = min(self._plan.stop_timeout, seconds or self._plan.stop_timeout)
        if self._child is None:
            self._leave()
        else:
            self._tell_child(seconds)

    def _tell_child(self, seconds: float | None) -> None:
        assert self._child is not None
        if not self._told:
            self._told = self._plan.stop_signal
            self._child.signal(self._told)
        if seconds is not None:
            self.nursery.start_soon(self._kill_later, seconds)

    async def _kill_later(self, seconds: float) -> None:
        await trio.sleep(seconds)
        if self._child is not None:
            self._child.signal(signal.SIGKILL)

    async def hear_signals(self, signals: AsyncIterator[int]) -> None:
        """SIGCHLD: the program may have ended. SIGTERM: somebody has lost patience."""
        async for number in signals:
            if number == signal.SIGTERM:
                if self._told and self._child is not None:
                    self._child.signal(signal.SIGKILL)
                else:
                    self._stop(self._plan.stop_timeout)
            elif self._child is not None and self._child.poll():
                self._ended(self._child)
                return

    def _ended(self, child: Child) -> None:
        assert child.status is not None
        if self._is_orphan:  # nobody waits for more, and there is not much time
            os._exit(0)
        if child.left and not self._told:
            sys.stderr.write(
                f"actorcluster-run: {self._plan.command[0]} has ended, and what it has left in the"
                " background with it: a worker has to stay in the foreground\n"
            )
        self.ending = ending(child.status, told=self._told)
        self._leave()

    def _leave(self) -> None:
        """Say how it was, write that, and wait until the primary has heard it."""
        if self._is_leaving:
            return
        if self.ending.is_failure and not self._is_stopping:
            self._say_why()
        else:
            self._connection.send_goodbye()
        self._is_leaving = True
        self._something.set()
        self.nursery.start_soon(self._wait_for_end, _FAREWELL_SECONDS)

    def _say_why(self) -> None:
        if self.ending.signal:
            name = signal.Signals(self.ending.signal).name
            text = f"{self._plan.command[0]} was ended by {name}"
            self._connection.send_exit_info({"code": ErrorCode.APP, "message": text})
        else:
            self._connection.send_exit_info({"code": self.ending.code})

    async def _wait_for_end(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._at_end.wait()
        self.over.set()

    def _fail(self, text: str) -> None:
        """Nothing can come of it any more."""
        sys.stderr.write(f"actorcluster-run: {text}\n")
        self.ending = Ending(1)
        if self._child is not None and not self._child.poll():
            self._child.signal(signal.SIGKILL)
        self._is_leaving = True
        self._something.set()
        self.nursery.start_soon(self._wait_for_end, _ABORT_SECONDS)
