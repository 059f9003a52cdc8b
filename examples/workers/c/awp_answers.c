/* How what we sent ends: ERROR, UNDELIVERABLE, UNIMPLEMENTED, deadlines, and the end of it all. */
#include "awp_internal.h"

#include <string.h>

/* ---- our calls -------------------------------------------------------------------------- */

static void tell_answer(struct awp *awp, const struct awp_channel_entry *entry, struct awp_mail *mail,
                        const char *code, const char *text, size_t size)
{
    struct awp_event_node *node = awp_event(awp, AWP_ANSWER);
    if (!node) {
        awp_mail_free(mail);
        return;
    }
    node->event.tag = entry->tag;
    node->event.message = mail ? &mail->shown : NULL;
    if (mail)
        mail->taken = true;
    else
        awp_event_error(node, code, text, size);
}

void awp_answered(struct awp *awp, struct awp_channel_entry *entry, struct awp_mail *mail, const char *code,
                  const char *text, size_t size)
{
    if (entry->told)
        awp_mail_free(mail); /* it was cancelled: the answer is dropped (AWP-CA-2) */
    else
        tell_answer(awp, entry, mail, code, text, size);
    awp_channel_end(awp, entry);
}

static void push_cancel(struct awp *awp, uint32_t channel)
{
    struct mp_buf out = awp_begin(AWP_KIND_CANCEL, 0, channel);
    mp_array(&out, 0);
    mp_nil(&out);
    awp_push(awp, &out, NULL, 0);
}

/* Its caller is told; the channel is open until the answer is here. */
static void cancel(struct awp *awp, struct awp_channel_entry *entry, const char *code)
{
    struct awp_out_message *message = awp_message_find(&awp->messages, entry->id);
    bool begun = !message || message->begun;
    tell_answer(awp, entry, NULL, code, NULL, 0);
    entry->told = true;
    if (message) { /* not complete: the other side was never charged (AWP-LG-6) */
        awp->credit += (int64_t)message->cost;
        awp->spent -= message->cost;
        awp_message_drop(awp, message);
    }
    if (begun)
        push_cancel(awp, entry->id);
    else
        awp_channel_end(awp, entry);
}

void awp_cancel(struct awp *awp, uint32_t call)
{
    struct awp_channel_entry *entry = awp_find(awp, call);
    if (entry && entry->use == AWP_OUT_CALL && !entry->told)
        cancel(awp, entry, AWP_ERROR_CANCELLED);
}

/* Do something with each of our calls that nobody was told of yet. */
static void each_call(struct awp *awp, const char *code, int64_t until, bool end)
{
    for (unsigned i = 0; i < AWP_BUCKETS; i++)
        for (struct awp_channel_entry *entry = awp->buckets[i], *next; entry; entry = next) {
            next = entry->next;
            if (entry->use != AWP_OUT_CALL || (!end && entry->told))
                continue;
            if (end)
                awp_answered(awp, entry, NULL, code, NULL, 0);
            else if (entry->expires <= until)
                cancel(awp, entry, code);
            else if (entry->expires < awp->calls_due_at)
                awp->calls_due_at = entry->expires;
        }
}

void awp_lose_calls(struct awp *awp, const char *code)
{
    each_call(awp, code, 0, true);
}

void awp_calls_due(struct awp *awp, int64_t now)
{
    if (now < awp->calls_due_at)
        return;
    awp->calls_due_at = INT64_MAX;
    each_call(awp, AWP_ERROR_DEADLINE_EXCEEDED, now, false);
}

void awp_cancel_unfinished(struct awp *awp)
{
    while (awp->messages.first) {
        struct awp_out_message *message = awp->messages.first;
        if (message->begun && message->channel)
            push_cancel(awp, message->channel);
        awp_message_drop(awp, message);
    }
    while (awp->answers.first)
        awp_message_drop(awp, awp->answers.first);
}

/* ---- frames ----------------------------------------------------------------------------- */

/* The channel's call or listener failed. */
static void failed(struct awp *awp, struct awp_channel_entry *entry, const char *code, const char *text, size_t size)
{
    if (entry->use == AWP_OUT_CALL)
        awp_answered(awp, entry, NULL, code, text, size);
    else
        awp_listener_failed(awp, entry, code, text, size);
}

static bool is_ours(const struct awp_channel_entry *entry)
{
    return entry->use == AWP_OUT_CALL || entry->use == AWP_LISTENER;
}

void awp_on_error(struct awp *awp, struct awp_frame *frame)
{
    struct awp_channel_entry *entry = awp_find(awp, frame->channel);
    struct mp_item code, text;
    bool broken;
    if (!entry || entry->use == AWP_OUT_TELL)
        return;
    if (!is_ours(entry)) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "no call of ours");
        return;
    }
    if (!awp_split(awp, frame, &broken))
        return;
    size_t size = (size_t)(frame->payload.end - frame->payload.at);
    if (broken || mp_profile(frame->payload.at, size, awp->limits.max_depth, 0) != MP_OK
        || !awp_read_error(frame->payload, &code, &text)) {
        failed(awp, entry, AWP_ERROR_BAD_PAYLOAD, NULL, 0);
        return;
    }
    char name[128]; /* longer codes than this nobody has */
    size_t most = code.count < sizeof name ? code.count : sizeof name - 1;
    memcpy(name, code.data, most);
    name[most] = '\0';
    failed(awp, entry, name, (const char *)text.data, text.count);
}

void awp_on_undeliverable(struct awp *awp, struct awp_frame *frame)
{
    struct mp_item number, code, text;
    uint32_t count;
    bool broken;
    if (!awp_split(awp, frame, &broken) || broken || !awp_array(&frame->envelope, &count))
        return; /* data: a broken one is the loss of one message */
    awp_value(&frame->envelope, &number, NULL);
    if (number.type != MP_UINT)
        return;
    if (!number.u || number.u > awp->sent) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "a message that was never sent");
        return;
    }
    size_t size = (size_t)(frame->payload.end - frame->payload.at);
    bool good = mp_profile(frame->payload.at, size, awp->limits.max_depth, 0) == MP_OK
             && awp_read_error(frame->payload, &code, &text);
    struct awp_event_node *node = awp_event(awp, AWP_BOUNCED);
    if (!node)
        return;
    node->event.number = number.u;
    char name[128];
    size_t most = good && code.count < sizeof name ? code.count : 0;
    memcpy(name, most ? (const void *)code.data : "", most);
    name[most] = '\0';
    awp_event_error(node, most ? name : AWP_ERROR_BAD_PAYLOAD, good ? (const char *)text.data : NULL,
                    good ? text.count : 0);
}

void awp_on_unimplemented(struct awp *awp, struct awp_frame *frame)
{
    struct awp_channel_entry *entry = awp_find(awp, frame->channel);
    struct mp_item kind;
    uint32_t count;
    bool broken;
    if (!awp_split(awp, frame, &broken))
        return;
    bool array = awp_array(&frame->envelope, &count);
    awp_value(&frame->envelope, &kind, NULL);
    if (!array || kind.type != MP_UINT)
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "a broken UNIMPLEMENTED");
    else if (entry && is_ours(entry))
        failed(awp, entry, AWP_ERROR_UNIMPLEMENTED, NULL, 0);
}
