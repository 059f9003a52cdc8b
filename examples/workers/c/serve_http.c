/* An HTTP server whose connections are handed to it by the primary.
 *
 *     GET /            says who answers
 *     GET /pass/NAME   passes the open connection on to the worker of that name, which answers
 *
 * To the primary it sends ["listening", address]; a call "stats" it answers with the number of
 * requests served and of connections open, a call ["echo", value] with the value. Told to stop, it
 * answers what was asked, and who has connected and not asked yet but does so in time; it closes the
 * rest, and leaves. The port is the first argument, 8000 without. In the environment:
 *
 *     MAX_CONNECTIONS  that are open at once, 64 without
 *     ACCESS_LOG       a file: the path of each request is appended before anything else is done */
#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST = 8192, CREDIT = 64, FIRST_REQUEST_MS = 5000 };

struct server {
    struct loop_timer patience; /* must be first; when stopping, with those who have not asked yet */
    struct awp *awp;
    struct loop loop;
    struct awp_listener *listener; /* NULL: none, or not any more */
    struct client *clients;
    uint64_t served, open, credit;
    int log; /* -1: none */
    bool stopping, impatient;
};

struct client {
    struct loop_watch watch; /* must be first */
    struct client *next, **link;
    struct server *server;
    bool ours;               /* from our listener, which gets room for another at its end */
    bool asked;              /* a request was answered: between two it may be closed at any time */
    bool last;               /* close it behind the answer */
    char request[REQUEST];
    size_t size;             /* of what was read and not answered yet */
    struct mp_buf answer;
    size_t written;
};

/* ---- connections ------------------------------------------------------------------------ */

static void forget(struct client *client)
{
    struct server *server = client->server;
    *client->link = client->next;
    if (client->next)
        client->next->link = client->link;
    loop_forget(&server->loop, &client->watch);
    server->open--;
    if (client->ours && server->listener)
        awp_closed(server->listener, 1, 1);
    mp_free(&client->answer);
    free(client);
}

static void hang_up(struct client *client)
{
    int fd = client->watch.fd;
    forget(client); /* before it is closed: epoll goes on watching what is open elsewhere, too */
    close(fd);
}

static void put_answer(struct client *client, const char *status, const char *text)
{
    char head[256];
    int size = snprintf(head, sizeof head,
                        "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\nConnection: %s\r\n\r\n",
                        status, strlen(text), client->last ? "close" : "keep-alive");
    mp_raw(&client->answer, head, (size_t)size);
    mp_raw(&client->answer, text, strlen(text));
    client->server->served++;
}

/* Give the connection to another worker, with all that was read from it. True: it is gone. */
static bool pass_on(struct client *client, const char *name)
{
    static const uint8_t first = 0;
    struct server *server = client->server;
    struct awp_descriptor handle = {.fd = client->watch.fd, .kind = AWP_HANDLE_TCP_SOCKET,
                                    .head = (uint8_t *)client->request, .head_size = client->size};
    struct mp_buf body = {0};
    mp_array(&body, 2);
    mp_text(&body, "serve");
    mp_ext(&body, AWP_EXT_HANDLE, &first, 1);
    struct awp_send what = {.to.name = name, .body = body.data, .size = body.size,
                            .handles = &handle, .handle_count = 1};
    int error = body.failed ? -ENOMEM : awp_tell(server->awp, &what);
    mp_free(&body);
    if (error)
        return false;
    forget(client); /* the library closes our copy as soon as the other one has arrived */
    return true;
}

static void note(const struct server *server, const char *path)
{
    char line[320];
    int size = snprintf(line, sizeof line, "%s\n", path);
    if (server->log >= 0 && write(server->log, line, (size_t)size) != size)
        perror("serve_http: access log");
}

/* Answer the request that ends at `end`. False: the connection is somebody else's. */
static bool respond(struct client *client, char *end)
{
    char path[256] = "/", text[320];
    size_t size = (size_t)(end - client->request);
    int minor = 0;
    end[-1] = '\0'; /* the last line feed */
    bool good = sscanf(client->request, "%*15[A-Z] %255s HTTP/1.%d", path, &minor) == 2;
    note(client->server, path);
    client->asked = true;
    bool body = strcasestr(client->request, "\nContent-Length:") || strcasestr(client->request, "\nTransfer-Encoding:");
    client->last = !good || minor == 0 || body || client->server->stopping
                || strcasestr(client->request, "\nConnection: close");
    end[-1] = '\n';
    const char *name = awp_name(client->server->awp);
    bool pass = good && strncmp(path, "/pass/", 6) == 0 && strcmp(path + 6, name) != 0;
    if (pass && pass_on(client, path + 6))
        return false;
    snprintf(text, sizeof text, "hello from %.200s, worker %" PRIu64 "\n", name, awp_worker_id(client->server->awp));
    put_answer(client, !good ? "400 Bad Request" : pass ? "503 Service Unavailable" : "200 OK",
               pass ? "nobody to pass it on to\n" : text);
    client->size -= size;
    memmove(client->request, end, client->size);
    return true;
}

