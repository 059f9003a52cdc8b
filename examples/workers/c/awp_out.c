/* Bytes and descriptors that go out.
 *
 * There are two queues of whole frames: urgent ones, and those that keep their order. In front of
 * the latter, messages wait in two lanes: TELLs and CALLs in one, answers in the other. From these a
 * frame is taken, or a fragment cut, only while the queue is short, from either lane in turn: so a
 * large message holds up the next message (AWP-LG-2), but no answer, and nothing that is urgent.
 *
 * Descriptors go with the first byte of their frame, which begins a sendmsg() of its own
 * (AWP-FD-1). They are ours until the primary has acknowledged them. */
#include "awp_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PARTS = 64, SHORT_QUEUE = 64 * 1024, MOST_ANSWERS = 8 * 1024 * 1024, RETRY_MS = 20 };

/* ---- queues ----------------------------------------------------------------------------- */

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

struct mp_buf awp_begin(uint8_t kind, uint8_t flags, uint32_t channel)
{
    uint8_t header[AWP_HEADER_SIZE] = {[0] = 0x95, [1] = 0xce, [6] = 0xce, [7] = kind, [8] = flags, [11] = 0xce};
    struct mp_buf out = {0};
    put_u32(header + 12, channel);
    mp_raw(&out, header, sizeof header);
    return out;
}

static void out_frame_free(struct awp_out_frame *frame)
{
    awp_close_fds(frame->fds, frame->fd_count);
    free(frame->fds);
    mp_free(&frame->bytes);
    free(frame);
}

/* What a primary can make us say as often as it likes must not pile up (AWP-LM-2). */
static bool too_much(const struct awp *awp, uint8_t kind)
{
    bool ours = kind == AWP_KIND_TELL || kind == AWP_KIND_CALL || kind == AWP_KIND_REPLY
             || kind == AWP_KIND_LOG || kind == AWP_KIND_ABORT || kind == AWP_KIND_GOODBYE;
    return !ours && awp->urgent.bytes + awp->ordered.bytes > MOST_ANSWERS;
}

static struct awp_out_frame *pop(struct awp_out_queue *queue)
{
    struct awp_out_frame *frame = queue->first;
    queue->first = frame->next;
    if (!queue->first)
        queue->last = NULL;
    return frame;
}

/* Only one frame can be half written, and only the one in front of its queue. */
static void empty(struct awp_out_queue *queue, bool keep_begun)
{
    struct awp_out_frame *begun = NULL;
    if (keep_begun && queue->first && queue->first->sent)
        begun = pop(queue);
    while (queue->first)
        out_frame_free(pop(queue));
    *queue = (struct awp_out_queue){.first = begun, .last = begun};
    if (begun) {
        begun->next = NULL;
        queue->bytes = begun->bytes.size - begun->sent;
    }
}

int awp_push(struct awp *awp, struct mp_buf *bytes, int *fds, unsigned fd_count)
{
    struct awp_out_frame *frame = bytes->failed ? NULL : calloc(1, sizeof *frame);
    if (!frame) {
        mp_free(bytes);
        awp_close_fds(fds, fd_count);
        free(fds);
        awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
        return -ENOMEM;
    }
    *frame = (struct awp_out_frame){.bytes = *bytes, .fds = fds, .fd_count = fd_count};
    uint8_t kind = bytes->data[7];
    *bytes = (struct mp_buf){0};
    if (!awp_worker_may_send(awp->state, kind) || awp->write_dead || awp->fd < 0) {
        out_frame_free(frame);
        return -EPIPE;
    }
    if (too_much(awp, kind)) {
        out_frame_free(frame);
        empty(&awp->urgent, true);
        empty(&awp->ordered, true);
        awp_abort(awp, AWP_ABORT_LIMIT_EXCEEDED, "answers that nobody reads", NULL);
        return -EPIPE;
    }
    put_u32(frame->bytes.data + 2, (uint32_t)(frame->bytes.size - AWP_HEADER_SIZE));
    frame->bytes.data[9] = (uint8_t)fd_count;
    /* CANCEL is urgent, too, but must stay behind the message that it cancels (AWP-MS-4). */
    bool urgent = awp_kind_info(kind)->urgent && kind != AWP_KIND_CANCEL && awp->ready_written;
    struct awp_out_queue *queue = urgent ? &awp->urgent : &awp->ordered;
    frame->serial = urgent ? ++awp->urgent_queued : 0;
    *(queue->last ? &queue->last->next : &queue->first) = frame;
    queue->last = frame;
    queue->bytes += frame->bytes.size;
    awp->state = awp_worker_sent(awp->state, kind);
    return 0;
}

