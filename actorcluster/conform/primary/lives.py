"""The lives of hostile workers: each is a channel to the primary, and a process that waits.

Runs in: both

Theory of operation
===================

The primary under test starts a process, the stand-in, which connects to `Hangar` and gives it the
channel. From then on the kit is the worker: it writes and reads that socket itself, and tells the
stand-in how to end. A life that nobody has asked for yet waits in the lobby, and has said nothing.

A task for each life reads all that the primary says, unless the life is told to stop reading, so
that a case may write as much as it likes. Every byte of both directions is kept, up to a limit, to
be shown when something was not as it should be.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, final

import attrs
import trio

from .talk import Frame, Splitter

__all__ = ["Gone", "Hangar", "Life", "Said"]

_RIGHTS: Final = socket.CMSG_SPACE(253 * 4)
_UCRED: Final = struct.Struct("3i")
#: Bytes of each direction that are kept.
_KEPT: Final = 4 << 20
_FACTS: Final = 5


class Gone(Exception):
    """The primary has closed the channel."""


@final
@attrs.frozen
class Said:
    """One piece of what went over a channel.

    Attributes:
        by: who said it.
        data: the bytes.
        fds: how many descriptors went with them.
    """

    by: Literal["worker", "primary"]
    data: bytes
    fds: int = 0


@final
class Life:
    """One hostile worker.

    Attributes:
        pid: of the stand-in.
        primary: process id of who made the channel; 0 where that cannot be known.
        worker_id: what the environment said.
        token: likewise.
        path: of the socket that it connected to; empty: it inherited its channel.
        heard: all frames of the primary so far.
        log: all that was said, in order; `cut` once that is not all any more.
        over: how the primary's direction has ended, if it has.
        noise: what the primary said that is no frame.
        ended: set once the stand-in has.
        born: when it came.
        blocking: how many descriptors have come in blocking mode.
        read_size: how much is read at once.
        received: how many bytes have come.
        groups: where in the stream descriptors came; exact while `read_size` is 1.
    """

    def __init__(self, channel: trio.socket.SocketType, kit: trio.socket.SocketType) -> None:
        self.pid = self.primary = self.worker_id = self.blocking = 0
        self.token = self.path = ""
        self.heard: list[Frame] = []
        self.log: list[Said] = []
        self.cut = False
        self.over: Literal["eof", "reset"] | None = None
        self.noise: str | None = None
        self.born = trio.current_time()
        self.ended = trio.Event()
        self.ignored = trio.Event()
        self.read_size = 65536
        self.groups: list[int] = []
        self.received = 0
        self._kept = 0
        self._channel = channel
        self._kit = kit
        self._splitter = Splitter()
        self._news = trio.Event()
        self._may_read = trio.Event()
        self._may_read.set()
        self._taken = 0

    def identity(self) -> dict[str, Any]:
        """What HELLO has to say of who this is."""
        said: dict[str, Any] = {"token": self.token} if self.token else {}
        return {**said, "worker": self.worker_id} if self.worker_id else said

    # ---- saying ---------------------------------------------------------------------------

    async def say(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Write all of it, descriptors at its first byte; they stay the caller's.

        Raises:
            Gone: the primary hears nothing any more.
        """
        self._keep(Said("worker", data, len(fds)))
        rest = memoryview(data)
        try:
            if fds:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
                rest = rest[await self._channel.sendmsg([rest], [rights]) :]
            while rest:
                rest = rest[await self._channel.send(rest) :]
        except OSError as exc:
            raise Gone(str(exc)) from None

    def shut(self) -> None:
        """Say that nothing more comes."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def stop_reading(self) -> None:
        """Read nothing any more, until `read_on`."""
        self._may_read = trio.Event()

    def read_on(self) -> None:
        """Read again."""
        self._may_read.set()

    # ---- hearing --------------------------------------------------------------------------

    async def hear(self, wanted: Callable[[Frame], bool]) -> Frame:
        """Wait for a frame behind the last one that was waited for; those between are passed over.

        Raises:
            Gone: the primary has ended its direction before it said that.
        """
        while True:
            while self._taken < len(self.heard):
                self._taken += 1
                if wanted(self.heard[self._taken - 1]):
                    return self.heard[self._taken - 1]
            if self.over is not None or self.noise is not None:
                raise Gone(self.noise or self.over)
            await self._news.wait()

    async def hear_end(self) -> None:
        """Wait until the primary has ended its direction."""
        while self.over is None:
            await self._news.wait()

    def last(self, kind: int) -> Frame | None:
        """The last frame of a kind so far."""
        return next((one for one in reversed(self.heard) if one.kind == kind), None)

    # ---- the end --------------------------------------------------------------------------

    async def ignore(self, signal: int) -> None:
        """Have the stand-in ignore a signal."""
        await self._order(b"I", signal)
        await self.ignored.wait()

    async def end(self, status: int = 0, *, signal: int = 0) -> None:
        """End the stand-in, by a signal if one is given, and close the channel before."""
        self.hang_up()
        await self._order(*((b"K", signal) if signal else (b"E", status)))

    async def _order(self, order: bytes, number: int) -> None:
        with contextlib.suppress(OSError):
            await self._kit.send(order + bytes((number,)))

    def hang_up(self) -> None:
        """Close the channel."""
        self._channel.close()
        self._wake()

    def forget(self) -> None:
        """Close everything: the stand-in ends by that."""
        self.hang_up()
        self._kit.close()

    # ---- what the hangar does with it -----------------------------------------------------

    async def read(self) -> None:
        """Read all that the primary says; returns at the end."""
        while self.over is None and self.noise is None:
            await self._may_read.wait()
            try:
                data, control, _, _ = await self._channel.recvmsg(self.read_size, _RIGHTS)
            except trio.ClosedResourceError:
                return
            except OSError:
                self.over = "reset"
                break
            if not self._may_read.is_set():
                await self._may_read.wait()
            fds = _descriptors(control)
            for fd in fds:  # a copy that is kept would keep the connection open
                self.blocking += os.get_blocking(fd)
                os.close(fd)
            if not data:
                self.over = "eof"
                break
            if fds:
                self.groups.append(self.received)
            self.received += len(data)
            self._keep(Said("primary", data, len(fds)))
            try:
                self.heard += self._splitter.feed(data)
            except ValueError as exc:
                self.noise = str(exc)
            self._wake()
        self._wake()

    async def watch(self) -> None:
        """Wait for the end of the stand-in."""
        with contextlib.suppress(OSError, trio.ClosedResourceError):
            while await self._kit.recv(1):
                self.ignored.set()
        self.ended.set()
        self._kit.close()  # the channel may still have to be read

    def _wake(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    def _keep(self, said: Said) -> None:
        self._kept += len(said.data)
        if self._kept <= _KEPT:
            self.log.append(said)
        else:
            self.cut = True


def _descriptors(control: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


@final
class Hangar:
    """Where stand-ins arrive.

    Args:
        nursery: has a task or two for each.
        path: of the socket on which they arrive.

    Attributes:
        arrived: how many so far.
        primary: process id of who made the last channel.
    """

    def __init__(self, nursery: trio.Nursery, path: str) -> None:
        self.arrived = self.primary = 0
        self._nursery = nursery
        self._socket = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = path
        self._lobby: deque[Life] = deque()
        self._lives: set[Life] = set()
        self._news = trio.Event()
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """How many lives are in the lobby."""
        return len(self._lobby)

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Take in whoever comes; cancel it."""
        with self._socket:
            await self._socket.bind(self._path)
            self._socket.listen(1024)
            task_status.started()
            try:
                while True:
                    kit, _ = await self._socket.accept()
                    self._nursery.start_soon(self._take_in, kit)
            finally:
                for life in list(self._lives):
                    life.forget()

    async def take(self) -> Life:
        """Give a life that has said nothing yet.

        Raises:
            Gone: none will come.
        """
        while not self._lobby:
            if self._is_closed:
                raise Gone("the primary has ended")
            await self._news.wait()
        return self._lobby.popleft()

    def close(self) -> None:
        """Nobody will come any more."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    async def settled(self, count: int) -> None:
        """Wait until so many are in the lobby.

        Raises:
            Gone: they never will.
        """
        while len(self._lobby) < count:
            if self._is_closed:
                raise Gone("the primary has ended")
            await self._news.wait()

    async def _take_in(self, kit: trio.socket.SocketType) -> None:
        try:
            life = await self._receive(kit)
        except BaseException:
            kit.close()
            raise
        if life is None:
            kit.close()
            return
        self.arrived += 1
        self.primary = life.primary
        self._lobby.append(life)
        self._wake()
        self._lives.add(life)
        self._nursery.start_soon(life.read)
        try:
            await life.watch()
        except trio.Cancelled:
            life.forget()
            raise
        finally:
            self._lives.discard(life)
            with contextlib.suppress(ValueError):
                self._lobby.remove(life)
                life.hang_up()  # nobody knows of it

    async def _receive(self, kit: trio.socket.SocketType) -> Life | None:
        """Take the channel over; None if whoever connected has not brought one."""
        try:
            data, control, _, _ = await kit.recvmsg(4096, _RIGHTS)
        except OSError:
            return None
        fds = _descriptors(control)
        facts = data.split(b"\t")
        if len(facts) != _FACTS or len(fds) != 1:
            for fd in fds:
                os.close(fd)
            return None
        channel = trio.socket.from_stdlib_socket(socket.socket(fileno=fds[0]))
        life = Life(channel, kit)
        life.pid = int(facts[0])
        life.worker_id = int(facts[2]) if facts[2].isdigit() else 0
        life.token = facts[3].decode(errors="replace")
        life.path = facts[4].decode(errors="replace")
        life.primary = _maker(channel, life.pid) or int(facts[1])
        return life


def _maker(channel: trio.socket.SocketType, pid: int) -> int:
    """Who has made a socket pair, or is at the other end of a connection."""
    ucred = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    maker = int(_UCRED.unpack(ucred)[0])
    return 0 if maker == pid else maker
