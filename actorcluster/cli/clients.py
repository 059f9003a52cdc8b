"""The demo's clients: many at once, in a process of their own, one connection for each request.

Runs in: worker

What counts as failed: a request without its answer within `DEADLINE_SECONDS`, a refused
connection, a wrong answer. A connection that is cut in the middle, as happens to those a killed
worker had in hand, is what every HTTP client meets now and then, and it does what they do with a
request that may be repeated: it sends it once more, within the same deadline. That is counted and
shown; cut a second time, the request has failed.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final, Self

import attrs
import trio

from actorcluster import Actor

from .service import HOST, Cut, read_line

__all__ = ["DEADLINE_SECONDS", "REPORT_SECONDS", "Tally", "run_clients"]

DEADLINE_SECONDS: Final = 3.0
REPORT_SECONDS: Final = 0.1

_ATTEMPTS: Final = 2


@attrs.define(kw_only=True)
class Tally:
    """What became of the requests so far.

    Attributes:
        begun: requests, answered or not.
        answered: by the life that answered, as `service.life_name` has it.
        repeated: requests whose connection was cut, and that were sent again.
        failed: requests without their answer.
        why: what happened to the first of those, in words.
        finished: there will be no more requests.
    """

    begun: int = 0
    answered: Counter[str] = attrs.field(factory=Counter, converter=Counter)
    repeated: int = 0
    failed: int = 0
    why: str = ""
    finished: bool = False

    @property
    def total(self) -> int:
        """All requests with an answer."""
        return self.answered.total()

    def to_body(self) -> dict[str, Any]:
        """Give it as a message body."""
        return attrs.asdict(self) | {"answered": dict(self.answered)}

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> Self:
        """Read what `to_body` gave."""
        return cls(**body)


async def run_clients(actor: Actor, port: int, clients: int, requests: int) -> None:
    """Send requests until there were enough of them and the primary says that it is content.

    Args:
        actor: of this process.
        port: of the workers.
        clients: how many send at the same time.
        requests: how many to send at least.
    """
    crowd = _Crowd(port, requests)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crowd.report, actor)
        nursery.start_soon(crowd.wait_for_content, actor)
        async with trio.open_nursery() as members:
            for _ in range(clients):
                members.start_soon(crowd.client)
        nursery.cancel_scope.cancel()
    crowd.tally.finished = True
    await actor.send(crowd.tally.to_body())


class _Crowd:
    """The clients and what they know together."""

    def __init__(self, port: int, requests: int) -> None:
        self.tally = Tally()
        self._port = port
        self._requests = requests
        self._primary_is_content = False

    async def report(self, actor: Actor) -> None:
        while True:
            await actor.send(self.tally.to_body())
            await trio.sleep(REPORT_SECONDS)

    async def wait_for_content(self, actor: Actor) -> None:
        async for _ in actor.mailbox:
            self._primary_is_content = True

    def _wants_more(self) -> bool:
        tally = self.tally
        enough = self._primary_is_content and tally.begun >= self._requests
        return not enough and not tally.failed

    async def client(self) -> None:
        while self._wants_more():
            self.tally.begun += 1
            await self._request(f"{self.tally.begun}")

    async def _request(self, number: str) -> None:
        why = f"no answer within {DEADLINE_SECONDS:g} seconds"
        with trio.move_on_after(DEADLINE_SECONDS):
            why = await self._try(number)
        if why:
            self.tally.failed += 1
            self.tally.why = self.tally.why or why

    async def _try(self, number: str) -> str:
        """Get a request answered; returns what went wrong, or nothing."""
        cut = ""
        for attempt in range(_ATTEMPTS):
            self.tally.repeated += attempt
            try:
                life = await self._ask(number)
            except Cut as exc:
                cut = f"cut {_ATTEMPTS} times: {exc}"
            except (OSError, ValueError) as exc:
                return str(exc)
            else:
                self.tally.answered[life] += 1
                return ""
        return cut

    async def _ask(self, number: str) -> str:
        """Make one request.

        Returns:
            The life that answered.

        Raises:
            Cut: the connection was cut.
            OSError: it was refused.
            ValueError: the answer is not to this request.
        """
        async with await trio.open_tcp_stream(HOST, self._port) as stream:
            try:
                await stream.send_all(f"work {number}\n".encode())
            except trio.BrokenResourceError as exc:
                raise Cut(str(exc.__cause__)) from None
            word, echoed, life = (await read_line(stream)).split()
        if (word, echoed) != ("done", number):
            raise ValueError(f"request {number} was answered with {word} {echoed}")
        return life
