"""What may come of bytes that a worker says: the specification as a judge reads it.

Runs in: both

Theory of operation
===================

`Judge` follows one life. It is told what the worker says, lie or not, and what the primary says,
and knows at any time with which codes the primary may have answered ABORT, and whether it may live
on. Both can be true, for two reasons. Frames cross: what the primary has said and nobody has read
yet may have changed its state, so a judge knows a *set* of states. And the specification leaves
some things open, such as which of two faults of one frame is named. So every finding about a frame
is either *certain*, in which case the primary must abort, or only *possible*.

It is written from SPEC.md, and shares nothing with the library but the numbers: it is what the
library is measured with. Where it cannot tell without being a whole implementation it says
*possible*, never *certain*.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import Any, Final, final

import attrs

from ..._counted import counted
from ...wire._generated import (
    FLAG_FRAG,
    FLAG_MORE,
    FLAG_OPTIONAL,
    KINDS,
    PRIMARY_TABLE,
    UNKNOWN_KIND,
    Action,
    Kind,
    State,
)
from ..frames import HEADER, kind_name
from .bodies import Body, read_body
from .rules import BY_ENVELOPE, FIRST, MAPS, Verdict, is_address, is_or_nil, is_version
from .talk import Frame
from .terms import Terms

__all__ = ["Judge", "Verdict"]

_MAIL: Final = frozenset({Kind.TELL, Kind.CALL, Kind.REPLY})
#: What ends an unfinished message on its channel, and of which kind.
_ENDS: Final[dict[int, frozenset[Kind]]] = {
    Kind.CANCEL: frozenset({Kind.TELL, Kind.CALL}),
    Kind.ERROR: frozenset({Kind.REPLY}),
    Kind.UNIMPLEMENTED: frozenset({Kind.REPLY}),
}
_DATA: Final = _MAIL | {Kind.ERROR, Kind.UNDELIVERABLE, Kind.LOG, Kind.EXIT_INFO}
_OPAQUE: Final = frozenset({Kind.PING, Kind.PONG})
_EARLY: Final = frozenset({State.HANDSHAKE, State.STARTING})
_BUILT: Final = frozenset(code for code, info in KINDS.items() if info.status == "built")
#: Frames of unknown kinds that anybody must bear.
_UNKNOWN: Final = 100
#: Unfinished messages that anybody must bear.
_UNFINISHED: Final = 16


@final
@attrs.frozen
class _Heard:
    """A frame of the worker's, as its receiver must read it."""

    kind: int
    flags: int
    nfds: int
    channel: int
    body: Body

    @property
    def name(self) -> str:
        return kind_name(self.kind)


