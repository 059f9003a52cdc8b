"""The clients: ``python -m tests.full_house.clients PORT CONNECTIONS OPEN PATIENCE``.

Keeps so many connections open, until there were enough in total. Each is served when one byte has
come. Says, as JSON, how many were served, what happened to the others, and how long it all took. It
shares the machine with what is measured, so it is one loop over an epoll.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import sys
import time
from collections import Counter, deque

from tests.full_house.house import ANSWER


class Clients:
    """All of them.

    Attributes:
        served: how many were.
        failed: what happened to the others.
    """

    def __init__(self, port: int, connections: int, patience: float) -> None:
        self.served = 0
        self.failed: Counter[str] = Counter()
        self._address = ("127.0.0.1", port)
        self._to_come = connections
        self._patience = patience
        self._selector = selectors.DefaultSelector()
        #: Those that are open, and some that were, in the order in which they began.
        self._begun: deque[tuple[float, socket.socket]] = deque()

    def run(self, most_open: int) -> None:
        """Connect until everybody was there."""
        for _ in range(most_open):
            self._connect()
        while self._selector.get_map():
            for key, _ in self._selector.select(1.0):
                assert isinstance(key.fileobj, socket.socket)
                self._hear(key.fileobj)
            self._lose_patience()

    def _connect(self) -> None:
        if not self._to_come:
            return
        self._to_come -= 1
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(self._address)
        self._selector.register(sock, selectors.EVENT_READ)
        self._begun.append((time.monotonic(), sock))

    def _hear(self, sock: socket.socket) -> None:
        try:
            answer = sock.recv(len(ANSWER))
        except OSError as exc:
            self._end(sock, exc.strerror)
        else:
            self._end(sock, None if answer == ANSWER else "ended")

    def _lose_patience(self) -> None:
        before = time.monotonic() - self._patience
        while self._begun and (self._begun[0][1].fileno() < 0 or self._begun[0][0] < before):
            _, sock = self._begun.popleft()
            if sock.fileno() >= 0:
                self._end(sock, "not served in time")

    def _end(self, sock: socket.socket, failure: str | None) -> None:
        if failure is None:
            self.served += 1
        else:
            self.failed[failure] += 1
        self._selector.unregister(sock)
        sock.close()
        self._connect()


def main(port: int, connections: int, most_open: int, patience: float) -> None:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients = Clients(port, connections, patience)
    begin = time.monotonic()
    clients.run(most_open)
    elapsed = time.monotonic() - begin
    report = {"served": clients.served, "failed": clients.failed, "elapsed": elapsed}
    print(json.dumps(report))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
