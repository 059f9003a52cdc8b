"""Actors that send large bodies to their primary."""

from __future__ import annotations

import errno
import os
import resource
import socket
from typing import Any

from actorcluster import Actor


async def tell(actor: Actor, size: int, count: int) -> None:
    """Send so many."""
    for number in range(count):
        await actor.send([number, bytes(size)])


async def answer(actor: Actor) -> None:
    """Answer with so many bytes."""
    async for message in actor.mailbox:
        with message:
            await message.reply(bytes(message.body))


async def ask(actor: Actor, size: int) -> None:
    """Ask with a large body and a handle besides; say what came back."""
    ours, theirs = socket.socketpair()
    with ours:
        length = await actor.ask({"data": bytes(size)}, theirs)
        await actor.send([length, ours.recv(10).decode()])


async def without_files(actor: Actor, size: int) -> None:
    """Send where no memory file is to be had."""

    def fail(*_: Any) -> int:
        raise OSError(errno.EMFILE, "no room")

    setattr(os, "memfd_create", fail)  # noqa: B010  (its type is another)
    await actor.send(bytes(size))


async def without_descriptors(actor: Actor, size: int) -> None:
    """Send where there is no descriptor for a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    await actor.send(bytes(size))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
