/* What the parts of the library know of each other.
 *
 *     awp_in.c       bytes and descriptors in: recvmsg, groups, frames
 *     awp_out.c      bytes and descriptors out: queues, fragments, sendmsg
 *     awp_session.c  handshake, settings, shutdown
 *     awp_limits.c   limits and capabilities by name
 *     awp_mail.c     messages, calls and answers that come: fragments, limits, the mailbox
 *     awp_send.c     messages, calls and answers that go; credit, acknowledgements
 *     awp_answers.c  how what we sent ends
 *     awp_listen.c   shared ports
 *     awp_handles.c  descriptors: what they are, who closes them, how envelopes tell of them
 *     awp_body.c     the bodies of frames: reading and writing what they have in common
 *     awp_watch.c    ends the process when the primary is gone and the program is busy
 *     awp.c          opening, closing, time, events
 *
 * A frame goes from awp_in.c to the part that its kind belongs to, which changes the books, makes
 * events for the application and queues answers. Nothing is written before the whole pass is done,
 * nothing waits, and no function is entered twice: the application is never called back. */
#ifndef AWP_INTERNAL_H
#define AWP_INTERNAL_H

#include "awp.h"

enum {
    AWP_GROUP = 253,              /* descriptors that fit into one sendmsg */
    AWP_PIECE = 256 * 1024,       /* size of a fragment */
    AWP_LEAST_COST = 256,         /* of a message, see AWP-FC-1 */
    AWP_TEXT = 4096,              /* of an ERROR or a detail; longer ones are cut */
    AWP_GATHER_MS = 50,           /* how long CREDIT and ACK are gathered */
    AWP_LOG_BACKLOG = 64 * 1024,  /* output beyond which LOG frames are dropped */
    AWP_ACK_EVERY = 500,
    AWP_UNKNOWN_FRAMES = 100,     /* AWP-EV-2: how many of them are answered */
    AWP_ABORT_MS = 1000,          /* how long ABORT may take to be written */
    AWP_LINGER_MS = 5000,         /* how long the end of the connection may take */
    AWP_BUCKETS = 256
};

/* ---- descriptors: awp_handles.c --------------------------------------------------------- */

/* Descriptors that came with one recvmsg, or that belong to one frame. */
struct awp_group {
    struct awp_group *next;
    unsigned count;
    bool truncated;
    int fds[];
};

void awp_close_fds(const int *fds, unsigned count);
void awp_group_free(struct awp_group *group); /* and close what is in it */

/* ---- frames ----------------------------------------------------------------------------- */

struct awp_frame {
    uint8_t kind, flags, nfds;
    uint32_t channel;
    const uint8_t *header, *body;
    uint32_t length;
    struct mp_reader envelope, payload; /* set by awp_split() */
    struct awp_group *fds;              /* NULL: none were declared, or they are lost */
    bool lost;
};

struct awp_out_frame {
    struct awp_out_frame *next;
    struct mp_buf bytes;
    size_t sent;
    int *fds;
    unsigned fd_count;
    uint64_t serial; /* counts urgent frames */
};

struct awp_out_queue {
    struct awp_out_frame *first, *last;
    size_t bytes; /* not written yet */
};

/* A TELL, CALL or REPLY that waits for its turn, or goes in fragments. */
struct awp_out_message {
    struct awp_out_message *next;
    uint8_t kind;
    bool begun;
    uint32_t channel;
    uint64_t cost;
    struct mp_buf envelope, payload;
    size_t at;
    int *fds;
    unsigned fd_count;
};

struct awp_out_lane {
    struct awp_out_message *first, *last;
};

/* Descriptors that were sent and that the primary has not acknowledged. */
struct awp_unacked {
    struct awp_unacked *next;
    uint64_t number;
    int *fds;
    unsigned fd_count;
};

/* ---- channels --------------------------------------------------------------------------- */

/* An incoming message whose last fragment is not here yet. */
struct awp_partial {
    uint8_t kind;
    struct mp_buf envelope, payload;
    size_t total;           /* of the payload, also of pieces that were dropped */
    bool dropped;
    const char *fault;      /* error code, when it is not going to be delivered */
    struct awp_group *fds;
    bool lost;
    unsigned nfds;
};

enum awp_channel_use { AWP_IN_TELL, AWP_IN_CALL, AWP_OUT_TELL, AWP_OUT_CALL, AWP_LISTENER };

