/* Messages, calls and answers that go, and the books of both windows. */
#include "awp_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- credit and acknowledgements -------------------------------------------------------- */

uint64_t awp_cost(size_t envelope, size_t payload, uint32_t window)
{
    uint64_t cost = (uint64_t)AWP_HEADER_SIZE + envelope + payload;
    cost = cost < AWP_LEAST_COST ? AWP_LEAST_COST : cost;
    return cost > window ? window : cost;
}

/* CREDIT and ACK wait a little for more of their kind, but never for long (AWP-FC-5, AWP-MS-3). */
static void gather(struct awp *awp)
{
    int64_t at = awp_now() + AWP_GATHER_MS;
    awp->flush_at = awp->flush_at < at ? awp->flush_at : at;
}

void awp_return(struct awp *awp, uint64_t cost)
{
    awp->due += cost;
    gather(awp);
}

static void push_number(struct awp *awp, uint8_t kind, uint64_t number)
{
    struct mp_buf out = awp_begin(kind, 0, 0);
    mp_array(&out, 1);
    mp_uint(&out, number);
    mp_nil(&out);
    awp_push(awp, &out, NULL, 0);
}

void awp_flush_books(struct awp *awp, bool now)
{
    if (awp->state != AWP_STATE_ACTIVE && awp->state != AWP_STATE_STOPPING)
        return;
    if (awp->received > awp->acked)
        gather(awp);
    now = now || awp_now() >= awp->flush_at;
    if (awp->due && (now || awp->due >= awp->limits.window / 8)) {
        awp->in_use -= awp->due;
        push_number(awp, AWP_KIND_CREDIT, awp->due);
        awp->due = 0;
    }
    if (awp->received > awp->acked && (now || awp->received - awp->acked >= AWP_ACK_EVERY)) {
        if (awp_in_force(awp, AWP_CAP_ACK))
            push_number(awp, AWP_KIND_ACK, awp->received);
        awp->acked = awp->received;
    }
    if (!awp->due && awp->received == awp->acked)
        awp->flush_at = INT64_MAX;
}

void awp_give_credit(struct awp *awp)
{
    awp_flush_books(awp, true);
}

static void tell_room(struct awp *awp)
{
    if (!awp->want_room || awp->credit <= 0)
        return;
    awp->want_room = false;
    awp_event(awp, AWP_ROOM);
}

void awp_window_changed(struct awp *awp, int64_t difference)
{
    awp->credit += difference;
    tell_room(awp);
}

/* The one number in the envelope of CREDIT and ACK. */
static bool read_number(struct awp_frame *frame, uint64_t *number)
{
    uint32_t count;
    struct mp_item item;
    if (!awp_array(&frame->envelope, &count))
        return false;
    awp_value(&frame->envelope, &item, NULL);
    *number = item.u;
    return item.type == MP_UINT;
}

void awp_on_credit(struct awp *awp, struct awp_frame *frame)
{
    bool broken;
    uint64_t n;
    if (frame->channel)
        return; /* of streams, which are to come */
    if (!awp_split(awp, frame, &broken))
        return;
    if (!read_number(frame, &n) || n > UINT32_MAX)
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "a broken CREDIT");
    else if (n > awp->spent)
        awp_abort_at(awp, frame, AWP_ABORT_FLOW_VIOLATION, "credit for what was never spent");
    else {
        awp->spent -= n;
        awp->credit += (int64_t)n;
        tell_room(awp);
    }
}

void awp_on_ack(struct awp *awp, struct awp_frame *frame)
{
    uint64_t n;
    if (!read_number(frame, &n) || n > awp->sent)
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "an ACK of messages that were never sent");
}

/* ---- messages --------------------------------------------------------------------------- */

static void put_address(struct mp_buf *out, const struct awp_address *to)
{
    if (to->name)
        mp_text(out, to->name);
    else if (to->aid)
        mp_uint(out, to->aid);
    else
        mp_nil(out);
}

