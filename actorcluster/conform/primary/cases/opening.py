"""Introductions that are wrong, and what is said before READY.

Runs in: both
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from ....wire._generated import FLAG_FRAG, FLAG_MORE, Kind
from ..case import ACTIVE, HANDSHAKE, OPEN, STARTING, Aborts, Ends, Lives, case
from ..scene import Problem, Scene
from ..talk import CAPABILITIES, frame, hello

__all__: list[str] = []


def without(*names: str) -> tuple[str, ...]:
    """All capabilities but these."""
    return tuple(name for name in CAPABILITIES if name not in names)


# ---- HELLO -------------------------------------------------------------------------------------


@case("hello.token", "AWP-TR-9", Lives(), (HANDSHAKE,), forms=3)
async def wrong_token(it: Scene) -> None:
    """Has connected, and says another token, none, or another worker's id: ABORT, and no more."""
    if not it.it.path:
        it.is_over = True  # it inherited its channel, and is trusted
        return
    token, worker = it.it.token, it.it.worker_id
    said: dict[str, Any] = (
        {"worker": worker, "token": token[::-1] + "x"},
        {"worker": worker},
        {"worker": worker + 1, "token": token},
    )[it.form]
    await it.say(hello(**said))
    abort = await it.hear(Kind.ABORT)
    if abort.abort_name() != "auth":
        raise Problem(f"ABORT {abort.abort_name()}, not auth")
    it.is_over = True


@case("hello.door-closed", "AWP-TR-11", Lives(), (ACTIVE,))
async def door_closed(it: Scene) -> None:
    """Has connected, and said who it is: nobody else can, the socket and its directory are gone."""
    path = it.it.path
    if path and Path(path).parent.exists():  # at once
        raise Problem(f"{path} is still there")


@case("hello.never", "AWP-HS-1", Ends(killed=True), (HANDSHAKE,), slow=True)
async def never(it: Scene) -> None:
    """Never says HELLO: the primary gives it up."""


@case("hello.not-ready", "AWP-HS-1", Ends(killed=True), (STARTING,), slow=True)
async def never_ready(it: Scene) -> None:
    """Says HELLO and never READY: the primary gives it up."""


@case("hello.twice", "AWP-HS-1", Aborts("state_violation"), (HANDSHAKE, STARTING, *OPEN),
      also=("AWP-ST-8",))  # fmt: skip
async def twice(it: Scene) -> None:
    """Says HELLO twice, together or later."""
    await it.say(it.hello(), *([it.hello()] if it.state == HANDSHAKE else []))


@case("hello.major", "AWP-HS-2", Aborts("version"), (HANDSHAKE,), forms=3)
async def unknown_major(it: Scene) -> None:
    """Speaks major versions only that nobody knows: ABORT lists the primary's own."""
    versions = ([[2, 0], [9, 1]], [[0, 9]], [[1 << 60, 0]])[it.form]
    await it.say(frame(Kind.HELLO, None, {"versions": versions, "caps": 7}))
    said = (await it.hear(Kind.ABORT)).payload
    if "1" not in str(said.get("detail")):
        raise Problem(f"ABORT does not list the primary's versions: {said}")


@case("hello.versions", "AWP-HS-2", Lives(), (HANDSHAKE,), forms=2, also=("AWP-HS-5",))
async def several_versions(it: Scene) -> None:
    """Speaks several versions, of which the primary knows one: that is chosen."""
    versions = ([[3, 1], [1, 7], [2, 0]], [[1, 0], [1 << 40, 1]])[it.form]
    await it.say(hello(versions=versions))
    welcome = await it.hear(Kind.WELCOME)
    it.welcomed(welcome)
    if welcome.payload.get("version", [])[:1] != [1]:
        raise Problem(f"WELCOME says version {welcome.payload.get('version')}")


@case("hello.future", "AWP-EV-1", Lives(), (HANDSHAKE,), also=("AWP-EV-3", "AWP-EV-4"))
async def future(it: Scene) -> None:
    """Says HELLO with keys, capabilities, limits and kinds of handles that nobody knows."""
    await it.say(
        hello(
            ("grease.cap", "x-other", *CAPABILITIES),
            {"x-limit": 1, "max_holes": 2},
            grease={"deep": [1]},
            impl={"name": "hostile", "other": None},
        )
    )
    welcome = await it.hear(Kind.WELCOME)
    it.welcomed(welcome)
    extra = set(welcome.payload.get("caps", ())) - set(CAPABILITIES)
    if extra:
        raise Problem(f"WELCOME grants {extra}")


@case("hello.require", "AWP-HS-6", Aborts("required_capability"), (HANDSHAKE,), forms=2)
async def requires(it: Scene) -> None:
    """Requires a capability that no primary has, or that it did not offer itself."""
    if it.form:
        await it.say(hello(without("call"), require=["call"]))
    else:
        await it.say(hello(require=["msg", "x-telepathy"]))


@case("hello.fields", "AWP-FR-6", Aborts("protocol_error"), (HANDSHAKE,), forms=9)
async def wrong_hello(it: Scene) -> None:
    """Says HELLO with a field that is missing, or of a wrong type."""
    said = (
        {},
        {"versions": 1},
        {"versions": [[1]]},
        {"versions": [[1, 0]], "caps": "msg"},
        {"versions": [[1, 0]], "caps": [1]},
        {"versions": [[1, 0]], "limits": []},
        {"versions": [[1, 0]], "limits": {"window": -1}},
        {"versions": [[1, 0]], "worker": "7"},
        ["versions"],
    )[it.form]
    await it.say(frame(Kind.HELLO, None, said))


