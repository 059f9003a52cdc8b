"""The table of section 18: each kind in each state in which no worker can have said it.

Runs in: both
"""

from __future__ import annotations

from typing import Any, Final

from ....wire._generated import KINDS, PRIMARY_TABLE, Action, Kind, State
from ..case import Aborts, Lives, Outcome, case
from ..scene import Scene
from ..talk import frame

__all__: list[str] = []

#: A good body for each kind: envelope and payload.
BODIES: Final[dict[int, tuple[Any, Any]]] = {
    Kind.HELLO: (None, {"versions": [[1, 0]]}),
    Kind.WELCOME: (None, {"version": [1, 0], "worker": 1, "cluster": bytes(16)}),
    Kind.READY: (None, {}),
    Kind.GOODBYE: (None, {"recv": 0}),
    Kind.PING: (1, 2),
    Kind.PONG: (1, 2),
    Kind.SETTINGS: (None, {}),
    Kind.CREDIT: ([0], None),
    Kind.ACK: ([0], None),
    Kind.UNIMPLEMENTED: ([0x60], None),
    Kind.STOP: (None, {}),
    Kind.LEAVE: (None, {}),
    Kind.SERVING: (None, {}),
    Kind.LISTEN: (None, {"transport": "tcp", "port": 0, "host": "127.0.0.1"}),
    Kind.LISTENING: (None, {"mode": "handoff"}),
    Kind.CONN: ([1, []], None),
    Kind.CONN_REPLY: ([1], None),
    Kind.CONN_CREDIT: ([1], None),
    Kind.HANDLE_ACK: ([0], None),
    Kind.TELL: ([None], "hi"),
    Kind.CALL: ([None], "hi"),
    Kind.REPLY: (None, "hi"),
    Kind.ERROR: (None, {"code": "app"}),
    Kind.UNDELIVERABLE: ([1], {"code": "app"}),
    Kind.MONITOR: ([1, "nobody"], None),
    Kind.DEMONITOR: ([1], None),
    Kind.DOWN: ([1, None, "gone"], {}),
    Kind.EXIT_INFO: (None, {"code": 0}),
    Kind.LOG: ([20, 0.0, "log"], ["hi"]),
}


def good(kind: int) -> bytes:
    """A frame of this kind that is right but for the state."""
    envelope, payload = BODIES.get(kind, (None, None))
    channel = 1 if KINDS[kind].channel in ("opens", "uses") else 0
    return frame(kind, envelope, payload, channel=channel)


def _enter(kind: int) -> None:
    cells = {state: PRIMARY_TABLE[state].get(kind) for state in State if state is not State.CLOSED}
    aborted: dict[str, Outcome] = {
        state.name: Aborts("state_violation")
        for state, cell in cells.items()
        if cell is not None and cell[0] is Action.ABORT
    }
    ignored: dict[str, Outcome] = {
        state.name: Lives()
        for state, cell in cells.items()
        if cell is not None and cell[0] is Action.IGNORE
    }
    name = KINDS[kind].name

    async def out_of_place(it: Scene) -> None:
        await it.say(good(kind))

    if aborted:
        out_of_place.__doc__ = f"Says {name} where no worker can have said it."
        case(f"state.{name}", "AWP-ST-8", aborted, also=("AWP-HS-4",))(out_of_place)
    if ignored:
        out_of_place.__doc__ = f"Says {name} where it is late, and ignored."
        case(f"late.{name}", "AWP-ST-2", ignored)(out_of_place)


for _kind in sorted(BODIES):
    _enter(_kind)
