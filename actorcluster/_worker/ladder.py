"""The end that a worker cannot refuse: patience, then SIGTERM, then SIGKILL.

Runs in: primary
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Final, final

import trio

from .exit import Verdict

__all__ = ["LOST_SECONDS", "RUNG_SECONDS", "Ladder"]

#: Between the rungs: cancel main, SIGTERM, SIGKILL.
RUNG_SECONDS: Final = 2.0

#: How long a process may live on after its channel ended without a word.
LOST_SECONDS: Final = 2.0


@final
class Ladder:
    """What happens to one process that does not end by itself.

    Attributes:
        verdict: why we ended the process; None as long as we did not.
    """

    def __init__(self) -> None:
        self.verdict: Verdict | None = None
        self._patience = trio.CancelScope()
        self._next_verdict: Verdict = "killed"
        self._gentle = True

    def begin_within(self, seconds: float, verdict: Verdict) -> None:
        """Begin in ``seconds``, or earlier if that was said before; ``inf`` says nothing."""
        at = trio.current_time() + seconds
        if at < self._patience.deadline:
            self._patience.deadline = at
            self._next_verdict = verdict

    def condemn(self, verdict: Verdict) -> None:
        """Kill at once, without SIGTERM."""
        self.verdict = self.verdict or verdict
        self._gentle = False
        self._patience.cancel()

    @trio.lowlevel.enable_ki_protection
    async def run(self, send_signal: Callable[[int], object]) -> None:
        """Climb, when it is time.

        Args:
            send_signal: to the process.

        Cancellation:
            No signal will be sent.
        """
        with self._patience:
            await trio.sleep_forever()
        if self._gentle:
            self.verdict = self.verdict or self._next_verdict
            send_signal(signal.SIGTERM)
            await trio.sleep(RUNG_SECONDS)
        send_signal(signal.SIGKILL)