@case("hello.floor", "AWP-LM-1", Lives(), (HANDSHAKE,), also=("AWP-TR-8",))
async def below_floor(it: Scene) -> None:
    """Announces limits below their floors: they count as the floors, or the connection ends."""
    await it.say(hello(limits={"max_frame": 1, "window": 1, "max_meta": 0}))
    answer = await it.hear(Kind.WELCOME, Kind.ABORT)
    if answer.kind == Kind.ABORT:
        it.is_over = True  # a receiver must not announce less
    else:
        it.welcomed(answer)


@case("hello.channel", "AWP-CH-2", Aborts("protocol_error"), (HANDSHAKE,), also=("AWP-HS-1",))
async def hello_on_channel(it: Scene) -> None:
    """Says HELLO on a channel."""
    await it.say(frame(Kind.HELLO, None, {"versions": [[1, 0]]}, channel=1))


@case("hello.bare", "AWP-HS-3", Lives(), (HANDSHAKE,))
async def bare(it: Scene) -> None:
    """Is a worker of level 0, which offers nothing; nothing is granted."""
    await it.say(frame(Kind.HELLO, None, {"versions": [[1, 0]]}))
    welcome = await it.hear(Kind.WELCOME)
    it.welcomed(welcome)
    if welcome.payload.get("caps"):
        raise Problem(f"WELCOME grants {welcome.payload['caps']}")


@case("hello.welcome-after", "AWP-HS-1", Lives(), (HANDSHAKE,))
async def one_welcome(it: Scene) -> None:
    """Says HELLO in single bytes: WELCOME is the first that it hears, and comes once."""
    for byte in it.hello():
        await it.say(bytes((byte,)))
    await it.hear(Kind.WELCOME)
    it.welcomed(it.it.heard[0])
    await it.reach(ACTIVE)
    if [one.kind for one in it.it.heard].count(Kind.WELCOME) != 1:
        raise Problem("WELCOME came twice")


# ---- what is not in force ----------------------------------------------------------------------

_WITHHELD: Final[dict[str, bytes]] = {
    "msg": frame(Kind.TELL, [None], "hi"),
    "call": frame(Kind.CALL, [None], "hi", channel=1),
    "ack": frame(Kind.ACK, [0]),
    "handle.ack": frame(Kind.HANDLE_ACK, [0]),
    "monitor": frame(Kind.MONITOR, [1, "db"]),
    "log": frame(Kind.LOG, [20, 0.0, "log"], ["hi"]),
    "frag": frame(Kind.TELL, [None], b"\x91", channel=1, flags=FLAG_FRAG | FLAG_MORE),
}


def _enter_withheld() -> None:
    for name, data in _WITHHELD.items():

        async def withheld(it: Scene, data: bytes = data) -> None:
            await it.say(data)

        withheld.__doc__ = f"Does not offer {name}, and uses it."
        states = (STARTING, *OPEN) if name == "log" else OPEN
        outcome = {
            state: Aborts("protocol_error" if state in OPEN else "state_violation")
            for state in states
        }
        case(f"caps.{name}", "AWP-HS-3", outcome, caps=without(name))(withheld)


_enter_withheld()


@case("caps.handles", "AWP-FD-6", Aborts("fd_violation"), OPEN, caps=without("handle.send"),
      also=("AWP-HS-3",))  # fmt: skip
async def no_handles(it: Scene) -> None:
    """Does not offer handle.send, and sends a handle."""
    with it.pipes(1) as fds:
        await it.say(frame(Kind.TELL, [None, None, [[8, {}]]], "hi", nfds=1), fds=fds)


# ---- before READY ------------------------------------------------------------------------------


@case("early.mail", "AWP-HS-4", Aborts("state_violation"), (HANDSHAKE, STARTING), forms=4,
      also=("AWP-ST-8",))  # fmt: skip
async def early(it: Scene) -> None:
    """Sends messages, pings or asks for a port before READY."""
    frames = (
        frame(Kind.TELL, [None], "hi"),
        frame(Kind.CALL, [None], "hi", channel=1),
        frame(Kind.PING, 1, 2),
        frame(Kind.LISTEN, None, {"transport": "tcp", "port": 0}, channel=1),
    )
    await it.say(frames[it.form])


@case("early.crossing", "AWP-HS-1", Lives(), (HANDSHAKE,))
async def all_at_once(it: Scene) -> None:
    """Says HELLO, READY and a message in one piece, without waiting for WELCOME."""
    await it.say(it.hello(), frame(Kind.READY, None, {}), frame(Kind.CALL, [None], 1, channel=1))
    # READY before WELCOME was seen is allowed to nobody, but no primary can tell; see HS-4.
    answer = await it.hear(Kind.WELCOME, Kind.ABORT)
    if answer.kind == Kind.ABORT:
        it.is_over = True
        return
    it.welcomed(answer)
    answer = await it.hear(Kind.ERROR, Kind.REPLY, Kind.ABORT)
    it.is_over = answer.kind == Kind.ABORT
    it.state = ACTIVE


@case("early.log", "AWP-HS-4", Lives(), (STARTING,))
async def early_log(it: Scene) -> None:
    """Logs before READY, ten thousand times, which it may."""
    await it.say(frame(Kind.LOG, [20, 0.0, "early"], ["hi"], flags=0x80) * 10_000)
