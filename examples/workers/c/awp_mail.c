/* Messages, calls and answers that come.
 *
 * A message in fragments is collected on its channel. When it is whole, it goes the way of one that
 * came in one frame: numbered, charged to our window, judged, and put into the mailbox or turned
 * down. What is wrong with it is never the connection's fault (AWP-FR-6), so everything here that
 * finds a fault names an error code, and turn_down() is the only place that answers. */
#include "awp_internal.h"

#include <stdlib.h>
#include <string.h>

/* A message that is whole. */
struct incoming {
    uint8_t kind;
    uint32_t channel;
    struct mp_buf envelope, payload;
    size_t total; /* of the payload, also where it was dropped */
    const char *fault;
    struct awp_group *fds;
    unsigned nfds;
    bool lost;
};

static void incoming_free(struct incoming *in)
{
    mp_free(&in->envelope);
    mp_free(&in->payload);
    awp_group_free(in->fds);
    in->fds = NULL;
}

/* ---- the mailbox ------------------------------------------------------------------------ */

static void unlink_call(struct awp_mail *mail)
{
    *mail->link_call = mail->next_call;
    if (mail->next_call)
        mail->next_call->link_call = mail->link_call;
}

void awp_call_closed(struct awp_mail *mail)
{
    struct awp *awp = mail->awp;
    mail->open = false;
    unlink_call(mail);
    awp->calls_open--;
    struct awp_channel_entry *entry = awp_find(awp, mail->channel);
    if (entry)
        awp_channel_end(awp, entry);
}

void awp_mail_free(struct awp_mail *mail)
{
    if (!mail)
        return;
    for (unsigned i = 0; i < mail->shown.handle_count; i++)
        awp_close_fds(&mail->shown.handles[i].fd, 1);
    free(mail->shown.handles);
    free(mail->shown.from_name);
    mp_free(&mail->envelope);
    mp_free(&mail->payload);
    free(mail);
}

struct awp_mail *awp_mail_take(struct awp *awp)
{
    struct awp_mail *mail = awp->mailbox;
    awp->mailbox = mail->next;
    if (!awp->mailbox)
        awp->mailbox_end = &awp->mailbox;
    mail->taken = true;
    awp_return(awp, mail->cost);
    return mail;
}

/* Answer a call that is still in the mailbox, and take it out. */
static void take_back(struct awp *awp, struct awp_mail *mail, const char *code)
{
    struct awp_mail **link = &awp->mailbox;
    while (*link != mail)
        link = &(*link)->next;
    *link = mail->next;
    if (awp->mailbox_end == &mail->next)
        awp->mailbox_end = link;
    awp_return(awp, mail->cost);
    awp_send_error(awp, mail->channel, code, NULL, 0);
    awp_call_closed(mail);
    awp_mail_free(mail);
}

/* Nobody waits for this call any more. */
static void give_up(struct awp *awp, struct awp_mail *mail, const char *code)
{
    if (!mail->taken) {
        take_back(awp, mail, code);
        return;
    }
    if (mail->shown.given_up)
        return;
    mail->shown.given_up = code;
    struct awp_event_node *node = awp_event(awp, AWP_CANCELLED);
    if (node)
        node->event.message = &mail->shown;
}

void awp_mail_due(struct awp *awp, int64_t now)
{
    for (struct awp_mail *mail = awp->calls, *next; mail; mail = next) {
        next = mail->next_call;
        if (mail->shown.expires <= now && !mail->shown.given_up)
            give_up(awp, mail, AWP_ERROR_DEADLINE_EXCEEDED);
    }
}

int64_t awp_mail_next_due(const struct awp *awp)
{
    int64_t least = INT64_MAX;
    for (const struct awp_mail *mail = awp->calls; mail; mail = mail->next_call)
        if (mail->shown.expires < least && !mail->shown.given_up)
            least = mail->shown.expires;
    return least;
}

void awp_fail_calls(struct awp *awp, const char *code)
{
    while (awp->calls) {
        struct awp_mail *mail = awp->calls;
        if (!mail->taken)
            take_back(awp, mail, code);
        else {
            /* It was begun, and STOPPING would say that it was not. */
            awp_send_error(awp, mail->channel, strcmp(code, AWP_ERROR_STOPPING) ? code : AWP_ERROR_NOT_HANDLED, NULL, 0);
            awp_call_closed(mail); /* the application has it still, and finds it answered */
        }
    }
}

/* ---- envelopes -------------------------------------------------------------------------- */

