"""Many clients at once, in a process of their own: ``python -m tests.e2e.clients PORT ...``.

Each of them connects, reads one byte, which names the worker that serves, and closes the
connection or holds it till the end; then it does so again. Prints who served how many.
"""

from __future__ import annotations

import argparse
import json
import resource
import selectors
import socket
from collections import Counter


def main() -> None:
    """Do as the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--total", type=int, required=True)
    parser.add_argument("--concurrent", type=int, required=True)
    parser.add_argument("--hold", action="store_true")
    options = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print(json.dumps(visit(options.port, options.total, options.concurrent, hold=options.hold)))


def visit(port: int, total: int, concurrent: int, *, hold: bool) -> dict[int, int]:
    """Make ``total`` visits, so many at a time; returns how many each worker served."""
    served: Counter[int] = Counter()
    held = []
    with selectors.DefaultSelector() as selector:

        def connect() -> None:
            client = socket.create_connection(("127.0.0.1", port))
            selector.register(client, selectors.EVENT_READ)

        for _ in range(min(total, concurrent)):
            connect()
        begun = min(total, concurrent)
        while served.total() < total:
            ready = selector.select(timeout=20)
            if not ready:
                raise TimeoutError(f"{total - served.total()} of {total} are not served")
            for key, _ in ready:
                client = key.fileobj
                assert isinstance(client, socket.socket)
                selector.unregister(client)
                (worker,) = client.recv(1)
                served[worker] += 1
                if hold:
                    held.append(client)
                else:
                    client.close()
                if begun < total:
                    connect()
                    begun += 1
    for client in held:
        client.close()
    return served


if __name__ == "__main__":
    main()
