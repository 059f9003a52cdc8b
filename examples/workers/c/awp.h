/* AWP 1.0 for workers in C: one connection to the primary, and what comes and goes through it.
 *
 * The library has no event loop of its own. Watch awp_fd() with whatever you have, for what
 * awp_wants_read() and awp_wants_write() say; call awp_dispatch() when it is ready and when
 * awp_timeout() is over, then take events by awp_next() until there are none. loop.h has a loop for
 * programs without one.
 *
 *     struct awp *primary;
 *     if (awp_open(&primary, &options) < 0) ...
 *     while (awp_next(primary, &event))
 *         switch (event.type) ...
 *
 * Functions that return int give 0, or a negative errno: -EAGAIN for "not now, AWP_ROOM will tell",
 * -EPIPE after the end, -EMSGSIZE for what the primary does not take, -ENOMEM. Nothing here blocks,
 * and nothing is shared between connections or threads. */
#ifndef AWP_H
#define AWP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "awp_v1.h"
#include "mp.h"

struct awp;          /* the connection */
struct awp_listener; /* a shared port that this worker listens on */

/* ---- descriptors ------------------------------------------------------------------------ */

/* An open descriptor that was passed or is to be. Whoever takes a received one sets `fd` to -1, or
 * awp_free() closes it. On sending, it is the library's as soon as the call succeeded, unless
 * `shared`: then the library sends a duplicate. */
struct awp_descriptor {
    int fd;
    uint8_t kind; /* enum awp_handle */
    bool shared;
    const uint8_t *head; /* what was read from it already, to be served before the rest */
    size_t head_size;
};

/* Whether `fd` is what `kind` says, as far as the kernel can tell. */
bool awp_is_kind(int fd, uint8_t kind);

/* ---- messages --------------------------------------------------------------------------- */

/* A message, call or answer that came; yours, until awp_free(). */
struct awp_message {
    bool is_call;
    const char *given_up; /* nobody waits for the answer: the code to fail with; NULL: not so */
    const uint8_t *body; /* one msgpack object, found to be within the profile */
    size_t size;
    uint64_t from;         /* the actor to answer to; 0: the primary */
    char *from_name;       /* its name where the primary passed the message on, or NULL */
    int64_t expires;       /* awp_now() when its sender gives up; INT64_MAX: never */
    struct awp_descriptor *handles;
    unsigned handle_count; /* extension type 1 in the body is an index into them */
    void *user;            /* for the application */
};

/* To whom: nobody named is the main actor of the primary. */
struct awp_address {
    const char *name;
    uint64_t aid;
};

/* A message or answer to be sent. */
struct awp_send {
    struct awp_address to; /* not for answers */
    const void *body;      /* one msgpack object; {NULL, 0} is nil */
    size_t size;
    const struct awp_descriptor *handles;
    unsigned handle_count;
    double ttl; /* ms; 0: no limit */
};

/* Send a message. */
int awp_tell(struct awp *awp, const struct awp_send *what);

/* Ask: one AWP_ANSWER with `tag` follows, whatever happens. `call` is for awp_cancel(). */
int awp_call(struct awp *awp, const struct awp_send *what, void *tag, uint32_t *call);
void awp_cancel(struct awp *awp, uint32_t call);

/* Answer a call; free it afterwards. */
int awp_reply(struct awp_message *call, const struct awp_send *what);
int awp_fail(struct awp_message *call, const char *code, const char *text, size_t size);

/* Dispose of a message, and of the descriptors that nobody took. A call that was not answered gets
 * `not_handled`. */
void awp_free(struct awp_message *message);

/* Return the room of all messages that were taken, now and not within 50 ms. */
void awp_give_credit(struct awp *awp);

/* Keep messages in the mailbox until awp_hold(awp, false): their senders run out of credit. */
void awp_hold(struct awp *awp, bool hold);

/* Whether messages wait in the mailbox: they were held, or answers pile up that nobody reads. */
bool awp_has_mail(const struct awp *awp);

/* Whether all that awp_tell() and awp_call() took will be read before an answer that is given now:
 * answers may overtake large messages. */
bool awp_all_queued(const struct awp *awp);

/* A LOG record; 10 debug, 20 info, 30 warning, 40 error, 50 critical. It may be dropped, when the
 * primary reads too slowly; a later one says how many were. */
void awp_log(struct awp *awp, uint8_t level, const char *logger, const char *text, size_t size);

/* ---- shared ports ----------------------------------------------------------------------- */

/* Ask for a port. `request` is the map of LISTEN in msgpack. AWP_LISTENING or AWP_LISTENER_ENDED
 * follows; in mode handoff then AWP_CONNECTION for each. */
