"""What a fork may say about one worker."""

from __future__ import annotations

import math
from typing import Any

import pytest

from actorcluster import Backoff, Child, Settings
from actorcluster._cluster.options import child_of, limits_of, own_settings

BASE = Settings(env={"A": "1", "B": "2"}, exec="script.py", args=["x"])


def fork_of(given: Any, *, restart: Any = "temporary") -> Child:
    """The spec of such a fork."""
    return child_of("one", "module:function", (), restart, given)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"ready": "called"},
        {"start_timeout": 3, "shutdown": "brutal_kill"},
        {"start_timeout": math.inf, "shutdown": math.inf},
        {"shutdown": 0},
        {"env": {"X": "1"}, "exec": "a", "settings": {}},
        {"backoff": Backoff(min=1)},
    ],
)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_accepted(given: Any, restart: str) -> None:
    child = fork_of(given, restart=restart)
    assert {**given, "restart": restart} == {
        name: getattr(child, name) for name in (*given, "restart")
    }


@pytest.mark.parametrize(
    ("given", "error", "field"),
    [
        ({"redy": "online"}, TypeError, "redy"),
        ({"cwd": "/"}, TypeError, "give settings={'cwd': ...}"),
        ({"ready": "maybe"}, ValueError, "ready"),
        ({"ready": None}, TypeError, "ready"),
        ({"start_timeout": -1}, ValueError, "start_timeout"),
        ({"start_timeout": math.nan}, ValueError, "start_timeout"),
        ({"start_timeout": "5"}, TypeError, "start_timeout"),
        ({"start_timeout": True}, TypeError, "start_timeout"),
        ({"shutdown": -0.1}, ValueError, "shutdown"),
        ({"shutdown": "kill"}, ValueError, "shutdown"),
        ({"shutdown": None}, TypeError, "shutdown"),
        ({"backoff": 3}, TypeError, "backoff"),
        ({"settings": {"nosuch": 1}}, TypeError, "nosuch"),
        ({"settings": 5}, TypeError, "settings"),
        ({"env": 5}, TypeError, "env"),
        ({"exec": 5}, TypeError, "exec"),
    ],
)
def test_refused(given: Any, error: type[Exception], field: str) -> None:
    with pytest.raises(error, match=field):
        fork_of(given)


@pytest.mark.parametrize(
    ("restart", "error"), [("always", ValueError), ("", ValueError), (None, TypeError)]
)
def test_restart_is_one_of_three(restart: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="restart must be 'permanent', 'transient' or 'temporary'"):
        fork_of({}, restart=restart)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, BASE),
        ({"exec": None, "env": None, "settings": None}, BASE),
        ({"exec": "other.py"}, BASE.merged(exec="other.py")),
        ({"stderr": "capture"}, BASE.merged(stderr="capture")),
        ({"stderr": "inherit", "settings": {"stderr": "capture"}}, BASE),
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
    assert expected == own_settings(BASE, fork_of(given))


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
