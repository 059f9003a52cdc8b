"""Handles through real workers: the right thing arrives, is used, and is closed exactly once."""

from __future__ import annotations

import contextlib
import itertools
import os
import ssl
from typing import Any

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import Handle, HandleError
from tests.descriptors import is_open, memfd
from tests.e2e import actors
from tests.e2e.handle_actors import (
    all_handles,
    forget,
    give_back,
    handles_in,
    look,
    originate,
    seen,
    serve,
    use,
)
from tests.e2e.things import GIFTS, as_closed, raises_peer_closed, tcp_pair

all_blocked = trio.testing.wait_all_tasks_blocked


# ---- every kind ----


async def test_every_kind_can_be_used_by_its_receiver() -> None:
    """What was given is gone here, and does there what it is for."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(use)
        for name, make in GIFTS.items():
            with contextlib.ExitStack() as stack, trio.fail_after(60):
                gift = make(stack)
                await worker.send(gift.hint, gift.thing)
                assert b"used" == await gift.used(worker), name
                await gift.goes()


@pytest.mark.parametrize("ask", [False, True])
async def test_every_kind_is_what_it_was(ask: bool) -> None:
    """Beside the body or inside it: of the same kind, the very same thing."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(look)
        for make in GIFTS.values():
            with contextlib.ExitStack() as stack:
                gifts = [make(stack) for _ in range(2)]
                status = [os.fstat(gift.fd) for gift in gifts]
                body = {"a": [None, {"b": Handle.of(gifts[1].thing)}]}
                if ask:
                    described = await worker.ask(body, gifts[0].thing)
                else:
                    await worker.send(body, gifts[0].thing)
                    described = (await worker.mailbox.receive()).body
                assert [gift.kind for gift in gifts] == [one["kind"] for one in described]
                ids = [[one.st_dev, one.st_ino] for one in status]
                assert ids == [one["id"] for one in described]
                for gift in gifts:
                    await gift.goes()


# ---- both ways ----


async def test_there_and_back() -> None:
    """In sends, asks and answers; what comes back is what was given."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(give_back)
        for size in (1, 2):
            answer = await worker.ask({"deep": [{"er": Handle.of(memfd(size))}]})
            handle = answer["deep"][0]["er"]
            assert ("memfd", size) == (handle.kind, seen(handle)["size"])
            handle.close()
            await worker.send(["body"], memfd(size))
            with await worker.mailbox.receive() as message:
                assert ["body"] == message.body
                assert message.handle is not None
                assert size == seen(message.handle)["size"]
                message.handle.close()
        handle = await worker.ask(None, memfd(3))
        assert 3 == seen(handle)["size"]
        handle.close()


async def test_from_a_worker() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(originate)
        found: list[Any] = []
        for _ in range(3):
            with await primary.mailbox.receive() as message:
                for handle in all_handles(message):
                    found.append(seen(handle)["size"])
                    handle.close()
                if message.is_ask:
                    await message.reply("thanks")
        (inside,), beside = await worker.ask("inside"), await worker.ask("beside")
        for handle in (inside, beside):
            found.append(seen(handle)["size"])
            handle.close()
        assert [1, 2, 4, 3, 5, 6] == found


async def test_message_handle() -> None:
    """The one given beside the body, whatever the body holds."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(give_back)
        await worker.send([Handle.of(memfd(1))])
        await worker.send([Handle.of(memfd(2))], memfd(3))
        both = Handle.of(memfd(4))
        await worker.send([both, both], both)
        with await worker.mailbox.receive() as message:
            assert None is message.handle
            message.body[0].close()
        with await worker.mailbox.receive() as message:
            assert [3, 2] == [seen(handle)["size"] for handle in all_handles(message)]
            for handle in all_handles(message):
                handle.close()
        with await worker.mailbox.receive() as message:
            assert message.handle is message.body[0] is message.body[1]
            message.handle.close()


# ---- who owns what ----


async def test_keep_open_covers_every_handle() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(look)
        fd, handle = memfd(1), Handle.of(memfd(2))
        for _ in range(2):
            described = await worker.ask([handle], fd, keep_open=True)
            assert [1, 2] == [one["size"] for one in described]
        await worker.send([handle], fd, keep_open=True)
        worker.send_nowait([handle], fd, keep_open=True)
        for _ in range(2):
            assert 2 == len((await worker.mailbox.receive()).body)
        assert is_open(fd)
        assert not handle.closed
        os.close(fd)
        handle.close()


