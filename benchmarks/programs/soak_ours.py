"""Everything at once, for as long as it is let: what `benchmarks.soak` watches.

Workers share a port and talk with the primary: messages both ways, questions, sockets. One of them,
``lasting``, is never killed, so its counts must agree in the end; the others are, again and again.
"""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import trio

import actorcluster
from actorcluster import Actor, Message, PeerClosed, Primary, Worker, events
from benchmarks.programs.common import Arguments, arguments, say, tcp_pair

LASTING: Final = "lasting"
MORTALS: Final = ("mortal-1", "mortal-2")
SIZES: Final = (16, 1024, 64 * 1024)
ASKERS: Final = 4  # for each worker
PAUSE: Final = 0.005  # seconds between two deeds of one task
PATIENCE: Final = 5.0  # seconds until all that was sent must have been handled


async def work(actor: Actor) -> None:
    """Serve, talk, and handle mail, all at the same time."""
    heard = sent = 0

    async def handle(message: Message) -> object:
        nonlocal heard
        if message.body == "counts":
            talking.cancel()
            return {"heard": heard, "sent": sent}
        if message.handle is not None:
            message.handle.into_socket().close()
        heard += not message.is_ask
        return message.body

    listeners = await actor.listen_tcp(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, answer, listeners)
        nursery.start_soon(lambda: actor.serve_messages(handle, concurrency=4))
        with trio.CancelScope() as talking:
            while True:
                await actor.send({"from": actor.name, "data": b"x" * SIZES[sent % len(SIZES)]})
                sent += 1
                await trio.sleep(PAUSE)


async def answer(stream: trio.SocketStream) -> None:
    """Answer one client."""
    async with stream:
        data = await stream.receive_some(4096)
        await stream.send_all(data)


class Load:
    """What the primary does all the time, and how often it did.

    Attributes:
        counts: by what was done.
    """

    def __init__(self, primary: Primary, sock: socket.socket) -> None:
        self.counts: Counter[str] = Counter()
        self.primary = primary
        self._sock = sock
        self._alive: dict[str, Worker] = {}

    async def fork(self, name: str) -> Worker:
        """Start a worker, and give it work from now on."""
        worker = await self.primary.fork(work, name=name, ready="listening")
        self._alive[name] = worker
        return worker

    async def again(self, name: str, deed: Callable[[Worker], Awaitable[None]]) -> None:
        """Do something with whoever has that name now, again and again."""
        while True:
            try:
                await deed(self._alive[name])
            except PeerClosed:
                assert name != LASTING
                self.counts["refused"] += 1
            await trio.sleep(PAUSE)

    async def tell(self, worker: Worker) -> None:
        """Send a message."""
        size = SIZES[self.counts["told"] % len(SIZES)]
        await worker.send({"data": b"x" * size})
        self.counts["told"] += 1
        self.counts[f"told {worker.name}"] += 1

    async def ask(self, worker: Worker) -> None:
        """Ask something."""
        body = {"data": b"x" * SIZES[self.counts["asked"] % len(SIZES)]}
        assert body == await worker.ask(body)
        self.counts["asked"] += 1

    async def give(self, worker: Worker) -> None:
        """Send a socket."""
        await worker.send(None, self._sock, keep_open=True)
        self.counts["handles"] += 1
        self.counts[f"told {worker.name}"] += 1

    async def receive(self) -> None:
        """Receive what the workers send."""
        async for message in self.primary.mailbox:
            self.counts["received"] += 1
            self.counts[f"received {message.body['from']}"] += 1

    async def kill(self, seconds: float) -> None:
        """Kill the mortal ones in turn; wait until each has a successor."""
        while True:
            for name in MORTALS:
                await trio.sleep(seconds)
                self._alive[name].kill("SIGKILL")
                await self._alive[name].wait()
                await self.fork(name)
                self.counts["killed"] += 1

    async def last_counts(self, worker: Worker) -> dict[str, int]:
        """Ask what a worker has heard and sent, until it agrees with our counts or time is up.

        It may have messages in hand that came before the question, for it handles several at once,
        and we may not have counted one that came before the answer. So it must agree twice.
        """
        counts: dict[str, int] = {}
        agreed = 0
        with trio.move_on_after(PATIENCE):
            while agreed < 2:
                counts = await worker.ask("counts")
                told, received = (
                    self.counts[f"{what} {worker.name}"] for what in ("told", "received")
                )
                agreed += (counts["heard"], counts["sent"]) == (told, received)
                await trio.sleep(PAUSE)
        return counts


async def main(given: Arguments) -> None:
    with tcp_pair() as (sock, _):
        async with actorcluster.open_primary() as primary:
            load = Load(primary, sock)
            workers = [await load.fork(name) for name in (LASTING, *MORTALS)]
            listening = await primary.wait_for(events.Listening, workers[0])
            say(port=listening.address[1], workers=[worker.pid for worker in workers])
            async with trio.open_nursery() as receiving:
                receiving.start_soon(load.receive)
                async with trio.open_nursery() as nursery:
                    for name in (LASTING, *MORTALS):
                        for deed in (load.tell, load.give, *[load.ask] * ASKERS):
                            nursery.start_soon(load.again, name, deed)
                    nursery.start_soon(load.kill, given.number("kill_every", 1.0))
                    await trio.lowlevel.wait_readable(sys.stdin)  # closed when it was long enough
                    nursery.cancel_scope.cancel()
                lasting = await load.last_counts(workers[0])
                receiving.cancel_scope.cancel()
    say(lasting=lasting, counts=load.counts)


if __name__ == "__main__":
    trio.run(main, arguments())
