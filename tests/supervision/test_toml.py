"""A tree from a file: the same values, and errors that say where in the file."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from actorcluster import Backoff, Child, Pool, RetryAfter, Supervisor

TREE = """\
strategy = "rest_for_one"
within = 60.0
retry_after = 3.5

[[children]]
name = "db"
target = "app.db:main"
args = [1, "two"]
shutdown = inf
backoff = {min = 1.0, jitter = 0.0}
env = {MODE = "fast"}
settings = {silent = true}

[[children]]
name = "web"
target = "app.web:main"
count = 4
run = "task"
ready = "listening"
on_exhausted = "park"

[[children]]
name = "mail"
strategy = "one_for_all"

[[children.children]]
name = "smtp"
target = "app.mail:smtp"
restart = "transient"
shutdown = "brutal_kill"

[[children]]
name = "empty"
children = []
"""

EXPECTED = Supervisor(
    strategy="rest_for_one",
    within=60.0,
    on_exhausted=RetryAfter(3.5),
    children=[
        Child(
            "db",
            "app.db:main",
            args=(1, "two"),
            shutdown=math.inf,
            backoff=Backoff(min=1.0, jitter=0.0),
            env={"MODE": "fast"},
            settings={"silent": True},
        ),
        Pool("web", "app.web:main", run="task", count=4, ready="listening", on_exhausted="park"),
        Supervisor(
            "mail",
            strategy="one_for_all",
            children=[Child("smtp", "app.mail:smtp", restart="transient", shutdown="brutal_kill")],
        ),
        Supervisor("empty"),
    ],
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with the tree above."""
    path = tmp_path / "tree.toml"
    path.write_text(TREE)
    return path


def test_a_whole_tree(file: Path) -> None:
    assert EXPECTED == Supervisor.from_toml(file)
    assert EXPECTED == Supervisor.from_toml(str(file))


@pytest.mark.parametrize(
    ("old", "new", "error", "text"),
    [
        ("within = 60.0", "within =", ValueError, r"Invalid value \(at line 2, column 9\)"),
        (
            '"rest_for_one"',
            '"rest"',
            ValueError,
            "strategy must be 'one_for_one', 'one_for_all' or 'rest_for_one', not 'rest'",
        ),
        ("retry_after = 3.5", "retry_after = 0", ValueError, "retry_after: seconds must be"),
        (
            "retry_after = 3.5",
            'retry_after = 1.0\non_exhausted = "park"',
            ValueError,
            "retry_after: on_exhausted is given too",
        ),
        ("shutdown = inf", "shutdwn = 1", ValueError, "'shutdwn'; did you mean 'shutdown'?"),
        (
            "shutdown = inf",
            "retry_after = 1",
            ValueError,
            "has no 'retry_after'; with a count it is",
        ),
        ("retry_after = 3.5", "on_exhausted = {seconds = 1}", TypeError, "or retry_after = 10.0"),
        ("shutdown = inf", "zzz = 1", ValueError, "has no 'zzz'; there are name, target,"),
        ("shutdown = inf", "shutdown = -1", ValueError, r"children\[0\]: shutdown must be"),
        ("min = 1.0", "min = -1", ValueError, r"children\[0\].backoff: min must be"),
        ("count = 4", 'count = "4"', TypeError, r"children\[1\]: count must be an int"),
        (
            '"app.mail:smtp"',
            "3",
            TypeError,
            r"children\[2\].children\[0\]: target must be an async function",
        ),
        (
            'name = "smtp"\n',
            "",
            ValueError,
            r"children\[2\].children\[0\]: a Child needs name",
        ),
        ('name = "web"', 'name = "db"', ValueError, r"children\[1\].name: 'db' is used twice"),
        ("children = []", "children = 3", TypeError, r"children\[3\].children must be an array"),
        (
            "children = []",
            "children = [3]",
            TypeError,
            r"children\[3\].children\[0\]: a Child must be a table, not 3",
        ),
        (
            "backoff = {min = 1.0, jitter = 0.0}",
            "backoff = 3",
            TypeError,
            r"children\[0\].backoff: a Backoff must be a table, not 3",
        ),
    ],
)
def test_what_is_wrong_and_where(
    file: Path, old: str, new: str, error: type[Exception], text: str
) -> None:
    assert 1 == TREE.count(old)
    file.write_text(TREE.replace(old, new))
    with pytest.raises(error, match=text) as info:
        Supervisor.from_toml(file)
    assert str(info.value).startswith(f"{file}: ")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Supervisor.from_toml(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ValueError, match=r"latin.toml: "):
        Supervisor.from_toml(tmp_path / "latin.toml")
