"""The arguments of a target: encoded when the worker is asked for, decoded inside it.

Runs in: both

They travel as bytes, each by itself, so what the caller does to a list afterwards changes nothing,
and what is wrong with a value is found at the call.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from .._link.handles import HANDLES
from ..wire.sendable import PLAIN, SENDABLE
from ..wire.values import RefAdapter, Values

__all__ = ["decode_arguments", "encode_arguments"]

#: Together, bytes: they travel in WELCOME, one frame that the worker takes before it has named its
#: limits.
MAX_ARGUMENTS: Final = 512 * 1024


def encode_arguments(what: object, args: Iterable[object], refs: RefAdapter | None) -> list[bytes]:
    """Encode what a main function gets after the actor.

    Args:
        what: the target, to be named in errors.
        args: body values without handles.
        refs: how a `Ref` travels.

    Raises:
        TypeError: one is not a body value, or holds a handle.
        ValueError: together they are too large.
    """
    values = Values(handles=HANDLES, refs=refs)
    payloads = []
    for index, arg in enumerate(args):
        name = f"args[{index}]"
        try:
            encoded = values.encode(arg)
        except TypeError as exc:
            problem = str(exc).replace(SENDABLE, f"{PLAIN}, Ref").replace("body", name, 1)
            problem = problem if problem.startswith(name) else f"{name}: {problem}"
            raise TypeError(f"cannot run {what} in a worker: {problem}") from None
        if encoded.handles:
            problem = f"{name} holds a handle; send it in a message, once the worker runs"
            raise TypeError(f"cannot run {what} in a worker: {problem}")
        payloads.append(bytes(encoded.payload))
    values.shrink()
    if (size := sum(map(len, payloads))) > MAX_ARGUMENTS:
        problem = f"its arguments have {size} bytes, more than {MAX_ARGUMENTS}; send them instead"
        raise ValueError(f"cannot run {what} in a worker: {problem}")
    return payloads


def decode_arguments(payloads: Iterable[bytes], refs: RefAdapter) -> list[Any]:
    """Read what `encode_arguments` wrote; ``refs`` says what a `Ref` is here."""
    values = Values(refs=refs)
    return [values.decode(payload) for payload in payloads]
