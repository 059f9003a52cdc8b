"""One life of an actor that is a task of its primary: the same actor, without a process.

Runs in: primary

Theory of operation
===================

`live` runs main in the Actor's cancel scope and returns when it has ended, however that was; then
the link hangs up, and `conclude` tells how it ended. No exception leaves either.

The link to the primary comes into being with whatever needs it first: a message, a listener, a ref.
Without one there is nothing to read or say, so Stop and the end need no words.

One that does not heed its cancellation is given up in the end, see `overseer`. That is told, with
the place where it hangs, as the status ``lost``; its link is cut, its name is free, and nobody
waits for it any more. When it ends after all, that is logged.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextvars import Context, copy_context
from signal import SIGINT
from typing import Any, Literal, Protocol, final

import trio

from .._link.channel import Channel
from ..errors import PeerClosed
from ..wire import events
from ..wire._generated import Reason, State
from .actor import Actor, set_own_actor
from .berth import SPENT, Berth
from .exit import ExitStatus, RemoteFailure, Verdict, signal_name, task_exit
from .job import Job, Main
from .mailbox import MergedMailbox
from .message import withdraw
from .moments import LifeOptions, Moments
from .overseer import GRACE_SECONDS, Overseer
from .peer import HEARD, Peer
from .ref import Home
from .stopped import is_only, is_stop
from .taskhome import TaskHome
from .tasklink import TaskLink
from .whereabouts import whereabouts

__all__ = ["TaskHost", "TaskLife"]

log = logging.getLogger("actorcluster.task")


class TaskHost(Protocol):
    """Where tasks live.

    Attributes:
        nursery: of the primary's own tasks.
        pid: of this process.
        mailbox: the primary's.
        refs: the primary's home of refs.
    """

    nursery: trio.Nursery
    pid: int
    mailbox: MergedMailbox
    refs: Home

    def interrupted(self) -> None:
        """Ctrl-C arrived in a task."""

    def gave_up(self, life: TaskLife) -> None:
        """A task does not heed its cancellation."""

    def came_back(self, life: TaskLife) -> None:
        """One that was given up has ended after all."""


@final
class TaskLife(Peer):
    """One life in a task.

    Args:
        options: see `LifeOptions`; all lives of a place have the same.
        worker_id: of this one.
        incarnation: of this one.
        moments: told what happens.
        job: what it runs.
        host: where it lives.

    Attributes:
        is_over: main has ended, or never will begin.
        left_traces: whether main has left context variables changed.
        deadline: when main is to be cancelled at the latest.
        drains: whether main is to be cancelled once the actor is idle.
    """

    acts = HEARD
    left_traces = False
    _actor: Actor | None = None
    _link: TaskLink | None = None
    _task: trio.lowlevel.Task | None = None
    _result: ExitStatus | None = None
    _was_cancelled = False
    is_over = False
    #: why main was cancelled, when it was not told to stop before.
    _verdict: Verdict | None = None
    _signal: int | None = None
    deadline = math.inf
    drains = False
    _overseer: Overseer | None = None

    def __init__(
        self,
        options: LifeOptions,
        worker_id: int,
        incarnation: int,
        *,
        moments: Moments,
        job: Job,
        host: TaskHost,
    ) -> None:
        self.options = options
        self.worker_id = worker_id
        self._incarnation = incarnation
        self._moments = moments
        self._merged: MergedMailbox = host.mailbox
        self._job = job
        self._host = host

    @property
    def pid(self) -> int:
        """Of this process."""
        return self._host.pid

    @property
    def start_method(self) -> Literal["task"]:
        return "task"

    # ---- the whole life -------------------------------------------------------------------

    async def live(self, berth: Berth) -> bool:
        """Run main to its end, and do not wait for anything after it.

        Args:
            berth: to run it in.

        Returns:
            Whether all that is left is to `conclude`: there is no link, and nothing of main's is
            left in the task.

        Cancellation:
            That is main's end.
        """
        error: BaseException | None = None
        self._task = berth.task
        was_cancelled = is_condemned = self._verdict is not None or self._signal is not None
        if not self.told_to_stop and not is_condemned:
            error = await self._run_main(berth)
            was_cancelled = self._was_cancelled
        self.is_over = True
        self._task = None
        if self.status is not None:
            self._came_back(error)
            return False
        self._result = self._judge(error, was_cancelled=was_cancelled)
        del error  # and with it the frames of main
        actor = self._actor
        if actor is not None:
            actor._is_draining = True  # for who looks at it from now on
            if self._link is not None or actor._mailbox is not None:
                actor._close_mailbox()
        return self._link is None and not self.left_traces and not berth.is_empty

    @property
    def link(self) -> TaskLink | None:
        """To the primary, if it was needed; `TaskLink.hang_up` comes before `conclude`."""
        return None if self.status is not None else self._link

    @trio.lowlevel.enable_ki_protection
    def conclude(self) -> None:
        """Tell how it ended."""
        if self._overseer is not None:
            self._overseer.dismiss()
        if self._result is not None:
            self._finish(self._result)
            # What holds each other is left to the collector, which takes longer than a whole life.
            del self._moments
            self.sender = None
            if self._actor is not None:
                self._actor._home.actor = None
                self._actor = None

    async def _run_main(self, berth: Berth) -> BaseException | None:
        """Run main; returns what it raised."""
        home = TaskHome(self, self._host.refs)
        try:
            main, args = self._job.load(home)
        except BaseException as exc:  # noqa: BLE001  (whatever it is, it is the status)
            return exc
        name, scope = self.options.name, berth.enter()
        actor = self._actor = Actor(home, self.worker_id, name, self._incarnation, scope)
        set_own_actor(actor)
        context = copy_context()
        self._come_online(actor)
        error: BaseException | None = None
        try:
            await _call(main, actor, args)
        except BaseException as exc:  # noqa: BLE001  (it must not reach anybody else)
            error = exc
        is_quiet = self._link is None and self._overseer is None  # else somebody may cancel it yet
        if is_quiet and berth.is_clean:
            actor.scope = SPENT
        else:
            error = berth.leave(error)
            self._was_cancelled = scope.cancelled_caught
        self.left_traces = _differ(context, copy_context())
        try:
            if error is None or (actor._is_draining and is_stop(error)):
                return None
            return _without_ours(error)
        finally:
            del error

    def _come_online(self, actor: Actor) -> None:
        self.state = "online"
        if self._held is None and self._sendable is None:
            self.is_sendable = True
        else:
            self._set_sendable()
        self._moments.online()
        if self.options.ready == "online":
            if self._verdict is None:
                super().set_ready()
        elif self.options.start_timeout < math.inf:
            self.deadline = trio.current_time() + self.options.start_timeout
            self._oversee(actor)

    def _judge(self, error: BaseException | None, *, was_cancelled: bool) -> ExitStatus:
        signum = self._signal
        if error is not None and not isinstance(error, Exception):
            if is_only(error, trio.Cancelled):  # of all that runs here
                error, was_cancelled = None, True
                self._verdict = self._verdict or "killed"
            elif is_only(error, KeyboardInterrupt):
                error, was_cancelled, signum = None, True, SIGINT
                self._host.interrupted()
            elif isinstance(error, SystemExit) and not isinstance(error.code, int | None):
                log.error("%s: %s", self.options.name, error.code)  # a process would print that
        return task_exit(
            error,
            told_to_stop=self.told_to_stop,
            verdict=self._verdict if was_cancelled else None,
            signal=signal_name(signum) if signum is not None and was_cancelled else None,
        )

    # ---- the link -------------------------------------------------------------------------

    def connect(self) -> TaskLink:
        """Give the link, which begins with the first who asks.

        Raises:
            PeerClosed: it is over, or never was needed and is not any more.
        """
        if self._link is None:
            actor = self._actor
            if actor is None or self.is_over or self.status is not None:
                raise self.closed("it is gone")
            link = TaskLink(
                self.options,
                self.worker_id,
                refs=(self._host.refs, actor._home),
                merged=self._merged,
                on_event=(self._on_event, self._on_said),
                on_end=self._link_is_over,
            )
            self._host.nursery.start_soon(link.run)
            self._link = link
            self.sender = self._moments.address()
            self.connection = link.connection
            self.channel = link.ours
            link.ours.pass_mail_to(self._on_mail, self._on_run)
            link.theirs.pass_mail_to(actor._on_mail, actor._on_run)
            actor._home.channel = link.theirs
        return self._link

    @property
    def is_connected(self) -> bool:
        """Whether the actor can be heard."""
        return self.status is None and not (self._link is not None and self._link.theirs.ended)

    @property
    def takes_mail(self) -> bool:
        """Whether it takes mail, or may once it is online."""
        if self.told_to_stop or self.is_over or self._said_goodbye or self.status is not None:
            return False
        return self._link is None or self.connection.state not in (State.CLOSING, State.CLOSED)

    def channel_or_raise(self) -> Channel:
        """Give the channel, see `Peer.channel_or_raise`."""
        if self.channel is None and self.takes_mail:
            self.connect()
        return super().channel_or_raise()

    def _on_said(self, event: events.Event) -> None:
        """The primary said something that is no mail."""
        actor, link = self._actor, self._link
        assert actor is not None
        assert link is not None
        if isinstance(event, events.Cancelled):
            withdraw(link.theirs, event.channel)
        elif isinstance(event, events.Stop):
            self._begin_drain(actor)
        elif not isinstance(event, events.Goodbye):
            actor._on_event(event)

    def _link_is_over(self) -> None:
        actor, link = self._actor, self._link
        assert actor is not None
        assert link is not None
        link.theirs.fail_all(
            lambda text: PeerClosed(f"the primary: {text}", unconfirmed=link.theirs.unconfirmed)
        )
        actor._home.lose()
        if not self.is_over:
            actor._lose_primary()

    # ---- what the actor says without a link -----------------------------------------------

    def said_ready(self) -> None:
        """See `Actor.ready`."""
        if self.options.ready == "called":
            self.set_ready()

    def said_leave(self) -> None:
        """See `Actor.disconnect`."""
        self.stop(self._shutdown_seconds(), Reason.NORMAL)

    def set_ready(self) -> None:
        """It is what its ``ready`` option waits for, unless that came too late."""
        if self._verdict is None and not self.is_over:
            if not self.told_to_stop:
                self.deadline = math.inf
            super().set_ready()

    # ---- stopping -------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    def stop(self, seconds: float = math.inf, reason: int = Reason.SHUTDOWN) -> None:
        """See `Peer.stop`."""
        if self.status is not None or self.is_over:
            return
        deadline = trio.current_time() + seconds
        is_first, is_news = not self.told_to_stop, deadline < self.deadline
        if is_first:
            self.deadline = deadline  # from now on the start limit does not count
            self._leave()
        elif is_news:
            self.deadline = deadline
            self._look_again()
        actor = self._actor
        if actor is None:
            return  # and main never will be
        if self._link is None:
            self._begin_drain(actor)
        elif is_first or is_news:
            self.connection.send_stop(None if seconds == math.inf else seconds, reason)
            self._link.ours.flush()
        # Who asked for it goes on until it is found idle.
        if is_first and reason != Reason.NORMAL and self._has_nothing_to_drain(actor):
            actor.scope.cancel()
        self._oversee(actor)

    def _has_nothing_to_drain(self, actor: Actor) -> bool:
        """Whether it cannot even notice that it is to drain."""
        if self._link is not None or actor._busy:
            return False
        return actor._mailbox is None and actor._draining is None and actor._listening is None

    def _begin_drain(self, actor: Actor) -> None:
        if not self.drains:
            self.drains = True
            actor._begin_drain()
            self._look_again()

    def kill(self, signum: int) -> None:
        """Cancel main, as if by a signal; 0 is none."""
        if self.status is None and not self.is_over and signum:
            if self._signal is None:
                self._signal = signum
            self._condemn()

    def kill_now(self) -> None:
        """Tell it to stop at once. Safe in a signal handler, where it can only be noted."""
        if self.status is None and not self.is_over:
            self.told_to_stop = True
            self._verdict = self._verdict or "killed"

    @trio.lowlevel.enable_ki_protection
    def brutal_kill(self) -> None:
        """Tell it to stop, and cancel main at once."""
        self.kill_now()
        if self.status is None and not self.is_over:
            self._condemn()

    def _condemn(self) -> None:
        actor = self._actor
        if actor is not None:
            actor.scope.cancel()
            self._look_again()
            self._oversee(actor)

    # ---- seeing it end --------------------------------------------------------------------

    def _oversee(self, actor: Actor) -> None:
        """Have the overseer there."""
        if self._overseer is None:
            self._overseer = Overseer(self, actor, self._host.nursery)

    def _look_again(self) -> None:
        """Something has changed that the overseer should know."""
        if self._overseer is not None:
            self._overseer.look_again()

    def is_due(self) -> bool:
        """Whether it is time to cancel main, see `Ward`."""
        if trio.current_time() >= self.deadline:
            if not self.told_to_stop:
                self._verdict = self._verdict or "start_timeout"
            return True
        actor = self._actor
        return self.drains and actor is not None and actor._is_idle()

    def give_up(self) -> None:
        """It was cancelled long ago and goes on: nobody waits for it any more."""
        if self.is_over or self.status is not None:
            return
        assert self._task is not None
        where, stack = whereabouts(self._task, __file__)
        text = f"it was cancelled {GRACE_SECONDS:g} s ago and still runs, at {where}"
        log.error("%s is given up: %s", self.options.name, text)
        self._moments.failed(self.closed(text))
        if self._link is not None:
            self._link.cut()
        self._host.gave_up(self)
        error = RemoteFailure(type="trio.Cancelled", text=text, traceback=stack)
        self._finish(
            ExitStatus(
                code=None, signal=None, reason="lost", voluntary=self.told_to_stop, error=error
            )
        )

    def _came_back(self, error: BaseException | None) -> None:
        log.warning(
            "%s, life %d, which was given up, has ended after all: %s",
            self.options.name,
            self._incarnation,
            "cancelled" if error is None else repr(error),
        )
        self._host.came_back(self)


@trio.lowlevel.disable_ki_protection  # as any task of the application
async def _call(main: Main, actor: Actor, args: Sequence[Any]) -> None:
    await main(actor, *args)


def _without_ours(exc: BaseException) -> BaseException:
    """Leave our own frames out of a traceback: nobody looks for a fault in them."""
    try:
        trace = exc.__traceback__
        while trace is not None and trace.tb_next is not None:
            if trace.tb_frame.f_code.co_filename != __file__:
                break
            trace = trace.tb_next
        return exc.with_traceback(trace)
    except BaseException:  # noqa: BLE001  (main's class may say what it likes of itself)
        return exc


def _differ(before: Context, after: Context) -> bool:
    """Whether context variables were changed."""
    try:
        return before != after
    except BaseException:  # noqa: BLE001  (two values that nobody has told apart before)
        return True
