"""Payloads in memory files: what a message costs whose frame holds none of it, and what it says.

Runs in: both

The frame of such a message has an envelope, a nil in place of its payload, and one handle more than
the payload refers to: the last one is the file. It costs and counts as if the payload were in the
frame (AWP-LG-10), so that who reads it is held to the same bounds. To read the file is for somebody
who knows an operating system, and who also finds out whether the file can change meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from ._generated import Capability, ErrorCode, HandleKind, Kind
from .letters import Fault, Letter
from .sending import Sending

__all__ = ["BULK", "Bulk", "ReadBulk"]

BULK: Final = "bulk"
"""Its key in the meta map."""
_SIZE: Final = "size"
_REPLY: Final = int(Kind.REPLY)
_MEMFD: Final = int(HandleKind.MEMFD)

ReadBulk: TypeAlias = Callable[[int, int], bytes | None]
"""Reads a descriptor that is said to have so many bytes; None: it is not what it has to be."""


class Bulk(Sending):
    """The layer of payloads in memory files."""

    _read_bulk: ReadBulk | None = None

    def offer_bulk(self, read: ReadBulk) -> None:
        """Before the introductions: payloads may come in memory files, which ``read`` reads."""
        self._read_bulk = read
        self._offered |= {Capability.BULK_MEMFD}

    def takes_bulk(self, handles: int) -> bool:
        """Whether a payload may go in a memory file, beside so many handles."""
        return (
            Capability.BULK_MEMFD in self.capabilities
            and self._takes_handles
            and _MEMFD in self._peer_handle_kinds
            and handles < self.peer_limits["max_fds"]
        )

    def _weigh(self, letter: Letter) -> None:
        """Count what is in a memory file as if it were in the frame; note what is wrong with it."""
        envelope = letter.envelope
        place = 1 if letter.kind == _REPLY else 3
        if type(envelope) is not list or len(envelope) <= place:
            return
        meta, entries = envelope[place], envelope[place - 1]
        if type(meta) is not dict or meta.get(BULK) is None:
            return
        about = meta[BULK]
        size = about.get(_SIZE) if type(about) is dict else None
        if type(size) is not int or size < 1:
            letter.fault = (ErrorCode.BAD_PAYLOAD, "the size of its memory file is not stated")
        elif letter.body is not None:
            letter.fault = (ErrorCode.BAD_PAYLOAD, "a payload beside its memory file")
        elif not (type(entries) is list and entries and _is_memfd(entries[-1])):
            letter.fault = (ErrorCode.BAD_PAYLOAD, "its last handle is no memory file")
        else:
            letter.bulk = size
            letter.length += size - 1  # in place of the nil

    def _read_file(self, letter: Letter) -> Any:
        """Decode what the last descriptor of the frame at hand holds, and give that up."""
        fds = self._fds
        assert fds
        assert self._read_bulk is not None
        data = self._read_bulk(fds[-1], letter.bulk)
        if data is None:
            text = f"its payload is in no sealed memory file of {letter.bulk} bytes [AWP-LG-4]"
            raise Fault(ErrorCode.UNSUPPORTED_HANDLE, text)
        values = self._values
        try:
            body = values.read(data)
            highest = max(values.indexes, default=-1)
            values.indexes.clear()
        except ValueError as exc:
            raise Fault(ErrorCode.BAD_PAYLOAD, str(exc)) from None
        if highest >= letter.nfds - 1:
            raise Fault(ErrorCode.BAD_PAYLOAD, f"handle {highest} of {letter.nfds - 1}")
        self._descriptors.discard(fds[-1:])
        self._fds = fds[:-1]
        return body


def _is_memfd(entry: Any) -> bool:
    return type(entry) is list and bool(entry) and entry[0] == _MEMFD
