"""Actors in worker processes, supervised by a primary, on Trio.

Runs in: both

Start reading at `open_primary`, `Primary`, `Worker` and `Actor`.
"""

from __future__ import annotations

import logging as _logging

from ._cluster import events as events
from ._cluster.open import open_primary as open_primary
from ._cluster.primary import Primary as Primary
from ._cluster.primary import PrimaryStatistics as PrimaryStatistics
from ._cluster.run import run as run
from ._link.handles import Handle as Handle
from ._worker.actor import Actor as Actor
from ._worker.actor import current_actor as current_actor
from ._worker.bootstrap import is_worker as is_worker
from ._worker.exit import ExitStatus as ExitStatus
from ._worker.listening import SCHED_NONE as SCHED_NONE
from ._worker.listening import SCHED_RR as SCHED_RR
from ._worker.mailbox import Mailbox as Mailbox
from ._worker.message import Message as Message
from ._worker.ref import Ref as Ref
from ._worker.runtime import run_worker as run_worker
from ._worker.settings import Settings as Settings
from ._worker.worker import Worker as Worker
from .errors import ActorClusterError as ActorClusterError
from .errors import HandleError as HandleError
from .errors import LocalProtocolError as LocalProtocolError
from .errors import MessageTooLarge as MessageTooLarge
from .errors import NoSuchActor as NoSuchActor
from .errors import NotHandled as NotHandled
from .errors import PeerClosed as PeerClosed
from .errors import ProtocolError as ProtocolError
from .errors import RemoteError as RemoteError
from .errors import RemoteProtocolError as RemoteProtocolError
from .errors import VersionMismatch as VersionMismatch
from .errors import WorkerStartError as WorkerStartError

_logging.getLogger(__name__).addHandler(_logging.NullHandler())  # who wants to read it, says so

__all__ = [
    "SCHED_NONE",
    "SCHED_RR",
    "Actor",
    "ActorClusterError",
    "ExitStatus",
    "Handle",
    "HandleError",
    "LocalProtocolError",
    "Mailbox",
    "Message",
    "MessageTooLarge",
    "NoSuchActor",
    "NotHandled",
    "PeerClosed",
    "Primary",
    "PrimaryStatistics",
    "ProtocolError",
    "Ref",
    "RemoteError",
    "RemoteProtocolError",
    "Settings",
    "VersionMismatch",
    "Worker",
    "WorkerStartError",
    "current_actor",
    "events",
    "is_worker",
    "open_primary",
    "run",
    "run_worker",
]
