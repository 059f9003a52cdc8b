import actorcluster
from actorcluster import Actor


async def doubles(actor: Actor) -> None:
    async for message in actor.mailbox:
        await actor.send({"doubled": 2 * message.body["number"]})


async def main() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(doubles)
        await worker.send({"number": 1})
        await worker.send({"number": 2})
        async for message in worker.mailbox:
            print(f"doubled: {message.body['doubled']}")
            if message.body["doubled"] == 4:
                await worker.disconnect()


if __name__ == "__main__":
    actorcluster.run(main)
