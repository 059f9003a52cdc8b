"""What lives inside a worker: main, its Actor, and the ways in which they end."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import Actor, Message, NotHandled, PeerClosed, RemoteError
from actorcluster.wire import events
from actorcluster.wire._generated import AbortCode, Kind, Reason
from tests.worker.hosted import Hosted, Main, hosted
from tests.worker.lines import settle
from tests.worker.test_mailbox import ask

Clock = trio.testing.MockClock


async def idle(actor: Actor) -> None:
    await trio.sleep_forever()


# ---- a whole life -----------------------------------------------------------------------------


async def test_from_hello_to_goodbye() -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        seen.append((actor.id, actor.name, actor.incarnation, actor.is_connected(), repr(actor)))
        seen.append(actorcluster.current_actor() is actor)
        await actor.send("mine")

    async with hosted(main) as one:
        goodbye = await one.hears(events.Goodbye)
        assert await one.ends() is None
        assert (await one.primary.receive()).body == "mine"
    assert [(7, "web", 3, True, "<Actor 7 'web'>"), True] == seen
    assert 0 == goodbye.received


async def test_there_is_no_actor_outside() -> None:
    with pytest.raises(RuntimeError, match="does not run inside a worker"):
        actorcluster.current_actor()


def test_there_is_no_actor_without_a_loop() -> None:
    with pytest.raises(RuntimeError, match="does not run inside a worker"):
        actorcluster.current_actor()


async def test_there_is_no_actor_after_main() -> None:
    async def main(actor: Actor) -> None:
        pass

    async with hosted(main) as one:
        await one.ends()
        with pytest.raises(RuntimeError):
            actorcluster.current_actor()


async def test_the_goodbye_says_what_was_taken() -> None:
    async with hosted(idle) as one:
        for number in range(3):
            await one.primary.channel.send(number)
        one.stops()
        assert 3 == (await one.hears(events.Goodbye)).received
        assert await one.ends() is None
        assert 0 == one.primary.channel.unconfirmed


async def test_main_raises() -> None:
    async def main(actor: Actor) -> None:
        raise OSError(2, "nothing there")

    async with hosted(main) as one:
        info = (await one.hears(events.ExitInfo)).info
        assert ("os.ENOENT", "FileNotFoundError") == (info["code"], info["remote"]["type"])
        assert isinstance(await one.ends(), FileNotFoundError)


async def test_system_exit_has_no_last_words() -> None:
    async def main(actor: Actor) -> None:
        raise SystemExit(3)

    async with hosted(main) as one:
        await one.hears(events.Goodbye)
        assert events.ExitInfo not in one.heard()
        assert isinstance(await one.ends(), SystemExit)


async def test_everything_is_flushed_before_it_leaves() -> None:
    """However long the primary takes to read it."""
    body = b"x" * 100_000

    async def main(actor: Actor) -> None:
        for _ in range(30):
            await actor.send(body)

    async with hosted(main) as one:
        await one.ends()
        assert [100_000] * 30 == [len((await one.primary.receive()).body) for _ in range(30)]


async def test_the_target_is_the_primarys_choice() -> None:
    config = {
        "target": {"form": "name", "module": "tests.e2e.actors", "qualname": "returns"},
        "args": [],
    }
    async with hosted(None, config=config) as one:
        assert await one.ends() is None


async def test_a_target_that_is_not_there() -> None:
    config = {"target": {"form": "name", "module": "tests.e2e.actors", "qualname": "nothing"}}
    async with hosted(None, welcome=False) as one:
        await one.hears(events.Hello)
        one.welcomes(None, **config)
        await one.hears(events.ExitInfo)
        assert isinstance(await one.ends(), Exception)
        assert events.Ready not in one.heard()


# ---- the introductions ------------------------------------------------------------------------


async def test_no_answer_to_hello(autojump_clock: Clock) -> None:
    async with hosted(idle, welcome=False) as one:
        error = await one.ends()
        assert 30 <= trio.current_time()
        assert isinstance(error, RuntimeError)
        assert "did not answer within 30 seconds" in str(error)


async def test_told_to_stop_before_it_was_ready() -> None:
    """Main is not run at all."""

    async def main(actor: Actor) -> None:
        raise AssertionError("it ran")

    async with hosted(main, welcome=False) as one:
        await one.hears(events.Hello)
        one.welcomes(then=lambda: one.stops(5))
        await one.hears(events.Goodbye)
        assert await one.ends() is None
        assert events.Ready not in one.heard()


async def test_the_primary_dies_before_it_answers() -> None:
    async def main(actor: Actor) -> None:
        raise AssertionError("it ran")

    async with hosted(main, welcome=False) as one:
        await one.hears(events.Hello)
        one.dies()
        assert await one.ends() is None


async def test_the_primary_gives_up_in_the_breath_in_which_it_welcomes() -> None:
    async def main(actor: Actor) -> None:
        raise AssertionError("it ran")

    async with hosted(main, welcome=False) as one:
        await one.hears(events.Hello)
        one.welcomes(then=lambda: one.primary.connection.abort(AbortCode.INTERNAL))
        assert await one.ends() is None


async def test_the_primary_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    async with hosted(idle) as one:
        one.primary.connection.abort(AbortCode.INTERNAL, "not today")
        one.primary.channel.flush()
        assert await one.ends() is None
    assert "not today" in caplog.text


async def test_the_primary_breaks_the_protocol(caplog: pytest.LogCaptureFixture) -> None:
    async with hosted(idle) as one:
        one.primary.connection._outbox.put(b"x" * 16)
        one.primary.channel.flush()
        assert await one.ends() is None
    assert "broke the protocol" in caplog.text


async def test_goodbye_without_stop() -> None:
    """The primary may leave like this; a stop without a limit it is."""
    async with hosted(idle) as one:
        one.primary.connection.send_goodbye(Reason.NORMAL)
        one.primary.channel.flush()
        await one.hears(events.Goodbye)
        assert await one.ends() is None


# ---- stop and idleness ------------------------------------------------------------------------

POLL = 0.02


async def stopped_after(one: Hosted) -> float:
    """How long main lives after a Stop without a limit."""
    begin = trio.current_time()
    one.stops()
    await one.hears(events.Goodbye)
    await one.ends()
    return trio.current_time() - begin


async def test_idle_at_once(autojump_clock: Clock) -> None:
    """A main that does none of the things that count is cancelled at once."""
    async with hosted(idle) as one:
        assert 3 * POLL >= await stopped_after(one)


async def test_mail_that_was_never_read_does_not_count(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody would ever read it. It is not lost silently, and an ask learns it."""
    async with hosted(idle) as one, trio.open_nursery() as nursery:
        outcomes: list[Any] = []
        await one.primary.channel.send("x")
        nursery.start_soon(ask, one.primary, "y", outcomes)
        await settle()
        assert 3 * POLL >= await stopped_after(one)
        await settle()
        assert isinstance(outcomes[0], PeerClosed)
    assert "2 messages were never read" in caplog.text