static const char *read_meta(struct awp_mail *mail, struct mp_reader in)
{
    uint32_t pairs = 0;
    if (in.at != in.end && !awp_map(&in, &pairs))
        return AWP_ERROR_BAD_PAYLOAD;
    for (; pairs; pairs--) {
        struct mp_item key, value;
        double ttl;
        awp_value(&in, &key, NULL);
        awp_value(&in, &value, NULL);
        if (value.type == MP_NIL)
            continue;
        if (mp_equals(&key, AWP_META_MESSAGE_TTL)) {
            if (!awp_number(&value, &ttl))
                return AWP_ERROR_BAD_PAYLOAD;
            if (!mail->shown.is_call)
                continue; /* nobody waits for a TELL */
            if (ttl <= 0)
                return AWP_ERROR_DEADLINE_EXCEEDED;
            mail->shown.expires = awp_now() + (int64_t)(ttl < 1e12 ? ttl : 1e12) + 1;
        } else if (mp_equals(&key, AWP_META_MESSAGE_NAME)) {
            if (value.type != MP_STR)
                return AWP_ERROR_BAD_PAYLOAD;
            mail->shown.from_name = strndup((const char *)value.data, value.count);
        }
    }
    return NULL;
}

static const char *check_address(const struct awp *awp, const struct mp_item *to, const struct mp_item *from)
{
    bool known = to->type == MP_NIL || (to->type == MP_UINT && to->u == awp->worker_id << 32)
              || (to->type == MP_STR && mp_equals(to, awp_name(awp)));
    if (to->type != MP_NIL && to->type != MP_UINT && to->type != MP_STR)
        return AWP_ERROR_BAD_PAYLOAD;
    if (from->type != MP_NIL && from->type != MP_UINT)
        return AWP_ERROR_BAD_PAYLOAD;
    return known ? NULL : AWP_ERROR_NO_SUCH_ACTOR;
}

/* A message in fragments was not looked at before: only now it is known to be one object. */
static const char *check_payload(const struct incoming *in, const struct awp_limits *limits)
{
    struct mp_reader payload = mp_reader(in->payload.data, in->payload.size);
    if (mp_scan(&payload) != MP_OK || payload.at != payload.end)
        return AWP_ERROR_BAD_PAYLOAD;
    enum mp_result result = mp_profile(in->payload.data, in->payload.size, limits->max_depth, in->nfds);
    return result == MP_OK ? NULL : result == MP_NOMEM ? AWP_ERROR_INTERNAL : AWP_ERROR_BAD_PAYLOAD;
}

/* Read envelope and payload into `mail`. NULL, or an error code. */
static const char *judge(struct awp *awp, struct awp_mail *mail, struct incoming *in, struct mp_item *to)
{
    struct mp_reader envelope = mp_reader(in->envelope.data, in->envelope.size), whole;
    const struct awp_limits *limits = &awp->limits;
    struct mp_item from = {.type = MP_NIL}, unused;
    uint32_t count;
    size_t heads = 0;
    *to = (struct mp_item){.type = MP_NIL};
    if (in->fault && !in->envelope.size)
        return in->fault;
    if (mp_profile(in->envelope.data, in->envelope.size, limits->max_depth, 0) != MP_OK
        || !awp_array(&envelope, &count))
        return in->fault ? in->fault : AWP_ERROR_BAD_PAYLOAD;
    const char *fault = in->fault;
    if (in->kind != AWP_KIND_REPLY) {
        awp_value(&envelope, to, NULL);
        awp_value(&envelope, &from, NULL);
        const char *wrong = check_address(awp, to, &from);
        fault = fault ? fault : wrong;
        mail->shown.from = from.type == MP_UINT ? from.u : 0;
    }
    if (in->lost && !fault)
        fault = AWP_ERROR_HANDLE_LOST;
    if (fault)
        return fault;
    awp_value(&envelope, &unused, &whole);
    fault = awp_read_handles(awp, whole, in->fds, in->nfds, &mail->shown.handles, &heads);
    if (fault && strcmp(fault, AWP_ERROR_UNSUPPORTED_HANDLE) != 0)
        return fault;
    mail->shown.handle_count = fault ? 0 : in->nfds;
    if (in->envelope.size - heads > limits->max_meta || in->payload.size + heads > limits->max_message)
        return AWP_ERROR_TOO_LARGE;
    awp_value(&envelope, &unused, &whole);
    const char *worse = read_meta(mail, whole);
    worse = worse ? worse : check_payload(in, limits);
    return worse ? worse : fault;
}

/* ---- whole messages --------------------------------------------------------------------- */

static struct awp_mail *new_mail(struct awp *awp, const struct incoming *in)
{
    struct awp_mail *mail = calloc(1, sizeof *mail);
    if (!mail)
        return NULL;
    mail->awp = awp;
    mail->channel = in->channel;
    mail->shown.is_call = in->kind == AWP_KIND_CALL;
    mail->shown.expires = INT64_MAX;
    return mail;
}

