import trio

import actorcluster
from actorcluster import Actor, events


async def listens(actor: Actor) -> None:
    await actor.listen_tcp(0, host="127.0.0.1")
    await trio.sleep_forever()


async def main() -> None:
    async with actorcluster.open_primary() as primary:
        with primary.events(events.Fork, events.Online, events.Listening, events.Exit) as all_:
            primary.fork_soon(listens)
            async for event in all_:
                worker = event.worker
                print(f"{type(event).__name__.lower()} {worker.id}")
                if isinstance(event, events.Listening):
                    worker.kill("SIGTERM")
                if isinstance(event, events.Exit):
                    break


if __name__ == "__main__":
    actorcluster.run(main)
