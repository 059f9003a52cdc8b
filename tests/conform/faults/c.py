"""Faults to put into examples/workers/c."""

from __future__ import annotations

from tests.conform.faults.fault import faults_of

ROWS = [
    # ---- framing ----
    (
        "no-look-at-the-last-signature",
        "awp_in",
        " || at[11] != 0xce) {",
        ") {",
        "abort.signature-11",
    ),
    (
        "frame-one-byte-too-long",
        "awp_in",
        "if (frame.length > awp->limits.max_frame) {",
        "if (frame.length > awp->limits.max_frame + 1) {",
        "fr.too-long",
    ),
    (
        "more-without-frag",
        "awp_in",
        " || (frame->flags & AWP_FLAG_MORE && !pieces))",
        ")",
        "lg.more-alone",
    ),
    # ---- descriptors ----
    (
        "inherited",
        "awp_in",
        "MSG_DONTWAIT | MSG_CMSG_CLOEXEC",
        "MSG_DONTWAIT",
        "fds.cloexec",
    ),
    (
        "more-than-declared",
        "awp_handles",
        "group->count > frame->nfds",
        "group->count > frame->nfds + 1u",
        "fd.larger",
    ),
    (
        "blocking-sockets",
        "awp_handles",
        "flags | O_NONBLOCK",
        "flags & ~O_NONBLOCK",
        "fds.non-blocking",
    ),
    (
        "pieces-keep-their-descriptors",
        "awp_mail",
        "    awp_group_free(partial->fds);\n    free(partial);\n    entry",
        "    free(partial);\n    entry",
        "lg.abandoned-handles",
    ),
    (
        "not-what-it-says",
        "awp_handles",
        " || !awp_is_kind(group->fds[i], handles[i].kind)))",
        "))",
        "ha.false",
    ),
    # ---- flow control ----
    (
        "one-byte-of-credit-too-many",
        "awp_send",
        "awp->credit < (int64_t)message->cost",
        "awp->credit + 1 < (int64_t)message->cost",
        "fc.last-byte",
    ),
    (
        "credit-for-nothing",
        "awp_send",
        "n > awp->spent)",
        "n > awp->spent + 1)",
        "fc.overcredited-by-one",
    ),
    (
        "bounced-for-good",
        "awp_mail",
        "        awp_bounce(awp, awp->received, to, fault);\n    awp_return(awp, mail->cost);",
        "        awp_bounce(awp, awp->received, to, fault);",
        "fc.returned-bounced",
    ),
    # ---- calls ----
    (
        "one-call-too-many",
        "awp_mail",
        "awp->calls_open >= awp->limits.max_calls",
        "awp->calls_open > awp->limits.max_calls",
        "ca.max-calls",
    ),
    (
        "late-is-cancelled",
        "awp_mail",
        "give_up(awp, mail, AWP_ERROR_DEADLINE_EXCEEDED)",
        "give_up(awp, mail, AWP_ERROR_CANCELLED)",
        "ca.ttl",
    ),
    (
        "cancelled-in-silence",
        "awp_mail",
        (
            "        if (entry->use == AWP_IN_CALL)\n"
            "            awp_send_error(awp, frame->channel, AWP_ERROR_CANCELLED, NULL, 0);\n"
        ),
        "",
        "lg.abandoned",
    ),
    # ---- shutdown ----
    (
        "later-deadline",
        "awp_session",
        "    if (now + span >= awp->deadline)\n        return;\n",
        "",
        "st.stop-later",
    ),
    (
        "miscounts-at-the-end",
        "awp_session",
        "AWP_KEY_GOODBYE_RECV, awp->received)",
        "AWP_KEY_GOODBYE_RECV, awp->received - (awp->received > 2))",
        "st.recv",
    ),
    (
        "deaf-to-goodbye",
        "awp_session",
        "    if (first)\n        tell_stop(awp, (unsigned)reason.u);",
        "    (void)first;",
        "st.goodbye-first",
    ),
    # ---- listening ----
    (
        "numbers-with-gaps",
        "awp_listen",
        "first.u != listener->arrived + 1",
        "first.u < listener->arrived + 1",
        "li.gap",
    ),
    (
        "one-connection-too-many",
        "awp_listen",
        "frame->nfds > listener->credit)",
        "frame->nfds > listener->credit + 1)",
        "li.overdrawn",
    ),
    (
        "closed-once",
        "awp_listen",
        "listener->closed += closed;",
        "listener->closed = closed + 1;",
        "watch.closed",
    ),
]

FAULTS = faults_of("c", "{}.c", ROWS)
