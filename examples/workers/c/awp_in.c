/* Bytes and descriptors that come in.
 *
 * Bytes are collected in one buffer and cut into frames by the offsets of the header. Where in the
 * bytes a descriptor turned up says nothing: the descriptors of each recvmsg() are a group, groups
 * wait in a queue, and each frame that declares descriptors takes the oldest (AWP-FD-3). A group
 * that came incomplete keeps its place in the queue, so that the groups behind it stay in step. */
#include "awp_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READ_SIZE = 64 * 1024, READS = 16, KEEP = 256 * 1024 };

static uint32_t u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* ---- descriptors ------------------------------------------------------------------------ */

static unsigned count_fds(struct msghdr *message, int *into)
{
    unsigned count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned here = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        if (into)
            memcpy(into + count, CMSG_DATA(c), here * sizeof(int));
        count += here;
    }
    return count;
}

static void queue_group(struct awp *awp, struct msghdr *message)
{
    unsigned count = count_fds(message, NULL);
    bool truncated = message->msg_flags & MSG_CTRUNC;
    if (!count && !truncated)
        return;
    int fds[AWP_GROUP + 1];
    count_fds(message, fds);
    struct awp_group *group = malloc(sizeof *group + count * sizeof(int));
    if (!group) {
        awp_close_fds(fds, count);
        awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
        return;
    }
    *group = (struct awp_group){.count = count, .truncated = truncated};
    memcpy(group->fds, fds, count * sizeof(int));
    *awp->groups_end = group;
    awp->groups_end = &group->next;
    awp->unclaimed += count;
    if (awp->state < AWP_STATE_ACTIVE || !awp_in_force(awp, AWP_CAP_HANDLE))
        awp_abort(awp, AWP_ABORT_FD_VIOLATION, "nobody may send descriptors here", NULL);
    else if (awp->unclaimed > 4 * awp->limits.max_fds)
        awp_abort(awp, AWP_ABORT_FD_VIOLATION, "descriptors that no frame declares", NULL);
}

/* ---- frames ----------------------------------------------------------------------------- */

bool awp_split(struct awp *awp, struct awp_frame *frame, bool *broken)
{
    bool control = awp_kind_info(frame->kind)->body == AWP_BODY_CONTROL;
    struct mp_reader in = mp_reader(frame->body, frame->length);
    enum mp_result result;
    *broken = false;
    frame->envelope = frame->payload = (struct mp_reader){in.at, in.at};
    if ((result = mp_scan(&in)) == MP_OK) {
        frame->envelope.end = frame->payload.at = frame->payload.end = in.at;
        if ((result = mp_scan(&in)) == MP_OK) {
            frame->payload.end = in.at;
            result = in.at == in.end ? MP_OK : MP_SHORT;
        }
    }
    if (result == MP_SHORT) {
        awp_abort_at(awp, frame, AWP_ABORT_BAD_LENGTH, "the body does not end where length says");
        return false;
    }
    size_t envelope = (size_t)(frame->envelope.end - frame->envelope.at);
    size_t payload = (size_t)(frame->payload.end - frame->payload.at);
    unsigned depth = awp->limits.max_depth;
    if (control && result == MP_OK && (result = mp_profile(frame->envelope.at, envelope, depth, 0)) == MP_OK)
        result = mp_profile(frame->payload.at, payload, depth, 0);
    if (control && result != MP_OK) {
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "a broken body");
        return false;
    }
    if (control && envelope > awp->limits.max_meta && frame->kind != AWP_KIND_CONN) {
        awp_abort_at(awp, frame, AWP_ABORT_LIMIT_EXCEEDED, "an envelope over max_meta");
        return false;
    }
    *broken = result != MP_OK;
    return true;
}

static void answer_ping(struct awp *awp, const struct awp_frame *frame)
{
    struct mp_buf out = awp_begin(AWP_KIND_PONG, 0, frame->channel);
    mp_raw(&out, frame->body, frame->length);
    awp_push(awp, &out, NULL, 0);
}

static void answer_unknown(struct awp *awp, const struct awp_frame *frame)
{
    if (frame->flags & AWP_FLAG_OPTIONAL)
        return;
    if (++awp->unknown > AWP_UNKNOWN_FRAMES) {
        awp_abort_at(awp, frame, AWP_ABORT_LIMIT_EXCEEDED, "too many unknown frames");
        return;
    }
    struct mp_buf out = awp_begin(AWP_KIND_UNIMPLEMENTED, 0, frame->channel);
    mp_array(&out, 1);
    mp_uint(&out, frame->kind);
    mp_nil(&out);
    awp_push(awp, &out, NULL, 0);
}

/* Whether channel and flags are such as this kind has them (AWP-CH-2, AWP-LG-7). */
static bool well_addressed(const struct awp_frame *frame, const struct awp_kind_info *info)
{
    bool pieces = frame->flags & AWP_FLAG_FRAG;
    bool message = frame->kind == AWP_KIND_TELL || frame->kind == AWP_KIND_CALL || frame->kind == AWP_KIND_REPLY;
    if ((pieces && !message) || (frame->flags & AWP_FLAG_MORE && !pieces))
        return false;
    bool even = frame->channel && frame->channel % 2 == 0;
    switch (info->channel) {
    case AWP_CHANNEL_ZERO: return frame->channel == 0;
    case AWP_CHANNEL_OPENS: return even;
    case AWP_CHANNEL_USES: return frame->channel != 0;
    case AWP_CHANNEL_OPTIONAL: return pieces ? even : frame->channel == 0;
    case AWP_CHANNEL_ANY: break;
    }
    return true;
}

