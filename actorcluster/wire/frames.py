"""Frames: the 16-byte header, and a reader for any split of the stream.

Runs in: both

Theory of operation
===================

::

     95   CE length:u32   CE kind:u8 flags:u8 nfds:u8 0   CE channel:u32   envelope   payload
     0    1    2..5       6      7      8      9     10   11   12..15      16..

A frame is at once a header with a length and a msgpack array of five, so there are two ways to
read it, and `FrameReader` uses both:

- *By headers* it finds where each complete frame ends and checks what a header can get wrong.
  This is the authority. The bytes of an unfinished frame wait until it is complete.
- *By decoder* it gives a run of complete frames to one ``msgpack.Unpacker``, which decodes them
  all at C speed. After each the decoder must stand exactly where the header says.

Messages between main actors, and answers, are nearly all there is where speed matters. For who
wants it so, a run of them becomes one `Run`, and what has to be done for each is done per run;
messages that the bytes of a `feed` begin with are read by `plain`.

Where the two differ, or the decoder stumbles, `decode_frame` takes that one frame by itself and
finds out what is wrong: if the envelope and the payload do not fill the frame exactly, the peer's
framing is broken and so is the connection (AWP-FR-3); if what they hold breaks the rules of
`values`, only this message is bad (AWP-FR-6). The decoder, confused by now, is replaced by a new
one at the next header. Whatever fails, and however the stream was split, the frames are the same.
"""

from __future__ import annotations

import itertools
import struct
from typing import Any, Final, final

import msgpack

from ..errors import RemoteProtocolError
from ._generated import FLAG_FRAG, AbortCode, Kind
from .header import HEAD, HEADER_SIZE, encode_frame, encode_head
from .pieces import FindPlace, Landing, begin_landing, piece_in
from .plain import LONGEST, PlainReader
from .runs import ALL, PLAIN, Frame, Run
from .values import (
    LEAST_BUFFER,
    SHORT,
    UNPACK_ERRORS,
    Values,
    is_flat,
    may_be_deep,
    measure,
    too_deep,
)

__all__ = [
    "HEADER_SIZE",
    "Frame",
    "FrameReader",
    "decode_frame",
    "encode_frame",
    "encode_head",
]

_SIGNATURE: Final = struct.Struct(">HIB4xB4x")  # the same without word and channel
_FRAG: Final = FLAG_FRAG << 16  # in the word
_TELL: Final = int(Kind.TELL)
_TELL_WORD: Final = _TELL << 24
#: The words of frames of which runs are made, see `runs`; to each its envelope.
_GATHERED: Final = {kind << 24: envelope for kind, envelope in PLAIN.items()}
_NEVER: Final = object()
_NOTHING: Final = memoryview(b"")
#: Their bodies are also kept as bytes: PONG repeats PING's to the letter.
_ECHOES: Final = frozenset({int(Kind.PING), int(Kind.PONG)})

#: Frames are decoded in runs of about this many bytes. One that is longer alone goes by itself,
#: without a copy into the decoder.
_RUN: Final = 32768
#: From here on it is worth to read so that none is cut in two.
_LONG: Final = 16 * 1024
#: In so many bytes there are so few frames that they are decoded one by one.
_FEW: Final = 160
_KIND_OFFSET: Final = 7


