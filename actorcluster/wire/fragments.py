"""Messages that arrive in pieces, put together within bounds.

Runs in: both

The first fragment brings the envelope and the descriptors, every fragment a piece of the encoded
payload, and fragments of different channels may be interleaved at will (AWP-LG-1, AWP-LG-2).

Two limits bound what lies here (AWP-LG-3, AWP-LG-8): ``max_message`` one payload, ``max_partial``
all unfinished messages together. A message that exceeds one is not cut off in the middle, because
its sender numbers and charges it as it was sent: its pieces are counted and dropped as they
come, and with the last one it is bounced as ``too_large``. The same holds for everything else
that can be wrong with it, so that a faulty message needs no memory, and numbers and charges
stay the same on both sides.

Who receives a long message probably receives another. So what the last one was put together in is
kept (`Reassembly.keep`), and the next is put there, piece by piece: copied, or even read to there,
see `pieces`.
"""

from __future__ import annotations

from typing import Any, Final, final

import attrs

from ..errors import RemoteProtocolError
from ._generated import FLAG_MORE, AbortCode, ErrorCode, Kind
from .fields import heads_size
from .frames import Frame

__all__ = ["MINIMUM_SIZE", "Partial", "Reassembly"]

#: Up to this size envelopes are not counted; how many messages may be open is.
MINIMUM_SIZE: Final = 256
#: What all open messages may weigh beside their pieces: about the bytes of memory that they take,
#: which can be many times those that came. No peer keeps so many open that do not fit.
_MAX_WEIGHT: Final = 8 * 1024 * 1024
_BASE_WEIGHT: Final = 512
#: Shorter pieces are put together as they come.
_LEAST_APART: Final = 16 * 1024
#: So are all pieces of a longer message.
_MOST_APART: Final = 4 * 1024 * 1024
#: Up to so many bytes are kept for the next message.
_MOST_KEPT: Final = 2 * 1024 * 1024
_OBJECT_WEIGHT: Final = 64


@attrs.define(eq=False, repr=False)
class Partial:
    """One message in pieces.

    Attributes:
        kind: TELL, CALL or REPLY.
        channel: its fragments' channel.
        envelope: as decoded, of the first fragment.
        envelope_size: encoded bytes of the envelope.
        nfds: how many descriptors it has.
        fds: those, or none when they were lost.
        weight: of its envelope, see `Reassembly`.
        fault: error code of what is wrong with it, and a text; None while all is well.
        pieces: what came so far, unless there is a fault; some of it already put together.
        room: where they are put instead, as long as they fit.
        held: what it counts for in `Reassembly.held`.
        size: bytes of the pieces so far, faulty ones included.
        window: the size of our window when it was begun.
    """

    kind: int
    channel: int
    envelope: Any
    envelope_size: int
    nfds: int
    fds: list[int]
    weight: int = 0
    fault: tuple[ErrorCode, str] | None = None
    pieces: list[bytes | bytearray | memoryview] = attrs.Factory(list)
    room: bytearray | None = None
    held: int = 0
    size: int = 0
    window: int = 0

    @property
    def data(self) -> bytes | bytearray | memoryview:
        """The pieces in one; they are kept so from then on."""
        if self.room is not None:
            return memoryview(self.room)[: self.size]
        if len(self.pieces) != 1:
            self.pieces = [b"".join(self.pieces)]
        return self.pieces[0]

    def append(self, piece: bytes | memoryview) -> None:
        """Keep a copy of one more piece, which is counted in `size` already.

        Large ones wait as they are, to be copied once, while a second copy of all is no great
        matter; small ones would take many times their size in memory.
        """
        pieces, room = self.pieces, self.room
        if room is not None:
            start = self.size - len(piece)
            if self.size <= len(room):
                if (
                    isinstance(piece, bytes) or piece.obj is not room
                ):  # else it was read to its place
                    memoryview(room)[start : self.size] = piece  # a slice of its own copies twice
                return
            pieces.append(bytes(memoryview(room)[:start]))
            self.room = None
        if self.size > _MOST_APART:
            if len(pieces) != 1 or type(pieces[0]) is not bytearray:
                pieces[:] = [bytearray().join(pieces)]
        elif len(piece) >= _LEAST_APART:
            pieces.append(bytes(piece))
            return
        if not pieces or type(pieces[-1]) is not bytearray:
            pieces.append(bytearray())
        pieces[-1] += piece  # type: ignore[operator]  # a bytearray, see above

    @property
    def envelope_cost(self) -> int:
        """What the envelope counts for against ``max_partial``."""
        return max(0, self.envelope_size - MINIMUM_SIZE)

    @property
    def length(self) -> int:
        """What the header's ``length`` would be, had the message come in one frame."""
        return self.envelope_size + self.size


_BYTES: Final = (bytes, memoryview)


