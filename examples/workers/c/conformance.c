/* The conformance actor of annex A of the specification: what a test kit talks to. */
#include "echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A command that has to wait, and lets those behind it wait in the mailbox. */
struct busy {
    struct awp_message *message; /* NULL: none */
    uint64_t sent, wanted;       /* tell_back */
    struct mp_reader body;
    struct echo_port *port;      /* listen; NULL: tell_back */
};

struct worker {
    struct awp *awp;
    struct loop loop;
    struct echo echo;
    struct busy busy;
    struct nap *naps;
    uint64_t cancelled;
    bool stopping;
};

/* A `sleep` that runs. */
struct nap {
    struct loop_timer timer;
    struct nap *next;
    struct worker *worker;
    struct awp_message *message;
};

typedef bool command(struct worker *worker, struct awp_message *message, struct mp_reader argument);

/* ---- answers ---------------------------------------------------------------------------- */

static void fail(struct awp_message *message, const char *code, const char *text)
{
    if (message->is_call)
        awp_fail(message, code, text, text ? strlen(text) : 0);
    awp_free(message);
}

/* Answer with what is in `out`, and be done with the message. */
static void answer_with(struct awp_message *message, struct mp_buf *out, struct awp_descriptor *handles, unsigned count)
{
    struct awp_send what = {.body = out->data, .size = out->size, .handles = handles, .handle_count = count};
    int error = out->failed ? -ENOMEM : message->is_call ? awp_reply(message, &what) : -EPIPE;
    for (unsigned i = 0; i < count; i++)
        if (error)
            close(handles[i].fd);
    mp_free(out);
    if (error && error != -EPIPE)
        fail(message, error == -EMSGSIZE ? AWP_ERROR_TOO_LARGE : AWP_ERROR_APP, strerror(-error));
    else
        awp_free(message);
}

static void answer(struct awp_message *message, struct mp_buf *out)
{
    answer_with(message, out, NULL, 0);
}

static void answer_number(struct awp_message *message, uint64_t number)
{
    struct mp_buf out = {0};
    mp_uint(&out, number);
    answer(message, &out);
}

static void answer_nil(struct awp_message *message)
{
    struct mp_buf out = {0};
    mp_nil(&out);
    answer(message, &out);
}

/* ---- level 1 ---------------------------------------------------------------------------- */

static bool echo_back(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    struct mp_buf out = {0};
    (void)worker;
    mp_raw(&out, argument.at, (size_t)(argument.end - argument.at));
    answer(message, &out);
    return true;
}

static bool fail_so(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    struct mp_item text;
    (void)worker;
    if (!mp_read(&argument, &text) || text.type != MP_STR)
        return false;
    if (message->is_call)
        awp_fail(message, AWP_ERROR_APP, (const char *)text.data, text.count);
    awp_free(message);
    return true;
}

static void nap_free(struct nap *nap)
{
    struct nap **link = &nap->worker->naps;
    while (*link != nap)
        link = &(*link)->next;
    *link = nap->next;
    loop_unset(&nap->timer);
    free(nap);
}

static void on_nap_over(struct loop_timer *timer)
{
    struct nap *nap = (struct nap *)timer;
    answer_nil(nap->message);
    nap_free(nap);
}

static bool sleep_for(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    struct mp_item item;
    double ms = 0;
    if (!mp_read(&argument, &item))
        return false;
    switch (item.type) {
    case MP_UINT: ms = (double)item.u; break;
    case MP_FLOAT: ms = item.f; break;
    case MP_INT: case MP_NIL: break;
    default: return false;
    }
    struct nap *nap = message->is_call && !worker->stopping ? calloc(1, sizeof *nap) : NULL;
    if (!nap) { /* nobody waits for the end of one that was told */
        fail(message, worker->stopping ? AWP_ERROR_STOPPING : AWP_ERROR_INTERNAL, NULL);
        return true;
    }
    *nap = (struct nap){.timer.over = on_nap_over, .next = worker->naps, .worker = worker, .message = message};
    worker->naps = nap;
    message->user = nap;
    loop_set(&worker->loop, &nap->timer, awp_now() + (ms > 0 && ms < 1e12 ? (int64_t)ms : ms > 0 ? INT64_MAX / 2 : 0));
    return true;
}

static bool cancel_state(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    (void)argument;
    answer_number(message, worker->cancelled);
    return true;
}

/* Send as many TELLs as there is credit for. */
static void go_on_telling(struct worker *worker)
{
    struct busy *busy = &worker->busy;
    int error = 0;
    while (busy->sent < busy->wanted && !error) {
        struct mp_buf out = {0};
        mp_array(&out, 2);
        mp_uint(&out, busy->sent + 1);
        mp_raw(&out, busy->body.at, (size_t)(busy->body.end - busy->body.at));
        struct awp_send what = {.body = out.data, .size = out.size};
        error = out.failed ? -ENOMEM : awp_tell(worker->awp, &what);
        mp_free(&out);
        if (!error)
            busy->sent++;
    }
    if (error == -EAGAIN || (!error && !awp_all_queued(worker->awp)))
        return;
    if (error)
        fail(busy->message, error == -EMSGSIZE ? AWP_ERROR_TOO_LARGE : AWP_ERROR_INTERNAL, strerror(-error));
    else
        answer_number(busy->message, busy->wanted);
    worker->busy = (struct busy){0};
}

