from __future__ import annotations

import pathlib
import re
import sys
from typing import Any, Literal

import attrs
import pytest

from actorcluster._worker.settings import Settings, choose_start_method


def test_defaults() -> None:
    expected: dict[str, Any] = {
        "exec": None,
        "args": (),
        "exec_argv": None,
        "cwd": None,
        "env": {},
        "silent": False,
        "stdio": None,
        "stderr": "inherit",
        "uid": None,
        "gid": None,
        "start_method": "auto",
        "channel": "fd",
        "lane": None,
        "preload": (),
        "mailbox_size": 4 * 1024 * 1024,
        "max_message": 16 * 1024 * 1024,
        "listen_fds": {},
    }
    assert expected == attrs.asdict(Settings(), recurse=False)


GOOD: list[tuple[str, Any, Any]] = [
    ("exec", "worker.py", "worker.py"),
    ("exec", pathlib.Path("a/worker.py"), "a/worker.py"),
    ("exec", ("node", "worker.js"), ("node", "worker.js")),
    ("exec", ["node", "worker.js"], ("node", "worker.js")),
    ("args", ["--use", ""], ("--use", "")),
    ("exec_argv", [], ()),
    ("exec_argv", ("-X", "dev"), ("-X", "dev")),
    ("cwd", "/", "/"),
    ("cwd", pathlib.Path("/tmp"), "/tmp"),
    ("env", {"A": "1", "B": None}, {"A": "1", "B": None}),
    ("silent", True, True),
    ("stdio", [], ()),
    ("stdio", ["pipe", 2], ("pipe", 2)),
    ("stdio", "pipe", ("pipe", "pipe", "pipe")),
    ("stdio", ["pipe"] * 16, ("pipe",) * 16),
    ("stdio", ("ignore", sys.stdout, "inherit"), ("ignore", sys.stdout, "inherit")),
    ("stderr", "capture", "capture"),
    ("uid", 0, 0),
    ("gid", 2**32 - 2, 2**32 - 2),
    ("start_method", "forkserver", "forkserver"),
    ("preload", ["json", "app.models"], ("json", "app.models")),
    ("mailbox_size", 65536, 65536),
    ("max_message", 65536, 65536),
    ("listen_fds", {"http": 3}, {"http": 3}),
    ("listen_fds", [3, 4], (3, 4)),
    ("listen_fds", "systemd", "systemd"),
]


@pytest.mark.parametrize(("field", "value", "stored"), GOOD)
def test_good_values(field: str, value: Any, stored: Any) -> None:
    assert stored == getattr(Settings(**{field: value}), field)
    assert stored == getattr(Settings().merged(**{field: value}), field)


