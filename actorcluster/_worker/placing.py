"""Starting a program with what ``subprocess`` cannot do: further streams, and another user.

Runs in: primary

Theory of operation
===================

No descriptor of ours can be given the numbers 3 and higher: they are in use here, by other threads
too. And code of ours between fork and exec would be a fork of a process with threads. So a
go-between is started: an interpreter that imports nothing, puts each descriptor in its place,
becomes the other user, makes sure that there is no way back, and becomes the program. What fails
there it reports by a pipe that the program's start closes.

It costs the start of such an interpreter, some 10 ms. A worker that is forked needs none: its
server keeps those numbers free, see `template`, and does the rest itself, see `forked`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import marshal
import os
import sys
from typing import Final

import attrs
import trio

from .process import STDIO, Launch, Process, start_exec, to_os_error
from .settings import STDIO_MOST
from .user import change_user

__all__ = ["start_placed"]

_LOCALE: Final = "LC_CTYPE"
"""What the interpreter may set in its own environment when it starts."""

_READY: Final = b"+"
"""What it says before it becomes the program, and has nothing to add if it does."""

_CODE: Final = f"""\
import errno, marshal, os, signal, sys, types
answer, places, user, code, locale, *argv = sys.argv[1:]
answer = int(answer)
os.set_inheritable(answer, False)
try:
    for place in places.split():
        number, fd = map(int, place.split(":"))
        os.dup2(fd, number)
        os.close(fd)
    if user:
        change_user = types.FunctionType(marshal.loads(bytes.fromhex(code)), globals())
        change_user(*(int(word) if word != "-" else None for word in user.split()))
    if not locale:
        os.environ.pop("{_LOCALE}", None)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.write(answer, b"+")
    os.execvpe(argv[0], argv, os.environ)
except OSError as exc:
    os.write(answer, f"{{exc.errno}} {{exc.strerror}}".encode())
    os._exit(127)
"""


async def start_placed(launch: Launch) -> Process:
    """Start a program as `start_exec` does, with any number of streams, as any user.

    Raises:
        OSError: the program cannot be started; names it, or the working directory.

    Cancellation:
        Nothing was started, or it is killed and reaped.
    """
    with contextlib.ExitStack() as ours:
        report, answer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        ours.callback(os.close, report)
        with contextlib.ExitStack() as theirs:
            theirs.callback(os.close, answer)
            fds = []
            for fd in (answer, *launch.stdio[STDIO:]):
                assert fd is not None
                fds.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STDIO_MOST))
                theirs.callback(os.close, fds[-1])
            between = attrs.evolve(
                launch,
                argv=_go_between(launch, *fds),
                stdio=launch.stdio[:STDIO],
                uid=None,
                gid=None,
            )
            process = await start_exec(between, pass_fds=fds, above=STDIO_MOST)
        try:
            said = await _read(report)
        except BaseException:
            await process.destroy()
            raise
    if said == _READY:
        return process
    await process.destroy()
    number, _, text = said.removeprefix(_READY).decode().partition(" ")
    if not number:
        number, text = (
            str(errno.ENOEXEC),
            f"{sys.executable}, which was to become it, did not start",
        )
    raise to_os_error(OSError(int(number), text), launch)


def _go_between(launch: Launch, answer: int, *fds: int) -> tuple[str, ...]:
    if not sys.executable:
        raise OSError(errno.ENOTSUP, "sys.executable does not name the interpreter")
    places = " ".join(f"{number}:{fd}" for number, fd in enumerate(fds, STDIO))
    user, code = "", ""
    if launch.changes_user:
        user = " ".join("-" if n is None else str(n) for n in (launch.uid, launch.gid))
        code = marshal.dumps(change_user.__code__).hex()
    locale = "keep" if _LOCALE in launch.env else ""
    options = (str(answer), places, user, code, locale)
    return (sys.executable, "-IS", "-c", _CODE, *options, *launch.argv)


async def _read(fd: int) -> bytes:
    """Read a few bytes, up to the end."""
    said = b""
    while True:
        try:
            data = os.read(fd, 100)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(fd)
        else:
            said += data
            if not data:
                return said
