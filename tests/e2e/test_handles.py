"""Handles through real workers: the right thing arrives, is used, and is closed exactly once."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import socket
import ssl
import tempfile
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import Actor, Handle, HandleError, Message, PeerClosed, Worker, events
from tests.e2e import actors

all_blocked = trio.testing.wait_all_tasks_blocked


# ---- in workers ----


def seen(handle: Handle) -> dict[str, Any]:
    """What can be said about a handle that others can check."""
    status = os.fstat(handle.fileno())
    return {"kind": handle.kind, "id": [status.st_dev, status.st_ino], "size": status.st_size}


def handles_in(body: Any) -> list[Handle]:
    """All handles in a body, in reading order."""
    if isinstance(body, Handle):
        return [body]
    nests = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    return list(itertools.chain.from_iterable(map(handles_in, nests)))


def all_handles(message: Message) -> list[Handle]:
    beside = [] if message.handle is None else [message.handle]
    return [*beside, *handles_in(message.body)]


async def look(actor: Actor) -> None:
    """Say what arrived, and close it."""
    async for message in actor.mailbox:
        with message:
            described = []
            for handle in all_handles(message):
                described.append(seen(handle))
                handle.close()
            if message.is_ask:
                await message.reply(described)
            else:
                await actor.send(described)


async def use(actor: Actor) -> None:
    """Use what was given beside the body as what it is: tell "used" to whoever is at its end."""
    async for message in actor.mailbox:
        with message:
            assert message.handle is not None
            match message.handle.kind:
                case "tcp_stream" | "unix_stream":
                    async with message.handle.into_stream() as stream:
                        await stream.send_all(b"used")
                case "tcp_listener" | "unix_listener":
                    async with message.handle.into_listener() as listener:
                        async with await listener.accept() as stream:
                            await stream.send_all(b"used")
                case "udp_socket":
                    with message.handle.into_socket() as sock:
                        await sock.sendto(b"used", tuple(message.body))
                case "pipe" if message.body == "write":
                    async with message.handle.into_stream() as stream:
                        await stream.send_all(b"used")
                case _:
                    with message.handle.into_file() as file:
                        await actor.send(file.read())


async def give_back(actor: Actor) -> None:
    """Answer with what was asked, handles and all; plain messages come back as such."""
    async for message in actor.mailbox:
        with message:
            if message.is_ask:
                await message.reply(message.body, message.handle)
            else:
                await actor.send(message.body, message.handle)


async def originate(actor: Actor) -> None:
    """Send what the primary never had: in a send, in an ask, and in the answer to an ask."""
    await actor.send({"in": "body", "handle": Handle.of(memfd(1))})
    await actor.send("beside", memfd(2))
    assert "thanks" == await actor.ask(["ask", Handle.of(memfd(3))], memfd(4))
    message = await actor.mailbox.receive()
    with message:
        await message.reply([Handle.of(memfd(5))])
    message = await actor.mailbox.receive()
    with message:
        await message.reply(None, memfd(6))


async def forget(actor: Actor) -> None:
    """Leave a message's block with its handles unclaimed."""
    message = await actor.mailbox.receive()
    handles = all_handles(message)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with message:
            claimed = handles.pop().detach()
    os.close(claimed)
    texts = [f"{warning.category.__name__}: {warning.message}" for warning in caught]
    await actor.send([*texts, [handle.closed for handle in handles]])


async def hold(actor: Actor) -> None:
    """Receive, and keep what arrives."""
    kept = []
    async for message in actor.mailbox:
        kept.append(message)
        if message.body == "last":
            await actor.send(len(kept))


async def serve(actor: Actor) -> None:
    """Serve connections that were accepted elsewhere."""

    async def echo(handle: Handle) -> None:
        async with handle.into_stream() as stream:
            async for data in stream:
                await stream.send_all(data.upper())

    async with trio.open_nursery() as nursery:
        async for message in actor.mailbox:
            assert message.handle is not None
            nursery.start_soon(echo, message.handle)


async def without_descriptors(actor: Actor) -> None:
    """Receive in vain, as long as this process gets no descriptors; then in earnest."""
    message = await actor.mailbox.receive()
    before = len(os.listdir("/proc/self/fd"))
    with no_free_descriptor(but=2):
        message.fail(ValueError("ready"))
        message = await actor.mailbox.receive()  # what had handles never came
        await message.reply(message.body)
    await actor.send(len(os.listdir("/proc/self/fd")) - before)
    await look(actor)


