"""How many descriptors may wait, for all connections and for each."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorcluster.wire import events
from actorcluster.wire._generated import FLAG_FRAG, FLAG_MORE, Kind
from actorcluster.wire.connection import Connection
from actorcluster.wire.holdings import DescriptorBudget, DescriptorShare
from tests.wire.pair import introduced
from tests.wire.talk import frame, said

PIPE = [8, {}]
SMALL = {"max_message": 1 << 16, "max_partial": 1 << 18}


def test_one_alone() -> None:
    share = DescriptorBudget(384).share()
    assert share.take(253)
    assert share.take(3)
    assert not share.take(1)
    assert (256, 1) == (share.held, share.refused)
    share.give_back(253)
    assert share.take(100)


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_all_that_take_what_they_can_leave_something(count: int) -> None:
    """Each gets the same, and the next one something too."""
    budget = DescriptorBudget(1000)
    shares = [budget.share() for _ in range(count)]
    for _ in range(1000):
        for share in shares:
            share.take(1)
    assert max(share.held for share in shares) - min(share.held for share in shares) <= 1
    assert budget.most - budget.held >= 1000 // (2 * count + 1)
    assert budget.share().take(1000 // (2 * count + 1) // 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50)), max_size=200))
def test_books_agree(steps: list[tuple[int, int]]) -> None:
    budget = DescriptorBudget(100)
    shares = [budget.share() for _ in range(4)]
    for index, count in steps:
        if not shares[index].take(count) and shares[index].held:
            shares[index].give_back(shares[index].held)
        assert sum(share.held for share in shares) == budget.held <= 100


# ---- in a connection ---------------------------------------------------------------------------


def bounded(most: int) -> tuple[Connection, DescriptorShare]:
    """A primary's end that takes at most so many descriptors."""
    primary = introduced("primary")
    share = DescriptorBudget(most * 3 // 2).share()
    primary.bound_descriptors(share)
    return primary, share


def message(nfds: int, kind: int = Kind.TELL, **more: Any) -> bytes:
    return frame(kind, [None, None, [PIPE] * nfds], "hi", nfds=nfds, **more)


def answers(connection: Connection) -> list[tuple[Kind, Any]]:
    """What it has answered to messages: the kind, and the code of the error."""
    kinds = (Kind.UNDELIVERABLE, Kind.ERROR)
    return [(Kind(one.kind), one.payload["code"]) for one in said(connection) if one.kind in kinds]


def test_a_message_without_room_comes_back() -> None:
    primary, share = bounded(4)
    (event,) = primary.receive(message(3), [10, 11, 12])
    assert isinstance(event, events.TellReceived)
    assert [] == primary.receive(message(2), [13, 14])
    assert [] == primary.receive(message(2, Kind.CALL, channel=1), [15, 16])
    full = "mailbox_full"
    assert [(Kind.UNDELIVERABLE, full), (Kind.ERROR, full)] == answers(primary)
    assert [13, 14, 15, 16] == primary.take_discarded()
    assert (3, 4) == (share.held, share.refused)
    primary.grant(event.charge, 3)
    assert 0 == share.held
    assert 1 == len(primary.receive(message(4), [17, 18, 19, 20]))


def test_so_does_one_with_an_address() -> None:
    """It takes the long way, through all checks."""
    primary, share = bounded(1)
    data = frame(Kind.TELL, ["db", None, [PIPE] * 2], "hi", nfds=2)
    assert [] == primary.receive(data, [10, 11])
    assert [(Kind.UNDELIVERABLE, "mailbox_full")] == answers(primary)
    assert ([10, 11], 0) == (primary.take_discarded(), share.held)


def test_an_answer_has_room_always() -> None:
    """Who asked takes it at once."""
    primary, share = bounded(1)
    channel = primary.send_call(primary.encode(None))
    data = frame(Kind.REPLY, [[PIPE] * 2], "hi", channel=channel, nfds=2)
    (event,) = primary.receive(data, [10, 11])
    assert isinstance(event, events.ReplyReceived)
    assert 0 == share.held


@pytest.mark.parametrize("kind", [Kind.TELL, Kind.CALL, Kind.REPLY])
def test_unfinished_messages_count(kind: Kind) -> None:
    primary, share = bounded(2)
    first, second = 1, 3
    if kind == Kind.REPLY:
        first, second = (primary.send_call(primary.encode(None)) for _ in range(2))
    handles = [[PIPE] * 2]
    envelope = handles if kind == Kind.REPLY else [None, None, *handles]
    more: Any = {"flags": FLAG_FRAG | FLAG_MORE, "nfds": 2}
    primary.receive(frame(kind, envelope, b"\xa2", channel=first, **more), [10, 11])
    primary.receive(frame(kind, envelope, b"\xa2", channel=second, **more), [12, 13])
    assert [12, 13] == primary.take_discarded()
    assert (2, 2) == (share.held, share.refused)
    end = [frame(kind, None, b"hi", channel=one, flags=FLAG_FRAG) for one in (second, first)]
    failed, taken = [*primary.receive(end[0]), None][0], primary.receive(end[1])[0]
    if kind == Kind.REPLY:
        assert isinstance(failed, events.ErrorReceived)
        assert "handle_lost" == failed.error["code"]
        assert isinstance(taken, events.ReplyReceived)
        assert 0 == share.held
    else:
        assert ["mailbox_full"] == [code for _, code in answers(primary)]
        assert isinstance(taken, events.TellReceived | events.CallReceived)
        assert 2 == share.held


@pytest.mark.parametrize("end", ["abandoned", "end of file"])
def test_unfinished_messages_that_end(end: str) -> None:
    primary, share = bounded(2)
    more: Any = {"flags": FLAG_FRAG | FLAG_MORE, "nfds": 2}
    data = frame(Kind.TELL, [None, None, [PIPE] * 2], b"\xa2", channel=1, **more)
    primary.receive(data, [10, 11])
    assert 2 == share.held
    if end == "abandoned":
        primary.receive(frame(Kind.CANCEL, [None], channel=1))
    else:
        primary.receive_eof()
    assert ([10, 11], 0) == (primary.take_discarded(), share.held)


def test_beyond_the_limit_of_unfinished_messages_all_are_closed() -> None:
    primary = introduced("primary", limits=SMALL)
    more: Any = {"flags": FLAG_FRAG | FLAG_MORE}
    limit = SMALL["max_partial"] // 256
    envelope = [None, None, [PIPE]]
    primary.receive(
        b"".join(frame(Kind.TELL, [None], b"", channel=1 + 2 * n, **more) for n in range(limit))
    )
    with pytest.raises(Exception, match="messages in fragments are open at once"):
        primary.receive(frame(Kind.TELL, envelope, b"", channel=9_999_999, nfds=1, **more), [10])
    assert [10] == primary.take_discarded()


def test_descriptors_that_wait_for_their_frame_count() -> None:
    primary, share = bounded(2)
    data = message(2)
    assert [] == primary.receive(data[:-1], [10, 11])
    assert 2 == share.held
    (event,) = primary.receive(data[-1:])
    assert isinstance(event, events.TellReceived)
    assert 2 == share.held  # that of the message
    primary.grant(event.charge, 2)
    assert 0 == share.held


def test_without_room_for_them_they_are_lost() -> None:
    primary, share = bounded(1)
    data = message(2)
    assert [] == primary.receive(data[:-1], [10, 11])
    assert [10, 11] == primary.take_discarded()
    assert [] == primary.receive(data[-1:])
    assert [(Kind.UNDELIVERABLE, "handle_lost")] == answers(primary)
    assert 0 == share.held


def test_lost_ones_that_no_frame_declares_count_all_the_same() -> None:
    primary, share = bounded(1)
    limit = primary.limits["max_fds"]
    data = frame(Kind.LOG, [20, 0.0, "log"], ["hi"])
    with pytest.raises(Exception, match="that no frame declares"):
        for _ in range(5):
            primary.receive(data, [10] * limit)
    assert 0 == share.held
