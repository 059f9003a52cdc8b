"""A carrier, and a side lane, that tell a tap what goes over them.

Runs in: primary

What waits is the inner one's own, so that a trace adds no pass of the scheduler and no system call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar, final

import trio

from .._link.carrier import Carrier, End
from .._link.fdsocket import RECEIVE_SIZE, Buffer, Descriptor, Group
from .._link.kinds import real_kind
from .._link.lane import LaneEnd
from ..wire._generated import HandleKind
from .lanes import LaneTap
from .tap import Fd, Tap
from .tracefile import FROM_WORKER, TO_WORKER

__all__ = ["TracedCarrier", "TracedLane"]

_T = TypeVar("_T")
_E = TypeVar("_E", bound=End)
_OnFault = Callable[[Exception], None]


@final
class _Telling(Generic[_T]):
    """Tells a tap, as long as that does not fail."""

    def __init__(self, tap: _T, on_fault: _OnFault) -> None:
        self._tap: _T | None = tap
        self._on_fault = on_fault

    def __call__(self, what: Callable[[_T], None]) -> None:
        if self._tap is None:
            return
        try:
            what(self._tap)
        except Exception as exc:  # noqa: BLE001  (a fault of the trace must not be the cluster's)
            self._tap = None
            self._on_fault(exc)


class _Traced(Generic[_E, _T]):
    """What carries, and the tap that is told; see `FdSocket` for what the rest means."""

    def __init__(self, inner: _E, tap: _T, on_fault: _OnFault) -> None:
        self._inner = inner
        self._tell = _Telling(tap, on_fault)
        self.wait_writable = inner.wait_writable

    @property
    def stalled(self) -> bool:
        return self._inner.stalled

    @property
    def sends(self) -> int:
        return self._inner.sends

    @property
    def receives(self) -> int:
        return self._inner.receives

    @property
    def groups_sent(self) -> int:
        return self._inner.groups_sent

    @property
    def unsent(self) -> int:
        return self._inner.unsent


@final
class TracedCarrier(_Traced[Carrier, Tap]):
    """See `Carrier`.

    Args:
        inner: what carries.
        tap: is told.
        on_fault: called if that fails, which is no reason for the connection to fail.
    """

    def __init__(self, inner: Carrier, tap: Tap, on_fault: _OnFault) -> None:
        super().__init__(inner, tap, on_fault)
        self.wait_readable = inner.wait_readable
        self.pending = inner.pending
        self.interrupt = inner.interrupt

    # ---- what goes over it ----------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def send_now(self, buffers: Sequence[Buffer], fds: Sequence[Descriptor] = ()) -> bool:
        """See `Carrier`."""
        if not buffers:
            return self._inner.send_now(buffers, fds)
        groups = [[_look(fd) for fd in fds]] if fds else []  # while they are open
        done = self._inner.send_now(buffers, fds)
        self._tell(lambda tap: tap.pass_on(TO_WORKER, buffers, groups))
        return done

    @trio.lowlevel.enable_ki_protection
    def gather_now(
        self, most: int = RECEIVE_SIZE, place: memoryview | None = None
    ) -> tuple[memoryview, list[Group]] | None:
        """See `Carrier`."""
        got = self._inner.gather_now(most)
        if got is not None:
            data, groups = got
            if data or groups:
                self._tell(lambda tap: tap.pass_on(FROM_WORKER, (data,), _looked_at(groups)))
            else:
                self._tell(lambda tap: tap.shut(FROM_WORKER))
        return got

    def shutdown_write(self) -> None:
        """See `Carrier`."""
        self._inner.shutdown_write()
        self._tell(lambda tap: tap.shut(TO_WORKER))

    def close(self) -> None:
        """See `Carrier`."""
        unsent = self._inner.unsent
        if not self._inner.is_closed:
            self._tell(lambda tap: tap.close(unsent))
        self._inner.close()

    # ---- what it is -----------------------------------------------------------------------

    @property
    def is_full_read(self) -> bool:
        """See `Carrier`."""
        return self._inner.is_full_read

    @is_full_read.setter
    def is_full_read(self, value: bool) -> None:
        self._inner.is_full_read = value

    @property
    def placed(self) -> int:
        """See `Carrier`; a trace needs all in one."""
        return 0

    @property
    def is_closed(self) -> bool:
        """See `Carrier`."""
        return self._inner.is_closed


@final
class TracedLane(_Traced[LaneEnd, LaneTap]):
    """See `LaneEnd`, and `TracedCarrier` for the arguments."""

    def __init__(self, inner: LaneEnd, tap: LaneTap, on_fault: _OnFault) -> None:
        super().__init__(inner, tap, on_fault)
        self.close = inner.close

    @trio.lowlevel.enable_ki_protection
    def send_now(self, buffers: Sequence[Buffer], fds: Sequence[Descriptor] = ()) -> bool:
        """See `FdSocket`."""
        looked = [_look(fd) for fd in fds]  # while they are open
        done = self._inner.send_now(buffers, fds)
        self._tell(lambda tap: tap.pass_on(TO_WORKER, buffers, looked))
        return done

    @trio.lowlevel.enable_ki_protection
    def receive_now(self, most: int = RECEIVE_SIZE) -> tuple[memoryview, list[int], bool] | None:
        """See `FdSocket`."""
        got = self._inner.receive_now(most)
        if got is not None:
            data, fds, _ = got
            if data or fds:
                looked = [_look(fd) for fd in fds]
                self._tell(lambda tap: tap.pass_on(FROM_WORKER, (data,), looked))
            else:
                self._tell(lambda tap: tap.end(FROM_WORKER))
        return got


def _looked_at(groups: Iterable[Group]) -> list[list[Fd]]:
    return [[_look(fd) for fd in fds] for fds, _ in groups]


def _look(given: Descriptor) -> Fd:
    """Number and kind of a descriptor; -1 for one that is closed."""
    try:
        number = given if isinstance(given, int) else given.fileno()
        return number, int(real_kind(number))
    except (OSError, ValueError, trio.ClosedResourceError):
        return -1, int(HandleKind.OPAQUE)
