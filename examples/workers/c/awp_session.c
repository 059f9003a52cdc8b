/* Handshake, settings and shutdown: all kinds of level 0, and those that change what was agreed. */
#include "awp_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- ABORT ------------------------------------------------------------------------------ */

void awp_abort(struct awp *awp, enum awp_abort code, const char *detail, const uint8_t *header)
{
    if (awp->state == AWP_STATE_CLOSED)
        return;
    awp_abandon_messages(awp); /* answers that wait are still said */
    struct mp_buf out = awp_begin(AWP_KIND_ABORT, 0, 0);
    mp_nil(&out);
    mp_map(&out, header ? 3 : 2);
    mp_text(&out, AWP_KEY_ABORT_CODE);
    mp_uint(&out, code);
    mp_text(&out, AWP_KEY_ABORT_DETAIL);
    mp_text(&out, detail);
    if (header) {
        mp_text(&out, AWP_KEY_ABORT_FRAME);
        mp_bin(&out, header, AWP_HEADER_SIZE);
    }
    awp->aborting = true;
    awp->abort_code = code;
    awp->status = 1;
    awp->give_up_at = awp_now() + AWP_ABORT_MS;
    if (out.failed) { /* no memory even for this */
        mp_free(&out);
        awp->state = AWP_STATE_CLOSED;
    } else
        awp_push(awp, &out, NULL, 0);
}

void awp_abort_at(struct awp *awp, const struct awp_frame *frame, enum awp_abort code, const char *detail)
{
    awp_abort(awp, code, detail, frame->header);
}

/* ---- handshake -------------------------------------------------------------------------- */

static void put_kinds(struct mp_buf *out, const uint8_t *kinds)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < 256; i++)
        count += kinds[i];
    mp_array(out, count);
    for (unsigned i = 0; i < 256; i++)
        if (kinds[i])
            mp_text(out, awp_kind_name((uint8_t)i));
}

static void put_pair(struct mp_buf *out, const char *key, const char *value)
{
    mp_text(out, key);
    mp_text(out, value ? value : "");
}

int awp_hello(struct awp *awp, const struct awp_options *options, const char *worker, const char *token)
{
    struct mp_buf out = awp_begin(AWP_KIND_HELLO, 0, 0);
    mp_nil(&out);
    mp_map(&out, 6 + (worker ? 1 : 0) + (token ? 1 : 0));
    mp_text(&out, AWP_KEY_HELLO_VERSIONS);
    mp_array(&out, 1);
    mp_array(&out, 2);
    mp_uint(&out, AWP_MAJOR);
    mp_uint(&out, AWP_MINOR);
    const char *const *caps = options->caps ? options->caps : awp_caps_known();
    uint32_t count = 0;
    while (caps[count])
        count++;
    mp_text(&out, AWP_KEY_HELLO_CAPS);
    mp_array(&out, count);
    for (uint32_t i = 0; i < count; i++) {
        mp_text(&out, caps[i]);
        awp->caps_offered |= awp_cap_bit(caps[i], strlen(caps[i]));
    }
    mp_text(&out, AWP_KEY_HELLO_LIMITS);
    awp_limits_write(&out, &awp->limits, true);
    mp_text(&out, AWP_KEY_HELLO_HANDLES);
    put_kinds(&out, awp->kinds);
    mp_text(&out, AWP_KEY_HELLO_PID);
    mp_uint(&out, (uint64_t)getpid());
    mp_text(&out, AWP_KEY_HELLO_IMPL);
    mp_map(&out, 3);
    put_pair(&out, "name", options->name);
    put_pair(&out, "version", options->version);
    put_pair(&out, "lang", "c");
    if (worker) {
        mp_text(&out, AWP_KEY_HELLO_WORKER);
        mp_uint(&out, strtoull(worker, NULL, 10));
    }
    if (token)
        put_pair(&out, AWP_KEY_HELLO_TOKEN, token);
    return awp_push(awp, &out, NULL, 0);
}

static bool read_caps(struct awp *awp, struct mp_reader in)
{
    uint32_t count;
    if (!awp_array(&in, &count))
        return false;
    for (; count; count--) {
        struct mp_item name;
        awp_value(&in, &name, NULL);
        if (name.type != MP_STR)
            return false;
        awp->caps_in_force |= awp->caps_offered & awp_cap_bit((const char *)name.data, name.count);
    }
    return true;
}