async def test_draining_is_set_and_the_mailbox_ends(autojump_clock: Clock) -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        async for message in actor.mailbox:
            seen.append((message.body, actor.draining.is_set()))
            await trio.sleep(1)
        seen.append("end")
        await trio.sleep_forever()

    async with hosted(main) as one:
        for number in range(3):
            await one.primary.channel.send(number)
        await settle()
        assert 3 <= await stopped_after(one) + 0.1
    assert [(0, False), (1, True), (2, True), "end"] == seen


async def main_busy(actor: Actor) -> None:
    with actor.busy():
        await trio.sleep(2)
    await trio.sleep_forever()


async def main_in_hand(actor: Actor) -> None:
    await actor.mailbox.receive()
    await trio.sleep(2)
    await actor.mailbox.receive()


async def main_in_block(actor: Actor) -> None:
    async with trio.open_nursery() as nursery:

        async def work(message: Message) -> None:
            with message:
                await trio.sleep(2)

        async for message in actor.mailbox:
            nursery.start_soon(work, message)
        await trio.sleep_forever()


async def main_unanswered(actor: Actor) -> None:
    async with trio.open_nursery() as nursery:

        async def answer(message: Message) -> None:
            await trio.sleep(2)
            await message.reply("at last")

        async for message in actor.mailbox:
            if message.is_ask:
                nursery.start_soon(answer, message)
        await trio.sleep_forever()


async def main_slow_reader(actor: Actor) -> None:
    async for _ in actor.mailbox:
        await trio.sleep(2)
    await trio.sleep_forever()


async def main_serves(actor: Actor) -> None:
    async def handler(message: Message) -> None:
        await trio.sleep(2)

    await actor.serve_messages(handler)
    await trio.sleep_forever()


