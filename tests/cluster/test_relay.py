"""Messages from worker to worker through the primary: real lives, and workers played by tests."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from actorcluster import (
    Handle,
    HandleError,
    MessageTooLarge,
    NoSuchActor,
    NotHandled,
    PeerClosed,
    RemoteError,
)
from actorcluster._cluster.passage import Seeker, error_for
from actorcluster._cluster.relay import Relay
from actorcluster._worker.mailbox import MergedMailbox
from actorcluster._worker.ref import main_actor
from actorcluster.errors import LocalProtocolError
from actorcluster.wire import events
from actorcluster.wire._generated import ErrorCode, Kind
from tests.worker.lines import End, ask, everybody_has_closed, until
from tests.worker.rig import Rig, rig, settle

MIB = 1 << 20


@attrs.define(eq=False)
class Hall:
    """Who is there: a `Directory` of workers named a, b, c ..., with ids 1, 2, 3 ..."""

    merged: MergedMailbox
    relays: dict[int | str, Relay] = attrs.Factory(dict)
    rigs: dict[str, Rig] = attrs.Factory(dict)

    def find(self, to: int | str) -> Relay:
        if to == "gone":
            raise PeerClosed("gone is gone")
        if to not in self.relays:
            raise NoSuchActor(f"there is no actor {to!r}", code="no_such_actor")
        return self.relays[to]

    def when_there(self, to: str, seeker: Seeker) -> None:
        raise AssertionError("everybody is there, or nobody ever")

    def nevermind(self, to: str, seeker: Seeker) -> None:
        raise AssertionError("nobody waits")

    def end(self, name: str) -> End:
        """The worker's end of its channel."""
        return self.rigs[name].worker

    async def add(
        self, stack: contextlib.AsyncExitStack, name: str, *, online: bool, **options: Any
    ) -> None:
        worker_id = len(self.rigs) + 1
        one = await stack.enter_async_context(
            rig(worker_id=worker_id, name=name, merged=self.merged, **options)
        )
        relay = Relay(one.life, self)
        one.moments.mail = relay.mail  # type: ignore[method-assign]  # told to the relay
        one.moments.bounced = relay.bounced  # type: ignore[method-assign]  # told to the relay
        one.moments.look = lambda moment: relay.gone() if moment == "disconnected" else None
        self.rigs[name] = one
        self.relays[name] = self.relays[main_actor(worker_id)] = relay
        if online:
            await one.comes_online()


@contextlib.asynccontextmanager
async def hall(names: str, *, offline: str = "", **options: Any) -> AsyncIterator[Hall]:
    """Fill one; ``options`` are those of the last worker."""
    made = Hall(MergedMailbox())
    async with contextlib.AsyncExitStack() as stack:
        for name in names:
            own = options if name == names[-1] else {}
            await made.add(stack, name, online=name not in offline, **own)
        yield made


# ---- plain messages ---------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["b", main_actor(2)])
async def test_in_order_and_with_its_sender(to: int | str) -> None:
    async with hall("ab") as all_:
        for number in range(300):
            await all_.end("a").channel.send({"n": number}, to=to, meta={"vendor.x": number})
        for number in range(300):
            event = (await all_.end("b").receive())._event
            assert ({"n": number}, None, main_actor(1)) == (event.body, event.to, event.sender)
            assert {"vendor.x": number, "name": "a"} == event.meta


@pytest.mark.parametrize("to", ["primary", main_actor(0)])
async def test_to_the_primary(to: int | str) -> None:
    async with hall("a") as all_:
        await all_.end("a").channel.send("x", to=to)
        await settle()
        assert "x" == all_.merged.receive_nowait().body


async def test_to_oneself() -> None:
    async with hall("a") as all_:
        await all_.end("a").channel.send("x", to="a")
        assert "x" == (await all_.end("a").receive()).body


async def test_handles_go_along() -> None:
    async with hall("ab") as all_:
        pipes = [os.pipe() for _ in range(2)]
        body = {"h": Handle.of(pipes[0][1])}
        await all_.end("a").channel.send(body, Handle.of(pipes[1][1]), to="b")
        message = await all_.end("b").receive()
        for (reader, _), handle in zip(pipes, (message.body["h"], message.handle), strict=True):
            os.write(handle.fileno(), b"!")
            assert b"!" == os.read(reader, 1)
            handle.close()
            await everybody_has_closed(reader)


