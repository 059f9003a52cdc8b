"""Messages: what arrives, what is refused, what is never lost."""

from __future__ import annotations

import datetime
import errno
import os
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import ExitStatus, PeerClosed, RemoteError, Worker, WorkerStartError, events
from actorcluster.wire._generated import Kind
from actorcluster.wire.frames import FrameReader, encode_frame, encode_head
from actorcluster.wire.values import Values
from tests.cluster.inproc import no_more_descriptors
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import Client, scene, shape

#: An answer, nil, on a channel that was never opened.
UNASKED = encode_frame(Kind.REPLY, 4_000_000, b"\xc0", b"\xc0")


def wire_of(worker: Worker) -> Any:
    """The socket at this end of a worker's channel."""
    return worker._life.channel._socket._sock  # type: ignore[union-attr]  # there is one while it is online


async def test_both_ways() -> None:
    looks = [{"cmd": "NODE_CLUSTER", "act": "exit"}, {"cmd": "xNODE_"}, UNASKED]
    async with scene() as stage:
        worker = await stage.worker(["listen"])
        address = (await stage.until(events.Listening, worker)).address
        await worker.send(["greet_with", "hello\n"])
        async with await Client.connect(address[1]) as client:
            await client.served_by()
            with clause("MS-01.a"):
                assert "hello" == await client.line()
        async with trio.open_nursery() as nursery:
            bodies: list[Any] = []

            async def waits() -> None:
                bodies.append((await worker.mailbox.receive()).body)

            nursery.start_soon(waits)
            await trio.testing.wait_all_tasks_blocked()
            await worker.send(["say", ["to", "me"]])
        with clause("MS-01.b"):
            assert [["to", "me"]] == bodies
        await worker.send(["say", {"to": "all"}])
        message = await stage.primary.mailbox.receive()
        with clause("MS-01.c"):
            assert ({"to": "all"}, worker.name) == (message.body, message.sender.name)
        for body in looks:
            await worker.send(["say", body])
        with clause("MS-08.a"):
            assert looks == [(await worker.mailbox.receive()).body for _ in looks]
        await worker.ask(["echo", None])
        with clause("MS-01.d"), pytest.raises(trio.WouldBlock):
            stage.primary.mailbox.receive_nowait()


async def test_unasked_answers() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        assert len(UNASKED) == wire_of(worker).send(UNASKED)
        with clause("MS-02.a"):
            assert "still here" == await worker.ask(["echo", "still here"])
        await worker.ask(["raw", UNASKED])
        with clause("MS-02.b"):
            assert "still here" == await worker.ask(["echo", "still here"])
        with clause("MS-02.c"):
            assert (0, None) == shape(await worker.disconnect())[:2]


async def test_what_a_send_means() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        worker.kill("SIGSTOP")
        with clause("MS-03.a"):
            assert [None, None] == [await worker.send(["echo", n]) for n in range(2)]  # type: ignore[func-returns-value]  # that is the clause
        worker.kill("SIGKILL")
        status = await worker.wait()
        with pytest.raises(PeerClosed) as caught:
            await worker.send("too late")
        with clause("MS-03.b"):
            assert 2 == caught.value.unconfirmed
        with clause("MS-04.a"):
            assert status is caught.value.status
        with clause("MS-04.b"), pytest.raises(PeerClosed, match="gone"):
            worker.send_nowait("too late")
        with clause("MS-04.c"), pytest.raises(PeerClosed, match="gone"):
            await worker.ask("too late")
        await stage.everything()
        with clause("MS-04.d"):
            assert ["Disconnect", "Exit"] == stage.kinds(worker)[-2:]


async def test_more_than_is_taken() -> None:
    async with scene(settings={"mailbox_size": 64 * 1024}) as stage, trio.open_nursery() as nursery:
        worker = await stage.primary.fork(actors.reads_when_told, ready="called")
        sent: list[int] = []
        refusal: trio.WouldBlock | None = None
        while refusal is None:
            try:
                handle = os.memfd_create("x") if len(sent) % 2 else None
                worker.send_nowait([len(sent), bytes(10_000)], handle)
            except trio.WouldBlock as exc:
                refusal = exc
                if handle is not None:
                    os.close(handle)
            else:
                sent.append(len(sent))
        with clause("MS-05.a"):
            assert [0, 1, 2, 3, 4, 5] == sent
        with clause("MS-05.b"):
            assert isinstance(refusal, trio.WouldBlock)

        nursery.start_soon(worker.send, [len(sent), bytes(10_000)])
        sent.append(len(sent))
        await trio.testing.wait_all_tasks_blocked()
        with clause("MS-05.c"):
            assert 1 == worker.statistics().channel.senders_waiting  # type: ignore[union-attr]  # there is one while it is online
        worker.kill("SIGUSR1")
        with clause("MS-05.d"):
            assert sent == [(await worker.mailbox.receive()).body for _ in sent]
        worker.send_nowait([-1, b""], os.memfd_create("x"))
        with clause("MS-05.e"):
            assert -1 == (await worker.mailbox.receive()).body


