"""How much one worker may log in its primary: so many records and characters a second.

Runs in: primary

Two buckets fill with time, one of records and one of characters. A record that finds either too
empty is dropped and counted. That some were is told once it is over, or from time to time while it
goes on; to tell each would be the flood once more.
"""

from __future__ import annotations

from typing import Final, final

import attrs

__all__ = ["LogQuota"]

RECORDS: Final = 1000
"""A second; twice as many at once."""
CHARACTERS: Final = 256 * 1024
"""A second; four times as many at once."""
_TELL_SECONDS: Final = 10.0


@final
@attrs.define
class LogQuota:
    """The books of one worker.

    Attributes:
        dropped: records so far.
        untold: of these, those that nobody was told of.
    """

    dropped: int = 0
    untold: int = 0
    _records: float = 2.0 * RECORDS
    _characters: float = 4.0 * CHARACTERS
    _filled_at: float = 0.0
    _told_at: float = float("-inf")

    def take(self, now: float, characters: int) -> bool:
        """Whether a record may pass; counts it either way.

        Args:
            now: seconds, of any clock that does not go back.
            characters: how long it is.
        """
        passed, self._filled_at = max(now - self._filled_at, 0.0), now
        self._records = min(self._records + passed * RECORDS, 2.0 * RECORDS)
        self._characters = min(self._characters + passed * CHARACTERS, 4.0 * CHARACTERS)
        if self._records >= 1 and self._characters >= characters:
            self._records -= 1
            self._characters -= characters
            return True
        self.dropped += 1
        self.untold += 1
        return False

    def to_tell(self, now: float) -> int:
        """How many were dropped, if it is time to tell; from then on these are told."""
        if not self.untold or now - self._told_at < _TELL_SECONDS:
            return 0
        self._told_at = now
        return self.rest()

    def rest(self) -> int:
        """How many were dropped and not told, at the end; from then on they are."""
        untold, self.untold = self.untold, 0
        return untold