@final
class FrameReader:
    """Cuts a byte stream into frames and decodes them.

    Args:
        values: decodes.
        max_frame: our limit of that name.
        gather: give runs of plain frames as `Run`.
    """

    def __init__(self, values: Values, *, max_frame: int, gather: bool = False) -> None:
        self.max_frame = max_frame
        self._gathered = _GATHERED if gather else {}
        self._plain = PlainReader(values) if gather else None
        self._values = values
        self._unpacker: Any = values.unpacker(_RUN)
        self._begun = bytearray()  # the frame that is not complete yet
        self._need = 0  # its size, once its header is complete
        self._landing: Landing | None = None  # or this is, see `place`
        self._stride = 0  # of the frames of this stream, while they are long, see `fitting`
        self._frames: list[Frame] = []
        self._fault: RemoteProtocolError | None = None
        self.unread = _NOTHING  # what `feed` has not looked at yet

    def shrink(self) -> None:
        """Give back memory, as `Connection.shrink` does."""
        self._unpacker = None  # even one with the least buffer takes 40 KiB
        self._begun, self._landing = bytearray(), None
        if self._plain is not None:
            self._plain.shrink()

    def feed(self, data: bytes | bytearray | memoryview, most: int = ALL) -> list[Frame]:
        """The frames that `data` completes, about ``most`` of them, plain messages apart.

        Keeps nothing of `data` but in fragments and `unread`, which is to be fed next.

        Raises:
            RemoteProtocolError: the stream is broken here, for good: AWP-FR-3, AWP-FR-4 or
                AWP-FR-5. What this call had decoded before that is in `take_frames`.
        """
        if self._fault is not None:
            raise self._fault
        view = memoryview(data)
        self.unread = _NOTHING
        try:
            if self._landing is not None:
                count = self._landing.fill(view)
                self.placed(count)
                view = view[count:]
            elif self._begun:
                view = self._finish(view)
            if view:
                self._read(view, most)
        except RemoteProtocolError as exc:
            self._fault = exc
            self._begun = bytearray()
            raise
        return self.take_frames()

    def take_frames(self) -> list[Frame]:
        """What `feed` had decoded before it raised."""
        frames = self._frames
        self._frames = []
        return frames

    def buffered(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._begun) if self._landing is None else self._need - len(self._landing.rest)

    def place(self, find: FindPlace) -> memoryview | None:
        """Where the bytes belong that come next, see `pieces`; nowhere in particular mostly.

        What is put there is told to `placed`. What is given to `feed` is put there as well.
        """
        if self._landing is None:
            if self._need >= _LONG:
                self._landing = begin_landing(self._begun, self._need, find)
            if self._landing is None:
                return None
            self._begun = bytearray()
        return self._landing.rest

    def placed(self, count: int) -> None:
        """So many bytes were read to their `place`; `feed` gives the frame once it is complete."""
        assert self._landing is not None
        frame = self._landing.advance(count)
        if frame is not None:
            self._frames.append(frame)
            self._landing, self._need = None, 0

    def fitting(self, most: int) -> int:
        """How much to read of at most so many bytes.

        So much that it ends where a frame does, if those to come are as long as the one that began
        last: what has to be put together of two reads is copied twice.
        """
        begun = self.buffered()
        if begun:
            self._stride = self._need if self._need >= _LONG else 0
        stride = self._stride
        missing = stride - begun if begun else 0
        if not stride or missing > most:
            return most
        return missing + (most - missing) // stride * stride or most

    def _finish(self, view: memoryview) -> memoryview:
        """Go on with the frame that is not complete yet; what is left of `view` then."""
        begun = self._begun
        if not self._need:
            missing = HEADER_SIZE - len(begun)
            begun += view[:missing]
            view = view[missing:]
            if len(begun) < HEADER_SIZE:
                return view
            if (fault := _fault_in(begun, self.max_frame)) is not None:
                raise fault
            self._need = HEADER_SIZE + _length_at(begun, 0)
        missing = self._need - len(begun)
        begun += view[:missing]
        if len(begun) == self._need:
            self._begun = bytearray()  # a new one: tracebacks and views may still hold the other
            self._need = 0
            if not self._read_plain(memoryview(begun)):
                self._add(decode_frame(self._values, begun))
        return view[missing:]

    def _read(self, view: memoryview, most: int) -> None:
        """Decode the frames that are complete in `view`, which begins with one; keep the rest."""
        if len(view) <= _FEW and (taken := self._read_few(view)):
            view = view[taken:]
            if not view:
                return
        view = view[self._read_plain(view) :]
        runs, fault = self._cut(view, most)
        for start, stop in itertools.pairwise(runs):
            self._decode(view, start, stop)
        if fault is not None:
            raise fault
        if not self.unread:
            self._begun += view[runs[-1] :]

    def _read_few(self, view: memoryview) -> int:
        """Decode each frame by itself: for one or two that costs half as much as a run.

        Returns:
            where what is left begins: what is incomplete, not all well, or a TELL.
        """
        end, size, limit = 0, len(view), self.max_frame
        while size - end >= HEADER_SIZE:
            first, length, second, third = _SIGNATURE.unpack_from(view, end)
            start, stop = end, end + HEADER_SIZE + length
            if first != 0x95CE or second != 0xCE or third != 0xCE or length > limit:
                break
            if stop > size or view[start + _KIND_OFFSET] == _TELL:
                break
            self._frames.append(decode_frame(self._values, view[start:stop]))
            end = stop
        return end

    def _read_plain(self, view: memoryview) -> int:
        """Decode the plain messages that `view` begins with; returns how many bytes these are."""
        if self._plain is None or self.max_frame < LONGEST:
            return 0
        run = self._frames[-1] if self._frames else None
        if not isinstance(run, Run) or run.kind != _TELL:
            run = Run(_TELL, [], [], [])
        end = self._plain.read(view, self.max_frame, run.bodies, run.lengths)
        if end:
            if not run.channels:
                self._frames.append(run)
            run.channels += [0] * (len(run.bodies) - len(run.channels))
        return end

    def _cut(self, view: memoryview, most: int) -> tuple[list[int], RemoteProtocolError | None]:
        """Where to divide the complete frames into runs, and what is wrong with the next header.

        A frame of `_RUN` bytes or more is a run of its own.
        """
        size = len(view)
        limit = self.max_frame
        signature_at = _SIGNATURE.unpack_from
        runs = [0]
        end = 0
        cut = _RUN
        fault = None
        for _ in itertools.repeat(None, most):
            if size - end < HEADER_SIZE:
                break
            first, length, second, third = signature_at(view, end)
            if first != 0x95CE or second != 0xCE or third != 0xCE or length > limit:
                fault = _fault_in(view[end:], limit)
                break
            start = end
            end += HEADER_SIZE + length
            if end > size:
                self._need = end - start
                end = start
                break
            if end >= cut:
                if runs[-1] != start:
                    runs.append(start)
                if end - start >= _RUN:
                    runs.append(end)
                cut = runs[-1] + _RUN
        else:
            self.unread = view[end:]
        if runs[-1] != end:
            runs.append(end)
        return runs, fault

    def _decode(self, view: memoryview, start: int, stop: int) -> None:
        """Append the frames of one run."""
        while start < stop:
            if stop - start < _RUN:
                start = self._decode_good(view, start, stop)
                if start == stop:
                    return
                self._unpacker = self._values.unpacker(_RUN)  # the old one has lost its way
            end = start + HEADER_SIZE + _length_at(view, start)
            self._add(decode_frame(self._values, view[start:end]))
            start = end

    def _add(self, frame: Frame) -> None:
        """Append a frame that was decoded by itself."""
        frames = self._frames
        if self._plain is None or not _is_plain(frame):
            frames.append(frame)
            return
        last = frames[-1] if frames else None
        if not isinstance(last, Run) or last.kind != _TELL:
            last = self._begin_run(_TELL)
        last.add(frame)

    def _begin_run(self, kind: int, *frames: Frame) -> Run:
        run = Run(kind, [], [], [])
        for frame in frames:
            run.add(frame)
        self._frames.append(run)
        return run

    def _decode_good(self, view: memoryview, start: int, stop: int) -> int:
        """Append the frames of a run up to the first that is not all well.

        Returns where that one starts, or `stop`.
        """
        values = self._values
        indexes = values.indexes
        limit = values.max_depth
        unpacker = self._unpacker
        if unpacker is None:
            unpacker = self._unpacker = values.unpacker(_RUN, LEAST_BUFFER)
        unpacker.feed(view[start:stop])
        tell = unpacker.tell
        ends = tell()  # of the frames so far; it counts all bytes that the decoder ever saw
        base = ends - start
        append = self._frames.append
        gathered = self._gathered
        run: Run | None = None
        running = -1  # the word of the last one, if it was plain
        try:
            # Where one ends as its header says, the next one starts with a good header, so its
            # first three elements are the header's numbers.
            for length, word, channel, envelope, payload in unpacker:
                ends += HEADER_SIZE + length
                if tell() != ends:
                    break
                plain = envelope == gathered.get(word, _NEVER) and bool(channel) == (
                    word != _TELL_WORD
                )
                end = ends - base
                deep = length > limit and not (plain and is_flat(payload))
                if deep and length <= SHORT:
                    deep = may_be_deep(bytes(view[end - length : end]), limit)
                if deep or indexes or word & _FRAG:
                    if not _is_sound(values, word, envelope, payload):
                        break
                    indexes.clear()
                start = end
                kind = word >> 24
                if not plain:
                    running = -1
                else:
                    if word != running:
                        running = word
                        run = self._begin_run(kind) if word == _TELL_WORD else None
                    elif run is None:  # one by itself costs less without
                        run = self._begin_run(kind, self._frames.pop())
                    if run is not None:
                        run.channels.append(channel)
                        run.bodies.append(payload)
                        run.lengths.append(length)
                        continue
                flags = word >> 16 & 0xFF
                nfds = word >> 8 & 0xFF
                echo = bytes(view[end - length : end]) if kind in _ECHOES else None
                append(Frame(kind, flags, nfds, channel, length, envelope, payload, echo))
        except UNPACK_ERRORS:
            pass  # whatever it is, `decode_frame` finds it again
        return start


