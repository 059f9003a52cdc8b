"""The descriptors of an event loop, renewed: so a process can be forked inside of it.

Runs in: worker

A forked process shares with its parent what its descriptors stand for. For a loop that is a list of
what it waits for, in an epoll, and pairs of sockets by which it is woken up. Who gets new ones, by
the same numbers, has a loop of its own: Trio itself knows the numbers only.
"""

from __future__ import annotations

import os
import select
import socket
from typing import Final, final

__all__ = ["EventLoop", "descriptors"]

_EPOLL: Final = "anon_inode:[eventpoll]"
_SOCKET: Final = "socket:"


def descriptors() -> dict[int, str]:
    """The descriptors of this process, and what they stand for."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # it was that by which the directory was read
            continue
    return found


@final
class EventLoop:
    """The descriptors of the loop that runs; to be made when it waits for all it will wait for.

    Args:
        before: what `descriptors` gave before it was entered.
        channel: a socket that it has to wait for.

    Raises:
        LookupError: it is not what we know.
        OSError: no descriptors.
    """

    def __init__(self, before: dict[int, str], channel: int) -> None:
        new = {fd: what for fd, what in descriptors().items() if before.get(fd) != what}
        epolls = [fd for fd, what in new.items() if what == _EPOLL]
        sockets = sorted(fd for fd, what in new.items() if what.startswith(_SOCKET))
        if len(epolls) != 1 or len(sockets) % 2 or len(sockets) != len(new) - 1:
            raise LookupError(f"not the descriptors of a loop: {new}")
        self._is_shared = False
        self._epoll = epolls[0]
        self._waited_for = _waited_for(self._epoll)
        # They were made one pair after the other.
        self._pairs = [
            tuple(sorted(it, key=self._is_read))
            for it in zip(sockets[::2], sockets[1::2], strict=True)
        ]
        readers = {channel, *(_checked(*pair) for pair in self._pairs)}
        if self._waited_for.keys() != readers:
            raise LookupError(f"the loop waits for {self._waited_for}, not for {readers}")

    def part(self) -> None:
        """After a fork, in the parent: have other sockets than the child.

        Raises:
            OSError: no descriptors; `renew` tries again.
        """
        self._is_shared = True
        for pair in self._pairs:
            for sock, number in zip(socket.socketpair(), pair, strict=True):
                with sock:
                    sock.setblocking(False)
                    os.dup2(sock.fileno(), number, inheritable=False)
        self._is_shared = False

    def renew(self) -> None:
        """Wait for what the descriptors stand for now; the child waits for what it has.

        Raises:
            OSError: no descriptors; nothing has changed, or is still shared.
        """
        if self._is_shared:
            self.part()
        with select.epoll() as epoll:
            for fd, events in self._waited_for.items():
                epoll.register(fd, events)
            os.dup2(epoll.fileno(), self._epoll, inheritable=False)

    def _is_read(self, fd: int) -> bool:
        return fd in self._waited_for


def _checked(writer: int, reader: int) -> int:
    """The one of these that can be read when something was written to the other."""
    byte = b"!"
    try:
        os.write(writer, byte)
        if os.read(reader, 1) == byte:
            return reader
    except BlockingIOError:
        pass
    raise LookupError(f"descriptors {writer} and {reader} are no pair")


def _waited_for(epoll: int) -> dict[int, int]:
    """What an epoll has in it: descriptors, and for what."""
    found = {}
    with open(f"/proc/self/fdinfo/{epoll}") as file:
        for line in file:
            words = line.split()
            if words[0] == "tfd:":
                found[int(words[1])] = int(words[3], 16)
    return found
