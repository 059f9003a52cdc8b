"""Tell all workers something at once, then ask all of them what they heard.

$ python examples/announcement.py
"""

from __future__ import annotations

import actorcluster
from actorcluster import Actor


async def listener(actor: Actor) -> None:
    heard: list[str] = []
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply(heard)
            else:
                heard.append(message.body)


async def main() -> None:
    async with actorcluster.open_primary() as primary:
        for _ in range(3):
            await primary.fork(listener)

        told = await primary.broadcast("big announcement to all workers")
        print(f"told workers {sorted(told)}")

        answers = await primary.gather("what did you hear?", timeout=10)
        for number, heard in sorted(answers.items()):
            print(f"I am worker {number}, and I heard: {', '.join(heard)}")


if __name__ == "__main__":
    actorcluster.run(main)
