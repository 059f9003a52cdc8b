"""The socket under a `Connection`: recvmsg and sendmsg on asyncio's loop."""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .awp_v1 import State
from .events import Aborted, Event
from .handles import received, sending

if TYPE_CHECKING:
    from .connection import Connection
    from .outbox import Item

_READ = 256 * 1024
_WRITE = 64 * 1024
_CONTROL = socket.CMSG_SPACE(253 * 4)
_FLAGS = socket.MSG_CMSG_CLOEXEC
_BUSY = (errno.ETOOMANYREFS, errno.ENOBUFS, errno.ENOMEM)
_READS_IN_A_ROW = 8
_GATHER_SECONDS = 0.2
_AGAIN_SECONDS = 0.05
_ABORT_SECONDS = 1.0
_LAST_WORDS_SECONDS = 0.02


class Transport:
    """Moves bytes and descriptors between a socket and a connection.

    Attributes:
        closed: set once the socket is closed.
    """

    def __init__(
        self, sock: socket.socket, connection: Connection, deliver: Callable[[Event], None]
    ) -> None:
        self.closed = asyncio.Event()
        self._sock = sock
        self._connection = connection
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._rest = b""
        self._in_hand: list[Item] = []
        self._retry: Item | None = None
        self._scheduled = False
        self._broken = False
        self._shut = False
        self._is_over = False
        self._is_writing = False
        self._timer: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)
        self.kick()

    def kick(self) -> None:
        """Something is to be written; soon, with what else comes until then."""
        if not self._scheduled and not self.closed.is_set():
            self._scheduled = True
            self._loop.call_soon(self._pump)

    def close(self) -> None:
        """Close the socket, and every descriptor that is still the connection's."""
        if self.closed.is_set():
            return
        self.closed.set()
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        if self._timer is not None:
            self._timer.cancel()
        if self._retry is not None:
            for handle in self._retry.handles:
                handle.close()
        self._sock.close()
        self._connection.close()

    # --------------------------------------------------------------------------------- reading

    def _readable(self) -> None:
        for _ in range(_READS_IN_A_ROW):
            if not self._read():
                break
        if not self.closed.is_set():
            self._pump()

    def _read(self) -> bool:
        """One recvmsg; give whether there may be more."""
        try:
            data, control, flags, _ = self._sock.recvmsg(_READ, _CONTROL, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data, control, flags = b"", [], 0
        fds = received(control)
        if not data:
            self._loop.remove_reader(self._sock)
            self._is_over = True
            if not self._connection.owes_goodbye:
                # What came before is processed, and that takes the application a moment.
                self._loop.call_later(_LAST_WORDS_SECONDS, self._end)
            return False
        for event in self._connection.receive(data, fds, bool(flags & socket.MSG_CTRUNC)):
            self._broken = self._broken or isinstance(event, Aborted)
            self._deliver(event)
        if self._connection.state is State.CLOSED:
            self._loop.remove_reader(self._sock)
            return False
        return True

    def _end(self) -> None:
        """End of file, and nothing that the primary waits for."""
        if not self.closed.is_set():
            self._pump()
            for event in self._connection.receive_eof():
                self._deliver(event)
            self.close()

    # --------------------------------------------------------------------------------- writing

    def _pump(self) -> None:
        self._scheduled = False
        if self.closed.is_set():
            return
        self._connection.gather()
        self._connection.say_goodbye()
        while not self._broken and self._fill():
            if not self._send():
                break
            self._connection.say_goodbye()
        self._after()

    def _fill(self) -> bool:
        """Have something in hand; False: there is nothing to send."""
        if self._rest or self._retry is not None:
            return True
        gathered = bytearray()
        while len(gathered) < _WRITE:
            item = self._connection.outbox.next()
            if item is None:
                break
            if item.handles:
                self._retry = item  # goes alone, so that its descriptors go with its first byte
                break
            gathered += item.data
            self._in_hand.append(item)
        self._rest = bytes(gathered)
        return bool(self._rest) or self._retry is not None

    def _send(self) -> bool:
        """One sendmsg; False if the socket takes no more for now."""
        try:
            if self._rest:
                sent = self._sock.send(self._rest)
                self._rest = self._rest[sent:]
            elif self._retry is not None:
                item, fds = self._retry, [handle.fd for handle in self._retry.handles]
                sent = self._sock.sendmsg([item.data], sending(fds))
                self._connection.outbox.written(item)
                self._rest, self._retry = item.data[sent:], None
                self._in_hand.append(item)
        except (BlockingIOError, InterruptedError):
            self._write_later()
            return False
        except OSError as error:
            if error.errno in _BUSY:
                self._loop.call_later(_AGAIN_SECONDS, self._pump)
            else:
                self._broken = True  # what was received so far is still read
            return False
        if not self._rest:
            done, self._in_hand = self._in_hand, []
            for item in done:
                if item.on_written is not None:
                    item.on_written()
        return True

    def _write_later(self) -> None:
        if not self._is_writing:
            self._is_writing = True
            self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self._sock)
        self._is_writing = False
        self._pump()

    def _after(self) -> None:
        """What follows from having written all, or from the end."""
        has_more = bool(self._rest) or self._retry is not None
        state = self._connection.state
        if state is State.CLOSED:
            if self._broken or not has_more:
                self.close()
            else:
                self._loop.call_later(_ABORT_SECONDS, self.close)
        elif state is State.CLOSING and not has_more and not self._shut:
            self._shut = True
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it is gone, as reading will show
            if self._is_over:
                self._loop.call_soon(self._end)
        elif self._connection.has_due and self._timer is None:
            self._timer = self._loop.call_later(_GATHER_SECONDS, self._gather)

    def _gather(self) -> None:
        self._timer = None
        self._connection.gather(everything=True)
        self._pump()


def watch(sock: socket.socket, lost: Callable[[], None], seconds: float) -> threading.Event:
    """Call `lost`, in a thread, if the primary has gone and so long after it nobody took care.

    Whatever the loop's thread is doing: it may be stuck in the application's code (AWP-ST-3).

    Returns:
        An event: set it to call it off.
    """
    over = threading.Event()
    poll = select.poll()
    poll.register(sock.fileno(), getattr(select, "POLLRDHUP", 0) | select.POLLHUP)

    def wait() -> None:
        poll.poll()
        if not over.wait(seconds):
            lost()

    threading.Thread(target=wait, name="awp-watch", daemon=True).start()
    return over
