"""Plays scenarios under actorcluster, and writes down what every party saw.

$ python -m tests.node_parity.differential.driver SCENARIOS.json TRACE.jsonl

Steps, and when each is done, are explained in __init__.py; driver.js is the same for Node.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import trio
import trio.testing

from actorcluster import (
    SCHED_NONE,
    SCHED_RR,
    Actor,
    Handle,
    Message,
    PeerClosed,
    Primary,
    Worker,
    events,
    open_primary,
)

PATIENCE: Final = 20.0
KINDS: Final[dict[type, str]] = {tuple: "tcp4", str: "unix"}
Step: TypeAlias = dict[str, Any]


def appender(path: str, scenario: str) -> Callable[[str, dict[str, Any]], None]:
    """Give what writes a line of the trace."""

    def append(who: str, line: dict[str, Any]) -> None:
        text = json.dumps({"scenario": scenario, "who": who, **line}) + "\n"
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    return append


# ---- the worker -----------------------------------------------------------------------------


async def work(actor: Actor, ordinal: int, path: str, scenario: str, policy: str) -> None:
    """Do as the primary says."""
    trace = appender(path, scenario)
    extra = os.environ.get("PARTY_EXTRA")
    trace(f"worker {ordinal}", {"event": "started", "args": sys.argv[1:], "extra": extra})
    await actor.send({"started": ordinal})
    async with trio.open_nursery() as nursery:
        hand = _Hand(actor, nursery, ordinal, policy, lambda line: trace(f"worker {ordinal}", line))
        async for message in actor.mailbox:
            await hand.obey(message)
    sys.exit(hand.code)


class _Hand:
    def __init__(
        self,
        actor: Actor,
        nursery: trio.Nursery,
        ordinal: int,
        policy: str,
        tell: Callable[[dict[str, Any]], None],
    ) -> None:
        self.actor, self.nursery, self.tell = actor, nursery, tell
        self.code: int | None = None
        self.where: Any = None
        self.policy = SCHED_NONE if policy == "none" else SCHED_RR
        self.greeting = b"hello" if policy == "none" else f"hello from {ordinal}".encode()

    async def obey(self, message: Message) -> None:
        does, value = message.body["does"], message.body["value"]
        match does:
            case "note":
                self.tell({"event": "message", "body": value})
            case "say":
                await self.actor.send({"said": value})
            case "listen":
                with message:
                    await self.ack(message, ok=await self.listen(value, message.body["where"]))
                return
            case "take":
                assert message.handle is not None
                stream = message.handle.into_stream()
                assert isinstance(stream, trio.SocketStream)
                self.nursery.start_soon(self.serve, stream)
            case "exit":
                self.code = value  # raised in a nursery, SystemExit would be part of a group
                self.nursery.cancel_scope.cancel()
                return
            case "throw":
                raise ValueError("thrown")
            case "leave":
                self.nursery.start_soon(self.actor.disconnect)
                return
            case "quit":
                self.actor.kill()
                return
        await self.ack(message, ok=True)

    async def ack(self, message: Message, *, ok: bool) -> None:
        with contextlib.suppress(PeerClosed):
            await self.actor.send({"ack": message.body["id"], "ok": ok, "where": self.where})

    async def listen(self, how: str, where: Any) -> bool:
        actor, policy = self.actor, self.policy
        try:
            match how:
                case "tcp":
                    listeners = await actor.listen_tcp(0, host="127.0.0.1", policy=policy)
                case "one":
                    listeners = await actor.listen_tcp(0, host="127.0.0.1", max_connections=1)
                case "exclusive":
                    listeners = await actor.listen_tcp(0, host="127.0.0.1", exclusive=True)
                case "taken":
                    listeners = await actor.listen_tcp(where, host="127.0.0.1")
                case _:
                    listeners = [await actor.listen_unix(where)]
        except OSError as error:
            self.tell({"event": "listen failed", "code": code_of(error)})
            return False
        self.where = listeners[0].address
        self.nursery.start_soon(trio.serve_listeners, self.serve, listeners)
        return True

    async def serve(self, stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            async with stream:
                held = await stream.receive_some() == b"hold"
                await stream.send_all(self.greeting)
                while held and await stream.receive_some():
                    pass


# ---- the primary ----------------------------------------------------------------------------


class Scene:
    """One scenario; the one before has left no worker."""

    def __init__(self, primary: Primary, scenario: dict[str, Any], path: str) -> None:
        self.primary, self.scenario, self.path = primary, scenario, path
        self.trace = appender(path, scenario["name"])
        self.workers: dict[int, Worker] = {}
        self.ordinals: dict[Worker, int] = {}
        self.happened: set[str] = set()
        self.acks: dict[int, bool] = {}
        self.news = trio.Event()
        self.clients: dict[str, trio.SocketStream] = {}
        self.where: Any = None
        self.ids = 0
        self.over = False
        self.nursery: trio.Nursery

    async def play(self) -> None:
        self.primary.setup_primary(args=[])
        async with trio.open_nursery() as self.nursery:
            with self.primary.events() as happenings:
                self.nursery.start_soon(self.watch, happenings)
                self.nursery.start_soon(self.read)
                await self.act()
                self.nursery.cancel_scope.cancel()
        with contextlib.suppress(trio.WouldBlock):  # last words
            while True:
                self.primary.mailbox.receive_nowait()

    async def act(self) -> None:
        async with trio.open_nursery() as pending:
            for step in self.scenario["steps"]:
                if step["on"]:
                    await pending.start(self.patiently, step)
                else:
                    await self.patiently(step)
        self.over = True
        for stream in self.clients.values():
            await trio.aclose_forcefully(stream)
        for worker in self.workers.values():
            worker.kill("SIGKILL")
        for ordinal in self.workers:
            await self.gone(ordinal)

    async def patiently(
        self, step: Step, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        has_begun = False

        def begun() -> None:
            nonlocal has_begun
            if not has_begun:
                task_status.started()
            has_begun = True

        with trio.move_on_after(PATIENCE) as scope:
            await self.step(step, begun)
        if scope.cancelled_caught:
            self.trace("driver", {"event": "late", "step": step["does"]})
        begun()

    # ---- what happens ---------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.news.wait()

    def look(self) -> None:
        self.news.set()
        self.news = trio.Event()

    async def gone(self, ordinal: int) -> None:
        await self.until(lambda: {f"exit {ordinal}", f"disconnect {ordinal}"} <= self.happened)

    def is_gone(self, ordinal: int) -> bool:
        return f"exit {ordinal}" in self.happened

    def about(self, ordinal: int, line: dict[str, Any]) -> None:
        if not self.over:
            self.trace(f"primary about {ordinal}", line)

    async def watch(self, happenings: events.Subscription[events.Event]) -> None:
        async for event in happenings:
            match event:
                case events.Setup(settings=settings):
                    if not self.over:
                        self.trace("primary", {"event": "setup", "args": list(settings.args)})
                case _ if event.worker in self.ordinals:
                    self.see(self.ordinals[event.worker], event)

    def see(self, ordinal: int, event: events.Event) -> None:
        name = type(event).__name__.lower()
        line = {"event": name, **facts(event.worker)}
        match event:
            case events.Fork() | events.Online() | events.Disconnect():
                pass
            case events.Listening(address=address):
                line["kind"] = KINDS[type(address)]
            case events.Exit(status=status):
                line |= {"code": status.code, "signal": status.signal}
            case _:  # Node has nothing like it
                return
        self.about(ordinal, line)
        self.happened.add(f"{name} {ordinal}")
        self.look()

    async def read(self) -> None:
        async for message in self.primary.mailbox:
            match message.body:
                case {"started": ordinal}:
                    self.happened.add(f"started {ordinal}")
                    self.look()
                case {"ack": int(number), "ok": bool(ok), "where": where}:
                    self.acks[number] = ok
                    self.where = where or self.where
                    self.look()
                case {"said": said}:
                    ordinal = message.sender.name.removeprefix("party-")
                    self.trace(f"primary from {ordinal}", {"event": "message", "body": said})

    # ---- steps ----------------------------------------------------------------------------

    async def order(
        self,
        ordinal: int,
        does: str,
        value: Any,
        begun: Callable[[], None],
        *,
        where: Any = None,
        handle: Any = None,
    ) -> bool:
        """Tell a worker to do something; returns whether it did."""
        self.ids += 1
        number = self.ids
        body = {"id": number, "does": does, "value": value, "where": where}
        try:
            await self.workers[ordinal].send(body, handle)
        except PeerClosed:
            self.about(ordinal, {"event": "send refused"})
            return False
        finally:
            begun()
        await self.until(lambda: number in self.acks or self.is_gone(ordinal))
        return self.acks.get(number, False)

    async def step(self, step: Step, begun: Callable[[], None]) -> None:
        """Do it; ``begun`` is called when the next one may be done, should it not wait."""
        ordinal, value, client = step["worker"], step["value"], step["client"]
        worker = self.workers.get(ordinal)
        match step["does"]:
            case "setup":
                self.primary.setup_primary(args=[value])
            case "fork":
                await self.fork(ordinal, value, begun)
            case "send":
                await self.order(ordinal, "note", value, begun)
            case "tell":
                await self.order(ordinal, "say", value, begun)
            case "listen":
                await self.listen(ordinal, value, begun)
            case "disconnect_all":
                await self.primary.disconnect()
                self.trace("primary", {"event": "all disconnected"})
                for one in self.workers:
                    await self.gone(one)
            case "connect":
                await self.connect(client, self.where, b"talk")
            case "hold":
                await self.connect(client, self.where, b"hold")
            case "drop":
                await trio.aclose_forcefully(self.clients[client])
            case "pass":
                await self.hand_over(client, ordinal, begun)
            case does:
                assert worker is not None
                await self.to_worker(does, worker, value, begun)

    async def to_worker(
        self, does: str, worker: Worker, value: Any, begun: Callable[[], None]
    ) -> None:
        ordinal = self.ordinals[worker]
        match does:
            case "look":
                listed = worker in self.primary.workers.values()
                connected, dead = worker.is_connected(), worker.is_dead()
                more = {"connected": connected, "dead": dead, "listed": listed}
                self.about(ordinal, {"event": "look", **facts(worker), **more})
                return
            case "disconnect":
                self.nursery.start_soon(worker.disconnect)
                await trio.testing.wait_all_tasks_blocked()
            case "kill":
                worker.kill(value)
            case _:
                with contextlib.suppress(PeerClosed):
                    body = {"id": 0, "does": does, "value": value}
                    await worker.send(body)
        begun()
        await self.gone(ordinal)

    async def fork(self, ordinal: int, value: str | None, begun: Callable[[], None]) -> None:
        options: Any = {} if value is None else {"env": {"PARTY_EXTRA": value}}
        name, policy = self.scenario["name"], self.scenario["policy"]
        args = (ordinal, self.path, name, policy)
        worker = self.primary.fork_soon(work, *args, name=f"party-{ordinal}", **options)
        self.workers[ordinal] = worker
        self.ordinals[worker] = ordinal
        begun()
        await self.until(lambda: f"started {ordinal}" in self.happened or self.is_gone(ordinal))

    async def listen(self, ordinal: int, how: str, begun: Callable[[], None]) -> None:
        where: Any = None
        with contextlib.ExitStack() as stack:
            if how == "unix":
                where = f"{self.path}.{self.scenario['number']}.sock"
            elif how == "taken":
                blocker = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
                where = blocker.getsockname()[1]
            if await self.order(ordinal, "listen", how, begun, where=where) and how != "exclusive":
                await self.until(lambda: f"listening {ordinal}" in self.happened)

    async def connect(self, client: str, where: Any, word: bytes) -> None:
        """Return with the end of the connection, or with what a held one was greeted with."""
        if isinstance(where, str):
            stream = await trio.open_unix_socket(where)
        else:
            stream = await trio.open_tcp_stream(*where)
        self.clients[client] = stream
        who = f"client {client}"
        try:
            await stream.send_all(word)
            if word == b"hold":
                greeting = await stream.receive_some()
                self.trace(who, {"event": "greeted", "text": greeting.decode()})
                self.nursery.start_soon(self.wait_for_end, client, greeting)
                return
            await self.wait_for_end(client, b"")
        except OSError as error:
            self.trace(who, {"event": "failed", "code": code_of(error)})

    async def wait_for_end(self, client: str, text: bytes) -> None:
        with contextlib.suppress(trio.ClosedResourceError):  # by ourselves
            try:
                async for data in self.clients[client]:
                    text += data
                line = {"event": "end", "text": text.decode()}
            except trio.BrokenResourceError as error:
                line = {"event": "failed", "code": code_of(error.__cause__)}
            if not self.over:
                self.trace(f"client {client}", line)

    async def hand_over(self, client: str, ordinal: int, begun: Callable[[], None]) -> None:
        """The primary accepts, and hands the connection to a worker."""
        with trio.socket.socket() as server:
            await server.bind(("127.0.0.1", 0))
            server.listen()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.connect, client, server.getsockname(), b"talk")
                accepted, _ = await server.accept()
                handle = Handle.of(accepted)
                if not await self.order(ordinal, "take", None, begun, handle=handle):
                    handle.close()


def code_of(error: BaseException | None) -> str:
    """Give what the system calls it."""
    assert isinstance(error, OSError)
    assert error.errno is not None
    return errno.errorcode[error.errno]


def facts(worker: Worker) -> dict[str, Any]:
    """Give what is compared of a worker with each event."""
    return {"state": worker.state, "flag": worker.exited_after_disconnect}


async def main(scenarios: str, trace: str) -> None:
    """Play them all."""
    async with open_primary() as primary:
        for scenario in json.loads(Path(scenarios).read_text()):
            await Scene(primary, scenario, trace).play()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2])