async def ask_with_handle(actor: Actor) -> None:
    """Ask the primary, handing over what it cannot take."""
    message = await actor.mailbox.receive()
    try:
        await actor.ask("take these", memfd(1))
    except HandleError as exc:
        await message.reply(str(exc))
    await actor.send("lost", memfd(2))
    await actor.send("behind it")
    await actor.mailbox.receive()
    await actor.send("and on", memfd(3))


async def to_other(actor: Actor, name: str) -> None:
    """Hand something over to another worker."""
    answer = await actor.ref(name).ask(["x", Handle.of(memfd(7))], memfd(8))
    await actor.send(answer)


# ---- things to give ----


def memfd(size: int = 0) -> int:
    """A descriptor that can be told from others by its size."""
    fd = os.memfd_create("test")
    os.truncate(fd, size)
    return fd


@contextlib.contextmanager
def no_free_descriptor(*, but: int = 0) -> Iterator[None]:
    """While the block runs, this process gets no more descriptors, or only so many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.closing(Handle.of(os.open("/proc/self/fd", os.O_RDONLY))) as directory:
        used = {int(name) for name in os.listdir(directory.fileno())} - {directory.fileno()}
    free = [number for number in range(len(used) + but + 1) if number not in used]
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[but], hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


async def receive(end: socket.socket) -> bytes:
    """What arrives at our end."""
    await trio.lowlevel.wait_readable(end)
    return end.recv(100)


async def connect_and_receive(address: Any) -> bytes:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with trio.socket.socket(family) as sock:
        await sock.connect(address)
        return await sock.recv(100)


async def told(worker: Worker) -> bytes:
    """What the worker says to have read."""
    body = (await worker.mailbox.receive()).body
    assert isinstance(body, bytes)
    return body


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        return listener.accept()[0], client


@attrs.frozen
class Gift:
    """Something to hand over.

    Attributes:
        thing: as it is given.
        kind: what the receiver calls it.
        used: waits for what a worker that uses it tells whoever is at its other end.
        hint: what the worker needs to know.
    """

    thing: Any
    kind: str
    used: Callable[[Worker], Awaitable[bytes]]
    hint: Any = None

    @property
    def fd(self) -> int:
        """The number of its descriptor; negative, or an error, when that is not here any more."""
        if isinstance(self.thing, int):
            return self.thing
        return int(getattr(self.thing, "socket", self.thing).fileno())

    @property
    def is_gone(self) -> bool:
        """Whether its giver cannot use it any more."""
        try:
            return not is_open(self.fd)
        except (trio.ClosedResourceError, ValueError):
            return True

    async def goes(self) -> None:
        """Wait until it is gone; a mere number is the link's until the receiver has it."""
        assert isinstance(self.thing, int) or self.is_gone
        while not self.is_gone:  # noqa: ASYNC110 (there is nobody who would tell)
            await trio.sleep(0.001)


Maker = Callable[[contextlib.ExitStack], Gift]
"""Makes a gift; the stack closes its other end."""


def same(thing: Any) -> Any:
    return thing


def as_trio(sock: socket.socket) -> trio.socket.SocketType:
    sock.setblocking(False)
    return trio.socket.from_stdlib_socket(sock)


def as_stream(sock: socket.socket) -> trio.SocketStream:
    return trio.SocketStream(as_trio(sock))


def as_listener(sock: socket.socket) -> trio.SocketListener:
    return trio.SocketListener(as_trio(sock))


def as_number(sock: socket.socket) -> int:
    return sock.detach()


def tcp(wrap: Callable[[socket.socket], Any]) -> Maker:
    def make(stack: contextlib.ExitStack) -> Gift:
        ours, theirs = tcp_pair()
        stack.enter_context(theirs)
        return Gift(wrap(ours), "tcp_stream", lambda _: receive(theirs))

    return make


def unix(wrap: Callable[[socket.socket], Any]) -> Maker:
    def make(stack: contextlib.ExitStack) -> Gift:
        ours, theirs = socket.socketpair()
        stack.enter_context(theirs)
        return Gift(wrap(ours), "unix_stream", lambda _: receive(theirs))

    return make


def tcp_listener(wrap: Callable[[socket.socket], Any]) -> Maker:
    def make(_: contextlib.ExitStack) -> Gift:
        sock = socket.create_server(("127.0.0.1", 0))
        address = sock.getsockname()
        return Gift(wrap(sock), "tcp_listener", lambda _: connect_and_receive(address))

    return make