/* The envelope, and descriptors that are the library's from then on. */
static int put_envelope(struct awp_out_message *message, const struct awp_send *what)
{
    struct mp_buf *out = &message->envelope;
    bool answer = message->kind == AWP_KIND_REPLY, ttl = !answer && what->ttl > 0;
    uint32_t more = ttl ? 2 : what->handle_count ? 1 : 0; /* nils at the end are left out */
    mp_array(out, (answer ? 0 : more ? 2 : 1) + more);
    if (!answer)
        put_address(out, &what->to);
    if (!answer && more)
        mp_nil(out); /* from: our main actor */
    int error = awp_write_handles(out, what, &message->fds);
    if (error)
        return error;
    message->fd_count = what->handle_count;
    if (ttl && !what->handle_count)
        mp_nil(out);
    if (ttl) {
        mp_map(out, 1);
        mp_text(out, AWP_META_MESSAGE_TTL);
        mp_float(out, what->ttl);
    }
    return 0;
}

/* The descriptors stay the caller's when a call fails: only our duplicates are closed. */
static void unmake(struct awp_out_message *message, const struct awp_send *what)
{
    for (unsigned i = 0; i < message->fd_count; i++)
        if (what->handles[i].shared)
            awp_close_fds(&message->fds[i], 1);
    free(message->fds);
    mp_free(&message->envelope);
    mp_free(&message->payload);
    free(message);
}

static int check_sizes(const struct awp *awp, const struct awp_out_message *message, size_t heads)
{
    size_t envelope = message->envelope.size, payload = message->payload.size;
    bool pieces = awp_in_force(awp, AWP_CAP_FRAG);
    if (payload + heads > awp->peer.max_message || envelope - heads > awp->peer.max_meta)
        return -EMSGSIZE;
    return envelope + (pieces ? 64 : payload) > awp->peer.max_frame ? -EMSGSIZE : 0;
}

static int make(struct awp *awp, uint8_t kind, const struct awp_send *what, struct awp_out_message **made)
{
    size_t heads;
    int error = awp_check_handles(awp, what, &heads);
    if (error)
        return error;
    struct awp_out_message *message = calloc(1, sizeof *message);
    if (!message)
        return -ENOMEM;
    message->kind = kind;
    error = put_envelope(message, what);
    if (what->size)
        mp_raw(&message->payload, what->body, what->size);
    else
        mp_nil(&message->payload);
    if (!error && (message->envelope.failed || message->payload.failed))
        error = -ENOMEM;
    if (!error)
        error = check_sizes(awp, message, heads);
    message->cost = awp_cost(message->envelope.size, message->payload.size, awp->peer.window);
    if (!error && kind != AWP_KIND_REPLY && awp->credit < (int64_t)message->cost) {
        awp->want_room = true;
        error = -EAGAIN;
    }
    if (error) {
        unmake(message, what);
        return error;
    }
    *made = message;
    return 0;
}

static int may_send(const struct awp *awp, const char *capability)
{
    if ((awp->state != AWP_STATE_ACTIVE && awp->state != AWP_STATE_STOPPING) || awp->goodbye_wanted)
        return -EPIPE;
    return awp_in_force(awp, capability) ? 0 : -EOPNOTSUPP;
}

static void spend(struct awp *awp, struct awp_out_message *message)
{
    awp->credit -= (int64_t)message->cost;
    awp->spent += message->cost;
    awp_message_push(awp, message);
}

int awp_tell(struct awp *awp, const struct awp_send *what)
{
    struct awp_out_message *message;
    int error = may_send(awp, AWP_CAP_MSG);
    if (error || (error = make(awp, AWP_KIND_TELL, what, &message)))
        return error;
    /* One that may go in fragments needs a channel; in one frame it goes without. */
    if (message->envelope.size + message->payload.size > AWP_FLOOR_MAX_FRAME) {
        message->channel = awp_channel_new(awp);
        if (!awp_channel_open(awp, message->channel, AWP_OUT_TELL)) {
            unmake(message, what);
            return -ENOMEM;
        }
    }
    spend(awp, message);
    return 0;
}