BAD: list[tuple[str, Any, type[Exception], str]] = [
    ("exec", 5, TypeError, "exec must be None, the path of a Python script, or a whole command"),
    ("exec", "", ValueError, "exec must be a non-empty str, not ''"),
    ("exec", "a\0b", ValueError, r"exec must be without NUL characters, not 'a\x00b'"),
    ("exec", (), ValueError, "exec must be a command line that begins with a program, not ()"),
    ("exec", ("",), ValueError, "exec must be a command line that begins with a program"),
    ("exec", ("node", 1), TypeError, "exec[1] must be a str, not 1"),
    ("args", "--use", TypeError, "args must be a tuple or list of str, not '--use'"),
    ("args", None, TypeError, "args must be a tuple or list of str, not None"),
    ("args", ["a", b"b"], TypeError, "args[1] must be a str, not b'b'"),
    ("args", ["a\0"], ValueError, "args[0] must be without NUL"),
    ("exec_argv", "-O", TypeError, "exec_argv must be a tuple or list of str, not '-O'"),
    ("exec_argv", [1], TypeError, "exec_argv[0] must be a str, not 1"),
    ("cwd", "", ValueError, "cwd must be a non-empty str"),
    ("cwd", b"/", TypeError, "cwd must be a str, not b'/'"),
    ("env", None, TypeError, "env must be a mapping of str to str or None, not None"),
    ("env", [("A", "1")], TypeError, "env must be a mapping"),
    ("env", {1: "1"}, TypeError, "env key must be a str, not 1"),
    ("env", {"": "1"}, ValueError, "env key must be a non-empty str"),
    ("env", {"A=B": "1"}, ValueError, "env key must be without '=', not 'A=B'"),
    ("env", {"A": 1}, TypeError, "env['A'] must be a str, not 1"),
    ("env", {"A": "\0"}, ValueError, "env['A'] must be without NUL"),
    ("silent", 1, TypeError, "silent must be a bool, not 1"),
    ("stdio", 2, TypeError, "stdio must be None or a list with entries for fds 0, 1, 2 ..., not"),
    ("stdio", "pope", ValueError, "stdio must be 'inherit', 'pipe', 'ignore' or a list, not 'po"),
    ("stdio", ["pipe"] * 17, ValueError, "stdio must be at most 16 entries"),
    ("stdio", [*["pipe"] * 3, "ipc"], ValueError, "stdio[3] must be 'inherit', 'pipe', 'ignore'"),
    ("stdio", ["pope"], ValueError, "stdio[0] must be 'inherit', 'pipe', 'ignore', an fd number"),
    ("stdio", [None], TypeError, "stdio[0] must be 'inherit', 'pipe', 'ignore', an fd number"),
    ("stdio", ["pipe", -1], ValueError, "stdio[1] must be an int of at least 0, not -1"),
    ("stderr", "pipe", ValueError, "stderr must be 'inherit' or 'capture', not 'pipe'"),
    ("stderr", None, TypeError, "stderr must be 'inherit' or 'capture', not None"),
    ("stdio", [True], TypeError, "stdio[0] must be an int of at least 0, not True"),
    ("uid", -1, ValueError, "uid must be an int from 0 to 4294967294, not -1"),
    ("uid", "root", TypeError, "uid must be an int from 0 to 4294967294, not 'root'"),
    ("gid", 2**32 - 1, ValueError, "gid must be an int from 0 to 4294967294, not 4294967295"),
    ("gid", False, TypeError, "gid must be an int"),
    ("lane", "bun", ValueError, "lane must be None or 'node'"),
    ("lane", 3, TypeError, "lane must be None or 'node'"),
    ("channel", "tcp", ValueError, "channel must be 'fd' or 'unix'"),
    ("channel", None, TypeError, "channel must be 'fd' or 'unix'"),
    ("start_method", "fork", ValueError, "start_method must be 'auto', 'forkserver' or 'exec'"),
    ("start_method", None, TypeError, "start_method must be 'auto', 'forkserver' or 'exec'"),
    ("preload", "json", TypeError, "preload must be a tuple or list of str"),
    ("preload", ["json", ""], ValueError, "preload[1] must be the full name of a module, not ''"),
    ("preload", ["a/b.py"], ValueError, "preload[0] must be the full name of a module"),
    ("mailbox_size", 65535, ValueError, "mailbox_size must be an int of at least 65536, not 65535"),
    ("mailbox_size", "4M", TypeError, "mailbox_size must be an int of at least 65536, not '4M'"),
    ("mailbox_size", 1e6, TypeError, "mailbox_size must be an int of at least 65536"),
    ("max_message", 1, ValueError, "max_message must be an int of at least 65536, not 1"),
    ("max_message", True, TypeError, "max_message must be an int of at least 65536, not True"),
    ("listen_fds", 3, TypeError, "listen_fds must be a mapping of names to fds, a sequence of fds"),
    ("listen_fds", "init", ValueError, "sequence of fds, or 'systemd', not 'init'"),
    ("listen_fds", [-1], ValueError, "listen_fds[0] must be an int of at least 0, not -1"),
    ("listen_fds", {"": 3}, ValueError, "listen_fds key must be a non-empty str"),
    ("listen_fds", {"http": "3"}, TypeError, "listen_fds['http'] must be an int of at least 0"),
]


@pytest.mark.parametrize(("field", "value", "error", "text"), BAD)
def test_bad_values(field: str, value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)) as caught:
        Settings(**{field: value})
    assert error is type(caught.value)
    with pytest.raises(error, match=re.escape(text)):
        Settings().merged(**{field: value})


def test_is_frozen_and_keeps_no_reference_to_what_it_was_given() -> None:
    env: dict[str, str | None] = {"A": "1"}
    args = ["a"]
    settings = Settings(env=env, args=args)
    env["B"] = "2"
    args.append("b")
    assert Settings(env={"A": "1"}, args=("a",)) == settings
    with pytest.raises(TypeError):
        settings.env["C"] = "3"  # type: ignore[index]  # wrong on purpose
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.args = ()  # type: ignore[misc]  # wrong on purpose


