"""What a worker can be told to do, one thing after the other."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, Final

import trio

import actorcluster
from actorcluster import Actor, Handle
from actorcluster._worker.accepting import ClusterListener

#: What this process was known to be while the module was imported.
IS_WORKER: Final = actorcluster.is_worker()


class Hand:
    """What a worker can be told to do."""

    def __init__(self, actor: Actor, nursery: trio.Nursery) -> None:
        self.actor = actor
        self.nursery = nursery
        self.listeners: list[ClusterListener] = []
        self.greeting = ""
        self.handle: Handle | None = None
        self.sockets: list[trio.socket.SocketType] = []

    # ---- itself ---------------------------------------------------------------------------

    async def about(self) -> dict[str, Any]:
        """Say who and where one is."""
        return {
            "pid": os.getpid(),
            "argv": sys.argv[1:],
            "cwd": os.getcwd(),
            "env": dict(os.environ),
            "flags": [sys.warnoptions, sorted(sys._xoptions)],
            "executable": sys.executable,
            "is_worker": IS_WORKER,
            "connected": self.actor.is_connected(),
        }

    async def leave_session(self) -> None:
        """Do what a program does that is to outlive the one that started it."""
        os.setsid()

    async def echo(self, body: Any) -> Any:
        """Give it back."""
        return body

    async def say(self, body: Any) -> None:
        """Send it to the primary."""
        await self.actor.send(body)

    async def say_endless(self) -> str:
        """Try to send what holds itself; returns what that was told."""
        endless: list[Any] = []
        endless.append(endless)
        try:
            await self.actor.send(endless)
        except (TypeError, ValueError) as exc:
            return str(exc)
        return "sent"

    async def say_and_kill(self, body: Any) -> None:
        """Send it to the primary, and end at once."""
        await self.actor.send(body)
        self.actor.kill()

    async def print(self, text: str) -> None:
        """Print it."""
        print(text, flush=True)

    async def print_and_echo(self, text: str, body: Any) -> Any:
        """Print it, and give something back."""
        os.write(1, text.encode())
        return body

    async def print_much(self, size: int) -> int:
        """Print so many bytes, and say how many that were."""
        written = 0
        while written < size:
            written += os.write(1, bytes(min(size - written, 65536)))
        return written

    async def serve_descriptor(self, number: int) -> None:
        """Give back what comes there."""
        stream = trio.SocketStream(trio.socket.socket(fileno=number))
        self.nursery.start_soon(self._repeat, stream)

    async def _repeat(self, stream: trio.SocketStream) -> None:
        async with stream:
            async for chunk in stream:
                await stream.send_all(chunk)

    async def nested(self) -> dict[str, Any]:
        """Ask a worker of one's own what it is."""
        async with actorcluster.open_primary() as primary:
            worker = await primary.fork("tests.node_parity.actors:obeys")
            about: dict[str, Any] = await worker.ask(["about"])
        return about

    async def say_wrong_things(self) -> list[str]:
        """Try to send what cannot be sent; returns what that was told."""
        errors = []
        wrong: list[tuple[Any, Any]] = [({"x": [object()]}, None), ("body", "no handle")]
        for body, handle in wrong:
            try:
                await self.actor.send(body, handle)
            except (TypeError, ValueError) as exc:
                errors.append(f"{type(exc).__name__}: {exc}")
        return errors

    async def raw(self, data: bytes) -> None:
        """Write this to the channel, whatever it is."""
        wire: Any = self.actor._channel._socket
        assert len(data) == wire._sock.send(data)

    async def raw_exit(self, data: bytes) -> None:
        """Write this to the channel, and end at once."""
        await self.raw(data)
        os._exit(0)

    async def greet_with(self, text: str) -> None:
        """Tell this to the next client too."""
        self.greeting = text

    async def exit(self, code: int) -> None:
        """End with this code, and clean nothing up."""
        os._exit(code)

    async def leave(self) -> None:
        """Ask to leave."""
        await self.actor.disconnect()

    async def kill(self) -> None:
        """End at once."""
        self.actor.kill()

    async def leave_and_kill(self) -> None:
        """Leave, and then end at once."""
        await self.actor.disconnect()
        self.actor.kill()

    async def loop(self) -> None:
        """Never do anything else."""
        while True:
            pass

    async def close_channel(self) -> None:
        """Close the own end of the channel."""
        self.actor._channel.shutdown_write()

    async def run(self, *command: str) -> str:
        """Run a program; returns what it printed."""
        done = await trio.run_process(command, capture_stdout=True)
        return done.stdout.decode()

    # ---- handles --------------------------------------------------------------------------

    def _given(self) -> Handle:
        assert self.handle is not None
        return self.handle

    async def bounce(self, body: Any) -> None:
        """Send both back."""
        await self.actor.send(body, self.handle)

    async def describe(self, body: Any) -> None:
        """Say with what it came."""
        if self.handle is None:
            await self.actor.send([body, None, 0])
        else:
            size = os.fstat(self.handle.fileno()).st_size
            await self.actor.send([body, self.handle.kind, size])
            self.handle.close()

    async def give_connection(self, port: int) -> None:
        """Connect to somebody, and send the connection to the primary."""
        await self.actor.send("handle", await trio.open_tcp_stream("127.0.0.1", port))

    async def give_twice(self, port: int) -> str:
        """Do it twice with the same one; returns what that was told."""
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await self.actor.send("first", stream)
        try:
            await self.actor.send("second", stream)
        except trio.ClosedResourceError as exc:
            return type(exc).__name__
        return "sent"

    async def serve_given(self) -> None:
        """Serve it like one that was accepted here."""
        stream = self._given().into_stream()
        assert isinstance(stream, trio.SocketStream)
        self.nursery.start_soon(self._hold, stream)

    async def answer_given(self, text: str) -> None:
        """Say this to the other end, and close it."""
        async with self._given().into_stream() as stream:
            await stream.send_all(text.encode())

    async def receive_once(self) -> None:
        """Send the next datagram to the primary."""
        with self._given().into_socket() as sock:
            await self.actor.send(await sock.recv(100))

    async def descriptors(self) -> int:
        """Count those that are open."""
        return len(os.listdir("/proc/self/fd"))

    # ---- listening ------------------------------------------------------------------------

    async def listen(self, port: int = 0, options: dict[str, Any] | None = None) -> list[Any]:
        """Listen, and serve the own number; returns the addresses."""
        listeners = await self.actor.listen_tcp(port, **{"host": "127.0.0.1", **(options or {})})
        for listener in listeners:
            self.serve(listener)
        return [list(listener.address) for listener in listeners]

    async def listen_idly(self) -> list[Any]:
        """Listen, and accept nothing; returns the addresses."""
        listeners = await self.actor.listen_tcp(0, host="127.0.0.1")
        self.listeners += listeners
        return [list(listener.address) for listener in listeners]

    async def listen_when_leaving(self) -> None:
        """Listen once more when one is told to leave; send what that was told."""

        async def listen() -> None:
            with self.actor.busy():
                await self.actor.draining.wait()
                try:
                    await self.actor.listen_tcp(0, host="127.0.0.1")
                except trio.ClosedResourceError as exc:
                    await self.actor.send(type(exc).__name__)

        self.nursery.start_soon(listen)

    async def close(self, index: int) -> None:
        """Close a listener."""
        await self.listeners.pop(index).aclose()

    async def listen_twice(self, port: int) -> list[Any]:
        """Listen on one port in two tasks at once; returns what came of each, sorted."""
        outcomes: list[Any] = []

        async def listen() -> None:
            try:
                await self.listen(port)
            except OSError as exc:
                outcomes.append(exc.errno)
            else:
                outcomes.append("listens")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            nursery.start_soon(listen)
        return sorted(outcomes, key=str)

    async def cancel_listen(self, port: int) -> None:
        """Begin to listen, and give up before the primary has answered."""
        await self._give_up(self.actor.listen_tcp, port)

    async def cancel_bind(self, port: int) -> str:
        """Likewise."""
        return await self._give_up(self.actor.bind_udp, port)

    async def _give_up(self, bind: Any, port: int) -> str:
        pending = self.actor._listeners._pending
        outcomes: list[Any] = ["none yet"]

        async def begin() -> None:
            try:
                outcomes.append(await bind(port, host="127.0.0.1"))
            except OSError as exc:
                outcomes.append(exc)

        while outcomes:  # the answer may have been faster
            outcomes.clear()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(begin)
                while not pending and not outcomes:
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            for outcome in outcomes:
                for one in outcome if isinstance(outcome, list) else [outcome]:
                    if not isinstance(one, OSError):
                        one.close()
        return "cancelled"

    # ---- datagrams ------------------------------------------------------------------------

    async def bind_udp(
        self, port: int = 0, host: str = "127.0.0.1", ipv6_only: bool = False
    ) -> int:
        """Bind a shared datagram socket; returns its port."""
        sock = await self.actor.bind_udp(port, host=host, ipv6_only=ipv6_only)
        self.sockets.append(sock)
        bound: int = sock.getsockname()[1]
        return bound

    async def bind_own(self, port: int, option: str | None = None) -> int:
        """Bind one without asking anybody; returns its port."""
        sock = trio.socket.socket(type=socket.SOCK_DGRAM)
        self.sockets.append(sock)
        if option is not None:
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
        await sock.bind(("127.0.0.1", port))
        bound: int = sock.getsockname()[1]
        return bound

    async def make_udp(self) -> None:
        """Make one, and bind it to nothing."""
        self.sockets.append(trio.socket.socket(type=socket.SOCK_DGRAM))

    async def send_to(self, port: int, text: str) -> None:
        """Send a datagram from the last of them."""
        await self.sockets[-1].sendto(text.encode(), ("127.0.0.1", port))

    async def close_udp(self, index: int) -> None:
        """Close one."""
        self.sockets.pop(index).close()

    async def bind_and_close(self) -> str:
        """Close it as soon as it is bound."""
        (await self.actor.bind_udp(0, host="127.0.0.1")).close()
        return "closed"

    # ---- where the primary has it, and others -------------------------------------------------

    async def listen_fd(self, name: int | str) -> Any:
        """Listen on a descriptor of the primary; returns the address."""
        listener = await self.actor.listen_fd(name)
        self.serve(listener)
        return listener.address if isinstance(listener.address, str) else [*listener.address]

    async def listen_alone(self) -> int:
        """Listen without asking anybody; returns the port."""
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.nursery.start_soon(trio.serve_listeners, self._hold, [listener])
        port: int = listener.socket.getsockname()[1]
        return port

    async def listen_unix(
        self, path: str, mode: int | None = None, options: dict[str, Any] | None = None
    ) -> str:
        """Listen on a path, and serve the own number."""
        self.serve(await self.actor.listen_unix(path, mode=mode, **(options or {})))
        return path

    def serve(self, listener: ClusterListener) -> None:
        """Tell each client the own number, then all that it says, until it goes."""
        self.listeners.append(listener)
        self.nursery.start_soon(self._serve, listener)

    async def _serve(self, listener: ClusterListener) -> None:
        try:
            await trio.serve_listeners(self._hold, [listener])
        except* trio.ClosedResourceError:
            pass  # we were told to

    async def _hold(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await stream.send_all(f"{self.actor.id}\n".encode())
                await stream.send_all(self.greeting.encode())
                async for chunk in stream:
                    await stream.send_all(chunk)
            except trio.BrokenResourceError:
                pass  # the client's way to go
