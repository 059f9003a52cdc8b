"""What lives inside a worker: main, its Actor, and the ways in which they end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

import actorcluster
from actorcluster import Actor, PeerClosed
from actorcluster.wire import events
from actorcluster.wire._generated import AbortCode, Kind, Reason
from tests.worker.hosted import Main, hosted, idle
from tests.worker.lines import settle

Clock = trio.testing.MockClock


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
        one.primary.connection.flush_grants = lambda: None  # type: ignore[method-assign]  # no credit goes back
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
