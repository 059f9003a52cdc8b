"""What the kernel says a descriptor is.

Runs in: both
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import trio

from ..wire._generated import HandleKind

__all__ = [
    "ANY_SOCKET",
    "LISTENERS",
    "PIPES",
    "SOCKETS",
    "STREAMS",
    "Address",
    "SomeSocket",
    "access_mode",
    "ask_socket",
    "file_position",
    "has_position",
    "is_true_of",
    "is_udp_ipv6",
    "kind_name",
    "public_name",
    "real_kind",
    "simple_address",
    "socket_kind",
]

T = TypeVar("T")

Address: TypeAlias = tuple[str, int] | str | bytes | None
SomeSocket: TypeAlias = socket.socket | trio.socket.SocketType

#: family and type -> the kind, and the kind when it listens
_BY_TYPE: Final[dict[tuple[int, int], tuple[HandleKind, HandleKind]]] = {
    (socket.AF_INET, socket.SOCK_STREAM): (HandleKind.TCP_SOCKET, HandleKind.TCP_LISTENER),
    (socket.AF_INET6, socket.SOCK_STREAM): (HandleKind.TCP_SOCKET, HandleKind.TCP_LISTENER),
    (socket.AF_UNIX, socket.SOCK_STREAM): (HandleKind.UNIX_STREAM, HandleKind.UNIX_LISTENER),
    (socket.AF_INET, socket.SOCK_DGRAM): (HandleKind.UDP_SOCKET, HandleKind.UDP_SOCKET),
    (socket.AF_INET6, socket.SOCK_DGRAM): (HandleKind.UDP_SOCKET, HandleKind.UDP_SOCKET),
    (socket.AF_UNIX, socket.SOCK_DGRAM): (HandleKind.UNIX_DGRAM, HandleKind.UNIX_DGRAM),
    (socket.AF_UNIX, socket.SOCK_SEQPACKET): (
        HandleKind.UNIX_SEQPACKET,
        HandleKind.UNIX_SEQPACKET,
    ),
}

SOCKETS: Final = frozenset(kind for pair in _BY_TYPE.values() for kind in pair)
ANY_SOCKET: Final = SOCKETS | {HandleKind.OPAQUE}
STREAMS: Final = frozenset({HandleKind.TCP_SOCKET, HandleKind.UNIX_STREAM})
LISTENERS: Final = frozenset({HandleKind.TCP_LISTENER, HandleKind.UNIX_LISTENER})
PIPES: Final = frozenset({HandleKind.PIPE_READ, HandleKind.PIPE_WRITE})

_PUBLIC_NAMES: Final = {
    HandleKind.TCP_SOCKET: "tcp_stream",
    HandleKind.TCP_LISTENER: "tcp_listener",
    HandleKind.UDP_SOCKET: "udp_socket",
    HandleKind.UNIX_STREAM: "unix_stream",
    HandleKind.UNIX_LISTENER: "unix_listener",
    HandleKind.PIPE_READ: "pipe",
    HandleKind.PIPE_WRITE: "pipe",
    HandleKind.FILE: "file",
    HandleKind.MEMFD: "memfd",
}

#: a declaration that is true although the kernel knows a more exact one
_COVERS: Final = {
    HandleKind.FILE: frozenset({HandleKind.MEMFD, HandleKind.TTY}),
    HandleKind.AWP_PEER: frozenset({HandleKind.UNIX_STREAM}),
}

# The plain numbers: `socket.socket` hides them behind properties that make an enum member each.
_family_of: Final[Callable[[socket.socket], int]] = socket.SocketType.family.__get__
_type_of: Final[Callable[[socket.socket], int]] = socket.SocketType.type.__get__

_KNOWN: Final = frozenset(HandleKind)

_ANONYMOUS: Final = {
    "anon_inode:[eventfd]": HandleKind.EVENTFD,
    "anon_inode:[pidfd]": HandleKind.PIDFD,
}


def real_kind(fd: int) -> HandleKind:
    """Ask the kernel what a descriptor is; OSError if it is not open."""
    status = os.fstat(fd)
    match stat.S_IFMT(status.st_mode):
        case stat.S_IFSOCK:
            return ask_socket(fd, socket_kind)
        case stat.S_IFIFO:
            writes = access_mode(fd) == os.O_WRONLY
            return HandleKind.PIPE_WRITE if writes else HandleKind.PIPE_READ
        case stat.S_IFREG:
            # A memfd is a file that never had a name.
            is_memfd = status.st_nlink == 0 and _proc_link(fd).startswith("/memfd:")
            return HandleKind.MEMFD if is_memfd else HandleKind.FILE
        case stat.S_IFCHR | stat.S_IFBLK:
            return HandleKind.TTY if os.isatty(fd) else HandleKind.FILE
        case stat.S_IFDIR:
            return HandleKind.OPAQUE
    return _ANONYMOUS.get(_proc_link(fd), HandleKind.OPAQUE)


def socket_kind(sock: SomeSocket) -> HandleKind:
    """Return the kind of a socket; one system call where it may listen, else none."""
    if isinstance(sock, socket.socket):
        key = _family_of(sock), _type_of(sock)
    else:
        key = int(sock.family), int(sock.type)
    plain, listening = _BY_TYPE.get(key, (HandleKind.OPAQUE, HandleKind.OPAQUE))
    if plain is not listening and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return listening
    return plain


def ask_socket(fd: int, question: Callable[[socket.socket], T]) -> T:
    """Put a question to a socket of which only the number is at hand."""
    sock = socket.socket(fileno=fd)
    try:
        return question(sock)
    finally:
        sock.detach()


def is_udp_ipv6(fd: int, kind: HandleKind) -> bool:
    """Whether a descriptor of that kind is a datagram socket of IPv6, which is another to Node."""
    return kind is HandleKind.UDP_SOCKET and ask_socket(fd, _is_ipv6)


def _is_ipv6(sock: socket.socket) -> bool:
    return sock.family == socket.AF_INET6


def _proc_link(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:  # no /proc here: the kind stays unknown
        return ""


def access_mode(fd: int) -> int:
    """Return O_RDONLY, O_WRONLY or O_RDWR."""
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE


def has_position(fd: int) -> bool:
    """Whether there is a position in the file; not in pipes and terminals."""
    try:
        os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        return False
    return True


def file_position(file: Any) -> int | None:
    """Where a file object stands, which is not where its descriptor stands if it read ahead."""
    if not hasattr(file, "seekable") or not file.seekable():
        return None
    if hasattr(file, "buffer"):  # text: make the bytes below stand where the text does
        file.seek(file.tell())
        file = file.buffer
    return int(file.tell())


def is_true_of(declared: int | None, real: HandleKind) -> bool:
    """Whether a giver's declaration agrees with what the kernel says."""
    if declared is None or declared not in _KNOWN or declared == HandleKind.OPAQUE:
        return True  # nothing was promised
    return declared == real or real in _COVERS.get(HandleKind(declared), ())


def kind_name(kind: int | None) -> str:
    """Return the kind's name on the wire, to show."""
    if kind is None:
        return "unknown"
    return HandleKind(kind).name.lower().replace("_", "-") if kind in _KNOWN else f"kind {kind}"


def public_name(kind: HandleKind) -> str:
    """Return what `Handle.kind` says."""
    return _PUBLIC_NAMES.get(kind, "other")


def simple_address(address: Any) -> Address:
    """Return a socket address without what only the kernel needs."""
    match address:
        case (str() as host, int() as port, *_):  # IPv6 has four elements
            return host, port
        case str() | bytes() if address:  # bytes: an abstract name
            return address
    return None  # an unnamed socket
