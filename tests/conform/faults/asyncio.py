"""Faults to put into examples/workers/asyncio."""

from __future__ import annotations

from tests.conform.faults.fault import faults_of

ROWS = [
    # ---- framing ----
    (
        "frame-one-byte-too-long",
        "framing",
        "if length > self.max_frame:",
        "if length > self.max_frame + 1:",
        "fr.too-long",
    ),
    (
        "unimplemented-on-channel-0",
        "connection",
        "self._answer(Kind.UNIMPLEMENTED, frame.channel,",
        "self._answer(Kind.UNIMPLEMENTED, 0,",
        "ev.unknown",
    ),
    (
        "pong-on-channel-0",
        "connection",
        "self._answer(Kind.PONG, frame.channel, frame.body)",
        "self._answer(Kind.PONG, 0, frame.body)",
        "pi.channels",
    ),
    # ---- descriptors ----
    (
        "inherited",
        "transport",
        "_FLAGS = socket.MSG_CMSG_CLOEXEC",
        "_FLAGS = 0",
        "fds.cloexec",
    ),
    (
        "more-than-declared",
        "framing",
        "if len(fds) > nfds:",
        "if len(fds) > nfds + 1:",
        "fd.larger",
    ),
    (
        "newest-group-first",
        "framing",
        "fds, truncated = self._groups.popleft()",
        "fds, truncated = self._groups.pop()",
        "fds.groups",
    ),
    (
        "copy-closed-early",
        "outbox",
        "        if self.handle_ack:",
        "        if not self.handle_ack:",
        "ha.keeps-copy",
    ),
    # ---- handshake ----
    (
        "acknowledges-what-is-not-in-force",
        "connection",
        '"handle.ack" in caps',
        "True",
        "ha.closes-copy",
    ),
    # ---- flow control ----
    (
        "window-not-the-most",
        "arrivals",
        "charge = min(self._window, max(LEAST_COST, size))",
        "charge = max(LEAST_COST, size)",
        "fc.returned-large",
    ),
    (
        "bounced-for-nothing",
        "arrivals",
        "        self.give_back(charge)\n        if message.kind == Kind.CALL:",
        "        if message.kind == Kind.CALL:",
        "fc.returned-bounced",
    ),
    (
        "one-byte-of-credit-too-many",
        "connection",
        "if count > self.outbox.spent:",
        "if count > self.outbox.spent + 1:",
        "fc.overcredited-by-one",
    ),
    # ---- calls ----
    (
        "one-call-too-many",
        "arrivals",
        'self._calls() >= self.limits["max_calls"]',
        'self._calls() > self.limits["max_calls"]',
        "ca.max-calls",
    ),
    (
        "abandoned-call-unanswered",
        "connection",
        "if unfinished.kind == Kind.CALL:",
        "if unfinished.kind == Kind.TELL and False:",
        "lg.abandoned",
    ),
    # ---- shutdown ----
    (
        "side-left-open",
        "transport",
        "                self._sock.shutdown(socket.SHUT_WR)",
        "                pass",
        "st.eof-after-goodbye",
    ),
    # ---- listening ----
    (
        "no-connection-back",
        "arrivals",
        "            self._answer(Kind.CONN_REPLY, frame.channel, body)\n            return",
        "            return",
        "li.strange-listener",
    ),
    (
        "head-forgotten",
        "listener",
        "            reader.feed_data(self.head)",
        "            pass",
        "li.head",
    ),
]

FAULTS = faults_of("asyncio", "awp/{}.py", ROWS)
