/* Shared ports: LISTEN, and connections that are handed over.
 *
 * The connections of a listener stand in one list, in the order of their numbers, until each is
 * either the application's or given back. CONN_REPLY speaks of all numbers up to one, so what is
 * rejected has to wait for those in front of it (AWP-LI-2): reply() goes through the list from its
 * front. A connection that was taken is shown to the application only when the CONN_REPLY that says
 * so has been written. */
#include "awp_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- CONN_REPLY ------------------------------------------------------------------------- */

static void push_reply(struct awp *awp, uint32_t channel, uint64_t upto, const uint64_t *rejected, size_t count)
{
    struct mp_buf out = awp_begin(AWP_KIND_CONN_REPLY, 0, channel);
    mp_array(&out, count ? 2 : 1);
    mp_uint(&out, upto);
    if (count)
        mp_array(&out, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        mp_uint(&out, rejected[i]);
    mp_nil(&out);
    awp_push(awp, &out, NULL, 0);
}

static struct awp_conn *pop(struct awp_listener *listener)
{
    struct awp_conn *conn = listener->first;
    listener->first = conn->next;
    if (!listener->first)
        listener->last = NULL;
    return conn;
}

static void conn_free(struct awp_conn *conn)
{
    awp_close_fds(&conn->fd, 1);
    free(conn->head);
    free(conn);
}

/* Say of as many connections as possible what becomes of them; with `take`, take what is there. */
static void reply(struct awp_listener *listener, bool take)
{
    struct awp_conn **link = &listener->first, *before = NULL;
    uint64_t rejected[AWP_GROUP], upto = 0;
    size_t count = 0;
    while (*link && (*link)->taken) {
        before = *link;
        link = &(*link)->next;
    }
    struct awp_conn *first = *link;
    while (*link && (take || (*link)->fd < 0) && count < AWP_GROUP) {
        struct awp_conn *conn = *link;
        upto = conn->number;
        if (conn->fd >= 0) {
            conn->taken = true;
            before = conn;
            link = &conn->next;
            continue;
        }
        rejected[count++] = conn->number;
        *link = conn->next;
        if (listener->last == conn)
            listener->last = before;
        if (first == conn)
            first = *link;
        conn_free(conn);
    }
    if (!upto)
        return;
    push_reply(listener->awp, listener->channel, upto, rejected, count);
    for (; first && first->taken; first = first->next)
        first->serial = listener->awp->urgent_queued;
}

bool awp_next_connection(struct awp *awp, struct awp_event *event, uint8_t **head)
{
    for (struct awp_listener *listener = awp->listeners; listener; listener = listener->next) {
        if (awp->state == AWP_STATE_ACTIVE && !listener->ended)
            reply(listener, true);
        struct awp_conn *conn = listener->first;
        if (!conn || !conn->taken)
            continue;
        if (conn->serial > awp->urgent_written)
            awp_flush(awp);
        if (conn->serial > awp->urgent_written)
            continue; /* the primary has not heard of it: it may still be another worker's */
        pop(listener);
        event->listener = listener->ended ? NULL : listener;
        event->tag = listener->tag;
        event->descriptor = (struct awp_descriptor){
            .fd = conn->fd, .kind = conn->kind, .head = conn->head, .head_size = conn->head_size,
        };
        *head = conn->head;
        free(conn);
        if (listener->ended && !listener->first)
            awp_listener_free(listener);
        return true;
    }
    return false;
}

void awp_reject_waiting(struct awp *awp)
{
    for (struct awp_listener *listener = awp->listeners; listener; listener = listener->next) {
        for (struct awp_conn *conn = listener->first; conn; conn = conn->next)
            if (!conn->taken && conn->fd >= 0) {
                awp_close_fds(&conn->fd, 1);
                conn->fd = -1;
            }
        reply(listener, false);
    }
}

/* ---- frames ----------------------------------------------------------------------------- */

static bool add(struct awp_listener *listener, uint64_t number, const struct awp_descriptor *handle)
{
    struct awp_conn *conn = calloc(1, sizeof *conn);
    if (!conn)
        return false;
    conn->number = number;
    conn->fd = -1;
    if (handle && handle->head_size) {
        conn->head = malloc(handle->head_size);
        if (!conn->head) {
            free(conn);
            return false;
        }
        memcpy(conn->head, handle->head, handle->head_size);
        conn->head_size = handle->head_size;
    }
    if (handle) {
        conn->fd = handle->fd;
        conn->kind = handle->kind;
    }
    *(listener->last ? &listener->last->next : &listener->first) = conn;
    listener->last = conn;
    listener->arrived = number;
    return true;
}

static void reject_all(struct awp *awp, uint32_t channel, uint64_t first, unsigned count)
{
    uint64_t numbers[UINT8_MAX];
    for (unsigned i = 0; i < count; i++)
        numbers[i] = first + i;
    if (count)
        push_reply(awp, channel, first + count - 1, numbers, count);
}

static void accept_all(struct awp *awp, struct awp_listener *listener, struct awp_frame *frame, uint64_t first,
                       struct mp_reader entries, bool refuse)
{
    struct awp_descriptor *handles = NULL;
    size_t heads;
    const char *fault = awp_read_handles(awp, entries, frame->fds, frame->nfds, &handles, &heads);
    if (fault && strcmp(fault, AWP_ERROR_BAD_PAYLOAD) == 0) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "handles that do not fit the descriptors");
        return;
    }
    refuse = refuse || fault || frame->lost;
    bool memory = true;
    for (unsigned i = 0; i < frame->nfds; i++) {
        memory = memory && add(listener, first + i, refuse ? NULL : &handles[i]);
        if (handles && (refuse || !memory))
            awp_close_fds(&handles[i].fd, 1);
    }
    free(handles);
    if (!memory)
        awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
    else
        reply(listener, false);
}

