"""What a worker may ask to listen on: arguments checked, names resolved, then one request each.

Runs in: worker
"""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypedDict, Unpack

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

#: Ways of listening, where the primary is to deal.
_DEALT_FIRST: Final = [MODES[SCHED_RR], MODES[SCHED_NONE]]

_MAX_PORT: Final = 65_535
_MAX_BACKLOG: Final = 2**31 - 1
_MOST_CONNECTIONS: Final = 2**63 - 1
#: In milliseconds: as good as for ever.
_LONGEST_WAIT: Final = 1e12

#: What becomes of a connection that finds every worker at its limit.
_WHEN_FULL: Final = ("wait", "drop")


class Wishes(TypedDict, total=False):
    """How connections are to come; see `Actor.listen_tcp`."""

    backlog: int | None
    policy: str | None
    max_connections: int | None
    when_full: str
    wait_timeout: float | None


async def listen_tcp(
    listeners: Listeners,
    port: int,
    *,
    host: str | None = None,
    exclusive: bool = False,
    reuse_port: bool = False,
    ipv6_only: bool = False,
    **wishes: Unpack[Wishes],
) -> list[ClusterListener]:
    """Listen on a TCP port; see `Actor.listen_tcp`."""
    _check_count("port", port, 0, _MAX_PORT)
    asked = _asked(wishes)
    backlog, max_connections = wishes.get("backlog"), wishes.get("max_connections")
    is_own = exclusive or reuse_port
    if is_own:
        _check_not_dealt(asked, "exclusive or reuse_port")
    hosts = await _resolve(host, socket.SOCK_STREAM)

    async def listen(host: str | None, port: int) -> ClusterListener:
        if is_own:
            await trio.lowlevel.checkpoint()
            listeners.check_running()
            sock = bind_inet(host, port, backlog=backlog, reuse_port=reuse_port, v6only=ipv6_only)
            return listeners.add_own(sock, max_connections)
        request: dict[str, Any] = {"transport": "tcp", "host": host, "port": port}
        request |= {"v6only": ipv6_only, **asked}
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
    listeners: Listeners,
    path: str | os.PathLike[str],
    *,
    mode: int | None = None,
    **wishes: Unpack[Wishes],
) -> ClusterListener:
    """Listen on a unix socket; see `Actor.listen_unix`."""
    if mode is not None:
        _check_count("mode", mode, 0, 0o7777)
    request = {"transport": "unix", "path": _absolute(path), "mode": mode, **_asked(wishes)}
    return await listeners.listen(request, wishes.get("max_connections"))


async def listen_fd(
    listeners: Listeners, fd_or_name: int | str, **wishes: Unpack[Wishes]
) -> ClusterListener:
    """Listen on an inherited descriptor; see `Actor.listen_fd`."""
    if isinstance(fd_or_name, bool) or not isinstance(fd_or_name, (int, str)):
        raise TypeError(f"fd_or_name must be an int or a str, not {fd_or_name!r}")
    if isinstance(fd_or_name, str):
        _check_text("fd_or_name", fd_or_name)
    request = {"transport": "fd", "name": fd_or_name, **_asked(wishes)}
    return await listeners.listen(request, wishes.get("max_connections"))


async def bind_udp(
    listeners: Listeners, port: int, *, host: str | None = None, ipv6_only: bool = False
) -> trio.socket.SocketType:
    """Bind a shared datagram socket; see `Actor.bind_udp`."""
    _check_count("port", port, 0, _MAX_PORT)
    address = (await _resolve(host, socket.SOCK_DGRAM))[0]
    request = {"transport": "udp", "host": address, "port": port, "v6only": ipv6_only}
    return await listeners.bind_udp(request)


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
    _check_text("path", text)
    return text


def _asked(wishes: Wishes) -> dict[str, Any]:
    """Check what is wished for, and say it in a request.

    Raises:
        TypeError, ValueError: something is wrong; the text names it.
    """
    backlog, most = wishes.get("backlog"), wishes.get("max_connections")
    if backlog is not None:
        _check_count("backlog", backlog, 1, _MAX_BACKLOG)
    if most is not None:
        _check_count("max_connections", most, 0, _MOST_CONNECTIONS)
    policy, bounds = wishes.get("policy"), _bounds(wishes)
    if policy == SCHED_NONE:
        _check_not_dealt(bounds, f"policy={SCHED_NONE!r}")
    elif bounds and policy is None:
        return {"backlog": backlog, "modes": _DEALT_FIRST, **bounds}
    return {"backlog": backlog, **_choice(policy), **bounds}


def _bounds(wishes: Wishes) -> dict[str, Any]:
    """What is to be closed that no worker takes."""
    bounds: dict[str, Any] = {}
    full, timeout = wishes.get("when_full", "wait"), wishes.get("wait_timeout")
    if full not in _WHEN_FULL:
        raise ValueError(f"when_full must be {' or '.join(map(repr, _WHEN_FULL))}, not {full!r}")
    if full != "wait":
        if wishes.get("max_connections") is None:
            raise ValueError(f"when_full={full!r} needs max_connections, for when is it full?")
        bounds["full"] = full
    if timeout is not None:
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
            raise TypeError(f"wait_timeout must be a number of seconds, not {timeout!r}")
        if not timeout > 0:
            raise ValueError(f"wait_timeout must be more than 0 seconds, not {timeout!r}")
        if timeout != math.inf:
            bounds["wait"] = min(timeout * 1000, _LONGEST_WAIT)
    return bounds


def _check_not_dealt(asked: dict[str, Any], why: str) -> None:
    """Refuse what only a primary can do that accepts and deals."""
    for name, argument in (("full", "when_full"), ("wait", "wait_timeout")):
        if name in asked:
            raise ValueError(f"{argument} needs a primary that accepts: not with {why}")


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
    _check_text("policy", policy)
    if policy == SCHED_NONE:
        return {"modes": [MODES[SCHED_NONE], MODES[SCHED_RR]]}
    return {"modes": _DEALT_FIRST, "policy": policy}


def _check_text(name: str, text: str) -> None:
    """Refuse what cannot be told to the primary."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must have a form in UTF-8, which {text!r} has not") from None


def _check_count(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be {least} to {most}, not {value!r}")
