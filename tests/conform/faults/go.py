"""Faults to put into examples/workers/go."""

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
        "uint64(h.length) > uint64(s.local.MaxFrame):",
        "uint64(h.length) > uint64(s.local.MaxFrame)+1:",
        "fr.too-long",
    ),
    # ---- descriptors ----
    (
        "newest-group-first",
        "groups",
        "first = g.waiting[0]\n\t\tg.waiting = g.waiting[1:]",
        "first = g.waiting[len(g.waiting)-1]\n\t\tg.waiting = g.waiting[:len(g.waiting)-1]",
        "fd.glued-tail",
    ),
    (
        "more-than-declared",
        "receive",
        "len(fds) > h.nfds,",
        "len(fds) > h.nfds+1,",
        "fd.larger",
    ),
    ("loss-unsaid", "groups", "\t\tg.lost = append(g.lost, g.frames)\n", "", "fds.ctrunc"),
    (
        "listeners-are-sockets-too",
        "handle",
        "(option(syscall.SO_ACCEPTCONN) == 1) != want.listens:",
        "false:",
        "ha.false-listener",
    ),
    # ---- handshake ----
    (
        "name-forgotten",
        "receive",
        "s.is.Name, _ = table[proto.KeyWelcomeName].(string)",
        's.is.Name = ""',
        "hs.name",
    ),
    # ---- flow control ----
    (
        "one-byte-of-credit-too-many",
        "outgoing",
        "if m.cost > s.peer.Window-s.spent ||",
        "if m.cost > s.peer.Window-s.spent+1 ||",
        "fc.last-byte",
    ),
    (
        "credit-for-nothing",
        "outgoing",
        "if n > uint64(max(s.spent, 0)) {",
        "if n > uint64(max(s.spent, 0))+1 {",
        "fc.overcredited-by-one",
    ),
    (
        "bounced-for-nothing",
        "incoming",
        "why.table())\n\t}\n\ts.release(m.cost)",
        "why.table())\n\t}",
        "fc.returned-bounced",
    ),
    # ---- calls ----
    (
        "one-call-too-many",
        "incoming",
        "len(s.calls) >= s.local.MaxCalls",
        "len(s.calls) > s.local.MaxCalls",
        "ca.max-calls",
    ),
    (
        "abandoned-call-unanswered",
        "incoming",
        "if a.kind == proto.KindCall {\n\t\t\ts.answer",
        "if a.kind == proto.KindReply {\n\t\t\ts.answer",
        "lg.abandoned",
    ),
    # ---- shutdown ----
    ("side-left-open", "worker", "_ = w.conn.CloseWrite()", "", "st.eof-after-goodbye"),
    (
        "one-too-few-in-the-end",
        "session",
        "proto.KeyGoodbyeRecv: s.received,",
        "proto.KeyGoodbyeRecv: max(s.received, 1) - 1,",
        "st.recv",
    ),
    (
        "later-deadline",
        "worker",
        "if w.hard.IsZero() || hard.Before(w.hard) {",
        "if w.hard.IsZero() || !hard.Before(w.hard) {",
        "st.stop-twice",
    ),
    # ---- listening ----
    (
        "one-connection-too-many",
        "ports",
        "len(entries) > l.credit {",
        "len(entries) > l.credit+1 {",
        "li.overdrawn",
    ),
    ("numbers-with-gaps", "ports", "first != l.next {", "first < l.next {", "li.gap"),
    ("head-forgotten", "conn", "head: head}", "head: nil}", "li.head"),
    (
        "no-connection-back",
        "ports",
        "\t\tcloseFDs(f.fds)\n\t\ts.rejectAll(f.channel, first, len(entries))\n",
        "\t\tcloseFDs(f.fds)\n",
        "li.strange-listener",
    ),
]

FAULTS = faults_of("go", "awp/{}.go", ROWS)
