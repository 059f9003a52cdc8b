"""Our end of a side lane of form ``node``: handles by the lines of Node's IPC, bytes elsewhere.

Runs in: both

Written from section 25 of the specification, as `frames` is from section 3. Handles that we send
are numbered here, and so are those that frames of the worker declare: `take` deals them. Each of
ours is kept as a duplicate until the worker has said that it got it, and sent again if it did not.
"""

from __future__ import annotations

import array
import json
import os
import socket
import stat
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
import trio

from .frames import Fault

__all__ = ["Lane", "lane_type"]

_ACK: Final = b'{"cmd":"NODE_HANDLE_ACK"}\n'
_NACK: Final = b'{"cmd":"NODE_HANDLE_NACK"}\n'
_MOST_TRIES: Final = 4
_READ: Final = 65536
_ROOM: Final = socket.CMSG_SPACE(16 * 4)
_FAMILIES: Final = {socket.AF_INET: "udp4", socket.AF_INET6: "udp6"}


def lane_type(fd: int) -> dict[str, str] | None:
    """Say what Node is to make of a descriptor; None: it has no type for such a one."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISFIFO(mode):
        return {"type": "net.Socket"}
    if not stat.S_ISSOCK(mode):
        return None
    with socket.socket(fileno=os.dup(fd)) as sock:
        if sock.type == socket.SOCK_STREAM:
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            return {"type": "net.Server" if listens else "net.Socket"}
        if sock.type == socket.SOCK_DGRAM and sock.family in _FAMILIES:
            return {"type": "dgram.Socket", "dgramType": _FAMILIES[sock.family]}
        return None


@attrs.define
class _Sent:
    """A handle of ours that the worker has not answered for."""

    line: bytes
    fd: int
    tries: int = 1


class Lane:
    """One end of a lane.

    Args:
        end: a non-blocking socket, which stays the caller's.
        on_handles: is called when handles have come.
    """

    def __init__(self, end: socket.socket, on_handles: Callable[[], None]) -> None:
        self._end = end
        self._on_handles = on_handles
        self._writing = trio.Lock()
        self._buffer = b""
        self._came: deque[int] = deque()  # descriptors whose lines are not here yet
        self._arrived: dict[int, int] = {}
        self._unanswered: deque[_Sent] = deque()
        self._declared = 0
        self._sent = 0
        self.faults: list[Fault] = []
        """What was wrong with lines of the worker; `take` gives them to the next frame."""
        self.ended = False

    # ---- from the worker ------------------------------------------------------------------

    def take(self, count: int) -> tuple[int, ...] | None:
        """Give the handles of the next frame, which declares so many; None: not all are here."""
        numbers = range(self._declared + 1, self._declared + count + 1)
        if not self.ended and any(number not in self._arrived for number in numbers):
            return None
        self._declared += count
        return tuple(self._arrived.pop(number) for number in numbers if number in self._arrived)

    def take_faults(self) -> list[Fault]:
        """Give what was found wrong since the last time."""
        found, self.faults = self.faults, []
        return found

    async def read_forever(self) -> None:
        """Read until the lane ends."""
        try:
            while not self.ended:
                await trio.lowlevel.wait_readable(self._end)
                await self._read_now()
        except trio.ClosedResourceError:
            self.ended = True
        self._on_handles()

    async def _read_now(self) -> None:
        fds = array.array("i")
        try:
            data, ancillary, _, _ = self._end.recvmsg(_READ, _ROOM)
        except BlockingIOError:
            return
        except OSError:
            data, ancillary = b"", []
        for level, kind, said in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(said[: len(said) - len(said) % fds.itemsize])
        self._came.extend(fds)
        self.ended = not data
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            await self._hear(line)
        if lines:
            self._on_handles()

    async def _hear(self, line: bytes) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            self.faults.append(Fault("AWP-LN-2", f"a line that is no JSON: {line[:80]!r}"))
            return
        command = said.get("cmd") if isinstance(said, dict) else None
        if command == "NODE_HANDLE":
            await self._handle(said.get("msg"))
        elif command in ("NODE_HANDLE_ACK", "NODE_HANDLE_NACK") and self._unanswered:
            sent = self._unanswered.popleft()
            if command == "NODE_HANDLE_NACK" and sent.tries < _MOST_TRIES:
                await self._post(attrs.evolve(sent, tries=sent.tries + 1))
            else:
                os.close(sent.fd)

    async def _handle(self, said: Any) -> None:
        if not self._came:
            await self._write(_NACK)
            return
        fd = self._came.popleft()
        await self._write(_ACK)
        number = said.get("handle") if isinstance(said, dict) else None
        if not isinstance(number, int) or number <= self._declared or number in self._arrived:
            self.faults.append(Fault("AWP-LN-2", f"a handle has the number {number!r}"))
            os.close(fd)
            return
        self._arrived[number] = fd

    # ---- to the worker --------------------------------------------------------------------

    def number(self, count: int) -> list[int]:
        """Take the next numbers for handles of ours."""
        self._sent += count
        return list(range(self._sent - count + 1, self._sent + 1))

    async def send(self, fds: Sequence[int], numbers: Sequence[int] | None = None) -> None:
        """Send handles.

        Args:
            fds: stay the caller's.
            numbers: theirs; None: the next.
        """
        for number, fd in zip(numbers or self.number(len(fds)), fds, strict=True):
            form = lane_type(fd)
            assert form is not None
            said = {"cmd": "NODE_HANDLE", **form, "msg": {"handle": number}}
            line = json.dumps(said, separators=(",", ":")).encode() + b"\n"
            await self._post(_Sent(line, os.dup(fd)))

    async def _post(self, sent: _Sent) -> None:
        self._unanswered.append(sent)
        await self._write(sent.line, sent.fd)

    async def _write(self, data: bytes, fd: int = -1) -> None:
        """Write it; that nobody reads is not an error."""
        async with self._writing:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
            more: list[Any] = rights if fd >= 0 else []
            while data and not self.ended:
                try:
                    sent = self._end.sendmsg([data], more, socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._end)
                    continue
                except OSError:
                    self.ended = True
                    return
                data, more = data[sent:], []

    def end(self) -> None:
        """Close our end of it."""
        self.ended = True
        trio.lowlevel.notify_closing(self._end)
        self._end.close()
        self._on_handles()

    def close_descriptors(self) -> None:
        """Close what nobody has taken, and what was not answered for."""
        for fd in (*self._came, *self._arrived.values(), *(one.fd for one in self._unanswered)):
            os.close(fd)
        self._came.clear()
        self._arrived.clear()
        self._unanswered.clear()
