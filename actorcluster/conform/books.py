"""The arithmetic of a connection: credit both ways, numbers, descriptors in flight, listeners.

Runs in: both
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import attrs

from ..wire._generated import FLAG_FRAG, FLAG_MORE, LIMIT_DEFAULTS, Kind
from .frames import Heard, pack

__all__ = ["Books", "Listener", "cost_of"]


def cost_of(size: int, window: int) -> int:
    """What a message costs whose envelope and whole payload have this size (AWP-FC-1)."""
    return min(window, max(256, 16 + size))


@attrs.define
class Listener:
    """Connections of one listener.

    Attributes:
        given: the highest number that was handed over.
        upto: the highest that was answered.
        taken: how many were taken.
    """

    given: int = 0
    upto: int = 0
    taken: int = 0

    def replied(self, upto: int, rejected: Sequence[int]) -> str:
        """Take a CONN_REPLY; gives what is wrong with it."""
        if not self.upto < upto <= self.given:
            return f"upto is {upto}: {self.given} were handed over, {self.upto} answered"
        strangers = [one for one in rejected if not self.upto < one <= upto]
        if strangers or len(set(rejected)) != len(rejected):
            return f"rejected is {list(rejected)} of {self.upto + 1} to {upto}"
        self.taken += upto - self.upto - len(rejected)
        self.upto = upto
        return ""


@attrs.define
class InFlight:
    """Descriptors of the worker that were not acknowledged."""

    frames: deque[int] = attrs.Factory(deque)
    upto: int = 0

    def sent(self, count: int) -> int:
        """A frame with descriptors came; gives how many are in flight."""
        self.frames.append(count)
        return sum(self.frames)

    def acknowledged(self, upto: int) -> None:
        """We acknowledged them up to that frame."""
        for _ in range(min(upto - self.upto, len(self.frames))):
            self.frames.popleft()
        self.upto = max(upto, self.upto)


@attrs.define
class Books:
    """Of both directions, *ours* being what we sent.

    Attributes:
        ours_sent: how many TELLs and CALLs.
        ours_owed: what they cost and was not returned.
        ours_with_handles: how many frames with descriptors.
        theirs_spent: what the worker's messages cost and we did not return.
        acknowledged: the highest ACK.
        calls: our channels that wait for an answer.
    """

    ours_sent: int = 0
    ours_owed: int = 0
    ours_with_handles: int = 0
    theirs_spent: int = 0
    acknowledged: int = 0
    calls: set[int] = attrs.Factory(set)
    listeners: dict[int, Listener] = attrs.Factory(dict)
    in_flight: InFlight = attrs.Factory(InFlight)
    window: int = LIMIT_DEFAULTS["window"]
    _partials: dict[int, int] = attrs.Factory(dict)

    def set_limits(self, limits: Mapping[str, int], caps: frozenset[str]) -> None:
        """Say what the worker announced."""
        self.window = limits["window"]

    def we_sent(self, said: Heard) -> None:
        """Enter a frame of ours."""
        if said.nfds:
            self.ours_with_handles += 1
        if said.kind == Kind.CANCEL:
            self._partials.pop(said.channel, None)  # never charged, see AWP-LG-6
        if said.kind not in (Kind.TELL, Kind.CALL):
            return
        if said.kind == Kind.CALL:
            self.calls.add(said.channel)
        size = len(said.body)
        if said.flags & FLAG_FRAG and isinstance(said.payload, bytes):
            piece = len(said.payload)
            begun = self._partials.pop(said.channel, len(said.body) - len(pack(said.payload)))
            size = begun + piece
            if said.flags & FLAG_MORE:
                self._partials[said.channel] = size
                return
        meta = said.item(3)
        if isinstance(meta, dict) and isinstance(meta.get("bulk"), dict):
            size += meta["bulk"].get("size", 0) - 1  # in place of nil, see AWP-LG-10
        self.ours_sent += 1
        self.ours_owed += cost_of(size, self.window)
