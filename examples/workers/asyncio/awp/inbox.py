"""Messages as they arrive: whole or in fragments, within limits, charged and numbered.

A message that cannot be taken spoils nothing but itself: what is wrong with it is kept as the code
of an error, and answered when its last piece is there, for only then has it a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from . import shapes
from .awp_v1 import FLAG_FRAG, FLAG_MORE, HANDLE_NAMES, Abort, Code, Kind
from .framing import Frame, Violation
from .handles import Handle, close_all
from .values import BadBody, BadLength, Decoder

OBJECT_COST = 256
"""What an unfinished message takes in memory, though there is nothing in it (AWP-LM-2)."""


@dataclass(eq=False, slots=True)
class Incoming:
    """A TELL, CALL or REPLY of which the first piece is there.

    Attributes:
        envelope: its elements; empty if they could not be read.
        envelope_size, payload_size: encoded, for limits and for the charge.
        heads: bytes that came in the meta maps of its handles.
        body: the payload, once the message is complete.
        error: why it is not taken, and words for people.
    """

    kind: int
    channel: int
    envelope: list[object] = field(default_factory=list)
    handles: list[Handle] = field(default_factory=list)
    envelope_size: int = 0
    payload_size: int = 0
    heads: int = 0
    body: object = None
    pieces: list[bytes] = field(default_factory=list)
    error: tuple[str, str] | None = None
    data: Mapping[str, int] | None = None

    @property
    def to(self) -> int | str | None:
        """The address, as far as it could be read."""
        to = self.envelope[0] if self.envelope and self.kind != Kind.REPLY else None
        return to if isinstance(to, int | str) else None

    @property
    def sender(self) -> int | None:
        """Who sent it."""
        sender = self.envelope[1] if self.envelope else None
        return sender if isinstance(sender, int) else None

    @property
    def meta(self) -> Mapping[str, object]:
        """The meta map of the message."""
        meta = self.envelope[-1] if self.envelope else None
        return meta if isinstance(meta, dict) else {}

    @property
    def size(self) -> int:
        """What counts against `max_message`."""
        return self.payload_size + self.heads

    @property
    def held(self) -> int:
        """What counts against `max_partial`."""
        return 0 if self.error is not None else self.size

    def fail(self, code: str, text: str, data: Mapping[str, int] | None = None) -> None:
        """Not to be taken: the first reason counts, and nothing of it is kept."""
        if self.error is None:
            self.error = (code, text)
            self.data = data
        self.pieces.clear()
        self.body = None
        close_all(self.handles)


@dataclass(slots=True)
class Inbox:
    """Reads messages and keeps the unfinished ones.

    Attributes:
        limits: those that were announced.
        taken: names of the kinds of handles that were announced.
        heads: whether `handle.head` is in force.
        verify: whether a descriptor is what its entry says.
    """

    limits: dict[str, int]
    taken: frozenset[str]
    verify: Callable[[Handle], bool]
    heads: bool = False
    partial: dict[int, Incoming] = field(default_factory=dict)

    def first(self, frame: Frame) -> Incoming:
        """The first frame of a message: all of it, or its first fragment.

        Raises:
            Violation: `length` is wrong.
        """
        message = Incoming(frame.kind, frame.channel)
        message.handles = [Handle(fd, 0) for fd in frame.fds]
        frame.fds.clear()
        decoder = Decoder(frame.body, self.limits["max_depth"])
        try:
            self._envelope(message, frame, decoder)
            if message.error is None or frame.flags & FLAG_FRAG:
                self._payload(message, frame, decoder)
        except BadBody as error:
            message.fail(Code.BAD_PAYLOAD, str(error))
        except BadLength as error:
            message.fail(Code.BAD_PAYLOAD, str(error))
            raise Violation(Abort.BAD_LENGTH, str(error), frame.header) from error
        if frame.lost:
            message.error = None
            message.fail(Code.HANDLE_LOST, "the descriptors did not arrive")
        if frame.flags & FLAG_MORE:
            self.partial[frame.channel] = message
            self._check_partial(message)
        return message

    def _envelope(self, message: Incoming, frame: Frame, decoder: Decoder) -> None:
        raw = decoder.take()
        message.envelope_size = decoder.end
        message.payload_size = len(frame.body) - decoder.end
        elements = shapes.envelope(frame.kind, raw)
        meta = elements[-1]
        ttl = meta.get("ttl") if isinstance(meta, dict) else None
        if ttl is not None and not shapes.is_number(ttl):
            raise BadBody("ttl is no number")
        message.envelope = elements
        entries = elements[2 if frame.kind != Kind.REPLY else 0] or []
        if not isinstance(entries, list) or len(entries) != frame.nfds:
            raise BadBody("handles has not one entry for each descriptor")
        for at, entry in enumerate(entries):
            meta = (entry[1] if len(entry) > 1 else None) or {}
            message.heads += len(meta.get("head", b""))
            if not frame.lost:
                message.handles[at].kind, message.handles[at].meta = entry[0], meta
        if message.envelope_size - message.heads > self.limits["max_meta"]:
            self._too_large(message, message.envelope_size, "max_meta")
        if not frame.lost:
            self._check_handles(message)

    def _check_handles(self, message: Incoming) -> None:
        for handle in message.handles:
            if handle.meta.get("head") and not self.heads:
                raise BadBody("a head, where handle.head is not in force")
            if HANDLE_NAMES.get(handle.kind) not in self.taken:
                message.fail(Code.UNSUPPORTED_HANDLE, f"kind {handle.kind} is not taken")
                return

    def takes(self, handle: Handle) -> bool:
        """Whether a socket is of a kind that is taken, and is what it says."""
        return HANDLE_NAMES.get(handle.kind) in self.taken and self.verify(handle)

    def _payload(self, message: Incoming, frame: Frame, decoder: Decoder) -> None:
        in_pieces = bool(frame.flags & FLAG_FRAG)
        if not in_pieces and message.size > self.limits["max_message"]:
            self._too_large(message, message.size, "max_message")
            return
        decoder.handles = message.handles if not frame.lost else [Handle(-1, 0)] * frame.nfds
        body = decoder.take()
        decoder.finish()
        if not in_pieces:
            message.body = body
            return
        message.payload_size = 0
        self._piece(message, body)

    def next(self, frame: Frame) -> Incoming:
        """The next fragment of an unfinished message.

        Raises:
            Violation: it is none.
        """
        message = self.partial[frame.channel]
        if frame.kind != message.kind or not frame.flags & FLAG_FRAG or frame.nfds:
            text = "no fragment, on the channel of an unfinished message"
            raise Violation(Abort.PROTOCOL_ERROR, text, frame.header)
        decoder = Decoder(frame.body, self.limits["max_depth"])
        try:
            decoder.take()
            body = decoder.take()
            decoder.finish()
            self._piece(message, body)
        except BadBody as error:
            message.fail(Code.BAD_PAYLOAD, str(error))
        except BadLength as error:
            raise Violation(Abort.BAD_LENGTH, str(error), frame.header) from error
        self._check_partial(message)
        if not frame.flags & FLAG_MORE:
            del self.partial[frame.channel]
        return message

    def _piece(self, message: Incoming, piece: object) -> None:
        if not isinstance(piece, bytes):
            raise BadBody("a fragment is no bin")
        message.payload_size += len(piece)
        if message.size > self.limits["max_message"]:
            self._too_large(message, message.size, "max_message")
        if message.error is None:
            message.pieces.append(piece)

    def _check_partial(self, message: Incoming) -> None:
        limit = self.limits["max_partial"]
        if len(self.partial) * OBJECT_COST > limit:
            raise Violation(Abort.LIMIT_EXCEEDED, f"{len(self.partial)} unfinished messages")
        held = sum(one.held for one in self.partial.values())
        envelopes = sum(one.envelope_size for one in self.partial.values() if one.error is None)
        if max(held, envelopes) > limit:
            self._too_large(message, max(held, envelopes), "max_partial")

    def _too_large(self, message: Incoming, size: int, limit: str) -> None:
        data = {"size": size, "limit": self.limits[limit]}
        message.fail(Code.TOO_LARGE, f"{limit} is {self.limits[limit]:,} bytes", data)

    def finish(self, message: Incoming) -> None:
        """A message whose last piece came: decode the pieces, and look at its descriptors."""
        if message.pieces:
            self._join(message)
        for handle in message.handles:
            if message.error is None and not self.verify(handle):
                message.fail(Code.UNSUPPORTED_HANDLE, f"the descriptor is no {handle}")

    def _join(self, message: Incoming) -> None:
        decoder = Decoder(b"".join(message.pieces), self.limits["max_depth"], objects=1)
        message.pieces.clear()
        decoder.handles = message.handles
        try:
            message.body = decoder.take()
            decoder.finish()
        except (BadBody, BadLength) as error:
            message.fail(Code.BAD_PAYLOAD, str(error))

    def abandon(self, channel: int) -> Incoming | None:
        """Forget an unfinished message, if there is one on that channel."""
        message = self.partial.pop(channel, None)
        if message is not None:
            message.fail(Code.CANCELLED, "abandoned")
        return message

    def close(self) -> None:
        """The connection is over."""
        for channel in list(self.partial):
            self.abandon(channel)
