"""A worker's monitors, with a primary that says whatever the test wants."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from actorcluster import Actor, Down, ExitStatus, LocalProtocolError, Ref
from actorcluster._worker.exit import RemoteFailure
from actorcluster._worker.monitor import LOST, detail_of, status_from
from actorcluster._worker.ref import Home, main_actor
from actorcluster.wire import events
from tests.worker.hosted import hosted

KILLED = ExitStatus(code=None, signal="SIGKILL", reason="signal")


@pytest.mark.parametrize(
    "status",
    [
        KILLED,
        ExitStatus(code=0, signal=None, reason="shutdown", voluntary=True),
        ExitStatus(
            code=1, signal=None, reason="error", error=RemoteFailure(type="ValueError", text="no")
        ),
    ],
)
def test_a_status_on_the_wire(status: ExitStatus) -> None:
    assert status == status_from(status.reason, detail_of(status))


def test_a_status_that_says_little() -> None:
    status = status_from("bored", {"text": "no"})
    assert ("bored", None, None, False) == (
        status.reason,
        status.code,
        status.signal,
        status.voluntary,
    )
    assert RemoteFailure(type="error", text="no") == status.error


async def test_a_home_must_know_the_way() -> None:
    with pytest.raises(AssertionError):
        Ref("web", Home()).monitor()


async def test_asked_told_and_taken_back() -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        for ref in (actor.ref("db"), Ref("any", actor._home, main_actor(5))):
            assert f"<Monitor of {ref!r}>" == repr(ref.monitor())
            async with ref.monitor() as monitor:
                seen.append(await monitor.wait())
            assert seen[-1] == Down(ref, KILLED)
        async with actor.ref("db").monitor():
            pass

    async with hosted(main) as one:
        targets: list[int | str] = ["db", main_actor(5)]
        for number, target in enumerate(targets, 1):
            assert events.Monitored(number, target) == await one.hears(events.Monitored)
            one.primary.connection.send_down(number, 5 << 32, "signal", {"signal": "SIGKILL"})
            one.primary.channel.flush()
        assert await one.ends() is None
        assert events.Monitored(3, "db") == await one.hears(events.Monitored)
        assert events.Demonitored(3) == await one.hears(events.Demonitored)
    assert 2 == len(seen)


async def test_also_while_it_drains() -> None:
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        with actor.busy():
            await actor.draining.wait()
            async with actor.ref("db").monitor() as monitor:
                seen.append((await monitor.wait()).status)

    async with hosted(main) as one:
        one.stops()
        await one.hears(events.Monitored)
        one.primary.connection.send_down(1, None, "no_such_actor", {})
        one.primary.channel.flush()
        assert await one.ends() is None
    assert [None] == seen


@pytest.mark.parametrize("name", ["db", "primary"])
async def test_the_primary_is_lost(name: str) -> None:
    """Who waits is told first, and cancelled then; who begins later is told at once."""
    seen: list[Any] = []

    async def main(actor: Actor) -> None:
        ref = actor.ref(name)
        async with ref.monitor() as monitor:
            actor.send_nowait("watching")
            seen.append(await monitor.wait())
        with trio.CancelScope(shield=True):
            async with ref.monitor() as monitor:
                seen.append(await monitor.wait())
        await trio.sleep_forever()

    async with hosted(main) as one:
        assert "watching" == (await one.primary.receive()).body
        one.dies()
        assert await one.ends() is None
    assert [LOST, LOST] == [down.status for down in seen]


async def test_the_primary_is_watched_without_a_word() -> None:
    async def main(actor: Actor) -> None:
        async with actor.primary.monitor():
            await actor.send("watching")

    async with hosted(main) as one:
        assert "watching" == (await one.primary.receive()).body
        assert await one.ends() is None
        assert events.Monitored not in one.heard()


async def test_too_many() -> None:
    """The first that is too many is refused here, and harms nobody."""

    async def main(actor: Actor) -> None:
        actor._channel.connection.peer_limits["max_monitors"] = 1
        async with actor.ref("db").monitor():
            with pytest.raises(LocalProtocolError, match="there are 1 monitors"):
                async with actor.ref("db").monitor():
                    raise AssertionError("not reached")
        async with actor.ref("db").monitor():
            pass

    async with hosted(main) as one:
        assert await one.ends() is None


async def test_cancelled_before_it_began() -> None:
    async def main(actor: Actor) -> None:
        monitor = actor.ref("db").monitor()
        with trio.CancelScope() as scope:
            scope.cancel()
            await monitor.__aenter__()
        assert scope.cancelled_caught
        async with monitor:
            await actor.send("watching")

    async with hosted(main) as one:
        assert "watching" == (await one.primary.receive()).body
        assert await one.ends() is None
        assert 1 == one.heard().count(events.Monitored)


async def test_who_still_waits_when_the_block_is_left() -> None:
    seen: list[str] = []

    async def main(actor: Actor) -> None:
        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await monitor.wait()
            seen.append("closed")

        async with trio.open_nursery() as nursery, actor.ref("db").monitor() as monitor:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()

    async with hosted(main) as one:
        assert await one.ends() is None
    assert ["closed"] == seen
