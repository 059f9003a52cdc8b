"""Failed asks as data: there and back, whatever the exception is, whatever the map holds."""

from __future__ import annotations

import errno
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster._link import failure
from actorcluster._link.failure import (
    failure_map,
    frames_of,
    os_error,
    raise_failure,
    text_of,
    traceback_text,
    written,
)
from actorcluster.errors import (
    HandleError,
    MessageTooLarge,
    NoSuchActor,
    NotHandled,
    PeerClosed,
    RemoteError,
)
from actorcluster.wire._generated import ErrorCode
from actorcluster.wire.values import Values


def caught(exc: BaseException) -> BaseException:
    """The same exception with a traceback."""
    try:
        raise exc
    except BaseException as raised:  # noqa: BLE001 (KeyboardInterrupt is a case)
        return raised


def returned(error: Any) -> BaseException:
    """What the asker sees."""
    with pytest.raises(BaseException) as info:
        raise_failure(error, PeerClosed)
    return info.value


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def deep(depth: int) -> None:
    deep(depth + 1)


def recursion() -> BaseException:
    try:
        deep(0)
    except RecursionError as exc:
        return exc
    raise AssertionError


@pytest.mark.parametrize(
    ("exc", "code", "message", "kind"),
    [
        (ValueError("no good"), "app", "no good", "ValueError"),
        (KeyboardInterrupt(), "app", "", "KeyboardInterrupt"),
        (RemoteError("further away", code="custom"), "custom", "further away", None),
        (RemoteError("x", code="\ud800"), "?", "x", None),
        (ValueError("\ud800 alone"), "app", "? alone", "ValueError"),
        (Silent(), "app", "(an exception without a text)", f"{__name__}.Silent"),
        (FileNotFoundError(errno.ENOENT, "none"), "os.ENOENT", "[Errno 2] none", None),
        (OSError("without a number"), "app", "without a number", "OSError"),
        (OSError(99999, "unknown"), "app", "[Errno 99999] unknown", "OSError"),
        (
            ExceptionGroup("two", [ValueError("a"), KeyError("b")]),
            "app",
            "two (2 sub-exceptions)",
            "ExceptionGroup",
        ),
    ],
)
def test_failures_are_data(exc: BaseException, code: str, message: str, kind: str | None) -> None:
    error = failure_map(caught(exc))
    assert (code, message) == (error["code"], error["message"])
    assert kind in (None, error["remote"]["type"])
    assert "python" == error["remote"]["lang"]
    assert any("raise exc" in line for line in error["remote"]["stack"])
    assert error == Values().decode(Values().encode(error).payload)


def test_a_long_traceback_is_cut_in_the_middle() -> None:
    """Both ends are worth having."""
    exc = RecursionError("x" * 30_000)
    error = failure_map(caught(exc))
    stack = error["remote"]["stack"]
    assert "Traceback (most recent call last):" == stack[0]
    assert "  [...]" in stack
    assert "xxx" in stack[-1]
    assert 17_000 > sum(map(len, stack))
    assert failure_map(recursion())["remote"]["stack"]


def test_a_failure_comes_back() -> None:
    exc = returned(failure_map(caught(ValueError("no good"))))
    assert type(exc) is RemoteError
    assert ("app", "ValueError", "no good", ()) == (exc.code, exc.type, exc.text, exc.path)
    assert "ValueError: no good" == str(exc)
    assert exc.traceback is not None
    assert exc.traceback.endswith("ValueError: no good")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (ErrorCode.REFUSED, PeerClosed),
        (ErrorCode.STOPPING, PeerClosed),
        (ErrorCode.CONNECTION_LOST, PeerClosed),
        (ErrorCode.HANDLE_LOST, HandleError),
        (ErrorCode.UNSUPPORTED_HANDLE, HandleError),
        (ErrorCode.NOT_HANDLED, NotHandled),
        (ErrorCode.NO_SUCH_ACTOR, NoSuchActor),
        (ErrorCode.TOO_LARGE, RemoteError),
        ("com.example.own", RemoteError),
    ],
)
def test_what_codes_mean(code: str, kind: type[Exception]) -> None:
    assert kind is type(returned({"code": code, "message": "text"}))
    assert "text" in str(returned({"code": code, "message": "text"}))
    assert str(returned({"code": code})) in ("", code)


