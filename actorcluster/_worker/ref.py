"""Ref: an address that can be sent to, wherever its target lives.

Runs in: both
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Any, Final, final

from .._link.staging import with_head

if TYPE_CHECKING:
    from .monitor import Monitor

__all__ = ["PRIMARY", "Home", "Ref", "is_primary", "main_actor"]

#: The name under which everybody finds the primary.
PRIMARY: Final = "primary"


def main_actor(worker_id: int) -> int:
    """Give the actor id of a worker's main actor, or of the primary with 0 (AWP section 11)."""
    return worker_id << 32


class Home:
    """What the refs of one cluster mean in this process; also how they travel in messages.

    Subclasses find the way to the target.
    """

    @property
    def type(self) -> builtins.type[Ref]:
        return Ref

    @property
    def realm(self) -> Home:
        """What it has in common with the other homes of its cluster in this process."""
        return self

    def named(self, name: str) -> Ref:
        """Make the ref to whoever has that name.

        Raises:
            TypeError: it is no name.
        """
        if not isinstance(name, str):
            raise TypeError(f"a ref is made with a name, not with {name!r}")
        return Ref(name, self)

    def describe(self, ref: Ref) -> tuple[int | None, str | None]:
        """Give actor id and name, for a message that leaves this process.

        Raises:
            TypeError: the ref is of another cluster, where its name means somebody else.
        """
        if ref.home.realm is not self.realm:
            raise TypeError(f"{ref!r} is of another primary and cannot be sent to this one's")
        return ref.aid, ref.name

    def build(self, aid: int | None, name: str | None) -> Ref:
        """Make the ref that a message holds.

        Raises:
            ValueError: it refers to nobody.
        """
        if name is None:
            if aid is None:
                raise ValueError("an actor-ref without an id and a name")
            name = f"actor {aid}"
        return Ref(name, self, aid)

    def monitor(self, ref: Ref) -> Monitor:
        raise AssertionError("abstract")

    async def send(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        raise AssertionError("abstract")

    def send_nowait(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        raise AssertionError("abstract")

    async def ask(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> Any:
        raise AssertionError("abstract")


@final
class Ref:
    """An address, by name or of one process life.

    ``message.sender`` is a Ref pinned to one process life: once that is gone, sending raises
    `PeerClosed`, also when a successor has the same name. A Ref can be sent in any message body;
    it arrives as a Ref to the same target.

    Attributes:
        name: of the place it stands for, ``"primary"`` for the primary.
    """

    __slots__ = ("aid", "home", "name", "target")

    def __init__(self, name: str, home: Home, aid: int | None = None, target: Any = None) -> None:
        self.name = name
        self.home = home
        #: actor id of the life it is pinned to; None: whoever has the name.
        self.aid = aid
        #: what the home knows that life by, where it has it at hand.
        self.target = target

    def __repr__(self) -> str:
        pinned = "" if self.aid is None else f" pinned to {self.aid >> 32}"
        return f"<Ref {self.name!r}{pinned}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ref):
            return NotImplemented
        theirs = (other.home.realm, other.aid, other.name)
        return (self.home.realm, self.aid, self.name) == theirs

    def __hash__(self) -> int:
        return hash((self.aid, self.name))

    async def send(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> None:
        """Send a message; see `Worker.send`.

        While the target starts, this waits. Between workers the primary passes the message on; if
        the target ends before it could, that is logged to ``actorcluster.actor`` at the sender. It
        keeps at most half a window of one worker's for one ref; more waits here, and not what is
        for others.

        Raises:
            NoSuchActor: there never was anybody of that name.
            PeerClosed: it is gone, or was told to stop.

        Cancellation:
            Nothing was sent and the handles are still yours.
        """
        if head:
            handle = with_head(handle, head)
        await self.home.send(self, body, handle, keep_open=keep_open)

    def send_nowait(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> None:
        """Like `send`, but raises ``trio.WouldBlock`` where that would wait.

        In a worker nobody asks the primary first whether there is such an actor: if there is not,
        that is logged.
        """
        if head:
            handle = with_head(handle, head)
        self.home.send_nowait(self, body, handle, keep_open=keep_open)

    async def ask(
        self, body: Any, handle: Any = None, *, head: bytes = b"", keep_open: bool = False
    ) -> Any:
        """Send a message and wait for the answer; see `Worker.ask`.

        Raises:
            RuntimeError: it is oneself, who cannot answer while it waits.
            NoSuchActor: there never was anybody of that name.

        Cancellation:
            The other side's handler is told to cancel; it may have run.
        """
        if head:
            handle = with_head(handle, head)
        return await self.home.ask(self, body, handle, keep_open=keep_open)

    def monitor(self) -> Monitor:
        """Watch for the end: ``async with ref.monitor() as monitor: down = await monitor.wait()``.

        Entering the block begins to watch the life that this ref means, leaving it ends that.
        There is exactly one `Down`, also when that life has ended already, or never was.

        - A name means the life that has it now, also one that was told to stop; while nobody has
          it, but somebody is about to be started, the next one.
        - One that was given up or stopped, and a name that nobody ever had, are down at once.
        - The name of a pool or supervisor means the whole of it: it is down when nobody of it is
          left, and nobody will come.
        - A worker that loses its primary gets a `Down` with reason ``lost``, whomever it watched;
          then its main is cancelled. So does one that watches the primary itself.

        The end of a name is not its end for good: to see each, enter another block after a `Down`.
        """
        return self.home.monitor(self)


def is_primary(ref: Ref) -> bool:
    """Whether the ref stands for the primary."""
    return ref.name == PRIMARY if ref.aid is None else ref.aid >> 32 == 0
