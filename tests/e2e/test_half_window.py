"""Who floods somebody that takes nothing can still send to all others: half a window is theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from actorcluster import Child, Pool
from tests.e2e import flooding_actors
from tests.e2e.supervised import AT_ONCE, NEVER, Scene, run_tree
from tests.worker.lines import until

WINDOW = 64 * 1024
SMALL: dict[str, Any] = {"mailbox_size": WINDOW}
KIB = 1024
#: Of a kilobyte each: ten windows.
COUNT = 640
#: Begins its life when there is a file of that name.
SLOW = """
import pathlib, sys, time
import actorcluster
from tests.e2e import flooding_actors
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
actorcluster.run_worker(flooding_actors.counts)
"""


def child(name: str, main: Any, *args: Any) -> Child:
    return Child(name, main, args=args, ready="called", settings=SMALL, backoff=AT_ONCE)


def sink() -> Child:
    return child("s", flooding_actors.sink)


def flooder(to: str = "b", count: int = COUNT, size: int = KIB, asks: bool = False) -> Child:
    return child("f", flooding_actors.flooder, to, count, size, asks)


def held(scene: Scene) -> int:
    """What the primary holds of the flooder's window."""
    seat = scene.primary._names.seat_named("f")
    assert seat is not None
    window = seat.life.connection.inbound_window
    return WINDOW - window.available - window.owed


async def says(scene: Scene, how: str, to: str, body: Any) -> Any:
    """Have the flooder send or ask, and wait until it has."""
    return await scene.worker("f").ask([how, to, body])


def is_stuck(scene: Scene, name: str) -> bool:
    """Whether the primary holds mail to somebody, for want of room or of a life."""
    seat = scene.primary._names.seat_named(name)
    if seat is None or not seat.life.is_sendable:
        return held(scene) > WINDOW // 4
    assert seat.life.channel is not None
    return seat.life.channel.statistics().senders_waiting > 0


async def floods(scene: Scene, name: str = "b") -> int:
    """Begin, and wait until the primary cannot pass it on any more; tells how far that came."""
    await scene.tell("f", "go")
    await until(lambda: is_stuck(scene, name))
    return int(await scene.worker("f").ask("sent"))


async def others_go_on(scene: Scene) -> None:
    """Most of this would not return if the flood had taken the whole window."""
    assert 0 < held(scene) <= WINDOW // 2
    for number in range(20):
        assert number == await says(scene, "ask", "s", number)
        await says(scene, "send", "s", "x" * (WINDOW // 4))
        await says(scene, "send", "primary", number)
        assert number == (await scene.worker("f").mailbox.receive()).body
    large = "y" * (WINDOW // 2 - 1024)
    assert large == await says(scene, "ask", "s", large)


async def arrive(scene: Scene, count: int = COUNT) -> None:
    """All of the flood, in order."""
    taken = scene.worker("b").mailbox
    assert [*range(count)] == [(await taken.receive()).body for _ in range(count)]
    assert "all sent" == (await scene.worker("f").mailbox.receive()).body


async def nothing_is_held(scene: Scene) -> None:
    """Once the last answers have gone round."""
    assert 0 == await says(scene, "ask", "s", 0)
    await until(lambda: held(scene) == 0)
    seat = scene.primary._names.seat_named("f")
    assert seat is not None
    assert not seat.relay._lanes


async def test_to_one_that_does_not_read() -> None:
    async with run_tree([child("b", flooding_actors.silent), sink(), flooder()]) as scene:
        sent = await floods(scene)
        assert sent < 2 * WINDOW // KIB
        await others_go_on(scene)
        scene.worker("b").kill("SIGUSR1")
        await arrive(scene)
        await nothing_is_held(scene)


async def test_to_one_that_is_being_started(tmp_path: Path) -> None:
    """It has died, and its next life takes its time."""
    gate = tmp_path / "gate"
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    gate.touch()
    settings = {**SMALL, "args": [str(gate)], "env": {"PYTHONPATH": os.getcwd()}}
    slow = Child("b", None, exec=str(script), backoff=AT_ONCE, settings=settings)
    async with run_tree([slow, sink(), flooder()]) as scene:
        gate.unlink()
        scene.worker("b").kill("SIGKILL")
        await scene.until("fork b")
        sent = await floods(scene)
        assert sent <= WINDOW // KIB // 2
        await others_go_on(scene)
        gate.touch()
        await arrive(scene)
        await nothing_is_held(scene)


async def test_to_one_that_does_not_come_back() -> None:
    """What waits is given back, and the flooder learns it."""
    waiting = Child("b", flooding_actors.counts, ready="called", settings=SMALL, backoff=NEVER)
    async with run_tree([waiting, sink(), flooder()]) as scene:
        scene.worker("b").kill("SIGKILL")
        await scene.until("restart b 1")
        await floods(scene)
        await others_go_on(scene)
        await scene.primary.terminate_child("b")
        assert "PeerClosed" == (await scene.worker("f").mailbox.receive()).body
        await nothing_is_held(scene)


async def test_to_a_pool_one_of_which_does_not_read() -> None:
    """Its messages are dealt, so the pool as a whole is one address."""
    slots = Pool("p", flooding_actors.silent, count=2, ready="called", settings=SMALL)
    async with run_tree([slots, sink(), flooder("p")]) as scene:
        scene.worker("p.2").kill("SIGUSR1")
        await floods(scene, "p.1")
        await others_go_on(scene)
        scene.worker("p.1").kill("SIGUSR1")
        assert "all sent" == (await scene.worker("f").mailbox.receive()).body
        numbers = [
            (await scene.worker(name).mailbox.receive()).body
            for name in ("p.1", "p.2")
            for _ in range(COUNT // 2)
        ]
        assert [*range(COUNT)] == sorted(numbers)
        await nothing_is_held(scene)


async def test_asks() -> None:
    tree = [child("b", flooding_actors.silent), sink(), flooder(count=300, asks=True)]
    async with run_tree(tree) as scene:
        assert 0 == await floods(scene)
        await others_go_on(scene)
        scene.worker("b").kill("SIGUSR1")
        assert "all answered" == (await scene.worker("f").mailbox.receive()).body
        await nothing_is_held(scene)


@pytest.mark.parametrize("asks", [False, True])
async def test_a_flood_that_is_cancelled(asks: bool) -> None:
    async with run_tree([child("b", flooding_actors.silent), sink(), flooder(asks=asks)]) as scene:
        sent = await floods(scene)
        assert sent <= (sent := await scene.worker("f").ask("stop")) < 2 * WINDOW // KIB
        scene.worker("b").kill("SIGUSR1")
        if not asks:
            taken = scene.worker("b").mailbox
            assert [*range(sent)] == [(await taken.receive()).body for _ in range(sent)]
        assert 0 == await scene.worker("f").ask(0)


async def test_large_ones_go_alone() -> None:
    """Each costs a whole window, and waits for the one before it."""
    tree = [child("b", flooding_actors.silent), sink(), flooder(count=5, size=2 * WINDOW)]
    async with run_tree(tree) as scene:
        assert await floods(scene) <= 2
        scene.worker("b").kill("SIGUSR1")
        await arrive(scene, 5)
        await nothing_is_held(scene)


async def test_the_flooder_dies() -> None:
    async with run_tree([child("b", flooding_actors.silent), flooder()]) as scene:
        await floods(scene)
        scene.worker("f").kill("SIGKILL")
        await scene.until("restart f 1")
        await scene.calm()