static void on_conn(struct awp *awp, struct awp_frame *frame, struct awp_listener *listener, bool refuse)
{
    struct mp_item first, unused;
    struct mp_reader entries;
    uint32_t count;
    bool array = awp_array(&frame->envelope, &count);
    awp_value(&frame->envelope, &first, NULL);
    awp_value(&frame->envelope, &unused, &entries);
    if (!array || first.type != MP_UINT || !first.u || !frame->nfds)
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "a broken CONN");
    else if (!listener)
        reject_all(awp, frame->channel, first.u, frame->nfds);
    else if (!listener->listening || first.u != listener->arrived + 1)
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "connections are numbered without gaps");
    else if (frame->nfds > listener->credit)
        awp_abort_at(awp, frame, AWP_ABORT_FLOW_VIOLATION, "more connections than there was credit for");
    else {
        listener->credit -= frame->nfds;
        accept_all(awp, listener, frame, first.u, entries, refuse);
    }
}

/* The map of LISTENING: whether it has a mode, and whether that is `shared`. */
static bool read_mode(struct mp_reader in, bool *shared)
{
    uint32_t pairs;
    bool found = false;
    if (!awp_map(&in, &pairs))
        return false;
    for (; pairs; pairs--) {
        struct mp_item key, value;
        awp_value(&in, &key, NULL);
        awp_value(&in, &value, NULL);
        if (!mp_equals(&key, AWP_KEY_LISTENING_MODE))
            continue;
        *shared = mp_equals(&value, "shared");
        found = *shared || mp_equals(&value, "handoff");
    }
    return found;
}

static void on_listening(struct awp *awp, struct awp_frame *frame, struct awp_channel_entry *entry)
{
    struct awp_listener *listener = entry->listener;
    struct awp_descriptor *handles = NULL;
    struct mp_item unused;
    struct mp_reader entries;
    uint32_t count;
    size_t heads;
    bool shared, array = awp_array(&frame->envelope, &count), good = array && read_mode(frame->payload, &shared);
    if (frame->lost) {
        awp_listener_failed(awp, entry, AWP_ERROR_HANDLE_LOST, NULL, 0);
        return;
    }
    awp_value(&frame->envelope, &unused, &entries);
    const char *fault = good ? awp_read_handles(awp, entries, frame->fds, frame->nfds, &handles, &heads) : NULL;
    if (!good || listener->listening || (fault && strcmp(fault, AWP_ERROR_BAD_PAYLOAD) == 0)) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "a broken LISTENING, or a second one");
    } else if (fault || (shared && frame->nfds != 1)) {
        awp_listener_failed(awp, entry, fault ? fault : AWP_ERROR_HANDLE_LOST, NULL, 0);
    } else {
        struct awp_event_node *node = awp_event(awp, AWP_LISTENING);
        listener->listening = true;
        if (shared)
            listener->credit = 0;
        if (node) {
            node->event.listener = listener;
            node->event.tag = listener->tag;
            mp_raw(&node->kept, frame->payload.at, (size_t)(frame->payload.end - frame->payload.at));
            node->event.body = node->kept.data;
            node->event.size = node->kept.size;
            if (shared) {
                node->event.descriptor = handles[0];
                handles[0].fd = -1;
            }
        }
    }
    for (unsigned i = 0; handles && i < frame->nfds; i++)
        awp_close_fds(&handles[i].fd, 1);
    free(handles);
}

void awp_on_listen(struct awp *awp, struct awp_frame *frame, bool refuse)
{
    struct awp_channel_entry *entry = awp_find(awp, frame->channel);
    bool broken;
    if (!entry && frame->kind != AWP_KIND_CONN)
        return;
    if (!awp_split(awp, frame, &broken))
        return;
    if (entry && entry->use != AWP_LISTENER)
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "this channel is no listener");
    else if (frame->kind == AWP_KIND_CONN)
        on_conn(awp, frame, entry ? entry->listener : NULL, refuse);
    else if (frame->kind == AWP_KIND_LISTENING)
        on_listening(awp, frame, entry);
    else
        awp_listener_failed(awp, entry, NULL, NULL, 0);
}