@final
class Judge:
    """Follows one life.

    Args:
        terms: what the primary announces.
        worker: id of the worker.
        caps: that the worker offers.

    Attributes:
        states: in one of which the primary is.
        verdict: on all that was said since `begin`.
        met: how often a frame of each kind came in each state.
        is_silent: whether the primary may have no way to say ABORT any more.
    """

    def __init__(self, terms: Terms, worker: int, caps: tuple[str, ...]) -> None:
        self.states: set[State] = {State.HANDSHAKE}
        self.verdict = Verdict()
        self.met: Counter[tuple[str, str]] = Counter()
        self.is_silent = False
        self._terms = terms
        self._worker = worker
        self._in_force = frozenset(caps) & terms.caps
        self._begun = bytearray()
        self._groups: deque[int] = deque()
        self._is_confused = False  # about which descriptors belong to which frame
        self._said = self._settings = self._handles = self._spent = self._charged = 0
        self._is_restless = False  # the primary may say more messages at any time
        self._unknown = self._bounced = 0
        self._unfinished: dict[int, int] = {}
        self._doubtful: set[int] = set()  # channels that may have an unfinished message
        self._opened: set[int] = set()
        self._monitors: set[int] = set()
        self._certain: list[tuple[str, str]] = []
        self._possible: set[str] = set()
        self._began_early = True

    def begin(self) -> None:
        """What was said so far was borne; judge what comes."""
        self.verdict = Verdict()
        self._began_early = bool(self.states & _EARLY)

    @property
    def unfinished(self) -> int:
        """How many more bytes the frame that was begun needs, at least; 0: none was."""
        have = len(self._begun)
        if not have or not self.verdict.may_live:
            return 0
        if have < HEADER:
            return HEADER - have
        return HEADER + int.from_bytes(self._begun[2:6], "big") - have

    # ---- the primary ----------------------------------------------------------------------

    def heard(self, frame: Frame) -> None:
        """Take note of what the primary has said."""
        kind = frame.kind
        if kind == Kind.STOP:
            self.states -= {State.STARTING, State.ACTIVE}
            self.states = self.states or {State.STOPPING}
        elif kind == Kind.GOODBYE:
            self.states = {State.CLOSING}
            self.is_silent = True
        elif kind in (Kind.TELL, Kind.CALL) and not frame.flags & FLAG_MORE:
            self._said += 1
            self._spent += max(256, len(frame.raw)) + 64  # at least; one in pieces costs more
        elif kind == Kind.SETTINGS:
            self._settings += 1
        elif kind == Kind.DOWN:
            self._monitors.discard(frame.elements[0])
        if frame.nfds:
            self._handles += 1

    # ---- the worker -----------------------------------------------------------------------

    def said(self, data: bytes, fds: int = 0) -> None:
        """Judge what the worker says next."""
        if fds:
            # They may be read together with what stands before them, and looked at first.
            if self._began_early or self.states & _EARLY:
                self._allow("fd_violation")
            if self._begun:
                self._is_confused = True  # it does not begin with the first byte of a frame
            if self._is_confused:  # a frame before all this may be given them, for being too many
                self._allow("fd_violation")
            self._groups.append(fds)
            if sum(self._groups) > 4 * self._terms.limits["max_fds"]:
                self._allow("fd_violation")
        self._begun += data
        while self.verdict.may_live and len(self._begun) >= HEADER:
            head = self._begun[:HEADER]
            if (head[0], head[1], head[6], head[11]) != (0x95, 0xCE, 0xCE, 0xCE):
                self._condemn("bad_signature", f"no frame begins with {head.hex()}")
                break
            length = int.from_bytes(head[2:6], "big")
            if length > self._terms.limits["max_frame"]:
                self._condemn("frame_too_large", f"a length of {length}")
                break
            if len(self._begun) < HEADER + length:
                break
            raw = bytes(self._begun[: HEADER + length])
            del self._begun[: HEADER + length]
            channel = int.from_bytes(raw[12:16], "big")
            self._judge(_Heard(raw[7], raw[8], raw[9], channel, read_body(raw[HEADER:])))

    def _allow(self, *codes: str) -> None:
        self.verdict.codes |= set(codes)

    def _condemn(self, code: str, why: str) -> None:
        self.verdict.codes.add(code)
        self.verdict.may_live = False
        self.verdict.why = why

    def _judge(self, it: _Heard) -> None:
        """Find all that is wrong with a frame; any of it may be what the primary names."""
        if self._is_over():
            return
        for state in self.states:
            self.met[it.name, state.name] += 1
        self._certain, self._possible = [], set()
        actions = {self._cell(it.kind, state) for state in self.states}
        self._judge_descriptors(it)
        self._judge_state(it, actions)
        taken = bool(actions & {Action.DELIVER, Action.REFUSE})
        if it.kind in _OPAQUE:
            pass  # its body may be anything
        elif it.body.end is not None and it.body.end != it.body.size:
            certain = taken and it.kind in _BUILT  # others need not be looked into
            self._find("bad_length", "its body is not two objects", certain=certain)
        elif it.body.end is None:
            self._possible.add("bad_length")
        if taken:
            earlier, self._certain = self._certain, []
            always = actions == {Action.DELIVER}
            self._judge_fragment(it)
            self._judge_channel(it)
            self._judge_body(it)
            if not always:  # what is refused or ignored may be so without a look at it
                self._possible |= {code for code, _ in self._certain}
                self._certain = []
            self._certain = earlier + self._certain
        elif it.flags & (FLAG_FRAG | FLAG_MORE):
            self._possible.add("protocol_error")
        self._allow(*self._possible, *(code for code, _ in self._certain))
        if it.kind == Kind.ABORT:
            self._certain = []  # whatever is wrong with it, its receiver may just close
            self.is_silent = True
        if self._certain:
            code, why = self._certain[0]
            self._condemn(code, f"{it.name} on channel {it.channel}: {why}")
            return
        self._move(it, actions)

    def _is_over(self) -> bool:
        return self.states == {State.CLOSED}

    def _find(self, code: str, why: str, *, certain: bool = True) -> None:
        if certain:
            self._certain.append((code, why))
        else:
            self._possible.add(code)

    def _cell(self, kind: int, state: State) -> Action:
        row = PRIMARY_TABLE[state]
        return row[kind if kind in row else UNKNOWN_KIND][0]

    # ---- by what it is about --------------------------------------------------------------

    def _judge_descriptors(self, it: _Heard) -> None:
        if not it.nfds:
            return
        early = self.states <= _EARLY
        if it.nfds > self._terms.limits["max_fds"]:
            self._find("fd_violation", f"declared: {counted(it.nfds, 'descriptor')}")
        elif early:
            self._find("fd_violation", "descriptors before READY")
        elif it.kind in _BUILT and not KINDS[it.kind].handles:
            self._find("fd_violation", "this kind has no handles")
        elif "handle.send" not in self._in_force:
            self._find("fd_violation", "handle.send is not in force")
        elif it.kind in _BUILT and KINDS[it.kind].capability not in self._in_force:
            self._possible.add("fd_violation")  # likewise, for the kind
        if not self._groups:
            self._is_confused = True  # it may be given those of a later frame
        elif self._is_confused:
            self._possible.add("fd_violation")
        elif (count := self._groups.popleft()) > it.nfds:
            self._find("fd_violation", f"{counted(count, 'descriptor')} came for {it.nfds}")

    def _judge_state(self, it: _Heard, actions: set[Action]) -> None:
        if Action.ABORT in actions:
            self._find("state_violation", f"while {self._names()}", certain=len(actions) == 1)
        needed = KINDS[it.kind].capability if it.kind in _BUILT else None
        if needed is not None and needed not in self._in_force and actions != {Action.IGNORE}:
            certain = Action.IGNORE not in actions and not self.states & _EARLY
            self._find("protocol_error", f"{needed} is not in force", certain=certain)
            self._possible.add("state_violation")
        if self.states & {State.STARTING}:
            # A primary that has not said WELCOME yet may have seen it too early.
            self._possible.add("state_violation")

    def _judge_fragment(self, it: _Heard) -> None:
        flags, channel = it.flags & (FLAG_FRAG | FLAG_MORE), it.channel
        if it.kind not in _BUILT:
            return
        begun = self._unfinished.get(channel) if channel else None
        if channel in self._doubtful:
            self._possible.add("protocol_error")
            return
        if flags and (not flags & FLAG_FRAG or it.kind not in _MAIL):
            self._find("protocol_error", f"flags {it.flags:#04x}")
        elif flags and "frag" not in self._in_force:
            self._find("protocol_error", "frag is not in force", certain=it.kind != Kind.REPLY)
        elif begun is not None and it.kind in _MAIL:
            certain = State.CLOSING not in self.states  # where the rest is ignored
            if not flags or begun != it.kind:
                self._find("protocol_error", "not the next fragment", certain=certain)
            elif it.nfds:
                self._find("protocol_error", "later, and with descriptors", certain=certain)

    def _judge_channel(self, it: _Heard) -> None:
        kind, channel = it.kind, it.channel
        if kind not in _BUILT or kind in _OPAQUE or (kind in _MAIL and channel in self._unfinished):
            return
        where = KINDS[kind].channel
        opens = where == "opens" or (kind == Kind.TELL and bool(it.flags & FLAG_FRAG))
        if where == "zero" and channel:
            self._find("protocol_error", "not on channel 0")
        elif where in ("opens", "uses") and not channel:
            # A REPLY on channel 0 is on a channel where nobody has called.
            self._find("protocol_error", "on channel 0", certain=kind != Kind.REPLY)
        elif kind == Kind.TELL and channel and not it.flags & FLAG_FRAG:
            self._find("protocol_error", "in one frame on a channel")
        elif opens and channel % 2 == 0:
            self._find("protocol_error", "opens the primary's channel")
        elif opens and channel in self._opened:
            self._possible.add("protocol_error")

    def _judge_body(self, it: _Heard) -> None:
        kind, body = it.kind, it.body
        if kind not in _BUILT or kind in _OPAQUE:
            return
        if kind == Kind.ABORT:
            return
        if kind in _MAIL:
            self._judge_mail(it)
        elif kind in _DATA:
            if kind == Kind.UNDELIVERABLE:
                self._judge_bounce(body)
        elif body.is_broken or body.is_doubtful or body.end != body.size:
            self._possible |= BY_ENVELOPE.get(kind, frozenset())
            self._find("protocol_error", "its body breaks the profile", certain=body.is_broken)
        else:
            self._judge_control(it)

    def _judge_mail(self, it: _Heard) -> None:
        body, kind = it.body, it.kind
        if kind == Kind.REPLY:
            return
        charge = min(max(256, HEADER + body.size), self._terms.limits["window"])
        self._charged += charge
        if self._charged > self._terms.limits["window"]:
            self._possible.add("flow_violation")
        if body.is_broken or body.is_doubtful:
            self._possible.add("spoofed_sender")  # whose envelope could be read all the same
        sender = body.element(1)
        if type(sender) is int and 0 <= sender < 1 << 64 and sender >> 32 != self._worker:
            clean = not (
                body.is_broken or body.is_doubtful or it.flags or body.envelope_size > 1000
            )
            certain = clean and not self._possible and is_address(body.element(0))
            certain = (
                certain and is_or_nil(list, body.element(2)) and is_or_nil(dict, body.element(3))
            )
            self._find("spoofed_sender", f"from {sender}", certain=certain)
        if len(self._unfinished) > _UNFINISHED:
            self._possible.add("limit_exceeded")

    def _judge_bounce(self, body: Body) -> None:
        number = body.element(0)
        if body.is_broken or body.is_doubtful or type(number) is not int:
            self._possible.add("protocol_error")
            return
        self._bounced += 1
        if number == 0 or (number > self._said and not self._is_restless):
            self._find("protocol_error", f"message {number} was never sent", certain=number >= 0
                       and number < 1 << 64 and is_address(body.element(1)))  # fmt: skip
        elif number > self._said or self._bounced > self._said:
            self._possible.add("protocol_error")

    def _judge_control(self, it: _Heard) -> None:
        kind, body = it.kind, it.body
        self._possible.add("protocol_error")  # for a field that is not looked at here
        if kind in MAPS:
            self._judge_map(kind, body)
        if (bits := FIRST.get(kind)) is None:
            return
        first = body.element(0)
        if type(first) is not int or not 0 <= first < 1 << bits:
            certain = kind != Kind.CREDIT or not it.channel
            self._find("protocol_error", f"it says {first!r}", certain=certain)
            return
        limit: dict[int, int] = {Kind.ACK: self._said, Kind.HANDLE_ACK: self._handles}
        if kind in limit and first > limit[kind]:
            certain = not self._is_restless
            self._find("protocol_error", f"{first} is more than was sent", certain=certain)
        if kind == Kind.CREDIT and first and not it.channel:
            certain = first > self._spent and not self._is_restless
            self._find("flow_violation", f"{first} is more than was spent", certain=certain)
        if kind == Kind.MONITOR and is_address(body.element(1)):
            if first in self._monitors:
                self._possible.add("protocol_error")
            self._monitors.add(first)
            if len(self._monitors) > self._terms.limits["max_monitors"]:
                self._possible.add("limit_exceeded")
        if kind == Kind.DEMONITOR:
            self._monitors.discard(first)

    def _judge_map(self, kind: int, body: Body) -> None:
        said = body.payload
        if said is not None and not isinstance(said, dict):
            self._find("protocol_error", f"its payload is {type(said).__name__}")
            return
        said = said or {}
        if kind == Kind.HELLO:
            self._judge_hello(said)
        for key, wanted in MAPS[kind].items():
            if type(said.get(key)) is not wanted:
                self._find("protocol_error", f"{key} is {said.get(key)!r}")
        if kind == Kind.GOODBYE and type(recv := said.get("recv")) is int:
            certain = not self._is_restless and "reason" not in said and "detail" not in said
            if not 0 <= recv <= self._said:
                self._find("protocol_error", f"recv is {recv}", certain=certain)

    def _judge_hello(self, said: dict[str, Any]) -> None:
        self._possible |= {"version", "required_capability"}
        versions = said.get("versions")
        if isinstance(versions, list) and len(said) == 1:
            pairs = [one for one in versions if is_version(one)]
            if len(pairs) == len(versions) and not any(one[0] == 1 for one in pairs):
                self._find("version", f"versions are {versions}")

    # ---- and then -------------------------------------------------------------------------

    def _move(self, it: _Heard, actions: set[Action]) -> None:
        """Where the primary may be after a frame that it may have borne."""
        kind = it.kind
        if kind == Kind.SETTINGS_ACK and actions <= {Action.DELIVER}:
            self._settings -= 1
            if self._settings < 0:
                self._condemn("protocol_error", "SETTINGS_ACK without SETTINGS")
                return
        after = set()
        for state in self.states:
            action, then = PRIMARY_TABLE[state][kind if kind in PRIMARY_TABLE[state] else
                                               UNKNOWN_KIND]  # fmt: skip
            if action is not Action.ABORT:
                after.add(then)
        self.states = after or self.states
        if kind == Kind.GOODBYE and State.STOPPING in self.states:
            self.states |= {State.CLOSING}  # it may have answered
            self.is_silent = True
        if kind == Kind.LEAVE and self.states & {State.STARTING, State.ACTIVE}:
            self.states |= {State.STOPPING}  # it has answered (AWP-ST-7)
        if kind == Kind.ABORT:
            self.is_silent = True
        if kind in (Kind.TELL, Kind.CALL):
            self._is_restless = True
            if State.ACTIVE in self.states:
                self.states |= {State.STOPPING}  # it may have been the command to stop
        if kind not in _BUILT and not it.flags & FLAG_OPTIONAL:
            self._unknown += 1
            if self._unknown > _UNKNOWN:
                self._allow("limit_exceeded")
        self._note_channel(it, is_taken=Action.IGNORE not in actions)

    def _note_channel(self, it: _Heard, *, is_taken: bool) -> None:
        kind, channel = it.kind, it.channel
        if not is_taken:
            if it.flags & FLAG_FRAG and channel:
                self._doubtful.add(channel)
            return
        if kind in (Kind.CALL, Kind.LISTEN):
            self._opened.add(channel)
        if kind in _MAIL and it.flags & FLAG_FRAG and channel:
            if kind == Kind.REPLY and channel not in self._unfinished:
                self._allow("protocol_error")
                return
            if it.flags & FLAG_MORE:
                self._unfinished[channel] = kind
            else:
                self._unfinished.pop(channel, None)
        elif kind in _ENDS and self._unfinished.get(channel) in _ENDS[kind]:
            del self._unfinished[channel]

    def _names(self) -> str:
        return " or ".join(sorted(state.name for state in self.states))