static bool tell_back(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    struct mp_item pair, count;
    if (!mp_read(&argument, &pair) || pair.type != MP_ARRAY || pair.count < 2 || !mp_read(&argument, &count)
        || count.type != MP_UINT)
        return false;
    struct mp_reader body = argument;
    mp_skip(&argument);
    body.end = argument.at;
    worker->busy = (struct busy){.message = message, .wanted = count.u, .body = body};
    go_on_telling(worker);
    return true;
}

static bool log_this(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    struct mp_item pair, level, text;
    if (!mp_read(&argument, &pair) || pair.type != MP_ARRAY || pair.count < 2 || !mp_read(&argument, &level)
        || !mp_read(&argument, &text) || level.type != MP_UINT || level.u > UINT8_MAX || text.type != MP_STR)
        return false;
    awp_log(worker->awp, (uint8_t)level.u, "conformance", (const char *)text.data, text.count);
    answer_nil(message);
    return true;
}

static bool crash(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    (void)worker, (void)message, (void)argument;
    abort();
}

static bool exit_now(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    struct mp_item code;
    (void)worker, (void)message;
    if (!mp_read(&argument, &code) || code.type != MP_UINT)
        return false;
    _exit((int)(code.u & 0xff));
}

/* ---- level 2 ---------------------------------------------------------------------------- */

static bool take_handle(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    struct mp_buf out = {0};
    (void)worker, (void)argument;
    mp_array(&out, message->handle_count);
    for (unsigned i = 0; i < message->handle_count; i++) {
        struct stat status = {0};
        if (fstat(message->handles[i].fd, &status) < 0)
            out.failed = true;
        mp_array(&out, 2);
        mp_uint(&out, message->handles[i].kind);
        mp_uint(&out, status.st_ino);
    }
    answer(message, &out); /* the descriptors are closed with the message */
    return true;
}

static int new_listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 16) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool give_handle(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    enum { MOST = 253 };
    struct awp_descriptor handles[MOST];
    struct mp_item count;
    struct mp_buf out = {0};
    (void)worker;
    if (!mp_read(&argument, &count) || count.type != MP_UINT || count.u > MOST)
        return false;
    mp_array(&out, (uint32_t)count.u);
    for (unsigned i = 0; i < count.u; i++) {
        uint8_t index = (uint8_t)i;
        mp_ext(&out, AWP_EXT_HANDLE, &index, 1);
        handles[i] = (struct awp_descriptor){.fd = new_listener(), .kind = AWP_HANDLE_TCP_LISTENER};
        if (handles[i].fd >= 0)
            continue;
        while (i-- > 0)
            close(handles[i].fd);
        mp_free(&out);
        fail(message, AWP_ERROR_APP, strerror(errno));
        return true;
    }
    if (!message->is_call)
        for (unsigned i = 0; i < count.u; i++)
            close(handles[i].fd);
    answer_with(message, &out, handles, message->is_call ? (unsigned)count.u : 0);
    return true;
}

static bool listen_so(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    struct mp_reader peek = argument;
    struct mp_item map;
    if (!mp_read(&peek, &map) || map.type != MP_MAP)
        return false;
    struct mp_buf request = {0};
    mp_raw(&request, argument.at, (size_t)(argument.end - argument.at));
    struct echo_port *port = echo_add(&worker->echo);
    int error = port ? awp_listen(worker->awp, &request, port, &port->listener) : -ENOMEM;
    mp_free(&request);
    if (error) {
        if (port)
            echo_remove(port);
        fail(message, error == -EPIPE ? AWP_ERROR_STOPPING : AWP_ERROR_INTERNAL, strerror(-error));
    } else
        worker->busy = (struct busy){.message = message, .port = port};
    return true;
}

/* The `address` of LISTENING's map. */
static void answer_address(struct awp_message *message, struct mp_reader map)
{
    struct mp_buf out = {0};
    struct mp_item head, key;
    mp_read(&map, &head);
    for (uint32_t i = 0; i < head.count; i++) {
        mp_read(&map, &key);
        struct mp_reader value = map;
        mp_skip(&map);
        if (mp_equals(&key, AWP_KEY_LISTENING_ADDRESS))
            mp_raw(&out, value.at, (size_t)(map.at - value.at));
    }
    if (!out.size)
        mp_nil(&out);
    answer(message, &out);
}

static bool unlisten(struct worker *worker, struct awp_message *message, struct mp_reader argument)
{
    uint64_t count = 0;
    (void)argument;
    for (; worker->echo.ports; count++)
        echo_remove(worker->echo.ports);
    answer_number(message, count);
    return true;
}

/* ---- the actor -------------------------------------------------------------------------- */

static const struct {
    const char *name;
    command *run;
} commands[] = {
    {"echo", echo_back}, {"fail", fail_so}, {"sleep", sleep_for}, {"cancel_state", cancel_state},
    {"tell_back", tell_back}, {"log", log_this}, {"crash", crash}, {"exit", exit_now},
    {"take_handle", take_handle}, {"give_handle", give_handle}, {"listen", listen_so}, {"unlisten", unlisten},
};

