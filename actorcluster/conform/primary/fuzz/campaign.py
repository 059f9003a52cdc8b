"""Playing cases one after another, in several lives at a time, and watching the primary meanwhile.

Runs in: both
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Final, final

import attrs
import trio

from ..lives import Gone, Life
from ..stage import Stage, open_stage
from .episode import Episode, Finding
from .figures import Figures

__all__ = ["Campaign", "FuzzOptions", "fuzz"]

_SAMPLE_SECONDS: Final = 1.0

#: Is told of each finding, with the life in which it was made.
Report = Callable[[Finding, Life], None]


@final
@attrs.frozen(kw_only=True)
class FuzzOptions:
    """How a primary is tried by chance.

    Attributes:
        command: the program and its arguments.
        minutes: how long.
        cases: how many, at most; None: as many as there is time for.
        seed: of all chance.
        only: the number of the one case to play.
        lanes: hostile workers at a time.
        timeout: seconds that anything may take.
        findings: after so many it ends.
    """

    command: tuple[str, ...]
    minutes: float = 1.0
    cases: int | None = None
    seed: int = 0
    only: int | None = None
    lanes: int = 4
    timeout: float = 10.0
    findings: int = 20


@final
class Campaign:
    """Plays cases on a stage.

    Args:
        report: see `Report`.
    """

    def __init__(self, stage: Stage, options: FuzzOptions, report: Report) -> None:
        self.figures = Figures(options.seed)
        self._stage = stage
        self._options = options
        self._report = report
        self._playing: set[int] = set()
        self._fd = -1
        self._place = ""

    async def run(self) -> None:
        """Play until time, cases or patience are over."""
        options, figures, stage = self._options, self.figures, self._stage
        begin = trio.current_time()
        numbers: Iterator[int] = itertools.count()
        if options.only is not None:
            numbers = iter((options.only,))
        elif options.cases is not None:
            numbers = iter(range(options.cases))
        read, write = os.pipe()
        self._fd = read
        try:
            with tempfile.TemporaryDirectory(prefix="awp-") as place:
                self._place = f"{place}/"
                async with trio.open_nursery() as watching:
                    watching.start_soon(self._sample, begin)
                    with trio.move_on_after(60 * options.minutes):
                        async with trio.open_nursery() as playing:
                            for _ in range(options.lanes):
                                playing.start_soon(self._play_all, numbers)
                    watching.cancel_scope.cancel()
                figures.seconds = trio.current_time() - begin
                figures.left = await stage.settle()
        finally:
            os.close(read)
            os.close(write)
        clients = stage.clients
        figures.served, figures.failed = clients.served, clients.failed
        figures.slowest = clients.slowest
        if figures.troubles:
            figures.troubles.append(stage.subject.tail())
        if stage.subject.status is not None and not figures.crashes:
            figures.crashes.append(f"it ended with status {stage.subject.status}")

    async def _play_all(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            if len(self.figures.findings) >= self._options.findings:
                return
            try:
                life = await self._stage.hangar.take()
            except Gone:
                return
            self._playing.add(number)
            try:
                await self._play(number, life)
            finally:
                with trio.CancelScope(shield=True):
                    await life.end()
            if self._stage.subject.status is not None:
                self._crashed()
                return
            self._playing.discard(number)

    async def _play(self, number: int, life: Life) -> None:
        options, figures = self._options, self.figures
        episode = Episode(
            life,
            self._stage.terms,
            seed=options.seed,
            number=number,
            fd=self._fd,
            place=self._place,
            patience=options.timeout,
        )
        finding = await episode.play()
        figures.cases += 1
        figures.outcomes[episode.outcome] += 1
        figures.met.update(episode.judge.met)
        if finding is not None:
            figures.findings.append(finding)
            self._report(finding, life)

    def _crashed(self) -> None:
        if not self.figures.crashes:
            status, tail = self._stage.subject.status, self._stage.subject.tail()
            cases = ", ".join(map(str, sorted(self._playing)))
            text = f"it ended with status {status} during one of the cases {cases}\n{tail}"
            self.figures.crashes.append(text)

    async def _sample(self, begin: float) -> None:
        figures, clients = self.figures, self._stage.clients
        while True:
            seconds = trio.current_time() - begin
            figures.memory.append((seconds, self._stage.memory()))
            if clients.failed and not figures.troubles:
                cases = ", ".join(map(str, sorted(self._playing)))
                text = f"first found after {seconds:.0f} s, during the cases {cases}"
                figures.troubles = [*clients.failures, text]
            await trio.sleep(_SAMPLE_SECONDS)


async def fuzz(options: FuzzOptions, report: Report) -> Figures:
    """Try a primary by chance.

    Raises:
        Unfit: it cannot be tried.
    """
    lanes = 1 if options.only is not None else options.lanes
    options = attrs.evolve(options, lanes=lanes)
    async with open_stage(options.command, lanes=lanes, patience=options.timeout) as stage:
        campaign = Campaign(stage, options, report)
        await campaign.run()
    return campaign.figures
