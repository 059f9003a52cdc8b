"""What a fork may say about one worker."""

from __future__ import annotations

import math
from typing import Any

import pytest

from actorcluster import Settings
from actorcluster._cluster.options import checked_options, limits_of, own_settings

BASE = Settings(env={"A": "1", "B": "2"}, exec="script.py", args=["x"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"ready": "called"}, {"ready": "called"}),
        ({"start_timeout": 3, "shutdown": "brutal_kill"}, None),
        ({"start_timeout": math.inf, "shutdown": math.inf}, None),
        ({"shutdown": 0}, None),
        ({"env": {"X": "1"}, "exec": "a", "settings": {}}, {}),
    ],
)
def test_accepted(given: Any, expected: dict[str, Any] | None) -> None:
    assert (given if expected is None else expected) == checked_options("temporary", given)


@pytest.mark.parametrize(
    ("given", "error", "field"),
    [
        ({"redy": "online"}, TypeError, "redy"),
        ({"ready": "maybe"}, ValueError, "ready"),
        ({"ready": None}, ValueError, "ready"),
        ({"start_timeout": -1}, ValueError, "start_timeout"),
        ({"start_timeout": math.nan}, ValueError, "start_timeout"),
        ({"start_timeout": "5"}, TypeError, "start_timeout"),
        ({"start_timeout": True}, TypeError, "start_timeout"),
        ({"shutdown": -0.1}, ValueError, "shutdown"),
        ({"shutdown": "kill"}, TypeError, "shutdown"),
        ({"shutdown": None}, TypeError, "shutdown"),
    ],
)
def test_refused(given: Any, error: type[Exception], field: str) -> None:
    with pytest.raises(error, match=field):
        checked_options("temporary", given)


@pytest.mark.parametrize("restart", ["permanent", "transient", "", None])
def test_restarts_come_later(restart: Any) -> None:
    with pytest.raises(ValueError, match="restart must be 'temporary'"):
        checked_options(restart, {})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, BASE),
        ({"exec": None, "env": None, "settings": None}, BASE),
        ({"exec": "other.py"}, BASE.merged(exec="other.py")),
        ({"env": {"B": "3", "C": None}}, BASE.merged(env={"A": "1", "B": "3", "C": None})),
        ({"settings": {"silent": True}}, BASE.merged(silent=True)),
        ({"settings": Settings(silent=True)}, Settings(silent=True)),
        (
            {"settings": {"env": {"Z": "9"}}, "env": {"Y": "8"}},
            BASE.merged(env={"Z": "9", "Y": "8"}),
        ),
    ],
)
def test_own_settings(given: Any, expected: Settings) -> None:
    assert expected == own_settings(BASE, given)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"settings": {"nosuch": 1}}, "nosuch"),
        ({"settings": 5}, "settings"),
        ({"env": 5}, "env"),
        ({"exec": 5}, "exec"),
    ],
)
def test_wrong_settings_name_the_field(given: Any, field: str) -> None:
    with pytest.raises(TypeError, match=field):
        own_settings(BASE, given)


def test_limits_follow_the_largest_message() -> None:
    """Nothing larger than a message is ever kept, whole or in pieces."""
    kib = 1024
    small = limits_of(Settings(mailbox_size=64 * kib, max_message=64 * kib))
    assert {
        "window": 64 * kib,
        "max_message": 64 * kib,
        "max_frame": 72 * kib,
        "max_partial": 72 * kib,
    } == small
    large = limits_of(Settings(max_message=64 * kib * kib))
    assert (kib * kib, 64 * kib * kib + 8 * kib) == (large["max_frame"], large["max_partial"])
