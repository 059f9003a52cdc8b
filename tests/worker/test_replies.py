"""What a worker writes about connections: one piece for each, with what else is due."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from tests.worker.boss import Background, Boss, open_boss, until


def lent(boss: Boss) -> int:
    """How many frames with handles the primary has not heard of."""
    boss.read()
    return len(boss._lent)


async def test_a_reply_takes_the_acknowledgement_of_handles_along() -> None:
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listener = await boss.listen()
        waiter = Background(nursery, listener.accept)
        await wait_all_tasks_blocked()
        before = boss.link._socket.sends
        (client,) = boss.hand(1, 1)
        while not boss.link.reply_follows:  # until it is read
            await trio.lowlevel.checkpoint()
        assert not boss.link._writing  # the writer is not woken in vain
        stream = await waiter.wait()
        await wait_all_tasks_blocked()
        assert 1 == boss.link._socket.sends - before
        assert 0 == lent(boss)
        await stream.aclose()
        client.close()


async def test_handles_are_acknowledged_where_nobody_accepts() -> None:
    async with open_boss() as boss:
        listener = await boss.listen()
        clients = boss.hand(1, 1)
        await until(lambda: not lent(boss))
        async with await listener.accept() as stream:
            assert stream.socket.getpeername() == clients[0].getsockname()
        clients += boss.hand(1, 2)
        await until(lambda: not lent(boss))
        for client in clients:
            client.close()
