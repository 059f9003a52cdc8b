/* Descriptors: what they are, which frame they belong to, who closes them. */
#include "awp_internal.h"

#include <fcntl.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const kind_names[256] = {
    [AWP_HANDLE_TCP_SOCKET] = AWP_HANDLE_NAME_TCP_SOCKET,
    [AWP_HANDLE_TCP_LISTENER] = AWP_HANDLE_NAME_TCP_LISTENER,
    [AWP_HANDLE_UDP_SOCKET] = AWP_HANDLE_NAME_UDP_SOCKET,
    [AWP_HANDLE_UNIX_STREAM] = AWP_HANDLE_NAME_UNIX_STREAM,
    [AWP_HANDLE_UNIX_LISTENER] = AWP_HANDLE_NAME_UNIX_LISTENER,
    [AWP_HANDLE_UNIX_DGRAM] = AWP_HANDLE_NAME_UNIX_DGRAM,
    [AWP_HANDLE_UNIX_SEQPACKET] = AWP_HANDLE_NAME_UNIX_SEQPACKET,
    [AWP_HANDLE_PIPE_READ] = AWP_HANDLE_NAME_PIPE_READ,
    [AWP_HANDLE_PIPE_WRITE] = AWP_HANDLE_NAME_PIPE_WRITE,
    [AWP_HANDLE_FILE] = AWP_HANDLE_NAME_FILE,
    [AWP_HANDLE_MEMFD] = AWP_HANDLE_NAME_MEMFD,
    [AWP_HANDLE_TTY] = AWP_HANDLE_NAME_TTY,
    [AWP_HANDLE_EVENTFD] = AWP_HANDLE_NAME_EVENTFD,
    [AWP_HANDLE_PIDFD] = AWP_HANDLE_NAME_PIDFD,
    [AWP_HANDLE_OPAQUE] = AWP_HANDLE_NAME_OPAQUE,
};

const char *awp_kind_name(uint8_t kind)
{
    return kind_names[kind];
}

uint8_t awp_kind_named(const struct mp_item *name)
{
    for (unsigned kind = 1; kind < 256; kind++)
        if (kind_names[kind] && mp_equals(name, kind_names[kind]))
            return (uint8_t)kind;
    return 0;
}

/* close() may say EINTR, and has closed all the same: on Linux it is never repeated. */
void awp_close_fds(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

void awp_group_free(struct awp_group *group)
{
    if (group)
        awp_close_fds(group->fds, group->count);
    free(group);
}

/* ---- what a descriptor is --------------------------------------------------------------- */

static int socket_option(int fd, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

static bool is_socket(int fd, uint8_t kind)
{
    int domain = socket_option(fd, SO_DOMAIN), type = socket_option(fd, SO_TYPE);
    bool listens = socket_option(fd, SO_ACCEPTCONN) == 1;
    bool internet = domain == AF_INET || domain == AF_INET6, local = domain == AF_UNIX;
    switch (kind) {
    case AWP_HANDLE_TCP_SOCKET: case AWP_HANDLE_TCP_LISTENER:
        return internet && socket_option(fd, SO_PROTOCOL) == IPPROTO_TCP
            && listens == (kind == AWP_HANDLE_TCP_LISTENER);
    case AWP_HANDLE_UDP_SOCKET: return internet && socket_option(fd, SO_PROTOCOL) == IPPROTO_UDP;
    case AWP_HANDLE_UNIX_STREAM: return local && type == SOCK_STREAM && !listens;
    case AWP_HANDLE_UNIX_LISTENER: return local && type != SOCK_DGRAM && listens;
    case AWP_HANDLE_UNIX_DGRAM: return local && type == SOCK_DGRAM;
    case AWP_HANDLE_UNIX_SEQPACKET: return local && type == SOCK_SEQPACKET && !listens;
    default: return false;
    }
}

/* What has no type that fstat() tells: by the name that the kernel has for it. */
static bool is_named(int fd, const char *name)
{
    char path[64], target[256];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size < 0)
        return false;
    target[size] = '\0';
    return strncmp(target, name, strlen(name)) == 0;
}

bool awp_is_kind(int fd, uint8_t kind)
{
    struct stat status;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &status) < 0)
        return false;
    int access = flags & O_ACCMODE;
    switch (kind) {
    case AWP_HANDLE_PIPE_READ: return S_ISFIFO(status.st_mode) && access != O_WRONLY;
    case AWP_HANDLE_PIPE_WRITE: return S_ISFIFO(status.st_mode) && access != O_RDONLY;
    case AWP_HANDLE_FILE: return S_ISREG(status.st_mode) || S_ISDIR(status.st_mode)
                              || S_ISBLK(status.st_mode) || S_ISCHR(status.st_mode);
    case AWP_HANDLE_MEMFD: return S_ISREG(status.st_mode) && is_named(fd, "/memfd:");
    case AWP_HANDLE_TTY: return isatty(fd);
    case AWP_HANDLE_EVENTFD: return is_named(fd, "anon_inode:[eventfd]");
    case AWP_HANDLE_PIDFD: return is_named(fd, "anon_inode:[pidfd]") || is_named(fd, "pidfd:");
    case AWP_HANDLE_OPAQUE: return true;
    default: return S_ISSOCK(status.st_mode) && is_socket(fd, kind);
    }
}