struct awp_channel_entry {
    struct awp_channel_entry *next;
    uint32_t id;
    enum awp_channel_use use;
    struct awp_partial *partial;   /* of a message or an answer */
    struct awp_mail *call;         /* AWP_IN_CALL, once it is complete */
    struct awp_listener *listener; /* AWP_LISTENER */
    void *tag;                     /* AWP_OUT_CALL */
    bool told;                     /* AWP_OUT_CALL: its end; what comes now is dropped */
    uint64_t cost;                 /* AWP_OUT_CALL, AWP_OUT_TELL */
    int64_t expires;               /* AWP_OUT_CALL */
};

/* ---- messages, connections, events ------------------------------------------------------ */

/* A message with what the library has to know of it. The application sees `shown`. */
struct awp_mail {
    struct awp_message shown; /* must be first */
    struct awp *awp;          /* NULL after awp_close() */
    struct awp_mail *next;    /* in the mailbox */
    struct awp_mail *next_call, **link_call; /* among the calls that are open */
    uint32_t channel;
    uint64_t cost;
    bool open;  /* a call that was not answered */
    bool taken; /* out of the mailbox */
    bool told;  /* AWP_CANCELLED was queued */
    struct mp_buf envelope, payload; /* what `shown` points into */
};

/* A connection that was handed over and is not the application's yet. */
struct awp_conn {
    struct awp_conn *next;
    uint64_t number;
    int fd; /* -1: rejected */
    uint8_t kind;
    bool taken;            /* CONN_REPLY says so */
    uint64_t serial;       /* of that CONN_REPLY, which has to be written first */
    uint8_t *head;
    size_t head_size;
};

struct awp_listener {
    struct awp *awp;
    struct awp_listener *next;
    uint32_t channel;
    void *tag;
    bool listening, ended;
    uint64_t credit;   /* connections that may still come */
    uint64_t arrived;  /* number of the last connection that came */
    uint64_t closed;   /* as CONN_CREDIT counts them */
    struct awp_conn *first, *last;
};

struct awp_event_node {
    struct awp_event_node *next;
    struct awp_event event;
    struct mp_buf kept; /* what the event points into */
};

/* ---- the connection --------------------------------------------------------------------- */

struct awp {
    int fd;
    enum awp_state state;
    bool welcomed, eof, write_dead, aborting, shut, closed_told;
    int64_t give_up_at; /* the connection is closed then, come what may */
    int status;
    unsigned abort_code;
    uint64_t worker_id;
    char *name;
    struct awp_watch *watch;
    struct awp_limits limits, peer;  /* what we can receive, what the primary can */
    struct awp_limits *pending;      /* limits by SETTINGS that wait for their SETTINGS_ACK */
    size_t pending_count;
    uint32_t caps_offered, caps_in_force; /* bits, see awp_cap_bit() */
    uint8_t kinds[256], peer_kinds[256]; /* 1: taken */
    uint8_t log_level;
    uint64_t logs_dropped;
    /* awp_in.c */
    struct mp_buf in;
    size_t in_at;                    /* where the first frame in it begins */
    struct awp_group *groups, **groups_end;
    unsigned unclaimed, unknown;
    /* awp_out.c */
    struct awp_out_queue ordered, urgent;
    struct awp_out_lane messages, answers;
    bool answers_turn, ready_written;
    size_t waiting_bytes;            /* in the lanes */
    uint64_t urgent_queued, urgent_written;
    int64_t retry_at;                /* after ETOOMANYREFS */
    struct awp_unacked *unacked, **unacked_end;
    uint64_t fd_frames_sent;
    unsigned fds_out;                /* sent, not acknowledged */
    /* awp_handles.c */
    uint64_t fd_frames;              /* that came */
    uint64_t *lost;
    size_t lost_count;
    bool handle_ack_due;
    /* channels */
    struct awp_channel_entry *buckets[AWP_BUCKETS];
    uint32_t next_channel;
    unsigned listeners_open;
    /* messages */
    struct awp_mail *mailbox, **mailbox_end, *calls;
    unsigned calls_open;
    size_t partial_bytes, partial_heads; /* payloads and envelopes of unfinished messages */
    uint64_t received, acked;        /* numbers of messages that came */
    uint64_t in_use, due;            /* of our window: charged, and of that to be returned */
    int64_t flush_at;                /* when ACK and CREDIT go out */
    int64_t credit;                  /* of the primary's window */
    uint64_t spent;                  /* charged to it and not returned */
    uint64_t sent;                   /* messages of ours */
    bool held, want_room;
    int64_t calls_due_at;            /* when the first of our calls may be over */
    struct awp_listener *listeners;
    /* shutdown */
    int64_t deadline, fail_at;
    bool stopping, peer_done, goodbye_wanted;
    struct awp_event_node *events, **events_end, *shown;
};