/* ---- listeners -------------------------------------------------------------------------- */

/* The primary has ended it: connections of which it has not heard are the primary's again. */
void awp_listener_failed(struct awp *awp, struct awp_channel_entry *entry, const char *code, const char *text,
                         size_t size)
{
    struct awp_listener *listener = entry->listener;
    while (listener->first)
        conn_free(pop(listener));
    listener->ended = true;
    awp_channel_end(awp, entry);
    struct awp_event_node *node = awp_event(awp, AWP_LISTENER_ENDED);
    if (!node)
        return;
    node->event.listener = listener;
    node->event.tag = listener->tag;
    if (code)
        awp_event_error(node, code, text, size);
}

/* How many connections LISTEN lets the primary hand over at first. */
static bool initial_credit(const struct mp_buf *request, uint64_t *credit)
{
    struct mp_reader in = mp_reader(request->data, request->size);
    uint32_t pairs;
    *credit = 1;
    if (mp_scan(&in) != MP_OK || in.at != in.end)
        return false;
    in = mp_reader(request->data, request->size);
    if (!awp_map(&in, &pairs))
        return false;
    for (; pairs; pairs--) {
        struct mp_item key, value;
        awp_value(&in, &key, NULL);
        awp_value(&in, &value, NULL);
        if (mp_equals(&key, AWP_KEY_LISTEN_CREDIT) && value.type == MP_UINT)
            *credit = value.u;
    }
    return true;
}

int awp_listen(struct awp *awp, const struct mp_buf *request, void *tag, struct awp_listener **out)
{
    uint64_t credit;
    if (request->failed || !initial_credit(request, &credit))
        return request->failed ? -ENOMEM : -EINVAL;
    struct awp_listener *listener = calloc(1, sizeof *listener);
    uint32_t id = awp_channel_new(awp);
    struct awp_channel_entry *entry = listener ? awp_channel_open(awp, id, AWP_LISTENER) : NULL;
    if (!entry) {
        free(listener);
        return -ENOMEM;
    }
    *listener = (struct awp_listener){.awp = awp, .channel = id, .tag = tag, .credit = credit};
    struct mp_buf frame = awp_begin(AWP_KIND_LISTEN, 0, id);
    mp_nil(&frame);
    mp_raw(&frame, request->data, request->size);
    int error = awp_push(awp, &frame, NULL, 0);
    if (error) {
        awp_channel_end(awp, entry);
        free(listener);
        return error;
    }
    entry->listener = listener;
    listener->next = awp->listeners;
    awp->listeners = listener;
    *out = listener;
    return 0;
}

int awp_closed(struct awp_listener *listener, uint32_t closed, uint32_t more)
{
    if (listener->ended)
        return -EPIPE;
    listener->closed += closed;
    listener->credit += more;
    struct mp_buf out = awp_begin(AWP_KIND_CONN_CREDIT, 0, listener->channel);
    mp_array(&out, 2);
    mp_uint(&out, more);
    mp_uint(&out, listener->closed);
    mp_nil(&out);
    return awp_push(listener->awp, &out, NULL, 0);
}

/* Close all connections from here on. */
static void cut_off(struct awp_conn **link)
{
    while (*link) {
        struct awp_conn *conn = *link;
        *link = conn->next;
        conn_free(conn);
    }
}

void awp_listener_free(struct awp_listener *listener)
{
    struct awp_listener **link = &listener->awp->listeners;
    while (*link != listener)
        link = &(*link)->next;
    *link = listener->next;
    while (listener->first)
        conn_free(pop(listener));
    free(listener);
}

void awp_listeners_end(struct awp *awp)
{
    for (struct awp_listener *listener = awp->listeners; listener; listener = listener->next) {
        struct awp_conn **link = &listener->first;
        listener->ended = true;
        listener->last = NULL;
        while (*link && (*link)->taken && (*link)->serial <= awp->urgent_written) {
            listener->last = *link;
            link = &(*link)->next;
        }
        cut_off(link);
    }
}

void awp_unlisten(struct awp_listener *listener)
{
    struct awp *awp = listener->awp;
    struct awp_conn **link = &listener->first;
    if (!listener->ended) {
        struct awp_channel_entry *entry = awp_find(awp, listener->channel);
        struct mp_buf out = awp_begin(AWP_KIND_LISTEN_CLOSE, 0, listener->channel);
        mp_nil(&out);
        mp_nil(&out);
        awp_push(awp, &out, NULL, 0);
        if (entry)
            awp_channel_end(awp, entry);
        listener->ended = true;
    }
    /* What was taken, and not shown yet, is shown without a listener; the rest is given back. */
    listener->last = NULL;
    while (*link && (*link)->taken) {
        listener->last = *link;
        link = &(*link)->next;
    }
    cut_off(link);
    if (!listener->first)
        awp_listener_free(listener);
}
