"""A frame as it arrived; many of one kind in one.

Runs in: both

Messages from main actor to main actor, calls among them without a deadline, and answers without
handles are nearly all there is where speed matters. Consecutive ones of one kind make a `Run`; of
calls and answers it takes two.
"""

from __future__ import annotations

from typing import Any, Final, final

import attrs

from ._generated import Kind

__all__ = ["ALL", "PLAIN", "Frame", "Run"]

#: More frames than there can be.
ALL: Final = 1 << 62

#: Kinds of which runs are made; to each the envelope that says nothing.
PLAIN: Final[dict[int, Any]] = {
    int(Kind.TELL): [None],
    int(Kind.CALL): [None],
    int(Kind.REPLY): None,
}


@attrs.define(eq=True)
class Frame:
    """One frame as it arrived; nothing is checked that depends on its kind.

    Attributes:
        kind: its code, known or not.
        flags: FLAG_MORE and so on.
        nfds: how many descriptors belong to it.
        channel: 0 for the connection.
        length: bytes of envelope and payload, as in the header.
        envelope: decoded.
        payload: decoded, with `HandleIndex` below `nfds`; with FLAG_FRAG the piece, maybe as
            a view of what was read, which is soon read over.
        body: for PING and PONG envelope and payload as they came; else None.
        error: None, or why the message is a ``bad_payload``. Then `payload` is None, and so is
            `envelope` if the fault lies there.
    """

    kind: int
    flags: int
    nfds: int
    channel: int
    length: int
    envelope: Any
    payload: Any
    body: bytes | None = None
    error: str | None = None


@final
class Run(Frame):
    """Stands for consecutive plain frames of one kind, all of them good.

    Attributes:
        channels: of each; of a TELL it is 0, of the others it is not.
        bodies: of each.
        lengths: of each, as in the header.
    """

    __slots__ = ("bodies", "channels", "lengths")

    def __init__(
        self, kind: int, channels: list[int], bodies: list[Any], lengths: list[int]
    ) -> None:
        super().__init__(kind, 0, 0, 0, 0, None, None)
        self.channels = channels
        self.bodies = bodies
        self.lengths = lengths

    def add(self, frame: Frame) -> None:
        """Append one."""
        self.channels.append(frame.channel)
        self.bodies.append(frame.payload)
        self.lengths.append(frame.length)

    def frames(self) -> list[Frame]:
        """What would have been there instead."""
        kind, envelope = self.kind, PLAIN[self.kind]
        return [
            Frame(kind, 0, 0, channel, length, envelope and envelope.copy(), body)
            for channel, body, length in zip(self.channels, self.bodies, self.lengths, strict=True)
        ]