/* awp.c */
struct awp_event_node *awp_event(struct awp *awp, enum awp_event_type type); /* NULL: no memory */
void awp_event_error(struct awp_event_node *node, const char *code, const char *text, size_t size);
struct awp_channel_entry *awp_find(struct awp *awp, uint32_t id);
struct awp_channel_entry *awp_channel_open(struct awp *awp, uint32_t id, enum awp_channel_use use);
uint32_t awp_channel_new(struct awp *awp); /* an id of ours that is free */
void awp_channel_end(struct awp *awp, struct awp_channel_entry *entry);
void awp_end(struct awp *awp); /* close the socket, tell of it */
double awp_wall_clock(void);   /* seconds since 1970 */

/* awp_in.c */
void awp_receive(struct awp *awp);
bool awp_split(struct awp *awp, struct awp_frame *frame, bool *broken);

/* awp_out.c: a frame begins with awp_begin(), gets its body, and is queued by awp_push(). */
struct mp_buf awp_begin(uint8_t kind, uint8_t flags, uint32_t channel);
int awp_push(struct awp *awp, struct mp_buf *bytes, int *fds, unsigned fd_count);
void awp_message_push(struct awp *awp, struct awp_out_message *message);
void awp_message_drop(struct awp *awp, struct awp_out_message *message);
struct awp_out_message *awp_message_find(struct awp_out_lane *lane, uint32_t channel);
void awp_flush(struct awp *awp);
void awp_abandon_messages(struct awp *awp); /* that wait in front of the queues */
void awp_abandon_output(struct awp *awp);   /* everything */
size_t awp_backlog(const struct awp *awp);
void awp_handles_acked(struct awp *awp, uint64_t upto);

/* awp_session.c */
void awp_abort(struct awp *awp, enum awp_abort code, const char *detail, const uint8_t *header);
void awp_abort_at(struct awp *awp, const struct awp_frame *frame, enum awp_abort code, const char *detail);
int awp_hello(struct awp *awp, const struct awp_options *options, const char *worker,
              const char *token);
void awp_on_session(struct awp *awp, struct awp_frame *frame); /* all kinds of L0, and SETTINGS */
void awp_session_due(struct awp *awp, int64_t now);
void awp_say_goodbye(struct awp *awp); /* when it is wanted and nothing waits in front of it */
void awp_at_eof(struct awp *awp);

/* awp_limits.c: limits, where 0 says nothing, and capabilities as bits */
void awp_limits_default(struct awp_limits *limits);
void awp_limits_merge(struct awp_limits *limits, const struct awp_limits *some);
void awp_limits_raise(struct awp_limits *limits, const struct awp_limits *wanted); /* all but the window */
void awp_limits_from_text(struct awp_limits *limits, const char *text); /* ACTORCLUSTER_LIMITS */
bool awp_limits_read(struct awp_limits *limits, struct mp_reader in);
void awp_limits_write(struct mp_buf *out, const struct awp_limits *limits, bool all); /* or those not 0 */
const char *const *awp_caps_known(void);
uint32_t awp_cap_bit(const char *name, size_t size); /* 0: unknown here */
bool awp_in_force(const struct awp *awp, const char *capability);

/* awp_mail.c */
void awp_on_message(struct awp *awp, struct awp_frame *frame, bool refuse);
void awp_on_cancel(struct awp *awp, struct awp_frame *frame);
void awp_partial_free(struct awp *awp, struct awp_channel_entry *entry);
struct awp_mail *awp_mail_take(struct awp *awp); /* the oldest; its room is returned */
void awp_mail_free(struct awp_mail *mail);
void awp_mail_due(struct awp *awp, int64_t now); /* calls whose time is over */
int64_t awp_mail_next_due(const struct awp *awp);
void awp_call_closed(struct awp_mail *mail);     /* it was answered */
void awp_fail_calls(struct awp *awp, const char *code); /* all that came and are open */

