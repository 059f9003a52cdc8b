#include "play.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

/* ---- faults ----------------------------------------------------------------------------- */

struct fault fault;

ssize_t __real_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *message, int flags);
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);

/* What the linker leads the library's calls to. */
ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static bool interrupted(void)
{
    if (!fault.interrupt || ++fault.calls % 2)
        return false;
    errno = EINTR;
    return true;
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (interrupted())
        return -1;
    if (fault.send_error) {
        errno = fault.send_error;
        fault.send_error = 0;
        return -1;
    }
    struct msghdr some = *message;
    struct iovec first = some.msg_iov[0];
    if (fault.send_most) {
        first.iov_len = first.iov_len < fault.send_most ? first.iov_len : fault.send_most;
        some.msg_iov = &first;
        some.msg_iovlen = 1;
    }
    return __real_sendmsg(fd, &some, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *message, int flags)
{
    return interrupted() ? -1 : __real_recvmsg(fd, message, flags);
}

static bool no_memory(void)
{
    return fault.allocate && --fault.allocate == 0;
}

void *__wrap_malloc(size_t size)
{
    return no_memory() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return no_memory() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return no_memory() ? NULL : __real_realloc(old, size);
}

/* ---- a primary -------------------------------------------------------------------------- */

unsigned open_fds(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    CHECK(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

void say(struct play *play, const void *bytes, size_t size, const int *fds, unsigned count)
{
    char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct iovec part = {(void *)(uintptr_t)bytes, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    CHECK(__real_sendmsg(play->fd, &message, MSG_NOSIGNAL) == (ssize_t)size);
}

size_t make_frame(uint8_t *out, uint8_t kind, uint8_t flags, uint8_t nfds, uint32_t channel, const char *body,
                         size_t size)
{
    uint8_t head[16] = {0x95, 0xce, 0, 0, (uint8_t)(size >> 8), (uint8_t)size, 0xce, kind, flags, nfds, 0, 0xce,
                        0, 0, (uint8_t)(channel >> 8), (uint8_t)channel};
    memcpy(out, head, sizeof head);
    memcpy(out + sizeof head, body, size);
    return sizeof head + size;
}

/* One pass of the worker's; true: it has an event, see play->event. */
bool pass(struct play *play)
{
    awp_dispatch(play->awp);
    return awp_next(play->awp, &play->event);
}

void listen_to(struct play *play)
{
    for (;;) {
        if (play->room - play->size < 65536) {
            play->room = 2 * play->room + 65536;
            play->heard = __real_realloc(play->heard, play->room);
            CHECK(play->heard);
        }
        ssize_t got = recv(play->fd, play->heard + play->size, 65536, MSG_DONTWAIT);
        if (got <= 0)
            return;
        play->size += (size_t)got;
    }
}

/* The next frame that the worker said, or NULL. */
const uint8_t *heard(struct play *play, size_t *length)
{
    listen_to(play);
    const uint8_t *frame = play->heard + play->at;
    if (play->size - play->at < 16)
        return NULL;
    *length = (size_t)frame[2] << 24 | (size_t)frame[3] << 16 | (size_t)frame[4] << 8 | frame[5];
    if (play->size - play->at < 16 + *length)
        return NULL;
    play->at += 16 + *length;
    return frame;
}

/* Hear frames until one of this kind; its body has to begin so. */
const uint8_t *hear(struct play *play, uint8_t kind, const char *body, size_t size)
{
    for (size_t length;;) {
        const uint8_t *frame = heard(play, &length);
        CHECK(frame);
        if (frame[7] != kind)
            continue;
        CHECK(length >= size && memcmp(frame + 16, body, size) == 0);
        return frame;
    }
}

int begin(struct play *play, const char *limits)
{
    int pair[2];
    char channel[32];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    snprintf(channel, sizeof channel, "fd:%d", pair[1]);
    setenv("ACTORCLUSTER_CHANNEL", channel, 1);
    setenv("ACTORCLUSTER_WORKER_ID", "7", 1);
    setenv("ACTORCLUSTER_LIMITS", limits, 1);
    *play = (struct play){.fd = pair[0]};
    int error = awp_open(&play->awp, &(struct awp_options){.name = "test"});
    if (error)
        close(pair[0]);
    return error;
}

void active(struct play *play, const char *limits)
{
    CHECK(begin(play, limits) == 0);
    CHECK(!getenv("ACTORCLUSTER_CHANNEL") && !getenv("ACTORCLUSTER_LIMITS"));
    HEAR(play, AWP_KIND_HELLO, "\xc0\x87\xa8versions\x91\x92\x01\x00");
    SAY(play, AWP_KIND_WELCOME, 0, WELCOME_HEAD WELCOME_CAPS WELCOME_KINDS);
    CHECK(pass(play) && play->event.type == AWP_WELCOME);
    CHECK(awp_ready(play->awp) == 0 && !pass(play));
    HEAR(play, AWP_KIND_READY, "\xc0\x80");
}

void end(struct play *play)
{
    awp_close(play->awp);
    close(play->fd);
    free(play->heard);
}

struct awp_message *message_now(struct play *play)
{
    CHECK(pass(play) && play->event.type == AWP_MESSAGE);
    return play->event.message;
}
