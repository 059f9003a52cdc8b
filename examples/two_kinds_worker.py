"""The script that `two_kinds.py` starts twice: a worker that serves HTTP, or HTTPS."""

from __future__ import annotations

import argparse
import ssl
import sys
from pathlib import Path

import _http
import trio

import actorcluster
from actorcluster import Actor

CERTIFICATE = Path(__file__).with_name("localhost.pem")  # with its key, so worth nothing


async def main(actor: Actor) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--use", choices=["http", "https"], required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()  # Settings.args

    async def hello(target: str) -> str:
        return f"{target} over {arguments.use}, from worker {actor.id}\n"

    listeners: list[trio.abc.Listener[trio.abc.Stream]]
    listeners = [*await actor.listen_tcp(arguments.port, host="127.0.0.1")]
    if arguments.use == "https":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CERTIFICATE)
        listeners = [trio.SSLListener(one, context, https_compatible=True) for one in listeners]
    await _http.serve_http(listeners, hello)


if __name__ == "__main__":
    if actorcluster.is_worker():
        actorcluster.run_worker(main)
    else:
        sys.exit("this is a worker: run two_kinds.py, which starts it")
