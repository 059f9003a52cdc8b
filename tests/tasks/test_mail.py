"""Mail between tasks, processes and the primary; what a link through memory is and is not."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest
import trio

from actorcluster import (
    Actor,
    Child,
    Handle,
    NoSuchActor,
    NotHandled,
    PeerClosed,
    Ref,
    RemoteError,
    Supervisor,
    current_actor,
    open_primary,
)
from tests.e2e.supervised import AT_ONCE, PATIENCE, run_tree
from tests.tasks import actors


def task(name: str, main: Any, *args: Any, **options: Any) -> Child:
    return Child(name, main, run="task", args=args, **options)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def introduces(actor: Actor, friend: str) -> None:
    """Give others a ref to a friend; answer with what that says."""
    async for message in actor.mailbox:
        with message:
            match message.body:
                case "who":
                    await message.reply(actor.ref(friend))
                case Ref() as ref:
                    await message.reply(await ref.ask("hi"))
                case _:
                    await message.reply([message.sender.name, current_actor() is actor])


async def hoards(actor: Actor) -> None:
    """Take one message, and no more."""
    await actor.mailbox.receive()
    await trio.sleep_forever()


async def fails(actor: Actor) -> None:
    """Answer with failures."""

    async def handler(message: Any) -> Any:
        if message.body == "nothing":
            return {1, 2}
        raise ValueError(message.body)

    async for message in actor.mailbox:
        with message:
            if message.body != "dispose":
                message.fail(ValueError(message.body))


async def waits(actor: Actor) -> None:
    """Tell how a handler ends."""
    async for message in actor.mailbox:
        with message:
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await actor.send("cancelled")
                raise


async def spawns(actor: Actor) -> None:
    """Ask by name from a child task, which knows its actor as well."""
    found: list[Any] = []

    async def child() -> None:
        found.append([current_actor() is actor, await actor.ref("a").ask(1)])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
        nursery.start_soon(child)
    await actor.send(found)
    await trio.sleep_forever()


async def test_both_ways_in_virtual_time(autojump_clock: trio.abc.Clock) -> None:
    """Nothing here waits for anything but memory."""
    async with run_tree([task("a", actors.echo)]) as scene:
        primary, a = scene.primary, scene.worker("a")
        assert ["a", {"x": [1, b"2"]}] == await a.ask({"x": (1, bytearray(b"2"))})
        for number in range(500):
            await primary.ref("a").send(number)
        got = [(await primary.mailbox.receive()).body for _ in range(500)]
        assert [["a", number] for number in range(500)] == got
        await trio.sleep(1)
        assert 0 == a.statistics().mailbox.messages
        statistics = a.statistics().channel
        assert statistics is not None
        assert (0, 0) == (statistics.unconfirmed, statistics.sends)


async def test_a_value_is_a_copy(autojump_clock: trio.abc.Clock) -> None:
    """The argument of each life as well as what is sent."""
    async with run_tree([task("a", appends, [1], backoff=AT_ONCE)], max_restarts=2) as scene:
        for _ in range(3):
            assert [[1, 2]] == (await scene.primary.mailbox.receive()).body
            await scene.worker("a").send([])
        for wrong in ({1, 2}, object(), {1: 2}):
            with pytest.raises(TypeError):
                await scene.worker("a").send(wrong)
    with pytest.raises(TypeError, match=r"args\[0\]"):
        async with open_primary(Supervisor(children=[task("a", actors.puppet, object())])):
            pass


async def appends(actor: Actor, numbers: list[int]) -> None:
    """Change the argument, and what is sent, and fail."""
    numbers.append(2)
    sent = [numbers]
    await actor.send(sent)
    sent.append(numbers)
    (await actor.mailbox.receive()).body.append(1)
    if actor.incarnation == 3:
        await trio.sleep_forever()
    raise ValueError("enough")


async def test_no_descriptors_and_nothing_before_the_first_message() -> None:
    async with run_tree([task("a", actors.echo), task("b", actors.sleeps)]) as scene:
        before, a = descriptors(), scene.worker("a")
        assert a.statistics().channel is None
        await a.ask(1)
        assert a.statistics().channel is not None
        assert scene.worker("b").statistics().channel is None
        assert before == descriptors()


async def test_tasks_and_processes() -> None:
    """Each asks each, by name and by a ref that came in a message."""
    children = [
        task("a", actors.echo),
        Child("p", actors.echo),
        task("to_p", actors.forwards, "p"),
        task("to_a", actors.forwards, "a"),
        Child("p_to_a", actors.forwards, args=["a"]),
        task("knows_p", introduces, "p"),
        Child("knows_a", introduces, args=["a"]),
    ]
    async with run_tree(children) as scene:
        ref = scene.primary.ref
        for name, answer in [("to_p", "p"), ("to_a", "a"), ("p_to_a", "a")]:
            assert [answer, 5] == await ref(name).ask(5)
        a, p = await ref("knows_a").ask("who"), await ref("knows_p").ask("who")
        assert (ref("a"), ref("p")) == (a, p)
        for asked in ("knows_p", "knows_a"):
            assert ["a", "hi"] == await ref(asked).ask(a)
            assert ["p", "hi"] == await ref(asked).ask(p)
            assert ["primary", True] == await ref(asked).ask(None)


async def test_handles() -> None:
    """One owner, closed once; to a task, and from a process through a task's name."""
    async with run_tree([task("a", actors.takes)]) as scene:
        before = descriptors()
        for _ in range(3):
            reader, writer = os.pipe()
            handle = Handle.of(writer)
            await scene.worker("a").send(None, handle)
            assert handle.closed
            async with trio.lowlevel.FdStream(reader) as stream:
                assert b"from a" == await stream.receive_some()
                assert b"" == await stream.receive_some()
        assert before == descriptors()


