"""What comes from a later version, or from nobody: unknown kinds, keys, codes, grease.

Runs in: both
"""

from __future__ import annotations

from ...wire._generated import FLAG_OPTIONAL, KINDS, AbortCode, Kind
from ..case import case
from ..frames import frame
from ..play import Play

__all__: list[str] = []


@case("ev.unknown", "AWP-EV-2", level=1, ways=("whole", "bytewise"))
async def _(p: Play) -> None:
    """A kind that nobody knows: UNIMPLEMENTED with its number, on its channel"""
    for kind, channel in ((0x60, 0), (0x7F, 9), (0xC5, 0xFFFFFFFF)):
        await p.raw(frame(kind, ["anything"], {"at": "all"}, channel=channel))
        heard = await p.expect(Kind.UNIMPLEMENTED)
        said = (heard.item(0), heard.channel)
        p.check(said == (kind, channel), f"it says {said}, not {(kind, channel)}")
    await p.alive()


@case("ev.reserved", "AWP-EV-2", level=1)
async def _(p: Play) -> None:
    """Every reserved kind is answered by UNIMPLEMENTED"""
    for info in KINDS.values():
        if info.status != "reserved":
            continue
        await p.raw(frame(info.code, [1, 2], None, channel=4))
        heard = await p.expect(Kind.UNIMPLEMENTED)
        p.check(heard.item(0) == info.code, f"it says {heard.item(0)} for {info.code}")
    await p.alive()


@case("ev.optional", "AWP-EV-2", level=1)
async def _(p: Play) -> None:
    """Unknown and reserved kinds with OPTIONAL are ignored"""
    for kind in (0x60, 0x30, 0x45, 0xE0, 0xFE):
        await p.raw(frame(kind, [1], 2, flags=FLAG_OPTIONAL))
    await p.alive()
    p.quiet()


@case("ev.grease", "AWP-EV-2", level=1, ways=("whole", "bytewise"))
async def _(p: Play) -> None:
    """Grease of all kinds"""
    for kind in range(0xF0, 0xFF):
        payload = {"grease": b"x" * (kind - 0xF0)}
        await p.raw(frame(kind, [kind], payload, flags=FLAG_OPTIONAL, channel=kind))
    await p.alive()
    p.quiet()


@case("ev.not-msgpack", "AWP-EV-2", level=1)
async def _(p: Play) -> None:
    """An unknown kind whose body is not msgpack: its body is nobody's business"""
    await p.raw(frame(0x61, body=b"\xc1\xc1\xff"))
    await p.expect(Kind.UNIMPLEMENTED)
    await p.alive()


@case("ev.many", "AWP-EV-2", level=1)
async def _(p: Play) -> None:
    """100 unknown frames: it goes on"""
    await p.raw(frame(0x62) * 100)
    for _ in range(100):
        await p.expect(Kind.UNIMPLEMENTED)
    await p.alive()


@case("ev.too-many", "AWP-EV-2", level=1)
async def _(p: Play) -> None:
    """300 unknown frames: it goes on, or gives up by ABORT(limit_exceeded)"""
    found = await p.pong_or_abort(frame(0x62) * 300)
    if found.kind == Kind.ABORT:
        await p.abort(AbortCode.LIMIT_EXCEEDED)


@case("ev.trailing", "AWP-EV-1", caps="call")
async def _(p: Play) -> None:
    """Envelopes with more elements than are known, and with fewer"""
    for envelope in ([None, None, None, None, "more", [1]], [], [None], None):
        channel = p.channel()
        await p.send(Kind.CALL, envelope, ["echo", 1], channel=channel)
        p.check(await p.reply(channel) == 1, f"no echo for the envelope {envelope}")


@case("ev.keys", "AWP-EV-1", level=0)
async def _(p: Play) -> None:
    """STOP with keys that nobody knows"""
    await p.send(Kind.STOP, None, {"grease.a": [], "x-future": {"deadline": 0}})
    await p.part()


@case("ev.error-code", "AWP-EV-3", level=2, caps="call listen.handoff")
async def _(p: Play) -> None:
    """An ERROR with a code and keys that nobody knows ends the command with it"""
    command = await p.call("listen", {"transport": "tcp", "host": "127.0.0.1", "port": 80})
    heard = await p.expect(Kind.LISTEN)
    error = {"code": "com.example.odd", "message": "?", "future": 1}
    await p.send(Kind.ERROR, None, error, channel=heard.channel)
    answer = await p.outcome(command)
    p.check(answer.kind == Kind.ERROR, f"the command got {answer}")
    await p.echo()


@case("ev.reasons", "AWP-EV-3", level=0)
async def _(p: Play) -> None:
    """STOP with a reason that nobody knows"""
    await p.stop(reason=1234)


@case("ev.unimplemented", "AWP-EV-5", level=1)
async def _(p: Play) -> None:
    """UNIMPLEMENTED for something that the worker never sent"""
    await p.send(Kind.UNIMPLEMENTED, [0x31])
    await p.send(Kind.UNIMPLEMENTED, [int(Kind.LOG)], channel=3)
    await p.alive()


@case("su.down", "AWP-SU-3", level=3, caps="monitor")
async def _(p: Play) -> None:
    """DOWN for what the worker does not wait for is ignored"""
    await p.send(Kind.DOWN, [77, None, "gone"], {})
    await p.send(Kind.DOWN, [78, 9 << 32, "signal"], {"signal": "SIGKILL"})
    await p.alive()
    p.quiet()


@case("lm.unread", "AWP-LM-2", level=0, slow=True)
async def _(p: Play) -> None:
    """Nobody reads what it answers: memory stays bounded, or it gives up"""
    before = p.program.memory()
    p.line.hold()
    ping = frame(Kind.PING, body=b"x" * 16_000)
    for _ in range(4000):
        if p.line.is_refused or p.line.ended or p.line.unread() > 1 << 20:
            break
        await p.raw(ping * 4)
    grown = p.program.memory() - before
    p.check(grown < 128 << 20, f"memory grew by {grown >> 20} MiB")
    p.line.go_on()
    if any(one.kind == Kind.ABORT for one in p.heard):
        await p.abort(AbortCode.LIMIT_EXCEEDED)