def _is_plain(frame: Frame) -> bool:
    """Whether it is a plain message, and all is well."""
    return (
        frame.envelope == PLAIN[_TELL]
        and frame.kind == _TELL
        and not (frame.flags or frame.nfds or frame.channel or frame.error)
    )


def decode_frame(values: Values, data: bytes | bytearray | memoryview) -> Frame:
    """Decode one complete frame by itself; its header must be a good one.

    It is copied from, but for the piece in a fragment, which is a view of it.

    Raises:
        RemoteProtocolError: AWP-FR-3, envelope and payload do not end where the header says.
    """
    _, length, _, word, _, channel = HEAD.unpack_from(data)
    frame = Frame(word >> 24, word >> 16 & 0xFF, word >> 8 & 0xFF, channel, length, None, None)
    if frame.kind in _ECHOES:
        frame.body = bytes(data[HEADER_SIZE:])
    values.indexes.clear()
    if word & _FRAG and (piece := piece_in(data)) is not None:
        frame.envelope, frame.payload = piece
        return frame
    try:
        _, _, _, envelope, payload = values.unpack(data)
        may_be_unsound = length > values.max_depth or values.indexes or word & _FRAG
        if may_be_unsound and not _is_sound(values, word, envelope, payload):
            raise ValueError
        frame.envelope = envelope
        frame.payload = payload
    except UNPACK_ERRORS:
        if frame.body is None:  # an opaque one may be anything (AWP-PI-1)
            _decode_parts(values, frame, bytes(data[HEADER_SIZE:]))
    values.indexes.clear()
    return frame


