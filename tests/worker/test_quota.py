"""The books of what the primary may be holding for one address."""

from __future__ import annotations

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actorcluster._worker.quota import Quota

MOST = 1000


def test_one_that_is_too_large_goes_alone() -> None:
    quota = Quota(MOST)
    assert quota.has_room(10 * MOST)
    quota.take(10 * MOST)
    assert not quota.has_room(1)
    quota.begin_probe()
    quota.end_probe()
    quota.take(1)
    assert not quota.has_room(MOST)
    assert quota.has_room(MOST - 1)


def test_when_a_probe_is_worth_while() -> None:
    quota = Quota(MOST)
    assert not quota.wants_probe(urgently=True)
    quota.take(500)
    assert quota.wants_probe(urgently=True)
    assert not quota.wants_probe(urgently=False)
    quota.take(1)
    assert quota.wants_probe(urgently=False)
    quota.begin_probe()
    quota.take(499)
    assert not quota.wants_probe(urgently=True)
    quota.end_probe()
    assert 499 == quota.held


class Books(RuleBasedStateMachine):
    """Messages and probes in one line, which the primary works off from the front."""

    def __init__(self) -> None:
        super().__init__()
        self.quota = Quota(MOST)
        #: (cost, epoch) of each, None for a probe.
        self.line: deque[tuple[int, int] | None] = deque()

    @rule(cost=st.integers(1, 1500))
    def send(self, cost: int) -> None:
        if self.quota.has_room(cost):
            self.line.append((cost, self.quota.take(cost)))

    @precondition(lambda self: any(self.line))
    @rule(index=st.integers(0, 20))
    def give_up(self, index: int) -> None:
        """One that has not left the worker yet; all before it may still be there, too."""
        messages = [one for one in self.line if one is not None]
        gone = messages[index % len(messages)]
        self.line.remove(gone)
        self.quota.give_back(*gone)

    @rule(urgently=st.booleans())
    def probe(self, urgently: bool) -> None:
        if self.quota.wants_probe(urgently=urgently):
            self.quota.begin_probe()
            self.line.append(None)

    @precondition(lambda self: self.line)
    @rule(count=st.integers(1, 10))
    def pass_on(self, count: int) -> None:
        for _ in range(min(count, len(self.line))):
            if self.line.popleft() is None:
                self.quota.end_probe()

    @invariant()
    def at_most_so_much_is_held(self) -> None:
        costs = [one[0] for one in self.line if one is not None]
        held = sum(costs)
        assert held <= self.quota.held
        assert held <= MOST or len(costs) == 1

    def teardown(self) -> None:
        self.pass_on(len(self.line)) if self.line else None
        if self.quota.wants_probe(urgently=True):
            self.quota.begin_probe()
            self.quota.end_probe()
        assert 0 == self.quota.held


TestBooks = Books.TestCase
