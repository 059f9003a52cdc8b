"""Mail for all workers of a primary at once.

Runs in: primary
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from .._link.held import handles_in
from .._link.writing import close_all
from .._worker.worker import patience
from ..errors import PeerClosed
from .seat import Seat

__all__ = ["MailForMany"]


class MailForMany:
    """The part of a `Primary` that sends to all workers, and asks them all."""

    _seats: dict[int, Seat]

    async def broadcast(self, body: Any) -> frozenset[int]:
        """Send to all workers that are not told to stop, concurrently.

        Args:
            body: see `Worker.send`; each receiver gets a duplicate of every handle in it, and
                yours stay yours.

        Returns:
            Ids of the workers it was queued for.

        Raises:
            TypeError: the body cannot be sent.
            MessageTooLarge: it exceeds what one of them takes; others may have got it.

        Cancellation:
            What was queued stays queued.
        """
        queued: set[int] = set()

        async def send(seat: Seat) -> None:
            with contextlib.suppress(PeerClosed):
                await seat.worker.send(body, keep_open=True)
                queued.add(seat.worker.id)

        await self._for_all(send)
        return frozenset(queued)

    async def gather(self, body: Any, *, timeout: float | None) -> dict[int, Any]:
        """Ask all workers that are not told to stop, concurrently.

        Args:
            body: see `Worker.send`.
            timeout: seconds; who has not answered by then is ``trio.TooSlowError``. None: no limit.

        Returns:
            By id, in the order of the ids, the reply or the exception.

        Raises:
            TypeError, ValueError: the timeout is no number of seconds.

        Cancellation:
            The asks are cancelled at the workers; handles in answers that came are closed.
        """
        seconds = patience(timeout)
        answers: dict[int, Any] = {}

        async def ask(seat: Seat) -> None:
            try:
                with trio.fail_after(seconds):
                    answers[seat.worker.id] = await seat.worker.ask(body, keep_open=True)
            except Exception as exc:  # noqa: BLE001  (part of the result)
                answers[seat.worker.id] = exc

        try:
            await self._for_all(ask)
        except BaseException:  # nobody gets the answers that are there already
            for answer in answers.values():
                close_all(handles_in(answer))
            raise
        return dict(sorted(answers.items()))

    async def _for_all(self, act: Callable[[Seat], Awaitable[None]]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for seat in list(self._seats.values()):
                    if not seat.life.told_to_stop and seat.life.status is None:
                        nursery.start_soon(act, seat)
        except BaseExceptionGroup as group:
            # The same body fails the same way everywhere, e.g. TypeError: one is enough.
            first = group.exceptions[0]
            raise first from first.__cause__
