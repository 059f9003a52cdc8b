/* The ports of the conformance actor: each connection gets the worker's id and a line feed, and then
 * back what it sends, until it ends. */
#ifndef ECHO_H
#define ECHO_H

#include "loop.h"

struct echo_port {
    struct echo_port *next;
    struct echo *echo;
    struct awp_listener *listener;
    struct loop_watch accepting; /* mode shared: the listening socket; -1: none */
    struct loop_timer pause;     /* no descriptors are left: accept again later */
};

struct echo {
    struct loop *loop;
    struct awp *awp;
    struct echo_port *ports;
    struct echo_conn *conns;
};

struct echo_port *echo_add(struct echo *echo);      /* NULL: no memory */
void echo_remove(struct echo_port *port);           /* unlisten */
int echo_shared(struct echo_port *port, int fd);    /* accept on it; takes fd */
void echo_serve(struct echo *echo, struct echo_port *port, int fd, const void *head, size_t size); /* takes fd */
void echo_close(struct echo *echo);                 /* all ports and connections */

#endif
