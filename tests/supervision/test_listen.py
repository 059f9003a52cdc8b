"""What a supervisor listens on, as a value: what may be asked for, and how it stands in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from actorcluster import Child, Listen, Supervisor

FULL = Supervisor(
    listeners=[
        Listen(8000),
        Listen(0, host="::1", ipv6_only=True, backlog=7, policy="none"),
        Listen(path="/run/web.sock", mode=0o660, policy="least_connections"),
        Listen(fd="web", when_full="drop", wait_timeout=2.5),
    ],
    children=[Supervisor("mail", listeners=[Listen(25)])],
)
TEXT = """\
[[listeners]]
port = 8000

[[listeners]]
port = 0
host = "::1"
ipv6_only = true
backlog = 7
policy = "none"

[[listeners]]
path = "/run/web.sock"
mode = 0o660
policy = "least_connections"

[[listeners]]
fd = "web"
when_full = "drop"
wait_timeout = 2.5

[[children]]
name = "mail"
listeners = [{port = 25}]
"""


def test_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tree.toml"
    file.write_text(TEXT)
    assert FULL == Supervisor.from_toml(file)
    assert 1 == len({FULL, Supervisor.from_toml(file)})
    places = ["*:8000", "[::1]:0", "/run/web.sock", "descriptor web"]
    assert places == [str(listen) for listen in FULL.listeners]
    assert "a/s" == Listen(path=Path("a/s")).path


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("listeners = 8000", TypeError, "listeners must be an array of tables, not 8000"),
        ("listeners = [8000]", TypeError, "listeners[0]: a Listen must be a table, not 8000"),
        (
            "[[listeners]]\nport = 1\n[[listeners]]\nprot = 2",
            ValueError,
            "listeners[1]: a Listen has no 'prot'; did you mean 'port'?",
        ),
        (
            'listeners = [{port = "http"}]',
            TypeError,
            "listeners[0]: port must be an int from 0 to 65535, not 'http'",
        ),
    ],
)
def test_what_is_wrong_in_a_file(
    text: str, error: type[Exception], says: str, tmp_path: Path
) -> None:
    file = tmp_path / "tree.toml"
    file.write_text(text)
    with pytest.raises(error, match=f"^{re.escape(f'{file}: {says}')}$"):
        Supervisor.from_toml(file)


@pytest.mark.parametrize(
    ("fields", "error", "says"),
    [
        ({}, ValueError, "one of port, path and fd must be given, not none of them"),
        ({"port": 1, "fd": 3}, ValueError, "must be given, not port and fd"),
        ({"port": 65_536}, ValueError, "port must be an int from 0 to 65535, not 65536"),
        ({"port": -1}, ValueError, "port must be an int"),
        ({"port": True}, TypeError, "port must be an int"),
        ({"port": 1, "host": "localhost"}, ValueError, "host must be a numeric address, no name"),
        ({"port": 1, "host": ""}, ValueError, "host must be a numeric address"),
        ({"port": 1, "host": 7}, TypeError, "host must be a str, not 7"),
        ({"port": 1, "ipv6_only": 1}, TypeError, "ipv6_only must be a bool"),
        ({"port": 1, "backlog": 0}, ValueError, "backlog must be an int from 1"),
        ({"port": 1, "policy": ""}, ValueError, "policy must have 1 to 255 characters"),
        ({"port": 1, "policy": "x" * 256}, ValueError, "policy must have 1 to 255 characters"),
        ({"port": 1, "policy": min}, TypeError, "policy must be the name of one"),
        ({"port": 1, "mode": 0o600}, ValueError, "mode: a port has none, only a path"),
        ({"port": 1, "when_full": "no"}, ValueError, "when_full must be 'wait' or 'drop'"),
        ({"port": 1, "wait_timeout": 0}, ValueError, "wait_timeout must be a number of seconds"),
        ({"port": 1, "wait_timeout": 1, "policy": "none"}, ValueError, "wait_timeout needs a pri"),
        ({"port": 1, "when_full": "drop", "policy": "none"}, ValueError, "when_full needs a pri"),
        ({"path": "s", "mode": 0o10000}, ValueError, "mode must be an int from 0 to 4095"),
        ({"path": "s", "host": "::"}, ValueError, "host: a path has none, only a port"),
        ({"path": "\0s"}, ValueError, "path must name a file"),
        ({"path": ""}, ValueError, "path must name a file"),
        ({"path": b"\xff"}, ValueError, "path must have a form in UTF-8, which '.udcff' has not"),
        ({"path": 5}, TypeError, "path must be a path, not 5"),
        ({"fd": 1.5}, TypeError, "fd must be an int or a str"),
        ({"fd": True}, TypeError, "fd must be an int or a str"),
        ({"fd": 3, "backlog": 5}, ValueError, "backlog: a fd has none, only a port or path"),
    ],
)
def test_what_may_not_be_asked_for(
    fields: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Listen(**fields)


@pytest.mark.parametrize(
    ("listeners", "error", "says"),
    [
        (8000, TypeError, "listeners must be a tuple or list, not 8000"),
        ([8000], TypeError, r"listeners\[0\] must be a Listen, not 8000"),
        ([Listen(1), Listen(1, backlog=3)], ValueError, r"listeners\[1\]: \*:1 is there twice"),
        ([Listen(path="s"), Listen(path="s")], ValueError, "s is there twice"),
    ],
)
def test_listeners_of_a_supervisor(listeners: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Supervisor(listeners=listeners)


def test_ports_that_differ() -> None:
    tree = Supervisor(
        listeners=[Listen(0), Listen(0), Listen(1), Listen(1, host="::1")],
        children=[Child("web", "app:web")],
    )
    assert 4 == len(tree.listeners)
