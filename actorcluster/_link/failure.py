"""A failed ask as data: exception -> error map at the callee, error map -> exception at the asker.

Runs in: both

A traceback begins at the user's function: how we have come to call that helps nobody. Where no such
function is in it, it is ours that failed, and all is told.
"""

from __future__ import annotations

import errno
import inspect
import linecache
import os
import sys
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

import trio

from ..errors import (
    HandleError,
    MessageTooLarge,
    NoSuchActor,
    NotHandled,
    PeerClosed,
    RemoteError,
)
from ..wire._generated import ErrorCode

__all__ = [
    "Noted",
    "failure_map",
    "frames_of",
    "os_error",
    "raise_at_end",
    "raise_failure",
    "remote_details",
    "since_user",
    "text_of",
    "written",
]

#: The code of a frame, which instruction it was at, on which line, and its globals.
Noted: TypeAlias = tuple[types.CodeType, int, int, dict[str, Any]]

#: A longer traceback is cut in the middle, so that a recursion error stays a small message.
_TRACEBACK_LIMIT: Final = 16_384

#: Of a deeper stack only both ends are noted: else the notes take more memory than the page.
_MOST_NOTED: Final = 64

#: Their tracebacks hold more than a stack and a text: other exceptions, lines, suggestions.
_MORE_TO_SAY: Final = (BaseExceptionGroup, SyntaxError, NameError, AttributeError, ImportError)

#: What calls the user's code: our rooms, Trio, and the standard library, which imports it, too.
_ROOMS: Final = ("wire", "_link", "_worker", "_cluster", "adapters")
_PACKAGE: Final = Path(__file__).parent.parent
_CALLERS: Final = (
    *(f"{_PACKAGE / room}{os.sep}" for room in _ROOMS),
    f"{Path(inspect.getfile(trio)).parent}{os.sep}",
    f"{Path(os.__file__).parent}{os.sep}",
    "<frozen ",
)
#: Installed packages may lie inside of the standard library's directory, and are users'.
_INSTALLED: Final = tuple(f"{os.sep}{name}-packages{os.sep}" for name in ("site", "dist"))
_TRIO: Final = _CALLERS[len(_ROOMS)]

_OS_PREFIX: Final = "os."

#: Codes that mean "nobody took the ask": the peer is leaving, or has left.
_PEER_CLOSED: Final = frozenset({ErrorCode.REFUSED, ErrorCode.STOPPING, ErrorCode.CONNECTION_LOST})


def type_name(exc: BaseException) -> str:
    """Name an exception's class: bare for builtins, dotted otherwise."""
    return name_of(type(exc))


def name_of(kind: type[BaseException]) -> str:
    """Name a class as `type_name` does."""
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def since_user(exc: BaseException) -> types.TracebackType | None:
    """Give an exception's traceback from the user's function on; all of it if there is none."""
    link = exc.__traceback__
    while link is not None and _is_caller(link.tb_frame.f_code.co_filename):
        link = link.tb_next
    return link or exc.__traceback__


def _is_caller(filename: str) -> bool:
    if not filename.startswith(_CALLERS):
        return False
    is_installed = any(part in filename for part in _INSTALLED)
    return not is_installed or filename.startswith((_TRIO, *_CALLERS[: len(_ROOMS)]))


def raise_at_end(exc: BaseException) -> NoReturn:
    """Raise what main has raised, where nothing of the user's is left that could catch it.

    What the interpreter then writes, unless somebody has told it to do something else, begins at
    the user's function. Of `SystemExit` it writes nothing: a hook that is never called would keep
    it, and all frames that it went through, alive until modules are cleared (see ``spared``).
    """
    if isinstance(exc, SystemExit):
        raise exc
    begin = since_user(exc)

    def show(kind: Any, value: BaseException, stack: types.TracebackType | None) -> None:
        if value is exc:
            stack = begin
        sys.__excepthook__(kind, value.with_traceback(stack), stack)

    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = show
    raise exc


def remote_details(exc: BaseException) -> dict[str, Any]:
    """Describe an exception for the other side: class name, language, traceback text."""
    whole = traceback.TracebackException(type(exc), exc, since_user(exc), compact=True)
    text = _cut("".join(whole.format()))
    return {"type": type_name(exc), "lang": "python", "stack": text.splitlines()}


def _cut(text: str) -> str:
    """Leave out the middle of what is too long, and what UTF-8 cannot carry."""
    if len(text) > _TRACEBACK_LIMIT:
        half = _TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n  [...]\n{text[-half:]}"
    return _clean(text)


