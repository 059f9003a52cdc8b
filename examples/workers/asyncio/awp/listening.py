"""One listener channel: what the primary may hand over, and what was said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .awp_v1 import Abort
from .framing import Violation


@dataclass(eq=False, slots=True)
class ListenerChannel:
    """A LISTEN and what came of it.

    Attributes:
        mode: None until LISTENING came.
        credit: connections that may still be handed over.
        arrived: connections that were, counted from 1.
        spoken: the highest number that a CONN_REPLY has spoken of.
    """

    channel: int
    credit: int
    mode: str | None = None
    arrived: int = 0
    spoken: int = 0
    _decided: dict[int, bool] = field(default_factory=dict)

    def arrive(self, first: int, count: int) -> None:
        """A CONN came.

        Raises:
            Violation: it leaves a gap, comes too early, or there are too many.
        """
        if self.mode != "handoff":
            raise Violation(Abort.PROTOCOL_ERROR, "CONN without LISTENING in mode handoff")
        if first != self.arrived + 1 or count < 1:
            text = f"connection {first} follows connection {self.arrived}"
            raise Violation(Abort.PROTOCOL_ERROR, text)
        if count > self.credit:
            text = f"{count} connections where {self.credit} are allowed"
            raise Violation(Abort.FLOW_VIOLATION, text)
        self.credit -= count
        self.arrived += count

    def decide(self, numbers: Iterable[int], *, taken: bool) -> tuple[int, list[int]] | None:
        """Connections are taken or given back; give what CONN_REPLY is to say, if anything.

        A CONN_REPLY speaks of all numbers up to its own. So it waits until those before are
        decided.
        """
        self._decided.update((number, taken) for number in numbers)
        rejected = []
        before = self.spoken
        while self.spoken + 1 in self._decided:
            self.spoken += 1
            if not self._decided.pop(self.spoken):
                rejected.append(self.spoken)
        return (self.spoken, rejected) if self.spoken > before else None