async def test_what_cannot_be_sent() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        with clause("MS-06.a"), pytest.raises(TypeError, match=r"body\['x'\]\[0\]"):
            await worker.send({"x": [object()]})
        with clause("MS-06.c"), pytest.raises(TypeError, match="str has no descriptor"):
            await worker.send("body", "no handle")
        said = await worker.ask(["say_wrong_things"])
        with clause("MS-06.b"):
            assert "TypeError: body['x'][0]" in said[0]
        with clause("MS-06.d"):
            assert "TypeError" in said[1]
        with clause("MS-06.e"):
            assert (0, "all") == (len(worker.mailbox), await worker.ask(["echo", "all"]))


async def test_large_ones() -> None:
    async with scene() as stage:
        worker = await stage.worker()
        text = "äöüß" * 100_000
        with clause("MS-07.a"):
            assert text == await worker.ask(["echo", text])
        bodies = [bytes([number]) * (8 * 1024 * 1024) for number in range(4)]
        async with trio.open_nursery() as nursery:
            for body in bodies:
                nursery.start_soon(worker.send, ["say", body])
                await trio.testing.wait_all_tasks_blocked()
            arrived = [(await worker.mailbox.receive()).body for _ in bodies]
        with clause("MS-11.a"):
            assert {True} == {len(body) == body.count(body[:1]) == 8 << 20 for body in arrived}
        with clause("MS-11.b"):
            assert [0, 1, 2, 3] == [body[0] for body in arrived]


async def test_a_receiver_that_fails() -> None:
    moment = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    rich = {"bytes": bytes(range(256)), "int": 2**53 + 1, "moment": moment, "map": {"a": {}}}
    async with scene() as stage:
        worker = await stage.primary.fork(actors.always_fails)
        errors = []
        for number in range(10):
            with pytest.raises(RemoteError) as caught:
                await worker.ask(number)
            errors.append(caught.value)
        with clause("MS-09.b"):
            assert [f"no {number}" for number in range(10)] == [error.text for error in errors]
        with clause("MS-09.a"):
            assert [*range(10)] == await worker.ask("seen")
        with clause("MS-09.c"):
            assert "online" == worker.state
        first = errors[0]
        with clause("MS-10.b"):
            assert ("ValueError", "no 0", True) == (
                first.type,
                first.text,
                "in always_fails" in str(first.traceback) or "in handler" in str(first.traceback),
            )
        with clause("MS-10.a"):
            assert rich == await worker.ask({"give back": rich})


async def test_cut_anywhere() -> None:
    frame = encode_frame(Kind.TELL, 0, b"\x91\xc0", b"\xa5hello")
    whole = FrameReader(Values(), max_frame=1000).feed(frame * 2)
    outcomes = []
    for cut in range(1, 2 * len(frame)):
        reader = FrameReader(Values(), max_frame=1000)
        outcomes.append([*reader.feed((frame * 2)[:cut]), *reader.feed((frame * 2)[cut:])])
    with clause("MS-12.a"):
        assert [whole] * len(outcomes) == outcomes
    async with scene() as stage:
        worker = await stage.worker()
        bodies = [bytes([number]) * 65_521 for number in range(10)]
        for body in bodies:
            await worker.send(["say", body])
        with clause("MS-12.b"):
            assert bodies == [(await worker.mailbox.receive()).body for _ in bodies]


async def test_lengths_that_are_none() -> None:
    lengths = [1, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFF]
    async with scene() as stage:
        beside = await stage.worker()
        statuses: list[ExitStatus] = []
        for length in lengths:
            worker = await stage.worker()
            head = encode_head(Kind.TELL, 0, length)
            await worker.send(["raw_exit", head])
            statuses.append(await worker.wait())
            await stage.until_gone(worker)
        with clause("MS-13.a"):
            assert len(lengths) == len(statuses)
        faults = [one for one in stage.seen if isinstance(one, events.Error)]
        with clause("MS-13.b"):
            assert 4 == len(faults)
        with clause("MS-13.c"):
            assert 0 == statuses[0].code
        with clause("MS-13.d"):
            assert "still here" == await beside.ask(["echo", "still here"])


async def test_a_conversation() -> None:
    async with scene() as stage:
        arguments = ["one", {"two": [3]}]
        worker = await stage.primary.fork(actors.tells_arguments, *arguments)
        with clause("MS-14.c"), pytest.raises(TypeError, match="body"):
            await worker.send()  # type: ignore[call-arg]  # wrong on purpose
        with clause("MS-14.d"), pytest.raises(TypeError, match="a body holds"):
            await worker.send(print)
        await worker.send("question")
        with clause("MS-14.a"):
            assert [arguments, "question"] == (await worker.mailbox.receive()).body
        with clause("MS-14.b"):
            assert ["one", {"two": [3]}] == arguments
        with clause("MS-14.e"):
            assert 0 == (await worker.wait()).code


async def test_last_words() -> None:
    async with scene() as stage:
        worker = await stage.primary.fork(actors.says_and_returns, "last words")
        await stage.until_gone(worker)
        with clause("MS-15.a"):
            assert 1 == len(worker.mailbox)
        with clause("MS-15.b"):
            assert ["last words"] == [message.body async for message in worker.mailbox]
        await stage.everything()
        with clause("MS-15.c"):
            assert (1, 1) == stage.ends(worker)