/* ---- which frame they belong to --------------------------------------------------------- */

static void remember_loss(struct awp *awp)
{
    uint64_t *lost = realloc(awp->lost, (awp->lost_count + 1) * sizeof *lost);
    if (!lost) {
        awp_abort(awp, AWP_ABORT_INTERNAL, "out of memory", NULL);
        return;
    }
    awp->lost = lost;
    awp->lost[awp->lost_count++] = awp->fd_frames;
}

void awp_claim(struct awp *awp, struct awp_frame *frame)
{
    struct awp_group *group = awp->groups;
    awp->fd_frames++;
    awp->handle_ack_due = true;
    if (group) {
        awp->groups = group->next;
        if (!awp->groups)
            awp->groups_end = &awp->groups;
        awp->unclaimed -= group->count;
    }
    if (!group || group->truncated || group->count < frame->nfds) {
        awp_group_free(group);
        frame->lost = true;
        remember_loss(awp);
    } else if (group->count > frame->nfds) {
        awp_group_free(group);
        awp_abort_at(awp, frame, AWP_ABORT_FD_VIOLATION, "more descriptors than the frame declares");
    } else
        frame->fds = group;
}

void awp_unclaim(struct awp_frame *frame)
{
    awp_group_free(frame->fds);
    frame->fds = NULL;
}

void awp_flush_handle_ack(struct awp *awp)
{
    if (!awp->handle_ack_due || !awp_in_force(awp, AWP_CAP_HANDLE_ACK))
        return;
    struct mp_buf out = awp_begin(AWP_KIND_HANDLE_ACK, 0, 0);
    mp_array(&out, awp->lost_count ? 2 : 1);
    mp_uint(&out, awp->fd_frames);
    if (awp->lost_count)
        mp_array(&out, (uint32_t)awp->lost_count);
    for (size_t i = 0; i < awp->lost_count; i++)
        mp_uint(&out, awp->lost[i]);
    mp_nil(&out);
    awp->handle_ack_due = false;
    awp->lost_count = 0;
    awp_push(awp, &out, NULL, 0);
}

void awp_on_handle_ack(struct awp *awp, struct awp_frame *frame)
{
    bool broken;
    uint32_t count;
    struct mp_item upto;
    if (!awp_split(awp, frame, &broken))
        return;
    if (!awp_array(&frame->envelope, &count))
        count = 0;
    awp_value(&frame->envelope, &upto, NULL);
    if (!count || upto.type != MP_UINT || upto.u > awp->fd_frames_sent)
        awp_abort_at(awp, frame, AWP_ABORT_PROTOCOL_ERROR, "handles that were never sent");
    else
        awp_handles_acked(awp, upto.u); /* lost or not: there is nobody to send them again */
}

/* ---- envelopes -------------------------------------------------------------------------- */

static bool read_meta(struct mp_reader in, struct awp_descriptor *handle)
{
    uint32_t pairs;
    if (!awp_map(&in, &pairs))
        return false;
    for (; pairs; pairs--) {
        struct mp_item key, value;
        awp_value(&in, &key, NULL);
        awp_value(&in, &value, NULL);
        if (mp_equals(&key, AWP_META_HANDLE_SHARED)) {
            if (value.type != MP_BOOL && value.type != MP_NIL)
                return false;
            handle->shared = value.type == MP_BOOL && value.b;
        } else if (mp_equals(&key, AWP_META_HANDLE_HEAD)) {
            bool stream = handle->kind == AWP_HANDLE_TCP_SOCKET || handle->kind == AWP_HANDLE_UNIX_STREAM;
            if (value.type != MP_BIN || !stream)
                return false;
            handle->head = value.data;
            handle->head_size = value.count;
        }
    }
    return true;
}