def _is_sound(values: Values, word: int, envelope: Any, payload: Any) -> bool:
    """What the decoder does not check itself; `values.indexes` are those of this frame."""
    if too_deep(envelope, values.max_depth) or too_deep(payload, values.max_depth):
        return False
    if word & _FRAG and type(payload) is not bytes:
        return False
    return not values.indexes or max(values.indexes) < (word >> 8 & 0xFF)


def _decode_parts(values: Values, frame: Frame, body: bytes) -> None:
    """Find out what is wrong with a frame: its length, its envelope, or its payload."""
    ends: list[int] = []
    try:
        measure(body, 2, ends)
        exact = ends[-1] == len(body)
    except msgpack.OutOfData:
        exact = False
    except msgpack.UnpackException:
        exact = True  # the end of what is not msgpack is where the header says
    if not exact:
        raise RemoteProtocolError(
            f"envelope and payload do not fill the {len(body)} bytes of the frame",
            requirement="AWP-FR-3",
            code=AbortCode.BAD_LENGTH,
        )
    middle = ends[0] if ends else len(body)
    try:
        frame.envelope = _decode_part(values, frame, body[:middle])
        _decode_part(values, frame, body[middle:])
    except ValueError as exc:
        frame.error = str(exc)
    else:
        frame.error = "the payload of a fragment is not bin"  # nothing else is left


def _decode_part(values: Values, frame: Frame, data: bytes) -> Any:
    value = values.read(data)
    if values.indexes and max(values.indexes) >= frame.nfds:
        raise ValueError(f"handle {max(values.indexes)} of {frame.nfds}")
    return value


def _length_at(data: bytearray | memoryview, start: int) -> int:
    length: int = _SIGNATURE.unpack_from(data, start)[1]
    return length


def _fault_in(data: bytearray | memoryview, limit: int) -> RemoteProtocolError | None:
    first, length, second, third = _SIGNATURE.unpack_from(data)
    if (first, second, third) != (0x95CE, 0xCE, 0xCE):
        return RemoteProtocolError(
            f"no frame begins with {bytes(data[:HEADER_SIZE]).hex(' ')}",
            requirement="AWP-FR-4",
            code=AbortCode.BAD_SIGNATURE,
        )
    if length > limit:
        return RemoteProtocolError(
            f"frame of {length} bytes exceeds max_frame of {limit} bytes",
            requirement="AWP-FR-5",
            code=AbortCode.FRAME_TOO_LARGE,
        )
    return None
