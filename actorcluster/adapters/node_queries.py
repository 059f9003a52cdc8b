"""What a Node program asks to listen on, as the LISTEN request that it amounts to; and the answers.

Runs in: primary

A program's ``server.listen()`` or ``socket.bind()`` becomes a message to its primary, with the
arguments in JavaScript's terms. Here they are checked and put into ours.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, final

import attrs

from ..wire._generated import ErrorCode
from .node_lines import encode_line, violation

__all__ = ["Query", "Vault", "error_number", "socket_name"]

#: Connections that may be on their way to one worker, as for one in Python.
_CREDIT: Final = 64
#: libuv's UV_TCP_IPV6ONLY and UV_UDP_IPV6ONLY.
_IPV6_ONLY: Final = 1
_MODE: Final = 0o755
_READABLE, _WRITABLE = 0o444, 0o222
_UNIX: Final = -1
_UDP: Final = ("udp4", "udp6")
_MOST_KEPT: Final = 1024
_MOST_DATA: Final = 16 * 1024
_OS: Final = "os."


@final
class Vault:
    """Keeps what servers of one program share, e.g. the keys of their TLS tickets.

    These travel in no frame of ours, where a log or trace might show them: a LISTEN holds a token,
    and its answer the token of whoever came first.
    """

    def __init__(self) -> None:
        self._kept: dict[str, Any] = {}

    def put(self, data: Any) -> str:
        """Keep something; returns its token."""
        token = os.urandom(16).hex()
        self._kept[token] = data
        if len(self._kept) > _MOST_KEPT:  # only somebody who asks for ever other ports gets there
            del self._kept[next(iter(self._kept))]
        return token

    def get(self, token: object, default: Any) -> Any:
        """Give what has that token; the default if nothing has."""
        return self._kept.get(token, default) if isinstance(token, str) else default

    def drop(self, token: str | None) -> None:
        """Forget it."""
        self._kept.pop(token or "", None)


@final
@attrs.frozen(eq=False, repr=False)
class Query:
    """A ``queryServer`` of a worker, checked. It has no repr: there may be keys in its data.

    Attributes:
        seq: what the answer has to repeat.
        address: numeric, or the path of a unix socket; None: all.
        port: as asked for; None for a descriptor.
        kind: 4, 6, -1 for unix sockets, ``"udp4"``, ``"udp6"``; None for a descriptor.
        fd: a descriptor of the primary, or None.
        flags: libuv's.
        backlog: 0 for the default.
        index: tells apart what one worker asks for several times.
        data: for whoever shares the server.
        mode: permission bits of a unix socket.
    """

    seq: int
    address: str | None
    port: int | None
    kind: int | str | None
    fd: int | None
    flags: int
    backlog: int
    index: int
    data: Any
    mode: int

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> Query:
        """Check a message.

        Raises:
            RemoteProtocolError: a field is wrong; the text names it.
        """
        for name, check in _CHECKS.items():
            if not check(message.get(name)):
                raise violation("NODE-2", f"queryServer with a wrong {name!r}")
        if len(encode_line(message.get("data"))) > _MOST_DATA:
            raise violation("NODE-2", f"queryServer with data of more than {_MOST_DATA} bytes")
        fd = message.get("fd")
        mode = _MODE | (_READABLE if message.get("readableAll") else 0)
        return cls(
            seq=message["seq"],
            address=message.get("address"),
            port=message.get("port"),
            kind=message.get("addressType"),
            fd=fd if fd is not None and fd >= 0 else None,
            flags=message.get("flags") or 0,
            backlog=message.get("backlog") or 0,
            index=message.get("index") or 0,
            data=message.get("data"),
            mode=mode | (_WRITABLE if message.get("writableAll") else 0),
        )

    @property
    def is_udp(self) -> bool:
        """Whether it is about datagrams."""
        return self.kind in _UDP

    def key(self, channel: int) -> str:
        """Name the listener as a primary of Node does, but no two of a worker alike."""
        return f"{self.address}:{self.port}:{self.kind}:{self.fd}:{channel}"

    def request(self) -> dict[str, Any]:
        """Make the LISTEN request."""
        more: dict[str, Any] = {"credit": _CREDIT}
        if self.backlog > 0:
            more["backlog"] = self.backlog
        if self.fd is not None:
            return {"transport": "fd", "name": self.fd, **more}
        if self.kind == _UNIX:
            return {"transport": "unix", "path": self.address, "mode": self.mode, **more}
        if self.is_udp:
            more = {}
        if self.port == 0:
            more["key"] = str(self.index + 1)  # as workers in Python count
        more["v6only"] = bool(self.flags & _IPV6_ONLY)
        transport = "udp" if self.is_udp else "tcp"
        return {"transport": transport, "host": self.address, "port": self.port, **more}


def _is(kind: type, *, optional: bool = True) -> Callable[[Any], bool]:
    """Make a check; ``type``, not ``isinstance``: a bool is no number here."""
    return lambda value: type(value) is kind or (optional and value is None)


_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "seq": _is(int, optional=False),
    "address": _is(str),
    "port": _is(int),
    "addressType": lambda value: value is None or value in (4, 6, _UNIX, *_UDP),
    "fd": _is(int),
    "flags": _is(int),
    "backlog": lambda value: value in (None, False) or type(value) is int,  # NaN, in Node's words
    "index": _is(int),
    "readableAll": _is(bool),
    "writableAll": _is(bool),
}


def socket_name(address: Any) -> dict[str, Any] | None:
    """Say where a server listens, as Node has it; None for a path, of which it knows."""
    if isinstance(address, str):
        return None
    host, port = address[:2]
    return {"address": host, "family": "IPv6" if ":" in host else "IPv4", "port": port}


def error_number(error: Mapping[str, Any]) -> int | None:
    """What libuv would have returned; None where a worker that leaves is not to be answered."""
    code = error.get("code")
    if code in (ErrorCode.REFUSED, ErrorCode.STOPPING):
        return None
    name = code.removeprefix(_OS) if isinstance(code, str) else ""
    number = getattr(errno, name, None) if name in errno.errorcode.values() else None
    return -(number or errno.EINVAL)
