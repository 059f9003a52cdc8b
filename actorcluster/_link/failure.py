"""A failed ask as data: exception -> error map at the callee, error map -> exception at the asker.

Runs in: both
"""

from __future__ import annotations

import errno
import functools
import linecache
import os
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final, NoReturn

from ..errors import (
    HandleError,
    MessageTooLarge,
    NoSuchActor,
    NotHandled,
    PeerClosed,
    RemoteError,
)
from ..wire._generated import ErrorCode

__all__ = ["failure_map", "os_error", "raise_failure", "remote_details", "stack_of", "text_of"]

#: A longer traceback is cut in the middle, so that a recursion error stays a small message.
_TRACEBACK_LIMIT: Final = 16_384

#: Their tracebacks hold more than a stack and a text: other exceptions, lines, suggestions.
_MORE_TO_SAY: Final = (BaseExceptionGroup, SyntaxError, NameError, AttributeError, ImportError)

_OS_PREFIX: Final = "os."

#: Codes that mean "nobody took the ask": the peer is leaving, or has left.
_PEER_CLOSED: Final = frozenset({ErrorCode.REFUSED, ErrorCode.STOPPING, ErrorCode.CONNECTION_LOST})


def type_name(exc: BaseException) -> str:
    """Name an exception's class: bare for builtins, dotted otherwise."""
    kind = type(exc)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def remote_details(exc: BaseException) -> dict[str, Any]:
    """Describe an exception for the other side: class name, language, traceback text."""
    text = _cut("".join(traceback.format_exception(exc)))
    return {"type": type_name(exc), "lang": "python", "stack": text.splitlines()}


def _cut(text: str) -> str:
    """Leave out the middle of what is too long, and what UTF-8 cannot carry."""
    if len(text) > _TRACEBACK_LIMIT:
        half = _TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n  [...]\n{text[-half:]}"
    return _clean(text)


def stack_of(exc: BaseException, text: str) -> Callable[[], str] | None:
    """Note where an exception was raised, to be written down when somebody wants to read it.

    Neither the exception nor a frame, and what these hold, is kept; a note takes a hundredth of
    the time that the text takes.

    Args:
        exc: which.
        text: what it says, see `text_of`.

    Returns:
        Gives the traceback as text. None: there is more to say about this exception than where
        and what, so it has to be written down now.
    """
    is_linked = exc.__cause__ or (exc.__context__ and not exc.__suppress_context__)
    if is_linked or isinstance(exc, _MORE_TO_SAY) or "__notes__" in exc.__dict__:
        return None
    frames = []
    link = exc.__traceback__
    while link is not None:
        code = link.tb_frame.f_code
        frames.append((code, link.tb_lasti, link.tb_lineno, link.tb_frame.f_globals))
        link = link.tb_next
    return functools.partial(_written, frames, type(exc), text)


def _written(
    frames: Sequence[tuple[types.CodeType, int, int, dict[str, Any]]],
    kind: type[BaseException],
    text: str,
) -> str:
    """Write down what `stack_of` has noted."""
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    stack = []
    for code, last, line, its_globals in frames:
        linecache.lazycache(code.co_filename, its_globals)
        _, end_line, column, end_column = next(islice(code.co_positions(), last // 2, None))
        stack.append(
            traceback.FrameSummary(
                code.co_filename,
                line,
                code.co_name,
                end_lineno=end_line,
                colno=column,
                end_colno=end_column,
            )
        )
    lines = traceback.StackSummary.from_list(stack).format()
    last_line = f"{name}: {text}" if text else name
    return _cut("".join(["Traceback (most recent call last):\n", *lines, last_line]))


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
    match error.get("data"):
        case {"size": int() as size, "limit": int() as limit} if code == ErrorCode.TOO_LARGE:
            raise MessageTooLarge(size, limit)  # for the one to whom the primary passed it on
    remote = error.get("remote")
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
        return _clean(str(exc))
    except Exception:  # noqa: BLE001  (it is the user's, and here nobody could handle it)
        return "(an exception without a text)"


def _clean(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot carry."""
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")
