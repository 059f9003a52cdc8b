"""What the workers of every release do; and the text of a release."""

from __future__ import annotations

import contextlib
import os
from typing import Final

import trio

from actorcluster import Actor
from tests.chaos.service import HOST, read_id

__all__ = ["BROKEN", "HOST", "good", "serve"]


#: Releases with which nothing can be done, by what is wrong.
BROKEN: Final = {
    "syntax error": "async def main(actor, log:\n",
    "exception at import": "raise RuntimeError('a broken release')\n",
    "never ready": "import trio\n\nasync def main(actor, log):\n    await trio.sleep_forever()\n",
    "exits at once": "async def main(actor, log):\n    raise SystemExit(3)\n",
    "hangs": "import os, signal\n\nos.kill(os.getpid(), signal.SIGSTOP)\n",
}


def good(version: int) -> str:
    """Give the text of a release that works."""
    return f"""from tests.reload_load.service import serve

async def main(actor, log):
    await serve(actor, log, {version})
"""


async def serve(actor: Actor, log: str, version: int) -> None:
    """Serve one client after the other: write its id down, then answer.

    Args:
        actor: of this process.
        log: path of the file for the ids.
        version: of the release.
    """
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    (listener,) = await actor.listen_tcp(0, host=HOST)
    while True:
        async with await listener.accept() as stream:
            with contextlib.suppress(trio.BrokenResourceError):  # the client counts that itself
                await _handle(stream, fd, version)


async def _handle(stream: trio.SocketStream, fd: int, version: int) -> None:
    if data := await read_id(stream):
        os.write(fd, data)
        await stream.send_all(b"%d %s" % (version, data))