/* Go on with what was read. False: the connection is over, or somebody else's. */
static bool proceed(struct client *client)
{
    while (!client->last) {
        char *end = memmem(client->request, client->size, "\r\n\r\n", 4);
        if (!end && client->size == REQUEST) {
            client->last = true;
            put_answer(client, "431 Request Header Fields Too Large", "");
        }
        if (!end)
            break;
        if (!respond(client, end + 4))
            return false;
    }
    uint32_t wanted = client->answer.size ? EPOLLOUT : EPOLLIN;
    bool waits = client->asked || client->server->impatient;
    if (client->answer.failed || (client->server->stopping && waits && !client->answer.size)
        || (wanted != client->watch.events && loop_watch(&client->server->loop, &client->watch, wanted) < 0)) {
        hang_up(client);
        return false;
    }
    return true;
}

static bool is_over(ssize_t result)
{
    return result == 0 || (result < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static void on_ready(struct loop_watch *watch, uint32_t events)
{
    struct client *client = (struct client *)watch;
    struct mp_buf *answer = &client->answer;
    ssize_t done;
    (void)events;
    if (answer->size) {
        done = send(watch->fd, answer->data + client->written, answer->size - client->written,
                    MSG_DONTWAIT | MSG_NOSIGNAL);
        client->written += done > 0 ? (size_t)done : 0;
        if (client->written == answer->size) {
            answer->size = client->written = 0;
            if (client->last) {
                hang_up(client);
                return;
            }
        }
    } else {
        done = recv(watch->fd, client->request + client->size, REQUEST - client->size, MSG_DONTWAIT);
        client->size += done > 0 ? (size_t)done : 0;
    }
    if (is_over(done))
        hang_up(client);
    else
        proceed(client);
}

/* Serve a connection: ours from here on, and `head` is what somebody has read of it. */
static void serve(struct server *server, int fd, const void *head, size_t size, bool ours)
{
    struct client *client = size <= REQUEST ? calloc(1, sizeof *client) : NULL;
    if (!client) {
        close(fd);
        if (ours && server->listener)
            awp_closed(server->listener, 1, 1);
        return;
    }
    client->watch = (struct loop_watch){.fd = fd, .ready = on_ready};
    client->server = server;
    client->ours = ours;
    client->size = size;
    if (size)
        memcpy(client->request, head, size);
    client->next = server->clients;
    client->link = &server->clients;
    if (client->next)
        client->next->link = &client->next;
    server->clients = client;
    server->open++;
    proceed(client);
}

/* ---- the primary ------------------------------------------------------------------------ */

static int listen_on(struct server *server, uint64_t port)
{
    struct mp_buf request = {0};
    mp_map(&request, 5);
    mp_text(&request, AWP_KEY_LISTEN_TRANSPORT);
    mp_text(&request, "tcp");
    mp_text(&request, AWP_KEY_LISTEN_HOST);
    mp_text(&request, "127.0.0.1");
    mp_text(&request, AWP_KEY_LISTEN_PORT);
    mp_uint(&request, port);
    mp_text(&request, AWP_KEY_LISTEN_MODES);
    mp_array(&request, 1);
    mp_text(&request, "handoff");
    mp_text(&request, AWP_KEY_LISTEN_CREDIT);
    mp_uint(&request, server->credit);
    int error = awp_listen(server->awp, &request, server, &server->listener);
    mp_free(&request);
    return error;
}

/* Say where we listen: to the primary's main actor, and to the primary itself. */
static void on_listening(struct server *server, struct mp_reader map)
{
    struct mp_buf body = {0};
    struct mp_item head, key;
    mp_array(&body, 2);
    mp_text(&body, "listening");
    mp_read(&map, &head);
    for (uint32_t i = 0; i < head.count; i++) {
        mp_read(&map, &key);
        const uint8_t *value = map.at;
        mp_skip(&map);
        if (mp_equals(&key, AWP_KEY_LISTENING_ADDRESS))
            mp_raw(&body, value, (size_t)(map.at - value));
    }
    struct awp_send what = {.body = body.data, .size = body.size};
    if (!body.failed)
        awp_tell(server->awp, &what);
    mp_free(&body);
    awp_serving(server->awp);
}

static void answer_stats(struct server *server, struct awp_message *message)
{
    struct mp_buf body = {0};
    mp_map(&body, 2);
    mp_text(&body, "served");
    mp_uint(&body, server->served);
    mp_text(&body, "open");
    mp_uint(&body, server->open);
    struct awp_send what = {.body = body.data, .size = body.size};
    if (!body.failed)
        awp_reply(message, &what);
    mp_free(&body);
}

static void echo(struct awp_message *message, struct mp_reader value)
{
    const uint8_t *begin = value.at;
    mp_skip(&value);
    struct awp_send what = {.body = begin, .size = (size_t)(value.at - begin)};
    awp_reply(message, &what);
}

/* "stats" and ["echo", value] ask; ["serve", handle] brings a connection that another worker has passed on. */
static void on_message(struct server *server, struct awp_message *message)
{
    struct mp_reader in = mp_reader(message->body, message->size);
    struct mp_item item;
    mp_read(&in, &item);
    if (message->is_call && mp_equals(&item, "stats"))
        answer_stats(server, message);
    else if (item.type != MP_ARRAY || item.count != 2 || !mp_read(&in, &item))
        ;
    else if (message->is_call && mp_equals(&item, "echo") && message->handle_count == 0)
        echo(message, in);
    else if (mp_equals(&item, "serve") && message->handle_count == 1) {
        struct awp_descriptor *handle = &message->handles[0];
        serve(server, handle->fd, handle->head, handle->head_size, false);
        handle->fd = -1;
    }
    awp_free(message); /* a call that is none of these gets not_handled */
}

/* Close what is idle, and with those who have just connected have patience once. */
static void close_idle(struct server *server)
{
    for (struct client *client = server->clients, *next; client; client = next) {
        next = client->next;
        if (client->answer.size)
            client->last = true;
        else if (client->asked || server->impatient)
            hang_up(client); /* nothing whole was asked */
    }
}

static void on_impatient(struct loop_timer *timer)
{
    struct server *server = (struct server *)timer;
    server->impatient = true;
    close_idle(server);
}

static void on_stop(struct server *server)
{
    if (!server->stopping)
        loop_set(&server->loop, &server->patience, awp_now() + FIRST_REQUEST_MS);
    server->stopping = true;
    if (server->listener)
        awp_unlisten(server->listener);
    server->listener = NULL;
    close_idle(server);
}

/* False: it was the last. */
static bool on_event(struct server *server, const struct awp_event *event, uint64_t port)
{
    int error;
    switch (event->type) {
    case AWP_WELCOME:
        error = awp_ready(server->awp);
        if (!error && (error = listen_on(server, port)))
            fprintf(stderr, "serve_http: %s\n", strerror(-error));
        break;
    case AWP_LISTENING: on_listening(server, mp_reader(event->body, event->size)); break;
    case AWP_LISTENER_ENDED:
        fprintf(stderr, "serve_http: %s\n", event->error.code ? event->error.code : "the port was closed");
        awp_unlisten(event->listener);
        server->listener = NULL;
        awp_leave(server->awp, AWP_REASON_UNHEALTHY);
        break;
    case AWP_CONNECTION:
        serve(server, event->descriptor.fd, event->descriptor.head, event->descriptor.head_size, event->listener);
        break;
    case AWP_MESSAGE: on_message(server, event->message); break;
    case AWP_ANSWER: awp_free(event->message); break;
    case AWP_STOP: on_stop(server); break;
    case AWP_CLOSED: return false;
    case AWP_CANCELLED: case AWP_BOUNCED: case AWP_ROOM: case AWP_SETTINGS: break;
    }
    return true;
}

static int work(struct server *server, uint64_t port)
{
    for (;;) {
        struct awp_event event;
        while (awp_next(server->awp, &event))
            if (!on_event(server, &event, port))
                return event.status;
        if (server->stopping && !server->clients)
            awp_goodbye(server->awp);
        int error = loop_once(&server->loop);
        if (error) {
            fprintf(stderr, "serve_http: %s\n", strerror(-error));
            return 1;
        }
    }
}

int main(int argc, char **argv)
{
    const char *log = getenv("ACCESS_LOG"), *most = getenv("MAX_CONNECTIONS");
    struct server server = {.patience.over = on_impatient, .credit = most ? strtoull(most, NULL, 10) : CREDIT};
    server.log = log ? open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (log && server.log < 0)
        perror("serve_http: access log");
    struct awp_options options = {.name = "serve_http.c", .version = "1"};
    int error = awp_open(&server.awp, &options);
    if (!error)
        error = loop_open(&server.loop, server.awp);
    if (error) {
        fprintf(stderr, "serve_http: start me from a primary: %s\n", strerror(-error));
        awp_close(server.awp);
        return 2;
    }
    int status = work(&server, argc > 1 ? strtoull(argv[1], NULL, 10) : 8000);
    while (server.clients)
        hang_up(server.clients);
    awp_close(server.awp);
    loop_close(&server.loop);
    return status;
}
