"""What a worker may say next: good frames for every state, and those of the vectors.

Runs in: both
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from typing import Any, Final

from ....wire._generated import FLAG_FRAG, FLAG_MORE, FLAG_OPTIONAL, KINDS, Kind
from ...frames import HEADER, frame, pack
from ...material import STREAM_FILES, vectors
from ..bodies import read_body
from .mutate import Piece

__all__ = ["Facts", "good_frame", "tame", "vector_burst"]

#: Channels of calls of the primary's that are open, as keys of `Facts`.
Facts = dict[str, Any]

_ADDRESSES: Final = (None, "db", "nobody", "primary", 0, 1 << 32, 77 << 32)
_BODIES: Final = (
    "hi", None, ["echo", 1], ["tell", [2, "x"]], ["ask", "q"], {"a": [1, {"b": b"x"}]}, 1.5,
    b"bin", "x" * 3000, ["stop"], 1 << 63,
)  # fmt: skip


def _own(chance: random.Random) -> int:
    return chance.choice((1, 1, 3, 5, 7, 9, 1001))


def _handles(count: int, chance: random.Random) -> list[Any] | None:
    kinds = (8, 8, 8, 1, 4, 10, 15)
    return [[chance.choice(kinds), {}] for _ in range(count)] or None


def _tell(chance: random.Random, facts: Facts) -> Piece:
    nfds = chance.choice((0, 0, 0, 1, 2))
    to = chance.choice(_ADDRESSES)
    sender = chance.choice((None, None, facts["worker"] << 32))
    envelope = [to, sender, _handles(nfds, chance), chance.choice((None, {"ttl": 50}))]
    return Piece(frame(Kind.TELL, envelope, chance.choice(_BODIES), nfds=nfds), nfds)


def _call(chance: random.Random, facts: Facts) -> Piece:
    meta = chance.choice((None, None, {"ttl": 200}, {"find": True}, {"room": True}))
    nfds = chance.choice((0, 0, 0, 1))
    envelope = [chance.choice(_ADDRESSES), None, _handles(nfds, chance), meta]
    channel = chance.choice((facts["next"], facts["next"] + 2, _own(chance)))
    return Piece(
        frame(Kind.CALL, envelope, chance.choice(_BODIES), channel=channel, nfds=nfds), nfds
    )


def _fragment(chance: random.Random, facts: Facts) -> Piece:
    flags = chance.choice((FLAG_FRAG | FLAG_MORE, FLAG_FRAG | FLAG_MORE, FLAG_FRAG))
    kind = chance.choice((Kind.TELL, Kind.TELL, Kind.CALL, Kind.REPLY))
    envelope = chance.choice(([None], None))
    data = chance.choice((b"", b"\x91", b"\xc0", bytes(5000)))
    channel = chance.choice((facts["next"], 1, 3, *facts["calls"]))
    return Piece(frame(kind, envelope, data, channel=channel, flags=flags))


def _answer(chance: random.Random, facts: Facts) -> Piece:
    channel = chance.choice((2, 4, 400, *facts["calls"], *facts["calls"]))
    if chance.random() < 0.5:
        return Piece(frame(Kind.REPLY, None, chance.choice(_BODIES), channel=channel))
    error = {"code": chance.choice(("app", "cancelled", "x.y")), "message": "no"}
    return Piece(frame(Kind.ERROR, None, error, channel=channel))


def _listen(chance: random.Random, facts: Facts) -> Piece:
    asked: dict[str, Any] = {
        "transport": chance.choice(("tcp", "tcp", "udp")),
        "host": chance.choice(("127.0.0.1", "::1")),
        "port": 0,
        "key": f"fuzz {chance.randrange(3)}",
    }
    more: tuple[dict[str, Any], ...] = (
        {}, {"modes": ["handoff"]}, {"modes": ["shared"]}, {"credit": 0}, {"data": [1]},
        {"policy": "least_connections"}, {"wait": 50}, {"limit": 1, "full": "drop"},
    )  # fmt: skip
    return Piece(frame(Kind.LISTEN, None, asked | chance.choice(more), channel=facts["next"]))


def _port_talk(chance: random.Random, facts: Facts) -> Piece:
    channel = chance.choice((*facts["listeners"], *facts["listeners"], 1))
    number = chance.choice((0, 1, 1, 2))
    made = (
        frame(Kind.CONN_REPLY, [number], channel=channel),
        frame(Kind.CONN_REPLY, [number, [number]], channel=channel),
        frame(Kind.CONN_CREDIT, [number, 0], channel=channel),
        frame(Kind.CONN_CREDIT, [chance.choice((1, 1 << 31))], channel=channel),
        frame(Kind.LISTEN_CLOSE, channel=channel),
    )
    return Piece(chance.choice(made))


def _control(chance: random.Random, facts: Facts) -> Piece:
    said = facts["said"]
    made = (
        frame(Kind.PING, 1, chance.choice(_BODIES), channel=chance.choice((0, 9))),
        frame(Kind.PONG, 1, 2),
        frame(Kind.SETTINGS, None, {"limits": {"window": 65536, "max_calls": 1}}),
        frame(Kind.SETTINGS_ACK),
        frame(Kind.CREDIT, [chance.choice((0, 0, 256))]),
        frame(Kind.ACK, [chance.choice((0, said, said, said + 1))]),
        frame(Kind.UNIMPLEMENTED, [chance.choice((0x21, 0x60))], channel=chance.choice((0, 2))),
        frame(Kind.SERVING, None, {"info": {"n": 1}}),
        frame(Kind.HANDLE_ACK, [chance.choice((0, facts["handles"], facts["handles"] + 1))]),
        frame(Kind.UNDELIVERABLE, [chance.choice((said, said, said + 1, 0)), None], {"code": "x"}),
        frame(Kind.MONITOR, [chance.randrange(4), chance.choice(_ADDRESSES[1:])]),
        frame(Kind.DEMONITOR, [chance.randrange(4)]),
        frame(Kind.CANCEL, [None], channel=chance.choice((1, 2, 3, facts["next"]))),
        frame(Kind.LOG, [20, 0.5, "fuzz"], ["text", {"a": 1}], flags=FLAG_OPTIONAL),
        frame(Kind.EXIT_INFO, None, {"code": "app", "message": "x"}),
        frame(chance.choice((0x60, 0x25, 0xC3)), 1, 2, channel=chance.choice((0, 5))),
        frame(chance.choice((0xF0, 0xFE)), 1, 2, flags=FLAG_OPTIONAL),
        frame(Kind.LEAVE, None, {"reason": 1}),
        frame(Kind.GOODBYE, None, {"recv": chance.choice((0, said))}),
        frame(Kind.ABORT, None, {"code": 1}),
    )
    weights = [4] * (len(made) - 3) + [2, 2, 1]
    return Piece(chance.choices(made, weights)[0])


def _opening(chance: random.Random, facts: Facts) -> Piece:
    made = (
        frame(Kind.HELLO, None, facts["hello"]),
        frame(Kind.READY, None, chance.choice(({}, {"info": {"a": 1}}))),
        frame(Kind.LOG, [20, 0.5, "fuzz"], ["early"], flags=FLAG_OPTIONAL),
        frame(Kind.WELCOME, None, {"version": [1, 0], "worker": 1, "cluster": bytes(16)}),
        frame(Kind.STOP, None, {}),
        frame(Kind.CONN, [1, []], channel=1),
        frame(Kind.DOWN, [1, None, "gone"], {}),
        frame(Kind.LISTENING, None, {"mode": "handoff"}, channel=1),
    )
    return Piece(chance.choice(made))


#: Kinds that a receiver knows, and one that none does.
_ALL_KINDS: Final = (*(kind for kind, info in KINDS.items() if info.status == "built"), 0x60)


def _any_kind(chance: random.Random, facts: Facts) -> Piece:
    """Each kind as often as any other, so that it comes in every state; well made, maybe not good.

    What else is said here is what makes sense, more or less, and that is seldom all that the state
    tables of the specification are about.
    """
    kind = chance.choice(_ALL_KINDS)
    envelope = chance.choice((None, [1], [facts["said"]], [None, None]))
    payload = chance.choice((None, {}, {"reason": 1}, {"recv": facts["said"]}, "x"))
    opens = kind in KINDS and KINDS[kind].channel in ("opens", "uses")
    return Piece(frame(kind, envelope, payload, channel=facts["next"] if opens else 0))


_Maker = Callable[[random.Random, Facts], Piece]
_OPEN: Final[tuple[_Maker, ...]] = (
    _tell, _tell, _call, _call, _fragment, _fragment, _answer, _answer, _listen, _port_talk,
    _port_talk, _control, _control, _control, _control, _control,
)  # fmt: skip


#: In what part of all frames each kind is as good as any, by state: more where few make sense.
_ANY: Final = {"HANDSHAKE": 0.5, "STARTING": 0.4, "CLOSING": 0.4}


def good_frame(chance: random.Random, state: str, facts: Facts) -> Piece:
    """Give a frame that somebody may have said here; now and then one that nobody may."""
    if chance.random() < _ANY.get(state, 0.15):
        return _any_kind(chance, facts)
    if chance.random() < (0.9 if state in ("HANDSHAKE", "STARTING") else 0.04):
        return _opening(chance, facts)
    return chance.choice(_OPEN)(chance, facts)


@functools.cache
def _bursts() -> dict[str, list[list[Piece]]]:
    """What the vectors say to a primary, by its state."""
    found: dict[str, list[list[Piece]]] = {}
    for name in STREAM_FILES:
        for vector in vectors(name):
            role, _, rest = vector["prelude"].partition(".")
            if role != "primary" or vector.get("before"):
                continue
            reads = [
                Piece(bytes.fromhex(read["hex"]), len(read.get("fds", ())))
                for read in vector["reads"]
                for _ in range(min(read.get("repeat", 1), 20))
            ]
            state = rest.partition(".")[0].upper()
            found.setdefault(state, []).append([one for one in reads if one.data])
    return found


def vector_burst(chance: random.Random, state: str) -> list[Piece]:
    """Give what some vector says in this state; nothing if none does."""
    bursts = _bursts().get(state)
    return list(chance.choice(bursts)) if bursts else []


def tame(piece: Piece, place: str) -> Piece:
    """Have nobody listen but on loopback, and nowhere in the file system but below a directory."""
    data, at, done = piece.data, 0, b""
    while len(data) - at >= HEADER:
        end = at + HEADER + int.from_bytes(data[at + 2 : at + 6], "big")
        if data[at : at + 2] != b"\x95\xce" or end > len(data):
            break
        done += _tamed(data[at:end], place) if data[at + 7] == Kind.LISTEN else data[at:end]
        at = end
    return Piece(done + data[at:], piece.fds)


def _tamed(data: bytes, place: str) -> bytes:
    body = read_body(data[HEADER:])
    asked = body.payload
    if not isinstance(asked, dict) or "transport" not in asked:
        return data
    asked = dict(asked)
    if asked["transport"] in ("tcp", "udp"):
        if asked.get("host") not in ("127.0.0.1", "::1"):
            asked["host"] = "127.0.0.1"
        if type(asked.get("port")) is int and 0 < asked["port"] < 1 << 16:
            asked["port"] = 0
    elif isinstance(asked.get("path"), str) and asked["path"].startswith("/"):
        asked["path"] = place + asked["path"][:40].replace("/", "-").replace("\0", "-")
    else:
        return data
    try:
        payload = pack(asked)
    except (ValueError, RecursionError):  # too deep for that
        payload = pack({"transport": asked["transport"]})
    changed = data[HEADER : HEADER + body.envelope_size] + payload
    return data[:2] + len(changed).to_bytes(4, "big") + data[6:HEADER] + changed
