"""What is watched in every case, whatever the case is about: the duties of a sender.

Runs in: both

A case asks one question; meanwhile the worker says much else, all of which has to be right as
well. `Watch` reads both directions of a connection and keeps the books: states, channels, credit,
numbers, descriptors. What it finds is no failure of the case that was played: each rule below is
a case of its own, whose stimulus is everything that was played.

It is lenient where it cannot know: the worker's state is behind ours by what is on its way, so
whatever one of the two allows is allowed. When what we say is no stream of frames any more, as in
many a case, it goes on with the worker's side alone (`is_blind`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import attrs

from .._counted import counted
from ..wire._generated import (
    BUILT_CAPABILITIES,
    FLAG_FRAG,
    FLAG_MORE,
    FLAG_OPTIONAL,
    HANDLE_NAMES,
    KINDS,
    LIMIT_DEFAULTS,
    LIMIT_FLOORS,
    WORKER_SENDS,
    Kind,
    State,
)
from .books import Books, Listener, cost_of
from .frames import Cutter, Fault, Heard, pack, unpack_all
from .shapes import misshapen

__all__ = ["RULES", "Watch"]

#: Rules by id: the sentence, and what it is about.
RULES: Final[dict[str, tuple[str, str]]] = {
    "watch.header": ("AWP-FR-1", "headers have the one form that there is"),
    "watch.body": ("AWP-FR-2", "bodies are two msgpack objects that fill the length"),
    "watch.flags": ("AWP-FR-8", "no flag that is not specified"),
    "watch.groups": ("AWP-FD-1", "as many descriptors come as the header declares"),
    "watch.lane": ("AWP-LN-2", "handles come by the lane, with their numbers"),
    "watch.declared": ("AWP-LN-1", "frames with handles say that these come by the lane"),
    "watch.shapes": ("AWP-FR-6", "envelopes and payloads are shaped as their kinds demand"),
    "watch.first": ("AWP-HS-1", "HELLO comes first, and once"),
    "watch.early": ("AWP-HS-4", "before READY nothing that the tables do not allow"),
    "watch.direction": ("AWP-HS-4", "no kind that only the primary sends, nor an unknown one"),
    "watch.caps": ("AWP-HS-3", "nothing whose capability is not in force"),
    "watch.floors": ("AWP-LM-1", "no limit below its floor"),
    "watch.channels": ("AWP-CH-1", "channels are opened with odd ids that are not open"),
    "watch.channel-use": ("AWP-CH-2", "each kind on the channels that it goes on"),
    "watch.answers": ("AWP-CA-1", "one answer to a call, and none to what is no open call"),
    "watch.credit-spent": ("AWP-FC-1", "no message costs more than the credit that is left"),
    "watch.credit-returned": ("AWP-FC-4", "no credit comes back that was not spent"),
    "watch.ack": ("AWP-MS-8", "ACK does not speak of what was not sent"),
    "watch.handle-ack": ("AWP-HA-4", "HANDLE_ACK does not speak of what was not sent"),
    "watch.goodbye": ("AWP-ST-5", "GOODBYE counts no more messages than there were"),
    "watch.after-goodbye": ("AWP-ST-2", "behind GOODBYE nothing but PONG or ABORT"),
    "watch.after-abort": ("AWP-ST-4", "behind ABORT nothing"),
    "watch.max-frame": ("AWP-LG-1", "no frame over the primary's max_frame"),
    "watch.fragments": ("AWP-LG-1", "fragments follow each other as they must"),
    "watch.handles": ("AWP-HA-5", "one entry in `handles` for each descriptor"),
    "watch.handle-kinds": ("AWP-HA-1", "no handle of a kind that the primary did not list"),
    "watch.conn-reply": ("AWP-LI-3", "CONN_REPLY speaks of connections that were handed over"),
    "watch.closed": ("AWP-LI-8", "`closed` counts connections that were taken"),
    "watch.sender": ("AWP-MS-1", "`from` is nil or an actor of the worker"),
    "watch.pings": ("AWP-PI-1", "no PONG without its PING"),
    "watch.fds-in-flight": ("AWP-FD-8", "no more descriptors in flight than the primary allows"),
    "watch.log": ("AWP-LO-1", "LOG has OPTIONAL set"),
    "watch.monitors": ("AWP-SU-2", "each MONITOR has a number that is not open"),
}

_ORDER: Final = list(State)
#: Frames of ours that end a channel of the worker's.
_ENDING: Final = (Kind.REPLY, Kind.ERROR, Kind.LISTEN_CLOSE, Kind.UNIMPLEMENTED)


@attrs.define
class _Partial:
    """A message of the worker in fragments, as far as it has come."""

    first: Heard
    window: int  # the primary's when it was begun, by which it costs
    size: int = 0


class Watch:
    """The books of one connection."""

    def __init__(self) -> None:
        self.findings: list[tuple[str, Fault]] = []
        self.tried: set[str] = set()
        self.state = State.HANDSHAKE
        self.is_over = False
        self.is_blind = False
        self.books = Books()
        self._ours = Cutter()
        self._hellos = 0
        self._pings: list[tuple[int, bytes]] = []
        self._welcomed = False
        self._ready = False
        self._caps: frozenset[str] = frozenset()
        self._limits = dict(LIMIT_DEFAULTS)
        self._changes: deque[dict[str, int]] = deque()  # of SETTINGS that are not acknowledged
        self._handles: frozenset[str] = frozenset()
        self._worker = 0
        self._channels: dict[int, int] = {}  # opened by the worker, and by what
        self._partials: dict[int, _Partial] = {}
        self._monitors: set[int] = set()

    @property
    def is_active(self) -> bool:
        """Whether commands are taken."""
        return self.state is State.ACTIVE

    @property
    def ours_spent(self) -> int:
        """What the worker's messages have cost and nobody has returned."""
        return self.books.theirs_spent

    @staticmethod
    def joined(frames: Sequence[Heard]) -> Any:
        """Give the payload of a message, put together from its fragments.

        Raises:
            ValueError: it is not msgpack.
        """
        if not frames[0].flags & FLAG_FRAG:
            return frames[0].payload
        data = b"".join(one.payload for one in frames if isinstance(one.payload, bytes))
        (value,) = unpack_all(data)
        return value

    def _reach(self, state: State) -> None:
        """It is in this state now, unless it was further already."""
        self.state = max(self.state, state, key=_ORDER.index)

    def _note(self, rule: str, is_so: bool, text: str) -> None:
        self.tried.add(rule)
        if not is_so:
            self.findings.append((rule, Fault(RULES[rule][0], text)))

    # ---- what we say ----------------------------------------------------------------------

    def say(self, data: bytes) -> None:
        """We are about to write this."""
        for said in self._ours.feed(data, 0.0):
            self._said(said)
        if self._ours.broken is not None:
            self.is_blind = True

    def _said(self, said: Heard) -> None:
        books = self.books
        kind = said.kind
        if kind == Kind.WELCOME and isinstance(said.payload, dict) and not self._welcomed:
            self._welcome(said.payload)
        elif (kind == Kind.STOP and self._welcomed) or (kind == Kind.GOODBYE and self._welcomed):
            self._reach(State.STOPPING)
        elif kind == Kind.ABORT:
            self.is_over = True
        elif kind == Kind.PING:
            self._pings.append((said.channel, said.body))
        elif kind == Kind.CREDIT and said.channel == 0 and isinstance(said.item(0), int):
            books.theirs_spent -= said.item(0)
        elif kind == Kind.SETTINGS and isinstance(said.payload, dict):
            self._settings(said.payload.get("limits"))
        elif kind == Kind.HANDLE_ACK and isinstance(said.item(0), int):
            books.in_flight.acknowledged(said.item(0))
        elif kind == Kind.DOWN:
            self._monitors.discard(said.item(0))
        elif kind == Kind.CONN:
            self._conn(said)
        elif kind in _ENDING and not said.flags & FLAG_MORE:
            self._channels.pop(said.channel, None)
        books.we_sent(said)

    def _welcome(self, payload: dict[str, Any]) -> None:
        self._welcomed = True
        self._caps = frozenset(payload.get("caps") or ())
        self._limits |= payload.get("limits") or {}
        self._handles = frozenset(payload.get("handles") or ())
        self._worker = payload.get("worker", 0)
        self.state = State.STARTING

    def _settings(self, limits: object) -> None:
        """What grows holds at once, all else and the window once the worker has acknowledged it."""
        named = limits if isinstance(limits, dict) else {}
        change = {key: size for key, size in named.items() if isinstance(size, int)}
        grown = {key: size for key, size in change.items() if size > self._limits.get(key, 0)}
        self._limits |= {**grown, "window": self._limits["window"]}
        self._changes.append(change)

    def _conn(self, said: Heard) -> None:
        listener = self.books.listeners.setdefault(said.channel, Listener())
        first, handles = said.item(0), said.item(1)
        if isinstance(first, int) and isinstance(handles, list):
            listener.given = max(listener.given, first + len(handles) - 1)

    # ---- what the worker says -------------------------------------------------------------

    def hear(self, heard: Heard) -> None:
        """The worker has said this."""
        self._form(heard)
        if not self._order(heard):
            return
        known = KINDS.get(heard.kind)
        if known is None or known.status != "built":
            grease = bool(heard.flags & FLAG_OPTIONAL) and 0xF0 <= heard.kind <= 0xFE
            self._note("watch.direction", grease, f"{heard.name} is of no kind that is known")
            return
        if self._ready and self.state in (State.ACTIVE, State.STOPPING):
            self._note("watch.direction", known.direction != "P>W", f"{heard.name} came")
        text = f"{heard.name} needs {known.capability}, which is not in force"
        if self._welcomed:
            self._note("watch.caps", known.capability in {None, *self._caps}, text)
        if wrong := misshapen(heard):
            self._note("watch.shapes", False, f"{heard.name}: {wrong}")
            return
        self.tried.add("watch.shapes")
        self._channel(heard, known.channel)
        self._by_kind(heard)
        if known.handles:
            self._passed(heard)

    def _form(self, heard: Heard) -> None:
        faults = {fault.requirement: fault.text for fault in heard.faults}
        for rule in ("watch.header", "watch.body", "watch.flags"):
            requirement = RULES[rule][0]
            self._note(rule, requirement not in faults, faults.get(requirement, ""))
        if heard.kind == Kind.LOG:
            is_optional = bool(heard.flags & FLAG_OPTIONAL)
            self._note("watch.log", is_optional, "LOG without OPTIONAL")
        if heard.nfds:
            for rule in ("watch.groups", "watch.lane", "watch.declared"):
                requirement = RULES[rule][0]
                self._note(rule, requirement not in faults, faults.get(requirement, ""))
        if self._welcomed:
            size, most = len(heard.body), self._limits["max_frame"]
            text = f"{heard.name} of {size} bytes, with a max_frame of {most}"
            self._note("watch.max-frame", size <= most, text)

    def _order(self, heard: Heard) -> bool:
        """Whether it may come in this state at all."""
        kind = heard.kind
        is_hello = kind == Kind.HELLO
        if self._hellos == 0 or is_hello:
            self._note("watch.first", is_hello and not self._hellos, f"{heard.name} came first")
            self._hellos += is_hello
        if self.is_over or self.state is State.CLOSED:
            if self.state is State.CLOSED:
                self._note("watch.after-abort", False, f"{heard.name} came behind ABORT")
            return False
        if self.state is State.CLOSING:
            fits = kind in (Kind.PONG, Kind.ABORT)
            self._note("watch.after-goodbye", fits, f"{heard.name} came behind GOODBYE")
        elif not self._ready and not is_hello:
            allowed = WORKER_SENDS[State.STARTING if self._welcomed else State.HANDSHAKE]
            self._note("watch.early", kind in allowed, f"{heard.name} came before READY")
        if kind == Kind.READY:
            self._ready = True
            self._reach(State.ACTIVE)
        elif kind == Kind.GOODBYE:
            self.state = State.CLOSING
            self.tried.add("watch.after-goodbye")
        elif kind == Kind.ABORT:
            self.state = State.CLOSED
            self.tried.add("watch.after-abort")
        return True

    def _channel(self, heard: Heard, use: str) -> None:
        channel, text = heard.channel, f"{heard.name} on channel {heard.channel}"
        if use == "zero":
            self._note("watch.channel-use", channel == 0, text)
        elif use in ("opens", "uses") and heard.kind not in (Kind.CREDIT, Kind.UNIMPLEMENTED):
            self._note("watch.channel-use", channel != 0, text)
        if use == "optional":
            is_fragment = bool(heard.flags & FLAG_FRAG)
            self._note("watch.channel-use", (channel != 0) == is_fragment, text)
        if channel and use in ("opens", "optional") and channel not in self._partials:
            is_free = channel % 2 == 1 and channel not in self._channels
            self._note("watch.channels", is_free, f"{text}, which it cannot open")
            self._channels[channel] = heard.kind

    def _by_kind(self, heard: Heard) -> None:
        match heard.kind:
            case Kind.HELLO:
                self._hello(heard)
            case Kind.TELL | Kind.CALL | Kind.REPLY:
                self._message(heard)
            case Kind.ERROR:
                self._answered(heard)
            case Kind.SETTINGS_ACK if self._changes:
                self._limits |= self._changes.popleft()
            case Kind.CREDIT:
                if heard.channel == 0 and not self.is_blind:
                    self.books.ours_owed -= heard.item(0)
                    owed = self.books.ours_owed
                    text = f"CREDIT of {heard.item(0)} is {-owed} more than what was spent"
                    self._note("watch.credit-returned", owed >= 0, text)
            case Kind.ACK:
                sent = self.books.ours_sent
                text = f"ACK of {heard.item(0)} with {sent} messages sent"
                self._note("watch.ack", self.is_blind or heard.item(0) <= sent, text)
                self.books.acknowledged = max(self.books.acknowledged, heard.item(0))
            case Kind.HANDLE_ACK:
                sent = self.books.ours_with_handles
                text = f"HANDLE_ACK of {heard.item(0)} with {sent} such frames sent"
                self._note("watch.handle-ack", self.is_blind or heard.item(0) <= sent, text)
            case Kind.GOODBYE:
                self._goodbye(heard)
            case Kind.PONG:
                entry = (heard.channel, heard.body)
                is_ours = self.is_blind or entry in self._pings
                self._note("watch.pings", is_ours, f"nobody sent PING for {heard}")
                if entry in self._pings:
                    self._pings.remove(entry)
            case Kind.CONN_REPLY | Kind.CONN_CREDIT:
                self._conn_answer(heard)
            case Kind.LISTEN_CLOSE:
                self._channels.pop(heard.channel, None)
            case Kind.MONITOR | Kind.DEMONITOR:
                self._monitor(heard)
            case _:
                pass

    def _monitor(self, heard: Heard) -> None:
        number = heard.item(0)
        if heard.kind == Kind.DEMONITOR:
            self._monitors.discard(number)
            return
        is_free = number not in self._monitors
        self._note("watch.monitors", is_free, f"MONITOR {number} is open")
        self._monitors.add(number)

    def _hello(self, heard: Heard) -> None:
        limits = heard.field("limits") or {}
        handles = "handle" in (heard.field("caps") or ())
        for name, floor in LIMIT_FLOORS.items():
            value = limits.get(name, LIMIT_DEFAULTS[name])
            is_bound = handles or name not in ("max_fds", "fds_in_flight")
            self._note("watch.floors", value >= floor or not is_bound, f"{name} is {value}")
        caps = frozenset(heard.field("caps") or ())
        self.books.set_limits({**LIMIT_DEFAULTS, **limits}, caps & BUILT_CAPABILITIES)

    def _goodbye(self, heard: Heard) -> None:
        said, sent = heard.field("recv"), self.books.ours_sent
        least = self.books.acknowledged
        text = f"recv is {said}; sent: {counted(sent, 'message')}, {least} acknowledged"
        self._note("watch.goodbye", self.is_blind or least <= said <= sent, text)

    # ---- messages -------------------------------------------------------------------------

    def _message(self, heard: Heard) -> None:
        if heard.kind == Kind.REPLY and heard.channel not in self._partials:
            self._answer_begins(heard)
        if heard.kind != Kind.REPLY:
            sender = heard.item(1)
            is_own = isinstance(sender, int) and sender >> 32 == self._worker
            self._note("watch.sender", sender is None or is_own, f"`from` is {sender!r}")
        if not heard.flags & FLAG_FRAG and heard.channel not in self._partials:
            self._note("watch.fragments", not heard.flags & FLAG_MORE, "MORE without FRAG")
            self._complete(heard, len(heard.body), self._limits["window"])
            return
        self._fragment(heard)

    def _fragment(self, heard: Heard) -> None:
        is_bin = isinstance(heard.payload, bytes)
        partial = self._partials.get(heard.channel)
        is_next = partial is None or (
            partial.first.kind == heard.kind and heard.envelope is None and not heard.nfds
        )
        fits = bool(heard.flags & FLAG_FRAG) and is_bin and is_next
        is_short = is_bin and heard.body.endswith(pack(heard.payload))
        text = f"{heard.name} on {heard.channel} is not the next fragment"
        self._note("watch.fragments", fits, text)
        self._note("watch.fragments", is_short, "a piece is not a bin in its shortest form")
        self._note("watch.caps", "frag" in self._caps, "a fragment, and frag is not in force")
        if not is_bin:
            return
        if partial is None:
            envelope = len(heard.body) - len(pack(heard.payload))
            window = self._limits["window"]
            partial = self._partials[heard.channel] = _Partial(heard, window, envelope)
        partial.size += len(heard.payload)
        if not heard.flags & FLAG_MORE:
            del self._partials[heard.channel]
            if heard.kind == Kind.TELL:
                self._channels.pop(heard.channel, None)
            self._complete(partial.first, partial.size, partial.window)

    def _complete(self, heard: Heard, size: int, clip: int) -> None:
        """A message is complete: `size` is that of its envelope and its whole payload.

        Args:
            clip: what it costs at most.
        """
        books = self.books
        if heard.kind == Kind.REPLY:
            self._answered(heard)
            return
        window = self._limits["window"]
        books.theirs_spent += cost_of(size, clip)
        text = f"a message of {size} bytes makes {books.theirs_spent} spent of {window}"
        self._note("watch.credit-spent", books.theirs_spent <= window, text)

    def _answer_begins(self, heard: Heard) -> None:
        if not self.is_blind:
            text = f"REPLY on channel {heard.channel}, which is no open call"
            self._note("watch.answers", heard.channel in self.books.calls, text)

    def _answered(self, heard: Heard) -> None:
        if not self.is_blind:
            text = f"{heard.name} on channel {heard.channel}, which is no open call"
            self._note("watch.answers", heard.channel in self.books.calls, text)
        self.books.calls.discard(heard.channel)

    # ---- descriptors ----------------------------------------------------------------------

    def _passed(self, heard: Heard) -> None:
        index = KINDS[heard.kind].fields.index("handles")
        entries = heard.item(index) or []
        text = (
            f"{heard.name} has {counted(heard.nfds, 'descriptor')}, and entries for {len(entries)}"
        )
        if heard.nfds or entries:
            self._note("watch.handles", heard.nfds == len(entries), text)
        for entry in entries:
            kind = entry[0] if isinstance(entry, list) and entry else None
            name = HANDLE_NAMES.get(kind) if isinstance(kind, int) else None
            text = f"a handle of kind {name or kind}"
            self._note("watch.handle-kinds", name in self._handles, text)
        if heard.nfds:
            self._note("watch.caps", "handle.send" in self._caps, "it sent descriptors")
            flying = self.books.in_flight.sent(heard.nfds)
            most = self._limits["fds_in_flight"]
            if "handle.ack" in self._caps:
                text = f"{counted(flying, 'descriptor')} in flight, not {most} at most"
                self._note("watch.fds-in-flight", flying <= most, text)

    def _conn_answer(self, heard: Heard) -> None:
        listener = self.books.listeners.setdefault(heard.channel, Listener())
        if heard.kind == Kind.CONN_REPLY:
            wrong = listener.replied(heard.item(0), heard.item(1) or [])
            self._note("watch.conn-reply", self.is_blind or not wrong, wrong)
        elif isinstance(heard.item(1), int):
            text = f"closed is {heard.item(1)} with {listener.taken} connections taken"
            self._note("watch.closed", heard.item(1) <= listener.taken, text)
