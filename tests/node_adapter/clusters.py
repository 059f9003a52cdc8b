"""The same cluster twice: with a primary of Node's own, and with ours."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import trio

from actorcluster import Primary, Worker, open_primary
from tests.program import PATIENCE

__all__ = ["NODE", "PROGRAMS", "Cluster", "command", "node_cluster", "our_cluster"]

HERE: Final = Path(__file__).parent
PROGRAMS: Final = HERE / "programs"
NODE: Final = os.environ.get("ACTORCLUSTER_NODE", "node")
"""The one that everything here runs; others than that on the path are named so."""


def command(program: str) -> list[str]:
    """The command line of one of the programs here."""
    return [NODE, str(PROGRAMS / program)]


class Cluster(Protocol):
    """What the stories do with a cluster; workers are numbers."""

    async def fork(self, program: str, **env: str) -> int: ...
    async def said(self, worker: int) -> Any: ...
    async def gave(self, worker: int) -> Any: ...
    async def tell(self, worker: int, body: Any) -> None: ...
    async def give(self, worker: int, body: Any, port: int) -> None: ...
    async def disconnect(self, worker: int) -> None: ...
    async def kill(self, worker: int, signal: str) -> None: ...
    async def ended(self, worker: int) -> dict[str, Any]: ...
    def pid(self, worker: int) -> int: ...


# ---- Node's ----------------------------------------------------------------------------------


class NodeCluster:
    """A primary of Node's own; see `primary.js`."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._events: dict[int, dict[str, trio.MemoryReceiveChannel[Any]]] = {}
        self._senders: dict[tuple[int, str], trio.MemorySendChannel[Any]] = {}
        self._forked = 0
        self._pids: dict[int, int] = {}

    async def read(self) -> None:
        assert self.process.stdout is not None
        text = b""
        async for data in self.process.stdout:
            *lines, text = (text + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                self._channels(event["worker"])
                self._senders[event["worker"], event["event"]].send_nowait(event)

    def _channels(self, worker: int) -> dict[str, trio.MemoryReceiveChannel[Any]]:
        if worker not in self._events:
            self._events[worker] = {}
            for name in ("fork", "online", "listening", "message", "exit"):
                sender, receiver = trio.open_memory_channel[Any](1000)
                self._events[worker][name] = receiver
                self._senders[worker, name] = sender
        return self._events[worker]

    async def _next(self, worker: int, name: str) -> Any:
        with trio.fail_after(PATIENCE):
            return await self._channels(worker)[name].receive()

    async def _do(self, act: str, **more: Any) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(json.dumps({"act": act, **more}).encode() + b"\n")

    async def fork(self, program: str, **env: str) -> int:
        return await self._fork(program=str(PROGRAMS / program), env=env)

    async def fork_python(self, target: str, *args: str) -> int:
        """Fork a worker of ours."""
        path = {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
        return await self._fork(program=target, args=args, env=path, python=sys.executable)

    async def _fork(self, **what: Any) -> int:
        await self._do("fork", **what)
        self._forked += 1
        self._pids[self._forked] = (await self._next(self._forked, "fork"))["pid"]
        await self._next(self._forked, "online")
        return self._forked

    async def listening(self, worker: int) -> None:
        """Wait until it listens."""
        await self._next(worker, "listening")

    async def said(self, worker: int) -> Any:
        event = await self._next(worker, "message")
        assert not event["handle"]
        return event["body"]

    async def gave(self, worker: int) -> Any:
        event = await self._next(worker, "message")
        assert event["handle"]
        return event["body"]

    async def tell(self, worker: int, body: Any) -> None:
        await self._do("tell", worker=worker, body=body)

    async def give(self, worker: int, body: Any, port: int) -> None:
        await self._do("give", worker=worker, body=body, port=port)

    async def disconnect(self, worker: int) -> None:
        await self._do("disconnect", worker=worker)

    async def kill(self, worker: int, signal: str) -> None:
        await self._do("kill", worker=worker, signal=signal)

    async def ended(self, worker: int) -> dict[str, Any]:
        event = await self._next(worker, "exit")
        return {name: event[name] for name in ("code", "signal", "voluntary")}

    def pid(self, worker: int) -> int:
        return int(self._pids[worker])


@asynccontextmanager
async def node_cluster(policy: str = "rr") -> AsyncIterator[NodeCluster]:
    """Run one; its workers are gone in the end."""
    argv = [NODE, str(HERE / "primary.js"), policy]
    async with trio.open_nursery() as nursery:
        run = functools.partial(
            trio.run_process, stdin=subprocess.PIPE, stdout=subprocess.PIPE, check=False
        )
        process: trio.Process = await nursery.start(run, argv)
        cluster = NodeCluster(process)
        nursery.start_soon(cluster.read)
        yield cluster
        assert process.stdin is not None
        await process.stdin.aclose()
        await process.wait()
        assert process.stdout is not None
        await process.stdout.aclose()
        nursery.cancel_scope.cancel()


# ---- ours ------------------------------------------------------------------------------------


class OurCluster:
    """A primary of ours."""

    def __init__(self, primary: Primary, nursery: trio.Nursery) -> None:
        self._primary = primary
        self._nursery = nursery
        self._workers: dict[int, Worker] = {}

    async def fork(self, program: str, **env: str) -> int:
        worker = await self._primary.fork(
            exec=command(program), protocol="node", env=env, shutdown=PATIENCE
        )
        self._workers[worker.id] = worker
        return worker.id

    async def said(self, worker: int) -> Any:
        with trio.fail_after(PATIENCE):
            message = await self._workers[worker].mailbox.receive()
        assert message.handle is None
        return message.body

    async def gave(self, worker: int) -> Any:
        with trio.fail_after(PATIENCE):
            message = await self._workers[worker].mailbox.receive()
        assert message.handle is not None
        stream = message.handle.into_stream()
        async with stream:
            await stream.send_all(b"from the primary\n")
        return message.body

    async def tell(self, worker: int, body: Any) -> None:
        await self._workers[worker].send(body)

    async def give(self, worker: int, body: Any, port: int) -> None:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await self._workers[worker].send(body, stream)

    async def disconnect(self, worker: int) -> None:
        self._nursery.start_soon(self._workers[worker].disconnect)

    async def kill(self, worker: int, signal: str) -> None:
        self._workers[worker].kill(signal)

    async def ended(self, worker: int) -> dict[str, Any]:
        with trio.fail_after(PATIENCE):
            status = await self._workers[worker].wait()
        return {"code": status.code, "signal": status.signal, "voluntary": status.voluntary}

    def pid(self, worker: int) -> int:
        pid = self._workers[worker].pid
        assert pid is not None
        return pid


@asynccontextmanager
async def our_cluster(policy: str = "rr", **options: Any) -> AsyncIterator[Cluster]:
    """Run one, with more options of `open_primary`; its workers are gone in the end."""
    scheduling = "none" if policy == "none" else "round_robin"
    ours = open_primary(scheduling_policy=scheduling, **options)
    async with ours as primary, trio.open_nursery() as nursery:
        yield OurCluster(primary, nursery)
        for worker in primary.workers.values():
            worker.kill("SIGKILL")
