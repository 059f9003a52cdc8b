"""The fork server: guards workers; once it has everything imported, makes them by forking.

Runs in: worker

Theory of operation
===================

One thread, nothing of the application but the modules of ``preload``. It reads
requests from its control socket and never writes to it. Each request that wants an answer brings
the writing end of a pipe of its own, so answers cannot be mixed up, and whoever holds the pipe
last has decided: the server when there is no child, else the child once it is what was asked for.

`serve` returns in two kinds of process. In the server it returns None when the primary is gone or
said so. In each forked child it returns a `Job`, up to the top level of the program: a worker ends
by a normal interpreter exit, with atexit functions, and nothing of the server on its stack.

Most workers begin with an event loop, so they are forked inside of one that stands still in the
server, see `Draft.live`: there `_serve` is called by a task, and returns to it in a child, whose
event loop it is from then on. Scripts are forked outside, for they run one of their own. The server
is inside or outside as the next request demands.

When the primary ends without a word, the server is the one who stays behind for a moment: workers
that have not ended after `ORPHAN_SECONDS`, be they stopped or caught in C code, it kills. It knows
them by pidfd. Then it removes the files of the primary's unix sockets, which nobody has any more.
Where all workers are started by exec, it does nothing else: so this file imports no Trio and
nothing of the application before the first worker is to be forked.

A worker inherits what its interpreter decided at start: hash seed, encoding and whatever else comes
from PYTHON* variables or flags are the server's. So are the resource limits, and what else is in
docs/reference/start-methods.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import importlib
import importlib.util
import mmap
import os
import select
import signal
import socket
import struct
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, final

import msgpack

from . import bootstrap
from .buffers import Buffers
from .clone import clone_sibling, thread_count
from .forkrequest import FAILED, HEADER, MAX_FDS, NO_FORK, READY
from .holes import fill_holes
from .spared import Spared, leave_openssl_as_it_is

if TYPE_CHECKING:
    from .draft import Draft
    from .forked import Job, Model, Place

__all__ = ["main"]

ORPHAN_SECONDS: Final = 1.25
"""From the primary's death to SIGKILL: a little more than `bootstrap.Lifeline` gives."""

_USUAL: Final = ("argparse", "dataclasses", "json")
"""Of the standard library, what Trio does not import and programs often do."""
_NOBODY: Final = "actorcluster_looks_into_each_directory_of_the_path_once"
"""Whoever looks for it has read all directories; workers find there what they import."""
_REHEARSE: Final = "actorcluster._worker.rehearsal:rehearse"
_REHEARSALS: Final = 10
"""Python looks at code that has run eight times, and then once more at each place in it."""
_RUNTIME: Final = "actorcluster._worker.runtime:run_worker"
_DRAFT: Final = "actorcluster._worker.draft:Draft"
_PR_SET_PDEATHSIG: Final = 1
_STDIO: Final = 3
_STDIO_MOST: Final = 16  # as in `settings`
_LONGEST_TEXT: Final = 10_000
_EXIT_SECONDS: Final = 2
_DEATH_SECONDS: Final = 2
"""More than anybody takes to die of SIGKILL, unless the kernel does not let him."""


def main(control_fd: int, page_fd: int, entry: str) -> str | int | None:
    """Be a fork server, and in its children be a worker.

    Args:
        control_fd: our end of the control socket.
        page_fd: what is shared with the primary, see `forkprocess`.
        entry: ``"module:function"``, what a worker without a script calls.

    Returns:
        The exit code of whichever process this is by then, as for `sys.exit`.
    """
    bootstrap.prepare_signals()
    _wake_when_orphaned()
    _fill_stdio()
    page = mmap.mmap(page_fd, 0)
    os.close(page_fd)
    reserved = _reserve()
    with socket.socket(fileno=control_fd) as control:
        server = _Server(control, page, entry, reserved)
        job = server.serve()
    if job is not None:
        try:
            return job.run()
        except SystemExit as exc:
            code = exc.code
        return code  # without the frames that it went through, which some interpreters keep
    server.close()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(_EXIT_SECONDS)  # an atexit function of a preloaded module may hang
    return 0