size_t awp_backlog(const struct awp *awp)
{
    return awp->urgent.bytes + awp->ordered.bytes + awp->waiting_bytes;
}

/* ---- lanes: messages that wait, and fragments ------------------------------------------- */

static struct awp_out_lane *lane_of(struct awp *awp, const struct awp_out_message *message)
{
    return message->kind == AWP_KIND_REPLY ? &awp->answers : &awp->messages;
}

static void append(struct awp *awp, struct awp_out_message *message)
{
    struct awp_out_lane *lane = lane_of(awp, message);
    message->next = NULL;
    *(lane->last ? &lane->last->next : &lane->first) = message;
    lane->last = message;
    awp->waiting_bytes += message->payload.size - message->at;
}

static void unlink_message(struct awp *awp, struct awp_out_message *message)
{
    struct awp_out_lane *lane = lane_of(awp, message);
    struct awp_out_message **link = &lane->first, *before = NULL;
    for (; *link != message; link = &(*link)->next)
        before = *link;
    *link = message->next;
    if (lane->last == message)
        lane->last = before;
    awp->waiting_bytes -= message->payload.size - message->at;
}

void awp_message_drop(struct awp *awp, struct awp_out_message *message)
{
    unlink_message(awp, message);
    awp_close_fds(message->fds, message->fd_count);
    free(message->fds);
    mp_free(&message->envelope);
    mp_free(&message->payload);
    free(message);
}

struct awp_out_message *awp_message_find(struct awp_out_lane *lane, uint32_t channel)
{
    struct awp_out_message *message = lane->first;
    while (message && message->channel != channel)
        message = message->next;
    return message;
}

/* Queue the next frame of a message: all of it, or a fragment. */
static void advance(struct awp *awp, struct awp_out_message *message)
{
    size_t room = awp->peer.max_frame, envelope = message->envelope.size;
    bool whole = !message->begun && envelope + message->payload.size <= (room < AWP_PIECE ? room : AWP_PIECE);
    if (!awp_in_force(awp, AWP_CAP_FRAG))
        whole = true;
    size_t left = message->payload.size - message->at, piece = left;
    if (!whole) {
        size_t most = room - (message->begun ? 1 : envelope) - 5; /* nil, or all; the head of a bin */
        piece = left < most ? left : most;
        piece = piece < AWP_PIECE ? piece : AWP_PIECE;
    }
    bool last = piece == left;
    uint8_t flags = whole ? 0 : last ? AWP_FLAG_FRAG : AWP_FLAG_FRAG | AWP_FLAG_MORE;
    bool tell = message->kind == AWP_KIND_TELL;
    struct mp_buf out = awp_begin(message->kind, flags, whole && tell ? 0 : message->channel);
    if (message->begun)
        mp_nil(&out);
    else
        mp_raw(&out, message->envelope.data, envelope);
    if (!whole)
        mp_bin_head(&out, (uint32_t)piece);
    mp_raw(&out, message->payload.data + message->at, piece);
    awp->waiting_bytes -= piece;
    message->at += piece;
    message->begun = true;
    int *fds = message->fds;
    unsigned fd_count = message->fd_count;
    message->fds = NULL;
    message->fd_count = 0;
    if (last && message->kind != AWP_KIND_REPLY)
        awp->sent++;
    if (last && tell && message->channel)
        awp_channel_end(awp, awp_find(awp, message->channel));
    if (last)
        awp_message_drop(awp, message);
    else if (message->kind == AWP_KIND_REPLY && message->next) { /* to the end of the lane */
        unlink_message(awp, message);
        append(awp, message);
    }
    awp_push(awp, &out, fds, fd_count);
}

/* Answers take turns among each other; messages go one after the other. */
static void fill(struct awp *awp)
{
    while (awp->ordered.bytes < SHORT_QUEUE && (awp->messages.first || awp->answers.first)) {
        awp->answers_turn = !awp->answers_turn;
        bool answer = awp->answers.first && (awp->answers_turn || !awp->messages.first);
        advance(awp, answer ? awp->answers.first : awp->messages.first);
    }
}

void awp_message_push(struct awp *awp, struct awp_out_message *message)
{
    append(awp, message);
    fill(awp); /* at once if there is room: then it keeps its place among other frames */
}

/* ---- writing ---------------------------------------------------------------------------- */

static bool may_begin(const struct awp *awp, const struct awp_out_frame *frame)
{
    return !frame->fd_count || !awp->fds_out || awp->fds_out + frame->fd_count <= awp->peer.fds_in_flight;
}

