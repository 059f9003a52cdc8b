"""Faults to put into workers, one small change each, and the case that has to notice it.

To add one is to add a row, whatever language the worker is written in: `old` occurs once in `file`.
"""

from __future__ import annotations

import attrs

__all__ = ["FAULTS", "Fault"]


@attrs.frozen
class Fault:
    """One change to a worker that is wrong.

    Attributes:
        base: name in `bases.BASES`.
        file: inside of its directory.
        old: the text that is replaced; it occurs once.
        new: by which.
        case: of the kit, that fails then; hardly any other does.
    """

    id: str
    base: str
    file: str
    old: str
    new: str
    case: str


def _asyncio(id: str, file: str, old: str, new: str, case: str) -> Fault:  # noqa: A002
    return Fault(f"asyncio.{id}", "asyncio", f"awp/{file}.py", old, new, case)


FAULTS = [
    # ---- framing ----
    _asyncio(
        "frame-one-byte-too-long",
        "framing",
        "if length > self.max_frame:",
        "if length > self.max_frame + 1:",
        "fr.too-long",
    ),
    _asyncio(
        "unimplemented-on-channel-0",
        "connection",
        "self._answer(Kind.UNIMPLEMENTED, frame.channel,",
        "self._answer(Kind.UNIMPLEMENTED, 0,",
        "ev.unknown",
    ),
    _asyncio(
        "pong-on-channel-0",
        "connection",
        "self._answer(Kind.PONG, frame.channel, frame.body)",
        "self._answer(Kind.PONG, 0, frame.body)",
        "pi.channels",
    ),
    # ---- descriptors ----
    _asyncio(
        "inherited",
        "transport",
        "_FLAGS = socket.MSG_CMSG_CLOEXEC",
        "_FLAGS = 0",
        "fds.cloexec",
    ),
    _asyncio(
        "more-than-declared",
        "framing",
        "if len(fds) > nfds:",
        "if len(fds) > nfds + 1:",
        "fd.larger",
    ),
    _asyncio(
        "newest-group-first",
        "framing",
        "fds, truncated = self._groups.popleft()",
        "fds, truncated = self._groups.pop()",
        "fds.groups",
    ),
    _asyncio(
        "copy-closed-early",
        "outbox",
        "        if self.handle_ack:",
        "        if not self.handle_ack:",
        "ha.keeps-copy",
    ),
    # ---- handshake ----
    _asyncio(
        "acknowledges-what-is-not-in-force",
        "connection",
        '"handle.ack" in caps',
        "True",
        "ha.closes-copy",
    ),
    # ---- flow control ----
    _asyncio(
        "window-not-the-most",
        "arrivals",
        "charge = min(self._window, max(LEAST_COST, size))",
        "charge = max(LEAST_COST, size)",
        "fc.returned-large",
    ),
    _asyncio(
        "bounced-for-nothing",
        "arrivals",
        "        self.give_back(charge)\n        if message.kind == Kind.CALL:",
        "        if message.kind == Kind.CALL:",
        "fc.returned-bounced",
    ),
    _asyncio(
        "one-byte-of-credit-too-many",
        "connection",
        "if count > self.outbox.spent:",
        "if count > self.outbox.spent + 1:",
        "fc.overcredited-by-one",
    ),
    # ---- calls ----
    _asyncio(
        "one-call-too-many",
        "arrivals",
        'self._calls() >= self.limits["max_calls"]',
        'self._calls() > self.limits["max_calls"]',
        "ca.max-calls",
    ),
    _asyncio(
        "abandoned-call-unanswered",
        "connection",
        "if unfinished.kind == Kind.CALL:",
        "if unfinished.kind == Kind.TELL and False:",
        "lg.abandoned",
    ),
    # ---- shutdown ----
    _asyncio(
        "side-left-open",
        "transport",
        "                self._sock.shutdown(socket.SHUT_WR)",
        "                pass",
        "st.eof-after-goodbye",
    ),
    # ---- listening ----
    _asyncio(
        "no-connection-back",
        "arrivals",
        "            self._answer(Kind.CONN_REPLY, frame.channel, body)\n            return",
        "            return",
        "li.strange-listener",
    ),
    _asyncio(
        "head-forgotten",
        "listener",
        "            reader.feed_data(self.head)",
        "            pass",
        "li.head",
    ),
]