def frames_of(exc: BaseException) -> list[Noted | None] | None:
    """Note where an exception was raised, for `written` when somebody wants to read it.

    Neither the exception nor a frame, and what these hold, is kept; a note takes a hundredth of
    the time that the text takes.

    Args:
        exc: which.

    Returns:
        The innermost last, with None in the place of those that were left out. None: there is more
        to say about this exception than where and what, so it has to be written down now.
    """
    if exc.__cause__ is not None or isinstance(exc, _MORE_TO_SAY) or "__notes__" in exc.__dict__:
        return None
    if exc.__context__ is not None and not exc.__suppress_context__:
        return None
    frames: list[Noted | None] = []
    link = since_user(exc)
    while link is not None:
        code = link.tb_frame.f_code
        frames.append((code, link.tb_lasti, link.tb_lineno, link.tb_frame.f_globals))
        link = link.tb_next
    if len(frames) > _MOST_NOTED:
        frames[_MOST_NOTED // 2 : -_MOST_NOTED // 2] = [None]
    return frames


def written(frames: Sequence[Noted | None], kind: type[BaseException], text: str) -> str:
    """Write down as a traceback what `frames_of` has noted.

    Args:
        frames: that.
        kind: the exception's class.
        text: what it says, see `text_of`.
    """
    where, name = kind.__module__, kind.__qualname__
    name = name if where in ("__main__", "builtins") else f"{where}.{name}"
    for name_of_file in {frame[0].co_filename for frame in frames if frame is not None}:
        linecache.checkcache(name_of_file)  # it may have been read before it was changed
    lines = ["Traceback (most recent call last):\n"]
    stack = traceback.StackSummary()
    for frame in frames:
        if frame is None:
            lines += [*stack.format(), "  [...]\n"]
            stack.clear()
        else:
            stack.append(_summary(*frame))
    last_line = f"{name}: {text}" if text else name
    return _cut("".join([*lines, *stack.format(), last_line]))


def _summary(
    code: types.CodeType, last: int, line: int, its_globals: dict[str, Any]
) -> traceback.FrameSummary:
    """Describe one frame as a traceback does."""
    linecache.lazycache(code.co_filename, its_globals)
    _, end_line, column, end_column = _position(code, last)
    return traceback.FrameSummary(
        code.co_filename,
        line,
        code.co_name,
        end_lineno=end_line,
        colno=column,
        end_colno=end_column,
    )


def _position(code: types.CodeType, last: int) -> tuple[int | None, ...]:
    """Where an instruction stands in the source; a traceback that somebody made may name none."""
    positions = islice(code.co_positions(), last // 2, None) if last >= 0 else iter(())
    return next(positions, (None,) * 4)


def failure_map(exc: BaseException) -> dict[str, Any]:
    """Turn an exception into the error map of the wire.

    Returns:
        ``code``, ``message`` and ``remote``; an ``OSError`` travels as ``os.<ERRNO>``. A
        `RemoteError` that is passed on keeps its code.
    """
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno in errno.errorcode:
        code = _OS_PREFIX + errno.errorcode[exc.errno]
    elif isinstance(exc, NotHandled):
        code = str(ErrorCode.NOT_HANDLED)  # also one that a handler made to decline an ask
    elif isinstance(exc, RemoteError):
        code = _clean(str(exc.code))
    else:
        code = str(ErrorCode.APP)
    return {"code": code, "message": text_of(exc), "remote": remote_details(exc)}


def raise_failure(error: Mapping[str, Any], closed: Callable[[str], PeerClosed]) -> NoReturn:
    """Raise what an error map means to the asker.

    Args:
        error: as received; every key may be missing or of a wrong type.
        closed: makes the `PeerClosed` of this peer from a text.
    """
    code = str(error.get("code", ErrorCode.INTERNAL))
    text = str(error.get("message", ""))
    if code in _PEER_CLOSED:
        raise closed(text or code)
    if code in (ErrorCode.HANDLE_LOST, ErrorCode.UNSUPPORTED_HANDLE):
        raise HandleError(text or code)
    remote = error.get("remote")
    match error.get("data"):
        # For the one to whom the primary passed it on. With `remote` or `path` the answer was.
        case {"size": int() as size, "limit": int() as limit} if (
            code == ErrorCode.TOO_LARGE and remote is None and error.get("path") is None
        ):
            raise MessageTooLarge(size, limit)
    remote = remote if isinstance(remote, dict) else {}
    kind: type[RemoteError] = RemoteError
    if code == ErrorCode.NOT_HANDLED:
        kind = NotHandled
    elif code == ErrorCode.NO_SUCH_ACTOR:
        kind = NoSuchActor
    raise kind(
        text,
        code=code,
        type=remote.get("type") if isinstance(remote.get("type"), str) else None,
        traceback=traceback_text(remote),
        path=_path(error.get("path")),
    )


def _path(path: Any) -> tuple[int, ...]:
    return tuple(hop for hop in path if isinstance(hop, int)) if isinstance(path, list) else ()


def traceback_text(remote: Mapping[str, Any]) -> str | None:
    """Join the lines of a remote traceback, or None when there is none."""
    stack = remote.get("stack")
    return "\n".join(map(str, stack)) if isinstance(stack, list) else None


def os_error(error: Mapping[str, Any], what: str) -> OSError | None:
    """Make the ``OSError`` that an ``os.<ERRNO>`` error map stands for, or None."""
    number = errno_from(error)
    return None if number is None else OSError(number, os.strerror(number), what)


def errno_from(error: Mapping[str, Any]) -> int | None:
    """The number that an ``os.<ERRNO>`` error map stands for, or None."""
    code = str(error.get("code", ""))
    number = getattr(errno, code.removeprefix(_OS_PREFIX), None)
    return number if code.startswith(_OS_PREFIX) and isinstance(number, int) else None


def text_of(exc: BaseException) -> str:
    """Return an exception's text, whatever its ``__str__`` does."""
    try:
        text = str(exc)
        return text if text.isascii() else _clean(text)
    except Exception:  # noqa: BLE001  (it is the user's, and here nobody could handle it)
        return "(an exception without a text)"


def _clean(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot carry."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
