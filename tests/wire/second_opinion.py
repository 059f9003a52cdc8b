"""Reads frames by their headers alone, and values by hand: slow, and not the code under test.

Runs in: both

It gives frames as our reader does, for comparison over random bytes. What a body holds is decoded
by `Values`; `independent` decodes that too, and shares nothing.
"""

from __future__ import annotations

from actorcluster.wire.frames import Frame
from actorcluster.wire.values import HandleIndex, Values

__all__ = ["Outcome", "end_of_value", "read_by_headers"]


class UnclearEndError(Exception):
    """No telling where a value ends."""


def end_of_value(data: bytes, at: int) -> int:
    """Where the msgpack value ends that begins there; IndexError if it is incomplete."""
    nests = [1]
    while nests:
        nests[-1] -= 1
        byte = data[at]
        at += 1
        children = 0
        container = 0x80 <= byte <= 0x9F or 0xDC <= byte <= 0xDF
        if byte == 0xC1:
            raise UnclearEndError
        if byte in SIZED:
            width, extra = SIZED[byte]
            length = int.from_bytes(data[at : at + width], "big") if width else 0
            if len(data) < at + width:
                raise IndexError
            at += width
            if container:
                children = length * (2 if byte >= 0xDE else 1)
            elif (byte, length) != (0xC9, 2**32 - 1):  # msgpack adds 1 for the type, in 32 bits
                at += length + extra
        elif 0xA0 <= byte <= 0xBF:
            at += byte & 31
        elif container:
            children = (byte & 15) * (1 if byte & 16 else 2)
        if at > len(data):
            raise IndexError
        if container and len(nests) > 1024:
            raise UnclearEndError
        nests.append(children)
        while nests and nests[-1] == 0:
            nests.pop()
    return at


SIZED = {
    **{0xC4 + i: (1 << i, 0) for i in range(3)},  # bin
    **{0xC7 + i: (1 << i, 1) for i in range(3)},  # ext, and its type
    0xCA: (0, 4),
    0xCB: (0, 8),
    **{0xCC + i: (0, 1 << i) for i in range(4)},  # uint
    **{0xD0 + i: (0, 1 << i) for i in range(4)},  # int
    **{0xD4 + i: (0, (1 << i) + 1) for i in range(5)},  # fixext
    **{0xD9 + i: (1 << i, 0) for i in range(3)},  # str
    0xDC: (2, 0),
    0xDD: (4, 0),
    0xDE: (2, 0),
    0xDF: (4, 0),
}

Outcome = tuple[list[Frame], str | None]


def read_by_headers(data: bytes, max_frame: int) -> Outcome:
    """What `FrameReader` must find in `data`, all frames and the requirement that ends them."""
    frames: list[Frame] = []
    at = 0
    while len(data) - at >= 16:
        head = data[at : at + 16]
        length = int.from_bytes(head[2:6], "big")
        if (head[0], head[1], head[6], head[11]) != (0x95, 0xCE, 0xCE, 0xCE):
            return frames, "AWP-FR-4"
        if length > max_frame:
            return frames, "AWP-FR-5"
        body = data[at + 16 : at + 16 + length]
        if len(body) < length:
            break
        try:
            frames.append(opaque(head, body) if head[7] in OPAQUE else frame_of(head, body))
        except IndexError:
            return frames, "AWP-FR-3"
        at += 16 + length
    return frames, None


OPAQUE = (6, 7)  # PING and PONG, whose bodies may be anything


def opaque(head: bytes, body: bytes) -> Frame:
    """One of these: what it holds is seen where it holds something."""
    try:
        frame = frame_of(head, body)
    except IndexError:
        frame = None
    if frame is None or frame.error is not None:
        kind, flags, nfds = head[7:10]
        channel = int.from_bytes(head[12:16], "big")
        frame = Frame(kind, flags, nfds, channel, len(body), None, None)
    frame.body = body
    return frame


def frame_of(head: bytes, body: bytes) -> Frame:
    kind, flags, nfds = head[7:10]
    channel = int.from_bytes(head[12:16], "big")
    frame = Frame(kind, flags, nfds, channel, len(body), None, None)
    middle = None
    try:
        middle = end_of_value(body, 0)
        if end_of_value(body, middle) != len(body):
            raise IndexError
    except UnclearEndError:
        frame.error = "unclear"
    values = Values()
    try:
        frame.envelope = values.place(values.decode(body[:middle]), INDEXES[:nfds])
        payload = values.place(values.decode(body[middle:]), INDEXES[:nfds])
        if flags & 2 and not isinstance(payload, bytes):
            raise ValueError
        frame.payload = payload
    except ValueError:
        frame.error = "bad"
    return frame


INDEXES = [HandleIndex(index) for index in range(256)]
