"""Where a worker connects to its primary that cannot inherit a descriptor: a socket for it alone.

Runs in: primary

Theory of operation
===================

The socket lies in a directory of its own that nobody but the worker's user can enter, from just
before the worker starts until it has connected. Whoever connects is judged by three things: the
user id that the kernel knows, and in its first frame, which has to be a HELLO, the worker's id and
the token that only this worker was told. All else is answered by ABORT and closed, and the waiting
goes on: somebody who gets there first has no worker's place, and takes nobody's.

The first frame is read to its last byte and no further. It is given to the channel as if that had
read it; what comes behind it is still in the socket.

Whoever says nothing is given up after a while. So many may try at once; more wait in the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import logging
import os
import secrets
import socket
import struct
import tempfile
from collections.abc import Callable
from typing import Any, Final, final

import trio

from ..errors import RemoteProtocolError
from ..wire._generated import AbortCode, Kind
from ..wire.connection import Connection
from ..wire.frames import FrameReader
from ..wire.values import Values
from .bootstrap import IDENTITY
from .unixpath import PRIVATE, PRIVATE_FILE, bind_unix, remove_socket

__all__ = ["Rendezvous"]

log = logging.getLogger("actorcluster.worker")

_CHANNEL, _, _TOKEN, _ = IDENTITY
_TOKEN_BYTES: Final = 32
_LONGEST: Final = 107
"""Of a path that a worker can connect to."""
_BACKLOG: Final = 16
_MOST: Final = 16
"""Connections that are judged at once."""
_HELLO_SECONDS: Final = 10.0
_LARGEST_HELLO: Final = 64 * 1024
_HEADER: Final = 16
_UCRED: Final = struct.Struct("3i")  # what SO_PEERCRED gives: pid, uid, gid
_PAUSE_SECONDS: Final = 0.1
_MOST_TOLD: Final = 5
"""Of those who are turned away, so many are logged."""


@final
class Rendezvous:
    """One worker's socket.

    Args:
        worker_id: whose.
        uid: the user that it will run as; None: ours.

    Attributes:
        directory: its own.
        path: of the socket.
        file: device and inode of that.
        on_closed: called once socket and directory are gone.

    Raises:
        OSError: no such socket can be made.
    """

    def __init__(self, worker_id: int, uid: int | None = None) -> None:
        self.on_closed: Callable[[], None] | None = None
        self._worker_id = worker_id
        self._uid = os.geteuid() if uid is None else uid
        self._token = secrets.token_hex(_TOKEN_BYTES)
        self._turned_away = 0
        self.directory = _make_directory()  # of mode 0700
        self.path = os.path.join(self.directory, PRIVATE_FILE)
        try:
            mode = 0o600 if self._uid == os.geteuid() else 0o666  # the directory keeps others out
            self._socket, self.file = bind_unix(self.path, mode, _BACKLOG)
        except BaseException:
            os.rmdir(self.directory)
            raise
        self._is_open = True
        try:
            if self._uid != os.geteuid():
                os.chown(self.directory, self._uid, -1)
        except BaseException:
            self.close()
            raise

    @property
    def environment(self) -> dict[str, str]:
        """What the worker is told."""
        return {_CHANNEL: f"unix:{self.path}", _TOKEN: self._token}

    async def meet(self) -> tuple[socket.socket, bytes]:
        """Wait until the worker has connected. Nobody can connect any more then.

        Returns:
            Its connection, non-blocking, and its first frame, which was read already.

        Cancellation:
            All is closed.
        """
        found: list[tuple[socket.socket, bytes]] = []
        try:
            async with trio.open_nursery() as nursery:

                def take(sock: socket.socket, hello: bytes) -> None:
                    found.append((sock, hello))
                    nursery.cancel_scope.cancel()

                nursery.start_soon(self._invite, nursery, take)
        except BaseException:
            for sock, _ in found:
                sock.close()
            raise
        finally:
            self.close()
        for late, _ in found[1:]:  # it has connected twice, and said the same
            late.close()
        return found[0]

    async def _invite(
        self, nursery: trio.Nursery, take: Callable[[socket.socket, bytes], None]
    ) -> None:
        room = trio.Semaphore(_MOST)
        while True:
            await room.acquire()
            sock = await self._accept()
            nursery.start_soon(self._judge, sock, take, room)

    async def _accept(self) -> socket.socket:
        while True:
            try:
                sock, _ = self._socket.accept()
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
            except OSError as exc:
                if exc.errno != errno.ECONNABORTED:  # no descriptors, or no memory
                    await trio.sleep(_PAUSE_SECONDS)
            else:
                sock.setblocking(False)
                return sock

    @trio.lowlevel.enable_ki_protection
    async def _judge(
        self,
        sock: socket.socket,
        take: Callable[[socket.socket, bytes], None],
        room: trio.Semaphore,
    ) -> None:
        """Take it if it is the worker."""
        try:
            hello, fault = await self._examine(sock)
        except BaseException:  # another one was
            sock.close()
            raise
        finally:
            room.release()
        if fault is None:
            take(sock, hello)
        else:
            self._turn_away(sock, fault)
            sock.close()

    async def _examine(self, sock: socket.socket) -> tuple[bytes, str | None]:
        """Its first frame, and what is wrong with it or with who sent it."""
        creds = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, uid, _ = _UCRED.unpack(creds)
        if uid != self._uid:
            return b"", f"user {uid} is not the worker's"
        with trio.move_on_after(_HELLO_SECONDS):
            hello = await _first_frame(sock)
            return hello, self._fault_of(hello)
        return b"", "no HELLO in time"

    def _fault_of(self, frame: bytes) -> str | None:
        """What is wrong with a first frame; None: it is the worker's."""
        said = _hello_map(frame)
        if said is None:
            return "no HELLO"
        token, worker = said.get("token"), said.get("worker")
        given = token.encode("utf-8", "replace") if isinstance(token, str) else b""
        if not hmac.compare_digest(given, self._token.encode()):
            return "a wrong token"
        if worker is not None and worker != self._worker_id:
            return "another worker's id"
        return None

    def _turn_away(self, sock: socket.socket, fault: str) -> None:
        refusal = Connection("primary")
        refusal.abort(AbortCode.AUTH, fault)
        for batch in refusal.data_to_send():
            for piece in batch.buffers:
                with contextlib.suppress(OSError):  # nobody is there any more
                    sock.send(piece, socket.MSG_NOSIGNAL)
        self._turned_away += 1
        if self._turned_away <= _MOST_TOLD:
            log.warning("worker %d: somebody was turned away: %s", self._worker_id, fault)

    def close(self) -> None:
        """Remove socket and directory; may be called again."""
        if not self._is_open:
            return
        self._is_open = False
        remove_socket(self.path, self.file)
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(self._socket)
        self._socket.close()
        with contextlib.suppress(OSError):  # somebody has put something there: it is his
            os.rmdir(self.directory)
        if self.on_closed is not None:
            self.on_closed()


