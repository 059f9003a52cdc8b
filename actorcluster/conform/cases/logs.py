"""LOG: what it says, its level, and that it keeps nobody waiting.

Runs in: both
"""

from __future__ import annotations

from ...wire._generated import FLAG_OPTIONAL, Kind
from ..case import case
from ..frames import Heard, frame
from ..play import NAME, Play

__all__: list[str] = []

_MANY = 3000
_TEXT = "x" * 1000


def _is_log(heard: Heard) -> bool:
    return heard.kind == Kind.LOG


@case("lo.log", "AWP-LO-1", caps="call log")
async def _(p: Play) -> None:
    """The command that logs: one LOG, with OPTIONAL, level, logger and text"""
    await p.ask("log", [30, "words for people \x1b[31m"])
    heard = await p.ambient(_is_log, "LOG")
    said = (heard.item(0), heard.item(2), heard.payload[0])
    p.check(said == (30, NAME, "words for people \x1b[31m"), f"it says {said}", "AWP-FR-6")
    p.check(bool(heard.flags & FLAG_OPTIONAL), "it has no OPTIONAL")


@case("lo.level", "AWP-LO-1", caps="call log")
async def _(p: Play) -> None:
    """Below the log_level of SETTINGS nothing is sent, at it there is"""
    await p.send(Kind.SETTINGS, None, {"log_level": 40})
    await p.expect(Kind.SETTINGS_ACK, requirement="AWP-SE-1")
    await p.ask("log", [30, "too low"])
    await p.ask("log", [40, "high enough"])
    heard = await p.ambient(_is_log, "LOG")
    if heard.payload[0] != "high enough":
        p.notes.append(f"a LOG of level {heard.item(0)} came, with a log_level of 40")
    await p.ambient(lambda one: _is_log(one) and one.payload[0] == "high enough", "LOG")


@case("lo.flood", "AWP-LO-2", caps="msg call log")
async def _(p: Play) -> None:
    """3000 LOGs that nobody reads: the worker reads on, and its memory stays bounded"""
    before = p.program.memory()
    p.line.hold()
    command = frame(Kind.TELL, [None], ["log", [30, _TEXT]])
    window = p.claims.limits["window"]
    at_once = max(1, min(100, window // 2048))
    for _ in range(_MANY // at_once):
        await p.raw(command * at_once)
        p.messages_sent += at_once
        await p.poll(lambda: p.line.unread() == 0, "the worker has not read what there was")
        if p.messages_sent * len(command) > window // 2:
            p.line.go_on()  # for the credit
            await p.until(
                lambda: p.watch.books.ours_owed * 2 < window or None,
                "CREDIT",
                requirement="AWP-FC-5",
            )
            p.line.hold()
    grown = p.program.memory() - before
    p.check(grown < 64 << 20, f"memory grew by {grown >> 20} MiB")
    p.line.go_on()
    await p.echo()
