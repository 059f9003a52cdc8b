/* A worker ends within two seconds when its primary is gone, whatever its code is doing
 * (AWP-ST-3). Code that is busy does not come back to the event loop to notice, so a thread waits
 * for the other end to hang up. It costs nothing as long as that does not happen, and shares
 * nothing with the rest but one flag. */
#include "awp_internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GRACE_MS = 1500 };

struct awp_watch {
    pthread_t thread;
    int fd;
    atomic_bool stand_down;
};

static void *watch(void *argument)
{
    struct awp_watch *watch = argument;
    struct pollfd hangup = {.fd = watch->fd, .events = POLLRDHUP};
    while (poll(&hangup, 1, -1) < 0 && errno == EINTR)
        continue;
    int64_t end = awp_now() + GRACE_MS; /* the loop has this long to see it, too */
    for (int64_t now = awp_now(); now < end && !atomic_load(&watch->stand_down); now = awp_now())
        poll(NULL, 0, 20);
    if (!atomic_load(&watch->stand_down))
        _exit(0);
    return NULL;
}

struct awp_watch *awp_watch_start(int fd)
{
    struct awp_watch *self = calloc(1, sizeof *self);
    sigset_t all, before;
    if (!self)
        return NULL;
    self->fd = fd;
    atomic_init(&self->stand_down, false);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are for the program's own threads */
    int error = pthread_create(&self->thread, NULL, watch, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        free(self);
        return NULL;
    }
    return self;
}

void awp_watch_stand_down(struct awp_watch *watch)
{
    if (watch)
        atomic_store(&watch->stand_down, true);
}

void awp_watch_stop(struct awp_watch *watch, int fd)
{
    if (!watch)
        return;
    awp_watch_stand_down(watch);
    shutdown(fd, SHUT_RDWR); /* wakes the thread, which holds the socket open while it waits */
    pthread_join(watch->thread, NULL);
    free(watch);
}
