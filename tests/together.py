"""Stories that mostly wait, played all at once: each is a case, all take as long as the longest."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping

import trio

__all__ = ["Together"]

Story = Callable[[], Awaitable[object]]


class Together:
    """Plays all of them in one loop, when the first is wanted.

    A story must not depend on what the others do meanwhile: it has what it needs to itself.

    Attributes:
        names: of the stories, to parametrize with.
    """

    def __init__(self, stories: Mapping[str, Story]) -> None:
        self._stories = stories
        self.names = list(stories)

    def check(self, name: str) -> None:
        """Fail as that story has failed."""
        failure = self._failures[name]
        if failure is not None:
            raise failure

    @functools.cached_property
    def _failures(self) -> dict[str, Exception | None]:
        return trio.run(self._play)

    async def _play(self) -> dict[str, Exception | None]:
        failures: dict[str, Exception | None] = {}

        async def play(name: str, story: Story) -> None:
            try:
                await story()
            except Exception as exc:  # noqa: BLE001  (raised by `check`)
                failures[name] = exc
            else:
                failures[name] = None

        async with trio.open_nursery() as nursery:
            for name, story in self._stories.items():
                nursery.start_soon(play, name, story)
        return failures