static bool read_kinds(struct awp *awp, struct mp_reader in)
{
    uint32_t count;
    if (!awp_array(&in, &count))
        return false;
    for (; count; count--) {
        struct mp_item name;
        awp_value(&in, &name, NULL);
        if (name.type != MP_STR)
            return false;
        awp->peer_kinds[awp_kind_named(&name)] = 1;
    }
    awp->peer_kinds[0] = 0; /* all names that are not known here */
    return true;
}

static bool read_version(struct mp_reader in, uint64_t *major)
{
    uint32_t count;
    struct mp_item first, second;
    if (!awp_array(&in, &count) || count < 2)
        return false;
    awp_value(&in, &first, NULL);
    awp_value(&in, &second, NULL);
    *major = first.u;
    return first.type == MP_UINT && second.type == MP_UINT;
}

static bool is_map(const struct mp_item *item)
{
    return item->type == MP_MAP || item->type == MP_NIL;
}

/* Something for the application that may point into the frame: keep a copy of that. */
static void tell_config(struct awp *awp, enum awp_event_type type, struct mp_reader config)
{
    struct awp_event_node *node = awp_event(awp, type);
    if (!node)
        return;
    mp_raw(&node->kept, config.at, (size_t)(config.end - config.at));
    if (node->kept.failed)
        awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
    node->event.body = node->kept.data;
    node->event.size = node->kept.size;
}

static void on_welcome(struct awp *awp, struct awp_frame *frame)
{
    struct mp_reader in = frame->payload, whole, config = {0};
    uint32_t pairs;
    uint64_t major = 0;
    double heartbeat;
    bool good = awp_map(&in, &pairs), version = false, cluster = false;
    for (; good && pairs; pairs--) {
        struct mp_item key, value;
        awp_value(&in, &key, NULL);
        awp_value(&in, &value, &whole);
        if (mp_equals(&key, AWP_KEY_WELCOME_VERSION))
            good = version = read_version(whole, &major);
        else if (mp_equals(&key, AWP_KEY_WELCOME_WORKER)) {
            good = value.type == MP_UINT && value.u > 0;
            awp->worker_id = value.u;
        } else if (mp_equals(&key, AWP_KEY_WELCOME_CLUSTER))
            good = cluster = value.type == MP_BIN && value.count == 16;
        else if (mp_equals(&key, AWP_KEY_WELCOME_CAPS))
            good = read_caps(awp, whole);
        else if (mp_equals(&key, AWP_KEY_WELCOME_LIMITS))
            good = awp_limits_read(&awp->peer, whole);
        else if (mp_equals(&key, AWP_KEY_WELCOME_HANDLES))
            good = read_kinds(awp, whole);
        else if (mp_equals(&key, AWP_KEY_WELCOME_HEARTBEAT))
            good = value.type == MP_NIL || awp_number(&value, &heartbeat);
        else if (mp_equals(&key, AWP_KEY_WELCOME_CONFIG)) {
            good = is_map(&value);
            config = whole;
        } else if (mp_equals(&key, AWP_KEY_WELCOME_NAME)) {
            good = value.type == MP_STR || value.type == MP_NIL;
            free(awp->name);
            awp->name = strndup(good && value.count ? (const char *)value.data : "", value.count);
        }
    }
    if (!good || !version || !cluster || !awp->worker_id)
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "a WELCOME without what it needs");
    else if (major != AWP_MAJOR)
        awp_abort_at(awp, frame, AWP_ABORT_VERSION, "1.0 is spoken here");
    else {
        awp->welcomed = true;
        awp->credit = awp->peer.window;
        tell_config(awp, AWP_WELCOME, config);
    }
}

static int push_map(struct awp *awp, uint8_t kind, const char *key, uint64_t value)
{
    struct mp_buf out = awp_begin(kind, 0, 0);
    mp_nil(&out);
    mp_map(&out, key ? 1 : 0);
    if (key) {
        mp_text(&out, key);
        mp_uint(&out, value);
    }
    return awp_push(awp, &out, NULL, 0);
}

int awp_ready(struct awp *awp)
{
    return push_map(awp, AWP_KIND_READY, NULL, 0);
}

int awp_serving(struct awp *awp)
{
    return push_map(awp, AWP_KIND_SERVING, NULL, 0);
}

int awp_leave(struct awp *awp, enum awp_reason reason)
{
    return push_map(awp, AWP_KIND_LEAVE, AWP_KEY_LEAVE_REASON, reason);
}

/* ---- settings --------------------------------------------------------------------------- */

