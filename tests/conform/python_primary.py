"""The conformance primary of SPEC.md, Annex B, with our own library: a program for the kit.

``python -m actorcluster conform --primary -- python -m tests.conform.python_primary``; with
``unix`` behind it, hostile workers connect by a path and a token.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any, Final

import trio

import actorcluster
from actorcluster import Actor, ActorClusterError, Message, Primary, events

HOST: Final = "127.0.0.1"
#: Small ones, so that a hostile worker comes to them soon.
SETTINGS: Final[dict[str, Any]] = {"mailbox_size": 256 * 1024, "max_message": 128 * 1024}
if "unix" in sys.argv:
    SETTINGS["channel"] = "unix"
#: Seconds: to say READY; to leave.
START, LEAVE = 10.0, 2.0


# ---- the innocent worker -----------------------------------------------------------------------


async def innocent(actor: Actor) -> None:
    listeners = await actor.listen_tcp(0, host=HOST)

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.send_all(b"%d\n" % actor.id)
            async for data in stream:
                await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        async for message in actor.mailbox:
            with message:
                if message.is_ask:
                    await message.reply(message.body)


# ---- the primary -------------------------------------------------------------------------------


class Conformance:
    """Starts hostile workers, each again when it ends, and does as they say."""

    def __init__(self, primary: Primary, nursery: trio.Nursery) -> None:
        self._primary = primary
        self._nursery = nursery
        self._workers: dict[str, actorcluster.Worker] = {}
        self._argv = tuple(os.environ["ACTORCLUSTER_TEST_WORKER"].split(" "))

    async def keep_starting(self, name: str) -> None:
        while True:
            worker = self._primary.fork_soon(
                exec=self._argv, name=name, start_timeout=START, shutdown=LEAVE, settings=SETTINGS
            )
            self._workers[name] = worker
            await worker.wait()

    async def obey(self) -> None:
        async for message in self._primary.mailbox:
            self._nursery.start_soon(self._handle, message)

    async def _handle(self, message: Message) -> None:
        with message:
            match message.body:
                case ["echo", value, *_] if message.is_ask:
                    await message.reply(value)
                case ["ask", body, *_]:
                    self._nursery.start_soon(self._ask, message.sender, body)
                case ["tell", [int() as count, body, *_], *_] if 0 <= count <= 10_000:
                    self._nursery.start_soon(self._tell, message.sender, count, body)
                case ["stop", *_] if (worker := self._workers.get(message.sender.name)) is not None:
                    self._nursery.start_soon(worker.disconnect, LEAVE)

    async def _ask(self, sender: Any, body: Any) -> None:
        try:
            outcome: list[Any]
            try:
                with trio.fail_after(5):
                    outcome = [True, await sender.ask(body)]
            except ActorClusterError as exc:
                outcome = [False, type(exc).__name__]
            await sender.send(["asked", outcome])
        except (ActorClusterError, TypeError, trio.TooSlowError):
            pass  # it is gone, answers never, or with what cannot be sent back

    async def _tell(self, sender: Any, count: int, body: Any) -> None:
        try:
            for number in range(1, count + 1):
                await sender.send([number, body])
        except (ActorClusterError, TypeError):
            pass


async def mourn(worker: actorcluster.Worker) -> None:
    """Say that the innocent worker has ended, which it must not before all others do."""
    print("the innocent worker has ended:", await worker.wait(), file=sys.stderr, flush=True)


async def main() -> None:
    async with (
        actorcluster.open_primary(shutdown_timeout=5) as primary,
        trio.open_nursery() as all_,
    ):
        worker = await primary.fork("tests.conform.python_primary:innocent", name="db")
        all_.start_soon(mourn, worker)
        address = (await primary.wait_for(events.Listening, worker)).address
        conformance = Conformance(primary, all_)
        all_.start_soon(conformance.obey)
        for lane in range(int(os.environ.get("ACTORCLUSTER_TEST_WORKERS", "1"))):
            all_.start_soon(conformance.keep_starting, f"hostile {lane}")
        print("port", address[1], flush=True)
        async with trio.lowlevel.FdStream(os.dup(0)) as stdin:
            while await stdin.receive_some():
                pass
        all_.cancel_scope.cancel()


if __name__ == "__main__":
    warnings.simplefilter("ignore", ResourceWarning)  # handles are sent to be closed
    logging.getLogger("actorcluster").addHandler(logging.NullHandler())
    actorcluster.run(main)