async def test_a_handle_that_the_body_does_not_hold() -> None:
    """A worker in another language may send one all the same; nobody could get at it."""
    async with hall("ab") as all_:
        reader, writer = os.pipe()
        connection = all_.end("a").connection
        handles = (Handle.of(writer),)
        entries = connection.describe(handles)
        encoded = attrs.evolve(connection.encode("x"), handles=handles, entries=entries)
        connection.send_tell(encoded, to="b")
        all_.end("a").channel.flush()
        assert () == (await all_.end("b").receive())._event.handles
        await everybody_has_closed(reader)


async def test_nobody_of_that_name() -> None:
    async with hall("a") as all_:
        reader, writer = os.pipe()
        await all_.end("a").channel.send("x", Handle.of(writer), to="zz")
        back = await all_.rigs["a"].hears(events.Undeliverable)
        assert (1, "zz", "no_such_actor") == (back.number, back.to, back.error["code"])
        await everybody_has_closed(reader)
        with pytest.raises(NoSuchActor, match="'zz'"):
            await all_.end("a").channel.ask("x", to="zz")
        await until(lambda: all_.end("a").connection.available == 4 * MIB)  # its room is back


async def test_somebody_who_is_gone() -> None:
    async with hall("a") as all_:
        await all_.end("a").channel.send("x", to="gone")
        back = await all_.rigs["a"].hears(events.Undeliverable)
        assert "connection_lost" == back.error["code"]
        with pytest.raises(PeerClosed):
            await all_.end("a").channel.ask("x", to="gone")


async def test_a_target_that_starts_is_waited_for() -> None:
    async with hall("ab", offline="b") as all_:
        for number in range(3):
            await all_.end("a").channel.send(number, to="b")
        await settle()
        await all_.rigs["b"].comes_online()
        assert [0, 1, 2] == [(await all_.end("b").receive()).body for _ in range(3)]


async def test_a_target_that_never_comes_online() -> None:
    async with hall("ab", offline="b") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        await all_.end("a").channel.send("x", to="b")
        nursery.start_soon(ask_b, all_, "y", outcomes)
        await settle()
        all_.rigs["b"].process_ends()
        back = await all_.rigs["a"].hears(events.Undeliverable)
        assert (1, "connection_lost") == (back.number, back.error["code"])
        await settle()
        assert isinstance(outcomes[0], PeerClosed)


async def ask_b(all_: Hall, body: Any, outcomes: list[Any], **options: Any) -> None:
    await ask(all_.end("a"), body, outcomes, to="b", **options)


@pytest.mark.parametrize("when", ["before", "waiting"])
async def test_a_target_that_was_told_to_stop(when: str) -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        if when == "waiting":
            await all_.end("a").channel.send(b"x" * 5 * MIB, to="b")  # fills its mailbox
        else:
            all_.rigs["b"].life.stop()
        await settle()
        await all_.end("a").channel.send("x", to="b")
        nursery.start_soon(ask_b, all_, "y", outcomes)
        await settle()
        all_.rigs["b"].life.stop()
        assert "stopping" == (await all_.rigs["a"].hears(events.Undeliverable)).error["code"]
        await settle()
        assert isinstance(outcomes[0], PeerClosed)


async def test_bounded_memory_and_nobody_else_waits() -> None:
    """What b does not read holds a's room, and only a's; c hears from d as ever."""
    async with hall("abcd") as all_:
        sent = 0
        for _ in range(100):
            await settle()
            try:
                all_.end("a").channel.send_nowait(b"x" * (MIB - 100), to="b")
            except trio.WouldBlock:
                break
            sent += 1
        assert 8 == sent  # four in b's mailbox, four in the primary
        assert all_.rigs["b"].life.channel is not None
        assert 4 == all_.rigs["b"].life.channel.statistics().senders_waiting
        await all_.end("d").channel.send("hello", to="c")
        assert "hello" == (await all_.end("c").receive()).body
        await all_.end("d").channel.send("in line", to="b")
        for _ in range(8):
            assert MIB - 100 == len((await all_.end("b").receive()).body)
        assert "in line" == (await all_.end("b").receive()).body
        with trio.fail_after(60):
            await all_.end("a").channel.send("there is room again", to="b")


