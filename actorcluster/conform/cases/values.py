"""What the value profile allows, and what it does not.

Runs in: both
"""

from __future__ import annotations

import msgpack

from ...wire._generated import Kind
from ..case import Noted, case
from ..frames import frame, pack
from ..play import Play

__all__: list[str] = []

_BAD = {
    "utf8": b"\xa2\xc3\x28",
    "surrogate": b"\xa3\xed\xa0\x80",
    "int-key": b"\x81\x01\x02",
    "twice": b"\x82\xa1a\x01\xa1a\x02",
    "c1": b"\xc1",
    "handle": b"\xd4\x01\x00",
    "timestamp": b"\xc7\x03\xff\0\0\0",
    "ref": b"\xd4\x02\x05",
    "ref-bytes": b"\xd5\x02\x91\xc1",
}


@case("va.broken-calls", "AWP-VA-1", "AWP-FR-6", caps="call")
async def _(p: Play) -> None:
    """Calls that break the profile, one after another: ERROR for each, and it goes on"""
    for name, payload in _BAD.items():
        channel = p.channel()
        await p.raw(frame(Kind.CALL, channel=channel, body=b"\x91\xc0" + payload))
        await p.error(channel, "bad_payload")
        p.messages_sent += 1
        p.check(await p.ask("echo", name) == name, f"no echo behind {name}")


@case("va.depth", "AWP-VA-1", caps="call")
async def _(p: Play) -> None:
    """As deep as max_depth is taken; one level more is an error of that message"""
    most = p.claims.limits["max_depth"]
    for depth, is_fine in ((most - 1, True), (most, False)):
        nested = b"\x91" * (depth - 1) + b"\x90"
        channel = p.channel()
        body = pack([None]) + b"\x92" + pack("echo") + nested
        await p.raw(frame(Kind.CALL, channel=channel, body=body))
        p.messages_sent += 1
        if is_fine:
            heard = await p.outcome(channel)
            p.check(heard.kind == Kind.REPLY, f"{depth + 1} levels got {heard}")
        else:
            await p.error(channel, "bad_payload")
    await p.echo()


@case("va.very-deep", "AWP-VA-1", "AWP-VA-2", caps="call")
async def _(p: Play) -> None:
    """A payload of 10,000 levels"""
    channel = p.channel()
    body = b"\x91\xc0" + b"\x91" * 10_000 + b"\xc0"
    await p.raw(frame(Kind.CALL, channel=channel, body=body))
    await p.error(channel, "bad_payload")
    await p.echo()


@case("va.array-lies", "AWP-VA-2", "AWP-FR-3", caps="call")
async def _(p: Play) -> None:
    """Arrays that state billions of elements: no memory is taken for them"""
    before = p.program.memory()
    channel = p.channel()
    await p.raw(frame(Kind.CALL, channel=channel, body=b"\x91\xc0" + b"\xdd\x7f\xff\xff\xff" * 20))
    await p.until(lambda: p.inbox or None, "answer or ABORT")
    grown = p.program.memory() - before
    p.check(grown < 64 << 20, f"memory grew by {grown >> 20} MiB")
    p.check(p.inbox[0].kind in (Kind.ABORT, Kind.ERROR), f"{p.inbox[0]}")


@case("va.str-lies", "AWP-VA-2", "AWP-FR-3", caps="call")
async def _(p: Play) -> None:
    """A bin that states 4 GiB: no memory is taken for it"""
    before = p.program.memory()
    await p.raw(frame(Kind.CALL, channel=2, body=b"\x91\xc0\xc6\xff\xff\xff\xff" + bytes(50)))
    await p.until(lambda: p.inbox or None, "answer or ABORT")
    grown = p.program.memory() - before
    p.check(grown < 64 << 20, f"memory grew by {grown >> 20} MiB")


@case("va.no-code", "AWP-VA-3", caps="call")
async def _(p: Play) -> None:
    """A map that names a class comes back as the map that it is"""
    names = {
        "__class__": "os.system",
        "py/object": "subprocess.Popen",
        "$type": "System.Diagnostics.Process",
        "__proto__": {"polluted": True},
        "constructor": {"prototype": {"x": 1}},
    }
    said = await p.ask("echo", names)
    p.check(said == names, f"echo gave {said!r}")


@case("va.big-integers", "AWP-FR-6", caps="call")
async def _(p: Play) -> None:
    """The ends of the range of integers: taken, though some languages lose digits"""
    for value in (2**53 - 1, -(2**53) + 1):
        said = await p.ask("echo", value)
        p.check(said == value, f"echo gave {said} for {value}")
    for value in (2**64 - 1, -(2**63)):
        said = await p.ask("echo", value)
        if said != value:
            p.check(abs(said - value) <= 2048, f"echo gave {said} for {value}")


@case("va.whole-floats", "AWP-FR-6", caps="call")
async def _(p: Play) -> None:
    """Floats that are whole come back as they were, as floats where the language tells"""
    for value in (1.0, -3.0, 2.0**60):
        said = await p.ask("echo", value)
        p.check(said == value, f"echo gave {said!r} for {value!r}")
        if type(said) is not float:
            raise Noted(f"echo gave {said!r} for {value!r}: its language has one type of number")


@case("va.application-ext", "AWP-EV-3", caps="call")
async def _(p: Play) -> None:
    """An extension type of applications, and one of a future version, are handed on"""
    for code in (40, 20, 100):
        said = await p.ask("echo", msgpack.ExtType(code, b"abc"))
        p.check(said == msgpack.ExtType(code, b"abc"), f"echo gave {said!r}")
