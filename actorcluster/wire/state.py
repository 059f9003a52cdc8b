"""Who may say what, when: a small machine over the generated tables.

Runs in: both

Theory of operation
===================

A connection joins one worker and one primary, and each end has one state. It is a statement
about that end only: what it has seen and said so far. The two ends are never in step, because
frames cross on the way, and the tables are made for exactly that.

::

    HANDSHAKE --> STARTING --> ACTIVE --> STOPPING --> CLOSING --> CLOSED

*HANDSHAKE.* Nobody knows anybody. The worker may say HELLO, the primary nothing but ABORT.
*STARTING.* The introductions are made, what both can do is agreed upon, and the worker gets
ready. *ACTIVE.* The worker said READY: mail, calls, listeners. *STOPPING.* The end is agreed
upon: the primary said STOP, or one side said GOODBYE. The primary sends no new mail, the worker
finishes what it has; both still answer each other. *CLOSING.* This end said GOODBYE, so it says
nothing more but PONG; it reads on, because the other end may not have said its last word.
*CLOSED.* End of file, or ABORT in either direction. Whatever still arrives is dropped.

The states only ever advance, some may be skipped, and from everywhere ABORT leads to CLOSED.
STOP and GOODBYE move both the sender (when queued) and the receiver (when it arrives), which is
why for a while one end is ACTIVE and the other STOPPING.

For each role and state there are two tables, both generated from ``protocol/awp.v1.toml``.

*What may be sent.* Breaking it is the caller's mistake: `LocalProtocolError`, nothing happens.

*What becomes of an arriving frame.* One of four things:

``DELIVER``
    take it. The connection answers it itself or reports an event.
``IGNORE``
    drop it and close its descriptors. It is late, not wrong: when its sender said it, it could
    not know what we had said meanwhile.
``REFUSE``
    answer that it was not begun. It too crossed something on the way, but somebody is waiting.
``ABORT``
    no peer that follows the rules can have sent this, whatever crossed on the way: the peer is
    broken, and so is the connection. (A test proves the "whatever": it runs through all
    interleavings of what two such ends may send.)

Two rows of the table are not kinds: `UNKNOWN_KIND` for every kind that is not built, `EOF` for
the end of the stream, where DELIVER means an orderly end and ABORT that the peer was lost.

A kind that needs a capability which is not in force may not be sent in any state, and where the
table would take or refuse it, it is ABORT (AWP-HS-3).

This file does not know what any kind means. Channels and credit are the connection's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, final

from ._generated import (
    EOF,
    PRIMARY_AFTER_SENDING,
    PRIMARY_SENDS,
    PRIMARY_TABLE,
    UNKNOWN_KIND,
    WORKER_AFTER_SENDING,
    WORKER_SENDS,
    WORKER_TABLE,
    Action,
    State,
)

__all__ = ["Role", "StateMachine"]

Role = Literal["worker", "primary"]

_ABORT: Final = (Action.ABORT, State.CLOSED)


@final
class StateMachine:
    """One end's state, moved by what it receives and sends.

    Attributes:
        role: which end this is.
        state: where it stands.
        row: what becomes of each kind that arrives in this state, and the state then.
        sendable: the kinds that may be sent in this state.
        withheld: the kinds whose capability is not in force.
        takes: the kinds that are just delivered in this state: nothing changes by them.
    """

    __slots__ = (
        "_after_sending",
        "_sends",
        "_table",
        "role",
        "row",
        "sendable",
        "state",
        "takes",
        "withheld",
    )

    def __init__(self, role: Role) -> None:
        self.role: Role = role
        worker = role == "worker"
        self._table = WORKER_TABLE if worker else PRIMARY_TABLE
        self._sends = WORKER_SENDS if worker else PRIMARY_SENDS
        self._after_sending = WORKER_AFTER_SENDING if worker else PRIMARY_AFTER_SENDING
        self.withheld: frozenset[int] = frozenset()
        self._enter(State.HANDSHAKE)

    def _enter(self, state: State) -> None:
        self.state = state
        self.sendable = self._sends[state] - self.withheld
        self.row = dict(self._table[state])
        for kind in self.withheld & self.row.keys():
            if self.row[kind][0] is not Action.IGNORE:
                self.row[kind] = _ABORT
        delivered = (Action.DELIVER, state)
        self.takes = frozenset(kind for kind, cell in self.row.items() if cell == delivered)

    def withhold(self, kinds: Iterable[int]) -> None:
        """Put ``kinds`` out of use, all others in use."""
        self.withheld = frozenset(kinds)
        self._enter(self.state)

    def received(self, kind: int) -> Action:
        """Take note of a frame that arrived; returns what to do with it.

        After ABORT the state is unchanged: it is for the caller to give up, and to say so.
        """
        cell = self.row.get(kind)
        action, after = self.row[UNKNOWN_KIND] if cell is None else cell
        if after is not self.state and action is not Action.ABORT:
            self._enter(after)
        return action

    def received_eof(self) -> bool:
        """Take note of the end of the stream; True when it was an orderly one."""
        action, _ = self.row[EOF]
        self._enter(State.CLOSED)
        return action is not Action.ABORT

    def may_send(self, kind: int) -> bool:
        """Whether ``kind`` may be sent in this state."""
        return kind in self.sendable

    def sent(self, kind: int) -> None:
        """Take note of a frame that was queued. Check `may_send` first."""
        after = self._after_sending.get(kind)
        if after is not None:
            self._enter(after)