async def test_disconnect_with_a_connection() -> None:
    async with scene() as stage, trio.open_nursery() as nursery:
        worker = await stage.worker(["listen"])
        address = (await stage.until(events.Listening, worker)).address
        async with await Client.connect(address[1]) as client:
            await client.served_by()
            statuses = []

            async def disconnect() -> None:
                statuses.append(await worker.disconnect())

            nursery.start_soon(disconnect)
            await stage.until(events.Draining, worker)
            with clause("MS-16.a"), pytest.raises(PeerClosed):
                await worker.send("too late")
            nursery.start_soon(disconnect)
            await client.stream.send_all(b"again")
            with clause("MS-16.c"):
                assert b"again" == await client.stream.receive_some()
            await stage.everything()
            with clause("MS-16.b"):
                assert ("disconnecting", (0, 0)) == (worker.state, stage.ends(worker))
        with clause("MS-16.e"):
            assert (0, None) == shape(await worker.wait())[:2]
        await trio.testing.wait_all_tasks_blocked()
        with clause("MS-16.d"):
            assert [await worker.wait()] * 2 == statuses


async def test_one_that_waits_for_its_end() -> None:
    async with scene() as stage:
        pipes = {"stdio": ["ignore", "pipe", "inherit"]}
        worker = await stage.primary.fork(actors.waits_for_its_end, settings=pipes)
        bodies = []
        for number in ("1", "2"):
            await worker.send(number)
            bodies.append((await worker.mailbox.receive()).body)
        with clause("MS-17.a"):
            assert ["1", "2"] == bodies
        status = await worker.disconnect()
        assert worker.stdout is not None
        async with worker.stdout:
            with clause("MS-17.b"):
                assert [b"bye\n", b""] == [await worker.stdout.receive_some() for _ in range(2)]
        with clause("MS-17.c"):
            assert 0 == status.code

        worker = await stage.primary.fork(actors.reads_after_leaving)
        with clause("MS-18.a"):
            assert "EndOfChannel" == (await worker.mailbox.receive()).body
        with clause("MS-18.c"):
            assert 0 == (await worker.wait()).code
        await stage.until_gone(worker)
        await stage.everything()
        with clause("MS-18.b"):
            assert (1, 1) == stage.ends(worker)


async def test_one_that_does_nothing() -> None:
    async with scene() as stage:
        worker = await stage.primary.fork(actors.nothing)
        with clause("MS-19.a"):
            assert 0 == (await worker.wait()).code
        with pytest.raises(WorkerStartError) as caught:
            await stage.primary.fork(exec=("/bin/true",))
        with clause("MS-19.b"):
            assert 0 == caught.value.status.code  # type: ignore[union-attr]  # it has ended


async def test_a_program_of_a_worker() -> None:
    listing = ["/bin/sh", "-c", "ls /proc/self/fd; env"]
    async with scene() as stage:
        lines = []
        for method in ("forkserver", "exec"):
            worker = await stage.worker(settings={"start_method": method})
            lines.append((await worker.ask(["run", *listing])).split())
        with clause("MS-20.a"):
            # The fourth is the directory that is listed.
            assert [["0", "1", "2", "3"]] * 2 == [words[:4] for words in lines]
        names = {word.partition("=")[0] for words in lines for word in words}
        with clause("MS-20.b"):
            assert set() == {name for name in names if name.startswith("ACTORCLUSTER_CHANNEL")}
        with clause("MS-20.c"):
            assert 0 == (await worker.disconnect()).code


async def test_standard_streams() -> None:
    async with scene() as stage:
        pipes = {"stdio": ["pipe", "pipe", "inherit"]}
        worker = await stage.primary.fork(actors.repeats_input, settings=pipes)
        assert worker.stdin is not None
        assert worker.stdout is not None
        async with worker.stdout as output:
            async with worker.stdin as stream:
                await stream.send_all(b"first\n")
                lines = [await output.receive_some()]
                await stream.send_all(b"second\n")
                lines.append(await output.receive_some())
            with clause("MS-21.a"):
                assert [b"first\n", b"second\n"] == lines
            with clause("MS-21.b"):
                assert b"" == await output.receive_some()
        await worker.wait()


async def test_starting_without_descriptors() -> None:
    async with scene(settings={"silent": True}) as stage:
        with no_more_descriptors():
            worker = stage.primary.fork_soon(actors.obeys)
            status = await worker.wait()
        with clause("MS-22.a"):
            assert os.strerror(errno.EMFILE) in str(status)
        with clause("MS-22.b"):
            assert [None] * 4 == [worker.pid, worker.stdin, worker.stdout, worker.stderr]
        gone = await stage.until_gone(worker)
        with clause("MS-22.c"):
            assert (["Fork", "Disconnect", "Exit"], status) == (stage.kinds(worker), gone.status)
        worker = await stage.worker(settings={"silent": False})
        with clause("MS-22.d"):
            assert "here" == await worker.ask(["echo", "here"])
