"""What classes say and compare that leave both to their base."""

from __future__ import annotations

import pytest

from actorcluster.wire import events


def test_a_fact_shows_its_fields() -> None:
    assert repr(events.Stop(2.5, 1)) == "Stop(deadline=2.5, reason=1)"
    assert repr(events.Listening(2, "shared", None, {}, None)).startswith("Listening(channel=2, ")


def test_facts_are_equal_by_class_and_values() -> None:
    assert events.Stop(2.5, 1) == events.Stop(2.5, 1)
    assert events.Stop(2.5, 1) != events.Stop(2.5, 2)
    assert events.Leave(1) != events.ListenClosed(1)
    assert events.Leave(1) != 1


def test_a_fact_is_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(events.Leave(1))


def test_what_has_handles_is_equal_to_itself_alone() -> None:
    one, other = (events.ReplyReceived(2, "body", (), {}) for _ in range(2))
    assert one == one  # noqa: PLR0124  (that is the question)
    assert one != other
    assert len({one, other}) == 2
