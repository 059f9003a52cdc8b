"""One fork server process as the primary holds it: asked for a worker, it makes one or is dead.

Runs in: primary

Theory of operation
===================

A request brings the writing end of a pipe of its own, and that pipe is the only answer. The new
worker itself writes to it once it is what was asked for; so does the server when it cannot fork.
Until then three things can go wrong, at any instruction of the server:

- *It dies.* A page shared with it has a slot per request; the kernel itself writes the pid there
  when it makes the process (see `clone`). Pipe at its end without an answer and slot 0: there is no
  process, and another server may get the same request. Slot not 0: there is one. If it lives it
  answers, for nothing it needs is the server's; if not, we are its parent and reap it.
- *It hangs.* After `PATIENCE` seconds it is killed, and the case is the one above. The slot counts
  only once the server is dead and reaped.
- *The caller is cancelled.* The request cannot be taken back, so its outcome is awaited, shielded
  and for a moment only, and the process is killed and reaped.
"""

from __future__ import annotations

import mmap
import os
import socket
from collections.abc import Sequence
from typing import Any, Final, final

import msgpack
import trio

from .commands import python_argv
from .exit import Status
from .forkrequest import NO_FORK, READY, SLOT, pack
from .process import Process, channel_pair, spawn, without_identity

__all__ = ["CannotFork", "ServerProcess"]

PATIENCE: Final = 5.0
"""Seconds for a fork."""
_BRIEF_PATIENCE: Final = 0.5
"""Seconds for a fork that nobody waits for any more."""


class CannotFork(RuntimeError):
    """This fork server can never fork; start workers by exec instead."""


