"""Who has which name: the places of one primary's workers, and the refs to them.

Runs in: primary
"""

from __future__ import annotations

import re
import weakref
from typing import Any, final

import trio

from .._worker.ref import PRIMARY, Home, Ref, is_primary
from .._worker.worker import Worker
from ..errors import NoSuchActor, PeerClosed
from ..wire._generated import ErrorCode
from .loopback import Loopback
from .relay import Relay
from .seat import Seat

__all__ = ["Names"]

_DEFAULT_NAME = re.compile(r"worker-([1-9]\d{0,9})")


@final
class Names(Home):
    """The seats of the living by name and id, and how refs find them.

    Attributes:
        seats: by worker id.
        loopback: the way to the primary itself; set by the owner.
        closed: whether the primary has closed.
    """

    def __init__(self) -> None:
        self.closed = False
        self.seats: dict[int, Seat] = {}
        self.loopback: Loopback
        self._by_name: dict[str, Seat] = {}
        self._gone: weakref.WeakValueDictionary[int | str, Seat] = weakref.WeakValueDictionary()
        self._incarnations: dict[str, int] = {}
        self._last_id = 0

    # ---- coming and going -----------------------------------------------------------------

    def claim(self, name: object) -> tuple[int, str, int]:
        """Give a new worker its id, its name and its incarnation.

        Raises:
            ValueError: the name is taken by a living worker, or none.
        """
        worker_id = self._last_id + 1
        wanted = f"worker-{worker_id}" if name is None else name
        if not isinstance(wanted, str) or not wanted or wanted == PRIMARY:
            text = f"name must be a non-empty str other than {PRIMARY!r}, not {wanted!r}"
            raise ValueError(text)
        if wanted in self._by_name:
            raise ValueError(f"name {wanted!r} is taken by a living worker")
        incarnation = self._incarnations.get(wanted, 0) + 1
        if name is not None:  # default names are not given twice
            self._incarnations[wanted] = incarnation
        self._last_id = worker_id
        return worker_id, wanted, incarnation

    def add(self, seat: Seat) -> None:
        """A worker has its seat."""
        self.seats[seat.worker.id] = self._by_name[seat.worker.name] = seat

    def remove(self, seat: Seat) -> None:
        """A worker is gone."""
        del self.seats[seat.worker.id]
        del self._by_name[seat.worker.name]
        self._gone[seat.worker.id] = self._gone[seat.worker.name] = seat

    # ---- finding --------------------------------------------------------------------------

    def find(self, to: int | str) -> Relay:
        """Give the worker meant, see `Directory`."""
        return self._seat(to).relay

    def _seat(self, to: int | str) -> Seat:
        seat = self._by_name.get(to) if isinstance(to, str) else self._seat_of_actor(to)
        if seat is not None:
            return seat
        if self._existed(to):
            name = to if isinstance(to, str) else to >> 32
            gone = self._gone.get(name)
            status = None if gone is None else gone.life.status
            raise PeerClosed(f"worker {name} is gone", status=status)
        raise NoSuchActor(f"there is no actor {to!r}", code=ErrorCode.NO_SUCH_ACTOR)

    def _seat_of_actor(self, aid: int) -> Seat | None:
        return self.seats.get(aid >> 32) if _is_main(aid) else None

    def _existed(self, to: int | str) -> bool:
        if isinstance(to, int):
            return _is_main(to) and 0 < to >> 32 <= self._last_id
        if to in self._incarnations:
            return True
        default = _DEFAULT_NAME.fullmatch(to)
        return default is not None and int(default[1]) <= self._last_id

    # ---- refs in the primary --------------------------------------------------------------

    async def send(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        if is_primary(ref):
            await self.loopback.send(body, handle, keep_open=keep_open)
        else:
            await self._worker(ref).send(body, handle, keep_open=keep_open)

    def send_nowait(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> None:
        if is_primary(ref):
            self.loopback.send_nowait(body, handle, keep_open=keep_open)
        else:
            self._worker(ref).send_nowait(body, handle, keep_open=keep_open)

    async def ask(self, ref: Ref, body: Any, handle: Any, *, keep_open: bool) -> Any:
        if is_primary(ref):
            raise RuntimeError("the primary asks itself: it cannot answer while it waits")
        if self.closed:
            raise trio.ClosedResourceError("the primary has closed")
        return await self._worker(ref).ask(body, handle, keep_open=keep_open)

    def _worker(self, ref: Ref) -> Worker:
        if isinstance(ref.target, Worker):
            return ref.target
        return self._seat(ref.name if ref.aid is None else ref.aid).worker


def _is_main(aid: int) -> bool:
    return aid & 0xFFFFFFFF == 0
