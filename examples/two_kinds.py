"""Two kinds of workers, made by changing the settings between forks.

$ python examples/two_kinds.py [HTTP_PORT [HTTPS_PORT]]
$ curl http://127.0.0.1:8000/
$ curl --cacert examples/localhost.pem https://127.0.0.1:8443/
"""

from __future__ import annotations

import sys
from pathlib import Path

import actorcluster
from actorcluster import events

WORKER = str(Path(__file__).with_name("two_kinds_worker.py"))


async def main(http_port: int = 8000, https_port: int = 8443) -> None:
    async with actorcluster.open_primary() as primary:
        primary.setup_primary(exec=WORKER, args=["--use", "https", "--port", str(https_port)])
        https = await primary.fork()

        primary.setup_primary(args=["--use", "http", "--port", str(http_port)])  # exec stays
        http = await primary.fork()

        for kind, worker in (("https", https), ("http", http)):
            listening = await primary.wait_for(events.Listening, worker)
            print(f"{kind} worker {worker.id} listens on", *listening.address)
        await primary.wait()


if __name__ == "__main__":
    actorcluster.run(main, *map(int, sys.argv[1:]))