static void on_settings(struct awp *awp, struct awp_frame *frame)
{
    struct mp_reader in = frame->payload, whole, config = {0};
    struct awp_limits limits = awp->peer;
    uint32_t pairs;
    double heartbeat;
    bool good = awp_map(&in, &pairs), changed = false;
    for (; good && pairs; pairs--) {
        struct mp_item key, value;
        awp_value(&in, &key, NULL);
        awp_value(&in, &value, &whole);
        if (mp_equals(&key, AWP_KEY_SETTINGS_LIMITS))
            good = awp_limits_read(&limits, whole);
        else if (mp_equals(&key, AWP_KEY_SETTINGS_HEARTBEAT))
            good = value.type == MP_NIL || awp_number(&value, &heartbeat);
        else if (mp_equals(&key, AWP_KEY_SETTINGS_LOG_LEVEL)) {
            good = value.type == MP_UINT || value.type == MP_INT || value.type == MP_NIL;
            awp->log_level = value.type != MP_UINT ? 0 : value.u < 255 ? (uint8_t)value.u : 255;
        } else if (mp_equals(&key, AWP_KEY_SETTINGS_CONFIG)) {
            good = is_map(&value);
            config = whole;
            changed = true;
        }
    }
    if (!good) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "SETTINGS of a wrong type");
        return;
    }
    struct mp_buf out = awp_begin(AWP_KIND_SETTINGS_ACK, 0, 0);
    mp_nil(&out);
    mp_nil(&out);
    awp_push(awp, &out, NULL, 0);
    awp_window_changed(awp, (int64_t)limits.window - (int64_t)awp->peer.window);
    awp->peer = limits;
    if (changed)
        tell_config(awp, AWP_SETTINGS, config);
}

int awp_set_limits(struct awp *awp, const struct awp_limits *limits)
{
    struct awp_limits *pending = realloc(awp->pending, (awp->pending_count + 1) * sizeof *pending);
    if (!pending)
        return -ENOMEM;
    awp->pending = pending;
    awp->pending[awp->pending_count] = *limits;
    struct mp_buf out = awp_begin(AWP_KIND_SETTINGS, 0, 0);
    mp_nil(&out);
    mp_map(&out, 1);
    mp_text(&out, AWP_KEY_SETTINGS_LIMITS);
    awp_limits_write(&out, limits, false);
    int error = awp_push(awp, &out, NULL, 0);
    if (error)
        return error;
    awp->pending_count++;
    awp_limits_raise(&awp->limits, limits); /* what is wider holds from now on (AWP-SE-2) */
    return 0;
}

static void on_settings_ack(struct awp *awp, struct awp_frame *frame)
{
    if (!awp->pending_count) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "there were no SETTINGS");
        return;
    }
    awp_limits_merge(&awp->limits, &awp->pending[0]);
    memmove(awp->pending, awp->pending + 1, --awp->pending_count * sizeof *awp->pending);
    for (size_t i = 0; i < awp->pending_count; i++) /* those behind it stay as wide as they were */
        awp_limits_raise(&awp->limits, &awp->pending[i]);
}

/* ---- shutdown --------------------------------------------------------------------------- */

/* The deadline, less the time that saying GOODBYE may take. */
static void set_deadline(struct awp *awp, double ms)
{
    double most = 1e12;
    int64_t span = ms > most ? (int64_t)most : (int64_t)ms;
    int64_t margin = span / 10 < 200 ? span / 10 : 200, now = awp_now();
    if (now + span >= awp->deadline)
        return;
    awp->deadline = now + span;
    awp->fail_at = awp->deadline - margin;
}

static void tell_stop(struct awp *awp, unsigned reason)
{
    struct awp_event_node *node = awp_event(awp, AWP_STOP);
    if (!node)
        return;
    node->event.deadline = awp->deadline;
    node->event.reason = reason;
}

/* STOP, GOODBYE and ABORT: a map with a reason or code, and a number. */
static bool read_end(struct awp_frame *frame, const char *number_key, struct mp_item *number, const char *reason_key,
                     struct mp_item *reason)
{
    struct mp_reader in = frame->payload;
    uint32_t pairs;
    *number = *reason = (struct mp_item){.type = MP_NIL};
    if (!awp_map(&in, &pairs))
        return false;
    for (; pairs; pairs--) {
        struct mp_item key, value;
        awp_value(&in, &key, NULL);
        awp_value(&in, &value, NULL);
        if (number_key && mp_equals(&key, number_key))
            *number = value;
        else if (mp_equals(&key, reason_key))
            *reason = value;
    }
    return reason->type == MP_UINT || reason->type == MP_NIL;
}