@pytest.mark.parametrize(
    "main",
    [main_busy, main_in_hand, main_in_block, main_unanswered, main_slow_reader, main_serves],
)
async def test_what_stop_waits_for(main: Main, autojump_clock: Clock) -> None:
    """Two seconds of work are under way when Stop comes, and not a moment is waited for more."""
    async with hosted(main) as one, trio.open_nursery() as nursery:
        if main is main_unanswered:
            nursery.start_soon(ask, one.primary, "x", [])
        elif main is not main_busy:
            await one.primary.channel.send("x")
        await settle()
        assert 1.9 <= await stopped_after(one) <= 2.1


async def test_the_limit_ends_all_patience(autojump_clock: Clock) -> None:
    async def main(actor: Actor) -> None:
        with actor.busy():
            await trio.sleep_forever()

    async with hosted(main) as one:
        begin = trio.current_time()
        one.stops(5)
        await settle()
        assert await one.ends() is None
        assert 5 <= trio.current_time() - begin <= 5.1


@pytest.mark.parametrize(("first", "second", "expected"), [(9, 4, 4), (4, 9, 4), (None, 3, 3)])
async def test_the_earlier_of_two_limits(
    autojump_clock: Clock, first: float | None, second: float, expected: float
) -> None:
    async def main(actor: Actor) -> None:
        with actor.busy():
            await trio.sleep_forever()

    async with hosted(main) as one:
        begin = trio.current_time()
        one.stops(first)
        one.stops(second)
        await one.ends()
        assert expected <= trio.current_time() - begin <= expected + 0.1


async def test_main_may_finish_by_itself_while_it_drains() -> None:
    async def main(actor: Actor) -> None:
        await actor.draining.wait()
        await actor.send("bye")

    async with hosted(main) as one:
        one.stops(5)
        assert await one.ends() is None
        assert "bye" == (await one.primary.receive()).body


async def test_main_fails_while_it_drains() -> None:
    async def main(actor: Actor) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the clean-up")

    async with hosted(main) as one:
        one.stops(0)
        assert "in the clean-up" == (await one.hears(events.ExitInfo)).info["message"]
        assert isinstance(await one.ends(), ValueError)


async def test_asks_in_hand_when_main_ends() -> None:
    """Those that somebody took are not handled; those that nobody read were not begun."""

    async def main(actor: Actor) -> None:
        held.append(await actor.mailbox.receive())

    held: list[Message] = []
    outcomes: list[Any] = []
    async with hosted(main) as one, trio.open_nursery() as nursery:
        nursery.start_soon(ask, one.primary, "x", outcomes)
        await one.ends()
        await settle()
        assert isinstance(outcomes[0], NotHandled)
    held.clear()


# ---- the primary is lost ----------------------------------------------------------------------


async def raises_something(actor: Actor) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("nobody cares")


async def sends_in_its_clean_up(actor: Actor) -> None:
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True):
            await actor.send("are you there?")


async def exits(actor: Actor) -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise SystemExit(9)


