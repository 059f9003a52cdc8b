"""How a life ends: without a word, in the middle, never, or again and again.

Runs in: both
"""

from __future__ import annotations

import signal

from ....wire._generated import Kind
from ..case import ACTIVE, CLOSING, EVERYWHERE, OPEN, STARTING, STOPPING, Aborts, Ends, Lives, case
from ..scene import Problem, Scene
from ..talk import frame

__all__: list[str] = []


@case("end.exit", "AWP-TR-7", Ends(), EVERYWHERE, forms=3)
async def exits(it: Scene) -> None:
    """Exits without a word, with status 0, 1 or 255."""
    await it.it.end((0, 1, 255)[it.form])


@case("end.signal", "AWP-TR-7", Ends(), EVERYWHERE, forms=3)
async def dies(it: Scene) -> None:
    """Is ended by a signal without a word."""
    await it.it.end(signal=(signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)[it.form])


@case("end.channel-only", "AWP-TR-6", Ends(killed=True), (STARTING, ACTIVE), slow=True)
async def closes_channel(it: Scene) -> None:
    """Closes its channel with unread input, and lives on: the primary ends it."""
    it.it.stop_reading()
    await it.command("tell", [5, "unread"])
    it.it.hang_up()


@case("end.half", "AWP-TR-6", Ends(killed=True), (STARTING, ACTIVE), slow=True)
async def half_closes(it: Scene) -> None:
    """Says that nothing more comes, without GOODBYE, and reads on."""
    it.it.shut()


@case("end.lingers", "AWP-ST-1", Ends(killed=True), (CLOSING,), slow=True)
async def lingers(it: Scene) -> None:
    """Has said GOODBYE, and its process does not end: the primary does not count on that."""


@case("stop.ignored", "AWP-ST-1", Ends(killed=True), (STOPPING,), slow=True)
async def ignores_stop(it: Scene) -> None:
    """Takes no notice of STOP."""


@case("stop.sigterm", "AWP-ST-1", Ends(killed=True), (STOPPING,), slow=True)
async def ignores_sigterm(it: Scene) -> None:
    """Takes no notice of STOP, nor of SIGTERM."""
    await it.it.ignore(signal.SIGTERM)


@case("goodbye.recv", "AWP-ST-5", Aborts("protocol_error"), OPEN, forms=2)
async def goodbye_recv(it: Scene) -> None:
    """Says in GOODBYE that it took messages which were never sent."""
    await it.say(frame(Kind.GOODBYE, None, {"recv": (1, (1 << 64) - 1)[it.form]}))


@case("goodbye.at-once", "AWP-ST-2", Lives(), (STARTING, ACTIVE))
async def goodbye_unasked(it: Scene) -> None:
    """Says GOODBYE without having asked for, or heard, STOP: it is answered."""
    await it.say(frame(Kind.GOODBYE, None, {"recv": 0}))
    await it.hear(Kind.GOODBYE)
    it.state = CLOSING


@case("goodbye.more", "AWP-ST-2", Ends(), (ACTIVE, STOPPING))
async def talks_on(it: Scene) -> None:
    """Talks on after its GOODBYE."""
    await it.say(frame(Kind.GOODBYE, None, {"recv": 0}))
    for _ in range(20):
        await it.say(frame(Kind.TELL, [None], "and another thing") * 100)
    await it.say(frame(Kind.GOODBYE, None, {"recv": 0}), frame(Kind.LEAVE, None, {}))


@case("goodbye.calls-open", "AWP-CA-6", Lives(), (ACTIVE,), needs=("ask",))
async def leaves_calls(it: Scene) -> None:
    """Says GOODBYE with a call of the primary's unanswered."""
    await it.asked()
    await it.say(frame(Kind.GOODBYE, None, {"recv": 0}))
    await it.hear(Kind.GOODBYE)
    it.state = CLOSING


@case("abort.code", "AWP-ST-4", Ends(), EVERYWHERE, forms=5)
async def aborts(it: Scene) -> None:
    """Says ABORT, with codes that exist and others, or with no map at all."""
    said = ({"code": 1}, {"code": 77, "detail": "x" * 9999}, {"code": -1}, {}, "no map")[it.form]
    await it.say(frame(Kind.ABORT, None, said))
    await it.it.hear_end()
    if it.it.last(Kind.ABORT) is not None:
        raise Problem("ABORT was answered by ABORT")


@case("abort.more", "AWP-ST-4", Ends(), (ACTIVE,))
async def talks_after_abort(it: Scene) -> None:
    """Talks on after its ABORT."""
    await it.say(frame(Kind.ABORT, None, {"code": 1}), b"\0" * 5000)
    await it.it.hear_end()


@case("exit-info.lies", "AWP-EV-3", Ends(), (STARTING, ACTIVE, STOPPING), forms=3)
async def lies_about_exit(it: Scene) -> None:
    """Says something about its end that is not so, and strange."""
    said = (
        {"code": 0},
        {"code": "app.\x1b[31m", "message": "\x00" * 100, "remote": {"type": [], "stack": 1}},
        {"code": 1 << 63, "cause": {"cause": {"cause": 1}}},
    )[it.form]
    await it.say(frame(Kind.EXIT_INFO, None, said))
    await it.it.end(9)