def unix_listener(stack: contextlib.ExitStack) -> Gift:
    path = os.path.join(stack.enter_context(tempfile.TemporaryDirectory()), "socket")
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return Gift(sock, "unix_listener", lambda _: connect_and_receive(path))


def udp(stack: contextlib.ExitStack) -> Gift:
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    stack.enter_context(theirs).bind(("127.0.0.1", 0))
    return Gift(ours, "udp_socket", lambda _: receive(theirs), list(theirs.getsockname()))


def file(wrap: Callable[[Any], Any], *, at: int) -> Maker:
    def make(_: contextlib.ExitStack) -> Gift:
        thing = tempfile.TemporaryFile()
        thing.write(b"x" * at + b"used")
        thing.seek(at)
        return Gift(wrap(thing), "file", told)

    return make


def pipe_to_write(wrap: Callable[[int], Any]) -> Maker:
    def make(stack: contextlib.ExitStack) -> Gift:
        reading, writing = os.pipe()
        end = stack.enter_context(open(reading, "rb", 0))

        async def used(_: Worker) -> bytes:
            await trio.lowlevel.wait_readable(end)
            return end.read(100)

        return Gift(wrap(writing), "pipe", used, "write")

    return make


def pipe_to_read(wrap: Callable[[int], Any]) -> Maker:
    def make(_: contextlib.ExitStack) -> Gift:
        reading, writing = os.pipe()
        os.write(writing, b"used")
        os.close(writing)
        return Gift(wrap(reading), "pipe", told)

    return make


def memory(_: contextlib.ExitStack) -> Gift:
    fd = os.memfd_create("test")
    os.write(fd, b"used")
    os.lseek(fd, 0, os.SEEK_SET)
    return Gift(fd, "memfd", told)


GIFTS: dict[str, Maker] = {
    "tcp socket": tcp(same),
    "tcp socket of trio": tcp(as_trio),
    "tcp SocketStream": tcp(as_stream),
    "tcp socket, its number": tcp(as_number),
    "tcp Handle": tcp(Handle.of),
    "unix socket": unix(same),
    "unix SocketStream": unix(as_stream),
    "tcp listening socket": tcp_listener(same),
    "tcp SocketListener": tcp_listener(as_listener),
    "unix listening socket": unix_listener,
    "udp socket": udp,
    "file": file(same, at=0),
    "file in the middle": file(same, at=1000),
    "file of trio": file(trio.wrap_file, at=10),
    "pipe to write, its number": pipe_to_write(same),
    "pipe to write, a file": pipe_to_write(lambda fd: open(fd, "wb")),
    "pipe to read, its number": pipe_to_read(same),
    "pipe to read, a file": pipe_to_read(lambda fd: open(fd, "rb", 0)),
    "memfd": memory,
}


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


def as_closed() -> socket.socket:
    sock = socket.socket()
    sock.close()
    return sock


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
                (HandleError, [handle], tls),
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


async def raises_peer_closed(act: Callable[..., Awaitable[Any]], *args: Any) -> None:
    with pytest.raises(PeerClosed):
        await act(*args)


async def test_unclaimed_handles_are_closed_with_a_warning() -> None:
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(forget)
        await worker.send([Handle.of(memfd()), Handle.of(memfd())], memfd())
        *texts, closed = (await worker.mailbox.receive()).body
        assert [True, True] == closed
        assert 2 == len(texts)
        assert all(text.startswith("ResourceWarning: <Handle memfd") for text in texts)


# ---- many ----


async def test_hundreds_under_way_both_ways() -> None:
    """Each arrives in its place, and nothing but what was given."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(give_back)
        sizes: list[int] = []

        async def collect(count: int) -> None:
            for _ in range(count):
                with await worker.mailbox.receive() as message:
                    handles = all_handles(message)
                    assert message.body[0] == len(handles)
                    sizes.extend(seen(handle)["size"] for handle in handles)
                    for handle in handles:
                        handle.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(collect, 250)
            size = 0
            for number in range(250):
                count = 10 if number % 10 == 0 else 1
                handles = [Handle.of(memfd(size + offset)) for offset in range(count)]
                size += count
                await worker.send([count, *handles[1:]], handles[0])
        assert list(range(size)) == sizes


async def test_as_many_in_one_message_as_a_system_call_carries() -> None:
    """With much else before, behind and beside them."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(give_back)
        for _ in range(3):
            handles = [Handle.of(memfd(size)) for size in range(253)]
            answer = await worker.ask([b"x" * 3_000_000, handles, "y" * 100_000])
            assert list(range(253)) == [seen(handle)["size"] for handle in answer[1]]
            for handle in answer[1]:
                handle.close()
        assert "z" == await worker.ask("z")


