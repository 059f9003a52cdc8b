"""What is wrong with a field is said when a tree is written down: which field, which value."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from actorcluster import Settings
from actorcluster._cluster.listen import Listen
from actorcluster._cluster.tree import Backoff, Child, Limits, Pool, RetryAfter, Supervisor
from tests.supervision.transcript import TARGET

NAN: Final = math.nan
NOT_NUMBERS: Final = (None, "5", True, [1], 1j)

#: What children and pools refuse: field, the error, values.
WRONG_OF_CHILDREN: Final[list[tuple[str, type[Exception], tuple[Any, ...]]]] = [
    ("name", TypeError, (None, 5, b"a")),
    ("name", ValueError, ("", "a.b", "a\n", "a\x00", "\x7f", "primary")),
    ("target", TypeError, (5, b"a:b", [])),
    ("args", TypeError, ("abc", None, 5, {1: 2})),
    ("run", TypeError, (None, 5)),
    ("run", ValueError, ("", "thread")),
    ("restart", TypeError, (None, True)),
    ("restart", ValueError, ("", "always", "Permanent")),
    ("ready", TypeError, (None, 5)),
    ("ready", ValueError, ("", "maybe")),
    ("start_timeout", TypeError, NOT_NUMBERS),
    ("start_timeout", ValueError, (-1, NAN)),
    ("shutdown", TypeError, (None, True, [1])),
    ("shutdown", ValueError, (-1, NAN, "5", "kill", "")),
    ("significant", TypeError, (None, 1, "yes")),
    ("backoff", TypeError, (None, 1.0, {})),
    ("limits", TypeError, (1, {}, "500M")),
    ("heartbeat", TypeError, NOT_NUMBERS),
    ("heartbeat", ValueError, (0, -1, NAN)),
    ("hung_after", TypeError, ("5", True, [1])),
    ("hung_after", ValueError, (0, -1, NAN, math.inf, 4.9)),
    ("warm_up", TypeError, NOT_NUMBERS),
    ("warm_up", ValueError, (-1, NAN, math.inf)),
    ("exec", TypeError, (5, b"a")),
    ("exec", ValueError, ("", (), ("", "a"), "a\x00")),
    ("protocol", TypeError, (None, 5, b"awp")),
    ("protocol", ValueError, ("", "AWP")),
    ("stderr", TypeError, (5, b"inherit")),
    ("stderr", ValueError, ("", "pipe")),
    ("env", TypeError, (5, "A=1", [("A", "1")], {"A": 1}, {1: "A"})),
    ("env", ValueError, ({"": "1"}, {"A=": "1"}, {"A": "\x00"})),
    ("settings", TypeError, (5, "a", [], {"cwdd": "/"}, {"cwd": 5})),
    ("settings", ValueError, ({"cwd": ""},)),
]
#: What pools and supervisors refuse.
WRONG_OF_GROUPS: Final[list[tuple[str, type[Exception], tuple[Any, ...]]]] = [
    ("max_restarts", TypeError, (None, 1.0, "5", True)),
    ("max_restarts", ValueError, (-1,)),
    ("within", TypeError, NOT_NUMBERS),
    ("within", ValueError, (0, -1, NAN, math.inf)),
    ("on_exhausted", TypeError, (None, 5, RetryAfter)),
    ("on_exhausted", ValueError, ("", "retry")),
]
#: What is refused: kind, field, the error, values.
WRONG: Final[list[tuple[type, str, type[Exception], tuple[Any, ...]]]] = [
    (Backoff, "min", TypeError, NOT_NUMBERS),
    (Backoff, "min", ValueError, (-0.1, NAN, 16, math.inf, 10**400)),
    (Backoff, "max", TypeError, NOT_NUMBERS),
    (Backoff, "max", ValueError, (-1, NAN, 0.05, math.inf, 10**400)),
    (Backoff, "factor", TypeError, NOT_NUMBERS),
    (Backoff, "factor", ValueError, (0.9, 0, -2, NAN, math.inf, 10**400)),
    (Backoff, "jitter", TypeError, NOT_NUMBERS),
    (Backoff, "jitter", ValueError, (-0.1, 1.1, NAN, math.inf)),
    (Backoff, "reset_after", TypeError, NOT_NUMBERS),
    (Backoff, "reset_after", ValueError, (-1, NAN)),
    (RetryAfter, "seconds", TypeError, NOT_NUMBERS),
    (RetryAfter, "seconds", ValueError, (0, -1, NAN, math.inf, 10**400)),
    (Limits, "max_age", TypeError, ("5", True, [1])),
    (Limits, "max_age", ValueError, (0, -1, NAN, math.inf)),
    (Limits, "max_rss", TypeError, (1.5, True, [1], b"5M")),
    (Limits, "max_rss", ValueError, (0, -1)),
    # Texts that are no size: a text may be given, but not this one.
    (Limits, "max_rss", ValueError, ("", "M", "-5M", "5X", "5 M B", "1e3", "5M.")),
    (Limits, "max_messages", TypeError, (1.0, "5", True)),
    (Limits, "max_messages", ValueError, (0, -1)),
    (Limits, "max_accepted", TypeError, (1.0, "5", True)),
    (Limits, "max_accepted", ValueError, (0, -1)),
    (Pool, "count", TypeError, (None, 1.0, "5", True)),
    (Pool, "count", ValueError, (-1,)),
    (Supervisor, "name", TypeError, (None, 5)),
    (Supervisor, "name", ValueError, ("", "a.b", "primary")),
    (Supervisor, "strategy", TypeError, (None, 5)),
    (Supervisor, "strategy", ValueError, ("", "simple_one_for_one")),
    (Supervisor, "auto_shutdown", TypeError, (None, True)),
    (Supervisor, "auto_shutdown", ValueError, ("", "always")),
    (Supervisor, "children", TypeError, (None, 5, "a", {}, iter(()))),
    (Supervisor, "children", TypeError, ([5], ["a"], [None], [Child], [Backoff()])),
    (Supervisor, "listeners", TypeError, (None, 5, "a", {}, [8000], [None], [Backoff()])),
    *((kind, *entry) for kind in (Child, Pool) for entry in WRONG_OF_CHILDREN),
    *((kind, *entry) for kind in (Pool, Supervisor) for entry in WRONG_OF_GROUPS),
]

#: The fields without which there is no value of a kind.
NEEDED: Final[dict[type, dict[str, Any]]] = {
    Backoff: {},
    RetryAfter: {},
    Limits: {},
    Child: {"name": "a", "target": TARGET},
    Pool: {"name": "a", "target": TARGET, "count": 2},
    Supervisor: {},
}


@pytest.mark.parametrize(
    ("kind", "field", "error", "value"),
    [
        pytest.param(kind, field, error, value, id=f"{kind.__name__}-{field}-{value!r:.20}")
        for kind, field, error, values in WRONG
        for value in values
    ],
)
def test_refused(kind: type, field: str, error: type[Exception], value: Any) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        kind(**{**NEEDED[kind], field: value})
    assert error is caught.type
    text = str(caught.value)
    # A mapping for `settings` has fields of its own, and then one of those is named.
    assert field in text or any(key in text for key in value)
    assert any(repr(part) in text for part in parts(value))


def parts(value: Any) -> list[Any]:
    """The value, and what is in it: one of them is wrong."""
    if isinstance(value, dict):
        return [value, *value, *value.values()]
    return [value, *value] if isinstance(value, (list, tuple)) else [value]


#: What children and pools take: field, values.
RIGHT_OF_CHILDREN: Final[list[tuple[str, tuple[Any, ...]]]] = [
    ("name", ("a", "A-1", "ä", "primary1", "root", "日本", "a/b:c", "a b")),
    ("target", (TARGET, None)),
    ("args", ((), (1, "a"))),
    ("run", ("process", "task")),
    ("restart", ("permanent", "transient", "temporary")),
    ("ready", ("online", "listening", "called")),
    ("start_timeout", (0, 5, 0.5, math.inf)),
    ("shutdown", (0, 5, 0.5, math.inf, "brutal_kill")),
    ("significant", (False,)),
    ("backoff", (Backoff(), Backoff(min=1, max=1))),
    ("limits", (None, Limits(), Limits(max_rss=5))),
    ("heartbeat", (0.1, 5, math.inf)),
    ("hung_after", (None, 5, 5.0, 60)),
    ("warm_up", (0, 2.5, 60)),
    ("exec", (None, "a.py", ("node", "a.js"))),
    ("protocol", ("awp",)),
    ("stderr", (None, "inherit", "capture")),
    ("env", (None, {}, {"A": "1", "B": None})),
    ("settings", (None, {}, {"cwd": "/"}, Settings(), Settings(cwd="/"))),
]
#: What pools and supervisors take.
RIGHT_OF_GROUPS: Final[list[tuple[str, tuple[Any, ...]]]] = [
    ("max_restarts", (0, 1, 10**9)),
    ("within", (0.5, 30, 1e9)),
    ("on_exhausted", ("escalate", "park", RetryAfter(1))),
]
#: What is taken: kind, field, values.
RIGHT: Final[list[tuple[type, str, tuple[Any, ...]]]] = [
    (Backoff, "min", (0, 0.1, 15, 15.0)),
    (Backoff, "max", (0.1, 1, 1e9)),
    (Backoff, "factor", (1, 1.5, 1e300)),
    (Backoff, "jitter", (0, 0.5, 1)),
    (Backoff, "reset_after", (0, 5, math.inf)),
    (RetryAfter, "seconds", (1, 0.001)),
    (Limits, "max_age", (None, 0.5, 86400)),
    (Limits, "max_rss", (None, 1, 10**12)),
    (Limits, "max_messages", (None, 1)),
    (Limits, "max_accepted", (None, 1)),
    (Pool, "count", (0, 1, 1000)),
    (Supervisor, "name", ("root", "web")),
    (Supervisor, "strategy", ("one_for_one", "one_for_all", "rest_for_one")),
    (Supervisor, "auto_shutdown", ("never", "any_significant", "all_significant")),
    (Supervisor, "children", ((), (Child("a", TARGET), Supervisor("b")))),
    (Supervisor, "listeners", ((), (Listen(80), Listen(path="s")))),
    *((kind, *entry) for kind in (Child, Pool) for entry in RIGHT_OF_CHILDREN),
    *((kind, *entry) for kind in (Pool, Supervisor) for entry in RIGHT_OF_GROUPS),
]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        pytest.param(kind, field, value, id=f"{kind.__name__}-{field}-{value!r:.20}")
        for kind, field, values in RIGHT
        for value in values
    ],
)
def test_taken(kind: type, field: str, value: Any) -> None:
    assert value == getattr(kind(**{**NEEDED[kind], field: value}), field)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500M", 500 * 1024**2),
        ("1.5G", 3 * 512 * 1024**2),
        ("2T", 2 * 1024**4),
        ("7 KiB", 7 * 1024),
        ("7", 7),
        ("7b", 7),
        ("0.5K", 512),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert expected == Limits(max_rss=text).max_rss


@pytest.mark.parametrize("text", ["0", "0K", "0.0001K", "9" * 400 + "G"])
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"^max_rss must be a number of bytes, 1 or more, not"):
        Limits(max_rss=text)


def test_what_has_one_life_has_no_limits() -> None:
    text = "limits: 'a' is temporary, nothing comes after its end"
    for kind in (Child, Pool):
        with pytest.raises(ValueError, match=f"^{text}$"):
            kind(**{**NEEDED[kind], "restart": "temporary", "limits": Limits(max_age=1)})


def test_every_field_is_in_both_tables() -> None:
    fields = {(kind.__name__, field.name) for kind in NEEDED for field in attrs.fields(kind)}
    for found in (WRONG, RIGHT):
        assert set() == fields - {(entry[0].__name__, entry[1]) for entry in found}


def test_a_path_of_a_program_is_a_text() -> None:
    """So that it is equal to the same path as a text."""
    path: Any = Path("x.py")
    assert Child("a", None, exec="x.py") == Child("a", None, exec=path)


OF_PROCESSES: Final[dict[str, Any]] = {
    "exec": "a.py",
    "env": {},
    "settings": {},
    "stderr": "capture",
    "heartbeat": 1.0,
    "hung_after": 10,
}


@pytest.mark.parametrize("field", OF_PROCESSES)
def test_a_task_has_nothing_of_a_process(field: str) -> None:
    for make in (Child, functools.partial(Pool, count=2)):
        with pytest.raises(ValueError, match=rf"^{field}: 'a' runs as a task and cannot have it$"):
            make("a", TARGET, run="task", **{field: OF_PROCESSES[field]})


def test_a_task_needs_a_function() -> None:
    with pytest.raises(ValueError, match=r"^target: 'a' runs as a task, which needs a function$"):
        Child("a", None, run="task")


def test_a_task_has_no_memory_of_its_own() -> None:
    text = "limits.max_rss: 'a' is a task, its memory is the primary's"
    with pytest.raises(ValueError, match=f"^{text}$"):
        Child("a", TARGET, run="task", limits=Limits(max_rss="1M"))
    other = Limits(max_age=1, max_messages=1, max_accepted=1)
    assert other == Child("a", TARGET, run="task", limits=other).limits