@pytest.mark.parametrize(
    "error",
    [
        {},
        {"code": None, "message": None},
        {"code": 7, "message": 7, "remote": 7, "path": 7},
        {"code": "app", "remote": {"type": 7, "stack": 7}, "path": {"a": 1}},
        {"code": "app", "remote": {"stack": [1, None]}, "path": [1, "x", 2]},
    ],
)
def test_a_map_with_anything_in_it(error: Any) -> None:
    """A peer may be written in any language, and badly."""
    exc = returned(error)
    assert isinstance(exc, RemoteError)
    assert exc.type is None
    assert exc.path in ((), (1, 2))


def test_too_large_for_the_one_it_was_passed_on_to() -> None:
    exc = returned({"code": ErrorCode.TOO_LARGE, "data": {"size": 9, "limit": 8}})
    assert isinstance(exc, MessageTooLarge)
    assert (9, 8) == (exc.size, exc.limit)
    for data in (None, {}, {"size": "9", "limit": 8}, {"size": 9}):
        exc = returned({"code": ErrorCode.TOO_LARGE, "message": "x", "data": data})
        assert RemoteError is type(exc)
    assert RemoteError is type(returned({"code": "app", "data": {"size": 9, "limit": 8}}))
    answer = {"code": ErrorCode.TOO_LARGE, "data": {"size": 9, "limit": 8}}
    for more in ({"remote": {"type": "x"}}, {"path": [0]}):  # of a message that did arrive
        assert RemoteError is type(returned({**answer, **more}))


def test_traceback_text() -> None:
    assert None is traceback_text({})
    assert "a\nb" == traceback_text({"stack": ["a", "b"]})


def test_os_errors() -> None:
    exc = os_error({"code": "os.EADDRINUSE"}, "port 80")
    assert isinstance(exc, OSError)
    assert (errno.EADDRINUSE, "port 80") == (exc.errno, exc.filename)
    for code in ("app", "os.", "os.ENOSUCHTHING", "os.errorcode", "EADDRINUSE", 7, None):
        assert None is os_error({"code": code}, "")
    assert None is os_error({}, "")


def test_no_reference_to_the_exception_is_kept() -> None:
    exc = ValueError("x")
    before = sys.getrefcount(exc)
    failure_map(exc)
    assert before == sys.getrefcount(exc)


def noted(exc: BaseException) -> str:
    """What is written of a note."""
    frames = frames_of(exc)
    assert frames is not None
    return written(frames, type(exc), text_of(exc))