static void on_stop(struct awp *awp, struct awp_frame *frame)
{
    struct mp_item deadline, reason;
    double ms = 0;
    if (!read_end(frame, AWP_KEY_STOP_DEADLINE, &deadline, AWP_KEY_STOP_REASON, &reason)
        || (deadline.type != MP_NIL && !awp_number(&deadline, &ms))) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "a broken STOP");
        return;
    }
    awp_watch_stand_down(awp->watch);
    if (deadline.type != MP_NIL)
        set_deadline(awp, ms);
    tell_stop(awp, (unsigned)reason.u);
}

static void on_goodbye(struct awp *awp, struct awp_frame *frame, bool first)
{
    struct mp_item received, reason;
    if (!read_end(frame, AWP_KEY_GOODBYE_RECV, &received, AWP_KEY_GOODBYE_REASON, &reason)
        || received.type != MP_UINT || received.u > awp->sent) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "a broken GOODBYE");
        return;
    }
    awp_watch_stand_down(awp->watch);
    awp->peer_done = true;
    awp_lose_calls(awp, AWP_ERROR_CONNECTION_LOST); /* no answer will come any more */
    if (first)
        tell_stop(awp, (unsigned)reason.u);
}

void awp_say_goodbye(struct awp *awp)
{
    if (!awp->goodbye_wanted || awp->state >= AWP_STATE_CLOSING || awp->messages.first || awp->answers.first)
        return;
    awp_flush_books(awp, true);
    if (push_map(awp, AWP_KIND_GOODBYE, AWP_KEY_GOODBYE_RECV, awp->received) == 0)
        awp->give_up_at = awp_now() + AWP_LINGER_MS;
}

void awp_goodbye(struct awp *awp)
{
    if (awp->goodbye_wanted || awp->state < AWP_STATE_STARTING || awp->state >= AWP_STATE_CLOSING)
        return;
    awp_reject_waiting(awp);
    awp_fail_calls(awp, AWP_ERROR_STOPPING);
    awp->goodbye_wanted = true;
    awp_say_goodbye(awp);
}

void awp_session_due(struct awp *awp, int64_t now)
{
    if (now >= awp->fail_at && awp->state == AWP_STATE_STOPPING) { /* the deadline: as it is */
        awp->fail_at = INT64_MAX;
        awp_goodbye(awp);
        awp_cancel_unfinished(awp);
    }
    if (now >= awp->give_up_at)
        awp_end(awp);
}

void awp_at_eof(struct awp *awp)
{
    if (awp->state == AWP_STATE_CLOSED && !awp->aborting)
        return;
    /* After its GOODBYE the primary shuts down its sending direction, and waits for ours. */
    if (awp->peer_done && !awp->write_dead && (awp->state == AWP_STATE_STOPPING || awp_backlog(awp))) {
        if (awp->give_up_at == INT64_MAX)
            awp->give_up_at = awp->deadline < INT64_MAX ? awp->deadline : awp_now() + AWP_LINGER_MS;
        return;
    }
    awp->state = awp_worker_at_eof(awp->state).next; /* orderly or not: the process ends (AWP-ST-3) */
    awp_end(awp);
}

void awp_on_session(struct awp *awp, struct awp_frame *frame)
{
    bool broken, stopping = awp->stopping;
    struct mp_item code, unused;
    if (!awp_split(awp, frame, &broken))
        return;
    awp->stopping = awp->state >= AWP_STATE_STOPPING;
    switch (frame->kind) {
    case AWP_KIND_WELCOME: on_welcome(awp, frame); break;
    case AWP_KIND_SETTINGS: on_settings(awp, frame); break;
    case AWP_KIND_SETTINGS_ACK: on_settings_ack(awp, frame); break;
    case AWP_KIND_STOP: on_stop(awp, frame); break;
    case AWP_KIND_GOODBYE: on_goodbye(awp, frame, !stopping); break;
    case AWP_KIND_ABORT:
        read_end(frame, NULL, &unused, AWP_KEY_ABORT_CODE, &code);
        awp->abort_code = code.type == MP_UINT && code.u ? (unsigned)code.u : AWP_ABORT_PROTOCOL_ERROR;
        awp->status = 1;
        awp_end(awp);
        break;
    case AWP_KIND_ACK: awp_on_ack(awp, frame); break;
    default: break; /* DOWN: monitors are not offered here */
    }
}
