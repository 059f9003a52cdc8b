"""Two hostile workers at a time: what passes between them, and how one hears of the other's end.

Runs in: both
"""

from __future__ import annotations

from typing import Final

from ....wire._generated import Kind
from ..case import ACTIVE, Lives, case
from ..scene import Scene
from ..talk import frame
from .duties import fail_unless

__all__: list[str] = []

_WINDOW: Final = 65536
_SIZE: Final = 1000
_COUNT: Final = 100


def _returned(it: Scene) -> int:
    """How much credit has come back so far."""
    return sum(one.elements[0] for one in it.it.heard if one.kind == Kind.CREDIT)


@case("duty.identity", "AWP-TR-1", Lives(), (ACTIVE,))
async def identity(it: Scene) -> None:
    """Is told its id in the environment, and another one than anybody else."""
    async with it.another() as other:
        ids = (it.it.worker_id, other.it.worker_id)
        fail_unless(min(ids) >= 1 and ids[0] != ids[1], f"their ids are {ids}")


@case("mail.held-back", "AWP-MS-12", Lives(), (ACTIVE,), limits={"window": _WINDOW},
      also=("AWP-MS-10",))  # fmt: skip
async def held_back(it: Scene) -> None:
    """Sends more to a worker than that has room for: credit comes back for what was sent on."""
    async with it.another() as other:
        data = frame(Kind.TELL, [other.aid], bytes(_SIZE))
        await it.say(data * _COUNT)
        there = _WINDOW // len(data)  # with `from` and a name it is longer there, if anything
        acknowledged = 0
        while acknowledged < _COUNT:
            acknowledged = (await it.hear(Kind.ACK)).elements[0]
        text = f"{_returned(it)} bytes came back, and there is room for {there} of {len(data)}"
        fail_unless(_returned(it) <= there * len(data), text)
        came = 0
        while came < _COUNT:
            message = await other.hear(Kind.TELL)
            came += 1
            await other.say(frame(Kind.CREDIT, [16 + len(message.body)]))
        while _returned(it) < _COUNT * len(data):
            await it.hear(Kind.CREDIT)
        fail_unless(_returned(it) == _COUNT * len(data), f"{_returned(it)} bytes came back")


@case("monitor.ends", "AWP-SU-5", Lives(), (ACTIVE,), also=("AWP-SU-1", "AWP-SU-6"))
async def hears_of_an_end(it: Scene) -> None:
    """Monitors a worker that writes to it, and ends: first all its mail, then DOWN, once."""
    async with it.another() as other:
        await it.say(frame(Kind.MONITOR, [5, other.aid]))
        await it.sync()
        await other.say(frame(Kind.TELL, [it.aid], "hi") * 20)
        aid = other.aid
    down = await it.hear(Kind.DOWN)
    mail = [one for one in it.it.heard if one.kind == Kind.TELL]
    fail_unless(down.elements[:2] == [5, aid], f"DOWN says {down.elements}")
    fail_unless(len(mail) == 20, f"{len(mail)} messages of 20 came before DOWN")
    await it.say(frame(Kind.MONITOR, [6, aid]))
    again = await it.hear(Kind.DOWN)
    fail_unless(again.elements[0] == 6, f"DOWN says {again.elements}, for a life that has ended")
