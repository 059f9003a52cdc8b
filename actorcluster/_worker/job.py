"""What an actor that is a task runs: a function of this process, and its arguments.

Runs in: primary
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias, final

from ..wire.values import RefAdapter
from .arguments import decode_arguments, encode_arguments
from .targets import Target, find_target

__all__ = ["Job", "Main"]

Main: TypeAlias = Callable[..., Awaitable[object]]


@final
class Job:
    """What a task runs: the function is looked up once, the arguments are made anew each time.

    Args:
        target: checked.
        args: of the function, behind the actor.
        refs: how a `Ref` among them travels.

    Raises:
        TypeError: an argument is not a body value.
        ValueError: the arguments are too large.
    """

    def __init__(self, target: Target, args: Sequence[Any], *, refs: RefAdapter) -> None:
        self._target = target
        self._payloads = encode_arguments(target, args, refs)
        self._main: Main | None = None

    def load(self, refs: RefAdapter) -> tuple[Main, Sequence[Any]]:
        """Give the function and its arguments, in which a `Ref` is what ``refs`` makes of it.

        Raises:
            Exception: whatever the application's code raises while it is imported.
        """
        if self._main is None:
            self._main = find_target(self._target)
        return self._main, decode_arguments(self._payloads, refs) if self._payloads else ()
