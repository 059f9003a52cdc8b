/* A primary for tests: says bytes, hears frames. And faults: system calls and memory fail on demand,
 * where the linker leads sendmsg(), recvmsg() and the allocators to play.c (--wrap). */
#ifndef PLAY_H
#define PLAY_H

#include "awp.h"

extern struct fault {
    unsigned allocate;  /* this allocation from now on fails; 0: none */
    int send_error;     /* of the next sendmsg() */
    size_t send_most;   /* bytes that one sendmsg() takes; 0: all */
    bool interrupt;     /* every other call ends in EINTR */
    unsigned calls;
} fault;

struct play {
    struct awp *awp;
    int fd;
    uint8_t *heard; /* what the worker said */
    size_t size, at, room;
    struct awp_event event;
};

unsigned open_fds(void);

/* Write bytes, with descriptors. */
void say(struct play *play, const void *bytes, size_t size, const int *fds, unsigned count);

/* A frame whose body is given as a string literal. */
#define FRAME(out, kind, flags, nfds, channel, body) make_frame(out, kind, flags, nfds, channel, body, sizeof body - 1)

size_t make_frame(uint8_t *out, uint8_t kind, uint8_t flags, uint8_t nfds, uint32_t channel, const char *body,
                  size_t size);

#define SAY(play, kind, channel, body) \
    do { \
        uint8_t frame[512]; \
        say(play, frame, FRAME(frame, kind, 0, 0, channel, body), NULL, 0); \
    } while (0)

/* One pass of the worker's; true: it has an event, see play->event. */
bool pass(struct play *play);
void listen_to(struct play *play);

/* The next frame that the worker said, or NULL. */
const uint8_t *heard(struct play *play, size_t *length);

/* Hear frames until one of this kind; its body has to begin so. */
const uint8_t *hear(struct play *play, uint8_t kind, const char *body, size_t size);

#define HEAR(play, kind, body) hear(play, kind, body, sizeof body - 1)

#define WELCOME_HEAD "\xc0\x85\xa7version\x92\x01\x00\xa6worker\x07\xa7" "cluster\xc4\x10" "0123456789abcdef"
#define WELCOME_CAPS "\xa4" "caps\x9b\xa3msg\xa4" "call\xa4" "frag\xa3" "ack\xa3log\xa6handle\xab" "handle.send" \
    "\xaahandle.ack\xabhandle.head\xaelisten.handoff\xadlisten.shared"
#define WELCOME_KINDS "\xa7handles\x91\xaatcp-socket"

int begin(struct play *play, const char *limits);   /* awp_open() */
void active(struct play *play, const char *limits); /* up to READY */
struct awp_message *message_now(struct play *play);
void end(struct play *play);

#endif