/* The bytes become the mail's, with all that points into them. */
static void hand_bytes(struct awp_mail *mail, struct incoming *in)
{
    mail->envelope = in->envelope;
    mail->payload = in->payload;
    in->envelope = in->payload = (struct mp_buf){0};
    mail->shown.body = mail->payload.data;
    mail->shown.size = mail->payload.size;
}

static void turn_down(struct awp *awp, struct awp_mail *mail, const struct mp_item *to, const char *fault)
{
    if (mail->shown.is_call) {
        struct awp_channel_entry *entry = awp_find(awp, mail->channel);
        if (entry)
            awp_channel_end(awp, entry);
        awp_send_error(awp, mail->channel, fault, NULL, 0);
    } else
        awp_bounce(awp, awp->received, to, fault);
    awp_return(awp, mail->cost);
    awp_mail_free(mail);
}

static void into_mailbox(struct awp *awp, struct awp_mail *mail)
{
    if (mail->shown.is_call) {
        struct awp_channel_entry *entry = awp_find(awp, mail->channel);
        if (!entry && !(entry = awp_channel_open(awp, mail->channel, AWP_IN_CALL))) {
            awp_mail_free(mail);
            return;
        }
        entry->call = mail;
        mail->open = true;
        mail->next_call = awp->calls;
        mail->link_call = &awp->calls;
        if (awp->calls)
            awp->calls->link_call = &mail->next_call;
        awp->calls = mail;
        awp->calls_open++;
    }
    *awp->mailbox_end = mail;
    awp->mailbox_end = &mail->next;
}

static void complete_answer(struct awp *awp, struct incoming *in, struct awp_mail *mail)
{
    struct awp_channel_entry *entry = awp_find(awp, in->channel);
    struct mp_item unused;
    const char *fault = judge(awp, mail, in, &unused);
    if (fault) {
        awp_mail_free(mail);
        mail = NULL;
    } else
        hand_bytes(mail, in);
    awp_answered(awp, entry, mail, fault, NULL, 0);
}

static void complete(struct awp *awp, struct incoming *in)
{
    struct awp_mail *mail = new_mail(awp, in);
    if (!mail || in->envelope.failed || in->payload.failed) {
        free(mail);
        incoming_free(in);
        awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
        return;
    }
    if (in->kind == AWP_KIND_REPLY) {
        complete_answer(awp, in, mail);
        incoming_free(in);
        return;
    }
    awp->received++;
    mail->cost = awp_cost(in->envelope.size, in->total, awp->limits.window);
    awp->in_use += mail->cost;
    if (awp->in_use > awp->limits.window) {
        awp_mail_free(mail);
        incoming_free(in);
        awp_abort(awp, AWP_ABORT_FLOW_VIOLATION, "more messages than there was credit for", NULL);
        return;
    }
    struct mp_item to;
    if (!in->fault && mail->shown.is_call && awp->calls_open >= awp->limits.max_calls)
        in->fault = AWP_ERROR_REFUSED;
    const char *fault = judge(awp, mail, in, &to);
    if (fault)
        turn_down(awp, mail, &to, fault);
    else {
        hand_bytes(mail, in);
        into_mailbox(awp, mail);
    }
    incoming_free(in);
}

/* ---- fragments -------------------------------------------------------------------------- */

void awp_partial_free(struct awp *awp, struct awp_channel_entry *entry)
{
    struct awp_partial *partial = entry->partial;
    if (!partial)
        return;
    awp->partial_bytes -= partial->payload.size;
    awp->partial_heads -= partial->envelope.size + sizeof *partial;
    mp_free(&partial->envelope);
    mp_free(&partial->payload);
    awp_group_free(partial->fds);
    free(partial);
    entry->partial = NULL;
}

/* From now on its pieces are only counted. */
static void drop_pieces(struct awp *awp, struct awp_partial *partial, const char *fault)
{
    partial->fault = partial->fault ? partial->fault : fault;
    awp->partial_bytes -= partial->payload.size;
    mp_free(&partial->payload);
}

static struct awp_partial *first_piece(struct awp *awp, struct awp_channel_entry *entry, struct awp_frame *frame,
                                       bool refuse)
{
    struct awp_partial *partial = calloc(1, sizeof *partial);
    if (!partial) {
        awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
        return NULL;
    }
    partial->kind = frame->kind;
    partial->nfds = frame->nfds;
    partial->lost = frame->lost;
    partial->fds = frame->fds;
    frame->fds = NULL;
    partial->fault = refuse ? AWP_ERROR_REFUSED : NULL;
    mp_raw(&partial->envelope, frame->envelope.at, (size_t)(frame->envelope.end - frame->envelope.at));
    awp->partial_heads += partial->envelope.size + sizeof *partial;
    entry->partial = partial;
    if (awp->partial_heads <= awp->limits.max_partial)
        return partial;
    awp_abort(awp, AWP_ABORT_LIMIT_EXCEEDED, "too many unfinished messages", NULL); /* AWP-LG-8 */
    return NULL;
}

