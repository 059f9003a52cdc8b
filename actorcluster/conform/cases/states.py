"""Each cell of the worker's table that says *abort*, as far as the state can be held.

Runs in: both

In HANDSHAKE and ACTIVE the worker waits for us. STOPPING is held by a command that waits for
credit. In STARTING and CLOSING a worker stays for as long as it likes, so nothing can be said of
what is refused only there.
"""

from __future__ import annotations

from typing import Any, Final

from ...wire._generated import UNKNOWN_KIND, WORKER_TABLE, AbortCode, Action, Kind, State
from ..case import Case, Noted, Story, add, case
from ..frames import frame
from ..play import CLUSTER, Play

__all__: list[str] = []

_WELCOME: Final = {"version": [1, 0], "worker": 7, "cluster": CLUSTER}

#: A frame of each kind that is right in itself: channel, envelope, payload.
SAMPLES: Final[dict[int, tuple[int, Any, Any]]] = {
    Kind.HELLO: (0, None, {"versions": [[1, 0]]}),
    Kind.WELCOME: (0, None, _WELCOME),
    Kind.READY: (0, None, {}),
    Kind.GOODBYE: (0, None, {"recv": 0}),
    Kind.PING: (0, None, 1),
    Kind.PONG: (0, None, 1),
    Kind.SETTINGS: (0, None, {}),
    Kind.SETTINGS_ACK: (0, None, None),
    Kind.CREDIT: (0, [0], None),
    Kind.ACK: (0, [0], None),
    Kind.UNIMPLEMENTED: (0, [0x31], None),
    Kind.STOP: (0, None, {}),
    Kind.LEAVE: (0, None, {}),
    Kind.SERVING: (0, None, {}),
    Kind.LISTEN: (2, None, {"transport": "tcp", "port": 0}),
    Kind.LISTENING: (1, None, {"mode": "handoff"}),
    Kind.CONN: (1, [1, []], None),
    Kind.CONN_REPLY: (1, [1], None),
    Kind.CONN_CREDIT: (1, [1], None),
    Kind.LISTEN_CLOSE: (1, None, None),
    Kind.HANDLE_ACK: (0, [0], None),
    Kind.TELL: (0, [None], ["echo", 1]),
    Kind.CALL: (2, [None], ["echo", 1]),
    Kind.REPLY: (1, None, 1),
    Kind.ERROR: (1, None, {"code": "app"}),
    Kind.CANCEL: (2, [], None),
    Kind.UNDELIVERABLE: (0, [1], {"code": "no_such_actor"}),
    Kind.MONITOR: (0, [1, "primary"], None),
    Kind.DEMONITOR: (0, [1], None),
    Kind.DOWN: (0, [1, None, "no_such_actor"], {}),
    Kind.EXIT_INFO: (0, None, {"code": 0}),
    Kind.LOG: (0, [20, 0.5, "x"], ["text"]),
    UNKNOWN_KIND: (0, None, None),
}
_A_KIND_NOBODY_KNOWS: Final = 0x60


def sample(kind: int) -> bytes:
    """Write a frame of that kind."""
    channel, envelope, payload = SAMPLES[kind]
    code = _A_KIND_NOBODY_KNOWS if kind == UNKNOWN_KIND else kind
    return frame(code, envelope, payload, channel=channel)


def _story(state: State, kind: int) -> Story:
    async def play(p: Play) -> None:
        if state is State.STOPPING:
            await p.stall()
            await p.raw(frame(Kind.STOP, None, {}) + sample(kind))
            if await _has_left(p):
                raise Noted("it was through with stopping already")
        else:
            await p.raw(sample(kind))
        await p.abort(AbortCode.STATE_VIOLATION)

    return play


async def _has_left(p: Play) -> bool:
    """Whether GOODBYE comes, and not ABORT."""
    found = await p.until(
        lambda: next((one for one in p.heard if one.kind in (Kind.GOODBYE, Kind.ABORT)), None),
        "ABORT(state_violation)",
    )
    return found.kind == Kind.GOODBYE


def _enter() -> None:
    for state in (State.HANDSHAKE, State.ACTIVE, State.STOPPING):
        for kind, (action, _) in WORKER_TABLE[state].items():
            if action is not Action.ABORT or kind not in SAMPLES:
                continue
            name = "unknown" if kind == UNKNOWN_KIND else Kind(kind).name.lower()
            word = state.name.lower()
            is_stalled = state is State.STOPPING
            add(
                Case(
                    id=f"state.{word}.{name.replace('_', '-')}",
                    requirements=("AWP-ST-8",),
                    title=f"{name.upper()} in {state.name}",
                    level=1,
                    caps=frozenset({"msg", "call"}) if is_stalled else frozenset(),
                    begin="hello" if state is State.HANDSHAKE else "active",
                    welcome={"limits": {"window": 65536}} if is_stalled else {},
                    story=_story(state, kind),
                )
            )


_enter()


@case("state.closing", "AWP-ST-8", "AWP-ST-2", level=1)
async def _(p: Play) -> None:
    """Everything that a worker in CLOSING ignores, behind its GOODBYE"""
    await p.send(Kind.STOP, None, {})
    await p.expect(Kind.GOODBYE, requirement="AWP-ST-1")
    for kind, (action, _) in WORKER_TABLE[State.CLOSING].items():
        if action is Action.IGNORE and kind in SAMPLES:
            await p.raw(sample(kind))
    await p.send(Kind.GOODBYE, None, {"recv": 0})
    p.line.shut_down()
    await p.ends_well()


@case("state.active.deliver", "AWP-ST-8", level=1)
async def _(p: Play) -> None:
    """Everything that needs no answer and is never too late, in ACTIVE"""
    harmless = (Kind.PONG, Kind.CREDIT, Kind.UNIMPLEMENTED, Kind.REPLY, Kind.ERROR, Kind.CANCEL,
                Kind.LISTEN_CLOSE, Kind.LISTENING)  # fmt: skip
    for kind in harmless:
        if kind not in (Kind.REPLY, Kind.CANCEL) or "call" in p.caps:
            await p.raw(sample(kind))
    await p.alive()
    p.quiet()
