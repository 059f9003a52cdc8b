"""Send a worker a message and get it back: as a message of its own, and as the answer to an ask.

$ python examples/echo.py
"""

from __future__ import annotations

import actorcluster
from actorcluster import Actor


async def echo(actor: Actor) -> None:
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply(message.body)
            else:
                await actor.send(message.body)


async def main() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(echo)

        await worker.send("hi there")
        message = await worker.mailbox.receive()
        print(f"worker {worker.id} sent {message.body!r}")

        answer = await worker.ask(
            {"text": "hi again", "bytes": b"\x00\x01", "list": [1, 2.5, None]}
        )
        print(f"worker {worker.id} answered {answer}")


if __name__ == "__main__":
    actorcluster.run(main)