static void deliver(struct awp *awp, struct awp_frame *frame, bool refuse)
{
    switch (frame->kind) {
    case AWP_KIND_PING: answer_ping(awp, frame); break;
    case AWP_KIND_PONG: break;
    case AWP_KIND_CREDIT: awp_on_credit(awp, frame); break;
    case AWP_KIND_UNIMPLEMENTED: awp_on_unimplemented(awp, frame); break;
    case AWP_KIND_HANDLE_ACK: awp_on_handle_ack(awp, frame); break;
    case AWP_KIND_LISTENING: case AWP_KIND_CONN: case AWP_KIND_LISTEN_CLOSE:
        awp_on_listen(awp, frame, refuse);
        break;
    case AWP_KIND_TELL: case AWP_KIND_CALL: case AWP_KIND_REPLY:
        awp_on_message(awp, frame, refuse);
        break;
    case AWP_KIND_ERROR: awp_on_error(awp, frame); break;
    case AWP_KIND_CANCEL: awp_on_cancel(awp, frame); break;
    case AWP_KIND_UNDELIVERABLE: awp_on_undeliverable(awp, frame); break;
    default: awp_on_session(awp, frame); break;
    }
}

static void on_frame(struct awp *awp, struct awp_frame *frame)
{
    const struct awp_kind_info *info = awp_kind_info(frame->kind);
    struct awp_step step = awp_worker_receives(awp->state, frame->kind);
    if (frame->nfds) {
        if ((info && !info->handles) || awp->state < AWP_STATE_ACTIVE || !awp_in_force(awp, AWP_CAP_HANDLE)) {
            awp_abort_at(awp, frame, AWP_ABORT_FD_VIOLATION, "descriptors where there are none");
            return;
        }
        awp_claim(awp, frame);
    }
    if (awp->state == AWP_STATE_CLOSED || step.action == AWP_ACTION_IGNORE)
        awp->state = awp->state == AWP_STATE_CLOSED ? AWP_STATE_CLOSED : step.next;
    else if (step.action == AWP_ACTION_ABORT)
        awp_abort_at(awp, frame, AWP_ABORT_STATE_VIOLATION, "not in this state");
    else if (info && info->capability && !awp_in_force(awp, info->capability))
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "its capability is not in force");
    else if (info && !well_addressed(frame, info))
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "not on this channel, or not in pieces");
    else {
        enum awp_state before = awp->state;
        awp->state = step.next;
        if (info)
            deliver(awp, frame, step.action == AWP_ACTION_REFUSE);
        else
            answer_unknown(awp, frame);
        if (before < AWP_STATE_STOPPING && awp->state == AWP_STATE_STOPPING)
            awp_reject_waiting(awp);
    }
    awp_unclaim(frame);
}

/* Process all frames that are whole; check headers as soon as they are. */
static void cut(struct awp *awp)
{
    while (awp->state != AWP_STATE_CLOSED && awp->in.size - awp->in_at >= AWP_HEADER_SIZE) {
        const uint8_t *at = awp->in.data + awp->in_at;
        struct awp_frame frame = {
            .kind = at[7], .flags = at[8], .nfds = at[9], .channel = u32(at + 12),
            .header = at, .body = at + AWP_HEADER_SIZE, .length = u32(at + 2),
        };
        if (at[0] != 0x95 || at[1] != 0xce || at[6] != 0xce || at[11] != 0xce) {
            awp_abort_at(awp, &frame, AWP_ABORT_BAD_SIGNATURE, "this is no frame");
            return;
        }
        if (frame.length > awp->limits.max_frame) {
            awp_abort_at(awp, &frame, AWP_ABORT_FRAME_TOO_LARGE, "a frame over max_frame");
            return;
        }
        if (frame.nfds > awp->limits.max_fds) {
            awp_abort_at(awp, &frame, AWP_ABORT_FD_VIOLATION, "descriptors over max_fds");
            return;
        }
        if (awp->in.size - awp->in_at - AWP_HEADER_SIZE < frame.length)
            return;
        awp->in_at += AWP_HEADER_SIZE + frame.length;
        on_frame(awp, &frame);
    }
}

/* ---- reading ---------------------------------------------------------------------------- */

/* Make room for one read: frames that were processed go, and so does memory that a large one took. */
static bool make_room(struct awp *awp)
{
    struct mp_buf *in = &awp->in;
    if (awp->in_at) {
        in->size -= awp->in_at;
        memmove(in->data, in->data + awp->in_at, in->size);
        awp->in_at = 0;
    }
    if (!in->size && in->room > KEEP)
        mp_free(in);
    return mp_reserve(in, READ_SIZE);
}

static ssize_t read_some(struct awp *awp)
{
    struct mp_buf *in = &awp->in;
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(AWP_GROUP * sizeof(int))];
    } control;
    struct iovec part = {in->data + in->size, in->room - in->size};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
    };
    ssize_t got;
    do
        got = recvmsg(awp->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got >= 0)
        queue_group(awp, &message);
    return got;
}

void awp_receive(struct awp *awp)
{
    for (int i = 0; i < READS && !awp->eof && awp->state != AWP_STATE_CLOSED; i++) {
        if (!make_room(awp)) {
            awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
            return;
        }
        ssize_t got = read_some(awp);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (got <= 0) { /* a reset is an end of file, behind all that came before (AWP-TR-6) */
            awp->eof = true;
            return;
        }
        awp->in.size += (size_t)got;
        cut(awp);
    }
}
