/* A small event loop for programs that have none: epoll, timers, and one AWP connection. */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "awp.h"

/* Lies in a struct of the program's, which a callback finds from it. */
struct loop_watch {
    int fd;
    uint32_t events; /* what is watched for: EPOLLIN, EPOLLOUT */
    void (*ready)(struct loop_watch *watch, uint32_t events);
};

struct loop_timer {
    struct loop_timer *next, **link; /* link: NULL while it is not set */
    int64_t at;
    void (*over)(struct loop_timer *timer);
};

enum { LOOP_BATCH = 64 };

struct loop {
    int epoll;
    struct loop_timer *timers; /* the first is the next */
    struct epoll_event batch[LOOP_BATCH];
    int batch_size;
    struct awp *awp;
    struct loop_watch awp_watch;
};

int loop_open(struct loop *loop, struct awp *awp); /* 0, or a negative errno, as all others */
void loop_close(struct loop *loop);

/* Watch for `events`, again or for the first time; 0: for nothing but errors. */
int loop_watch(struct loop *loop, struct loop_watch *watch, uint32_t events);
void loop_forget(struct loop *loop, struct loop_watch *watch); /* before its fd is closed */

void loop_set(struct loop *loop, struct loop_timer *timer, int64_t at); /* by awp_now() */
void loop_unset(struct loop_timer *timer);

/* Wait for something, and call all callbacks that are due; then take events by awp_next(). */
int loop_once(struct loop *loop);

#endif