async def test_keep_open_shares_what_was_given() -> None:
    """It is one pipe with two writers, not two pipes."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(use)
        reading, writing = os.pipe()
        async with trio.lowlevel.FdStream(reading) as end:
            await worker.send("write", writing, keep_open=True)
            assert b"used" == await end.receive_some()
            os.write(writing, b"still open")
            assert b"still open" == await end.receive_some()
            os.close(writing)
            assert b"" == await end.receive_some()


async def test_broadcast_duplicates_for_each() -> None:
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(look) for _ in range(3)]
        with contextlib.closing(Handle.of(memfd(1))) as handle:
            assert {1, 2, 3} == await primary.broadcast([handle])
            bodies = [(await worker.mailbox.receive()).body for worker in workers]
            assert [seen(handle)] * 3 == [body[0] for body in bodies]
            answers = await primary.gather([handle], timeout=10)
            assert {1: [seen(handle)], 2: [seen(handle)], 3: [seen(handle)]} == answers


async def test_what_was_given_cannot_be_given_again() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(look)
        handle, (ours, theirs) = Handle.of(memfd()), tcp_pair()
        await worker.send([handle], ours)
        for body, beside in (([handle], None), (None, handle), (None, ours), ([1], as_closed())):
            for act in (worker.send, worker.ask):
                with pytest.raises(trio.ClosedResourceError):
                    await act(body, beside)
            with pytest.raises(trio.ClosedResourceError):
                worker.send_nowait(body, beside)
        with pytest.raises(trio.ClosedResourceError):
            handle.fileno()
        assert 2 == len((await worker.mailbox.receive()).body)
        theirs.close()


async def test_what_cannot_be_given_stays() -> None:
    """With everything else in the message; and nothing was sent."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(look)
        fd, handle = memfd(), Handle.of(memfd())
        ours, theirs = tcp_pair()
        tls = ssl.create_default_context().wrap_socket(
            ours, server_hostname="x", do_handshake_on_connect=False
        )
        with tls, theirs, contextlib.closing(handle):
            for error, body, beside in (
                (TypeError, [handle], tls),
                (TypeError, [handle, tls], fd),
                (TypeError, [handle], object()),
                (TypeError, [handle, theirs], fd),
                (TypeError, [handle, {1, 2}], fd),
                (HandleError, [[Handle.of(os.dup(fd)) for _ in range(254)]], fd),
                (actorcluster.MessageTooLarge, [handle, bytes(17_000_000)], fd),
            ):
                for act in (worker.send, worker.ask):
                    with pytest.raises(error):
                        await act(body, beside)
                for extra in handles_in(body):
                    assert not extra.closed
                    if extra is not handle:
                        extra.close()
            assert is_open(fd)
            assert 0 == len(await worker.ask("nothing came"))
        os.close(fd)


async def test_arguments_hold_no_handles() -> None:
    async with actorcluster.open_primary() as primary:
        with contextlib.closing(Handle.of(memfd())) as handle:
            with pytest.raises(TypeError):
                await primary.fork(look, handle)


async def test_waiting_in_vain_keeps_handles() -> None:
    """Cancelled while there is no room, or refused at Stop: they are still the sender's."""
    async with actorcluster.open_primary(settings={"mailbox_size": 65536}) as primary:
        worker = await primary.fork(actors.idle)
        with pytest.raises(trio.WouldBlock):
            while True:
                worker.send_nowait(b"x" * 10_000)
        fd, handle = memfd(1), Handle.of(memfd(2))
        body = [handle, b"x" * 10_000]
        with pytest.raises(trio.WouldBlock):
            worker.send_nowait(body, fd)
        for act in (worker.send, worker.ask):
            with trio.move_on_after(0.05) as scope:
                await act(body, fd)
            assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            for act in (worker.send, worker.ask):
                nursery.start_soon(raises_peer_closed, act, body, fd)
            await all_blocked()
            nursery.start_soon(worker.disconnect, 0)
        assert is_open(fd)
        assert not handle.closed
        handle.close()
        os.close(fd)


async def test_unclaimed_handles_are_closed_with_a_warning() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(forget)
        await worker.send([Handle.of(memfd()), Handle.of(memfd())], memfd())
        *texts, closed = (await worker.mailbox.receive()).body
        assert [True, True] == closed
        assert 2 == len(texts)
        assert all(text.startswith("ResourceWarning: <Handle memfd") for text in texts)


# ---- connections ----


async def test_an_accepted_connection_is_served_by_a_worker() -> None:
    """Accepted here, handed over in turn, served there: the client notices nothing."""
    async with actorcluster.open_primary() as primary:
        workers = [await primary.fork(serve) for _ in range(2)]
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        turns = itertools.cycle(workers)

        async def accept() -> None:
            while True:
                await next(turns).send("serve it", await listener.accept())

        async def talk(number: int) -> None:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                for word in (f"hello {number}", "bye"):
                    await stream.send_all(word.encode())
                    assert word.upper().encode() == await stream.receive_some()

        async with listener, trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            async with trio.open_nursery() as clients:
                for number in range(20):
                    clients.start_soon(talk, number)
            nursery.cancel_scope.cancel()
        await primary.disconnect(timeout=0)
