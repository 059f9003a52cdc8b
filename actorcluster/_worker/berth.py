"""A cancel scope for mains that follow each other in one Trio task.

Runs in: primary

Making, entering and leaving a scope takes a sixth of the time of a life that crashes at once. One
that nobody has cancelled is as good as new for the next main, and serves until somebody has.
"""

from __future__ import annotations

from typing import Any, Final, final

import trio

__all__ = ["SPENT", "Berth"]

#: What an actor whose main has ended has for a scope: to cancel it does nothing to anybody.
SPENT: Final = trio.CancelScope()


@final
class Berth:
    """Of the Trio task that makes it, and to be left by that: `leave` comes last.

    Attributes:
        task: that.
        is_clean: nobody has cancelled the scope, and the last main has left the task in no other.
        is_empty: the task is in no scope of it.
    """

    def __init__(self) -> None:
        self.task = trio.lowlevel.current_task()
        self._scope: trio.CancelScope | None = None
        self._status: Any = None

    def enter(self) -> trio.CancelScope:
        """Give a scope that the task is in."""
        if self._scope is None:
            self._scope = trio.CancelScope()
            self._scope.__enter__()
            #: what Trio knows the innermost scope of a task by; None where it does not say.
            self._status = getattr(self.task, "_cancel_status", None)
        return self._scope

    @property
    def is_clean(self) -> bool:
        status = self._status
        if status is None or getattr(status, "effectively_cancelled", True):
            return False
        return status is self.task._cancel_status

    @property
    def is_empty(self) -> bool:
        return self._scope is None

    def leave(self, error: BaseException | None = None) -> BaseException | None:
        """Leave the scope, if the task is in one.

        Args:
            error: what its block is left with.

        Returns:
            What becomes of that outside of it.
        """
        scope, self._scope = self._scope, None
        if scope is None:
            return error
        try:
            trace = None if error is None else error.__traceback__
            is_caught = scope.__exit__(None if error is None else type(error), error, trace)
        except BaseException as exc:  # noqa: BLE001  (as the end of the block would raise)
            return exc
        return None if is_caught else error
