"""The books of one listener channel: connections handed over, taken, given back.

Runs in: both

Connections of a channel are numbered 1, 2, 3 ... without gaps (AWP-LI-6), and CONN_REPLY speaks
of *all* connections up to a number. So one that is lost on its way, or arrives when none is
wanted, cannot be given back at once while the application has yet to decide about an earlier
one: it would be taken along. Such connections are remembered here and named as soon as
everything before them is decided.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import final

__all__ = ["Listener"]


@final
class Listener:
    """One listener channel, at either end.

    Attributes:
        credit: how many more connections may be handed over.
        handed: number of the latest connection that was.
        decided: connections 1..decided are taken or given back.
    """

    __slots__ = ("_lost", "credit", "decided", "handed")

    def __init__(self, credit: int) -> None:
        self.credit = credit
        self.handed = 0
        self.decided = 0
        self._lost: list[int] = []

    def hand_over(self, first: int, count: int) -> str | None:
        """Book connections that are sent, or arrive; returns what is wrong with that, if any."""
        if first != self.handed + 1:
            return f"connection {first} follows connection {self.handed}"
        if count > self.credit:
            return f"{count} connections, {self.credit} are allowed"
        self.handed += count
        self.credit -= count
        return None

    def lose(self, first: int, count: int) -> tuple[int, list[int]] | None:
        """Give back connections that the application never sees.

        Returns:
            what CONN_REPLY must say now; None while it must wait.
        """
        self._lost.extend(range(first, first + count))
        if self.decided != first - 1:
            return None
        return self.decide(self.decided, ())

    def take_next(self, number: int) -> bool:
        """Book that the application takes the next one; False where there is more to it."""
        if self._lost or not self.decided < number <= self.handed:
            return False
        self.decided = number
        return True

    def decide(self, upto: int, rejected: Collection[int]) -> tuple[int, list[int]]:
        """Book the application's decision; returns what CONN_REPLY must say."""
        if not self._lost:
            self.decided = upto
            return upto, sorted({*rejected}) if rejected else []
        given_back = [number for number in self._lost if number <= upto]
        while upto + 1 in self._lost:
            upto += 1
            given_back.append(upto)
        self._lost = [number for number in self._lost if number > upto]
        self.decided = upto
        return upto, sorted({*rejected, *given_back})
