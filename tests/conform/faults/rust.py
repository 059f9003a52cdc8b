"""Faults to put into examples/workers/rust."""

from __future__ import annotations

from tests.conform.faults.fault import faults_of

ROWS = [
    # ---- framing ----
    (
        "no-look-at-the-last-signature",
        "frame",
        " || b[11] != 0xce {",
        " {",
        "abort.signature-11",
    ),
    (
        "frame-one-byte-too-long",
        "receive",
        "if header.length as usize > most {",
        "if header.length as usize > most + 1 {",
        "fr.too-long",
    ),
    # ---- descriptors ----
    ("inherited", "sys", "&mut message, MSG_CMSG_CLOEXEC)", "&mut message, 0)", "fds.cloexec"),
    (
        "newest-group-first",
        "groups",
        "let group = self.waiting.pop_front();",
        "let group = self.waiting.pop_back();",
        "fd.glued-tail",
    ),
    (
        "more-than-declared",
        "receive",
        "if fds.len() > nfds ||",
        "if fds.len() > nfds + 1 ||",
        "fd.larger",
    ),
    (
        "listeners-are-sockets-too",
        "handle",
        "&& (sys::option(fd, SO_ACCEPTCONN)? == 1) == listens",
        "&& (listens || !listens)",
        "ha.false-listener",
    ),
    # ---- handshake ----
    (
        "acknowledges-what-is-not-in-force",
        "session",
        "if !batch.handles.is_empty() && self.has(capability::HANDLE_ACK) {",
        "if !batch.handles.is_empty() {",
        "ha.closes-copy",
    ),
    # ---- flow control ----
    (
        "one-byte-of-credit-too-many",
        "outgoing",
        "if self.spent + cost > self.peer[Limit::Window]",
        "if self.spent + cost > self.peer[Limit::Window] + 1",
        "fc.last-byte",
    ),
    (
        "credit-for-nothing",
        "outgoing",
        "if n > self.spent as u64 {",
        "if n > self.spent as u64 + 1 {",
        "fc.overcredited-by-one",
    ),
    (
        "bounced-for-nothing",
        "incoming",
        "        self.release(cost);\n",
        "        let _ = cost;\n",
        "fc.returned-bounced",
    ),
    # ---- calls ----
    (
        "one-call-too-many",
        "incoming",
        "self.calls.len() >= self.local[Limit::MaxCalls]",
        "self.calls.len() > self.local[Limit::MaxCalls]",
        "ca.max-calls",
    ),
    (
        "abandoned-call-unanswered",
        "incoming",
        "if message.kind == Kind::Call {\n                let error",
        "if message.kind == Kind::Tell {\n                let error",
        "lg.abandoned",
    ),
    # ---- shutdown ----
    (
        "side-left-open",
        "wires",
        "let _ = stream.shutdown(std::net::Shutdown::Write);",
        "",
        "st.eof-after-goodbye",
    ),
    (
        "later-deadline",
        "shared",
        "hard < other",
        "hard > other",
        "st.stop-twice",
    ),
    # ---- listening ----
    (
        "numbers-with-gaps",
        "ports",
        "if first != port.next {",
        "if first < port.next {",
        "li.gap",
    ),
    (
        "one-connection-too-many",
        "ports",
        "if count > port.credit {",
        "if count > port.credit + 1 {",
        "li.overdrawn",
    ),
    (
        "head-forgotten",
        "handle",
        "let head = self.head().to_vec();",
        "let head = Vec::new();",
        "li.head",
    ),
    (
        "closed-twice",
        "ports",
        "port.closed += 1;",
        "port.closed += 2;",
        "watch.closed",
    ),
]

FAULTS = faults_of("rust", "src/{}.rs", ROWS)