def _wake_when_orphaned() -> None:
    """Have the kernel continue us, if we are stopped, when the primary has gone: we are needed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def _fill_stdio() -> None:
    """Let descriptors 0 to 2 be open, so that no other gets their numbers."""
    while (fd := os.open(os.devnull, os.O_RDWR)) < _STDIO:
        os.set_inheritable(fd, True)
    os.close(fd)


def _reserve() -> list[int]:
    """Let no descriptor that comes from now on have a number that a worker's stream may have."""
    taken = []
    with contextlib.suppress(OSError):  # so few are allowed that there is no room for all
        while (fd := os.open(os.devnull, os.O_RDWR)) < _STDIO_MOST:
            taken.append(fd)
        os.close(fd)
    return taken


def _check_free(numbers: Iterable[int]) -> None:
    """Make sure that a worker's stream takes nobody's place.

    Raises:
        OSError: there is something, maybe of a module that every interpreter imports here.
    """
    for number in numbers:
        try:
            os.fstat(number)
        except OSError:
            continue
        raise OSError(errno.EBUSY, "the fork server has something there", f"stdio[{number}]")


@final
class _Server:
    def __init__(
        self, control: socket.socket, page: mmap.mmap, entry: str, reserved: Sequence[int]
    ) -> None:
        self._reserved = reserved
        self._control = control
        self._page = page
        self._entry_name = entry
        self._model: Model | None = None
        self._draft: Draft | None = None
        self._spared: Spared | None = None
        self._has_loop = entry == _RUNTIME
        self._pending: tuple[dict[str, Any], list[int]] | None = None  # a request
        self._guarded: set[int] = set()  # pidfds of workers
        self._files: list[tuple[str, int, int]] = []  # of unix sockets: path, device, inode
        self._primary = os.pidfd_open(os.getppid())
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._poll.register(self._primary, select.POLLIN)

    def serve(self) -> Job | None:
        """Answer requests until there is nobody left to serve, or this is the child."""
        inside = False
        while True:
            job = self._serve_inside() if inside else self._serve(inside=False)
            if self._pending is None:
                return job
            inside = not inside

    def _serve(self, *, inside: bool) -> Job | None:
        """Do so as long as requests are such for which this is the place."""
        while True:
            request, self._pending = self._pending or self._next(), None
            if request is None or request[0]["do"] == "exit":
                return None
            if request[0]["do"] == "fork" and not self._belongs(request[0], inside=inside):
                self._pending = request
                return None
            job = self._obey(*request)
            if job is not None:
                return job

    def _belongs(self, request: dict[str, Any], *, inside: bool) -> bool:
        """Whether it is inside of an event loop that a worker is to be forked, or outside."""
        is_script = request["script"] is not None or request["module"] is not None
        if self._draft is None or not self._has_loop or is_script:
            return not inside
        return inside and self._draft.fits(request["env"].get(bootstrap.LIMITS))

    def _serve_inside(self) -> Job | None:
        """Serve inside of an event loop, for workers that get it with all else."""
        assert self._draft is not None
        assert self._pending is not None
        server = os.getpid()
        try:
            self._draft.suit(self._pending[0]["env"].get(bootstrap.LIMITS))
            return self._draft.live(lambda: self._serve(inside=True))
        except Exception:
            if os.getpid() != server:
                raise
            self._has_loop = False  # workers start more slowly, that is all
            return None

    def _next(self) -> tuple[dict[str, Any], list[int]] | None:
        """Wait for a request; None when the primary is gone, and all has been done that must be."""
        while True:
            ready = dict(self._poll.poll())
            self._forget(ready)
            if self._control.fileno() in ready:
                request = self._receive()
                if request is None:
                    self._bury()
                return request
            if self._primary in ready:
                self._bury()
                return None

    def _obey(self, request: dict[str, Any], fds: list[int]) -> Job | None:
        """Do what a request says; returns a job in the child."""
        match request["do"]:
            case "fork":
                return self._fork(request, fds)
            case "hello":
                _answer(fds[0], READY)
                os.close(fds[0])
            case "configure":
                self._configure(request, *fds)
            case "guard":
                for pidfd in fds:
                    self._guard(pidfd)
            case "files":
                self._files = request["files"]
        return None

    # ---- requests -------------------------------------------------------------------------

    def _receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next request and its descriptors; None when the primary is gone."""
        try:
            # The descriptors of a request come with its first byte.
            data, fds, flags, _ = socket.recv_fds(self._control, HEADER.size, MAX_FDS)
            for fd in fds:
                os.set_inheritable(fd, False)
            data += self._read(HEADER.size - len(data)) if data else b""
            size, count = HEADER.unpack(data)
            body = self._read(size)
        except (ConnectionError, EOFError, struct.error):
            return None
        if len(fds) != count or flags & socket.MSG_CTRUNC:
            # Some were lost, for want of room in our table. Who waits for them sees them closed.
            _close_all(fds)
            return {"do": "lost"}, []
        request = msgpack.unpackb(body, unicode_errors="surrogateescape", strict_map_key=False)
        return request, fds

    def _read(self, size: int) -> bytes:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            received = self._control.recv_into(view)
            if not received:
                raise EOFError
            view = view[received:]
        return bytes(data)

    def _configure(self, request: dict[str, Any], answer: int) -> None:
        """Import everything, try it out, then freeze it: pages that nobody writes stay shared."""
        self._spared = spared = Spared()
        buffers = Buffers()
        name = ""
        try:
            leave_openssl_as_it_is()
            for name in (*_USUAL, "trio", "actorcluster"):
                module = importlib.import_module(name)
            _import_all_names(module)
            for own in (_REHEARSE, _DRAFT):
                _load(own)
            spared.choose()
            for name in request["preload"]:
                importlib.import_module(name)
            entry = _load(self._entry_name)
            with contextlib.suppress(Exception):  # whatever hooks say of such a name
                importlib.util.find_spec(_NOBODY)
        except BaseException as exc:  # noqa: BLE001  (a module may raise anything, SystemExit too)
            text = "".join(traceback.format_exception(exc))
            _answer(answer, FAILED, f"preloading {name} failed:\n{text}")
        else:
            if (threads := thread_count()) > 1:
                _answer(answer, NO_FORK, f"{threads} threads after preloading")
            else:
                from .forked import Model  # noqa: PLC0415  (guards need none)

                self._model = Model(entry)
                gc.collect()
                spared.confirm()
                buffers.empty()
                gc.freeze()  # then there is little to look through for what rehearsals leave
                for _ in range(_REHEARSALS):
                    _load(_REHEARSE)()
                    gc.collect()
                fill_holes()
                gc.freeze()
                gc.disable()
                with contextlib.suppress(OSError):  # no descriptors: without one, then
                    self._draft = _load(_DRAFT)()
                _answer(answer, READY)
        os.close(answer)

    def _fork(self, request: dict[str, Any], fds: list[int]) -> Job | None:
        _flush()
        slot = ctypes.c_int.from_buffer(self._page, request["slot"] * ctypes.sizeof(ctypes.c_int))
        slot.value = 0
        try:
            if (threads := thread_count()) > 1:
                _answer(fds[0], NO_FORK, f"{threads} threads in the fork server")
                _close_all(fds)
                return None
            assert self._model is not None
            place = self._model.place(request, fds[2:])
            if self._draft is not None:
                self._draft.suit(place.limits)
                self._draft.approach(fds[1])
            pid = clone_sibling(ctypes.addressof(slot))
            if pid == 0:
                del slot
                return self._become(place, fds)
            if self._draft is not None:
                self._draft.copied()
            # The primary does not learn the pid before we answer, so nobody can have reaped it.
            with contextlib.suppress(OSError):  # no room for one more descriptor: unguarded
                self._guard(os.pidfd_open(pid))
        except Exception as exc:  # noqa: BLE001  (the primary will raise it)
            if self._draft is not None:
                self._draft.copied()
            _answer_failure(fds[0], exc)
        _close_all(fds)
        return None

    # ---- in the child ---------------------------------------------------------------------

    def _become(self, place: Place, fds: list[int]) -> Job:
        """Turn into what was asked for, and say so; or say why not, and end."""
        answer, channel, *stdio = fds
        try:
            self._let_go()
            _check_free(number for number in place.stdio if number >= _STDIO)
            assert self._spared is not None
            self._spared.forked()
            if self._draft is not None:
                channel = self._draft.hand_over(channel, to_script=place.job.is_script)
            assert self._model is not None
            self._model.settle(place, channel, *stdio)
            gc.enable()
            os.write(answer, READY)
        except BrokenPipeError:  # the primary is gone, or waits no longer
            pass
        except BaseException as exc:  # noqa: BLE001  (the primary will raise it)
            _answer_failure(answer, exc)
            os._exit(1)  # no user code has run yet
        os.close(answer)
        return place.job

    def _let_go(self) -> None:
        """Close everything that is the server's."""
        os.close(self._control.detach())
        for fd in (self._primary, *self._guarded, *self._reserved):
            os.close(fd)
        self._page.close()

    # ---- after the primary ----------------------------------------------------------------

    def close(self) -> None:
        """End: close what warns if it is forgotten."""
        if self._draft is not None:
            self._draft.close()

    def _guard(self, pidfd: int) -> None:
        self._guarded.add(pidfd)
        self._poll.register(pidfd, select.POLLIN)

    def _forget(self, ready: dict[int, int]) -> None:
        """Close the pidfds of workers that have ended."""
        for pidfd in self._guarded.intersection(ready):
            self._poll.unregister(pidfd)
            self._guarded.discard(pidfd)
            os.close(pidfd)

    def _bury(self) -> None:
        """The primary is gone: kill the workers that do not see it themselves."""
        for fd in (self._control, self._primary):
            self._poll.unregister(fd)
        self._outlast(ORPHAN_SECONDS)
        for pidfd in self._guarded:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        if self._files:
            self._outlast(_DEATH_SECONDS)  # a socket lives as long as anybody has it
            from .unixpath import remove_orphan  # noqa: PLC0415  (few need it)

            for path, device, inode in self._files:
                remove_orphan(path, (device, inode))

    def _outlast(self, seconds: float) -> None:
        """Wait until all workers are gone, but not for longer."""
        deadline = time.monotonic() + seconds
        while self._guarded and (left := deadline - time.monotonic()) > 0:
            self._forget(dict(self._poll.poll(left * 1000)))


def _load(name: str) -> Callable[[], Any]:
    """Import ``"module:function"``."""
    module, _, function = name.partition(":")
    found: Callable[[], Any] = getattr(importlib.import_module(module), function)
    return found


def _import_all_names(package: types.ModuleType) -> None:
    """A worker's script may name any; what it names first is imported then, in every worker."""
    for name in package.__all__:
        getattr(package, name)


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _answer(fd: int, verdict: bytes, text: str = "", errno: int = 0, file: Any = None) -> None:
    """Answer a request; a text may be long, but is written in one piece."""
    file = None if file is None else os.fsdecode(file)
    details = b"" if verdict == READY else msgpack.packb((errno, text[-_LONGEST_TEXT:], file))
    with contextlib.suppress(BrokenPipeError):  # the primary is gone, or waits no longer
        os.write(fd, verdict + details)


def _answer_failure(answer: int, exc: BaseException) -> None:
    if isinstance(exc, OSError):
        _answer(answer, FAILED, str(exc.strerror), exc.errno or 0, exc.filename)
    else:
        _answer(answer, FAILED, f"{type(exc).__name__}: {exc}")


def _flush() -> None:
    """Leave nothing in the buffers that a child would write once more."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