@pytest.mark.parametrize(
    ("main", "logged"),
    [(idle, False), (raises_something, True), (sends_in_its_clean_up, False), (exits, False)],
)
async def test_the_primary_is_lost(
    main: Main, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Main is cancelled, and whatever it makes of that, the exit code is 0."""
    async with hosted(main) as one:
        one.dies()
        assert await one.ends() is None
    assert logged is ("main failed when its primary was gone" in caplog.text)


async def test_lost_while_it_drains(autojump_clock: Clock) -> None:
    async def main(actor: Actor) -> None:
        with actor.busy():
            await trio.sleep_forever()

    async with hosted(main) as one:
        one.stops()
        await settle()
        one.dies()
        assert await one.ends() is None


async def test_everybody_who_waits_for_the_primary_learns_it() -> None:
    outcomes: list[Any] = []

    async def main(actor: Actor) -> None:
        async def run(what: Callable[[], Any]) -> None:
            try:
                with trio.CancelScope(shield=True):
                    await what()
            except Exception as exc:  # noqa: BLE001  (the outcome)
                outcomes.append(exc)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, lambda: actor.ask("x"))
            await settle()
            nursery.start_soon(run, lambda: actor.send(b"x" * 5_000_000))
            nursery.start_soon(run, actor.disconnect)

    async with hosted(main) as one:
        await one.hears(events.Leave)
        one.dies()
        await one.ends()
        assert [PeerClosed] * 3 == [type(outcome) for outcome in outcomes]


async def test_unconfirmed_sends_to_the_primary() -> None:
    seen: list[int] = []

    async def main(actor: Actor) -> None:
        for number in range(4):
            await actor.send(number)
        await actor.draining.wait()
        try:
            with trio.CancelScope(shield=True):
                await actor.send("again")
        except PeerClosed as exc:
            seen.append(exc.unconfirmed)

    async with hosted(main) as one:
        await settle()
        one.primary.connection.flush_grants = lambda: None  # type: ignore[method-assign]
        one.dies()
        await one.ends()
    assert [4] == seen


# ---- leaving ----------------------------------------------------------------------------------


async def test_disconnect_returns_when_it_is_recorded() -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(actor.disconnect)
            await actor.disconnect()
        seen.append(actor.draining.is_set())
        await actor.disconnect()  # it is recorded already
        await trio.sleep_forever()

    async with hosted(main) as one:
        await one.hears(events.Leave)
        await settle()
        assert [] == seen
        one.stops()
        assert await one.ends() is None
        assert [True] == seen


async def test_kill_does_not_drain(autojump_clock: Clock) -> None:
    async def main(actor: Actor) -> None:
        with actor.busy():
            await actor.send("last words")
            actor.kill()
            await trio.sleep_forever()

    async with hosted(main) as one:
        begin = trio.current_time()
        assert await one.ends() is None
        assert begin == trio.current_time()
        assert "last words" == (await one.primary.receive()).body
        assert events.Leave in one.heard()


async def test_kill_while_it_drains(autojump_clock: Clock) -> None:
    async def main(actor: Actor) -> None:
        with actor.busy():
            await actor.draining.wait()
            actor.kill()
            await trio.sleep_forever()

    async with hosted(main) as one:
        one.stops()
        assert await one.ends() is None
        assert events.Leave not in one.heard()


async def test_leaving_when_the_primary_has_said_goodbye() -> None:
    """The end has begun; a wish to leave cannot be said any more, and is granted already."""

    async def main(actor: Actor) -> None:
        actor._channel.connection._machine.received(Kind.GOODBYE)
        actor.kill()
        await trio.sleep_forever()

    async with hosted(main) as one:
        assert await one.ends() is None


async def test_ready_is_said_once() -> None:
    async def main(actor: Actor) -> None:
        actor.ready()
        actor.ready()

    async with hosted(main) as one:
        await one.ends()
        assert 1 == one.heard().count(events.Serving)


async def test_a_listener_of_its_own_is_told_of() -> None:
    async def main(actor: Actor) -> None:
        (listener,) = await actor.listen_tcp(0, host="127.0.0.1", exclusive=True)
        actor.send_nowait(list(listener.address))
        actor.ready()
        await listener.aclose()

    async with hosted(main) as one:
        address = (await one.primary.receive()).body
        await one.ends()
        said = [event.address for event in one.primary.events if isinstance(event, events.Serving)]
        assert [list(address), None] == [place and list(place) for place in said]


# ---- serve_messages ---------------------------------------------------------------------------


async def test_serve_messages_answers_asks() -> None:
    async def handler(message: Message) -> Any:
        if message.body == "bad":
            raise ValueError("bad")
        return message.body

    async def main(actor: Actor) -> None:
        await actor.serve_messages(handler)

    async with hosted(main) as one:
        assert "x" == await one.primary.channel.ask("x")
        assert None is await one.primary.channel.ask(None)
        with pytest.raises(RemoteError, match="bad"):
            await one.primary.channel.ask("bad")
        assert "y" == await one.primary.channel.ask("y")
        one.stops()
        assert await one.ends() is None


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_serve_messages_fails_on_a_plain_send(concurrency: int) -> None:
    """What the handler raised leaves serve_messages as it is."""

    async def handler(message: Message) -> None:
        raise ValueError("bad")

    async def main(actor: Actor) -> None:
        await actor.serve_messages(handler, concurrency=concurrency)

    async with hosted(main) as one:
        await one.primary.channel.send("x")
        error = await one.ends()
        assert isinstance(error, ValueError)


async def test_two_handlers_fail_at_once() -> None:
    async def handler(message: Message) -> None:
        try:
            if message.body == 1:
                await trio.sleep_forever()
        finally:
            raise ValueError(message.body)

    async def main(actor: Actor) -> None:
        await actor.serve_messages(handler, concurrency=3)

    async with hosted(main) as one:
        await one.primary.channel.send(1)
        await one.primary.channel.send(2)
        error = await one.ends()
        assert isinstance(error, ExceptionGroup)
        assert 2 == len(error.exceptions)


async def test_as_many_handlers_as_wanted(autojump_clock: Clock) -> None:
    running, most = 0, 0

    async def handler(message: Message) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        running -= 1

    async def main(actor: Actor) -> None:
        await actor.serve_messages(handler, concurrency=4)

    async with hosted(main) as one:
        for number in range(10):
            await one.primary.channel.send(number)
        await settle()
        one.stops()
        await one.ends()
    assert 4 == most


async def test_concurrency_is_checked() -> None:
    async def main(actor: Actor) -> None:
        with pytest.raises(ValueError, match="concurrency"):
            await actor.serve_messages(idle, concurrency=0)  # type: ignore[arg-type]

    async with hosted(main) as one:
        assert await one.ends() is None


# ---- mail -------------------------------------------------------------------------------------


async def test_the_actor_and_its_primary_ref_do_the_same() -> None:
    async def main(actor: Actor) -> None:
        await actor.send(1)
        actor.send_nowait(2)
        await actor.primary.send(3)
        actor.primary.send_nowait(4)
        await actor.send([await actor.ask(5), await actor.primary.ask(6)])

    async with hosted(main) as one:
        bodies = []
        for _ in range(7):
            message = await one.primary.receive()
            bodies.append(message.body)
            if message.is_ask:
                await message.reply(10 * message.body)
        assert [1, 2, 3, 4, 5, 6, [50, 60]] == bodies


async def test_who_sent_it() -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        message = await actor.mailbox.receive()
        seen.append((repr(message.sender), message.sender == actor.primary))
        message = await actor.mailbox.receive()
        seen.append(repr(message.sender))
        message = await actor.mailbox.receive()
        seen.append(repr(message.sender))

    async with hosted(main) as one:
        await one.primary.channel.send("x")
        await one.primary.channel.send("x", sender=5 << 32, meta={"name": "db"})
        await one.primary.channel.send("x", sender=6 << 32, meta={"name": 3})
        await one.ends()
    pinned = f"<Ref 'actor {6 << 32}' pinned to 6>"
    assert [("<Ref 'primary'>", True), "<Ref 'db' pinned to 5>", pinned] == seen


@pytest.mark.parametrize("to", [None, "web", 7 << 32])
async def test_addresses_that_are_ours(to: int | str | None) -> None:
    async def main(actor: Actor) -> None:
        with await actor.mailbox.receive() as message:
            await message.reply(message.body)

    async with hosted(main) as one:
        assert "x" == await one.primary.channel.ask("x", to=to)


@pytest.mark.parametrize("to", ["other", 8 << 32, (7 << 32) + 1])
async def test_addresses_that_are_not_ours(to: int | str) -> None:
    async with hosted(idle) as one:
        reader, writer = os.pipe()
        await one.primary.channel.send("x", actorcluster.Handle.of(writer), to=to)
        undeliverable = await one.hears(events.Undeliverable)
        assert (1, to, "no_such_actor") == (
            undeliverable.number,
            undeliverable.to,
            undeliverable.error["code"],
        )
        with open(reader, "rb") as pipe:
            assert b"" == pipe.read()
        with pytest.raises(actorcluster.NoSuchActor):
            await one.primary.channel.ask("x", to=to)


async def test_a_message_that_comes_back_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def main(actor: Actor) -> None:
        actor.ref("nobody").send_nowait("x")
        await actor.send("y")
        await trio.sleep_forever()

    async with hosted(main) as one:
        await settle()
        connection = one.primary.connection
        connection.send_undeliverable(1, "nobody", {"code": "no_such_actor", "message": "m"})
        connection.send_undeliverable(2, None, {"code": "stopping"})
        one.primary.channel.flush()
        await settle()
    assert "web: a message to nobody was not delivered: no_such_actor (m)" in caplog.text
    assert "web: a message to primary was not delivered: stopping (None)" in caplog.text


async def test_a_withdrawn_ask_cancels_its_handler() -> None:
    async def main(actor: Actor) -> None:
        with await actor.mailbox.receive():
            await actor.send("working")
            await trio.sleep_forever()
        await actor.send("free again")

    async with hosted(main) as one, trio.open_nursery() as nursery:
        nursery.start_soon(ask, one.primary, "x", [])
        assert "working" == (await one.primary.receive()).body
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            assert "free again" == (await one.primary.receive()).body


async def test_no_limit_is_inf() -> None:
    """The rest of this file relies on it."""
    async with hosted(idle) as one:
        one.stops(math.inf)
        assert await one.ends() is None
