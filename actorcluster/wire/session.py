"""What both ends of a connection know, and the few ways in which a frame is queued.

Runs in: both

`Session` holds the facts, and no opinion about any kind of frame. Each of the conversations that
are led on a connection is a layer over it, with what it sends and what it does about what arrives
side by side. A layer uses those above it in this list, never those below:

======================  =======================================================
`Session`               facts
`flow.Flow`             credit, acknowledgements of messages and of handles
`sending.Sending`       messages, calls and answers on their way out
`bulk.Bulk`             payloads in memory files
`receiving.Receiving`   messages, calls and answers on their way in
`ports.Ports`           listeners and handed-over connections
`monitors.Monitors`     who asked to be told of whose end
`handshake.Handshake`   HELLO, WELCOME
`life.Life`             everything else on channel 0: settings, liveness, the end
`dispatch.Dispatch`     by state and kind: ``_on_<kind>`` is a kind's method
`connection.Connection` the outside
======================  =======================================================
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgpack

from ..errors import HandleError, LocalProtocolError, MessageTooLarge, RemoteProtocolError
from ._generated import (
    BUILT_CAPABILITIES,
    BUILT_HANDLE_NAMES,
    HANDLE_NAMES,
    KINDS,
    LIMIT_DEFAULTS,
    LIMIT_FLOORS,
    MAJOR,
    MINOR,
    AbortCode,
    Capability,
    ErrorCode,
    Kind,
    State,
)
from .batches import SMALL
from .credit import Arrivals, Deliveries, ReceiveWindow, SendWindow
from .descriptors import DescriptorQueue
from .events import Event
from .fragments import Reassembly
from .frames import Frame, FrameReader, encode_frame
from .holdings import DescriptorShare
from .listener import Listener
from .outbox import FRAGMENT_SIZE, SLACK, Outbox
from .state import Role, StateMachine
from .values import LEAST_BUFFER, MAX_HANDLES, RAW_HANDLES, HandleAdapter, RefAdapter, Values

__all__ = ["ENVELOPE_SHARE", "FLOORS", "NIL", "Session", "error_map", "kinds_of"]

#: Room that every frame leaves for its envelope.
ENVELOPE_SHARE: Final = 2
#: What is left to the payload in the first fragment of a message.
_LEAST_PIECE: Final = 1024
#: Without those for which somebody else has to do something, see `Connection.offer_bulk`.
_OFFERED: Final = BUILT_CAPABILITIES - {Capability.BULK_MEMFD}
#: nil, the envelope of every kind that has none.
NIL: Final = b"\xc0"
#: Bytes of answers that a peer may provoke without reading any.
_MAX_ANSWERS: Final = 4 * 1024 * 1024
_ENDS_OF_CALLS: Final = frozenset({int(Kind.REPLY), int(Kind.ERROR)})
_MAX_CHANNEL: Final = 2**32 - 1
#: Texts of errors and log records are cut to this length when a frame would not fit.
_SHORT_TEXT: Final = 4096
#: The floor of ``max_fds`` holds only for sides that take handles.
FLOORS: Final = {**LIMIT_FLOORS, "max_fds": 0}
_CEILINGS: Final = {"max_fds": MAX_HANDLES}


class Session:
    """The facts of one connection, see `Connection` for the arguments.

    Attributes:
        role: which end this is.
        limits: what this side can receive.
        peer_limits: what the peer can receive; defaults until it has said so.
        capabilities: those in force; none before WELCOME.
    """

    #: kinds of handles that could be sent at all.
    _sendable_kinds: frozenset[int] = frozenset(HANDLE_NAMES)
    #: bounds the descriptors that wait here to be taken; None: nothing does.
    _share: DescriptorShare | None = None
    #: of these, those that no frame has claimed so far.
    _unclaimed = 0

    def __init__(
        self,
        role: Role,
        *,
        limits: Mapping[str, int] | None = None,
        capabilities: Iterable[str] = _OFFERED,
        handle_names: Iterable[str] = BUILT_HANDLE_NAMES,
        handles: HandleAdapter = RAW_HANDLES,
        refs: RefAdapter | None = None,
        gather: bool = False,
    ) -> None:
        self.role: Role = role
        self.limits = own_limits(limits or {})
        self.peer_limits: dict[str, int] = dict(LIMIT_DEFAULTS)
        self.capabilities: frozenset[str] = frozenset()
        self._offered = frozenset(capabilities)
        self._handle_names = frozenset(handle_names)
        self._handle_kinds = kinds_of(self._handle_names)
        self._peer_handle_kinds: frozenset[int] = frozenset()
        self._handles = handles
        self._machine = StateMachine(role)
        #: the longest body that the peer takes, and envelope with heads of handles.
        self._largest_body = self._largest_envelope = 0
        #: the longest message, envelope included, that goes the short way: copied, not copied.
        self._largest_plain = self._largest_whole = 0
        self._values = Values(handles=handles, refs=refs, max_depth=self.limits["max_depth"])
        self._reader = FrameReader(self._values, max_frame=self.limits["max_frame"], gather=gather)
        self._packer = msgpack.Packer()
        self._outbox = Outbox()
        self._window = SendWindow(self.peer_limits["window"])
        self._deliveries = Deliveries()
        self._inbound_window = ReceiveWindow(self.limits["window"])
        self._arrivals = Arrivals()
        #: what is not longer exceeds neither ``max_message`` nor ``max_meta``.
        self._plain_length = min(self.limits["max_message"], self.limits["max_meta"])
        self._descriptors = DescriptorQueue(self.limits["max_fds"])
        self._reassembly = Reassembly(self.limits["max_message"], self.limits["max_partial"])
        self._events: list[Event] = []
        self._next_channel = 1 if role == "worker" else 2
        self._wrapped = False
        #: our calls without an answer: channel -> number of the message, 0 for a LISTEN.
        self._calls: dict[int, int] = {}
        #: the peer's calls that we have not answered: likewise.
        self._inbound_calls: dict[int, int] = {}
        #: how many of them we have answered since the answers were counted, see `_check_answers`.
        self._calls_answered = 0
        self._listeners: dict[int, Listener] = {}
        #: numbers of monitors that are open: the worker's, on both sides.
        self._monitors: set[int] = set()
        #: handles of answers that were too late to be queued.
        self._unsent: list[Any] = []
        #: descriptors of the frame at hand, until somebody owns them; None: they were lost.
        self._fds: list[int] | None = []
        #: frames with handles that arrived; of those: reported, and lost but not reported yet.
        self._handle_frames = 0
        self._handle_frames_acknowledged = 0
        self._handle_frames_lost: list[int] = []
        #: what was said in the handshake, by either side.
        self._introduced = False
        self._offer: frozenset[str] = frozenset()
        self._version = (MAJOR, MINOR)
        #: what the worker offered, when none of it is ours.
        self.peer_versions: tuple[tuple[int, int], ...] = ()
        self._worker_id = 0
        #: limits that SETTINGS changes: those the peer has acknowledged, and those under way.
        self._agreed_limits = dict(self.limits)
        self._pending_limits: deque[dict[str, int]] = deque()
        self._unknown_kinds = 0
        #: messages of ours that the peer has bounced.
        self._bounces = 0
        self._agree(frozenset())

    @property
    def state(self) -> State:
        """Where this end of the connection stands."""
        return self._machine.state

    @property
    def share(self) -> DescriptorShare | None:
        """What bounds the descriptors that wait here to be taken, if anything does."""
        return self._share

    def bound_descriptors(self, share: DescriptorShare) -> None:
        """Refuse messages (`mailbox_full`) whose handles have no room in the share."""
        self._share = share

    def shrink(self) -> None:
        """Give back the memory that is for speed alone: hundreds of KiB, used or not.

        To be called when the connection is over. Something may hold it for long then, if only in a
        cycle that the garbage collector has not come to.
        """
        self._packer = msgpack.Packer(buf_size=LEAST_BUFFER)
        self._values.shrink()
        self._reader.shrink()
        self._reassembly.shrink()

    # ---- agreements -----------------------------------------------------------------------

    def _agree(self, capabilities: frozenset[str]) -> None:
        """Put capabilities in force, and out of use what needs one of the others."""
        self.capabilities = capabilities
        self._machine.withhold(
            code
            for code, info in KINDS.items()
            if info.capability is not None and info.capability not in capabilities
        )
        self._fit_outbox()

    def _set_peer_limits(self, limits: Mapping[str, int]) -> None:
        self.peer_limits.update(limits)
        self._window.resize(self.peer_limits["window"])
        self._fit_outbox()

    def _fit_outbox(self) -> None:
        max_frame = self.peer_limits["max_frame"]
        can_fragment = Capability.FRAG in self.capabilities
        largest = min(self.peer_limits["max_message"], self.peer_limits["max_partial"])
        self._largest_body = largest if can_fragment else min(largest, max_frame // ENVELOPE_SHARE)
        self._largest_plain = min(self._largest_body, SMALL)
        first = min(max_frame, FRAGMENT_SIZE) - _LEAST_PIECE
        self._largest_envelope = first if can_fragment else max_frame // ENVELOPE_SHARE
        self._outbox.fragment_size = min(max_frame, FRAGMENT_SIZE) if can_fragment else max_frame
        self._outbox.slack = min(max_frame - self._outbox.fragment_size, SLACK)
        self._largest_whole = min(self._largest_body, self._outbox.fragment_size)
        self._outbox.max_partial = self.peer_limits["max_partial"]
        ours, theirs = Capability.HANDLE_SEND, Capability.HANDLE
        if self.role == "primary":
            ours, theirs = theirs, ours
        #: whether the peer takes handles in messages at all, and whether it may bring some.
        self._takes_handles = ours in self.capabilities and self.peer_limits["max_fds"] > 0
        self._brings_handles = theirs in self.capabilities
        acknowledged = Capability.HANDLE_ACK in self.capabilities
        self._outbox.fds_in_flight = self.peer_limits["fds_in_flight"] if acknowledged else None

    # ---- frames out -----------------------------------------------------------------------

    def send_only(self, kinds: Iterable[int]) -> None:
        """Before the introductions: whatever the peer takes, no other kinds of handles can go."""
        self._sendable_kinds = frozenset(kinds)

    def _check_sendable(self, kind: int) -> None:
        """Raise `LocalProtocolError` unless ``kind`` may be sent now."""
        machine = self._machine
        if kind in machine.sendable:
            return
        name = KINDS[kind].name
        if kind in machine.withheld and machine.state not in (State.HANDSHAKE, State.CLOSED):
            needed = KINDS[kind].capability
            raise LocalProtocolError(f"{name} needs the capability {needed}, not in force here")
        raise LocalProtocolError(f"a {self.role} cannot send {name} while {machine.state.value}")

    def _pack(self, envelope: Any) -> bytes:
        try:
            packed: bytes = self._packer.pack(envelope)
            return packed
        except Exception:
            self._packer = msgpack.Packer()  # it keeps what it had packed before it failed
            raise

    def _map_frame(self, kind: int, payload: Mapping[str, Any], channel: int = 0) -> bytes:
        """Make a frame whose payload is a map of the shell's.

        Raises:
            LocalProtocolError: it may not be sent now.
            TypeError: something in it is no body value.
            MessageTooLarge: it does not fit into the peer's ``max_frame``.
        """
        self._check_sendable(kind)
        return self._whole_frame(kind, channel, NIL, self._encode_map(payload))

    def _encode_map(self, payload: Mapping[str, Any]) -> bytes:
        encoded = self._values.encode(dict(payload))
        if encoded.handles:
            raise TypeError("handles travel in messages only")
        return bytes(encoded.payload)

    def _whole_frame(
        self, kind: int, channel: int, envelope: bytes, payload: bytes, *, flags: int = 0
    ) -> bytes:
        limit = self.peer_limits["max_frame"]
        if len(envelope) + len(payload) > limit:
            raise MessageTooLarge(len(envelope) + len(payload), limit)
        return encode_frame(kind, channel, envelope, payload, flags=flags)

    def _answer(self, frame: bytes, *, urgent: bool = False) -> None:
        """Queue what the peer provoked.

        Raises:
            RemoteProtocolError: it provokes answers and does not read them.
        """
        self._outbox.put_answer(frame, urgent=urgent)
        if self._outbox.answers > _MAX_ANSWERS:
            raise self._unread(f"{self._outbox.answers} bytes of answers")

    def _check_answers(self) -> None:
        """Check what the shell has answered, which cannot be refused then and there.

        To the peer a call is open until it has read the answer, so one that keeps to ``max_calls``
        never has more unread answers than that, however large they are. They are counted anew only
        after as many again, for to count takes time.

        Raises:
            RemoteProtocolError: as `_answer`.
        """
        outbox = self._outbox
        if outbox.answers > _MAX_ANSWERS:
            raise self._unread(f"{outbox.answers} bytes of answers")
        most = 2 * (self.limits["max_calls"] + self.limits["max_listeners"])
        if self._calls_answered > most:
            self._calls_answered = outbox.count(_ENDS_OF_CALLS)
            if self._calls_answered > most:
                raise self._unread(f"{self._calls_answered} answers")

    def _unread(self, what: str) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"{what} were provoked and not read",
            requirement="AWP-LM-2",
            code=AbortCode.LIMIT_EXCEEDED,
        )

    def _error_frame(self, channel: int, error: Mapping[str, Any]) -> bytes:
        return encode_frame(Kind.ERROR, channel, NIL, self._encode_error(error))

    def _encode_error(self, error: Mapping[str, Any]) -> bytes:
        """Encode an error map, cut down to its code and a short text if it is too large."""
        payload = self._encode_map(error)
        if len(payload) <= self.peer_limits["max_frame"] // 2:
            return payload
        return self._encode_map(
            {
                "code": str(error.get("code", ErrorCode.INTERNAL))[:_SHORT_TEXT],
                "message": str(error.get("message", ""))[:_SHORT_TEXT],
            }
        )

    def _new_channel(self) -> int:
        channel = self._next_channel
        if channel < _MAX_CHANNEL - 2 and not self._wrapped:  # as ever
            self._next_channel = channel + 2
            return channel
        while self._wrapped and self._is_taken(channel):
            channel = self._after(channel)
        self._next_channel = self._after(channel)
        return channel

    def _after(self, channel: int) -> int:
        """The next of our channel ids; the last one is followed by the first (AWP-CH-4)."""
        if channel + 2 <= _MAX_CHANNEL:
            return channel + 2
        self._wrapped = True
        return 1 if self.role == "worker" else 2

    def _is_taken(self, channel: int) -> bool:
        return (
            channel in self._calls
            or channel in self._listeners
            or channel in self._outbox.channels()
        )

    def _handle_entries(self, handles: Sequence[Any]) -> list[tuple[int, dict[str, Any]]]:
        """Make the entries of an envelope's ``handles``.

        Raises:
            HandleError: the peer takes no handles of that kind, or not so many.
        """
        limit = self.peer_limits["max_fds"]
        if len(handles) > limit:
            raise HandleError(f"{len(handles)} handles in one message, the peer takes {limit}")
        entries, kinds = list(map(self._handles.describe, handles)), self._peer_handle_kinds
        for kind, meta in entries:
            if kind not in kinds:
                name = HANDLE_NAMES.get(kind, kind)
                raise HandleError(f"the peer takes no handles of kind {name}")
            if meta and meta.get("head") and Capability.HANDLE_HEAD not in self.capabilities:
                raise HandleError("the peer takes no head= with a handle")
        return entries

    # ---- what may be wrong with frames in -------------------------------------------------

    def _violation(
        self, requirement: str, text: str, code: AbortCode = AbortCode.PROTOCOL_ERROR
    ) -> RemoteProtocolError:
        return RemoteProtocolError(text, requirement=requirement, code=code)

    def _check_opens(self, frame: Frame) -> None:
        """Check that a frame may open its channel (AWP-CH-2)."""
        channel = frame.channel
        is_peers = channel > 0 and bool(channel % 2) == (self.role == "primary")
        if not is_peers or channel in self._inbound_calls or channel in self._listeners:
            raise self._violation("AWP-CH-2", f"{KINDS[frame.kind].name} on channel {channel}")

    def _has_room_for(self, count: int) -> bool:
        """Enter so many descriptors of a message that will wait; False when they have no room."""
        return not count or self._share is None or self._share.take(count)

    def _give_room_back(self, count: int) -> None:
        """So many of them do not wait any more."""
        if count and self._share is not None:
            self._share.give_back(count)

    def _keep_unclaimed(self) -> None:
        """Enter those that wait for their frame; without room for them they are lost (AWP-FD-5)."""
        self._give_room_back(self._unclaimed)
        self._unclaimed = len(self._descriptors)
        if not self._has_room_for(self._unclaimed):
            self._descriptors.lose_all()
            self._unclaimed = 0

    def _take_fds(self) -> list[int]:
        """Take over the descriptors of the frame at hand."""
        fds, self._fds = self._fds, []
        return fds or []


def own_limits(limits: Mapping[str, int]) -> dict[str, int]:
    """Fill in defaults and check what this side wants to announce."""
    for name, value in limits.items():
        if name not in LIMIT_DEFAULTS:
            raise ValueError(f"there is no limit {name!r}")
        if not FLOORS[name] <= value <= _CEILINGS.get(name, value):
            raise ValueError(f"{name} cannot be {value}")
    chosen = {**LIMIT_DEFAULTS, **limits}
    if "max_partial" not in limits:  # else it would bound what `max_message` promises
        largest = chosen["max_message"] + chosen["max_meta"]
        chosen["max_partial"] = max(chosen["max_partial"], largest)
    return chosen


def kinds_of(names: Iterable[str]) -> frozenset[int]:
    """The numbers of the handle kinds with these names; unknown names are left out."""
    known = {name: code for code, name in HANDLE_NAMES.items()}
    return frozenset(known[name] for name in names if name in known)


def error_map(code: ErrorCode, text: str) -> dict[str, Any]:
    """Make the error map of one of the protocol's own errors."""
    return {"code": str(code), "message": text}