static bool read_handle(struct mp_reader in, struct awp_descriptor *handle)
{
    uint32_t count;
    struct mp_item kind, meta;
    struct mp_reader whole;
    if (!awp_array(&in, &count))
        return false;
    awp_value(&in, &kind, NULL);
    awp_value(&in, &meta, &whole);
    if (kind.type != MP_UINT)
        return false;
    handle->kind = kind.u < 256 ? (uint8_t)kind.u : 0; /* 0: a kind that nobody knows */
    static const uint8_t nil = 0xc0;
    return read_meta(whole.at == whole.end ? mp_reader(&nil, 1) : whole, handle);
}

const char *awp_read_handles(const struct awp *awp, struct mp_reader in, struct awp_group *group, unsigned nfds,
                             struct awp_descriptor **out, size_t *heads)
{
    uint32_t count = 0;
    *heads = 0;
    if ((in.at != in.end && !awp_array(&in, &count)) || count != nfds)
        return AWP_ERROR_BAD_PAYLOAD;
    if (!count)
        return NULL;
    struct awp_descriptor *handles = calloc(count, sizeof *handles);
    if (!handles)
        return AWP_ERROR_REFUSED;
    const char *fault = NULL;
    for (uint32_t i = 0; i < count; i++) {
        struct mp_item item;
        struct mp_reader entry;
        awp_value(&in, &item, &entry);
        handles[i].fd = -1;
        if (!read_handle(entry, &handles[i]))
            fault = AWP_ERROR_BAD_PAYLOAD;
        else if (!fault && group && (!awp->kinds[handles[i].kind] || !awp_is_kind(group->fds[i], handles[i].kind)))
            fault = AWP_ERROR_UNSUPPORTED_HANDLE;
        *heads += handles[i].head_size;
    }
    if (fault) {
        free(handles);
        return fault;
    }
    for (uint32_t i = 0; group && i < count; i++)
        handles[i].fd = group->fds[i];
    if (group)
        group->count = 0;
    *out = handles;
    return NULL;
}

int awp_check_handles(const struct awp *awp, const struct awp_send *what, size_t *heads)
{
    *heads = 0;
    if (what->handle_count && !awp_in_force(awp, AWP_CAP_HANDLE_SEND))
        return -EOPNOTSUPP;
    if (what->handle_count > awp->peer.max_fds || what->handle_count > AWP_GROUP)
        return -EMSGSIZE;
    for (unsigned i = 0; i < what->handle_count; i++) {
        const struct awp_descriptor *handle = &what->handles[i];
        if (!awp->peer_kinds[handle->kind] || (handle->head_size && !awp_in_force(awp, AWP_CAP_HANDLE_HEAD)))
            return -EOPNOTSUPP;
        *heads += handle->head_size;
    }
    return 0;
}

int awp_write_handles(struct mp_buf *out, const struct awp_send *what, int **fds)
{
    *fds = NULL;
    if (!what->handle_count)
        return 0;
    int *copies = malloc(what->handle_count * sizeof *copies);
    if (!copies)
        return -ENOMEM;
    for (unsigned i = 0; i < what->handle_count; i++) {
        const struct awp_descriptor *handle = &what->handles[i];
        copies[i] = handle->shared ? fcntl(handle->fd, F_DUPFD_CLOEXEC, 0) : handle->fd;
        if (copies[i] < 0) {
            int error = errno;
            for (unsigned k = 0; k < i; k++)
                if (what->handles[k].shared)
                    close(copies[k]);
            free(copies);
            return -error;
        }
    }
    mp_array(out, what->handle_count);
    for (unsigned i = 0; i < what->handle_count; i++) {
        const struct awp_descriptor *handle = &what->handles[i];
        int flags = fcntl(handle->fd, F_GETFL);
        if (awp_is_kind(handle->fd, handle->kind) && flags >= 0 && socket_option(handle->fd, SO_TYPE) >= 0)
            fcntl(handle->fd, F_SETFL, flags | O_NONBLOCK); /* AWP-FD-9 */
        mp_array(out, 2);
        mp_uint(out, handle->kind);
        mp_map(out, (handle->shared ? 1 : 0) + (handle->head_size ? 1 : 0));
        if (handle->shared) {
            mp_text(out, AWP_META_HANDLE_SHARED);
            mp_bool(out, true);
        }
        if (handle->head_size) {
            mp_text(out, AWP_META_HANDLE_HEAD);
            mp_bin(out, handle->head, handle->head_size);
        }
    }
    *fds = copies;
    return 0;
}