def _make_directory() -> str:
    """Make one whose paths are short enough for a socket's address."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  (of mode 0700, with a random name)
        made = tempfile.mkdtemp(prefix=PRIVATE, dir=parent)
        if len(os.fsencode(os.path.join(made, PRIVATE_FILE))) <= _LONGEST:
            return made
        os.rmdir(made)
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), tempfile.gettempdir())


async def _first_frame(sock: socket.socket) -> bytes:
    """Read one frame and no more; less than one where the stream ends or it is too large."""
    data = await _read(sock, _HEADER)
    if len(data) == _HEADER:
        length = int.from_bytes(data[2:6], "big")
        if length <= _LARGEST_HELLO:
            data += await _read(sock, length)
    return data


async def _read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            more = sock.recv(size - len(data))
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
        except OSError:  # it is gone
            break
        else:
            if not more:
                break
            data += more
    return data


def _hello_map(data: bytes) -> dict[str, Any] | None:
    """What a HELLO says; None: it is no whole one."""
    try:
        frames = FrameReader(Values(), max_frame=_LARGEST_HELLO).feed(data)
    except RemoteProtocolError:
        return None
    if len(frames) != 1 or frames[0].kind != Kind.HELLO:
        return None
    said = frames[0].payload
    return said if type(said) is dict else None
