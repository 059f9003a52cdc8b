#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

int loop_open(struct loop *loop, struct awp *awp)
{
    *loop = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC), .awp = awp, .awp_watch = {.fd = -1}};
    return loop->epoll < 0 ? -errno : 0;
}

void loop_close(struct loop *loop)
{
    if (loop->epoll >= 0)
        close(loop->epoll);
    loop->epoll = -1;
}

int loop_watch(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event) < 0
        && (errno != ENOENT || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->fd, &event) < 0))
        return -errno;
    watch->events = events;
    return 0;
}

void loop_forget(struct loop *loop, struct loop_watch *watch)
{
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    for (int i = 0; i < loop->batch_size; i++) /* it may be due in the pass that is under way */
        if (loop->batch[i].data.ptr == watch)
            loop->batch[i].data.ptr = NULL;
}

void loop_set(struct loop *loop, struct loop_timer *timer, int64_t at)
{
    loop_unset(timer);
    struct loop_timer **link = &loop->timers;
    while (*link && (*link)->at <= at)
        link = &(*link)->next;
    timer->at = at;
    timer->next = *link;
    timer->link = link;
    if (timer->next)
        timer->next->link = &timer->next;
    *link = timer;
}

void loop_unset(struct loop_timer *timer)
{
    if (!timer->link)
        return;
    *timer->link = timer->next;
    if (timer->next)
        timer->next->link = timer->link;
    timer->link = NULL;
}

static int watch_primary(struct loop *loop)
{
    int fd = awp_fd(loop->awp);
    uint32_t events = (awp_wants_read(loop->awp) ? EPOLLIN : 0) | (awp_wants_write(loop->awp) ? EPOLLOUT : 0);
    if (fd < 0 || (fd == loop->awp_watch.fd && events == loop->awp_watch.events))
        return 0;
    loop->awp_watch.fd = fd;
    return loop_watch(loop, &loop->awp_watch, events);
}

static int timeout(const struct loop *loop)
{
    int least = awp_timeout(loop->awp);
    if (!loop->timers)
        return least;
    int64_t left = loop->timers->at - awp_now();
    int ours = left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
    return least < 0 || ours < least ? ours : least;
}

int loop_once(struct loop *loop)
{
    int error = watch_primary(loop);
    if (error)
        return error;
    int count = epoll_wait(loop->epoll, loop->batch, LOOP_BATCH, timeout(loop));
    if (count < 0 && errno != EINTR)
        return -errno;
    loop->batch_size = count < 0 ? 0 : count;
    for (int i = 0; i < loop->batch_size; i++) {
        struct loop_watch *watch = loop->batch[i].data.ptr;
        if (watch && watch != &loop->awp_watch)
            watch->ready(watch, loop->batch[i].events);
    }
    loop->batch_size = 0;
    for (int64_t now = awp_now(); loop->timers && loop->timers->at <= now;) {
        struct loop_timer *timer = loop->timers;
        loop_unset(timer);
        timer->over(timer);
    }
    awp_dispatch(loop->awp); /* and its own timers */
    return 0;
}
