"""A socket-activated HTTP server, as systemd would start it; it knows nothing of clusters.

It serves one client after the other on its first socket, and finishes with the one it has when it
gets SIGTERM. `systemd-socket-activate -l 8000 python3 activated.py` runs it alone.
"""

import os
import select
import signal
import socket

FIRST = 3  # of the descriptors that are handed over


def serve(client: socket.socket, log: int) -> None:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(65536)
        if not piece:
            return
        head += piece
    os.write(log, head.split()[1] + b"\n")
    body = b"hello from activated, process %d\n" % os.getpid()
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
    client.sendall(answer % (len(body), body))


def main() -> None:
    path = os.environ.get("ACCESS_LOG", os.devnull)
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    told, tell = os.pipe()  # a signal between two clients must not be missed, nor cut one off
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    signal.signal(signal.SIGTERM, lambda *_: None)
    with socket.socket(fileno=FIRST) as listener:
        while told not in select.select([told, listener.fileno()], [], [])[0]:
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue  # another process was faster, or the client is gone
            with client:
                client.settimeout(10)  # who says nothing must not keep the others waiting
                try:
                    serve(client, log)
                except OSError:
                    pass


if __name__ == "__main__":
    main()
