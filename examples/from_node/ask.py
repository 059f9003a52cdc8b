import math

import actorcluster
from actorcluster import Actor, Message


async def roots(actor: Actor) -> None:
    async def root(message: Message) -> int:
        return math.isqrt(message.body)

    await actor.serve_messages(root)


async def main() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(roots)
        print(f"root of 49: {await worker.ask(49)}")  # PeerClosed if it dies
        print(f"root of 64: {await worker.ask(64)}")


if __name__ == "__main__":
    actorcluster.run(main)
