"""What happens to workers, as the primary's users see it, and how they subscribe to it.

Runs in: primary
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, final

import attrs
import trio
from trio.lowlevel import checkpoint_if_cancelled

from .._link.pace import Pace
from ..wire.fact import Fact

if TYPE_CHECKING:
    from .._worker.exit import ExitStatus
    from .._worker.settings import Settings
    from .._worker.worker import Worker

__all__ = [
    "Disconnect",
    "Draining",
    "Error",
    "Event",
    "Exit",
    "Fork",
    "GaveUp",
    "Hung",
    "Listening",
    "Online",
    "Restart",
    "Setup",
    "Subscription",
]

#: Unread events a subscriber may have before it is cut off.
_MAX_UNREAD: Final = 10_000


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Event(Fact):
    """Base of all events.

    Attributes:
        worker: whom it happened to; None for `Setup`.
    """

    worker: Worker

    def __hash__(self) -> int:  # type: ignore[override]  # it never changes
        return hash((type(self), *(getattr(self, f.name) for f in attrs.fields(type(self)))))


E_co = TypeVar("E_co", bound=Event, covariant=True)


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Setup(Event):
    """``setup_primary`` was called; ``settings`` are those in force since."""

    worker: None = None  # type: ignore[assignment]  # a setup concerns no worker
    settings: Settings


@final
class Fork(Event):
    """A worker is being started."""

    __slots__ = ()


@final
class Online(Event):
    """The worker's runtime is up."""

    __slots__ = ()


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Listening(Event):
    """The worker uses a shared port, or listens on one of its own (exclusive, reuse_port).

    Attributes:
        address: (host, port), or a path.
    """

    address: tuple[str, int] | str


@final
class Draining(Event):
    """The worker was told to stop."""

    __slots__ = ()


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Hung(Event):
    """The worker's loop is stuck: it lives, and does not answer. Once, until it does again.

    Attributes:
        seconds: for which it has not answered, at least.
        file: where its main thread is, the innermost call; None: nobody could look, see below.
        line: there.
        function: there.
        stack: of all threads, as text, most recent call first.
        no_stack: why there is none: it is stopped, it is no Python worker of ours ...; else empty.
        stopped: it is stopped, by SIGSTOP or a debugger.
    """

    seconds: float
    file: str | None = None
    line: int | None = None
    function: str | None = None
    stack: str | None = attrs.field(default=None, repr=False)
    no_stack: str = ""
    stopped: bool = False


@final
class Disconnect(Event):
    """The channel to the worker has ended; its last words are in the mailbox."""

    __slots__ = ()


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Exit(Event):
    """The process has ended and was reaped.

    Attributes:
        status: how.
    """

    status: ExitStatus


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Error(Event):
    """Something went wrong with a worker that is not its end: a broken protocol, a lost message.

    Attributes:
        error: what.
    """

    error: Exception


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Restart(Event):
    """A child failed and will be started again.

    Attributes:
        name: of the place: a child, or a supervisor that gave up.
        status: how the life ended that led to this.
        delay: seconds from now.
        attempt: failures in a row, this one included.
    """

    name: str
    status: ExitStatus
    delay: float
    attempt: int


@final
@attrs.frozen(kw_only=True, eq=False, repr=False)
class GaveUp(Event):
    """A place will not be started again by itself.

    When that is the root, the body of the block is cancelled at once, and `RestartLimitReached`
    says the same.

    Attributes:
        name: of a child that stays down, or of a supervisor that stops its children and fails.
        status: how the life ended that was too much.
    """

    name: str
    status: ExitStatus


def check_kind(kind: object) -> None:
    """Raise TypeError unless it is an event class."""
    if not (isinstance(kind, type) and issubclass(kind, Event)):
        raise TypeError(f"not an event class: {kind!r}")


@final
class Subscription(AsyncIterator[E_co], Generic[E_co]):
    """Events from entering the block on; iterate it.

    Ends when the primary has closed. With 10,000 events unread it is cut off: the next iteration
    raises ``trio.BrokenResourceError``, never a silent gap.
    """

    def __init__(self, hub: EventHub, kinds: tuple[type[E_co], ...], worker: Worker | None) -> None:
        self._hub = hub
        self.kinds: tuple[type[Event], ...] = kinds or (Event,)
        self._worker = worker
        self._unread: deque[Any] = deque()  # E_co: of these kinds, the hub sees to that
        self._overrun = False
        self._entered = False
        self._ended = False
        self._news: trio.Event | None = None
        self._pace = Pace()

    def __enter__(self) -> Subscription[E_co]:
        if self._hub.closed:
            raise trio.ClosedResourceError("the primary has closed")
        if self._entered:
            raise RuntimeError("a subscription's block can be entered once")
        self._entered = True
        self._hub.add(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._hub.remove(self)
        self.end()

    def put(self, event: Event) -> None:
        """Take an event, of a kind that is wanted here, unless it is about another worker."""
        if self._overrun or (self._worker is not None and event.worker is not self._worker):
            return
        if len(self._unread) >= _MAX_UNREAD:
            self._overrun = True
            self._unread.clear()
        else:
            self._unread.append(event)
        if self._news is not None:
            self._tell()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._tell()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()
            self._news = None

    async def __anext__(self) -> E_co:
        pace = self._pace
        pace.left -= 1  # what `Pace.step` does, in one piece
        if pace.left < 0 or perf_counter() > pace.until:
            await trio.lowlevel.checkpoint()
            pace.restart()
        else:
            await checkpoint_if_cancelled()
        while True:
            if self._overrun:
                raise trio.BrokenResourceError(f"{_MAX_UNREAD} events were left unread")
            if self._unread:
                event: E_co = self._unread.popleft()
                return event
            if not self._entered:
                raise RuntimeError("iterate a subscription inside its block")
            if self._ended:
                raise StopAsyncIteration
            if self._news is None:
                self._news = trio.Event()
            await self._news.wait()
            pace.restart()


@final
class EventHub:
    """Deals events out to subscribers."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription[Event]] = []
        self.wanted: dict[type[Event], list[Subscription[Event]]] = {}
        self.closed = False

    def who_wants(self, kind: type[Event]) -> list[Subscription[Event]]:
        """Give those who want events of a kind, maybe not of every worker."""
        found = self.wanted.get(kind)
        if found is None:
            found = [one for one in self._subscriptions if issubclass(kind, one.kinds)]
            self.wanted[kind] = found
        return found

    def emit(self, event: Event) -> None:
        """Give an event to everybody who wants it. Never waits."""
        for subscription in self.who_wants(type(event)):
            subscription.put(event)

    def add(self, subscription: Subscription[Event]) -> None:
        """Somebody listens from now on."""
        self._subscriptions.append(subscription)
        self.wanted = {}

    def remove(self, subscription: Subscription[Event]) -> None:
        """He does not any more."""
        self._subscriptions.remove(subscription)
        self.wanted = {}

    def close(self) -> None:
        """End every subscription."""
        self.closed = True
        for subscription in self._subscriptions:
            subscription.end()
