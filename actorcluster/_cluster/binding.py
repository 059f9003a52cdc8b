"""What a worker asked to listen on, checked; and binding it.

Runs in: primary

A request comes from another process, maybe of another author, so nothing in it is believed: what
is wrong is a ``ValueError`` that names the field, what the kernel refuses an ``OSError``, and there
is no third way out of here.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import attrs

from .._worker.inet import BACKLOG, bind_inet
from .._worker.settings import ListenFds
from .._worker.unixpath import bind_unix, remove_socket
from .activation import passed
from .bounds import WHEN_FULL

__all__ = ["Address", "Bound", "ListenFds", "PortRequest", "bind"]

Address = tuple[str, int] | str


_LONGEST_KEY: Final = 255
_MOST_BACKLOG: Final = 2**31 - 1
#: In milliseconds; who means for ever says nothing.
_LONGEST_WAIT: Final = 2**63


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
        backlog: of the listening socket; None for the default.
        v6only: leave IPv4 out.
        modes: ways of listening that the worker knows, the best first; None: it leaves the choice.
        credit: connections that the worker takes before it is asked again.
        key: tells ports apart that are otherwise asked for alike, e.g. two times port 0.
        data: given to all workers that use the port.
        policy: how to deal; None: the primary's.
        limit: connections that the worker may have open; None: as many as come.
        wait: milliseconds that a connection waits for a worker; None: no limit.
        full: what becomes of one that finds all workers at their limit; None: it waits.
    """

    transport: str
    host: str | None = None
    port: int = 0
    path: str | None = None
    mode: int | None = None
    name: str | int | None = None
    backlog: int | None = None
    v6only: bool = False
    modes: Sequence[str] | None = None
    credit: int = 1
    key: str = ""
    data: Any = None
    policy: str | None = None
    limit: int | None = None
    wait: float | None = None
    full: str | None = None

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> PortRequest:
        """Read a LISTEN frame.

        Raises:
            ValueError: a field is missing or wrong; the text names it.
        """
        known: dict[str, Any] = {}
        for name, check in _CHECKS.items():
            value = request.get(name)
            if value is not None:
                if not check(value):
                    raise ValueError(f"{name} is {str(value)[:100]!r}")
                known[name] = value
        needed = ("transport", *_NEEDED.get(known.get("transport", ""), ()))
        if missing := [name for name in needed if name not in known]:
            raise ValueError(f"{missing[0]} is missing")
        if "host" in known:
            known["host"] = str(ipaddress.ip_address(known["host"]))
        return cls(**known)

    def identity(self, listen_fds: ListenFds) -> tuple[Any, ...]:
        """What two workers must ask for to share one port.

        Raises:
            OSError: the settings of this worker do not name the descriptor, or it is not open.
        """
        if self.transport == "fd":
            status = os.fstat(_allowed(self.name, listen_fds))
            return ("fd", status.st_dev, status.st_ino)
        if self.transport == "unix":
            return ("unix", self.path)
        return (self.transport, self.host, self.port, self.key)

    def is_met_by(self, bound: PortRequest) -> bool:
        """Whether who asks for this lets in the same clients as what another asked for does."""
        is_all = self.host in (None, "::")
        same_family = not is_all or self.v6only == bound.v6only
        return same_family and self.mode in (None, bound.mode)

    def identity_of(self, port: int) -> tuple[Any, ...]:
        """What a worker asks for that wants the same, but names the port."""
        return (self.transport, self.host, port, "")


def _is(kind: type, fits: Callable[[Any], bool] = lambda _: True) -> Callable[[Any], bool]:
    """Make a check; ``type``, not ``isinstance``: a bool is no number here."""
    return lambda value: type(value) is kind and fits(value)


