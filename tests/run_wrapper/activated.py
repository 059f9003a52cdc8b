"""Socket-activated programs that have never heard of us: ``activated.py HOW``.

All serve HTTP on their first socket. ``patient`` finishes its requests when it gets SIGTERM, and
ends with exit code 0; ``deaf`` ignores SIGTERM, and has a child that does, too, and one in a
session of its own. ``daemon`` goes into the background, and serves nobody.
"""

from __future__ import annotations

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        names = os.environ["LISTEN_FDNAMES"]
        if self.path == "/begun":
            os.write(1, b"begun\n")
            stopped.wait()
        body = f"{os.getpid()} {names} {int(os.environ['LISTEN_PID']) == os.getpid()}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (as its base has it)
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = self.socket.accept()
        connection.setblocking(True)
        return connection, address


stopped = threading.Event()


def daemon() -> None:
    """Go into the background; the first process ends when that is done."""
    told, heard = os.pipe()
    if os.fork():
        os.close(heard)
        os.read(told, 1)
        return
    os.setsid()
    if os.fork() == 0:
        os.write(1, f"daemon {os.getpid()}\n".encode())
        os.close(heard)
        while True:
            signal.pause()
    os._exit(0)


def main(how: str) -> None:
    if how == "daemon":
        daemon()
        return
    server = Server(("", 0), Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=3)

    def stop(*_: object) -> None:
        stopped.set()
        threading.Thread(target=server.shutdown).start()

    if how == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "1000"])
        other = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        os.write(1, f"child {child.pid} {other.pid}\n".encode())
    else:
        signal.signal(signal.SIGTERM, stop)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main(sys.argv[1])