def test_merged_is_cumulative() -> None:
    first = Settings().merged(args=["--use", "https"], silent=True)
    second = first.merged(args=["--use", "http"])
    assert Settings(args=("--use", "https"), silent=True) == first
    assert Settings(args=("--use", "http"), silent=True) == second
    assert second == second.merged()


def test_merged_replaces_mappings_whole() -> None:
    settings = Settings(env={"A": "1"}).merged(env={"B": "2"})
    assert Settings(env={"B": "2"}) == settings


def test_merged_lists_what_is_known() -> None:
    with pytest.raises(TypeError, match="no such setting: 'execArgv', 'shell'; there are: exec, "):
        Settings().merged(execArgv=(), silent=True, shell=True)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), ("inherit", "inherit", "inherit")),
        (Settings(silent=True), ("inherit", "pipe", "pipe")),
        (Settings(silent=True, stdio=()), ("inherit", "inherit", "inherit")),
        (Settings(stdio=("ignore",)), ("ignore", "inherit", "inherit")),
        (Settings(stdio=("pipe", 7, "ignore")), ("pipe", 7, "ignore")),
        (
            Settings(stderr="capture", stdio=("ignore", 7, "inherit", "pipe", 9)),
            ("ignore", 7, "capture", "pipe", 9),
        ),
        (Settings(stderr="capture"), ("inherit", "inherit", "capture")),
        (Settings(stderr="capture", stdio=("ignore", "pipe")), ("ignore", "pipe", "capture")),
        (Settings(stderr="capture", silent=True, stdio=()), ("inherit", "inherit", "capture")),
    ],
)
def test_stdio_plan(settings: Settings, expected: tuple[object, ...]) -> None:
    assert expected == settings.stdio_plan


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ({"silent": True}, "silent=True makes it a pipe"),
        ({"stdio": ["inherit", "inherit", "pipe"]}, "stdio[2] is 'pipe'"),
        ({"stdio": ["inherit", "inherit", 7]}, "stdio[2] is 7"),
    ],
)
def test_a_stderr_that_goes_elsewhere_cannot_be_captured(others: Any, why: str) -> None:
    with pytest.raises(ValueError, match=f"^stderr='capture' cannot be kept: {re.escape(why)}"):
        Settings(stderr="capture", **others)
    with pytest.raises(ValueError, match=re.escape(why)):
        Settings(**others).merged(stderr="capture")


Form = Literal["function", "name", "script"]
COMMAND = ("node", "worker.js")

START: list[tuple[Settings, Form, bool, str, str | None]] = [
    (Settings(), "function", True, "forkserver", None),
    (Settings(), "name", False, "exec", "the fork server is not available: no clone here"),
    (Settings(exec_argv=("-O",)), "name", True, "exec", "exec_argv=('-O',) needs an interpreter"),
    (Settings(exec_argv=()), "name", True, "exec", "exec_argv=() needs an interpreter of its own"),
    (Settings(exec="worker.py"), "script", True, "forkserver", None),
    (Settings(exec=COMMAND), "script", True, "exec", "exec is a command line of its own, ('node',"),
    (Settings(exec=COMMAND), "function", True, "forkserver", None),
]


@pytest.mark.parametrize(("settings", "form", "available", "method", "reason"), START)
def test_start_method(
    settings: Settings, form: Form, available: bool, method: str, reason: str | None
) -> None:
    chosen, why = choose_start_method(settings, form, available=available, why_not="no clone here")
    assert method == chosen
    assert (reason is None) == (why is None)
    assert (reason or "") in (why or "")
    strict = settings.merged(start_method="forkserver")
    expected: tuple[str, str | None] = ("forkserver", None)
    if reason is None:
        assert expected == choose_start_method(strict, form, available=available, why_not="")
    else:
        text = re.escape(f"start_method='forkserver' cannot be kept: {reason}")
        with pytest.raises(ValueError, match=text) as caught:
            choose_start_method(strict, form, available=available, why_not="no clone here")
        assert "use 'auto' or 'exec'" in str(caught.value)
    plain = settings.merged(start_method="exec")
    expected = ("exec", None)
    assert expected == choose_start_method(plain, form, available=available, why_not="")
