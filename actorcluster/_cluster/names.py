"""Who has which name: the places of one primary's workers, and the refs to them.

Runs in: primary
"""

from __future__ import annotations

import re
import weakref
from typing import Any, Final, final

import trio

from .._worker.exit import ExitStatus
from .._worker.monitor import Monitor
from .._worker.ref import PRIMARY, Home, Ref, is_primary, main_actor
from .._worker.worker import Worker
from ..errors import NoSuchActor, PeerClosed
from ..wire._generated import ErrorCode
from .loopback import Loopback
from .passage import Seeker
from .places import Group, Phase, Place
from .relay import Relay
from .seat import Seat
from .supervision import Supervision
from .ties import is_over, last_of, may_return
from .tree import Pool
from .watching import End, Watching

__all__ = ["Names"]

_ITSELF: Final = main_actor(0)
_REMEMBERED: Final = 10_000
"""Of so many names it is known how many lives they had, when nobody has them any more."""
_DEFAULT_NAME = re.compile(r"worker-([1-9]\d{0,9})")


@final
class Names(Home):
    """The seats of the living by name and id, and how refs find them.

    Attributes:
        seats: by worker id.
        loopback: the way to the primary itself; set by the owner.
        closed: whether the primary has closed.
        tree: whose places have names; set by the owner.
        watching: who is to be told of whose end.
        sought: who waits for somebody of a name.
    """

    def __init__(self) -> None:
        self.closed = False
        self.seats: dict[int, Seat] = {}
        self.loopback: Loopback
        self.tree: Supervision
        self.watching = Watching(self)
        self.sought: dict[str, dict[Seeker, None]] = {}
        self._turns: dict[str, int] = {}
        self._by_name: dict[str, Seat] = {}
        self._gone: weakref.WeakValueDictionary[int | str, Seat] = weakref.WeakValueDictionary()
        self._incarnations: dict[str, int] = {}
        self._last_id = 0

    # ---- coming and going -----------------------------------------------------------------

    def default(self) -> str:
        """Give the name of the next worker if it gets no other; passes over ids of taken ones."""
        while (name := self._default()) in self.tree.plan.places:
            self._last_id += 1
        return name

    def _default(self) -> str:
        return f"worker-{self._last_id + 1}"

    def claim(self, name: str) -> tuple[int, int]:
        """Give a new worker its id and its incarnation."""
        before = self._incarnations.pop(name, None)
        incarnation = (int(self._was_default(name)) if before is None else before) + 1
        if before is not None or name != self._default():  # nobody else gets that as his default
            self._incarnations[name] = incarnation
            if len(self._incarnations) > _REMEMBERED:
                self._forget_some()
        self._last_id += 1
        return self._last_id, incarnation

    def _forget_some(self) -> None:
        """Forget who has not been there for long; whoever still has a place is remembered."""
        for _ in range(min(2, len(self._incarnations) - _REMEMBERED)):
            name = next(iter(self._incarnations))
            incarnation = self._incarnations.pop(name)
            if name in self.tree.plan.places:
                self._incarnations[name] = incarnation

    def add(self, seat: Seat, worker_id: int) -> None:
        """A worker has its seat; a successor has its name from `appoint` on."""
        self.seats[worker_id] = seat
        if seat.role == "present":
            self._by_name[seat.place.name] = seat

    def appoint(self, seat: Seat) -> None:
        """From now on the name of a place means this worker."""
        self._by_name[seat.place.name] = seat

    def remove(self, seat: Seat, worker: Worker) -> None:
        """A worker is gone."""
        life = seat.life
        del self.seats[worker.id]
        is_present = self._by_name.get(worker.name) is seat
        if is_present:
            del self._by_name[worker.name]
        if life.channel is not None or seat.place.is_temporary:
            # Nobody has a ref to another life, and what became of its place is known there.
            self._gone[worker.id] = seat
            if is_present:
                self._gone[worker.name] = seat
        assert life.status is not None
        if self.watching.of_lives:
            self.watching.ended(worker.id, life.status)

    # ---- finding --------------------------------------------------------------------------

    def find(self, to: int | str) -> Relay | None:
        """Give the worker meant, see `Directory`."""
        seat = self._seat(to)
        return None if seat is None else seat.relay

    def when_there(self, to: str, seeker: Seeker) -> None:
        """Tell it later, see `Directory`."""
        self.sought.setdefault(to, {})[seeker] = None

    def nevermind(self, to: str, seeker: Seeker) -> None:
        """It waits no longer, see `Directory`."""
        seekers = self.sought.get(to, {})
        seekers.pop(seeker, None)
        if not seekers:
            self.sought.pop(to, None)

    @trio.lowlevel.enable_ki_protection
    def look_again(self) -> None:
        """Tell those who wait for somebody who is there now, or will not come back."""
        if self.sought:
            self._look_for_sought()
        if self.watching.of_names:
            self.watching.look_again()

    def _look_for_sought(self) -> None:
        for name in list(self.sought):
            if self._seek(name) is None:
                continue
            # Some have waited for the last life, longer than those who came after its end.
            for seeker in sorted(self.sought.pop(name), key=lambda one: one.ticket):
                target = self._seek(name)  # of a pool, another one each time
                if target is None:
                    self.when_there(name, seeker)
                else:
                    seeker.found(target)

    def _seek(self, name: str) -> Relay | PeerClosed | None:
        try:
            return self.find(name)
        except PeerClosed as exc:
            return exc
        except NoSuchActor as exc:  # it was deleted meanwhile
            return PeerClosed(exc.text)

    def seat_named(self, name: str) -> Seat | None:
        """Give the life that has a name now."""
        return self._by_name.get(name)

    def _seat(self, to: int | str) -> Seat | None:
        """Give the life meant; None: there is none just now."""
        if not isinstance(to, str):
            seat = self._seat_of_actor(to)
            return self._gone_for_good(to) if seat is None else seat
        seat = self._by_name.get(to)
        if seat is not None and seat.life.takes_mail:
            return seat
        place = self.tree.plan.places.get(to)
        if place is not None and place.is_group:
            return self._member_of(place)
        # A temporary one that leaves still has its place, and nobody will come after it.
        is_last = seat is not None and place is not None and place.is_temporary
        if place is not None and may_return(place) and not (is_last and place.phase is Phase.UP):
            return None
        return self._gone_for_good(to) if seat is None else seat

    def _member_of(self, place: Place) -> Seat | None:
        """Give the next in turn of a pool."""
        assert isinstance(place, Group)
        if not isinstance(place.spec, Pool):
            text = f"{place.name} is a supervisor and has no mailbox"
            raise NoSuchActor(text, code=ErrorCode.NO_SUCH_ACTOR)
        slots = list(place.children.values())
        turn = self._turns.get(place.name, 0)
        for is_online in (True, False):  # rather than wait for one that starts
            for number in range(turn, turn + len(slots)):
                seat = self._by_name.get(slots[number % len(slots)].name)
                if (
                    seat is not None
                    and seat.life.takes_mail
                    and (seat.life.is_sendable or not is_online)
                ):
                    self._turns[place.name] = (number + 1) % len(slots)
                    return seat
        if any(map(may_return, slots)):
            return None
        raise PeerClosed(f"nobody of {place.name} is left")

    def _gone_for_good(self, to: int | str) -> Seat:
        if self._existed(to):
            name = to if isinstance(to, str) else to >> 32
            gone = self._gone.get(name)
            status = self._last_of(name) if gone is None else gone.life.status
            raise PeerClosed(f"worker {name} is gone", status=status)
        raise NoSuchActor(f"there is no actor {to!r}", code=ErrorCode.NO_SUCH_ACTOR)

    def _last_of(self, name: int | str) -> ExitStatus | None:
        """Say how the last life of a place ended, if that is known."""
        place = self.tree.plan.places.get(name) if isinstance(name, str) else None
        if place is None or place.status is None:
            return None
        status: ExitStatus = place.status[1]
        return status

    def _seat_of_actor(self, aid: int) -> Seat | None:
        return self.seats.get(aid >> 32) if _is_main(aid) else None

    def _existed(self, to: int | str) -> bool:
        if isinstance(to, int):
            return _is_main(to) and 0 < to >> 32 <= self._last_id
        if to in self.tree.plan.places:
            return True
        return to in self._incarnations or self._was_default(to)

    def _was_default(self, name: str) -> bool:
        default = _DEFAULT_NAME.fullmatch(name)
        return default is not None and int(default[1]) <= self._last_id

    def sight(self, to: int | str) -> int | End | None:
        """Give the life meant, or how it ended, see `Sights`."""
        if to in (PRIMARY, _ITSELF):
            return None
        seat = self._by_name.get(to) if isinstance(to, str) else self._seat_of_actor(to)
        if seat is not None:
            return seat.worker.id
        place = self.tree.plan.places.get(to) if isinstance(to, str) else None
        if place is not None and not is_over(place):
            return None
        last = None if place is None else last_of(place)
        if last is not None:
            worker, status = last.status
            return End(worker.id, status)
        gone = self._gone.get(to if isinstance(to, str) else to >> 32)
        if gone is not None and self._existed(to):
            return End(gone.worker.id, gone.life.status)
        return End(None, None, self._existed(to))

    # ---- refs in the primary --------------------------------------------------------------

    def address(self, worker: Worker) -> Ref:
        """Make the ref to this worker, and no other of its name."""
        return Ref(worker.name, self, main_actor(worker.id), worker)

    def monitor(self, ref: Ref) -> Monitor:
        return self.watching.monitor(ref)

    async def send(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        if is_primary(ref):
            await self.loopback.send(body, handle, keep_open=keep_open)
        else:
            while True:
                worker = await self._living(ref)
                try:
                    await worker.send(body, handle, keep_open=keep_open)
                except PeerClosed:
                    if not self._is_between_lives(ref):
                        raise
                    await trio.lowlevel.checkpoint()
                else:
                    return

    def send_nowait(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        if is_primary(ref):
            self.loopback.send_nowait(body, handle, keep_open=keep_open)
        else:
            worker = self._worker(ref)
            if worker is None:
                raise trio.WouldBlock
            worker.send_nowait(body, handle, keep_open=keep_open)

    async def ask(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> Any:
        if is_primary(ref):
            raise RuntimeError("the primary asks itself: it cannot answer while it waits")
        while True:
            worker = await self._living(ref, online=True)
            try:
                return await worker.ask(body, handle, keep_open=keep_open)
            except PeerClosed as exc:  # what may have been heard is never asked again
                if not exc._was_kept or not self._is_between_lives(ref):
                    raise
                await trio.lowlevel.checkpoint()

    async def _living(self, ref: Ref, *, online: bool = False) -> Worker:
        """Wait until there is somebody.

        Args:
            ref: who is meant.
            online: wait until it takes mail, too: what fails after that may have arrived.
        """
        while True:
            if online and self.closed:
                raise trio.ClosedResourceError("the primary has closed")
            worker = self._worker(ref)
            if worker is not None and online:
                await worker.until_sendable()
                if worker.takes_mail or not self._is_between_lives(ref):
                    return worker
            elif worker is not None:
                return worker
            else:
                await self.tree.changes()

    def _worker(self, ref: Ref) -> Worker | None:
        """Give the worker meant; None: there is none just now."""
        if isinstance(ref.target, Worker):
            return ref.target
        seat = self._seat(ref.name if ref.aid is None else ref.aid)
        return None if seat is None else seat.worker

    def _is_between_lives(self, ref: Ref) -> bool:
        """Whether there is another life of that name, or will be."""
        if ref.target is not None or ref.aid is not None or self.closed:
            return False
        try:
            seat = self._seat(ref.name)
        except (NoSuchActor, PeerClosed):
            return False
        return seat is None or seat.life.takes_mail


def _is_main(aid: int) -> bool:
    return aid & 0xFFFFFFFF == 0
