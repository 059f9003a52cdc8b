#include "echo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 4096, ACCEPTS = 64, PAUSE_MS = 50 };

/* What is to be written back; nothing is read until it is. */
struct echo_conn {
    struct loop_watch watch;
    struct echo_conn *next, **link;
    struct echo *echo;
    struct echo_port *port; /* NULL: gone, or a socket that we accepted ourselves */
    bool ended;
    size_t from;
    struct mp_buf out;
};

static void conn_free(struct echo_conn *conn)
{
    *conn->link = conn->next;
    if (conn->next)
        conn->next->link = conn->link;
    loop_forget(conn->echo->loop, &conn->watch);
    close(conn->watch.fd);
    if (conn->port)
        awp_closed(conn->port->listener, 1, 1);
    mp_free(&conn->out);
    free(conn);
}

static bool again(ssize_t result)
{
    return result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
}

/* False: it is over. */
static bool go_on(struct echo_conn *conn)
{
    if (conn->from == conn->out.size && !conn->ended) {
        conn->from = conn->out.size = 0;
        if (!mp_reserve(&conn->out, BUFFER))
            return false;
        ssize_t got = recv(conn->watch.fd, conn->out.data, BUFFER, MSG_DONTWAIT);
        if (got > 0)
            conn->out.size = (size_t)got;
        else if (got == 0)
            conn->ended = true;
        else if (!again(got))
            return false;
    }
    if (conn->from < conn->out.size) {
        size_t left = conn->out.size - conn->from;
        ssize_t put = send(conn->watch.fd, conn->out.data + conn->from, left, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put > 0)
            conn->from += (size_t)put;
        else if (!again(put))
            return false;
    }
    return !conn->ended || conn->from < conn->out.size;
}

static void on_ready(struct loop_watch *watch, uint32_t events)
{
    struct echo_conn *conn = (struct echo_conn *)watch;
    (void)events;
    uint32_t wanted = 0;
    if (go_on(conn))
        wanted = conn->from < conn->out.size ? EPOLLOUT : EPOLLIN;
    if (!wanted || (wanted != watch->events && loop_watch(conn->echo->loop, watch, wanted) < 0))
        conn_free(conn);
}

void echo_serve(struct echo *echo, struct echo_port *port, int fd, const void *head, size_t size)
{
    struct echo_conn *conn = calloc(1, sizeof *conn);
    char line[32];
    int length = snprintf(line, sizeof line, "%" PRIu64 "\n", awp_worker_id(echo->awp));
    if (!conn) {
        close(fd);
        if (port)
            awp_closed(port->listener, 1, 1);
        return;
    }
    *conn = (struct echo_conn){.watch = {.fd = fd, .ready = on_ready}, .echo = echo, .port = port};
    conn->link = &echo->conns;
    conn->next = echo->conns;
    if (conn->next)
        conn->next->link = &conn->next;
    echo->conns = conn;
    mp_raw(&conn->out, line, (size_t)length);
    mp_raw(&conn->out, head, size);
    if (conn->out.failed || loop_watch(echo->loop, &conn->watch, EPOLLOUT) < 0)
        conn_free(conn);
    else
        on_ready(&conn->watch, EPOLLOUT);
}

/* ---- ports ------------------------------------------------------------------------------ */

static struct echo_port *port_of(struct loop_watch *watch)
{
    return (struct echo_port *)(void *)((char *)watch - offsetof(struct echo_port, accepting));
}

static void on_accept(struct loop_watch *watch, uint32_t events)
{
    struct echo_port *port = port_of(watch);
    (void)events;
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            echo_serve(port->echo, NULL, fd, NULL, 0);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            loop_watch(port->echo->loop, watch, 0); /* they wait in the kernel's queue meanwhile */
            loop_set(port->echo->loop, &port->pause, awp_now() + PAUSE_MS);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void on_pause_over(struct loop_timer *timer)
{
    struct echo_port *port = (struct echo_port *)(void *)((char *)timer - offsetof(struct echo_port, pause));
    loop_watch(port->echo->loop, &port->accepting, EPOLLIN);
}

struct echo_port *echo_add(struct echo *echo)
{
    struct echo_port *port = calloc(1, sizeof *port);
    if (!port)
        return NULL;
    *port = (struct echo_port){.next = echo->ports, .echo = echo, .accepting = {.fd = -1, .ready = on_accept}};
    port->pause.over = on_pause_over;
    echo->ports = port;
    return port;
}

int echo_shared(struct echo_port *port, int fd)
{
    port->accepting.fd = fd;
    return loop_watch(port->echo->loop, &port->accepting, EPOLLIN);
}

void echo_remove(struct echo_port *port)
{
    struct echo_port **link = &port->echo->ports;
    while (*link != port)
        link = &(*link)->next;
    *link = port->next;
    for (struct echo_conn *conn = port->echo->conns; conn; conn = conn->next)
        if (conn->port == port)
            conn->port = NULL; /* it is served on */
    loop_unset(&port->pause);
    if (port->accepting.fd >= 0) {
        loop_forget(port->echo->loop, &port->accepting);
        close(port->accepting.fd);
    }
    if (port->listener)
        awp_unlisten(port->listener);
    free(port);
}

void echo_close(struct echo *echo)
{
    while (echo->conns)
        conn_free(echo->conns);
    while (echo->ports)
        echo_remove(echo->ports);
}
