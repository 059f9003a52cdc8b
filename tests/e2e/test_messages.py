"""Mail between primary and worker: order, room, asks and their outcomes."""

from __future__ import annotations

import datetime
import math
import os
import signal
from typing import Any, cast

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import Actor, Handle, Message, NotHandled, PeerClosed, RemoteError
from tests.e2e import actors
from tests.worker.lines import until


async def many(actor: Actor, count: int) -> None:
    """Send numbers, as fast as there is room."""
    for number in range(count):
        await actor.send(number)


async def add_up(actor: Actor) -> None:
    """Add numbers; an ask gets the sum, "fail" an error, "forget" nothing."""
    total = 0
    async for message in actor.mailbox:
        with message:
            match message.body:
                case int():
                    total += message.body
                case "sum":
                    await message.reply(total)
                case "fail":
                    raise_and_go_on(message)
                case "forget":
                    pass
                case "wait":
                    await actor.send("waiting")
                    await trio.sleep_forever()
                case "deadline":
                    await message.reply(message.deadline - trio.current_time())


def raise_and_go_on(message: Message) -> None:
    try:
        raise LookupError("nothing there")
    except LookupError as exc:
        message.fail(exc)


async def serve(actor: Actor) -> None:
    """Answer with serve_messages."""

    async def handler(message: Message) -> Any:
        if message.body == "bad":
            raise ValueError("handler failed")
        return message.body

    await actor.serve_messages(handler, concurrency=3)


async def asks_the_primary(actor: Actor) -> None:
    """Ask the primary, and send it the answer."""
    await actor.send(await actor.primary.ask({"question": 6}))


BODIES: list[Any] = [
    None,
    True,
    -(2**63),
    2**64 - 1,
    1.5,
    math.inf,
    "text \u20ac",
    b"bytes",
    [1, [2, {"three": 3}]],
    {"a": {"b": [None]}},
    datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC),
]


async def test_values_survive_both_ways() -> None:
    """Every kind of value goes to the worker and comes back the same."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.echo)
        for body in BODIES:
            assert body == await worker.ask(body)
            await worker.send(body)
            assert body == (await worker.mailbox.receive()).body
        assert [1, 2] == await worker.ask((1, 2))


async def test_what_cannot_be_sent() -> None:
    """All else is TypeError at the sender, and nothing was sent."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(add_up)
        for body in (object(), {1: 2}, {"a": {1, 2}}, 2**64, "\ud800"):
            with pytest.raises(TypeError, match="body"):
                await worker.send(body)
            with pytest.raises(TypeError, match="body"):
                await worker.ask(body)
        assert 0 == await worker.ask("sum")


async def test_order_and_sum() -> None:
    """Mail arrives in order, and an ask after it sees all of it."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(add_up)
        for number in range(1000):
            await worker.send(number)
        assert sum(range(1000)) == await worker.ask("sum")


async def test_from_worker_in_order() -> None:
    """What a worker sent is in its mailbox, in order, also when the worker is gone."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(many, 5000)
        await worker.wait()
        received = [message.body async for message in worker.mailbox]
    assert list(range(5000)) == received


async def test_primary_mailbox_is_fair() -> None:
    """The primary's mailbox deals from the workers in turn."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(many, 10) for _ in range(3)]
        for worker in workers:
            await worker.wait()
        senders = [(await primary.mailbox.receive()).sender.name for _ in range(30)]
    assert 10 * [worker.name for worker in workers] == senders


async def test_error_outcomes() -> None:
    """An ask that fails says how: by the handler, by nobody, by death."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(add_up)
        with pytest.raises(RemoteError, match="nothing there") as caught:
            await worker.ask("fail")
        assert "LookupError" == caught.value.type
        assert "raise_and_go_on" in str(caught.value.traceback)
        with pytest.raises(NotHandled):
            await worker.ask("forget")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_and_lose, worker)
            await worker.mailbox.receive()
            worker.kill("SIGKILL")
        with pytest.raises(PeerClosed) as gone:
            await worker.send("hello")
        assert gone.value.status is worker._life.status


async def ask_and_lose(worker: actorcluster.Worker) -> None:
    with pytest.raises(PeerClosed) as caught:
        await worker.ask("wait")
    assert caught.value.status is not None
    assert "SIGKILL" == caught.value.status.signal


async def test_cancelled_ask_cancels_the_handler() -> None:
    """Giving up an ask cancels its handler; the worker goes on."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(add_up)
        with trio.move_on_after(0.2):
            await worker.ask("wait")
        with trio.fail_after(60):
            assert 0 == await worker.ask("sum")


async def test_deadline_travels() -> None:
    """The handler sees the time left of the asker's deadline."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(add_up)
        with trio.fail_after(60):
            left = await worker.ask("deadline")
        assert 25 < left <= 60
        assert math.inf == await worker.ask("deadline")


async def test_serve_messages() -> None:
    """serve_messages answers with what the handler returns, and goes on after a failed ask."""
    async with actorcluster.open_primary(settings={"stdio": ["ignore"] * 3}) as primary:
        worker = await primary.fork(serve)
        assert "x" == await worker.ask("x")
        assert None is await worker.ask(None)
        with pytest.raises(RemoteError, match="handler failed"):
            await worker.ask("bad")
        assert "y" == await worker.ask("y")
        await worker.send("bad")
        status = await worker.wait()
    assert "error" == status.reason


