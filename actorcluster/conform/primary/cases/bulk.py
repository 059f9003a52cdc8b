"""Payloads in memory files, where the primary takes such.

Runs in: both
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from typing import Any, Final

from ....wire._generated import HandleKind, Kind
from ..case import OPEN, Lives, case
from ..scene import Scene
from ..talk import CAPABILITIES, frame, pack
from .duties import fail_unless

__all__: list[str] = []

_CAPS: Final = (*CAPABILITIES, "bulk.memfd")
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TEXT: Final = "x" * 20_000


@contextlib.contextmanager
def _file(payload: bytes, seals: int = _SEALS) -> Iterator[int]:
    fd = os.memfd_create("awp", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, payload)
        if seals:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
        yield fd
    finally:
        os.close(fd)


def _envelope(size: int) -> list[Any]:
    return [None, None, [[int(HandleKind.MEMFD), {}]], {"bulk": {"size": size}}]


def _has_bulk(it: Scene) -> bool:
    return "bulk.memfd" in it.terms.caps


@case("bulk.taken", "AWP-LG-9", Lives(), OPEN, caps=_CAPS, also=("AWP-LG-10",))
async def taken(it: Scene) -> None:
    """Calls with a payload in a memory file: it is answered, and costs as much as in the frame."""
    if not _has_bulk(it):
        return
    payload = pack(["echo", _TEXT])
    envelope = _envelope(len(payload))
    with _file(payload) as fd:
        await it.say(frame(Kind.CALL, envelope, None, channel=1, nfds=1), fds=[fd])
    answer = await it.hear(Kind.REPLY, Kind.ERROR, channel=1)
    fail_unless(answer.kind == Kind.REPLY, f"the call failed: {answer.payload}")
    due = 16 + len(pack(envelope)) + len(payload)
    while (said := _credit(it)) < due:
        await it.hear(Kind.CREDIT)
    fail_unless(said == due, f"{said} bytes came back, not {due}")


def _credit(it: Scene) -> int:
    return sum(one.elements[0] for one in it.it.heard if one.kind == Kind.CREDIT)


@case("bulk.unsealed", "AWP-LG-4", Lives(), OPEN, caps=_CAPS, forms=4)
async def unsealed(it: Scene) -> None:
    """Sends a memory file that can be changed, or is of another size, or a pipe: refused."""
    if not _has_bulk(it):
        return
    payload = pack(["echo", _TEXT])
    seals, more = ((0, 0), (_SEALS & ~fcntl.F_SEAL_WRITE, 0), (_SEALS, 1), (_SEALS, 0))[it.form]
    frame_ = frame(Kind.CALL, _envelope(len(payload) + more), None, channel=1, nfds=1)
    if it.form == 3:
        with it.pipes(1) as fds:
            await it.say(frame_, fds=fds)
    else:
        with _file(payload, seals) as fd:
            await it.say(frame_, fds=[fd])
    await it.hear_error("unsupported_handle", channel=1)


@case("bulk.beside", "AWP-LG-9", Lives(), OPEN, caps=_CAPS)
async def beside(it: Scene) -> None:
    """Has a payload beside the memory file: that breaks the body."""
    if not _has_bulk(it):
        return
    payload = pack(["echo", 1])
    with _file(payload) as fd:
        data = frame(Kind.CALL, _envelope(len(payload)), ["echo", 1], channel=1, nfds=1)
        await it.say(data, fds=[fd])
    await it.hear_error("bad_payload", channel=1)


@case("bulk.too-large", "AWP-LG-10", Lives(), OPEN, caps=_CAPS, also=("AWP-LG-3",))
async def too_large(it: Scene) -> None:
    """Sends a memory file of more than max_message."""
    if not _has_bulk(it):
        return
    size = it.limit("max_message") + 1
    with _file(bytes(size)) as fd:
        await it.say(frame(Kind.CALL, _envelope(size), None, channel=1, nfds=1), fds=[fd])
    await it.hear_error("too_large", channel=1)