static void on_message(struct worker *worker, struct awp_message *message)
{
    static const uint8_t nil = 0xc0;
    struct mp_reader in = mp_reader(message->body, message->size), argument = mp_reader(&nil, 1);
    struct mp_item array, name;
    awp_give_credit(worker->awp); /* before the command replies */
    if (mp_read(&in, &array) && array.type == MP_ARRAY && array.count && mp_read(&in, &name)) {
        if (array.count > 1) {
            argument.at = in.at;
            mp_skip(&in);
            argument.end = in.at;
        }
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
            if (mp_equals(&name, commands[i].name) && commands[i].run(worker, message, argument))
                return;
    }
    awp_free(message); /* no command: a call gets not_handled */
}

static void on_listening(struct worker *worker, struct awp_event *event)
{
    struct echo_port *port = event->tag;
    int fd = event->descriptor.fd;
    if (fd >= 0 && echo_shared(port, fd) < 0)
        perror("epoll_ctl");
    if (worker->busy.port == port && worker->busy.message) {
        answer_address(worker->busy.message, mp_reader(event->body, event->size));
        worker->busy = (struct busy){0};
    }
}

static void on_listener_ended(struct worker *worker, struct awp_event *event)
{
    struct echo_port *port = event->tag;
    if (worker->busy.port == port && worker->busy.message) {
        fail(worker->busy.message, event->error.code ? event->error.code : AWP_ERROR_INTERNAL, event->error.text);
        worker->busy = (struct busy){0};
    }
    echo_remove(port);
}

static void on_cancelled(struct worker *worker, struct awp_message *message)
{
    struct nap *nap = message->user;
    if (nap) {
        worker->cancelled += strcmp(message->given_up, AWP_ERROR_CANCELLED) == 0;
        fail(message, message->given_up, NULL);
        nap_free(nap);
    } else if (message == worker->busy.message && !worker->busy.port) {
        fail(message, message->given_up, NULL);
        worker->busy = (struct busy){0};
    } /* a `listen` goes on until it is answered */
}

static void on_stop(struct worker *worker)
{
    worker->stopping = true;
    while (worker->naps) {
        fail(worker->naps->message, AWP_ERROR_STOPPING, NULL);
        nap_free(worker->naps);
    }
}

static void on_event(struct worker *worker, struct awp_event *event)
{
    switch (event->type) {
    case AWP_WELCOME: awp_ready(worker->awp); break;
    case AWP_MESSAGE: on_message(worker, event->message); break;
    case AWP_CANCELLED: on_cancelled(worker, event->message); break;
    case AWP_ANSWER: awp_free(event->message); break; /* it asks nobody */
    case AWP_LISTENING: on_listening(worker, event); break;
    case AWP_LISTENER_ENDED: on_listener_ended(worker, event); break;
    case AWP_CONNECTION:
        echo_serve(&worker->echo, event->listener ? event->tag : NULL, event->descriptor.fd,
                   event->descriptor.head, event->descriptor.head_size);
        break;
    case AWP_STOP: on_stop(worker); break;
    case AWP_ROOM: case AWP_BOUNCED: case AWP_SETTINGS: case AWP_CLOSED: break;
    }
}

static int work(struct worker *worker)
{
    for (;;) {
        struct awp_event event;
        while (awp_next(worker->awp, &event)) {
            on_event(worker, &event);
            if (event.type == AWP_CLOSED)
                return event.status;
            if (worker->busy.message && !worker->busy.port)
                go_on_telling(worker);
            awp_hold(worker->awp, worker->busy.message);
        }
        if (worker->busy.message && !worker->busy.port)
            go_on_telling(worker);
        awp_hold(worker->awp, worker->busy.message);
        if (worker->stopping && !worker->busy.message && !awp_has_mail(worker->awp))
            awp_goodbye(worker->awp);
        int error = loop_once(&worker->loop);
        if (error) {
            fprintf(stderr, "conformance: %s\n", strerror(-error));
            return 1;
        }
    }
}

int main(void)
{
    struct worker worker = {.loop.epoll = -1};
    struct awp_options options = {.name = "awp.c", .version = "1"};
    struct rlimit none = {0};
    int error = awp_open(&worker.awp, &options);
    if (error) {
        fprintf(stderr, "conformance: run me under a kit: %s\n", strerror(-error));
        return 2;
    }
    setrlimit(RLIMIT_CORE, &none); /* `crash` leaves no file behind */
    int status = 1;
    if (loop_open(&worker.loop, worker.awp) == 0) {
        worker.echo = (struct echo){.loop = &worker.loop, .awp = worker.awp};
        worker.loop.awp_watch.ready = NULL;
        status = work(&worker);
        while (worker.naps) {
            awp_free(worker.naps->message);
            nap_free(worker.naps);
        }
        if (worker.busy.message)
            awp_free(worker.busy.message);
        echo_close(&worker.echo);
    }
    awp_close(worker.awp);
    loop_close(&worker.loop);
    return status;
}
