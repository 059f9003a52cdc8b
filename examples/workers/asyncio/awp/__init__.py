"""AWP, the actorcluster worker protocol, for asyncio: standard library and msgpack.

`run(main)` is all that a program needs; what `main` gets is a `Worker`.
"""

from .awp_v1 import Abort, Code, HandleKind, Reason
from .events import Stop, Undeliverable
from .handles import Handle
from .listener import Accepted, Listener, ListenerClosed
from .message import Message
from .run import run
from .speaking import NotSendable
from .worker import ConnectionLost, LogHandler, RemoteError, Worker

__all__ = [
    "Abort",
    "Accepted",
    "Code",
    "ConnectionLost",
    "Handle",
    "HandleKind",
    "Listener",
    "ListenerClosed",
    "LogHandler",
    "Message",
    "NotSendable",
    "Reason",
    "RemoteError",
    "Stop",
    "Undeliverable",
    "Worker",
    "run",
]