/* awp_answers.c: ERROR and its like, and how our calls end */
void awp_on_error(struct awp *awp, struct awp_frame *frame);
void awp_on_undeliverable(struct awp *awp, struct awp_frame *frame);
void awp_on_unimplemented(struct awp *awp, struct awp_frame *frame);
/* One of our calls has ended: with a message, or with an error. */
void awp_answered(struct awp *awp, struct awp_channel_entry *entry, struct awp_mail *mail, const char *code,
                  const char *text, size_t size);
void awp_lose_calls(struct awp *awp, const char *code); /* all of ours */
void awp_calls_due(struct awp *awp, int64_t now);       /* those of ours whose time is over */
void awp_cancel_unfinished(struct awp *awp);

/* awp_send.c */
void awp_on_credit(struct awp *awp, struct awp_frame *frame);
void awp_on_ack(struct awp *awp, struct awp_frame *frame);
void awp_flush_log(struct awp *awp); /* say how many records were dropped */
void awp_window_changed(struct awp *awp, int64_t difference);
uint64_t awp_cost(size_t envelope, size_t payload, uint32_t window); /* of a message (AWP-FC-1) */
void awp_return(struct awp *awp, uint64_t cost); /* a message left its mailbox, or never came there */
void awp_flush_books(struct awp *awp, bool now); /* CREDIT and ACK */
void awp_send_error(struct awp *awp, uint32_t channel, const char *code, const char *text, size_t size);
void awp_bounce(struct awp *awp, uint64_t number, const struct mp_item *to, const char *code);

/* awp_listen.c */
void awp_on_listen(struct awp *awp, struct awp_frame *frame, bool refuse);
void awp_listener_failed(struct awp *awp, struct awp_channel_entry *entry, const char *code,
                         const char *text, size_t size);
bool awp_next_connection(struct awp *awp, struct awp_event *event, uint8_t **head);
void awp_listeners_end(struct awp *awp);
void awp_reject_waiting(struct awp *awp);
void awp_listener_free(struct awp_listener *listener);

/* awp_handles.c */
void awp_claim(struct awp *awp, struct awp_frame *frame); /* deal the oldest group to it */
void awp_unclaim(struct awp_frame *frame);                /* close what is left of it */
void awp_on_handle_ack(struct awp *awp, struct awp_frame *frame);
void awp_flush_handle_ack(struct awp *awp);
/* `handles` of an envelope: NULL, and they own what was in `group`; or an error code. `heads` are
 * the bytes of all heads together. */
const char *awp_read_handles(const struct awp *awp, struct mp_reader in, struct awp_group *group, unsigned nfds,
                             struct awp_descriptor **out, size_t *heads);
/* The same for a message of ours: writes them, and gives descriptors that are the library's. */
int awp_check_handles(const struct awp *awp, const struct awp_send *what, size_t *heads);
int awp_write_handles(struct mp_buf *out, const struct awp_send *what, int **fds);
const char *awp_kind_name(uint8_t kind); /* NULL: unknown */
uint8_t awp_kind_named(const struct mp_item *name); /* 0: unknown */

/* awp_body.c, for bodies that awp_split() found well-formed */
bool awp_array(struct mp_reader *in, uint32_t *count); /* an array; nil is an empty one */
bool awp_map(struct mp_reader *in, uint32_t *count);   /* a map; nil is an empty one */
/* The next value: its head, and where all of it stands. Behind the last element of an envelope
 * there is nil, again and again. */
void awp_value(struct mp_reader *in, struct mp_item *item, struct mp_reader *whole);
bool awp_number(const struct mp_item *item, double *value); /* finite, and not negative */
void awp_put_text(struct mp_buf *out, const char *text, size_t size);
void awp_put_error(struct mp_buf *out, const char *code, const char *text, size_t size);
bool awp_read_error(struct mp_reader in, struct mp_item *code, struct mp_item *text);

/* awp_watch.c */
struct awp_watch *awp_watch_start(int fd);
void awp_watch_stand_down(struct awp_watch *watch); /* told to stop, or the end was seen */
void awp_watch_stop(struct awp_watch *watch, int fd);

#endif
