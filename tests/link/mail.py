"""For tests of mail: a small window, one that fills and empties it, calls in tasks of their own."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
import trio.testing

from actorcluster._link.parcel import Parcel
from actorcluster._link.waits import Posting
from actorcluster._link.writing import close_all
from actorcluster.errors import PeerClosed
from tests.link.pair import End, Peer

all_blocked = trio.testing.wait_all_tasks_blocked

WINDOW = 65536
SMALL_WINDOW = {"limits": {"window": WINDOW}}


def closed(text: str) -> PeerClosed:
    return PeerClosed(f"the end: {text}")


def fill(end: End) -> None:
    """Leave no room in the peer's mailbox."""
    with contextlib.suppress(trio.WouldBlock):
        while True:
            end.channel.send_nowait(b"x" * 10_000)
    with contextlib.suppress(trio.WouldBlock):
        while True:
            end.channel.send_nowait("x")


async def empty(peer: Peer) -> list[Any]:
    """Receive all that is there, and give its room back."""
    await all_blocked()
    bodies = []
    with contextlib.suppress(BlockingIOError):
        while True:
            peer.events += peer.hear()
    for event in [event for event in peer.events if hasattr(event, "charge")]:
        peer.events.remove(event)
        bodies.append(event.body)
        peer.connection.arrived(event.number)
        peer.connection.grant(event.charge)
        close_all(event.handles)
    peer.connection.flush_grants()
    peer.say()
    return bodies


def posting(end: End, body: Any) -> tuple[Posting, list[bool]]:
    """A message for somebody else; the list grows when it is woken."""
    parcel = Parcel(end.connection, body)
    woken: list[bool] = []
    return Posting(
        parcel, partial(end.channel.post_tell, parcel), lambda: woken.append(True)
    ), woken


class Attempt:
    """A call in a task of its own, and how it ended: every outcome there was."""

    def __init__(
        self, nursery: trio.Nursery, act: Callable[..., Awaitable[Any]], *args: Any, **options: Any
    ) -> None:
        self.outcomes: list[Any] = []
        self.scope = trio.CancelScope()
        nursery.start_soon(self._run, partial(act, *args, **options))

    async def _run(self, act: Callable[[], Awaitable[Any]]) -> None:
        with self.scope:
            try:
                self.outcomes.append(await act())
            except trio.Cancelled as exc:
                self.outcomes.append(exc)
                raise
            except Exception as exc:  # noqa: BLE001 (all of them are outcomes)
                self.outcomes.append(exc)

    @property
    def outcome(self) -> Any:
        (outcome,) = self.outcomes
        return outcome