async def test_what_a_dead_sender_sent_before_arrives() -> None:
    async with hall("ab") as all_:
        await all_.end("a").channel.send(b"x" * 5 * MIB, to="b")
        await all_.end("a").channel.send("last words", to="b")
        await settle()
        all_.rigs["a"].life.kill(signal.SIGKILL)
        await all_.rigs["a"].ends()
        assert 5 * MIB == len((await all_.end("b").receive()).body)
        assert "last words" == (await all_.end("b").receive()).body


async def test_too_large_for_the_target() -> None:
    async with hall("ab", limits={"max_message": 65536}) as all_:
        body = b"x" * 100_000
        with pytest.raises(MessageTooLarge) as caught:
            await all_.end("a").channel.ask(body, to="b")
        assert 65536 == caught.value.limit
        await all_.end("a").channel.send(body, to="b")
        back = await all_.rigs["a"].hears(events.Undeliverable)
        assert "too_large" == back.error["code"]


async def test_handles_that_the_target_does_not_take() -> None:
    async with hall("ab", limits={"max_fds": 0}) as all_:
        reader, writer = os.pipe()
        with pytest.raises(HandleError):
            await all_.end("a").channel.ask("x", Handle.of(writer), to="b")
        await everybody_has_closed(reader)


async def test_a_message_that_the_target_bounces() -> None:
    """Its sender gets it back under its own number, with the primary on the path."""
    async with hall("ab") as all_:
        await all_.end("a").channel.send("to the primary")
        await all_.end("a").channel.send("x", to="b")
        await all_.end("b").receive()
        error = {"code": "mailbox_full", "message": "m", "path": [5]}
        all_.rigs["b"].says(Kind.UNDELIVERABLE, error, [1, None])
        back = await all_.rigs["a"].hears(events.Undeliverable)
        assert (2, "b", {**error, "path": [0, 5]}) == (back.number, back.to, back.error)


async def test_a_message_of_the_primarys_that_the_target_bounces() -> None:
    async with hall("ab") as all_:
        life = all_.rigs["b"].life
        await all_.end("a").channel.send("x", to="b")
        await all_.end("b").receive()
        assert life.channel is not None
        await life.channel.send("ours")
        all_.rigs["b"].says(Kind.UNDELIVERABLE, {"code": "expired"}, [2, None])
        await settle()
        assert isinstance(all_.rigs["b"].moments.errors[0], PeerClosed)


async def test_what_was_passed_on_is_not_the_primarys_own() -> None:
    """`PeerClosed.unconfirmed` counts sends of this process."""
    async with hall("ab") as all_:
        life = all_.rigs["b"].life
        assert life.channel is not None
        with all_.rigs["b"].deaf_end():
            all_.rigs["b"].channel_ends()
            await settle()
            await life.channel.send("ours")
            for _ in range(3):
                await all_.end("a").channel.send("theirs", to="b")
            await settle()
            assert (4, 1) == (life.connection.unacknowledged, life.channel.unconfirmed)
            life.kill(signal.SIGKILL)
            await all_.rigs["b"].ends()


# ---- calls ------------------------------------------------------------------------------------


async def test_a_reply() -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        nursery.start_soon(ask_b, all_, "question", outcomes)
        message = await all_.end("b").receive()
        assert (main_actor(1), "a") == (message._event.sender, message._event.meta["name"])
        assert math.inf == message.deadline
        with message:
            await message.reply({"answer": [message.body]})
        await settle()
        assert [{"answer": ["question"]}] == outcomes
        assert {0} == {rigged.life.channel.asks_unanswered for rigged in channels(all_)}
        assert {0} == {rigged.life.connection.statistics().calls for rigged in channels(all_)}


def channels(all_: Hall) -> list[Any]:
    return list(all_.rigs.values())


async def test_a_reply_with_handles() -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        nursery.start_soon(ask_b, all_, "x", outcomes)
        reader, writer = os.pipe()
        with await all_.end("b").receive() as message:
            await message.reply(None, Handle.of(writer))
        await settle()
        assert isinstance(outcomes[0], Handle)
        outcomes[0].close()
        await everybody_has_closed(reader)


