"""What a worker may ask to listen on: arguments checked, names resolved, then one request each.

Runs in: worker
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from .inet import NO_FAMILY, bind_inet
from .listeners import ClusterListener, Listeners

__all__ = ["MODES", "SCHED_NONE", "SCHED_RR", "bind_udp", "listen_fd", "listen_tcp", "listen_unix"]

#: The primary accepts and deals in turn.
SCHED_RR: Final = "round_robin"

#: The workers share the listening socket; the kernel decides who accepts.
SCHED_NONE: Final = "none"

#: What a policy is called on the wire.
MODES: Final = {SCHED_RR: "handoff", SCHED_NONE: "shared"}

_MAX_PORT: Final = 65_535
_MAX_BACKLOG: Final = 2**31 - 1


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
    _check_count("port", port, 0, _MAX_PORT)
    if backlog is not None:
        _check_count("backlog", backlog, 1, _MAX_BACKLOG)
    if max_connections is not None:
        _check_count("max_connections", max_connections, 1, None)
    choice = _choice(policy)
    hosts = await _resolve(host, socket.SOCK_STREAM)

    async def listen(host: str | None, port: int) -> ClusterListener:
        if exclusive or reuse_port:
            await trio.lowlevel.checkpoint()
            listeners.check_running()
            sock = bind_inet(host, port, backlog=backlog, reuse_port=reuse_port, v6only=ipv6_only)
            return listeners.add_own(sock, max_connections)
        request: dict[str, Any] = {"transport": "tcp", "host": host, "port": port}
        request |= {"backlog": backlog, "v6only": ipv6_only, **choice}
        return await listeners.listen(request, max_connections)

    result: list[ClusterListener] = []
    missing: OSError | None = None
    try:
        for one in hosts:
            try:
                result.append(await _listen_alike(listen, one, port, result))
            except OSError as exc:
                # Name services know addresses of a family that this machine has switched off.
                if exc.errno not in NO_FAMILY or len(hosts) == 1:
                    raise
                missing = exc
    except BaseException:
        for listener in result:
            listener.close()
        raise
    if missing is not None and not result:
        raise missing
    return result


async def _listen_alike(
    listen: Callable[[str | None, int], Awaitable[ClusterListener]],
    host: str | None,
    port: int,
    before: list[ClusterListener],
) -> ClusterListener:
    """Listen on the next address; where the port was 0 on the same number, if it is free there."""
    if port == 0 and before:
        try:
            return await listen(host, int(before[0].address[1]))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
    return await listen(host, port)


async def listen_unix(
    listeners: Listeners, path: str | os.PathLike[str], *, mode: int | None = None
) -> ClusterListener:
    """Listen on a unix socket; see `Actor.listen_unix`."""
    if mode is not None:
        _check_count("mode", mode, 0, 0o7777)
    request = {"transport": "unix", "path": _absolute(path), "mode": mode}
    return await listeners.listen(request, None)


async def listen_fd(listeners: Listeners, fd_or_name: int | str) -> ClusterListener:
    """Listen on an inherited descriptor; see `Actor.listen_fd`."""
    if isinstance(fd_or_name, bool) or not isinstance(fd_or_name, (int, str)):
        raise TypeError(f"fd_or_name must be an int or a str, not {fd_or_name!r}")
    return await listeners.listen({"transport": "fd", "name": fd_or_name}, None)


async def bind_udp(
    listeners: Listeners, port: int, *, host: str | None = None
) -> trio.socket.SocketType:
    """Bind a shared datagram socket; see `Actor.bind_udp`."""
    _check_count("port", port, 0, _MAX_PORT)
    address = (await _resolve(host, socket.SOCK_DGRAM))[0]
    return await listeners.bind_udp({"transport": "udp", "host": address, "port": port})


async def _resolve(host: str | None, kind: int) -> list[str | None]:
    """Turn a host name into numeric addresses; the primary is asked for these."""
    if host is None:
        return [None]
    found = await trio.socket.getaddrinfo(host, None, type=kind, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys(_numeric(entry[4]) for entry in found))


def _numeric(address: tuple[Any, ...]) -> str:
    """Write an address down; the fourth part of an IPv6 one is its scope, if it is link-local."""
    host = str(address[0])
    return f"{host}%{address[3]}" if len(address) > 3 and address[3] and "%" not in host else host


def _absolute(path: str | os.PathLike[str]) -> str:
    """Say it so that the primary, in another directory, means the same file."""
    text = os.path.abspath(os.fsdecode(path))
    if "\0" in text:
        raise ValueError("path has a NUL character in it: it must name a file")
    return text


def _choice(policy: str | None) -> dict[str, Any]:
    """What to ask for: the ways of listening, the best first, and how to deal.

    None leaves the choice to the primary. It alone knows which other policies it has.
    """
    if policy is None:
        return {"modes": None}
    if not isinstance(policy, str):
        raise TypeError(f"policy must be the name of one, or None, not {policy!r}")
    if not policy:
        raise ValueError("policy must not be empty")
    if policy == SCHED_NONE:
        return {"modes": [MODES[SCHED_NONE], MODES[SCHED_RR]]}
    return {"modes": [MODES[SCHED_RR], MODES[SCHED_NONE]], "policy": policy}


def _check_count(name: str, value: object, least: int, most: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < least or (most is not None and value > most):
        limits = f"{least} to {most}" if most is not None else f"{least} or more"
        raise ValueError(f"{name} must be {limits}, not {value!r}")