@final
class _Answer:
    """A pipe for one answer."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._closed = False
        self.data = b""
        self.complete = False

    def sent(self) -> None:
        """Close our copy of the writing end: from now on its last holder decides."""
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    async def wait(self) -> None:
        """Wait for the end of the answer, which may be empty."""
        while not self.complete:
            try:
                piece = os.read(self._read_end, 65536)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._read_end)
            else:
                self.data += piece
                self.complete = not piece or self.data == READY

    def failure(self, status: Status | None) -> Exception:
        """The error that an answer other than `READY` stands for."""
        if not self.data:
            how = "did not answer" if self.complete is False else f"ended, wait status {status}"
            return RuntimeError(f"the new process {how} before it was set up")
        number, text, filename = msgpack.unpackb(self.data[1:])
        if self.data.startswith(NO_FORK):
            return CannotFork(f"cannot fork: {text}")
        return OSError(number, text, filename) if number else RuntimeError(text)

    def close(self) -> None:
        """Close both ends."""
        self.sent()
        if not self._closed:
            self._closed = True
            os.close(self._read_end)


@final
class ServerProcess:
    """One fork server process.

    Args:
        page: shared with it, see the theory of operation.

    Attributes:
        process: what the kernel knows of it.
        has_failed: it could not be prepared and never will be; it guards.
        knows_files: it was told of files.
    """

    def __init__(self, process: Process, page: mmap.mmap) -> None:
        self.process = process
        self.has_failed = False
        self.knows_files = False
        self._control = process.channel
        self._page = page
        self._sending = trio.Lock()
        self._answers: dict[str, _Answer] = {}

    @classmethod
    def spawn(cls, entry: str, page: mmap.mmap, page_fd: int) -> ServerProcess:
        """Start one. It can guard at once; to fork it has to be prepared."""
        ours, theirs = channel_pair()
        with theirs, open(os.devnull, "rb") as null:
            code = "from actorcluster._worker.template import main; "
            code += f"sys.exit(main({theirs.fileno()}, {page_fd}, {entry!r}))"
            try:
                pid = spawn(
                    python_argv(code),
                    env=without_identity(os.environ),
                    stdio=(null.fileno(), None, None),
                    pass_fds=[theirs.fileno(), page_fd],
                )
                process = Process(pid, "exec", ours)
            except BaseException:
                ours.close()
                raise
        return cls(process, page)

    async def serves(self) -> bool:
        """Wait until it runs; False if it has died. One caller at a time, as for `prepared`."""
        return await self._ask({"do": "hello"})

    async def prepared(self, preload: Sequence[str]) -> bool:
        """Have everything imported that its workers need; False if it has died.

        Raises:
            CannotFork: it cannot fork.
            RuntimeError: a module cannot be imported.

        Cancellation:
            It goes on, or has not begun, or is dead; call this again.
        """
        return await self._ask({"do": "configure", "preload": list(preload)})

    async def _ask(self, request: dict[str, Any]) -> bool:
        """Ask once; whoever comes again waits for the same answer."""
        answer = self._answers.get(request["do"])
        if answer is None:
            answer = _Answer()
            try:
                await self.send(request, [answer.write_end])
            except BaseException:
                answer.close()
                raise
            answer.sent()
            self._answers[request["do"]] = answer
        await answer.wait()
        if answer.data not in (READY, b""):
            self.has_failed = True
            raise answer.failure(None)
        return bool(answer.data)

    async def send(self, request: dict[str, Any], fds: Sequence[int]) -> None:
        """Send a request whole; a server that cannot take it whole is killed."""
        data = memoryview(pack(request, len(fds)))
        async with self._sending:
            begun = False
            try:
                while data:
                    try:
                        sent = self._send_some(data, () if begun else fds)
                    except BlockingIOError:
                        await trio.lowlevel.wait_writable(self._control)
                    else:
                        begun, data = True, data[sent:]
            except (ConnectionError, trio.ClosedResourceError):
                self.process.kill_now()  # it is dead, or as good as
            except BaseException:
                if begun:
                    self.process.kill_now()
                raise

    def _send_some(self, data: memoryview, fds: Sequence[int]) -> int:
        if self._control.fileno() < 0:
            raise BrokenPipeError
        if fds:
            return socket.send_fds(self._control, [data], fds)
        return self._control.send(data)

    async def fork(
        self, request: dict[str, Any], fds: Sequence[int], slot: int, channel: socket.socket
    ) -> Process | None:
        """Have a process made.

        Returns:
            None if this server has died, and made none.
        """
        answer = _Answer()
        SLOT.pack_into(self._page, slot * SLOT.size, 0)
        try:
            try:
                with trio.move_on_after(PATIENCE):
                    fork = {**request, "do": "fork", "slot": slot}
                    await self.send(fork, [answer.write_end, *fds])
                    answer.sent()
                    await answer.wait()
            except BaseException:
                with trio.CancelScope(shield=True):
                    process = await self._outcome(answer, slot, channel)
                    if process is not None:
                        await process.destroy()
                raise
            with trio.CancelScope(shield=True):
                process = await self._outcome(answer, slot, channel)
                if answer.data == READY or (process is None and not answer.data):
                    return process
                status = None if process is None else await process.destroy()
        finally:
            answer.close()
        raise answer.failure(status)

    async def _outcome(self, answer: _Answer, slot: int, channel: socket.socket) -> Process | None:
        """Find out, now that nobody waits any more, whether there is a process."""
        answer.sent()
        with trio.move_on_after(_BRIEF_PATIENCE):
            await answer.wait()
        if not answer.complete and not self._pid(slot):
            await self.kill()  # until it is dead it may still make one
        pid = self._pid(slot)
        if not pid:
            return None
        with trio.move_on_after(_BRIEF_PATIENCE):
            await answer.wait()
        return Process(pid, "forkserver", channel)

    def _pid(self, slot: int) -> int:
        pid: int = SLOT.unpack_from(self._page, slot * SLOT.size)[0]
        return pid

    async def kill(self) -> None:
        """Kill and reap it. The control socket stays open for those who still use it."""
        with trio.CancelScope(shield=True):
            self.process.kill_now()
            await self.process.wait()

    def close(self) -> None:
        """Close what is ours, once it is dead."""
        for answer in self._answers.values():
            answer.close()
        if self._control.fileno() >= 0:
            trio.lowlevel.notify_closing(self._control)
            self._control.close()
        self.process.close()
