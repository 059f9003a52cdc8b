"""What a worker may ask to listen on: arguments checked, names resolved, then one request each.

Runs in: worker
"""

from __future__ import annotations

import os
import socket
from typing import Final

import trio

from .listeners import ClusterListener, Listeners

__all__ = ["MODES", "SCHED_NONE", "SCHED_RR", "bind_udp", "listen_fd", "listen_tcp", "listen_unix"]

#: The primary accepts and deals in turn.
SCHED_RR: Final = "round_robin"

#: The workers share the listening socket; the kernel decides who accepts.
SCHED_NONE: Final = "none"

#: What a policy is called on the wire: ways of listening, the best first.
MODES: Final[dict[str | None, list[str]]] = {
    None: ["handoff", "shared"],
    SCHED_RR: ["handoff"],
    SCHED_NONE: ["shared"],
}

_MAX_PORT: Final = 65_535


async def listen_tcp(
    listeners: Listeners,
    port: int,
    *,
    host: str | None = None,
    backlog: int | None = None,
    policy: str | None = None,
    exclusive: bool = False,
    reuse_port: bool = False,
    ipv6_only: bool = False,
    max_connections: int | None = None,
) -> list[ClusterListener]:
    """Listen on a TCP port; see `Actor.listen_tcp`."""
    _check_port(port)
    _check_count("backlog", backlog)
    _check_count("max_connections", max_connections)
    if policy not in (None, SCHED_RR, SCHED_NONE):
        raise ValueError(f"policy must be SCHED_RR, SCHED_NONE or None, not {policy!r}")
    result: list[ClusterListener] = []
    try:
        for address in await _resolve(host, socket.SOCK_STREAM, own=exclusive or reuse_port):
            chosen = result[0].address[1] if result and port == 0 else port
            if exclusive or reuse_port:
                sock = _bind(address, int(chosen), backlog, reuse_port=reuse_port, v6only=ipv6_only)
                result.append(listeners.add_own(sock, max_connections))
                continue
            request = {
                "transport": "tcp",
                "host": address,
                "port": chosen,
                "backlog": backlog,
                "v6only": ipv6_only,
                "modes": MODES[policy],
            }
            result.append(await listeners.listen(request, max_connections))
    except BaseException:
        for listener in result:
            listener.close()
        raise
    return result


async def listen_unix(
    listeners: Listeners, path: str | os.PathLike[str], *, mode: int | None = None
) -> ClusterListener:
    """Listen on a unix socket; see `Actor.listen_unix`."""
    text = _absolute(path)
    if mode is not None and not 0 <= mode <= 0o7777:
        raise ValueError(f"mode must be permission bits, 0 to 0o7777, not {mode!r}")
    return await listeners.listen({"transport": "unix", "path": text, "mode": mode}, None)


async def listen_fd(listeners: Listeners, fd_or_name: int | str) -> ClusterListener:
    """Listen on an inherited descriptor; see `Actor.listen_fd`."""
    return await listeners.listen({"transport": "fd", "name": fd_or_name}, None)


async def bind_udp(
    listeners: Listeners, port: int, *, host: str | None = None
) -> trio.socket.SocketType:
    """Bind a shared datagram socket; see `Actor.bind_udp`."""
    _check_port(port)
    address = (await _resolve(host, socket.SOCK_DGRAM, own=False))[0]
    return await listeners.bind_udp({"transport": "udp", "host": address, "port": port})


async def _resolve(host: str | None, kind: int, *, own: bool) -> list[str | None]:
    """Turn a host name into numeric addresses; the primary is asked for these."""
    if host is None:
        return ["::" if own and socket.has_dualstack_ipv6() else "0.0.0.0" if own else None]  # noqa: S104
    found = await trio.socket.getaddrinfo(host, None, type=kind, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _bind(
    host: str | None, port: int, backlog: int | None, *, reuse_port: bool, v6only: bool
) -> socket.socket:
    """Bind a socket of this worker's own."""
    assert host is not None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only or host != "::")
        sock.bind((host, port))
        sock.listen(511 if backlog is None else backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _absolute(path: str | os.PathLike[str]) -> str:
    """Say it so that the primary, in another directory, means the same file."""
    return os.path.abspath(os.fspath(path))


def _check_port(port: object) -> None:
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port must be an int, not {port!r}")
    if not 0 <= port <= _MAX_PORT:
        raise ValueError(f"port must be 0 to {_MAX_PORT}, not {port!r}")


def _check_count(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int or None, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, not {value!r}")