def _is_numeric_address(text: str) -> bool:
    """Whether it needs no looking up, which would hold up everybody here."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "transport": lambda value: value in ("tcp", "udp", "unix", "fd"),
    "host": _is(str, _is_numeric_address),
    "port": _is(int, lambda value: 0 <= value <= 65_535),
    "path": _is(str, lambda value: value.startswith("/") and "\0" not in value),
    "mode": _is(int, lambda value: 0 <= value <= 0o7777),
    "name": lambda value: type(value) in (str, int),
    "backlog": _is(int, lambda value: 0 <= value <= _MOST_BACKLOG),
    "v6only": _is(bool),
    "modes": _is(list),
    "credit": _is(int, lambda value: value >= 0),
    "key": _is(str, lambda value: len(value) <= _LONGEST_KEY),
    "data": lambda _: True,
    "policy": _is(str, lambda value: 0 < len(value) <= _LONGEST_KEY),
    "limit": _is(int, lambda value: value >= 0),
    "wait": lambda value: type(value) in (int, float) and 0 <= value <= _LONGEST_WAIT,
    "full": lambda value: value in WHEN_FULL,
}

#: What a request of these transports must have.
_NEEDED: Final = {"unix": ("path",), "fd": ("name",)}


@final
@attrs.frozen(kw_only=True)
class Bound:
    """A bound socket and what to say about it.

    Attributes:
        socket: non-blocking; listening unless it is a datagram socket.
        address: as bound.
        file: of a unix socket that we made: device and inode.
    """

    socket: socket.socket
    address: Address
    file: tuple[int, int] | None = None

    def close(self) -> None:
        """Close it, and remove its file if it is still the one we made."""
        if self.file is not None and isinstance(self.address, str) and self.socket.fileno() >= 0:
            remove_socket(self.address, self.file)
        self.socket.close()


def bind(request: PortRequest, listen_fds: ListenFds) -> Bound:
    """Bind what a worker asked for.

    Args:
        request: checked.
        listen_fds: of that worker.

    Raises:
        OSError: what the kernel said; EPERM for a descriptor that the settings do not name.
    """
    if request.transport == "fd":
        return _inherited(_allowed(request.name, listen_fds))
    if request.transport == "unix":
        assert request.path is not None
        backlog = BACKLOG if request.backlog is None else request.backlog
        sock, file = bind_unix(request.path, request.mode, backlog)
        return Bound(socket=sock, address=request.path, file=file)
    kind = socket.SOCK_DGRAM if request.transport == "udp" else socket.SOCK_STREAM
    sock = bind_inet(
        request.host, request.port, kind=kind, backlog=request.backlog, v6only=request.v6only
    )
    host, port = sock.getsockname()[:2]
    return Bound(socket=sock, address=(host, port))


def _allowed(name: str | int | None, listen_fds: ListenFds) -> int:
    """The number of the descriptor that a worker asks for by name or number."""
    if isinstance(listen_fds, str):
        listen_fds = passed()
    if isinstance(listen_fds, Mapping) and isinstance(name, str):
        number = listen_fds.get(name)
    else:
        numbers = listen_fds.values() if isinstance(listen_fds, Mapping) else listen_fds
        number = name if isinstance(name, int) and name in numbers else None
    if number is None:
        raise PermissionError(errno.EPERM, f"settings.listen_fds does not name {name!r}")
    return number


def _inherited(number: int) -> Bound:
    duplicate = os.dup(number)
    try:
        sock = socket.socket(fileno=duplicate)
    except BaseException:
        os.close(duplicate)
        raise
    try:
        streams = sock.family in _FAMILIES and sock.type == socket.SOCK_STREAM
        if not streams or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, f"descriptor {number} is not a listening stream socket")
        sock.setblocking(False)
        bound = sock.getsockname()
    except BaseException:
        sock.close()
        raise
    if isinstance(bound, tuple):
        return Bound(socket=sock, address=(bound[0], bound[1]))
    name = os.fsdecode(bound)  # bytes: an abstract name
    return Bound(socket=sock, address=name.encode("utf-8", "backslashreplace").decode())


_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
