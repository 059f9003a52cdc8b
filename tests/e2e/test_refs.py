"""Refs: mail by name, from anywhere to anywhere, with real workers."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import trio

import actorcluster
from actorcluster import NoSuchActor, PeerClosed, Primary, Ref, Worker
from tests.e2e import actors


async def said(worker: Worker) -> Any:
    """The next thing that a worker says to the primary."""
    with trio.fail_after(60):
        return (await worker.mailbox.receive()).body


async def test_from_the_primary() -> None:
    async with actorcluster.open_primary() as primary:
        await primary.fork(actors.names_itself, name="web")
        ref = primary.ref("web")
        assert ["web", "primary", 5] == await ref.ask(5)
        await ref.send("hello")
        ref.send_nowait("hello")
        for _ in range(2):
            assert ["web", "hello"] == (await primary.mailbox.receive()).body


async def test_from_worker_to_worker() -> None:
    """The answer, an error with the way it took, and nobody of that name."""
    async with actorcluster.open_primary() as primary:
        await primary.fork(actors.names_itself, name="web")
        one = await primary.fork(actors.asks, "web", "x", "fail", name="one")
        other = await primary.fork(actors.asks, "nobody", "x", name="other")
        assert {"answer": ["web", "one", "x"]} == await said(one)
        assert {"error": "RemoteError", "path": [0]} == await said(one)
        assert {"error": "NoSuchActor", "path": []} == await said(other)


@pytest.mark.parametrize("run", ["process", "task"])
async def test_as_an_argument(run: Literal["process", "task"]) -> None:
    """By name and pinned to one life; what it has is of its own process."""
    async with actorcluster.open_primary() as primary:
        await primary.fork(actors.names_itself, name="web")
        by_name = primary.ref("web")
        await by_name.send("hello")
        pinned = (await primary.mailbox.receive()).sender
        worker = await primary.fork(actors.asks_its_friends, by_name, pinned, name="one", run=run)
        assert [["web", "one", "web"]] * 2 == await said(worker)


async def test_one_of_another_primary_is_no_argument() -> None:
    async with actorcluster.open_primary() as primary, actorcluster.open_primary() as other:
        for run in ("process", "task"):
            with pytest.raises(TypeError, match=r"args\[0\].*is of another primary"):
                await primary.fork(actors.asks_its_friends, other.ref("web"), run=run)


async def test_sending_from_worker_to_worker() -> None:
    """It waits for one that starts, and knows when there never was one, or is none any more."""
    async with actorcluster.open_primary() as primary:
        sender = await primary.fork(actors.sends_as_told)
        assert "NoSuchActor" == await sender.ask("web")
        web = primary.fork_soon(actors.collects, 2, name="web")
        assert "sent" == await sender.ask("web")
        assert "sent" == await sender.ask("web")
        assert ["hello", "hello"] == await said(web)
        await web.wait()
        await sender.ask("web")  # it cannot know yet
        with trio.fail_after(60):
            while await sender.ask("web") != "PeerClosed":
                pass


async def test_a_target_that_starts_is_waited_for() -> None:
    async with actorcluster.open_primary() as primary:
        primary.fork_soon(actors.names_itself, name="web")
        assert ["web", "primary", 1] == await primary.ref("web").ask(1)
        primary.fork_soon(actors.names_itself, name="web2")
        with pytest.raises(trio.WouldBlock):
            primary.ref("web2").send_nowait(1)
        asker = await primary.fork(actors.asks, "web2", 2)
        assert {"answer": ["web2", asker.name, 2]} == await said(asker)


async def test_unknown_gone_and_successors() -> None:
    """A name outlives its bearers; a ref pinned to one life does not."""
    async with actorcluster.open_primary() as primary:
        by_name = primary.ref("web")
        for attempt in (by_name.send, by_name.ask):
            with pytest.raises(NoSuchActor, match="'web'"):
                await attempt("x")
        worker = await primary.fork(actors.names_itself, name="web")
        await worker.send("hello")
        pinned = (await primary.mailbox.receive()).sender
        assert "web" == pinned.name
        status = await worker.disconnect()
        for attempt in (by_name.send, by_name.ask, pinned.send, pinned.ask):
            with pytest.raises(PeerClosed) as caught:
                await attempt("x")
            assert status is caught.value.status
        with pytest.raises(PeerClosed):
            by_name.send_nowait("x")
        await primary.fork(actors.names_itself, name="web")
        assert ["web", "primary", 6] == await by_name.ask(6)
        with pytest.raises(PeerClosed):
            await pinned.ask(6)


@pytest.mark.parametrize("name", ["worker-1", "worker-2", "worker-01", "worker-x", ""])
async def test_default_names(name: str) -> None:
    """Those that were given are gone, all others were never anybody's."""
    async with actorcluster.open_primary() as primary:
        await primary.fork(actors.returns)
        await primary.wait()
        expected = PeerClosed if name == "worker-1" else NoSuchActor
        with pytest.raises(expected):
            await primary.ref(name).send("x")


