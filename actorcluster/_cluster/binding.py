"""Binding the listening socket that a worker asked for.

Runs in: primary
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import attrs

__all__ = ["Address", "Bound", "PortRequest", "bind"]

Address = tuple[str, int] | str

_DEFAULT_BACKLOG: Final = 511  # Node's default; the kernel caps it at net.core.somaxconn

#: What the kernel says where IPv6 is missing or switched off.
_NO_IPV6: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


@final
@attrs.frozen(kw_only=True)
class PortRequest:
    """A LISTEN request, checked.

    Attributes:
        transport: ``"tcp"``, ``"udp"``, ``"unix"`` or ``"fd"``.
        host: numeric address; None for all, IPv6 and IPv4 on one socket where possible.
        port: 0 for one that the kernel chooses.
        path: of a unix socket, absolute.
        mode: permission bits of the socket file, or None.
        name: of an inherited descriptor.
        backlog: of the listening socket.
        v6only: leave IPv4 out.
        modes: ways of listening that the worker knows, the best first.
        credit: connections that the worker takes before it is asked again.
        key: tells ports apart that are otherwise asked for alike, e.g. two times port 0.
    """

    transport: str
    host: str | None = None
    port: int = 0
    path: str | None = None
    mode: int | None = None
    name: str | int | None = None
    backlog: int = _DEFAULT_BACKLOG
    v6only: bool = False
    modes: Sequence[str] = ("handoff", "shared")
    credit: int = 1
    key: str = ""

    @property
    def identity(self) -> tuple[Any, ...]:
        """What two workers must ask for to share one port."""
        return (self.transport, self.host, self.port, self.path, self.name, self.key)

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> PortRequest:
        """Read a LISTEN frame.

        Raises:
            ValueError: a field is missing or wrong; the text names it.
        """
        known: dict[str, Any] = {}
        for field in attrs.fields(cls):
            value = request.get(field.name)
            if value is not None:
                known[field.name] = value
        for name, kinds in _KINDS.items():
            if name in known and type(known[name]) not in kinds:
                raise ValueError(f"{name} is {known[name]!r}")
        if known.get("transport") not in ("tcp", "udp", "unix", "fd"):
            raise ValueError(f"transport is {known.get('transport')!r}")
        if not 0 <= known.get("port", 0) <= 65_535:
            raise ValueError(f"port is {known['port']!r}")
        if known["transport"] == "unix" and not known.get("path"):
            raise ValueError("path is missing")
        return cls(**known)


_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "transport": (str,),
    "host": (str,),
    "port": (int,),
    "path": (str,),
    "mode": (int,),
    "name": (str, int),
    "backlog": (int,),
    "v6only": (bool,),
    "modes": (list,),
    "credit": (int,),
    "key": (str,),
}


@final
@attrs.frozen(kw_only=True)
class Bound:
    """A bound socket and what to say about it.

    Attributes:
        socket: non-blocking; listening unless it is a datagram socket.
        address: as bound.
        unlink: socket file to remove in the end, or None.
    """

    socket: socket.socket
    address: Address
    unlink: str | None = None

    def close(self) -> None:
        """Close it, and remove its file if it is still the one we made."""
        self.socket.close()
        if self.unlink is not None:
            with contextlib.suppress(OSError):
                os.unlink(self.unlink)


def bind(request: PortRequest, listen_fds: Mapping[str, int] | tuple[int, ...]) -> Bound:
    """Bind what a worker asked for.

    Args:
        request: checked.
        listen_fds: descriptors that the settings allow workers to listen on.

    Raises:
        OSError: what the kernel said; EPERM for a descriptor that the settings do not name.
    """
    if request.transport == "fd":
        return _inherited(request, listen_fds)
    if request.transport == "unix":
        return _bind_unix(request)
    if request.host is not None:
        return _bind_inet(request, request.host)
    try:
        return _bind_inet(request, "::")
    except OSError as exc:
        if exc.errno not in _NO_IPV6 or request.v6only:
            raise
    return _bind_inet(request, "0.0.0.0")  # noqa: S104  (asked for: host=None means all)


def _bind_inet(request: PortRequest, host: str) -> Bound:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind = socket.SOCK_DGRAM if request.transport == "udp" else socket.SOCK_STREAM
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if request.transport == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            only = request.v6only or request.host is not None
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
        sock.bind((host, request.port))
        if request.transport == "tcp":
            sock.listen(request.backlog)
        bound = sock.getsockname()
    except BaseException:
        sock.close()
        raise
    return Bound(socket=sock, address=(bound[0], bound[1]))


def _bind_unix(request: PortRequest) -> Bound:
    assert request.path is not None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made = False
    try:
        sock.setblocking(False)
        sock.bind(request.path)
        made = True
        if request.mode is not None:
            os.chmod(request.path, request.mode)  # before listen(): nobody can connect yet
        sock.listen(request.backlog)
    except BaseException:
        sock.close()
        if made:
            os.unlink(request.path)
        raise
    return Bound(socket=sock, address=request.path, unlink=request.path)


def _inherited(request: PortRequest, listen_fds: Mapping[str, int] | tuple[int, ...]) -> Bound:
    name = request.name
    number: int | None = None
    if isinstance(listen_fds, tuple):
        number = name if isinstance(name, int) and name in listen_fds else None
    elif isinstance(name, str):
        number = listen_fds.get(name)
    elif name in listen_fds.values():
        number = name
    if number is None:
        text = f"listen_fd({name!r}): settings.listen_fds does not name it"
        raise PermissionError(errno.EPERM, text)
    sock = socket.socket(fileno=os.dup(number))
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, f"descriptor {number} is not a listening socket")
        sock.setblocking(False)
        bound = sock.getsockname()
    except BaseException:
        sock.close()
        raise
    address: Address = (bound[0], bound[1]) if isinstance(bound, tuple) else str(bound)
    return Bound(socket=sock, address=address)
