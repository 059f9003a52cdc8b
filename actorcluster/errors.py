"""Every exception of actorcluster, in one tree.

Runs in: both

::

    ActorClusterError                base, never raised itself
    ├ WorkerStartError               the process ended, or was silent, before it was ready
    ├ RestartLimitReached            a supervisor's children failed too often
    ├ ReloadAborted                  a new worker failed, the old ones serve on
    ├ PeerClosed                     the other side is gone or no longer takes messages
    ├ RemoteError                    the other side's handler failed; as data, never unpickled
    │ ├ NotHandled                   it disposed of the ask without answering
    │ └ NoSuchActor                  nobody has that name
    ├ MessageTooLarge                the encoded message exceeds ``max_message``
    ├ ProtocolError                  base
    │ ├ LocalProtocolError           you asked for what the protocol forbids; the link is unharmed
    │ ├ RemoteProtocolError          the peer broke the protocol; the link is closed
    │ └ VersionMismatch              no common major version
    └ HandleError                    a descriptor was lost, or is of the wrong kind

Where Trio has the meaning its own exceptions are used: ``trio.WouldBlock``,
``trio.ClosedResourceError``, ``trio.BrokenResourceError``; binding and files raise ``OSError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._worker.exit import ExitStatus
    from ._worker.report import CrashReport
    from ._worker.worker import Worker

__all__ = [
    "ActorClusterError",
    "HandleError",
    "LocalProtocolError",
    "MessageTooLarge",
    "NoSuchActor",
    "NotHandled",
    "PeerClosed",
    "ProtocolError",
    "ReloadAborted",
    "RemoteError",
    "RemoteProtocolError",
    "RestartLimitReached",
    "VersionMismatch",
    "WorkerStartError",
]


class ActorClusterError(Exception):
    """Base of all errors of this package; never raised itself."""


class WorkerStartError(ActorClusterError):
    """A worker ended, or was silent for ``start_timeout``, before it was ready.

    The text is one line; what the worker raised stands below it as a note where nobody catches it.

    Attributes:
        status: how it ended; None when no process came into being.
        report: more about that, a page; None when there is no status.
        timeout: seconds waited, when that was the reason; else None.
        errno: when an ``OSError`` was the reason: no such program or directory, no right to
            change the user, an address in use; else None.
    """

    def __init__(
        self, text: str, *, status: ExitStatus | None = None, timeout: float | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.timeout = timeout

    @property
    def report(self) -> CrashReport | None:
        """See the class."""
        return None if self.status is None else self.status.report

    @property
    def errno(self) -> int | None:
        """See the class."""
        error = None if self.status is None else self.status.error
        return None if error is None else error.errno


class RestartLimitReached(ActorClusterError):
    """A supervisor gave up, and so did every one above it.

    Attributes:
        name: of the root supervisor.
        restarts: how many there were within the window, the one too many included.
        within: seconds of that window.
        last_status: how the last life ended.
    """

    def __init__(
        self, text: str, *, name: str, restarts: int, within: float, last_status: ExitStatus
    ) -> None:
        super().__init__(text)
        self.name = name
        self.restarts = restarts
        self.within = within
        self.last_status = last_status


class ReloadAborted(ActorClusterError):
    """A new worker did not become ready; what was in service serves on.

    Attributes:
        worker: the new one; None if none could be started at all, then the cause says why.
        status: how it ended.
        report: more about that, a page; None when there is no status.
    """

    def __init__(
        self, text: str, *, worker: Worker | None = None, status: ExitStatus | None = None
    ) -> None:
        super().__init__(text)
        self.worker = worker
        self.status = status

    @property
    def report(self) -> CrashReport | None:
        """See the class."""
        return None if self.status is None else self.status.report


class PeerClosed(ActorClusterError):
    """The other side is gone, or was told to stop and takes nothing more.

    Attributes:
        status: how the peer's process ended, if that is known by now; else None.
        unconfirmed: how many sends of this process returned but were not acknowledged as put
            into the peer's mailbox.
    """

    #: Whether it is certain that nothing of the message had left.
    _was_kept: bool = False

    def __init__(
        self, text: str, *, status: ExitStatus | None = None, unconfirmed: int = 0
    ) -> None:
        super().__init__(text)
        self.status = status
        self.unconfirmed = unconfirmed

    def _keep(self) -> PeerClosed:
        """Say that nothing had left."""
        self._was_kept = True
        return self


class RemoteError(ActorClusterError):
    """The peer answered an ask with a failure.

    Attributes:
        code: the wire's error code, e.g. ``"app"`` or ``"os.ENOENT"``.
        type: name of the exception's class at the peer, or None. To show, never to import.
        text: the message of the failure.
        traceback: the peer's traceback as text, or None.
        path: ids of the processes that relayed the failure, nearest first.
    """

    def __init__(
        self,
        text: str,
        *,
        code: str = "app",
        type: str | None = None,  # noqa: A002  (the contract's name)
        traceback: str | None = None,
        path: tuple[int, ...] = (),
    ) -> None:
        super().__init__(f"{type}: {text}" if type else text)
        self.code = code
        self.type = type
        self.text = text
        self.traceback = traceback
        self.path = path


class NotHandled(RemoteError):
    """The peer took the ask out of its mailbox and disposed of it unanswered."""


class NoSuchActor(RemoteError):
    """No actor has that name."""


class MessageTooLarge(ActorClusterError):
    """An encoded message exceeds what the receiver takes; nothing was sent.

    Attributes:
        size: of the encoded message, bytes.
        limit: the receiver's ``max_message``, bytes.
    """

    #: the ask whose answer it was, as `Answering` knows it; None: it was none.
    _ask: object = None

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"message of {size} bytes exceeds max_message of {limit} bytes")
        self.size = size
        self.limit = limit


class ProtocolError(ActorClusterError):
    """Base of the protocol errors; never raised itself."""


class LocalProtocolError(ProtocolError):
    """This side asked for what the protocol forbids. Nothing was sent, the link is unharmed."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the link is closed.

    Attributes:
        requirement: id of the violated sentence in ``protocol/SPEC.md``, e.g. ``"AWP-FR-4"``.
        code: the ABORT code, see the registry.
    """

    def __init__(self, text: str, *, requirement: str, code: int) -> None:
        super().__init__(f"[{requirement}] {text}")
        self.requirement = requirement
        self.code = code


class VersionMismatch(ProtocolError):
    """The two sides share no major version of the protocol.

    Attributes:
        ours: (major, highest minor) pairs that this side speaks.
        theirs: the pairs that the peer offered.
    """

    def __init__(
        self, ours: tuple[tuple[int, int], ...], theirs: tuple[tuple[int, int], ...]
    ) -> None:
        super().__init__(f"no common protocol version: ours {ours}, theirs {theirs}")
        self.ours = ours
        self.theirs = theirs


class HandleError(ActorClusterError):
    """A descriptor was lost on the way, is of the wrong kind, or cannot be sent."""
