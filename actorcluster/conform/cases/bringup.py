"""The handshake.

Runs in: both
"""

from __future__ import annotations

from ...wire._generated import LIMIT_DEFAULTS, AbortCode, Kind
from ..case import case
from ..frames import frame
from ..play import NAME, Play

__all__: list[str] = []


@case("hs.hello", "AWP-HS-1", "AWP-HS-4", level=0)
async def _(p: Play) -> None:
    """HELLO, WELCOME, READY; then it is there"""
    hello = p.heard[0]
    versions = hello.field("versions")
    p.check(isinstance(versions, list) and [1, 0] in versions, f"versions is {versions!r}")
    await p.ping()
    p.quiet("AWP-HS-4")


@case("hs.speaks-first", "AWP-HS-1", level=0, begin="hello")
async def _(p: Play) -> None:
    """HELLO comes although the primary says nothing"""
    p.check(len(p.heard) == 1, f"{len(p.heard)} frames before WELCOME", "AWP-HS-4")


@case("hs.with-welcome", "AWP-HS-1", "AWP-FR-7", level=0, begin="process")
async def _(p: Play) -> None:
    """WELCOME is in the socket before HELLO was read"""
    p.line.hold()
    await p.raw(p.welcome_frame())
    p.line.go_on()
    await p.hello()
    await p.expect(Kind.READY)


@case("hs.minimal-welcome", "AWP-HS-1", "AWP-HS-5", level=0, begin="hello")
async def _(p: Play) -> None:
    """WELCOME with nothing but what it must have"""
    await p.raw(
        frame(Kind.WELCOME, None, {"version": [1, 0], "worker": 7, "cluster": bytes(range(16))})
    )
    await p.expect(Kind.READY)
    await p.ping()


@case("hs.no-caps", "AWP-HS-3", level=0, grant=frozenset())
async def _(p: Play) -> None:
    """No capability is granted: it works as one of level 0"""
    await p.ping()
    await p.stop()


@case("hs.cap-not-granted", "AWP-HS-3", "AWP-ST-8", caps="msg", grant=frozenset())
async def _(p: Play) -> None:
    """A TELL, with no capability granted"""
    await p.send(Kind.TELL, [None], ["echo", 1])
    await p.abort(AbortCode.STATE_VIOLATION, AbortCode.PROTOCOL_ERROR)


@case("hs.unknown-caps", "AWP-EV-1", level=0, begin="hello")
async def _(p: Play) -> None:
    """WELCOME has keys and kinds of handles that nobody knows"""
    grown = {"grease.x": [1, {"y": None}], "x-future": True, "ext": {"a": 1}}
    await p.raw(p.welcome_frame(**grown))
    await p.expect(Kind.READY)
    await p.ping()


@case("hs.heartbeat", "AWP-EV-1", level=0, begin="hello")
async def _(p: Play) -> None:
    """WELCOME with a heartbeat that is a float, and a configuration"""
    await p.raw(p.welcome_frame(heartbeat=1500.5, config={"a": [1, 2, {"b": None}]}))
    await p.expect(Kind.READY)
    await p.ping()


@case("hs.refused", "AWP-ST-4", level=0, begin="hello")
async def _(p: Play) -> None:
    """ABORT in place of WELCOME: it closes, says nothing more, and ends"""
    await p.send(Kind.ABORT, None, {"code": int(AbortCode.VERSION), "detail": "1.0"})
    await p.eof()
    p.quiet()
    await p.exited(within=2.0)


@case("hs.no-welcome", "AWP-ST-3", level=0, begin="hello")
async def _(p: Play) -> None:
    """The primary is gone before WELCOME"""
    p.line.shut_down()
    await p.ends_well(within=2.0)


@case("hs.name", "AWP-MS-9", caps="call")
async def _(p: Play) -> None:
    """The main actor is addressed by its name, by its aid, and by nil"""
    for to in (NAME, 7 << 32, None):
        p.check(await p.ask("echo", 1, to=to) == 1, f"no echo from {to!r}")


@case("hs.limits", "AWP-LM-1", level=0, begin="hello")
async def _(p: Play) -> None:
    """Limits in HELLO are integers, of the names that there are, or greased"""
    said = p.heard[0].field("limits") or {}
    wrong = {name: value for name, value in said.items() if not isinstance(value, int)}
    p.check(not wrong, f"limits are {wrong}")
    unknown = [name for name in said if name not in LIMIT_DEFAULTS and "." not in name]
    p.check(not unknown, f"there are no limits {unknown}", "AWP-EV-4")
