"""Which vectors a hostile worker replays, how, and what must come of them.

A vector whose receiver is the primary is replayed as it is. One whose receiver is a worker is
turned round where all its frames are of kinds that go both ways: channels change their parity,
and the primary must judge it as the worker does.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from tests.hostile.speech import Speaker

__all__ = ["STATE_OF", "VECTORS", "obstacle", "replay", "violation"]

Vector = dict[str, Any]

_FILES: Final = Path(__file__).parents[2] / "protocol" / "vectors"
VECTORS: Final[dict[str, Vector]] = {
    f"vector {vector['id']}": vector
    for name in ("aborts", "faults", "descriptors", "fragments")
    for vector in json.loads((_FILES / f"{name}.json").read_text(encoding="utf-8"))
}

#: What the primary's state is called in preludes -> what it is called here.
STATE_OF: Final = {
    "handshake": "before HELLO",
    "starting": "before READY",
    "active": "active",
    "stopping": "stopping",
    "closing": "closing",
}

#: Kinds that only the primary sends, or whose meaning depends on who sends them.
_ONE_WAY: Final = {
    0x01: "HELLO", 0x02: "WELCOME", 0x03: "READY", 0x0D: "STOP", 0x0E: "LEAVE", 0x0F: "SERVING",
    0x10: "LISTEN", 0x11: "LISTENING", 0x12: "CONN", 0x13: "CONN_REPLY", 0x14: "CONN_CREDIT",
    0x42: "MONITOR", 0x43: "DEMONITOR", 0x44: "DOWN", 0x49: "EXIT_INFO", 0x50: "LOG",
}  # fmt: skip


def _split(data: bytes) -> list[bytes]:
    """Cut into frames by offset, as far as there are any."""
    parts = []
    while data[:2] == b"\x95\xce" and len(data) >= 16:
        end = 16 + int.from_bytes(data[2:6], "big")
        parts.append(data[:end])
        data = data[end:]
    return [*parts, data] if data else parts


def obstacle(vector: Vector) -> str | None:
    """Why a vector cannot be replayed to the primary; None if it can."""
    role, _, rest = vector["prelude"].partition(".")
    reads = vector["reads"]
    if any(read.get("truncated") for read in reads):
        return "whether the kernel drops descriptors is not the worker's choice"
    if vector.get("exact"):
        return "it is about where the kernel cuts the stream, which is not the worker's choice"
    if vector.get("before"):
        return "it goes on with what only this prelude's primary, or worker, has said before"
    if "max_fds" in vector.get("limits", ()):
        return "it is about another max_fds than the primary announces"
    if role == "primary":
        return None
    if "." in rest:
        return f"its receiver is a worker with limits or capabilities of its own ({rest})"
    stream = b"".join(bytes.fromhex(read["hex"]) * read.get("repeat", 1) for read in reads)
    for part in _split(stream):
        if len(part) > 7 and part[7] in _ONE_WAY and part[:2] == b"\x95\xce":
            return f"its receiver is a worker: no worker sends or receives {_ONE_WAY[part[7]]} so"
    return None


def state_of(vector: Vector) -> str:
    """The state of ours in which a vector begins."""
    return STATE_OF[vector["prelude"].split(".")[1]]


def violation(vector: Vector) -> tuple[str, list[str]] | None:
    """The code of the ABORT, and the sentences one of which must be named; None: it lives."""
    abort = vector.get("abort")
    return None if abort is None else (abort["code"], abort["requirement"])


def replay(it: Speaker, name: str) -> None:
    """Say it. Behind a violation, or the end of the stream, there is nothing more to be said."""
    vector = VECTORS[name]
    reads = [read for read in vector["reads"] for _ in range(read.get("repeat", 1))]
    stream = b"".join(bytes.fromhex(read["hex"]) for read in reads)
    if vector["prelude"].startswith("worker"):
        stream = b"".join(map(_turned, _split(stream)))
    for read in reads:
        size = len(read["hex"]) // 2
        data, stream = stream[:size], stream[size:]
        fds = [os.pipe()[0] for _ in read.get("fds", ())]
        if fds:
            it.say_with(data, fds)
        else:
            it.say(data)
    if "eof" in vector:
        it.socket.close()
    if "eof" in vector or "abort" in vector:
        it.lie_low()


def _turned(frame: bytes) -> bytes:
    """The same on a channel of the other parity."""
    if len(frame) < 16 or frame[12:16] == bytes(4):
        return frame
    number = int.from_bytes(frame[12:16], "big")
    other = number + 1 if number % 2 else number - 1
    return frame[:12] + other.to_bytes(4, "big") + frame[16:]
