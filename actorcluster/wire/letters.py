"""A message or answer that is complete: sealed, opened, or not fit to be opened.

Runs in: both
"""

from __future__ import annotations

from typing import Any, final

import attrs

from ._generated import ErrorCode

__all__ = ["Fault", "Letter", "Opened"]


@final
@attrs.define(eq=False, repr=False)
class Letter:
    """A complete message or answer before it is opened.

    Attributes:
        kind: TELL, CALL or REPLY.
        channel: of the call; of no meaning for a TELL.
        length: envelope and payload in one frame.
        envelope: decoded, unchecked.
        body: decoded; handles not in place yet.
        nfds: how many descriptors it has.
        fault: error code and text of what is wrong with it already.
        bulk: bytes of its payload that are in a memory file, see `bulk`.
        window: of one in fragments: the size of our window when its first came.
    """

    kind: int
    channel: int
    length: int
    envelope: Any
    body: Any
    nfds: int
    fault: tuple[ErrorCode, str] | None = None
    bulk: int = 0
    window: int | None = None


@final
@attrs.define(eq=False, repr=False)
class Opened:
    """What a good letter holds."""

    to: int | str | None
    sender: int | None
    body: Any
    handles: tuple[Any, ...]
    meta: dict[str, Any]


@final
class Fault(Exception):
    """Something is wrong with one letter, and only with that one."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
