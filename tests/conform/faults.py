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


def _go(id: str, file: str, old: str, new: str, case: str) -> Fault:  # noqa: A002
    return Fault(f"go.{id}", "go", f"awp/{file}.go", old, new, case)


def _rust(id: str, file: str, old: str, new: str, case: str) -> Fault:  # noqa: A002
    return Fault(f"rust.{id}", "rust", f"src/{file}.rs", old, new, case)


def _c(id: str, file: str, old: str, new: str, case: str) -> Fault:  # noqa: A002
    return Fault(f"c.{id}", "c", f"{file}.c", old, new, case)


def _node(id: str, file: str, old: str, new: str, case: str) -> Fault:  # noqa: A002
    return Fault(f"node.{id}", "node", f"src/awp/{file}.ts", old, new, case)


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
    # ---- framing ----
    _go(
        "no-look-at-the-last-signature", "frame", " || b[11] != 0xce {", " {", "abort.signature-11"
    ),
    _go(
        "frame-one-byte-too-long",
        "receive",
        "uint64(h.length) > uint64(s.local.MaxFrame):",
        "uint64(h.length) > uint64(s.local.MaxFrame)+1:",
        "fr.too-long",
    ),
    # ---- descriptors ----
    _go(
        "newest-group-first",
        "groups",
        "first = g.waiting[0]\n\t\tg.waiting = g.waiting[1:]",
        "first = g.waiting[len(g.waiting)-1]\n\t\tg.waiting = g.waiting[:len(g.waiting)-1]",
        "fd.glued-tail",
    ),
    _go("more-than-declared", "receive", "len(fds) > h.nfds,", "len(fds) > h.nfds+1,", "fd.larger"),
    _go("loss-unsaid", "groups", "\t\tg.lost = append(g.lost, g.frames)\n", "", "fds.ctrunc"),
    _go(
        "listeners-are-sockets-too",
        "handle",
        "(option(syscall.SO_ACCEPTCONN) == 1) != want.listens:",
        "false:",
        "ha.false-listener",
    ),
    # ---- handshake ----
    _go(
        "name-forgotten",
        "receive",
        "s.is.Name, _ = table[proto.KeyWelcomeName].(string)",
        's.is.Name = ""',
        "hs.name",
    ),
    # ---- flow control ----
    _go(
        "one-byte-of-credit-too-many",
        "outgoing",
        "if m.cost > s.peer.Window-s.spent ||",
        "if m.cost > s.peer.Window-s.spent+1 ||",
        "fc.last-byte",
    ),
    _go(
        "credit-for-nothing",
        "outgoing",
        "if n > uint64(max(s.spent, 0)) {",
        "if n > uint64(max(s.spent, 0))+1 {",
        "fc.overcredited-by-one",
    ),
    _go(
        "bounced-for-nothing",
        "incoming",
        "why.table())\n\t}\n\ts.release(m.cost)",
        "why.table())\n\t}",
        "fc.returned-bounced",
    ),
    # ---- calls ----
    _go(
        "one-call-too-many",
        "incoming",
        "len(s.calls) >= s.local.MaxCalls",
        "len(s.calls) > s.local.MaxCalls",
        "ca.max-calls",
    ),
    _go(
        "abandoned-call-unanswered",
        "incoming",
        "if a.kind == proto.KindCall {\n\t\t\ts.answer",
        "if a.kind == proto.KindReply {\n\t\t\ts.answer",
        "lg.abandoned",
    ),
    # ---- shutdown ----
    _go("side-left-open", "worker", "_ = w.conn.CloseWrite()", "", "st.eof-after-goodbye"),
    _go(
        "one-too-few-in-the-end",
        "session",
        "proto.KeyGoodbyeRecv: s.received,",
        "proto.KeyGoodbyeRecv: max(s.received, 1) - 1,",
        "st.recv",
    ),
    _go(
        "later-deadline",
        "worker",
        "if w.hard.IsZero() || hard.Before(w.hard) {",
        "if w.hard.IsZero() || !hard.Before(w.hard) {",
        "st.stop-twice",
    ),
    # ---- listening ----
    _go(
        "one-connection-too-many",
        "ports",
        "len(entries) > l.credit {",
        "len(entries) > l.credit+1 {",
        "li.overdrawn",
    ),
    _go("numbers-with-gaps", "ports", "first != l.next {", "first < l.next {", "li.gap"),
    _go("head-forgotten", "conn", "head: head}", "head: nil}", "li.head"),
    _go(
        "no-connection-back",
        "ports",
        "\t\tcloseFDs(f.fds)\n\t\ts.rejectAll(f.channel, first, len(entries))\n",
        "\t\tcloseFDs(f.fds)\n",
        "li.strange-listener",
    ),
    # ---- Rust: framing ----
    _rust(
        "no-look-at-the-last-signature", "frame", " || b[11] != 0xce {", " {", "abort.signature-11"
    ),
    _rust(
        "frame-one-byte-too-long",
        "receive",
        "if header.length as usize > most {",
        "if header.length as usize > most + 1 {",
        "fr.too-long",
    ),
    # ---- Rust: descriptors ----
    _rust("inherited", "sys", "&mut message, MSG_CMSG_CLOEXEC)", "&mut message, 0)", "fds.cloexec"),
    _rust(
        "newest-group-first",
        "groups",
        "let group = self.waiting.pop_front();",
        "let group = self.waiting.pop_back();",
        "fd.glued-tail",
    ),
    _rust(
        "more-than-declared",
        "receive",
        "if fds.len() > nfds ||",
        "if fds.len() > nfds + 1 ||",
        "fd.larger",
    ),
    _rust(
        "listeners-are-sockets-too",
        "handle",
        "&& (sys::option(fd, SO_ACCEPTCONN)? == 1) == listens",
        "&& (listens || !listens)",
        "ha.false-listener",
    ),
    # ---- Rust: handshake ----
    _rust(
        "acknowledges-what-is-not-in-force",
        "session",
        "if !batch.handles.is_empty() && self.has(capability::HANDLE_ACK) {",
        "if !batch.handles.is_empty() {",
        "ha.closes-copy",
    ),
    # ---- Rust: flow control ----
    _rust(
        "one-byte-of-credit-too-many",
        "outgoing",
        "if self.spent + cost > self.peer[Limit::Window]",
        "if self.spent + cost > self.peer[Limit::Window] + 1",
        "fc.last-byte",
    ),
    _rust(
        "credit-for-nothing",
        "outgoing",
        "if n > self.spent as u64 {",
        "if n > self.spent as u64 + 1 {",
        "fc.overcredited-by-one",
    ),
    _rust(
        "bounced-for-nothing",
        "incoming",
        "        self.release(cost);\n",
        "        let _ = cost;\n",
        "fc.returned-bounced",
    ),
    # ---- Rust: calls ----
    _rust(
        "one-call-too-many",
        "incoming",
        "self.calls.len() >= self.local[Limit::MaxCalls]",
        "self.calls.len() > self.local[Limit::MaxCalls]",
        "ca.max-calls",
    ),
    _rust(
        "abandoned-call-unanswered",
        "incoming",
        "if message.kind == Kind::Call {\n                let error",
        "if message.kind == Kind::Tell {\n                let error",
        "lg.abandoned",
    ),
    # ---- Rust: shutdown ----
    _rust(
        "side-left-open",
        "wires",
        "let _ = stream.shutdown(std::net::Shutdown::Write);",
        "",
        "st.eof-after-goodbye",
    ),
    _rust(
        "later-deadline",
        "shared",
        "hard < other",
        "hard > other",
        "st.stop-twice",
    ),
    # ---- Rust: listening ----
    _rust(
        "numbers-with-gaps", "ports", "if first != port.next {", "if first < port.next {", "li.gap"
    ),
    _rust(
        "one-connection-too-many",
        "ports",
        "if count > port.credit {",
        "if count > port.credit + 1 {",
        "li.overdrawn",
    ),
    _rust(
        "head-forgotten",
        "handle",
        "let head = self.head().to_vec();",
        "let head = Vec::new();",
        "li.head",
    ),
    _rust(
        "closed-twice",
        "ports",
        "port.closed += 1;",
        "port.closed += 2;",
        "watch.closed",
    ),
    # ---- C: framing ----
    _c(
        "no-look-at-the-last-signature",
        "awp_in",
        " || at[11] != 0xce) {",
        ") {",
        "abort.signature-11",
    ),
    _c(
        "frame-one-byte-too-long",
        "awp_in",
        "if (frame.length > awp->limits.max_frame) {",
        "if (frame.length > awp->limits.max_frame + 1) {",
        "fr.too-long",
    ),
    _c(
        "more-without-frag",
        "awp_in",
        " || (frame->flags & AWP_FLAG_MORE && !pieces))",
        ")",
        "lg.more-alone",
    ),
    # ---- C: descriptors ----
    _c(
        "inherited",
        "awp_in",
        "MSG_DONTWAIT | MSG_CMSG_CLOEXEC",
        "MSG_DONTWAIT",
        "fds.cloexec",
    ),
    _c(
        "more-than-declared",
        "awp_handles",
        "group->count > frame->nfds",
        "group->count > frame->nfds + 1u",
        "fd.larger",
    ),
    _c(
        "blocking-sockets",
        "awp_handles",
        "flags | O_NONBLOCK",
        "flags & ~O_NONBLOCK",
        "fds.non-blocking",
    ),
    _c(
        "pieces-keep-their-descriptors",
        "awp_mail",
        "    awp_group_free(partial->fds);\n    free(partial);\n    entry",
        "    free(partial);\n    entry",
        "lg.abandoned-handles",
    ),
    _c(
        "not-what-it-says",
        "awp_handles",
        " || !awp_is_kind(group->fds[i], handles[i].kind)))",
        "))",
        "ha.false",
    ),
    # ---- C: flow control ----
    _c(
        "one-byte-of-credit-too-many",
        "awp_send",
        "awp->credit < (int64_t)message->cost",
        "awp->credit + 1 < (int64_t)message->cost",
        "fc.last-byte",
    ),
    _c(
        "credit-for-nothing",
        "awp_send",
        "n > awp->spent)",
        "n > awp->spent + 1)",
        "fc.overcredited-by-one",
    ),
    _c(
        "bounced-for-good",
        "awp_mail",
        "        awp_bounce(awp, awp->received, to, fault);\n    awp_return(awp, mail->cost);",
        "        awp_bounce(awp, awp->received, to, fault);",
        "fc.returned-bounced",
    ),
    # ---- C: calls ----
    _c(
        "one-call-too-many",
        "awp_mail",
        "awp->calls_open >= awp->limits.max_calls",
        "awp->calls_open > awp->limits.max_calls",
        "ca.max-calls",
    ),
    _c(
        "late-is-cancelled",
        "awp_mail",
        "give_up(awp, mail, AWP_ERROR_DEADLINE_EXCEEDED)",
        "give_up(awp, mail, AWP_ERROR_CANCELLED)",
        "ca.ttl",
    ),
    _c(
        "cancelled-in-silence",
        "awp_mail",
        "        if (entry->use == AWP_IN_CALL)\n"
        "            awp_send_error(awp, frame->channel, AWP_ERROR_CANCELLED, NULL, 0);\n",
        "",
        "lg.abandoned",
    ),
    # ---- C: shutdown ----
    _c(
        "later-deadline",
        "awp_session",
        "    if (now + span >= awp->deadline)\n        return;\n",
        "",
        "st.stop-later",
    ),
    _c(
        "miscounts-at-the-end",
        "awp_session",
        "AWP_KEY_GOODBYE_RECV, awp->received)",
        "AWP_KEY_GOODBYE_RECV, awp->received - (awp->received > 2))",
        "st.recv",
    ),
    _c(
        "deaf-to-goodbye",
        "awp_session",
        "    if (first)\n        tell_stop(awp, (unsigned)reason.u);",
        "    (void)first;",
        "st.goodbye-first",
    ),
    # ---- C: listening ----
    _c(
        "numbers-with-gaps",
        "awp_listen",
        "first.u != listener->arrived + 1",
        "first.u < listener->arrived + 1",
        "li.gap",
    ),
    _c(
        "one-connection-too-many",
        "awp_listen",
        "frame->nfds > listener->credit)",
        "frame->nfds > listener->credit + 1)",
        "li.overdrawn",
    ),
    _c(
        "closed-once",
        "awp_listen",
        "listener->closed += closed;",
        "listener->closed = closed + 1;",
        "watch.closed",
    ),
    # ---- Node ----
    _node(
        "frame-one-byte-too-long",
        "receive",
        "header.length > s.local.max_frame)",
        "header.length > s.local.max_frame + 1)",
        "fr.too-long",
    ),
    _node(
        "takes-what-is-far-ahead",
        "lane",
        "if (!isDue || number > this.declared + AHEAD || this.arrivals.has(number)) {",
        "if (!isDue || number > this.declared + 100 * AHEAD || this.arrivals.has(number)) {",
        "ln.numbers",
    ),
    _node(
        "waits-for-ever",
        "transport",
        "setTimeout(() => this.giveUp(), PATIENCE)",
        "setTimeout(() => this.giveUp(), 100 * PATIENCE)",
        "ln.lost",
    ),
    _node(
        "believes-what-it-is-told",
        "incoming",
        "const wrong = verifyAll(message.handles);",
        "const wrong = verifyAll([]);",
        "ha.false",
    ),
    _node(
        "one-byte-of-credit-too-many",
        "outgoing",
        "if (n > Math.max(this.spent, 0)) {",
        "if (n > Math.max(this.spent, 0) + 1) {",
        "fc.overcredited-by-one",
    ),
    _node(
        "cancelled-in-silence",
        "incoming",
        "if (message.kind === Kind.CALL) this.s.answer({ kind: Kind.ERROR, channel, payload });",
        "void payload;",
        "lg.abandoned",
    ),
    _node(
        "miscounts-at-the-end",
        "session",
        "const recv = this.incoming.received;",
        "const recv = this.incoming.received - (this.incoming.received > 2 ? 1 : 0);",
        "st.recv",
    ),
    _node(
        "one-connection-too-many",
        "ports",
        "if (entries.length > listener.credit) {",
        "if (entries.length > listener.credit + 1) {",
        "li.overdrawn",
    ),
]