bool awp_wants_write(const struct awp *awp)
{
    const struct awp_out_frame *first = awp->ordered.first;
    return awp->fd >= 0 && !awp->retry_at && (awp->urgent.first || (first && may_begin(awp, first)));
}

/* Frames for one sendmsg(), in the order in which they are written. Only the first may have
 * descriptors. */
static size_t gather(struct awp *awp, struct awp_out_queue **from, struct iovec *parts)
{
    size_t count = 0;
    struct awp_out_frame *urgent = awp->urgent.first, *ordered = awp->ordered.first;
    while (count < PARTS && (urgent || ordered)) {
        bool begun = count == 0 && ordered && ordered->sent;
        struct awp_out_frame **next = urgent && !begun ? &urgent : &ordered;
        struct awp_out_frame *frame = *next;
        if (frame->fd_count && (count || !may_begin(awp, frame)))
            break;
        from[count] = next == &urgent ? &awp->urgent : &awp->ordered;
        parts[count++] = (struct iovec){frame->bytes.data + frame->sent, frame->bytes.size - frame->sent};
        *next = frame->next;
    }
    return count;
}

/* The descriptors of a frame are on their way: keep our copies until that is acknowledged. */
static void descriptors_sent(struct awp *awp, struct awp_out_frame *frame)
{
    if (!frame->fd_count)
        return;
    struct awp_unacked *unacked = NULL;
    awp->fd_frames_sent++;
    if (awp_in_force(awp, AWP_CAP_HANDLE_ACK) && (unacked = malloc(sizeof *unacked))) {
        *unacked = (struct awp_unacked){NULL, awp->fd_frames_sent, frame->fds, frame->fd_count};
        *awp->unacked_end = unacked;
        awp->unacked_end = &unacked->next;
        awp->fds_out += frame->fd_count;
    } else {
        awp_close_fds(frame->fds, frame->fd_count);
        free(frame->fds);
    }
    frame->fds = NULL;
    frame->fd_count = 0;
}

void awp_handles_acked(struct awp *awp, uint64_t upto)
{
    while (awp->unacked && awp->unacked->number <= upto) {
        struct awp_unacked *first = awp->unacked;
        awp->unacked = first->next;
        if (!awp->unacked)
            awp->unacked_end = &awp->unacked;
        awp->fds_out -= first->fd_count;
        awp_close_fds(first->fds, first->fd_count);
        free(first->fds);
        free(first);
    }
}

static void written(struct awp *awp, struct awp_out_queue **from, size_t count, size_t bytes)
{
    for (size_t i = 0; i < count && bytes; i++) {
        struct awp_out_frame *frame = from[i]->first;
        size_t left = frame->bytes.size - frame->sent, now = bytes < left ? bytes : left;
        descriptors_sent(awp, frame);
        frame->sent += now;
        from[i]->bytes -= now;
        bytes -= now;
        if (now < left)
            return;
        if (frame->serial)
            awp->urgent_written = frame->serial;
        if (frame->bytes.data[7] == AWP_KIND_READY)
            awp->ready_written = true;
        out_frame_free(pop(from[i]));
    }
}

/* One sendmsg(). False: no more for now. */
static bool write_some(struct awp *awp)
{
    struct awp_out_queue *from[PARTS];
    struct iovec parts[PARTS];
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(AWP_GROUP * sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = gather(awp, from, parts)};
    if (!message.msg_iovlen)
        return false;
    const struct awp_out_frame *first = from[0]->first;
    if (first->fd_count) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(first->fd_count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(first->fd_count * sizeof(int));
        memcpy(CMSG_DATA(c), first->fds, first->fd_count * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(awp->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        written(awp, from, message.msg_iovlen, (size_t)sent);
        return true;
    }
    if (errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM)
        awp->retry_at = awp_now() + RETRY_MS; /* the system is short of something: again, later */
    else if (errno != EAGAIN && errno != EWOULDBLOCK) { /* the primary is gone; read what it said */
        awp->write_dead = true;
        awp_abandon_output(awp);
    }
    return false;
}

void awp_flush(struct awp *awp)
{
    if (awp->fd < 0 || awp->write_dead || (awp->retry_at && awp_now() < awp->retry_at))
        return;
    awp->retry_at = 0;
    do
        fill(awp);
    while (write_some(awp));
}

void awp_abandon_output(struct awp *awp)
{
    empty(&awp->urgent, false);
    empty(&awp->ordered, false);
    awp_abandon_messages(awp);
}

void awp_abandon_messages(struct awp *awp)
{
    while (awp->messages.first)
        awp_message_drop(awp, awp->messages.first);
    while (awp->answers.first)
        awp_message_drop(awp, awp->answers.first);
}