async def test_senders_are_pinned_to_their_life() -> None:
    """What a worker knows of another from its mail goes to that life, and to no successor."""
    async with actorcluster.open_primary() as primary:
        keeper = await primary.fork(actors.asks, "nobody", name="keeper")
        first = await primary.fork(actors.floods, "keeper", 1, name="sender")
        mail = await said(keeper)
        assert [first.id, 0] == mail["mail"]
        sender: Ref = mail["from"]
        assert ("sender", "<Ref 'sender' pinned to 2>") == (sender.name, repr(sender))
        await first.wait()
        await primary.fork(actors.idle, name="sender")
        with pytest.raises(PeerClosed):
            await sender.send("x")


async def test_refs_travel() -> None:
    """In any body, to anywhere; they mean the same there."""
    async with actorcluster.open_primary() as primary:
        web = await primary.fork(actors.names_itself, name="web")
        keeper = await primary.fork(actors.asks, "nobody", name="keeper")
        await keeper.send([primary.ref("web"), primary.ref("primary")])
        by_name, us = (await said(keeper))["mail"]
        assert [primary.ref("web"), primary.ref("primary")] == [by_name, us]
        assert ["web", "primary", 1] == await by_name.ask(1)
        assert web.id == 1


async def test_refs_do_not_leave_their_cluster() -> None:
    async with actorcluster.open_primary() as one, actorcluster.open_primary() as two:
        worker = await one.fork(actors.names_itself, name="web")
        with pytest.raises(TypeError, match="another primary"):
            await worker.send(two.ref("web"))


async def test_the_primary_and_itself() -> None:
    """It can send to itself, in order and as everywhere; it cannot ask itself."""
    async with actorcluster.open_primary() as primary:
        us = primary.ref("primary")
        for number in range(200):
            await us.send((number,))
        us.send_nowait(us)
        for number in range(200):
            message = await primary.mailbox.receive()
            assert [number] == message.body
            assert us == message.sender
        assert us == (await primary.mailbox.receive()).body
        with pytest.raises(RuntimeError, match="asks itself"):
            await us.ask("x")
        with pytest.raises(TypeError, match="body"):
            await us.send(object())
    with pytest.raises(PeerClosed):
        await us.send("x")


async def test_the_primarys_mailbox_to_itself_has_room_for_so_much() -> None:
    async with actorcluster.open_primary(settings={"mailbox_size": 65536}) as primary:
        us = primary.ref("primary")
        with pytest.raises(trio.WouldBlock):
            for _ in range(100):
                us.send_nowait(b"x" * 10_000)
        with trio.move_on_after(0.1) as scope:
            await us.send(b"x" * 10_000)
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(us.send, b"last")
            while (await primary.mailbox.receive()).body != b"last":
                pass


async def test_the_primary_closes_before_it_has_sent_anything_to_itself() -> None:
    async with actorcluster.open_primary() as primary:
        us = primary.ref("primary")
    with pytest.raises(PeerClosed):
        await us.send("x")


async def test_giving_up_goes_all_the_way() -> None:
    """The asker dies; the handler at the other worker is cancelled and takes the next ask."""
    async with actorcluster.open_primary() as primary:
        web = await primary.fork(actors.names_itself, name="web")
        asker = await primary.fork(actors.asks, "web", "wait")
        assert "waiting" == await said(web)
        asker.kill("SIGKILL")
        with trio.fail_after(60):
            assert ["web", "primary", 1] == await web.ask(1)


async def test_the_target_dies() -> None:
    async with actorcluster.open_primary() as primary:
        web = await primary.fork(actors.names_itself, name="web")
        asker = await primary.fork(actors.asks, "web", "wait")
        assert "waiting" == await said(web)
        web.kill("SIGKILL")
        assert {"error": "PeerClosed", "path": []} == await said(asker)


async def test_everybody_to_everybody() -> None:
    """Three flood one, each in order, and nothing is lost on the way."""
    async with actorcluster.open_primary() as primary:
        sink = await primary.fork(actors.collects, 3000, name="sink")
        sources = [await primary.fork(actors.floods, "sink", 1000) for _ in range(3)]
        with trio.fail_after(60):
            bodies = (await sink.mailbox.receive()).body
    by_source = {source.id: [n for who, n in bodies if who == source.id] for source in sources}
    assert {source.id: list(range(1000)) for source in sources} == by_source


async def test_a_ref_never_fails() -> None:
    """It is only a name until somebody uses it."""

    def make(primary: Primary) -> Ref:
        return primary.ref("what ever, 日本")

    async with actorcluster.open_primary() as primary:
        assert "what ever, 日本" == make(primary).name
