"""Counts all that a primary does for some messages: passes, system calls, and every call besides.

Run as a program, ``counted.py [FILE]``: with a trace into FILE, or with none; prints JSON. It uses
nothing of the tests, so that it runs with whatever package is on the path.

Theory of operation
===================

Twice the same has to be counted twice alike. So the worker's end of the channel is here, in the
thread of the primary: the worker's process sends it over and sleeps. It is played whenever the loop
is about to wait, and never before, so that no answer is early or late; its words leave at once.
What reads a clock to decide how often others have a turn is shown one that stands still. The coin
that Trio tosses for the order in which tasks run always falls on the same side. There is no fork
server: what guards a worker is told of it when it is up.

Everything that Python calls in between is seen by a profile function. A system call is always
behind a call of something that is written in C.
"""

from __future__ import annotations

import array
import gc
import json
import os
import random
import socket
import struct
import sys
import tempfile
import time
import types
from collections import Counter
from typing import Any

import msgpack
import trio
import trio.testing

import actorcluster
from actorcluster._worker import start, worker
from actorcluster.wire._generated import Kind

ASKS = 100
TELLS = 70
ANSWERS = 30
_CALLED = ("socket.", "epoll.", "posix.", "fcntl.", "_socket.", "select.")

# Sends its channel to whoever made the socket that it finds, and lives until that is closed.
WORKER = """\
import array, os, socket
there = socket.socket(socket.AF_UNIX)
there.connect(os.environ["THERE"])
fd = int(os.environ["ACTORCLUSTER_CHANNEL"].removeprefix("fd:"))
rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
there.sendmsg([b"x"], [rights])
os.close(fd)
there.recv(1)
"""


def frame(kind: int, envelope: Any, payload: Any, channel: int = 0) -> bytes:
    body = bytes(msgpack.packb(envelope)) + bytes(msgpack.packb(payload))
    return (
        struct.pack(">BBIBBBBBBI", 0x95, 0xCE, len(body), 0xCE, kind, 0, 0, 0, 0xCE, channel) + body
    )


class Played(trio.abc.Instrument):
    """The worker, and whoever counts."""

    def __init__(self, channel: socket.socket) -> None:
        self.passes = 0
        self.calls: Counter[str] = Counter()
        self._channel = channel
        self._data = b""
        self._tells = 0

    def before_io_wait(self, timeout: float) -> None:
        counting = sys.getprofile()
        sys.setprofile(None)
        self.passes += 1
        if timeout > 0:
            self._play()
        sys.setprofile(counting)

    def _play(self) -> None:
        try:
            self._data += self._channel.recv(1 << 20)
        except BlockingIOError:
            return
        answers = b""
        while len(self._data) >= 16:
            end = 16 + int.from_bytes(self._data[2:6], "big")
            if len(self._data) < end:
                break
            kind, channel = self._data[7], int.from_bytes(self._data[12:16], "big")
            self._data = self._data[end:]
            answers += self._answer(kind, channel, end)
        if answers:
            self._channel.send(answers)

    def _answer(self, kind: int, channel: int, size: int) -> bytes:
        credit = frame(Kind.CREDIT, [max(256, size)], None)
        if kind == Kind.CALL:
            return credit + frame(Kind.REPLY, None, "answer", channel)
        if kind == Kind.TELL:
            self._tells += 1
            is_last = self._tells == TELLS
            return credit + frame(Kind.TELL, [None], "told") * (ANSWERS if is_last else 0)
        if kind == Kind.WELCOME:
            return frame(Kind.READY, None, {})
        return frame(Kind.GOODBYE, None, {"recv": 0}) if kind == Kind.STOP else b""

    def count(self, where: types.FrameType, event: str, what: Any) -> None:
        if event == "call":
            self.calls[f"{where.f_globals['__name__']}:{where.f_code.co_name}"] += 1
        elif event == "c_call":
            name = getattr(what, "__qualname__", repr(what))
            self.calls[f"{what.__module__}.{name}" if what.__module__ else name] += 1


async def play(
    listener: socket.socket, task_status: trio.TaskStatus[Played] = trio.TASK_STATUS_IGNORED
) -> None:
    """Play the worker that sends its channel, as long as it lives."""
    there, _ = await trio.to_thread.run_sync(listener.accept)
    with there:
        _, ancillary, _, _ = await trio.to_thread.run_sync(there.recvmsg, 1, 100)
        with socket.socket(fileno=array.array("i", ancillary[0][2])[0]) as channel:
            channel.setblocking(False)
            played = Played(channel)
            trio.lowlevel.add_instrument(played)
            hello = {"versions": [[1, 0]], "caps": ["call", "msg"], "limits": {}, "handles": []}
            channel.send(frame(Kind.HELLO, None, hello))
            try:
                task_status.started(played)
                await trio.sleep_forever()
            finally:
                trio.lowlevel.remove_instrument(played)


async def talk(one: actorcluster.Worker) -> None:
    for number in range(ASKS):
        await one.ask(number)
    for number in range(TELLS):
        await one.send(number)
    for _ in range(ANSWERS):
        with await one.mailbox.receive():
            pass


async def main(path: str | None) -> dict[str, Any]:
    options: dict[str, Any] = {} if path is None else {"trace": path}
    modules: Any = (start, time, worker)
    server, *clocks = modules
    server.available = lambda: (False, "it is not up at the same moment each time")
    for clock in clocks:
        clock.perf_counter = lambda: 0.0
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}/s")
        listener.listen()
        async with actorcluster.open_primary(**options) as primary, trio.open_nursery() as nursery:
            command = (sys.executable, "-IS", "-c", WORKER)
            env = {"THERE": f"{place}/s"}
            one = primary.fork_soon(None, exec=command, env=env, heartbeat=1e6)
            with primary.events(actorcluster.events.Online) as ready:
                played = await nursery.start(play, listener)
                await anext(ready)
            found = await counted(one, played)
            one.kill("SIGKILL")
            await one.wait()
            nursery.cancel_scope.cancel()
    return found


async def counted(one: actorcluster.Worker, played: Played) -> dict[str, Any]:
    """Count while it talks; the way there is not always the same."""
    await trio.testing.wait_all_tasks_blocked()
    coin: Any = random.Random
    coin.random = lambda self: 0.0  # not before: names of temporary files are made of it, too
    gc.collect()
    gc.disable()
    before = one.statistics().channel
    assert before is not None
    first = played.passes
    sys.setprofile(played.count)
    await talk(one)
    sys.setprofile(None)
    passes = played.passes - first
    after = one.statistics().channel
    assert after is not None
    return {
        "package": os.path.dirname(actorcluster.__file__),
        "passes": passes,
        "sends": after.sends - before.sends,
        "receives": after.receives - before.receives,
        "system": {name: n for name, n in played.calls.items() if name.startswith(_CALLED)},
        "calls": played.calls,
    }


if __name__ == "__main__":
    print(json.dumps(trio.run(main, sys.argv[1] if len(sys.argv) > 1 else None)))
