"""A worker's runtime inside the test, with a primary that says whatever the test wants."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import attrs
import trio
import trio.testing

from actorcluster import Actor
from actorcluster._worker.mailbox import Mailbox
from actorcluster._worker.runtime import Runtime
from actorcluster.wire import events
from actorcluster.wire._generated import Reason
from tests.worker.entries import wait_for_thread
from tests.worker.lines import End, make_end

Main = Callable[[Actor], Awaitable[object]]


@attrs.define(eq=False)
class Hosted:
    """The primary's end, and what became of the worker."""

    primary: End
    over: trio.Event = attrs.Factory(trio.Event)
    error: BaseException | None = None

    async def hears(self, kind: type[Any]) -> Any:
        """Wait until the worker has said it."""
        with trio.fail_after(60):
            while True:
                for event in self.primary.events:
                    if isinstance(event, kind):
                        self.primary.events.remove(event)
                        return event
                await trio.testing.wait_all_tasks_blocked()
                await trio.sleep(0.001)

    def heard(self) -> list[type[Any]]:
        return [type(event) for event in self.primary.events]

    def welcomes(self, then: Callable[[], None] | None = None, **config: Any) -> None:
        """Take the worker in, and ``then`` say more in the same breath."""
        self.primary.connection.send_welcome(
            worker=7, cluster=bytes(16), name="web", config={"incarnation": 3, **config}
        )
        if then is not None:
            then()
        self.primary.channel.flush()

    def stops(self, seconds: float | None = None) -> None:
        self.primary.connection.send_stop(seconds, Reason.SHUTDOWN)
        self.primary.channel.flush()

    def dies(self) -> None:
        self.primary.channel.finish()

    async def ends(self) -> BaseException | None:
        """Wait for the end of the worker; returns what main raised."""
        with trio.fail_after(60):
            await self.over.wait()
        return self.error


@contextlib.asynccontextmanager
async def hosted(
    main: Main | None, *, welcome: bool = True, config: Mapping[str, Any] | None = None
) -> AsyncIterator[Hosted]:
    """Run one; the body begins when main does."""
    ours, theirs = socket.socketpair()
    primary = make_end("primary", Mailbox(), ours, {})
    made = Hosted(primary)
    runtime = Runtime(theirs, {})
    runtime.begin(7, main)

    async def live() -> None:
        try:
            made.error = await runtime.run()
        finally:
            runtime._channel._socket.close()
            made.over.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(primary.channel.run)
        nursery.start_soon(live)
        try:
            if welcome:
                await made.hears(events.Hello)
                made.welcomes(**(config or {}))
                await made.hears(events.Ready)
            yield made
        finally:
            nursery.cancel_scope.cancel()
            assert runtime._lifeline is not None
            runtime._lifeline.disarm()  # else it would end this very process
            wait_for_thread(runtime._lifeline._thread, to_run=False)


async def idle(actor: Actor) -> None:
    await trio.sleep_forever()