async def test_many_asks_with_handles_at_once() -> None:
    """Each gets its own back."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(give_back)

        async def ask(size: int) -> None:
            if size % 2:
                handle = await worker.ask(None, memfd(size))
            else:
                (handle,) = await worker.ask([Handle.of(memfd(size))])
            assert size == seen(handle)["size"]
            handle.close()

        async with trio.open_nursery() as nursery:
            for size in range(200):
                nursery.start_soon(ask, size)


async def test_to_another_worker() -> None:
    """The primary passes handles on like everything else, and keeps none."""
    async with actorcluster.open_primary() as primary:
        await primary.fork(look, name="target")
        worker = await primary.fork(to_other, "target")
        described = (await worker.mailbox.receive()).body
        assert [8, 7] == [one["size"] for one in described]


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


# ---- death ----


async def test_a_receiver_that_dies_holding_them() -> None:
    """What it held is closed with it: the other ends see that."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(hold)
        pipes = [os.pipe() for _ in range(50)]
        for number, (_, writing) in enumerate(pipes):
            await worker.send("last" if number == 49 else number, writing)
        assert 50 == (await worker.mailbox.receive()).body
        worker.kill("SIGKILL")
        assert "SIGKILL" == (await worker.wait()).signal
        for reading, _ in pipes:
            async with trio.lowlevel.FdStream(reading) as end:
                assert b"" == await end.receive_some()


async def test_a_receiver_that_dies_before_it_gets_them() -> None:
    """In the socket, in our hands, or waiting for their turn: all closed."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(hold)
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGSTOP)
        pipes = [os.pipe() for _ in range(300)]
        for _, writing in pipes:
            await worker.send(b"x" * 1000, writing)
        worker.kill("SIGKILL")
        await worker.wait()
        for reading, _ in pipes:
            async with trio.lowlevel.FdStream(reading) as end:
                assert b"" == await end.receive_some()


async def test_an_asker_that_dies_before_the_answer() -> None:
    """The answer is given all the same, and what it holds is closed."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(ask_with_handle)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises_peer_closed, worker.ask, "go")
            message = await primary.mailbox.receive()
            worker.kill("SIGKILL")
            await worker.wait()
            reading, writing = os.pipe()
            with message:
                assert message.handle is not None
                await message.reply(None, writing)
                message.handle.close()
            async with trio.lowlevel.FdStream(reading) as end:
                assert b"" == await end.receive_some()


# ---- no more descriptors ----


async def test_a_worker_without_descriptors() -> None:
    """An ask learns it, a send is an event; afterwards all is as before, and nothing is left."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(without_descriptors)
        with primary.events(events.Error) as errors:
            with pytest.raises(actorcluster.RemoteError, match="ready"):
                await worker.ask("begin")
            with pytest.raises(HandleError):
                await worker.ask(["lost", *(Handle.of(memfd(size)) for size in range(5))])
            await worker.send(["lost", *(Handle.of(memfd(size)) for size in range(5))])
            event = await anext(errors)
            assert isinstance(event, events.Error)
            assert event.worker is worker
            assert "handle_lost" in str(event.error)
        assert "end" == await worker.ask("end")
        assert 0 == (await worker.mailbox.receive()).body
        described = await worker.ask([Handle.of(memfd(size)) for size in range(5)])
        assert list(range(5)) == [one["size"] for one in described]


async def test_a_primary_without_descriptors() -> None:
    """A worker's ask learns it, what else it sent is lost; what comes later arrives."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(ask_with_handle)
        with no_free_descriptor():
            assert "did not arrive" in await worker.ask("go")
            assert "behind it" == (await worker.mailbox.receive()).body
        await worker.send("on")
        with await worker.mailbox.receive() as message:
            assert message.handle is not None
            assert 3 == seen(message.handle)["size"]
            message.handle.close()


async def test_a_giver_without_descriptors() -> None:
    """A duplicate that is not to be had is the giver's trouble, and nothing was sent."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(look)
        with contextlib.closing(Handle.of(memfd(1))) as handle:
            with no_free_descriptor():
                for act in (worker.send, worker.ask):
                    with pytest.raises(OSError, match="Too many open files"):
                        await act([handle], keep_open=True)
            assert 1 == len(await worker.ask([handle], keep_open=True))
