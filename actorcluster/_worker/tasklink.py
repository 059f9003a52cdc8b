"""Both ends of the link between a primary and an actor that is one of its tasks.

Runs in: primary

A real channel with real frames, through memory: what a message may hold, its order, the room it
needs and what becomes of it at the end are then one and the same code for processes and tasks.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any, final

import trio

from .._link.channel import Channel
from .._link.handles import HANDLES
from .._link.introduction import introduce
from .._link.memory import memory_pair
from .._link.pipe import LINK_LIMITS
from ..errors import LocalProtocolError
from ..wire import events
from ..wire._generated import Reason
from ..wire.connection import Connection
from ..wire.values import RefAdapter
from .latch import Latch
from .mailbox import MergedMailbox
from .moments import LifeOptions

__all__ = ["TaskLink"]

log = logging.getLogger("actorcluster.task")

OnEvent = Callable[[events.Event], None]


@final
class TaskLink:
    """A link whose ends have come to know each other; `run` serves it.

    Args:
        options: of the actor's life.
        worker_id: of that life.
        refs: how refs in messages are described and built, at the primary's and the actor's end.
        merged: the primary's mailbox; in one table of open files all share one budget.
        on_event: what each end does with what is no mail.
        on_end: called when it is over.

    Attributes:
        ours: the primary's end.
        theirs: the actor's.
        connection: the core of ours.
        over: set when both have ended.
    """

    def __init__(
        self,
        options: LifeOptions,
        worker_id: int,
        *,
        refs: tuple[RefAdapter | None, RefAdapter | None],
        merged: MergedMailbox,
        on_event: tuple[OnEvent, OnEvent],
        on_end: Callable[[], None],
    ) -> None:
        limits = {**LINK_LIMITS, **options.limits}
        more: dict[str, Any] = {"limits": limits, "handles": HANDLES, "gather": True}
        self.connection = Connection("primary", refs=refs[0], **more)
        its = Connection("worker", refs=refs[1], **more)
        for connection in (self.connection, its):
            connection.bound_descriptors(merged.share())
        introduce(
            its,
            self.connection,
            worker_id=worker_id,
            name=options.name,
            cluster=options.cluster,
        )
        sockets = memory_pair()
        self.ours = Channel(sockets[0], self.connection, on_event[0])
        self.theirs = Channel(sockets[1], its, on_event[1])
        self.over = Latch()
        self._on_end = on_end
        self._scope = trio.CancelScope()

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Serve both ends until the actor has said good-bye.

        Cancellation:
            Both are closed.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._serve, self.theirs)
                    await self._serve(self.ours)
                    self.theirs.finish()
        finally:
            self.over.set()
            self._on_end()

    async def _serve(self, channel: Channel) -> None:
        try:
            await channel.run()
        except Exception:
            log.exception("a link to a task failed")

    async def hang_up(self) -> None:
        """The actor has ended: say good-bye, and let the primary read all there is."""
        with contextlib.suppress(LocalProtocolError):
            self.theirs.connection.send_goodbye(Reason.NORMAL)
        self.theirs.flush()
        with trio.CancelScope(shield=True):  # it takes some turns of the loop, nothing else
            await self.theirs.wait_flushed()
            with contextlib.suppress(trio.ClosedResourceError):
                self.theirs.shutdown_write()
            await self.over.wait()

    def cut(self) -> None:
        """End it without waiting for anybody."""
        self._scope.cancel()
