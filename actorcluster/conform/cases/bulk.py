"""Payloads in memory files.

Runs in: both
"""

from __future__ import annotations

import fcntl
import os
from typing import Any

from ...wire._generated import HandleKind, Kind
from ..case import case
from ..frames import pack
from ..play import Play
from ..things import Thing

__all__: list[str] = []

_MEMFD = int(HandleKind.MEMFD)
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_CAPS = "msg call handle bulk.memfd"


def _file(p: Play, payload: Any, *, seals: int = _SEALS) -> tuple[Thing, int]:
    """Write a payload into a memory file; gives the file and its size."""
    data = pack(payload)
    fd = os.memfd_create("conform", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    found = os.fstat(fd)
    thing = Thing(_MEMFD, fd, found.st_ino, [], f"memfd-{len(p.things)}", found.st_dev)
    p.things.append(thing)
    return thing, len(data)


def _envelope(size: int) -> list[Any]:
    return [None, None, [[_MEMFD, {}]], {"bulk": {"size": size}}]


@case("bk.taken", "AWP-LG-9", "AWP-LG-10", level=4, caps=_CAPS, beside=True)
async def _(p: Play) -> None:
    """A call whose payload is in a sealed memory file, and what it costs"""
    text = "x" * 100_000
    thing, size = _file(p, ["echo", text])
    channel = p.channel()
    await p.send(Kind.CALL, _envelope(size), None, channel=channel, things=[thing])
    p.check(await p.reply(channel) == text, "another echo")
    owed = 16 + len(pack(_envelope(size))) + size
    await p.until(
        lambda: p.total(Kind.CREDIT) >= owed or None, f"CREDIT of {owed}", requirement="AWP-LG-10"
    )
    said = p.total(Kind.CREDIT)
    p.check(said == owed, f"CREDIT of {said}, not {owed}", "AWP-LG-10")
    await p.all_closed()


@case("bk.unsealed", "AWP-LG-4", level=4, caps=_CAPS, beside=True)
async def _(p: Play) -> None:
    """A memory file that lacks a seal, and one of another size: unsupported_handle, and closed"""
    for seals, more in ((0, 0), (fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW, 0), (_SEALS, 1)):
        thing, size = _file(p, ["echo", "x" * 1000], seals=seals)
        channel = p.channel()
        envelope = _envelope(size + more)
        await p.send(Kind.CALL, envelope, None, channel=channel, things=[thing])
        await p.error(channel, "unsupported_handle")
    await p.echo()
    await p.all_closed()


@case("bk.beside", "AWP-LG-9", level=4, caps=_CAPS, beside=True)
async def _(p: Play) -> None:
    """A payload beside the memory file breaks the body"""
    thing, size = _file(p, ["echo", 1])
    channel = p.channel()
    await p.send(Kind.CALL, _envelope(size), ["echo", 1], channel=channel, things=[thing])
    await p.error(channel, "bad_payload")
    await p.echo()
    await p.all_closed()