int awp_call(struct awp *awp, const struct awp_send *what, void *tag, uint32_t *call)
{
    struct awp_out_message *message;
    int error = may_send(awp, AWP_CAP_CALL);
    if (error || (error = make(awp, AWP_KIND_CALL, what, &message)))
        return error;
    message->channel = awp_channel_new(awp);
    struct awp_channel_entry *entry = awp_channel_open(awp, message->channel, AWP_OUT_CALL);
    if (!entry) {
        unmake(message, what);
        return -ENOMEM;
    }
    entry->tag = tag;
    entry->expires = what->ttl > 0 && what->ttl < 1e12 ? awp_now() + (int64_t)what->ttl + 1 : INT64_MAX;
    if (entry->expires < awp->calls_due_at)
        awp->calls_due_at = entry->expires;
    if (call)
        *call = message->channel;
    spend(awp, message);
    return 0;
}

/* ---- answers ---------------------------------------------------------------------------- */

void awp_send_error(struct awp *awp, uint32_t channel, const char *code, const char *text, size_t size)
{
    struct mp_buf out = awp_begin(AWP_KIND_ERROR, 0, channel);
    mp_nil(&out);
    awp_put_error(&out, code, text, size);
    awp_push(awp, &out, NULL, 0);
}

void awp_bounce(struct awp *awp, uint64_t number, const struct mp_item *to, const char *code)
{
    struct mp_buf out = awp_begin(AWP_KIND_UNDELIVERABLE, 0, 0);
    mp_array(&out, to->type == MP_NIL ? 1 : 2);
    mp_uint(&out, number);
    if (to->type == MP_STR)
        mp_str(&out, to->data, to->count);
    else if (to->type == MP_UINT)
        mp_uint(&out, to->u);
    else if (to->type != MP_NIL)
        mp_nil(&out); /* it was no address at all */
    awp_put_error(&out, code, NULL, 0);
    awp_push(awp, &out, NULL, 0);
}

int awp_reply(struct awp_message *call, const struct awp_send *what)
{
    struct awp_mail *mail = (struct awp_mail *)call;
    struct awp_out_message *message;
    if (!mail->open)
        return -EPIPE;
    int error = make(mail->awp, AWP_KIND_REPLY, what, &message);
    if (error)
        return error;
    message->channel = mail->channel;
    awp_message_push(mail->awp, message);
    awp_call_closed(mail);
    return 0;
}

int awp_fail(struct awp_message *call, const char *code, const char *text, size_t size)
{
    struct awp_mail *mail = (struct awp_mail *)call;
    if (!mail->open)
        return -EPIPE;
    awp_send_error(mail->awp, mail->channel, code, text, size);
    awp_call_closed(mail);
    return 0;
}

void awp_free(struct awp_message *message)
{
    struct awp_mail *mail = (struct awp_mail *)message;
    if (mail && mail->open)
        awp_fail(message, AWP_ERROR_NOT_HANDLED, NULL, 0);
    awp_mail_free(mail);
}

bool awp_all_queued(const struct awp *awp)
{
    return !awp->messages.first;
}

bool awp_has_mail(const struct awp *awp)
{
    return awp->mailbox;
}

void awp_hold(struct awp *awp, bool hold)
{
    awp->held = hold;
}

static void push_log(struct awp *awp, uint8_t level, const char *logger, const char *text, size_t size)
{
    struct mp_buf out = awp_begin(AWP_KIND_LOG, AWP_FLAG_OPTIONAL, 0);
    mp_array(&out, 3);
    mp_uint(&out, level);
    mp_float(&out, awp_wall_clock());
    mp_text(&out, logger);
    mp_array(&out, 1);
    awp_put_text(&out, text, size);
    awp_push(awp, &out, NULL, 0);
}

void awp_log(struct awp *awp, uint8_t level, const char *logger, const char *text, size_t size)
{
    if (!awp_in_force(awp, AWP_CAP_LOG) || level < awp->log_level)
        return;
    if (awp_backlog(awp) > AWP_LOG_BACKLOG)
        awp->logs_dropped++; /* rather than to wait, or to fill memory (AWP-LO-2) */
    else
        push_log(awp, level, logger, text, size);
}

void awp_flush_log(struct awp *awp)
{
    char text[64];
    if (!awp->logs_dropped || awp_backlog(awp))
        return;
    int size = snprintf(text, sizeof text, "%" PRIu64 " records were dropped", awp->logs_dropped);
    awp->logs_dropped = 0;
    push_log(awp, 30, "awp", text, (size_t)size);
}