int awp_listen(struct awp *awp, const struct mp_buf *request, void *tag, struct awp_listener **out);

/* So many connections of the listener were closed or given away; `more` may be handed over. */
int awp_closed(struct awp_listener *listener, uint32_t closed, uint32_t more);

/* Leave the port, and free the listener. */
void awp_unlisten(struct awp_listener *listener);

/* ---- life ------------------------------------------------------------------------------- */

/* What the worker can receive, in the order of section 15 of the specification. */
struct awp_limits {
    uint32_t max_frame, max_message, max_partial, window, max_depth, max_fds, fds_in_flight,
        max_calls, max_listeners, max_meta, max_monitors;
};

struct awp_options {
    const char *const *caps;   /* what is offered, ends with NULL; NULL: all of level 2 */
    const uint8_t *kinds;      /* kinds of handles that are taken, ends with 0; NULL: all */
    struct awp_limits limits;  /* 0: as ACTORCLUSTER_LIMITS says, or the default */
    const char *name, *version; /* of this program, for display */
};

/* Connect to the primary that started this process, and say HELLO. -ENOENT: nobody did.
 * -EPROTONOSUPPORT: over a transport that is not known here, or with a side lane. */
int awp_open(struct awp **out, const struct awp_options *options);

/* End the connection at once, and free all but messages: those are the application's still. */
void awp_close(struct awp *awp);

int awp_fd(const struct awp *awp);          /* -1 after AWP_CLOSED */
bool awp_wants_read(const struct awp *awp);
bool awp_wants_write(const struct awp *awp);
int awp_timeout(const struct awp *awp);     /* ms until awp_dispatch() is due; -1: only for awp_fd() */
void awp_dispatch(struct awp *awp);         /* read, write and do all that is due, without waiting */
int64_t awp_now(void);                      /* ms of a clock that only goes forward */

uint64_t awp_worker_id(const struct awp *awp);
const char *awp_name(const struct awp *awp); /* "" if the primary gave none */
bool awp_has(const struct awp *awp, const char *capability); /* is it in force? */

int awp_ready(struct awp *awp);   /* after AWP_WELCOME: messages may come */
int awp_serving(struct awp *awp); /* optional: the application is ready, too */
int awp_leave(struct awp *awp, enum awp_reason reason); /* ask for AWP_STOP */

/* Change what this worker can receive; 0 in `limits` leaves one as it is. */
int awp_set_limits(struct awp *awp, const struct awp_limits *limits);

/* After AWP_STOP, when all is done: fail what is still open, and say GOODBYE. AWP_CLOSED follows.
 * The library does it by itself just before the deadline. */
void awp_goodbye(struct awp *awp);

/* ---- events ----------------------------------------------------------------------------- */

enum awp_event_type {
    AWP_WELCOME,        /* taken in; `body`: config. Call awp_ready() */
    AWP_MESSAGE,        /* `message` */
    AWP_CANCELLED,      /* `message`, a call that you hold: its caller gave up, or its time is over */
    AWP_ANSWER,         /* to `tag`: `message`, or NULL and `error` */
    AWP_BOUNCED,        /* message `number` of ours was not delivered, see `error` */
    AWP_ROOM,           /* what was -EAGAIN may be tried again */
    AWP_LISTENING,      /* `listener`, `tag`, `body`: LISTENING's map; mode shared: `descriptor` */
    AWP_LISTENER_ENDED, /* `listener`, `tag`; `error.code` is NULL if the primary closed it */
    AWP_CONNECTION,     /* `listener`, `tag`, `descriptor`; no listener: it came before awp_unlisten() */
    AWP_SETTINGS,       /* `body`: config has changed */
    AWP_STOP,           /* drain until `deadline`, then awp_goodbye() */
    AWP_CLOSED          /* the last event. Exit with `status` */
};

struct awp_error {
    const char *code; /* a code of section 21; NULL: none */
    const char *text;
};

/* What it points to is valid until the next awp_next(); but messages, listeners and the fd of
 * `descriptor` are yours. */
struct awp_event {
    enum awp_event_type type;
    struct awp_message *message;
    struct awp_listener *listener;
    void *tag;
    struct awp_error error;
    struct awp_descriptor descriptor;
    const uint8_t *body;
    size_t size;
    uint64_t number;
    int64_t deadline; /* by awp_now(); INT64_MAX: none */
    unsigned reason;  /* of STOP; with AWP_CLOSED, the code of an ABORT, 0: none */
    int status;
};

/* Take the next event; false: there is none now. A message leaves its mailbox by this. */
bool awp_next(struct awp *awp, struct awp_event *event);

#endif