async def test_handles_that_nobody_took(autojump_clock: trio.abc.Clock) -> None:
    async with run_tree([task("a", hoards)]) as scene:
        reader, writer = os.pipe()
        await scene.worker("a").send("first")
        await scene.worker("a").send(None, writer)
        await trio.sleep(1)
        await scene.worker("a").disconnect(0)
    assert b"" == os.read(reader, 1)
    os.close(reader)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_how_an_ask_can_end(autojump_clock: trio.abc.Clock) -> None:
    children = [task("a", fails), task("b", waits), task("c", actors.puppet)]
    async with run_tree(children) as scene:
        ref = scene.primary.ref
        with pytest.raises(RemoteError, match="no reason") as info:
            await ref("a").ask("no reason")
        assert "ValueError" == info.value.type
        with pytest.raises(NotHandled):
            await ref("a").ask("dispose")
        with trio.move_on_after(1) as scope:
            await ref("b").ask(1)
        assert scope.cancelled_caught
        assert "cancelled" == (await scene.primary.mailbox.receive()).body
        with pytest.raises(NoSuchActor):
            await ref("nobody").ask(1)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(NotHandled):  # it left the message's block
                    await ref("b").ask(1)

            nursery.start_soon(ask)
            await trio.sleep(1)
            scene.worker("b").kill()
        with pytest.raises(PeerClosed):
            await scene.worker("c").disconnect()
            await ref("c").ask(1)


async def test_room(autojump_clock: trio.abc.Clock) -> None:
    """Who floods one that does not read waits, as with a process."""
    settings = {"mailbox_size": 64 * 1024}
    async with open_primary(Supervisor(children=[task("a", hoards)]), settings=settings) as primary:
        a, sent = primary.ref("a"), 0
        with trio.move_on_after(5):
            while True:
                await a.send(bytes(1000))
                sent += 1
        assert 60 < sent < 70
        with pytest.raises(trio.WouldBlock):
            a.send_nowait(bytes(1000))


async def test_its_own_children_know_it(autojump_clock: trio.abc.Clock) -> None:
    async with run_tree([task("a", actors.echo), task("b", spawns)]) as scene:
        assert [[True, ["a", 1]]] * 2 == (await scene.primary.mailbox.receive()).body
        with pytest.raises(RuntimeError, match="no actor here"):
            current_actor()


async def test_last_words_come_before_the_end(autojump_clock: trio.abc.Clock) -> None:
    """All that was sent before main returned, in order."""
    async with run_tree([task("a", counts, 300, restart="temporary")]) as scene:
        await scene.until("exit a normal")
        assert 300 == scene.primary.statistics().mailbox.messages
        got = [scene.primary.mailbox.receive_nowait().body for _ in range(300)]
        assert [*range(300)] == got


async def counts(actor: Actor, most: int) -> None:
    """Send numbers, and leave."""
    for number in range(most):
        await actor.send(number)


async def test_a_monitor_of_a_task_and_in_one(autojump_clock: trio.abc.Clock) -> None:
    async with run_tree([task("a", actors.puppet), task("b", watches, "a")]) as scene:
        async with scene.primary.ref("b").monitor() as monitor:
            await scene.primary.mailbox.receive()
            scene.worker("a").kill("SIGINT")
            assert ["signal", "SIGINT"] == (await scene.primary.mailbox.receive()).body
            down = await monitor.wait()
            assert down.status is not None
            assert "normal" == down.status.reason


async def watches(actor: Actor, name: str) -> None:
    """Tell how somebody ended, and leave."""
    async with actor.ref(name).monitor() as monitor:
        await actor.send("watching")
        status = (await monitor.wait()).status
        assert status is not None
        await actor.send([status.reason, status.signal])


async def test_nothing_is_kept_of_a_life_that_is_over(autojump_clock: trio.abc.Clock) -> None:
    async with open_primary() as primary:
        for _ in range(3):
            worker = await primary.fork(actors.echo, run="task")
            await worker.ask(1)
            await worker.disconnect()
        del worker
        for _ in range(3):
            await trio.sleep(PATIENCE / 10)
            gc.collect()
        assert [] == [one for one in gc.get_objects() if type(one).__name__ == "TaskLink"]
