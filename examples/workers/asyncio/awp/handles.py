"""Handles: open descriptors, with a description of what each is."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Sequence
from typing import Self

from .awp_v1 import HANDLE_NAMES, HandleKind

_STREAMS = (HandleKind.TCP_SOCKET, HandleKind.UNIX_STREAM)
_SOCKETS = {
    HandleKind.TCP_SOCKET: (True, socket.SOCK_STREAM, False),
    HandleKind.TCP_LISTENER: (True, socket.SOCK_STREAM, True),
    HandleKind.UDP_SOCKET: (True, socket.SOCK_DGRAM, False),
    HandleKind.UNIX_STREAM: (False, socket.SOCK_STREAM, False),
    HandleKind.UNIX_LISTENER: (False, socket.SOCK_STREAM, True),
    HandleKind.UNIX_DGRAM: (False, socket.SOCK_DGRAM, False),
    HandleKind.UNIX_SEQPACKET: (False, socket.SOCK_SEQPACKET, False),
}
"""Kind: (internet, type, listens)."""

ALL_KINDS = tuple(HANDLE_NAMES.values())


class Handle:
    """A descriptor that came, or is to go, with a message. Whoever has the object owns it.

    Attributes:
        kind: what it is: a `HandleKind`, or the number of one that nobody here knows.
        meta: the description that came with it.
    """

    def __init__(self, fd: int, kind: int, meta: dict[str, object] | None = None) -> None:
        self.kind = kind
        self.meta = {} if meta is None else meta
        self._fd = fd

    @classmethod
    def of(cls, sock: socket.socket) -> Handle:
        """A handle over a socket, which is the handle's from now on, in non-blocking mode."""
        kind = socket_kind(sock)
        sock.setblocking(False)
        return cls(sock.detach(), kind)

    @property
    def fd(self) -> int:
        """The descriptor, still the handle's; -1 if it is closed."""
        return self._fd

    @property
    def head(self) -> bytes:
        """What the sender has read already: to be used before anything read from the socket."""
        head = self.meta.get("head", b"")
        return head if isinstance(head, bytes) else b""

    @property
    def shared(self) -> bool:
        """Whether the sender keeps a duplicate."""
        return self.meta.get("shared") is True

    def detach(self) -> int:
        """The descriptor, which is the caller's from now on."""
        fd, self._fd = self._fd, -1
        return fd

    def socket(self) -> socket.socket:
        """The socket, which is the caller's from now on."""
        return socket.socket(fileno=self.detach())

    def close(self) -> None:
        """Close the descriptor; once is enough."""
        if self._fd >= 0:
            os.close(self.detach())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Handle {HANDLE_NAMES.get(self.kind, self.kind)} fd={self._fd}>"


def socket_kind(sock: socket.socket) -> HandleKind:
    """What kind of handle a socket is.

    Raises:
        ValueError: none that can be sent.
    """
    for kind, what in _SOCKETS.items():
        if _is_socket(sock, *what):
            return kind
    raise ValueError(f"no kind of handle for {sock}")


def is_what_it_says(handle: Handle) -> bool:
    """Whether a descriptor is of the kind that its entry states (AWP-HA-2)."""
    try:
        if handle.kind in _SOCKETS:
            if not stat.S_ISSOCK(os.fstat(handle.fd).st_mode):
                return False
            with socket.socket(fileno=os.dup(handle.fd)) as sock:
                return _is_socket(sock, *_SOCKETS[HandleKind(handle.kind)])
        return _is_other(handle)
    except OSError:
        return False


def _is_socket(sock: socket.socket, internet: bool, kind: int, listens: bool) -> bool:
    families = (socket.AF_INET, socket.AF_INET6) if internet else (socket.AF_UNIX,)
    if sock.family not in families or sock.type != kind:
        return False
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) == listens


def _is_other(handle: Handle) -> bool:
    mode = os.fstat(handle.fd).st_mode
    access = fcntl.fcntl(handle.fd, fcntl.F_GETFL) & os.O_ACCMODE
    match handle.kind:
        case HandleKind.PIPE_READ:
            return stat.S_ISFIFO(mode) and access != os.O_WRONLY
        case HandleKind.PIPE_WRITE:
            return stat.S_ISFIFO(mode) and access != os.O_RDONLY
        case HandleKind.FILE | HandleKind.MEMFD:
            return stat.S_ISREG(mode)
        case HandleKind.TTY:
            return os.isatty(handle.fd)
        case HandleKind.EVENTFD:
            return os.readlink(f"/proc/self/fd/{handle.fd}") == "anon_inode:[eventfd]"
        case HandleKind.PIDFD:
            return "pidfd" in os.readlink(f"/proc/self/fd/{handle.fd}")
        case HandleKind.OPAQUE:
            return True
    return False


def entry_is_right(entry: object) -> bool:
    """Whether an element of `handles` is [kind, meta], and a head where there may be one."""
    if not isinstance(entry, list) or not entry:
        return False
    kind, meta = entry[0], entry[1] if len(entry) > 1 else None
    if isinstance(kind, bool) or not isinstance(kind, int) or not isinstance(meta, dict | None):
        return False
    if meta and "head" in meta:
        return isinstance(meta["head"], bytes) and kind in _STREAMS
    return True


def close_all(handles: Sequence[Handle]) -> None:
    """Close each."""
    for handle in handles:
        handle.close()


def sending(fds: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """The control message that carries descriptors."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())]


def received(control: Sequence[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors in the control messages of one recvmsg."""
    found: list[int] = []
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            size = len(data) - len(data) % 4
            found += [fd for (fd,) in struct.iter_unpack("i", data[:size])]
    return found
