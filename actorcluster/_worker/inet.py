"""Binding an internet socket: one set of rules for shared ports and for a worker's own.

Runs in: both
"""

from __future__ import annotations

import errno
import socket
from typing import Final

__all__ = ["BACKLOG", "NO_FAMILY", "bind_inet"]

#: Node's default; the kernel caps it at net.core.somaxconn.
BACKLOG: Final = 511

#: What the kernel says where an address family is missing or switched off.
NO_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})

#: What a ``trio.SocketStream`` sets. A listening socket that has them hands them down on Linux.
STREAM_OPTIONS: Final = [(socket.TCP_NODELAY, 1)]
if hasattr(socket, "TCP_NOTSENT_LOWAT"):
    STREAM_OPTIONS.append((socket.TCP_NOTSENT_LOWAT, 2**14))


def bind_inet(
    host: str | None,
    port: int,
    *,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    backlog: int | None = None,
    reuse_port: bool = False,
    v6only: bool = False,
) -> socket.socket:
    """Bind a TCP or UDP socket, non-blocking; a TCP socket listens.

    Args:
        host: numeric address; None for all, IPv6 and IPv4 on one socket where there is IPv6.
        port: 0 for one that the kernel chooses.
        kind: ``SOCK_STREAM`` or ``SOCK_DGRAM``.
        backlog: clients that may wait in the kernel; None for the default.
        reuse_port: let other sockets with this option share the port.
        v6only: leave IPv4 out of ``::``.

    Raises:
        OSError: what the kernel said.
    """
    hosts = ["::", "0.0.0.0"] if host is None else [host]  # noqa: S104  (asked for: None means all)
    try:
        return _bind(hosts[0], port, kind, backlog, reuse_port=reuse_port, v6only=v6only)
    except OSError as exc:
        if len(hosts) == 1 or v6only or exc.errno not in NO_FAMILY:
            raise
    return _bind(hosts[1], port, kind, backlog, reuse_port=reuse_port, v6only=v6only)


def _bind(
    host: str,
    port: int,
    kind: socket.SocketKind,
    backlog: int | None,
    *,
    reuse_port: bool,
    v6only: bool,
) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            # Only "::" can take IPv4 clients; elsewhere the option would just reserve the port.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only or host != "::")
        sock.bind((host, port))
        if kind == socket.SOCK_STREAM:
            sock.listen(BACKLOG if backlog is None else backlog)
            for option, value in STREAM_OPTIONS:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
    except BaseException:
        sock.close()
        raise
    return sock
