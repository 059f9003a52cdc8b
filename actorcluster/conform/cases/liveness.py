"""PING and PONG.

Runs in: both
"""

from __future__ import annotations

from ...wire._generated import Kind
from ..case import case
from ..frames import frame
from ..play import Play

__all__: list[str] = []


async def _same(p: Play, body: bytes, channel: int = 0) -> None:
    await p.raw(frame(Kind.PING, body=body, channel=channel))
    pong = await p.expect(Kind.PONG)
    p.check(pong.body == body, f"PONG has {pong.body.hex()[:80]} for {body.hex()[:80]}")
    p.check(pong.channel == channel, f"PONG on channel {pong.channel} for {channel}")


@case("pi.empty", "AWP-PI-1", level=0)
async def _(p: Play) -> None:
    """A PING without any body"""
    await _same(p, b"")


@case("pi.not-msgpack", "AWP-PI-1", level=0)
async def _(p: Play) -> None:
    """A body that is not msgpack comes back byte for byte"""
    await _same(p, b"\xc1\xff\x00\xc1" * 5)


@case("pi.unusual-forms", "AWP-PI-1", level=0)
async def _(p: Play) -> None:
    """Numbers in longer forms than needed come back as they are"""
    await _same(p, bytes.fromhex("c0 cf0000000000000007".replace(" ", "")))


@case("pi.large", "AWP-PI-1", level=0)
async def _(p: Play) -> None:
    """A body as long as max_frame allows"""
    await _same(p, bytes(range(256)) * (p.claims.limits["max_frame"] // 256))


@case("pi.channels", "AWP-PI-1", level=0)
async def _(p: Play) -> None:
    """PONG comes on PING's channel, whatever that is"""
    for number in (1, 2, 0xFFFFFFFF):
        await _same(p, b"\xc0\x01", number)


@case("pi.many", "AWP-PI-1", "AWP-FR-7", level=0)
async def _(p: Play) -> None:
    """500 PINGs in one write: 500 PONGs in their order"""
    bodies = [b"\xc0\xcd%b" % number.to_bytes(2, "big") for number in range(500)]
    await p.raw(b"".join(frame(Kind.PING, body=body) for body in bodies))
    for body in bodies:
        pong = await p.expect(Kind.PONG)
        p.check(pong.body == body, f"PONG {pong.body.hex()} for {body.hex()}")


@case("pi.while-busy", "AWP-PI-1", "AWP-FC-3", caps="msg call",
      welcome={"limits": {"window": 65536}})  # fmt: skip
async def _(p: Play) -> None:
    """PONG comes although the actor waits for credit"""
    await p.stall()
    await p.ping()


@case("pi.starting", "AWP-PI-1", "AWP-ST-8", level=0, begin="hello")
async def _(p: Play) -> None:
    """A PING directly behind WELCOME"""
    await p.raw(p.welcome_frame() + frame(Kind.PING, body=b"\xc0\x05"))
    await p.expect(Kind.PONG)
    await p.expect(Kind.READY)