async def test_calls_and_messages_keep_their_order() -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        for number in range(50):
            await all_.end("a").channel.send(number, to="b")
            nursery.start_soon(ask_b, all_, [number], [])
            await trio.testing.wait_all_tasks_blocked()
        bodies = []
        for _ in range(100):
            with await all_.end("b").receive() as message:
                bodies.append(message.body)
        assert [body for number in range(50) for body in (number, [number])] == bodies


@pytest.mark.parametrize(
    ("fail", "kind", "code"),
    [
        (lambda message: message.fail(FileNotFoundError(2, "none")), RemoteError, "os.ENOENT"),
        (lambda message: None, NotHandled, "not_handled"),
    ],
)
async def test_errors_name_the_primary_on_their_path(
    fail: Any, kind: type[RemoteError], code: str
) -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        nursery.start_soon(ask_b, all_, "x", outcomes)
        with await all_.end("b").receive() as message:
            fail(message)
        await settle()
        assert (kind, code, (0,)) == (type(outcomes[0]), outcomes[0].code, outcomes[0].path)


async def test_the_deadline_goes_on_running(autojump_clock: trio.testing.MockClock) -> None:
    """Also while the message waits in the primary for its target to start."""
    async with hall("ab", offline="b") as all_, trio.open_nursery() as nursery:

        async def asker() -> None:
            with trio.move_on_after(10):
                await all_.end("a").channel.ask("x", to="b")

        nursery.start_soon(asker)
        await settle()
        await trio.sleep(4)
        await all_.rigs["b"].comes_online()
        message = await all_.end("b").receive()
        assert 5.9 < message.deadline - trio.current_time() <= 6.01
        with message:
            await trio.sleep_forever()


async def test_giving_up_cancels_the_handler() -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        nursery.start_soon(ask_b, all_, "x", [])
        message = await all_.end("b").receive()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            with message:
                await trio.sleep_forever()
            await settle()
            assert 0 == all_.end("a").connection.statistics().calls


async def test_a_late_reply_is_dropped_and_its_handles_closed() -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        nursery.start_soon(ask_b, all_, "x", [])
        message = await all_.end("b").receive()
        reader, writer = os.pipe()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await settle()
            await message.reply({"h": Handle.of(writer)})
            await everybody_has_closed(reader)


@pytest.mark.parametrize("waits_for", ["room", "its start"])
async def test_giving_up_before_it_was_passed_on(waits_for: str) -> None:
    """Then nobody ever sees it, and the sender has its room back."""
    async with hall("ab", offline="" if waits_for == "room" else "b") as all_:
        if waits_for == "room":
            await all_.end("a").channel.send(b"x" * 5 * MIB, to="b")
        await settle()
        reader, writer = os.pipe()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_b, all_, {"h": Handle.of(writer)}, [])
            await settle()
            nursery.cancel_scope.cancel()
        await everybody_has_closed(reader)
        await until(lambda: all_.end("a").connection.available == 4 * MIB)
        if waits_for == "room":
            await all_.end("b").receive()
        else:
            await all_.rigs["b"].comes_online()
        await all_.end("a").channel.send("next", to="b")
        assert "next" == (await all_.end("b").receive()).body


async def test_the_asker_dies() -> None:
    """Nobody waits any more: the handler is cancelled."""
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        nursery.start_soon(ask_b, all_, "x", [])
        message = await all_.end("b").receive()
        with message:
            all_.rigs["a"].life.kill(signal.SIGKILL)
            await trio.sleep_forever()
        await all_.rigs["a"].ends()
        all_.end("a").channel.fail_all(PeerClosed)


async def test_the_target_dies() -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        nursery.start_soon(ask_b, all_, "x", outcomes)
        message = await all_.end("b").receive()
        all_.rigs["b"].life.kill(signal.SIGKILL)
        await all_.rigs["b"].ends()
        await settle()
        assert isinstance(outcomes[0], PeerClosed)
        assert "x" == message.body