@final
class Reassembly:
    """All unfinished messages of one connection.

    Attributes:
        max_message: our limit of that name.
        max_partial: our limit of that name.
        held: bytes that are kept, of all messages.
    """

    def __init__(self, max_message: int, max_partial: int) -> None:
        self.max_message = max_message
        self.max_partial = max_partial
        self.held = 0
        self._weight = 0
        self._partials: dict[int, Partial] = {}
        #: where the next message is put together, unless somebody has it.
        self._spare: bytearray | None = None

    def __len__(self) -> int:
        return len(self._partials)

    def __contains__(self, channel: int) -> bool:
        return channel in self._partials

    def get(self, channel: int) -> Partial | None:
        """Look up the unfinished message of a channel."""
        return self._partials.get(channel)

    def find_place(self, channel: int, size: int) -> memoryview | None:
        """Say where the next piece of a channel belongs, the first of a message included.

        It stays that of this piece until that is added: of what may come before nothing can make
        it anybody else's.

        Returns:
            None where it has no place of its own yet, as in a message that is spoilt.
        """
        partial = self._partials.get(channel)
        room, start = (self._spare, 0) if partial is None else (partial.room, partial.size)
        if room is None or start + size > len(room):
            return None
        return memoryview(room)[start : start + size]

    def begin(self, frame: Frame, fds: list[int]) -> Partial:
        """Open a message with its first fragment; the fragment itself goes to `add`.

        Raises:
            RemoteProtocolError: too many are open, whatever their size.
        """
        # Heads of handles are counted as pieces are, byte for byte, as long as they are kept.
        whole = _BASE_WEIGHT + _weight(frame.envelope)  # no more than the limit, if it is over that
        weight = whole - heads_size(_handles_of(frame))
        if (
            len(self) >= self.max_partial // MINIMUM_SIZE
            or max(whole, self._weight + weight) > _MAX_WEIGHT
        ):
            raise RemoteProtocolError(
                f"{len(self)} messages in fragments are open at once",
                requirement="AWP-LG-8",
                code=AbortCode.LIMIT_EXCEEDED,
            )
        self._weight += weight
        piece = frame.payload if isinstance(frame.payload, _BYTES) else b""
        partial = Partial(
            frame.kind,
            frame.channel,
            frame.envelope,
            frame.length - _bin_size(len(piece)),
            frame.nfds,
            fds,
            weight,
        )
        partial.room, self._spare = self._spare, None
        self._partials[frame.channel] = partial
        self._hold(partial, partial.envelope_cost)
        return partial

    def add(self, partial: Partial, frame: Frame) -> bool:
        """Append a fragment's piece; True with the last one, which also takes it out of here."""
        if not isinstance(frame.payload, _BYTES):
            self.spoil(partial, ErrorCode.BAD_PAYLOAD, frame.error or "a fragment must be bin")
        else:
            self._append(partial, frame.payload)
        if frame.flags & FLAG_MORE:
            return False
        self.drop(partial)
        return True

    def _append(self, partial: Partial, piece: bytes | memoryview) -> None:
        partial.size += len(piece)
        if partial.size > self.max_message:
            self.spoil(partial, ErrorCode.TOO_LARGE, f"over max_message ({self.max_message})")
        self._hold(partial, len(piece))
        if partial.fault is None:
            partial.append(piece)

    def _hold(self, partial: Partial, size: int) -> None:
        """Make room for more of a message, unless it is spoilt; it may be, for lack of room."""
        if partial.fault is None:
            partial.held += size
            self.held += size
            if self.held > self.max_partial:
                self.spoil(partial, ErrorCode.TOO_LARGE, f"over max_partial ({self.max_partial})")

    def spoil(self, partial: Partial, code: ErrorCode, text: str) -> None:
        """Note what is wrong with a message and free its memory. The first fault counts."""
        if partial.fault is None:
            partial.fault = (code, text)
            partial.pieces.clear()
            partial.room = None
            _drop_handles(partial)
            self.held -= partial.held
            partial.held = 0

    def drop(self, partial: Partial) -> None:
        """Take a message out of here: complete, or abandoned by its sender."""
        del self._partials[partial.channel]
        self.held -= partial.held
        self._weight -= partial.weight

    def keep(self, partial: Partial) -> None:
        """Have the next message put together where this one was, which is done with."""
        size = partial.size
        if partial.fault is None and size <= _MOST_KEPT:
            self._spare = bytearray(size) if partial.room is None else partial.room
        partial.room = None

    def shrink(self) -> None:
        """Give back memory, as `Connection.shrink` does."""
        self._spare = None

    def drop_all(self) -> list[Partial]:
        """Take out everything, at the end of the connection."""
        partials = list(self._partials.values())
        self._partials.clear()
        self.held = self._weight = 0
        return partials


def _place_of_handles(kind: int) -> int:
    return 0 if kind == Kind.REPLY else 2


def _handles_of(frame: Frame) -> Any:
    """The entries for handles in an envelope of any shape, None where there are none."""
    place = _place_of_handles(frame.kind)
    envelope = frame.envelope
    return envelope[place] if type(envelope) is list and len(envelope) > place else None


def _drop_handles(partial: Partial) -> None:
    """Forget what a faulty message says of its handles, and with that the heads."""
    place = _place_of_handles(partial.kind)
    if type(partial.envelope) is list and len(partial.envelope) > place:
        partial.envelope = list(partial.envelope)
        partial.envelope[place] = None


def _weight(envelope: Any) -> int:
    """About the memory that a decoded envelope takes; counts no further than to the limit."""
    weight = 0
    nests = [envelope]
    while nests and weight <= _MAX_WEIGHT:
        value = nests.pop()
        weight += _OBJECT_WEIGHT
        if type(value) is list:
            nests += value
        elif type(value) is dict:
            nests += value
            nests += value.values()
        elif type(value) in (str, bytes):
            weight += len(value)
    return weight


def _bin_size(size: int) -> int:
    """How many bytes msgpack needs for a bin of ``size`` bytes."""
    if size < 2**8:
        return 2 + size
    if size < 2**16:
        return 3 + size
    return 5 + size
