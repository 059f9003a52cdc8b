"""Lines of JSON, some with a descriptor: what goes through the channel of two Node processes.

Runs in: both

Theory of operation
===================

A message is one line: JSON in UTF-8, ended by a line feed. A descriptor travels with the first byte
of a line that says so (``"cmd":"NODE_HANDLE"``), one at a time, so descriptors and such lines are
matched first in, first out. The kernel may glue earlier lines to one with a descriptor, and cut any
line anywhere; neither matters here.

A text of JavaScript may hold half of a surrogate pair, as of an emoji that was cut in two, and its
JSON does so as an escape. No UTF-8 has that; it becomes U+FFFD, as wherever Node itself encodes.

What is read comes from another process, maybe of another author. A line is bounded, a number is
what JavaScript would have made of it, and whatever is wrong is a `RemoteProtocolError`: nothing
else leaves this file. Errors do not quote lines: they may hold secrets.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, final

from .._link.nodelines import HANDLE
from ..errors import RemoteProtocolError
from ..wire._generated import AbortCode

__all__ = ["LOST", "Lines", "encode_line", "is_internal", "violation"]

LOST: Final = -1
"""In the place of a descriptor that the kernel could not give us."""

_PREFIX: Final = "NODE_"
#: Digits that any whole number of 64 bits has; a longer one is beyond that.
_MOST_DIGITS: Final = 20
_LEAST_INT: Final = -(2**63)
_LARGEST_INT: Final = 2**64 - 1


def violation(
    requirement: str, text: str, code: AbortCode = AbortCode.PROTOCOL_ERROR
) -> RemoteProtocolError:
    """Make the error of a sentence in ``protocol/node-ipc.md``."""
    return RemoteProtocolError(text, requirement=requirement, code=code)


def is_internal(value: Any) -> bool:
    """Whether a message is for the runtime, and never seen by its program."""
    cmd = value.get("cmd") if type(value) is dict else None
    return type(cmd) is str and len(cmd) > len(_PREFIX) and cmd.startswith(_PREFIX)


# ---- in --------------------------------------------------------------------------------------


@final
class Lines:
    """Cuts what was read into messages.

    Args:
        longest: bytes of a line.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._partial = bytearray()
        self._fds: deque[int] = deque()

    def feed(
        self, data: bytes | bytearray | memoryview, fds: Sequence[int] = (), truncated: bool = False
    ) -> Iterator[tuple[Any, int | None]]:
        """Take in one read, message by message.

        Args:
            data: the bytes; not needed any more at the end.
            fds: descriptors that came with them, owned by this object from now on.
            truncated: whether the kernel dropped some.

        Yields:
            Each message that is complete, and what it has for a descriptor: None if it wants none,
            `LOST` if that is lost; else it is the caller's.

        Raises:
            RemoteProtocolError: something is wrong. Descriptors are had by `take_fds`.
        """
        self._fds.extend(fds)
        if len(fds) + truncated > 1:
            raise violation("NODE-3", "more than one descriptor at once")
        if truncated:
            self._fds.append(LOST)
        *complete, rest = self._cut(data)
        for line in complete:
            value = self._parse(line)
            yield value, self._fd_of(value)
        if len(self._fds) > bool(rest):
            raise violation("NODE-3", "a descriptor came with a line that is no NODE_HANDLE")

    def _cut(self, data: bytes | bytearray | memoryview) -> list[bytes | bytearray]:
        """Cut into lines; the last is what is not complete."""
        first, *others = bytes(data).split(b"\n")
        self._partial += first
        lines: list[bytes | bytearray] = [self._partial, *others]
        if max(map(len, lines)) > self._longest:
            text = f"a line of more than {self._longest} bytes"
            raise violation("NODE-1", text, AbortCode.LIMIT_EXCEEDED)
        if others:
            self._partial = bytearray(others[-1])
        return lines

    def _parse(self, line: bytes | bytearray) -> Any:
        try:
            return _DECODER.decode(_whole(line.decode()))
        except RecursionError:
            text = "a line that is nested too deeply"
        except UnicodeDecodeError as exc:
            text = f"a line of {len(line)} bytes that is no UTF-8 at byte {exc.start}"
        except json.JSONDecodeError as exc:  # whose own text quotes nothing
            text = f"a line of {len(line)} bytes that is no JSON: {exc.msg} at {exc.pos}"
        except ValueError as exc:
            text = f"a line of {len(line)} bytes that is no JSON: {exc}"
        raise violation("NODE-1", text)

    def _fd_of(self, value: Any) -> int | None:
        if not (is_internal(value) and value["cmd"] == HANDLE):
            return None
        return self._fds.popleft() if self._fds else LOST

    def take_fds(self) -> list[int]:
        """Take the descriptors that belong to nothing, for the caller to close."""
        fds = [fd for fd in self._fds if fd != LOST]
        self._fds.clear()
        return fds


#: Any escape: a pair of surrogates, half of one (which is the group), or another.
_ESCAPES: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)


def _whole(text: str) -> str:
    """Replace halves of surrogate pairs."""
    if "\\ud" in text or "\\uD" in text:
        return _ESCAPES.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
    return text


def _int(text: str) -> int | float:
    """As JavaScript has it: what is no number of 64 bits was a double there."""
    if len(text) <= _MOST_DIGITS and _LEAST_INT <= (number := int(text)) <= _LARGEST_INT:
        return number
    return float(text)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_int=_int, parse_constant=_refuse)


# ---- out -------------------------------------------------------------------------------------


def encode_line(value: Any) -> bytes:
    """Write a message as one line, what JSON does not have as ``JSON.stringify`` writes it.

    Bytes become what a ``Buffer`` becomes, a datetime what a ``Date`` becomes, and NaN null.

    Raises:
        TypeError: there is something in it that cannot be written.
    """
    try:
        text = _ENCODER.encode(value)
    except ValueError:  # NaN and its like: rare, and worth the walk only then
        text = _ENCODER.encode(_finite(value))
    return text.encode("utf-8", "replace") + b"\n"


def _other(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"type": "Buffer", "data": list(bytes(value))}
    if isinstance(value, datetime.datetime):
        in_utc = value.astimezone(datetime.UTC)
        return in_utc.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
    raise TypeError(f"a {type(value).__name__} in the body cannot be sent to a Node program")


_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_other
)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