async def test_worker_asks_primary() -> None:
    """Asks go the other way as well."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(asks_the_primary)
        message = await primary.mailbox.receive()
        with message:
            await message.reply({"answer": 7 * message.body["question"]})
        assert {"answer": 42} == (await worker.mailbox.receive()).body


async def test_backpressure_and_would_block() -> None:
    """A mailbox that nobody reads fills up; then sending waits, and send_nowait refuses."""
    async with actorcluster.open_primary(settings={"mailbox_size": 65536}) as primary:
        worker = await primary.fork(actors.idle)
        body = b"x" * 10_000
        sent = 0
        with pytest.raises(trio.WouldBlock):
            while True:
                worker.send_nowait(body)
                sent += 1
        assert 6 == sent
        with trio.move_on_after(0.2) as scope:
            await worker.send(body)
        assert scope.cancelled_caught
        statistics = worker.statistics().channel
        assert statistics is not None
        assert 0 == statistics.senders_waiting


async def test_stop_closes_the_mailbox_for_senders() -> None:
    """From the moment of Stop, sends raise PeerClosed; what was sent before arrives."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.echo)
        await worker.send("last")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.disconnect)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(PeerClosed):
                await worker.send("too late")
        assert ["last"] == [message.body async for message in worker.mailbox]


async def test_large_messages() -> None:
    """Messages larger than the window go when the mailbox is empty; too large ones do not."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.echo)
        body = b"x" * (15 * 1024 * 1024)
        with trio.fail_after(60):
            assert len(body) == len(await worker.ask(body))
        with pytest.raises(actorcluster.MessageTooLarge):
            await worker.send(b"x" * (17 * 1024 * 1024))


async def test_broadcast_and_gather() -> None:
    """broadcast queues for all, gather collects the answers."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(add_up) for _ in range(3)]
        assert frozenset({1, 2, 3}) == await primary.broadcast(5)
        assert {1: 5, 2: 5, 3: 5} == await primary.gather("sum", timeout=5)
        workers[0].kill("SIGKILL")
        await workers[0].wait()
        assert {2: 5, 3: 5} == await primary.gather("sum", timeout=5)


async def test_broadcast_goes_to_those_who_were_not_told_to_stop() -> None:
    """Who is leaving or dead is left out, and is not among the ids."""
    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
        staying = await primary.fork(add_up)
        leaving = await primary.fork(actors.deaf, ready="called")
        dead = await primary.fork(add_up)
        nursery.start_soon(leaving.disconnect)
        dead.kill("SIGKILL")
        await dead.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert frozenset({staying.id}) == await primary.broadcast(7)
        assert {staying.id: 7} == await primary.gather("sum", timeout=5)
        leaving.kill("SIGKILL")


async def test_broadcast_of_what_cannot_be_sent() -> None:
    """The error is the same everywhere, and raised once, as it is."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(add_up) for _ in range(2)]
        with pytest.raises(TypeError, match="body"):
            await primary.broadcast(object())
        assert {1: 0, 2: 0} == await primary.gather("sum", timeout=5)
        assert 2 == len(workers)


async def test_broadcast_duplicates_handles() -> None:
    """Each receiver gets one of its own, and ours stays ours."""
    reader, writer = os.pipe()
    async with actorcluster.open_primary() as primary:
        for _ in range(2):
            await primary.fork(writes_to_handle)
        handle = Handle.of(writer)
        await primary.broadcast({"handle": handle})
        assert not handle.closed
        handle.close()
        await primary.wait()
    with os.fdopen(reader, "rb") as pipe:
        assert b"xx" == pipe.read()


async def writes_to_handle(actor: Actor) -> None:
    with await actor.mailbox.receive() as message, message.body["handle"].into_file() as file:
        file.write(b"x")


async def test_gather_collects_failures_too() -> None:
    """By id, the reply or the exception: too slow, failed, died."""
    async with actorcluster.open_primary() as primary:
        await primary.fork(add_up)
        await primary.fork(actors.ignores)
        await primary.fork(dies_when_asked)
        answers = await primary.gather("fail", timeout=1)
        with pytest.raises(TypeError, match="timeout must be a number of seconds"):
            await primary.gather("fail", timeout="1")  # type: ignore[arg-type]  # wrong on purpose
    kinds = {number: type(answer) for number, answer in answers.items()}
    assert {1: RemoteError, 2: trio.TooSlowError, 3: PeerClosed} == kinds


async def dies_when_asked(actor: Actor) -> None:
    await actor.mailbox.receive()
    os.kill(os.getpid(), signal.SIGKILL)


async def test_unconfirmed() -> None:
    """How many sends returned and were never said to be in the mailbox."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.ignores)
        for number in range(3):
            await worker.send(number)
        await until(lambda: not cast("Any", worker.statistics().channel).unconfirmed)
        worker.kill("SIGSTOP")
        for number in range(4):
            await worker.send(number)
        worker.kill("SIGKILL")
        await worker.wait()
        with pytest.raises(PeerClosed) as caught:
            await worker.send("too late")
    assert 4 == caught.value.unconfirmed


async def test_many_asks_at_once() -> None:
    """More than the worker takes at a time wait for their turn; none is refused."""
    answers: list[int] = []

    async def ask(worker: actorcluster.Worker, number: int) -> None:
        answers.append(await worker.ask(number))

    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.echo)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(3000):
                    nursery.start_soon(ask, worker, number)
    assert list(range(3000)) == sorted(answers)


async def test_asks_of_a_mailbox_that_is_never_read() -> None:
    """When its owner ends, their askers learn that nobody has begun."""
    async with actorcluster.open_primary() as primary, trio.open_nursery() as nursery:
        worker = await primary.fork(actors.idle, settings={"stdio": ["ignore"] * 3})
        outcomes: list[Exception] = []

        async def ask() -> None:
            with pytest.raises(PeerClosed) as caught:
                await worker.ask("x")
            outcomes.append(caught.value)

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(60):
            status = await worker.disconnect()
    assert "shutdown" == status.reason
    assert 1 == len(outcomes)