def raised_by(act: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as info:
        act()
    return info.value


class OfAScript(Exception):
    __module__ = "__main__"


def nested() -> None:
    def inner(depth: int) -> None:
        if depth:
            inner(depth - 1)
        raise OfAScript("one\ntwo")

    inner(5)


def thrown() -> None:
    async def main() -> None:
        pass

    main().throw(KeyError("x"))


@pytest.mark.parametrize(
    "act",
    [
        nested,
        thrown,
        lambda: [int("ä"), int("x")],
        lambda: {"a": 1}["nothing"],
        lambda: exec("1 / 0", {}),
        "\udc80".encode,
        lambda: open("/nonexistent"),
        lambda: sys.exit(3),
    ],
)
def test_a_note_says_what_a_traceback_says(act: Callable[[], object]) -> None:
    exc = raised_by(act)
    assert "".join(traceback.format_exception(exc)).removesuffix("\n") == noted(exc)


class Empty(Exception):
    def __len__(self) -> int:
        return 0


def test_what_is_more_than_a_note_is_not_noted() -> None:
    """Who raised because of another says so, also where the other counts as false."""
    for cause, context in ((Empty(), None), (None, Empty())):
        exc = caught(ValueError("x"))
        exc.__cause__, exc.__context__ = cause, context
        exc.__suppress_context__ = cause is not None
        assert frames_of(exc) is None
    with_note = caught(ValueError("x"))
    with_note.add_note("more")
    assert frames_of(with_note) is None


def test_both_ends_of_a_deep_stack_are_noted() -> None:
    """Of each frame a note would take more than the page."""
    exc = recursion()
    assert 66 > len(frames_of(exc) or ())
    lines = noted(exc).splitlines()
    expected = "".join(traceback.format_exception(exc)).splitlines()
    assert expected[:6] == lines[:6]
    assert expected[-1] == lines[-1]
    assert 1 == lines.count("  [...]")


PACKAGE = Path(actorcluster.__file__).parent
CALLERS = {
    "a room of ours": PACKAGE / "_worker/runtime.py",
    "another": PACKAGE / "_link/answering.py",
    "Trio": Path(trio.__file__).parent / "_core/_run.py",
    "the standard library": Path(os.__file__).parent / "contextlib.py",
    "imports": "<frozen importlib._bootstrap>",
}
USERS = {
    "a script": "/home/somebody/script.py",
    "python -c": "<string>",
    "a command of ours": PACKAGE / "cli/demo.py",
    "installed": Path(os.__file__).parent / "site-packages/somebodys/package.py",
    "installed by Debian": "/usr/lib/python3/dist-packages/somebodys.py",
}


def stack_of(*filenames: object) -> BaseException:
    """An exception that was raised in the last of these files, which the one before has called."""
    code = "def called():\n    raise ValueError('x')"
    called: Any = None
    for filename in reversed(filenames):
        names = {"call": called}
        exec(compile(code, str(filename), "exec"), names)
        code, called = "def called():\n    call()", names["called"]
    exc = raised_by(called)
    assert exc.__traceback__ is not None
    exc.__traceback__ = exc.__traceback__.tb_next  # not with our own call
    return exc


def files_in(text: str) -> list[str]:
    return [line.split('"')[1] for line in text.splitlines() if line.startswith("  File ")]


@pytest.mark.parametrize("user", USERS)
def test_a_traceback_begins_with_the_users_function(user: str) -> None:
    """What that has called stays, whosever it is."""
    ours, theirs = list(map(str, CALLERS.values())), str(USERS[user])
    exc = stack_of(*ours, theirs, *ours)
    for text in ("\n".join(failure_map(exc)["remote"]["stack"]), noted(exc)):
        assert [theirs, *ours] == files_in(text)


def test_what_failed_before_the_users_function_is_told_whole() -> None:
    ours = list(map(str, CALLERS.values()))
    exc = stack_of(*ours)
    for text in ("\n".join(failure_map(exc)["remote"]["stack"]), noted(exc)):
        assert ours == files_in(text)


def a_module(path: Path, lines: int) -> CodeType:
    filler = "\n" * lines
    path.write_text(f"{filler}def f(x):\n    return (x /\n        (1 - 1)\n    )\nf(3)\n")
    linecache.checkcache(str(path))
    return compile(path.read_text(), path, "exec")


@pytest.mark.parametrize("content", [None, "", "x\n", "\n" * 30 + "x\n" * 30, "ä" * 9 + "\n" * 40])
def test_a_source_that_changes_before_it_is_read(content: str | None, tmp_path: Path) -> None:
    """It was in the cache, too: who wrote a traceback of it left it there."""
    path = tmp_path / "module.py"
    code = a_module(path, 30)
    exc = raised_by(lambda: exec(code, {}))
    frames = frames_of(exc)
    assert frames is not None
    assert "return (x /" in written(frames, type(exc), "x")
    path.unlink() if content is None else path.write_text(content)
    later = written(frames, type(exc), "x")
    assert "return (x /" not in later
    assert f'File "{path}", line 32, in f' in later
    assert later.endswith("ZeroDivisionError: x")


def test_a_traceback_that_somebody_made() -> None:
    """As template engines do, with instructions that are nowhere in the code."""
    for last in (-1, 10**6):
        exc = ValueError("x")
        exc.__traceback__ = TracebackType(None, sys._getframe(), last, 1)
        assert noted(exc).endswith("ValueError: x")


def test_of_an_exit_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hook hears of it, which would keep all frames that it went through."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(SystemExit):
        failure.raise_at_end(SystemExit(3))
    assert sys.__excepthook__ is sys.excepthook
    with pytest.raises(ArithmeticError):
        failure.raise_at_end(ArithmeticError())
    assert sys.__excepthook__ is not sys.excepthook
