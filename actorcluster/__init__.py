"""Actors in worker processes, supervised by a primary, on Trio.

Runs in: both

Start reading at `open_primary`, `Primary`, `Worker` and `Actor`.

Names are imported when they are first used, so that a worker pays for what a worker uses and a
program that only asks `is_worker` for next to nothing. Who this process is, however, is settled
at once, see ``_worker/bootstrap.py``.
"""

from __future__ import annotations

import importlib as _importlib
import logging as _logging
import typing as _typing

from ._worker.bootstrap import is_worker as is_worker
from .errors import ActorClusterError as ActorClusterError
from .errors import HandleError as HandleError
from .errors import LocalProtocolError as LocalProtocolError
from .errors import MessageTooLarge as MessageTooLarge
from .errors import NoSuchActor as NoSuchActor
from .errors import NotHandled as NotHandled
from .errors import PeerClosed as PeerClosed
from .errors import ProtocolError as ProtocolError
from .errors import ReloadAborted as ReloadAborted
from .errors import RemoteError as RemoteError
from .errors import RemoteProtocolError as RemoteProtocolError
from .errors import RestartLimitReached as RestartLimitReached
from .errors import VersionMismatch as VersionMismatch
from .errors import WorkerStartError as WorkerStartError

if _typing.TYPE_CHECKING:
    from ._cluster import events as events
    from ._cluster.balance import Candidate as Candidate
    from ._cluster.balance import NewConnection as NewConnection
    from ._cluster.balance import sticky as sticky
    from ._cluster.limits import Limits as Limits
    from ._cluster.listen import Listen as Listen
    from ._cluster.open import open_primary as open_primary
    from ._cluster.operations import ChildCount as ChildCount
    from ._cluster.operations import ChildInfo as ChildInfo
    from ._cluster.peeking import Peek as Peek
    from ._cluster.primary import Primary as Primary
    from ._cluster.primary import PrimaryStatistics as PrimaryStatistics
    from ._cluster.restarts import Backoff as Backoff
    from ._cluster.run import run as run
    from ._cluster.tree import Child as Child
    from ._cluster.tree import Pool as Pool
    from ._cluster.tree import RetryAfter as RetryAfter
    from ._cluster.tree import Supervisor as Supervisor
    from ._link.handles import Handle as Handle
    from ._worker.actor import Actor as Actor
    from ._worker.actor import current_actor as current_actor
    from ._worker.exit import ExitStatus as ExitStatus
    from ._worker.listening import SCHED_NONE as SCHED_NONE
    from ._worker.listening import SCHED_RR as SCHED_RR
    from ._worker.mailbox import Mailbox as Mailbox
    from ._worker.message import Message as Message
    from ._worker.monitor import Down as Down
    from ._worker.monitor import Monitor as Monitor
    from ._worker.ref import Ref as Ref
    from ._worker.report import CrashReport as CrashReport
    from ._worker.runtime import run_worker as run_worker
    from ._worker.settings import Settings as Settings
    from ._worker.worker import Worker as Worker

_logging.getLogger(__name__).addHandler(_logging.NullHandler())  # who wants to read it, says so

__all__ = [
    "SCHED_NONE",
    "SCHED_RR",
    "Actor",
    "ActorClusterError",
    "Backoff",
    "Candidate",
    "Child",
    "ChildCount",
    "ChildInfo",
    "CrashReport",
    "Down",
    "ExitStatus",
    "Handle",
    "HandleError",
    "Limits",
    "Listen",
    "LocalProtocolError",
    "Mailbox",
    "Message",
    "MessageTooLarge",
    "Monitor",
    "NewConnection",
    "NoSuchActor",
    "NotHandled",
    "Peek",
    "PeerClosed",
    "Pool",
    "Primary",
    "PrimaryStatistics",
    "ProtocolError",
    "Ref",
    "ReloadAborted",
    "RemoteError",
    "RemoteProtocolError",
    "RestartLimitReached",
    "RetryAfter",
    "Settings",
    "Supervisor",
    "VersionMismatch",
    "Worker",
    "WorkerStartError",
    "current_actor",
    "events",
    "is_worker",
    "open_primary",
    "run",
    "run_worker",
    "sticky",
]

#: Where each name is imported from when it is first used; as above, which only type checkers read.
_HOMES: _typing.Final = {
    "SCHED_NONE": "._worker.listening",
    "SCHED_RR": "._worker.listening",
    "Actor": "._worker.actor",
    "Backoff": "._cluster.restarts",
    "Candidate": "._cluster.balance",
    "Limits": "._cluster.limits",
    "Listen": "._cluster.listen",
    "Child": "._cluster.tree",
    "ChildCount": "._cluster.operations",
    "ChildInfo": "._cluster.operations",
    "CrashReport": "._worker.report",
    "Down": "._worker.monitor",
    "ExitStatus": "._worker.exit",
    "Handle": "._link.handles",
    "Mailbox": "._worker.mailbox",
    "Message": "._worker.message",
    "Monitor": "._worker.monitor",
    "NewConnection": "._cluster.balance",
    "Peek": "._cluster.peeking",
    "Pool": "._cluster.tree",
    "Primary": "._cluster.primary",
    "PrimaryStatistics": "._cluster.primary",
    "Ref": "._worker.ref",
    "RetryAfter": "._cluster.tree",
    "Settings": "._worker.settings",
    "Supervisor": "._cluster.tree",
    "Worker": "._worker.worker",
    "current_actor": "._worker.actor",
    "events": "._cluster.events",
    "open_primary": "._cluster.open",
    "run": "._cluster.run",
    "run_worker": "._worker.runtime",
    "sticky": "._cluster.balance",
}

if not _typing.TYPE_CHECKING:  # for whom any name would exist otherwise

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = _importlib.import_module(home, __name__)
        value = globals()[name] = vars(module).get(name, module)  # `events` is its module itself
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