async def test_a_reply_that_is_too_large_for_the_asker() -> None:
    async with hall("ba", limits={"max_message": 65536}) as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        nursery.start_soon(ask_b, all_, "x", outcomes)
        with await all_.end("b").receive() as message:
            await message.reply(b"x" * 100_000)
        await settle()
        assert RemoteError is type(outcomes[0])
        assert ("too_large", (0,)) == (outcomes[0].code, outcomes[0].path)


async def test_an_answer_that_nobody_can_be_given(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged; the worker that answered has no part in it and goes on."""
    async with hall("abc") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        nursery.start_soon(ask_b, all_, "x", outcomes)
        message = await all_.end("b").receive()
        source = all_.rigs["a"].life
        assert source.channel is not None
        source.channel.refuse_all(ErrorCode.CANCELLED, "answered behind its back")
        with message:
            await message.reply("y")
        await settle()
        assert ["no answer to the ask"] == [one.msg[:20] for one in caplog.records]
        assert ["cancelled"] == [one.code for one in outcomes]
        assert set() == all_.relays["a"]._calls
        await all_.end("c").channel.send("still there", to="b")
        assert "still there" == (await all_.end("b").receive()).body


async def test_more_calls_than_the_target_takes_at_a_time() -> None:
    """They wait for their turn, and none is refused."""
    async with hall("ab", limits={"max_calls": 2}) as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        for number in range(10):
            nursery.start_soon(ask_b, all_, number, outcomes)
        for _ in range(10):
            with await all_.end("b").receive() as message:
                await message.reply(message.body)
        await settle()
        assert list(range(10)) == sorted(outcomes)


# ---- who is it? -------------------------------------------------------------------------------


async def find(all_: Hall, to: int | str, outcomes: list[Any]) -> None:
    await ask(all_.end("a"), {"not": "looked at"}, outcomes, to=to, meta={"find": True})


@pytest.mark.parametrize(
    ("to", "expected"),
    [("b", main_actor(2)), (main_actor(2), main_actor(2)), ("a", main_actor(1))],
)
async def test_who_has_an_address(to: int | str, expected: int) -> None:
    async with hall("ab") as all_:
        outcomes: list[Any] = []
        await find(all_, to, outcomes)
        assert [expected] == outcomes
        await settle()
        assert 0 == len(all_.end("b").mailbox)


@pytest.mark.parametrize(("to", "error"), [("zz", NoSuchActor), ("gone", PeerClosed)])
async def test_nobody_has_it(to: str, error: type[Exception]) -> None:
    async with hall("a") as all_:
        outcomes: list[Any] = []
        await find(all_, to, outcomes)
        assert isinstance(outcomes[0], error)


async def test_the_answer_comes_when_it_takes_mail() -> None:
    async with hall("ab", offline="b") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        nursery.start_soon(find, all_, "b", outcomes)
        await settle()
        assert [] == outcomes
        await all_.rigs["b"].comes_online()
        await settle()
        assert [main_actor(2)] == outcomes


async def test_it_will_never_take_mail() -> None:
    async with hall("ab", offline="b") as all_, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        nursery.start_soon(find, all_, "b", outcomes)
        await settle()
        all_.rigs["b"].process_ends()
        await all_.rigs["b"].ends()
        await settle()
        assert isinstance(outcomes[0], PeerClosed)


async def test_nobody_wants_to_know_any_more() -> None:
    async with hall("ab", offline="b") as all_:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, all_, "b", [])
            await settle()
            nursery.cancel_scope.cancel()
        await settle()
        await all_.rigs["b"].comes_online()
        assert set() == all_.relays["a"]._calls
        assert 0 == all_.end("a").connection.statistics().calls


async def test_nothing_is_kept_of_a_call_that_is_over() -> None:
    async with hall("ab") as all_, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(ask_b, all_, number, [])
        for _ in range(20):
            with await all_.end("b").receive() as message:
                await message.reply(None)
        await settle()
        assert set() == all_.relays["a"]._calls
        gc.collect()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PeerClosed("x"), "stopping"),
        (LocalProtocolError("x"), "unimplemented"),
        (TypeError("x"), "bad_payload"),
    ],
)
def test_why_it_could_not_be_passed_on(error: Exception, code: str) -> None:
    assert {"code": code, "message": "x"} == error_for(error)
