"""May it start again, and when? The arithmetic of restarts; pure: `now` and chance are passed in.

Runs in: primary

Three questions, each asked when something has ended:

- Does what ended come back? `after_exit`, a table of restart type and reason.
- May it, once more? `Budget`, Erlang's restart intensity: more than so many restarts within so
  many seconds are too many. In float seconds, the window's edge included; Erlang counts whole
  seconds, which makes its window up to one second longer.
- When? `Backoff`: each failure in a row doubles the delay. What has been ready for long enough has
  recovered, and its next failure is a first one.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal, TypeAlias, final

import attrs

from . import checks

__all__ = ["Backoff", "Budget", "Fate", "after_exit"]

Fate: TypeAlias = Literal["restart", "finish", "park"]
"""Restart it; it has finished; leave it down, because starting it again cannot help."""

#: It did what it was to do, or what it was told.
_WELL: Final = frozenset({"normal", "shutdown", "killed"})
#: The same program would break the protocol in the same way again.
_HOPELESS: Final = frozenset({"protocol"})


def after_exit(restart: str, reason: str, *, was_ready: bool) -> Fate:
    """Decide what becomes of a child that ended by itself.

    Args:
        restart: ``"permanent"``, ``"transient"`` or ``"temporary"``.
        reason: of its `ExitStatus`.
        was_ready: False when the start failed; whatever the reason, that is not well.
    """
    if restart == "temporary":
        return "finish"
    if reason in _HOPELESS:
        return "park"
    if restart == "transient" and was_ready and reason in _WELL:
        return "finish"
    return "restart"


@final
class Budget:
    """So many restarts within so many seconds, and not one more.

    Args:
        max_restarts: how many are allowed; 0: the first is already one too many.
        within: seconds of the sliding window; what is exactly so old still counts.
    """

    __slots__ = ("_history", "max_restarts", "within")

    def __init__(self, max_restarts: int, within: float) -> None:
        self.max_restarts = max_restarts
        self.within = within
        self._history: deque[float] = deque()

    def spend(self, now: float) -> bool:
        """Count a restart; False when it is one too many."""
        history = self._history
        horizon = now - self.within
        while history and history[0] < horizon:
            history.popleft()
        history.append(now)
        return len(history) <= self.max_restarts

    def spent(self) -> int:
        """How many restarts the window held when the last was counted, that one included."""
        return len(self._history)

    def clear(self) -> None:
        """Forget all restarts."""
        self._history.clear()


@final
@attrs.frozen(kw_only=True)
class Backoff:
    """How long to wait before what failed is started again.

    The first delay is *min*, each further one in a row *factor* times as long, up to *max*. Of
    each, a random part is added, so that what failed together does not come back together; it
    stays under *max* even then. The streak ends when the child has been ready for *reset_after*.

    Attributes:
        min: seconds before the first restart.
        max: seconds, never exceeded.
        factor: from one delay to the next, at least 1.
        jitter: up to so much of the delay is added, 0 to 1.
        reset_after: seconds of being ready after which a failure is a first one again.
    """

    min: float = attrs.field(default=0.1, validator=checks.seconds)
    max: float = attrs.field(default=15.0, validator=checks.seconds)
    factor: float = attrs.field(default=2.0, validator=checks.at_least(1))
    jitter: float = attrs.field(default=0.2, validator=checks.between(0, 1))
    reset_after: float = attrs.field(default=30.0, validator=checks.seconds)

    def __attrs_post_init__(self) -> None:
        if not self.min <= self.max < float("inf"):
            text = f"max must be finite and at least min ({self.min})"
            raise ValueError(f"{text}, not {self.max!r}")

    def delay(self, failures: int, chance: float) -> float:
        """Give the seconds to wait.

        Args:
            failures: in a row, before this one.
            chance: a random number, 0 <= chance < 1.
        """
        if not self.min:
            return 0.0
        try:
            grown = self.min * self.factor**failures
        except OverflowError:
            grown = self.max
        # The random part has to fit under the cap, else all that wait longest wait equally long.
        base = max(self.min, min(grown, self.max / (1 + self.jitter)))
        return min(self.max, base * (1 + self.jitter * chance))