static void add_piece(struct awp *awp, struct awp_partial *partial, struct mp_reader payload, bool broken)
{
    struct mp_item piece;
    if (broken || !mp_read(&payload, &piece) || piece.type != MP_BIN) {
        drop_pieces(awp, partial, AWP_ERROR_BAD_PAYLOAD);
        return;
    }
    partial->total += piece.count;
    if (partial->fault)
        return;
    if (partial->total > awp->limits.max_message || awp->partial_bytes + piece.count > awp->limits.max_partial) {
        drop_pieces(awp, partial, AWP_ERROR_TOO_LARGE);
        return;
    }
    mp_raw(&partial->payload, piece.data, piece.count);
    if (!partial->payload.failed)
        awp->partial_bytes += piece.count;
}

static void on_piece(struct awp *awp, struct awp_frame *frame, struct awp_channel_entry *entry, bool refuse)
{
    bool broken;
    if (!awp_split(awp, frame, &broken))
        return;
    enum awp_channel_use use = frame->kind == AWP_KIND_TELL ? AWP_IN_TELL : AWP_IN_CALL;
    if (!entry && !(entry = awp_channel_open(awp, frame->channel, use)))
        return;
    struct awp_partial *partial = entry->partial;
    if (!partial && !(partial = first_piece(awp, entry, frame, refuse)))
        return;
    add_piece(awp, partial, frame->payload, broken);
    if (frame->flags & AWP_FLAG_MORE)
        return;
    struct incoming in = {
        .kind = partial->kind, .channel = frame->channel, .envelope = partial->envelope,
        .payload = partial->payload, .total = partial->total, .fault = partial->fault,
        .fds = partial->fds, .nfds = partial->nfds, .lost = partial->lost,
    };
    awp->partial_bytes -= partial->payload.size;
    awp->partial_heads -= partial->envelope.size + sizeof *partial;
    free(partial);
    entry->partial = NULL;
    if (in.kind == AWP_KIND_TELL)
        awp_channel_end(awp, entry);
    complete(awp, &in);
}

void awp_on_message(struct awp *awp, struct awp_frame *frame, bool refuse)
{
    struct awp_channel_entry *entry = frame->channel ? awp_find(awp, frame->channel) : NULL;
    bool pieces = frame->flags & AWP_FLAG_FRAG, broken, good;
    if (frame->kind == AWP_KIND_REPLY) {
        if (!entry)
            return; /* of a call that has ended (AWP-CH-3) */
        good = entry->use == AWP_OUT_CALL && (pieces || !entry->partial);
    } else /* a fresh channel, or the next piece of the same message */
        good = !entry || (pieces && entry->partial && entry->partial->kind == frame->kind);
    if (!good || (frame->nfds && entry && entry->partial)) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "not the next fragment, or a channel in use");
        return;
    }
    if (pieces) {
        on_piece(awp, frame, entry, refuse);
        return;
    }
    if (!awp_split(awp, frame, &broken))
        return;
    size_t envelope = (size_t)(frame->envelope.end - frame->envelope.at);
    size_t payload = (size_t)(frame->payload.end - frame->payload.at);
    struct incoming in = {
        .kind = frame->kind, .channel = frame->channel, .fds = frame->fds, .nfds = frame->nfds, .lost = frame->lost,
        .total = broken ? frame->length - envelope : payload,
        .fault = broken ? AWP_ERROR_BAD_PAYLOAD : refuse ? AWP_ERROR_REFUSED : NULL,
    };
    frame->fds = NULL;
    mp_raw(&in.envelope, frame->envelope.at, envelope);
    mp_raw(&in.payload, frame->payload.at, payload);
    complete(awp, &in);
}

/* ---- CANCEL ----------------------------------------------------------------------------- */

void awp_on_cancel(struct awp *awp, struct awp_frame *frame)
{
    bool broken;
    struct awp_channel_entry *entry = awp_find(awp, frame->channel);
    if (!awp_split(awp, frame, &broken) || !entry)
        return;
    if (entry->use != AWP_IN_TELL && entry->use != AWP_IN_CALL)
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "no message of yours");
    else if (entry->call)
        give_up(awp, entry->call, AWP_ERROR_CANCELLED);
    else { /* unfinished: it was never numbered, nor charged (AWP-LG-6) */
        if (entry->use == AWP_IN_CALL)
            awp_send_error(awp, frame->channel, AWP_ERROR_CANCELLED, NULL, 0);
        awp_channel_end(awp, entry);
    }
}
