import actorcluster
from actorcluster import Actor, Message


async def answers(actor: Actor) -> None:
    async def answer(message: Message) -> str:
        return f"{message.body} fine"

    await actor.serve_messages(answer)


async def main() -> None:
    async with actorcluster.open_primary() as primary:
        for _ in range(3):
            await primary.fork(answers)
        answered = await primary.gather("how are you?", timeout=10)
        for number, answer in sorted(answered.items()):
            print(f"worker {number}: {answer}")
        await primary.disconnect()
        print("all have left")


if __name__ == "__main__":
    actorcluster.run(main)
