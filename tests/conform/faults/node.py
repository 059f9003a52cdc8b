"""Faults to put into examples/workers/node."""

from __future__ import annotations

from tests.conform.faults.fault import faults_of

ROWS = [
    (
        "frame-one-byte-too-long",
        "receive",
        "header.length > s.local.max_frame)",
        "header.length > s.local.max_frame + 1)",
        "fr.too-long",
    ),
    (
        "takes-what-is-far-ahead",
        "lane",
        "if (!isDue || number > this.declared + AHEAD || this.arrivals.has(number)) {",
        "if (!isDue || number > this.declared + 100 * AHEAD || this.arrivals.has(number)) {",
        "ln.numbers",
    ),
    (
        "waits-for-ever",
        "transport",
        "setTimeout(() => this.giveUp(), PATIENCE)",
        "setTimeout(() => this.giveUp(), 100 * PATIENCE)",
        "ln.lost",
    ),
    (
        "believes-what-it-is-told",
        "incoming",
        "const wrong = verifyAll(message.handles);",
        "const wrong = verifyAll([]);",
        "ha.false",
    ),
    (
        "one-byte-of-credit-too-many",
        "outgoing",
        "if (n > Math.max(this.spent, 0)) {",
        "if (n > Math.max(this.spent, 0) + 1) {",
        "fc.overcredited-by-one",
    ),
    (
        "cancelled-in-silence",
        "incoming",
        "if (message.kind === Kind.CALL) this.s.answer({ kind: Kind.ERROR, channel, payload });",
        "void payload;",
        "lg.abandoned",
    ),
    (
        "miscounts-at-the-end",
        "session",
        "const recv = this.incoming.received;",
        "const recv = this.incoming.received - (this.incoming.received > 2 ? 1 : 0);",
        "st.recv",
    ),
    (
        "one-connection-too-many",
        "ports",
        "if (entries.length > listener.credit) {",
        "if (entries.length > listener.credit + 1) {",
        "li.overdrawn",
    ),
]

FAULTS = faults_of("node", "src/awp/{}.ts", ROWS)
