"""The books of credit and of acknowledgements, alone and one against the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actorcluster.wire.credit import (
    ACK_EVERY,
    MINIMUM_CHARGE,
    Arrivals,
    Deliveries,
    ReceiveWindow,
    SendWindow,
)

WINDOW = 65536


@pytest.mark.parametrize(
    ("length", "charge"),
    [
        (0, MINIMUM_CHARGE),
        (MINIMUM_CHARGE - 16, MINIMUM_CHARGE),
        (MINIMUM_CHARGE - 15, MINIMUM_CHARGE + 1),
        (WINDOW - 17, WINDOW - 1),
        (WINDOW - 16, WINDOW),
        (WINDOW * 100, WINDOW),
    ],
)
def test_both_sides_charge_the_same(length: int, charge: int) -> None:
    sender, receiver = SendWindow(WINDOW), ReceiveWindow(WINDOW)
    assert charge == sender.charge(length)
    assert sender.spend(length)
    assert charge == receiver.take(length)
    assert WINDOW - charge == sender.available == receiver.available


def test_what_is_not_there_is_not_spent() -> None:
    window = SendWindow(WINDOW)
    assert window.spend(WINDOW - 16 - MINIMUM_CHARGE)
    assert not window.spend(MINIMUM_CHARGE - 15)
    assert MINIMUM_CHARGE == window.available
    assert window.spend(0)
    assert not window.spend(0)


def test_an_overrun_is_noticed_and_not_booked() -> None:
    window = ReceiveWindow(WINDOW)
    assert WINDOW == window.take(WINDOW)
    assert -1 == window.take(0)
    assert 0 == window.available


def test_more_than_was_spent_cannot_come_back() -> None:
    window = SendWindow(WINDOW)
    assert window.spend(0)
    assert window.credit(MINIMUM_CHARGE)
    assert not window.credit(1)


def test_a_quarter_of_the_window_is_given_back_at_once() -> None:
    window = ReceiveWindow(WINDOW)
    for _ in range(2):
        window.take(WINDOW // 8 - 16)
    window.take(0)
    assert not window.give_back(WINDOW // 8)
    assert window.give_back(WINDOW // 8)
    assert WINDOW // 4 == window.collect()
    assert 0 == window.collect()


def test_a_sixteenth_is_given_back_at_once_when_all_is_empty() -> None:
    window = ReceiveWindow(WINDOW)
    window.take(WINDOW // 16 - 16)
    window.take(0)
    assert not window.give_back(MINIMUM_CHARGE)
    assert window.give_back(WINDOW // 16)
    window.take(0)
    assert WINDOW // 16 + MINIMUM_CHARGE == window.collect()
    assert not window.give_back(MINIMUM_CHARGE)


@given(
    size=st.integers(MINIMUM_CHARGE, 5000),
    available=st.integers(0, 5000),
    owed=st.integers(0, 2000),
    charge=st.integers(1, 2000),
)
@example(size=4096, available=2800, owed=769, charge=255)
@example(size=4096, available=3140, owed=700, charge=256)
def test_what_is_light_asks_for_nothing_while_little_is_owed(
    size: int, available: int, owed: int, charge: int
) -> None:
    """Whoever looks at these two need not ask."""
    window = ReceiveWindow(size)
    window.available, window.owed = available, owed
    quiet = owed + charge < window.silent and charge < window.light
    is_due = window.give_back(charge)
    assert not (quiet and is_due)
    assert owed + charge == window.owed


def test_a_grant_fits_into_its_frame() -> None:
    window = ReceiveWindow(2**34)
    charge = window.take(2**33)
    window.give_back(charge)
    assert 2**32 - 1 == window.collect()
    assert charge - (2**32 - 1) == window.owed


def test_a_smaller_window_leaves_less_than_nothing() -> None:
    window = SendWindow(2 * WINDOW)
    assert window.spend(2 * WINDOW - 16)
    window.resize(WINDOW)
    assert -WINDOW == window.available
    assert not window.spend(0)
    assert window.credit(2 * WINDOW)
    assert WINDOW == window.available


LENGTHS = [0, 1, 239, 240, 241, 5000, WINDOW // 2, WINDOW - 16, WINDOW, 4 * WINDOW]


def take(queue: deque[tuple[str, int]], count: int) -> list[tuple[str, int]]:
    return [queue.popleft() for _ in range(min(count, len(queue)))]


class Windows(RuleBasedStateMachine):
    """Mail, credit and changes of the window, each under way for as long as hypothesis likes."""

    def __init__(self) -> None:
        super().__init__()
        self.sender = SendWindow(WINDOW)
        self.receiver = ReceiveWindow(WINDOW)
        self.to_receiver: deque[tuple[str, int]] = deque()
        self.to_sender: deque[tuple[str, int]] = deque()
        self.mailbox: list[int] = []

    @rule(lengths=st.lists(st.sampled_from(LENGTHS), max_size=20))
    def send(self, lengths: list[int]) -> None:
        for length in lengths:
            fits = self.sender.charge(length) <= self.sender.available
            assert fits is self.sender.spend(length)
            if fits:
                self.to_receiver.append(("mail", length))

    @rule(size=st.integers(WINDOW // 2, 2 * WINDOW))
    def change(self, size: int) -> None:
        self.to_sender.append(("settings", size))

    @precondition(lambda self: self.to_receiver)
    @rule(count=st.integers(1, 20))
    def arrive_at_receiver(self, count: int) -> None:
        for what, number in take(self.to_receiver, count):
            if what == "settings_ack":
                self.receiver.resize(number)
            else:
                charge = self.receiver.take(number)
                assert charge >= 0
                self.mailbox.append(charge)

    @precondition(lambda self: self.to_sender)
    @rule(count=st.integers(1, 4))
    def arrive_at_sender(self, count: int) -> None:
        for what, number in take(self.to_sender, count):
            if what == "settings":
                self.sender.resize(number)
                self.to_receiver.append(("settings_ack", number))
            else:
                assert self.sender.credit(number)

    @precondition(lambda self: self.mailbox)
    @rule(index=st.integers(0, 1000))
    def leave_the_mailbox(self, index: int) -> None:
        if self.receiver.give_back(self.mailbox.pop(index % len(self.mailbox))):
            self.to_sender.append(("credit", self.receiver.collect()))

    @rule()
    def flush(self) -> None:
        if grant := self.receiver.collect():
            self.to_sender.append(("credit", grant))

    @invariant()
    def what_the_sender_has_is_never_more_than_what_the_receiver_thinks(self) -> None:
        under_way = sum(number for what, number in self.to_sender if what == "credit")
        spent = sum(self.mailbox) + self.receiver.owed + under_way
        assert self.receiver.size == self.receiver.available + spent - under_way

    def teardown(self) -> None:
        while self.to_receiver or self.to_sender or self.mailbox or self.receiver.owed:
            while self.to_receiver:
                self.arrive_at_receiver(1)
            for charge in self.mailbox:
                self.receiver.give_back(charge)
            self.mailbox.clear()
            self.flush()
            while self.to_sender:
                self.arrive_at_sender(1)
        assert self.sender.size == self.sender.available == self.receiver.available


TestWindows = Windows.TestCase
TestWindows.settings = settings(stateful_step_count=15)


@given(st.lists(st.integers(1, 2500), max_size=8))
def test_acknowledgements_never_fall_behind(steps: list[int]) -> None:
    arrivals, deliveries = Arrivals(), Deliveries()
    for step in steps:
        deliveries.sent += step
        arrivals.received += step
        if arrivals.handle(arrivals.received):
            assert deliveries.acknowledge(arrivals.collect())
        assert ACK_EVERY > arrivals.handled - arrivals.acknowledged
        assert arrivals.acknowledged == deliveries.acknowledged


def test_a_late_acknowledgement_takes_nothing_back() -> None:
    arrivals, deliveries = Arrivals(), Deliveries()
    deliveries.sent = arrivals.received = 5
    assert not arrivals.handle(3)
    assert not arrivals.handle(2)
    assert 3 == arrivals.collect()
    assert 0 == arrivals.collect()
    assert deliveries.acknowledge(3)
    assert deliveries.acknowledge(2)
    assert 3 == deliveries.acknowledged
    assert not deliveries.acknowledge(6)


def test_what_was_bounced_counts_once_everything_before_it_does() -> None:
    arrivals = Arrivals()
    arrivals.received = 5
    arrivals.bounce(2)
    arrivals.bounce(3)
    arrivals.bounce(5)
    assert 0 == arrivals.collect()
    arrivals.handle(1)
    assert 3 == arrivals.collect()
    arrivals.handle(4)
    assert 5 == arrivals.collect()
    arrivals.bounce(6)
    assert 6 == arrivals.collect()


class Watched(set[int]):
    """Counts how often one of it is looked at."""

    looks = 0

    def __contains__(self, number: object) -> bool:
        self.looks += 1
        return super().__contains__(number)

    def __iter__(self) -> Iterator[int]:
        self.looks += len(self)
        return super().__iter__()


def test_bounces_behind_a_message_under_way_take_no_time() -> None:
    """One look at all of them for each was a second for what one read of the socket brings."""
    arrivals = Arrivals()
    arrivals._bounced = watched = Watched()
    for number in range(2, 50_000, 2):
        arrivals.bounce(number)
    for number in range(1, 50_000, 2):
        arrivals.handle(number)
    arrivals.bounce(50_001)
    arrivals.answer(50_002)
    assert 50_002 == arrivals.handled
    assert not watched
    assert 110_000 >= watched.looks  # two for each


def test_an_answer_acknowledges_everything_before_it() -> None:
    arrivals = Arrivals()
    arrivals.received = 7
    arrivals.handle(2)
    arrivals.answer(5)
    assert 5 == arrivals.handled == arrivals.acknowledged
    arrivals.answer(1)
    assert 0 == arrivals.collect()
    arrivals.handle(6)
    assert 6 == arrivals.collect()


@pytest.mark.parametrize(("before", "after"), [(131_072, 65_536), (65_536, 131_072)])
def test_what_is_in_fragments_costs_by_the_window_at_its_first(before: int, after: int) -> None:
    """Its sender has paid before the window changed, its receiver books it afterwards."""
    sender, receiver = SendWindow(before), ReceiveWindow(before)
    assert sender.spend(100_000)
    sender.resize(after)
    receiver.resize(after)
    assert min(before, 100_016) == receiver.take_begun(100_000, before)
    assert sender.available == receiver.available


def test_nobody_has_more_in_fragments_than_there_was_room_for() -> None:
    window = ReceiveWindow(131_072)
    assert 65_536 == window.take(65_536 - 16)
    window.resize(65_536)
    assert -1 == window.take_begun(100_000, 131_072)
    assert 65_536 == window.take_begun(65_536 - 16, 131_072)
