"""Events and those who subscribe to them."""

from __future__ import annotations

from typing import Any, assert_type, cast

import pytest
import trio
import trio.testing

from actorcluster import Settings, events, open_primary
from actorcluster._cluster.events import EventHub, Subscription, check_kind

ANNA, BERT = cast("Any", "anna"), cast("Any", "bert")


def subscription(
    hub: EventHub, *kinds: type[events.Event], worker: Any = None
) -> Subscription[events.Event]:
    return Subscription(hub, kinds, worker)


async def read(sub: Subscription[events.Event], count: int) -> list[events.Event]:
    with trio.fail_after(60):
        return [await anext(sub) for _ in range(count)]


def number(which: int) -> events.Event:
    return events.Fork(worker=cast("Any", which))


async def test_from_entering_the_block_on() -> None:
    hub = EventHub()
    sub = subscription(hub)
    hub.emit(number(1))
    with sub:
        hub.emit(number(2))
        hub.emit(number(3))
        assert [number(2), number(3)] == await read(sub, 2)
    hub.emit(number(4))
    assert [] == [event async for event in sub]


async def test_what_was_there_when_the_block_was_left_can_be_read() -> None:
    hub = EventHub()
    with subscription(hub) as sub:
        hub.emit(number(1))
    assert [number(1)] == [event async for event in sub]


async def test_only_what_is_wanted() -> None:
    hub = EventHub()
    with (
        subscription(hub, events.Online, events.Fork, worker=ANNA) as some,
        subscription(hub) as everything,
    ):
        wanted = [events.Fork(worker=ANNA), events.Online(worker=ANNA)]
        others = [
            events.Fork(worker=BERT),
            events.Draining(worker=ANNA),
            events.Setup(settings=Settings()),
        ]
        for event in (*others, *wanted):
            hub.emit(event)
        assert wanted == await read(some, 2)
        assert 5 == len(await read(everything, 5))


async def test_a_base_class_stands_for_all() -> None:
    hub = EventHub()
    with subscription(hub, events.Event) as sub:
        hub.emit(number(1))
        assert [number(1)] == await read(sub, 1)


@pytest.mark.parametrize("kind", [int, "Fork", None, number(1)])
def test_what_is_no_event_class(kind: Any) -> None:
    with pytest.raises(TypeError, match="not an event class"):
        check_kind(kind)


async def test_waits_for_the_next() -> None:
    hub = EventHub()
    with subscription(hub) as sub:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, sub, 1)
            await trio.testing.wait_all_tasks_blocked()
            hub.emit(number(1))


async def test_several_readers_share() -> None:
    """Each event goes to exactly one of them, and none is left waiting."""
    hub, got = EventHub(), []

    async def reader(sub: Subscription[events.Event]) -> None:
        got.extend([event async for event in sub])

    with subscription(hub) as sub:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(reader, sub)
            await trio.testing.wait_all_tasks_blocked()
            for which in range(10):
                hub.emit(number(which))
                await trio.testing.wait_all_tasks_blocked()
            hub.close()
    assert sorted(range(10)) == sorted(cast("Any", event.worker) for event in got)


async def test_cancelled_has_taken_nothing() -> None:
    hub = EventHub()
    with subscription(hub) as sub:
        hub.emit(number(1))
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(sub)
        assert [number(1)] == await read(sub, 1)


async def test_ends_when_the_primary_has_closed() -> None:
    hub = EventHub()
    with subscription(hub) as sub:
        hub.emit(number(1))
        hub.close()
        assert [number(1)] == [event async for event in sub]
    with pytest.raises(trio.ClosedResourceError), subscription(hub):
        pass


async def test_overrun_is_never_a_silent_gap() -> None:
    """10,000 may be left unread; with one more the subscriber is cut off, others are not."""
    hub = EventHub()
    with subscription(hub) as slow, subscription(hub, events.Fork) as quick:
        for which in range(10_000):
            hub.emit(number(which))
            if which % 100 == 99:
                await read(quick, 100)
        assert [number(0)] == await read(slow, 1)
        hub.emit(number(10_000))
        hub.emit(number(10_001))  # the 10,001st unread
        hub.emit(number(10_002))
        for _ in range(2):
            with pytest.raises(trio.BrokenResourceError, match="10000"):
                await anext(slow)
        assert 3 == len(await read(quick, 3))
        assert 0 == len(slow._unread)


async def test_overrun_wakes_who_waits() -> None:
    hub = EventHub()
    with subscription(hub) as sub:

        async def reader() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await anext(sub)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await trio.testing.wait_all_tasks_blocked()
            for which in range(10_001):
                hub.emit(number(which))


async def test_a_block_is_entered_once() -> None:
    hub = EventHub()
    sub = subscription(hub)
    with pytest.raises(RuntimeError, match="inside its block"):
        await anext(sub)
    with sub, pytest.raises(RuntimeError, match="once"), sub:
        pass


def test_events_are_values() -> None:
    fork, same = (events.Fork(worker=ANNA) for _ in range(2))
    assert fork == same
    assert len({fork, same, events.Online(worker=ANNA)}) == 2
    assert repr(events.Listening(worker=ANNA, address="/a")).endswith(" address='/a')")
    with pytest.raises(AttributeError):
        fork.worker = BERT  # type: ignore[misc]  # wrong on purpose


async def test_what_comes_is_known_by_the_kinds_that_were_asked_for() -> None:
    """The types are the type checker's to judge, the values are looked at here."""
    async with open_primary() as primary:
        with primary.events(events.Setup) as setups, primary.events() as everything:
            primary.setup_primary(args=["x"])
            setup = assert_type(await anext(setups), events.Setup)
            assert ("x",) == tuple(setup.settings.args)
            assert setup == assert_type(await anext(everything), events.Event)
        with primary.events(events.Exit, events.Listening) as ends:
            assert_type(ends, events.Subscription[events.Exit | events.Listening])
