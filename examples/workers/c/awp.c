/* The connection as a whole: opening and closing, channels, time, events. */
#include "awp_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* ---- time ------------------------------------------------------------------------------- */

static struct timespec clock_of(clockid_t clock)
{
    struct timespec now = {0};
    clock_gettime(clock, &now); /* fails for clocks that do not exist, only */
    return now;
}

int64_t awp_now(void)
{
    struct timespec now = clock_of(CLOCK_MONOTONIC);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

double awp_wall_clock(void)
{
    struct timespec now = clock_of(CLOCK_REALTIME);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- channels --------------------------------------------------------------------------- */

struct awp_channel_entry *awp_find(struct awp *awp, uint32_t id)
{
    struct awp_channel_entry *entry = awp->buckets[id / 2 % AWP_BUCKETS];
    while (entry && entry->id != id)
        entry = entry->next;
    return entry;
}

struct awp_channel_entry *awp_channel_open(struct awp *awp, uint32_t id, enum awp_channel_use use)
{
    struct awp_channel_entry *entry = calloc(1, sizeof *entry);
    if (!entry) {
        awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
        return NULL;
    }
    entry->id = id;
    entry->use = use;
    entry->expires = INT64_MAX;
    entry->next = awp->buckets[id / 2 % AWP_BUCKETS];
    awp->buckets[id / 2 % AWP_BUCKETS] = entry;
    return entry;
}

/* Ids ascend, and begin again behind the highest: what is late finds none of the same id. */
uint32_t awp_channel_new(struct awp *awp)
{
    do
        awp->next_channel = awp->next_channel > UINT32_MAX - 2 ? 1 : awp->next_channel + 2;
    while (awp_find(awp, awp->next_channel));
    return awp->next_channel;
}

void awp_channel_end(struct awp *awp, struct awp_channel_entry *entry)
{
    if (!entry)
        return;
    struct awp_channel_entry **link = &awp->buckets[entry->id / 2 % AWP_BUCKETS];
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
    awp_partial_free(awp, entry);
    free(entry);
}

/* ---- events ----------------------------------------------------------------------------- */

struct awp_event_node *awp_event(struct awp *awp, enum awp_event_type type)
{
    struct awp_event_node *node = calloc(1, sizeof *node);
    if (!node) {
        awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
        return NULL;
    }
    node->event.type = type;
    node->event.deadline = INT64_MAX;
    node->event.descriptor.fd = -1;
    *awp->events_end = node;
    awp->events_end = &node->next;
    return node;
}

void awp_event_error(struct awp_event_node *node, const char *code, const char *text, size_t size)
{
    mp_raw(&node->kept, code, strlen(code) + 1);
    mp_raw(&node->kept, text, size);
    mp_raw(&node->kept, "", 1);
    if (node->kept.failed) {
        node->event.error = (struct awp_error){AWP_ERROR_INTERNAL, ""};
        return;
    }
    node->event.error.code = (const char *)node->kept.data;
    node->event.error.text = (const char *)node->kept.data + strlen(code) + 1;
}

static void event_free(struct awp_event_node *node)
{
    if (!node)
        return;
    mp_free(&node->kept);
    free(node);
}

static bool show(struct awp *awp, struct awp_event_node *node, struct awp_event *event)
{
    awp->shown = node;
    *event = node->event;
    return true;
}

/* An event that is made when it is asked for, while none waits. */
static struct awp_event_node *made_now(struct awp *awp, enum awp_event_type type)
{
    struct awp_event_node *node = awp_event(awp, type);
    if (node) {
        awp->events = NULL;
        awp->events_end = &awp->events;
    }
    return node;
}

static bool show_connection(struct awp *awp, struct awp_event *event)
{
    struct awp_event found = {0};
    uint8_t *head;
    if (!awp_next_connection(awp, &found, &head))
        return false;
    struct awp_event_node *node = made_now(awp, AWP_CONNECTION);
    if (!node) {
        awp_close_fds(&found.descriptor.fd, 1);
        free(head);
        return false;
    }
    node->event.listener = found.listener;
    node->event.tag = found.tag;
    node->event.descriptor = found.descriptor;
    node->kept = (struct mp_buf){.data = head, .size = found.descriptor.head_size};
    return show(awp, node, event);
}

static bool show_next(struct awp *awp, struct awp_event *event)
{
    struct awp_event_node *node = awp->events;
    event_free(awp->shown);
    awp->shown = NULL;
    if (node) {
        awp->events = node->next;
        if (!awp->events)
            awp->events_end = &awp->events;
        return show(awp, node, event);
    }
    if (show_connection(awp, event))
        return true;
    bool closed = awp->fd < 0, held = awp->held || awp_backlog(awp) > awp->limits.window;
    if (awp->mailbox && (closed || !held) && (node = made_now(awp, AWP_MESSAGE))) {
        node->event.message = &awp_mail_take(awp)->shown;
        return show(awp, node, event);
    }
    if (closed && !awp->closed_told && (node = made_now(awp, AWP_CLOSED))) {
        awp->closed_told = true;
        node->event.status = awp->status;
        node->event.reason = awp->abort_code;
        return show(awp, node, event);
    }
    return false;
}

/* ---- one pass --------------------------------------------------------------------------- */

/* Write what the pass has left to be said, and go on with the end of the connection. */
static void finish(struct awp *awp, bool events_taken)
{
    if (awp->fd < 0)
        return;
    awp_flush_handle_ack(awp);
    awp_flush_books(awp, false);
    awp_flush_log(awp);
    awp_say_goodbye(awp);
    awp_flush(awp);
    bool all_written = !awp_backlog(awp);
    if (awp->aborting && (all_written || awp->write_dead))
        awp_end(awp);
    else if (awp->state == AWP_STATE_CLOSING && all_written && !awp->shut) {
        awp->shut = true;
        shutdown(awp->fd, SHUT_WR);
    }
    if (awp->eof && events_taken) /* what came in front of it was processed (AWP-TR-6) */
        awp_at_eof(awp);
}

void awp_dispatch(struct awp *awp)
{
    if (awp->fd < 0)
        return;
    awp_receive(awp);
    int64_t now = awp_now();
    awp_mail_due(awp, now);
    awp_calls_due(awp, now);
    awp_session_due(awp, now);
    finish(awp, false);
}

bool awp_next(struct awp *awp, struct awp_event *event)
{
    for (;;) {
        if (show_next(awp, event))
            return true;
        bool open = awp->fd >= 0;
        finish(awp, true);
        if (!awp->events && open == (awp->fd >= 0))
            return false;
    }
}

int awp_timeout(const struct awp *awp)
{
    int64_t at = awp_mail_next_due(awp), now = awp_now();
    const int64_t others[] = {awp->flush_at, awp->give_up_at, awp->calls_due_at,
                              awp->retry_at ? awp->retry_at : INT64_MAX,
                              awp->state == AWP_STATE_STOPPING ? awp->fail_at : INT64_MAX};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        at = others[i] < at ? others[i] : at;
    if (awp->fd < 0 || at == INT64_MAX)
        return -1;
    return at <= now ? 0 : at - now > INT_MAX ? INT_MAX : (int)(at - now);
}

int awp_fd(const struct awp *awp)
{
    return awp->fd;
}

bool awp_wants_read(const struct awp *awp)
{
    return awp->fd >= 0 && !awp->eof;
}

uint64_t awp_worker_id(const struct awp *awp)
{
    return awp->worker_id;
}

const char *awp_name(const struct awp *awp)
{
    return awp->name ? awp->name : "";
}

/* ---- beginning and end ------------------------------------------------------------------ */

/* What follows returns a socket, or a negative errno. */
static int inherited(const char *number)
{
    char *end;
    errno = 0;
    long fd = strtol(number, &end, 10);
    if (errno || *end || end == number || fd < 0 || fd > INT_MAX)
        return -EINVAL;
    int type, flags = fcntl((int)fd, F_GETFD);
    socklen_t size = sizeof type;
    if (flags < 0 || fcntl((int)fd, F_SETFD, flags | FD_CLOEXEC) < 0
        || getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return -errno;
    return type == SOCK_STREAM ? (int)fd : -EPROTOTYPE;
}

static int connected(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd < 0 ? -errno : fd;
    int error = errno;
    close(fd);
    return -error;
}

static int socket_to(const char *channel)
{
    if (!channel)
        return -ENOENT;
    if (strncmp(channel, "fd:", 3) == 0)
        return inherited(channel + 3);
    return strncmp(channel, "unix:", 5) == 0 ? connected(channel + 5) : -EPROTONOSUPPORT;
}

static struct awp *create(int fd, const struct awp_options *options)
{
    struct awp *awp = calloc(1, sizeof *awp);
    if (!awp)
        return NULL;
    awp->fd = fd;
    awp->state = AWP_STATE_HANDSHAKE;
    awp->give_up_at = awp->flush_at = awp->calls_due_at = awp->deadline = awp->fail_at = INT64_MAX;
    awp->next_channel = UINT32_MAX;
    awp->groups_end = &awp->groups;
    awp->unacked_end = &awp->unacked;
    awp->mailbox_end = &awp->mailbox;
    awp->events_end = &awp->events;
    awp_limits_default(&awp->limits);
    awp_limits_default(&awp->peer);
    awp_limits_merge(&awp->limits, &options->limits);
    for (unsigned kind = 1; !options->kinds && kind < 256; kind++)
        awp->kinds[kind] = awp_kind_name((uint8_t)kind) != NULL;
    for (const uint8_t *kind = options->kinds; kind && *kind; kind++)
        awp->kinds[*kind] = awp_kind_name(*kind) != NULL;
    return awp;
}

int awp_open(struct awp **out, const struct awp_options *options)
{
    static const char *const ours[] = {"ACTORCLUSTER_CHANNEL", "ACTORCLUSTER_WORKER_ID",
                                       "ACTORCLUSTER_LIMITS", "ACTORCLUSTER_TOKEN", "ACTORCLUSTER_LANE"};
    const char *worker = getenv(ours[1]), *limits = getenv(ours[2]), *token = getenv(ours[3]);
    int fd = getenv(ours[4]) ? -EPROTONOSUPPORT : socket_to(getenv(ours[0]));
    if (fd < 0)
        return fd;
    struct awp *awp = create(fd, options);
    if (!awp) {
        close(fd);
        return -ENOMEM;
    }
    if (limits)
        awp_limits_from_text(&awp->limits, limits);
    awp_limits_merge(&awp->limits, &awp->limits); /* within what can be */
    int error = awp_hello(awp, options, worker, token);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        unsetenv(ours[i]); /* not for programs that we start (AWP-TR-2) */
    awp->watch = awp_watch_start(fd);
    if (error || !awp->watch) {
        awp_close(awp);
        return error ? error : -EAGAIN;
    }
    awp_flush(awp);
    *out = awp;
    return 0;
}

void awp_end(struct awp *awp)
{
    if (awp->fd < 0)
        return;
    awp->state = AWP_STATE_CLOSED;
    awp_watch_stop(awp->watch, awp->fd);
    awp->watch = NULL;
    close(awp->fd);
    awp->fd = -1;
    awp_abandon_output(awp);
    awp_handles_acked(awp, UINT64_MAX);
    for (struct awp_group *group; (group = awp->groups); awp_group_free(group))
        awp->groups = group->next;
    awp->groups_end = &awp->groups;
    awp_fail_calls(awp, AWP_ERROR_CONNECTION_LOST);
    awp_lose_calls(awp, AWP_ERROR_CONNECTION_LOST);
    awp_listeners_end(awp);
}

void awp_close(struct awp *awp)
{
    if (!awp)
        return;
    awp_end(awp);
    while (awp->mailbox)
        awp_mail_free(awp_mail_take(awp));
    for (struct awp_event_node *node; (node = awp->events); event_free(node)) {
        awp->events = node->next;
        awp_close_fds(&node->event.descriptor.fd, 1);
        if (node->event.type == AWP_ANSWER)
            awp_mail_free((struct awp_mail *)node->event.message);
    }
    while (awp->listeners)
        awp_listener_free(awp->listeners);
    for (unsigned i = 0; i < AWP_BUCKETS; i++)
        while (awp->buckets[i])
            awp_channel_end(awp, awp->buckets[i]);
    event_free(awp->shown);
    mp_free(&awp->in);
    free(awp->pending);
    free(awp->lost);
    free(awp->name);
    free(awp);
}
