"""A message of the primary, or of another worker."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .awp_v1 import Code
from .events import CallReceived, TellReceived
from .handles import Handle, close_all
from .speaking import NotSendable, error_map

if TYPE_CHECKING:
    from .worker import Worker

_log = logging.getLogger("awp")


class Message:
    """What came: a message, or a call that is to be answered.

    Used in an `async with` block, it belongs to the task of that block: the task is cancelled when
    the caller cancels, or has waited for long enough; the end of the block answers a call that has
    no answer, and closes handles that nobody took. A call that is dropped is answered as well, with
    `not_handled`.

    Attributes:
        body: what was sent; `Handle` objects stand where the sender put them.
        handles: all handles that came along.
        sender: the id of the actor that sent it, None for the primary.
        name: of the worker that sent it.
    """

    def __init__(self, worker: Worker, event: TellReceived) -> None:
        self.body = event.body
        self.handles: Sequence[Handle] = event.handles
        self.sender = event.sender
        name = event.meta.get("name")
        self.name = name if isinstance(name, str) else None
        self.event = event
        self._worker = worker
        self._channel = event.channel if isinstance(event, CallReceived) else 0
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._cut: str | None = None
        ttl = event.meta.get("ttl")
        self._expires = (
            self._loop.time() + ttl / 1000 if isinstance(ttl, int | float) else float("inf")
        )
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_call(self) -> bool:
        """Whether it waits for an answer that it does not have yet."""
        return self._channel != 0

    @property
    def cancelled(self) -> bool:
        """Whether the caller has cancelled."""
        return self._cut == Code.CANCELLED

    @property
    def expired(self) -> bool:
        """Whether the sender has given up."""
        return self._loop.time() >= self._expires

    def reply(self, body: object = None) -> None:
        """Answer a call; nothing happens if it has its answer, or is none.

        Handles in the body are the primary's from then on.

        Raises:
            NotSendable: the primary does not take it.
            ValueError, TypeError: the body is outside of what messages can hold.
        """
        if self._channel:
            self._worker.send_reply(self._channel, body)
            self._answered()

    def fail(
        self, code: str, text: str, data: object = None, remote: Mapping[str, object] | None = None
    ) -> None:
        """Answer a call with an error."""
        if self._channel:
            error = error_map(code, text, data) | ({"remote": remote} if remote else {})
            self._worker.send_error(self._channel, error)
            self._answered()

    def interrupt(self, code: str) -> None:
        """End the task of the `async with` block; the call is then answered with that error."""
        if self._cut is None:
            self._cut = code
            if self._task is not None:
                self._task.cancel()

    def _answered(self) -> None:
        self._worker.forget(self._channel)
        self._channel = 0

    def _out_of_time(self) -> None:
        self.interrupt(Code.DEADLINE_EXCEEDED)

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._cut is not None and self._task is not None:
            self._task.cancel()
        if self._expires != float("inf"):
            self._timer = self._loop.call_at(self._expires, self._out_of_time)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        close_all(self.handles)
        if self._cut is not None and task is not None:
            self.fail(self._cut, "the caller does not wait for it any more")
            if error is None:
                await _cancelled_after_all()
            task.uncancel()
            return isinstance(error, asyncio.CancelledError)
        was_call = self.is_call
        if isinstance(error, asyncio.CancelledError):
            self.fail(Code.NOT_HANDLED, "the worker is stopping, and was not done")
        elif isinstance(error, NotSendable):
            self.fail(error.code, str(error))
        elif error is not None:
            self.fail(Code.APP, str(error), remote=_remote(error))
        else:
            self.fail(Code.NOT_HANDLED, "nobody answered")
        if was_call and isinstance(error, Exception):
            _log.error("a call failed", exc_info=(type(error), error, trace))
            return True
        return False

    def __del__(self) -> None:
        close_all(self.handles)
        if self._channel and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._worker.drop, self._channel)


async def _cancelled_after_all() -> None:
    """Take a cancellation that came when the block was all but over."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(0)


def _remote(error: BaseException) -> dict[str, object]:
    stack = [line[:500] for line in traceback.format_tb(error.__traceback__)[-20:]]
    return {"type": type(error).__name__, "lang": "python", "stack": stack}
