"""The table: what comes of each fault in each state, as data.

A cell is one of

- `Breaks`: the primary ends the connection, names the sentence of SPEC.md that was broken, and
  kills the worker;
- `Harmless`: nothing happens but what the sentence says, and the worker may leave like a good one;
- `Ends`: no frame is at fault, and the primary ends the worker for what it did or did not do;
- `Absent`: there is no such fault in this state, for the reason given.

The states are the primary's: of section 18, HANDSHAKE to CLOSING.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

from tests.hostile import replay

__all__ = ["FAULTS", "STATES", "TABLE", "Absent", "Breaks", "Cell", "Ends", "Harmless", "Outcome"]

STATES: Final = ("before HELLO", "before READY", "active", "stopping", "closing")


@attrs.frozen
class Breaks:
    """``events.Error`` with a `RemoteProtocolError`, and reason ``protocol``.

    Attributes:
        requirement: the sentence that the error names.
        code: of the ABORT.
        error: class of the error, where it is another; it names no sentence then.
        or_requirement: others that it may name instead.
        after: classes of errors before that one, each of them rightful.
    """

    requirement: str
    code: str
    error: str = "RemoteProtocolError"
    or_requirement: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@attrs.frozen
class Harmless:
    """No ``events.Error``, and reason ``shutdown``."""

    requirement: str
    note: str = ""


@attrs.frozen
class Ends:
    """No ``events.Error``, and this reason, some seconds later."""

    requirement: str
    reason: Literal["lost", "killed", "start_timeout"]


@attrs.frozen
class Absent:
    """No such cell."""

    why: str


Outcome = Breaks | Harmless | Ends | Absent
Cell = tuple[str, str]

# ---- words for what comes again ----------------------------------------------------------------

SIGNATURE = Breaks("AWP-FR-4", "BAD_SIGNATURE")
LENGTH = Breaks("AWP-FR-3", "BAD_LENGTH")
TOO_LARGE = Breaks("AWP-FR-5", "FRAME_TOO_LARGE")
STATE = Breaks("AWP-ST-8", "STATE_VIOLATION")
CONTROL = Breaks("AWP-FR-6", "PROTOCOL_ERROR")
DESCRIPTORS = Breaks("AWP-FD-6", "FD_VIOLATION")
FLOW = Breaks("AWP-FC-6", "FLOW_VIOLATION")
MONITORS = Breaks("AWP-SU-4", "LIMIT_EXCEEDED")
DOWNS = Breaks("AWP-LM-2", "LIMIT_EXCEEDED", or_requirement=("AWP-SU-4",))
ANSWERS = Breaks("AWP-LM-2", "LIMIT_EXCEEDED")
UNKNOWN = Breaks("AWP-EV-2", "LIMIT_EXCEEDED")
PARTIAL = Breaks("AWP-LG-8", "LIMIT_EXCEEDED")
BOUNCED = Breaks("AWP-MS-6", "PROTOCOL_ERROR", after=("PeerClosed",))
VERSION = Breaks("AWP-HS-2", "VERSION", "VersionMismatch")

LATE = Harmless("AWP-CH-3", "the channel is not open, or not any more")
CLOSING = Harmless("AWP-ST-5", "ignored: after its GOODBYE nothing more is taken of it")
BOUNCES = Harmless("AWP-VA-1", "an error of that one message")
DROPPED = Harmless("AWP-FD-7", "ignored, and what came with it is closed")

LOST = Ends("AWP-TR-7", "lost")
SLOW = Ends("AWP-HS-1", "start_timeout")
STAYS = Ends("AWP-ST-1", "killed")

NO_CALL = Absent("before READY the primary asks nothing; an answer is one on an unknown channel")
SAID_ONCE = Absent("HELLO has been said: another is a duplicate HELLO, whatever it says")
NO_MAIL = Absent("a TELL before READY is a state violation, however large: see window overrun")

_EVERYWHERE: Final[dict[str, Outcome]] = {
    "random bytes": SIGNATURE,
    "wrong signature": SIGNATURE,
    "length + 1": LENGTH,
    "length - 1": LENGTH,
    "length 2^31": TOO_LARGE,
    "duplicate HELLO": STATE,
    "undeclared descriptors": DESCRIPTORS,
    "too many descriptors": DESCRIPTORS,
    "more descriptors than declared": DESCRIPTORS,
    "ignores STOP": STAYS,
    "memory bomb: declared array": LENGTH,
    "memory bomb: declared arrays, one in another": LENGTH,
    "memory bomb: declared map": LENGTH,
    "memory bomb: declared str, bin, ext": LENGTH,
    "memory bomb: a frame over max_message": TOO_LARGE,
}

# fmt: off
_BY_STATE: Final[dict[str, tuple[Outcome, Outcome, Outcome, Outcome, Outcome]]] = {
    #                           before HELLO, before READY, active, stopping, closing
    "truncated, then closed":  (LOST, LOST, LOST, LOST, STAYS),
    "slow loris":              (SLOW, SLOW, Harmless("AWP-FR-7"), STAYS, STAYS),
    "unknown major":           (VERSION, SAID_ONCE, SAID_ONCE, SAID_ONCE, SAID_ONCE),
    "missing descriptors":     (DESCRIPTORS, DESCRIPTORS, Harmless("AWP-FD-5"),
                                Harmless("AWP-FD-5"), DROPPED),
    "wrong-kind descriptors":  (DESCRIPTORS, DESCRIPTORS, Harmless("AWP-HA-2"),
                                Harmless("AWP-HA-2"), DROPPED),
    "window overrun":          (STATE, STATE, FLOW, FLOW, CLOSING),
    "unknown channel":         (STATE, STATE, LATE, LATE, LATE),
    "reply twice":             (NO_CALL, NO_CALL, LATE, LATE, LATE),
    "never reads":             (SLOW, SLOW, STAYS, STAYS, STAYS),
    "never answers":           (NO_CALL, NO_CALL, Harmless("AWP-CA-2"), STAYS, STAYS),
    "floods: PING":            (STATE, STATE, ANSWERS, ANSWERS, STAYS),
    "floods: unknown kinds":   (STATE, UNKNOWN, UNKNOWN, UNKNOWN, CLOSING),
    "floods: SETTINGS":        (STATE, STATE, ANSWERS, ANSWERS, CLOSING),
    "floods: TELL to nobody":  (STATE, STATE, ANSWERS, ANSWERS, CLOSING),
    "floods: broken TELL":     (STATE, STATE, ANSWERS, ANSWERS, CLOSING),
    "floods: CALL to nobody":  (STATE, STATE, ANSWERS, ANSWERS, CLOSING),
    "floods: CALL to the primary": (STATE, STATE, ANSWERS, ANSWERS, CLOSING),
    "floods: CALL that is answered": (STATE, STATE, ANSWERS, ANSWERS, CLOSING),
    "floods: CALL with room":  (STATE, STATE, ANSWERS, ANSWERS, CLOSING),
    "floods: LISTEN":          (STATE, STATE, ANSWERS, ANSWERS, CLOSING),
    "floods: MONITOR":         (STATE, STATE, MONITORS, MONITORS, CLOSING),
    "floods: MONITOR of nobody": (STATE, STATE, DOWNS, DOWNS, CLOSING),
    "floods: UNDELIVERABLE":   (STATE, STATE, BOUNCED, BOUNCED, BOUNCED),
    "floods: LOG":             (STATE, Harmless("AWP-FR-6"), Harmless("AWP-FR-6"),
                                Harmless("AWP-FR-6"), Harmless("AWP-FR-6")),
    "memory bomb: nesting":    (CONTROL, CONTROL, BOUNCES, BOUNCES, CLOSING),
    "memory bomb: arrays that are there": (NO_MAIL, NO_MAIL, Harmless("AWP-LM-2"),
                                Harmless("AWP-LM-2"), CLOSING),
    "memory bomb: many unfinished messages": (NO_MAIL, NO_MAIL, PARTIAL, PARTIAL, CLOSING),
    "memory bomb: unfinished envelopes": (NO_MAIL, NO_MAIL, PARTIAL, PARTIAL, CLOSING),
    "memory bomb: large unfinished messages": (NO_MAIL, NO_MAIL, Harmless("AWP-LG-3"),
                                Harmless("AWP-LG-3"), CLOSING),
}
# fmt: on


def _of_vector(vector: replay.Vector, state: str) -> Outcome:
    obstacle = replay.obstacle(vector)
    if obstacle is not None:
        return Absent(obstacle)
    if state != replay.state_of(vector):
        return Absent(f"the vector begins in another state: {replay.state_of(vector)}")
    if "eof" in vector:
        return LOST
    broken = replay.violation(vector)
    if broken is None:
        return Harmless(vector["requirements"][0])
    code, requirements = broken
    error = "VersionMismatch" if code == "version" else "RemoteProtocolError"
    return Breaks(requirements[0], code.upper(), error, tuple(requirements[1:]))


FAULTS: Final = (*_EVERYWHERE, *_BY_STATE, *replay.VECTORS)

TABLE: Final[dict[Cell, Outcome]] = {
    **{(state, fault): out for fault, out in _EVERYWHERE.items() for state in STATES},
    **{
        (state, fault): out
        for fault, outs in _BY_STATE.items()
        for state, out in zip(STATES, outs, strict=True)
    },
    **{
        (state, fault): _of_vector(vector, state)
        for fault, vector in replay.VECTORS.items()
        for state in STATES
    },
}
