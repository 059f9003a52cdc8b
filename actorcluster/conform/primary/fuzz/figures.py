"""What a campaign has come to, in figures.

Runs in: both
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, final

import attrs

from ...._counted import counted
from ....wire._generated import KINDS, State
from .episode import Finding

__all__ = ["Figures", "slope"]

_STATES: Final = tuple(state.name for state in State if state is not State.CLOSED)
#: Bytes a minute by which a primary may grow.
SLOPE: Final = 1 << 20
#: Seconds before growth counts: until then caches are filled.
WARM: Final = 60.0


@final
@attrs.define
class Figures:
    """What a campaign has come to.

    Attributes:
        met: how often a frame of each kind came in each state.
        outcomes: how cases came out.
        memory: of the primary, in bytes, by seconds since the beginning.
        left: what was left behind, in words; None: nothing.
        troubles: what became of the first clients that were not served, and what else is known.
    """

    seed: int
    cases: int = 0
    seconds: float = 0.0
    findings: list[Finding] = attrs.Factory(list)
    met: Counter[tuple[str, str]] = attrs.Factory(Counter)
    outcomes: Counter[str] = attrs.Factory(Counter)
    memory: list[tuple[float, int]] = attrs.Factory(list)
    crashes: list[str] = attrs.Factory(list)
    served: int = 0
    failed: int = 0
    slowest: float = 0.0
    left: str | None = None
    troubles: list[str] = attrs.Factory(list)

    @property
    def growth(self) -> float | None:
        """Bytes a minute, once that can be said."""
        late = [point for point in self.memory if point[0] >= WARM]
        if not late or late[-1][0] - late[0][0] < WARM:
            return None
        return 60 * slope(late)

    @property
    def passed(self) -> bool:
        """Whether all is as it should be."""
        grows = self.growth is not None and self.growth > SLOPE
        bad = self.findings or self.crashes or self.failed or self.left
        return not bad and not grows and self.cases > 0

    def lines(self) -> Iterator[str]:
        """Say it all, the verdict last."""
        yield from self._coverage()
        outcomes = ", ".join(f"{count} {name}" for name, count in self.outcomes.most_common())
        rate = self.cases / self.seconds if self.seconds else 0.0
        cases = counted(self.cases, "case")
        yield f"seed {self.seed}: {cases} in {self.seconds:.0f} s, {rate:.0f} a second"
        yield f"outcomes: {outcomes}"
        growth = self.growth
        grown = "too short to say" if growth is None else f"{growth / (1 << 20):.2f} MiB/min"
        yield f"memory of the primary after the first minute: {grown}"
        yield f"descriptors: {self.left or 'as at the beginning'}"
        answered = f"{counted(self.served, 'request')} served, {self.failed} failed"
        yield f"innocent worker: {answered}, the slowest took {self.slowest:.2f} s"
        yield from self.troubles
        yield f"crashes: {len(self.crashes)}"
        yield from self.crashes
        head = "passed" if self.passed else "FAILED"
        yield f"{head}: {cases}, {counted(len(self.findings), 'finding')}"

    def _coverage(self) -> Iterator[str]:
        """Give the table of kinds by states."""
        names = [info.name for info in KINDS.values() if info.status == "built"]
        width = max(map(len, names))
        yield f"{'':{width}}  " + "  ".join(f"{state:>9}" for state in _STATES)
        for name in names:
            counts = "  ".join(f"{self.met[name, state] or '-':>9}" for state in _STATES)
            yield f"{name:{width}}  {counts}"
        other = Counter[str]()
        for (name, state), count in self.met.items():
            if name not in names:
                other[state] += count
        counts = "  ".join(f"{other[state] or '-':>9}" for state in _STATES)
        yield f"{'(unknown)':{width}}  {counts}"
        cells = [(name, state) for name in names for state in _STATES]
        missed = [f"{name} in {state}" for name, state in cells if not self.met[name, state]]
        yield f"cells met: {len(cells) - len(missed)} of {len(cells)}"
        if missed:
            yield f"never met: {', '.join(missed)}"


def slope(points: Sequence[tuple[float, int]]) -> float:
    """Growth per second, by least squares."""
    count = len(points)
    middle = sum(x for x, _ in points) / count
    mean = sum(y for _, y in points) / count
    spread = sum((x - middle) ** 2 for x, _ in points)
    return sum((x - middle) * (y - mean) for x, y in points) / spread if spread else 0.0
