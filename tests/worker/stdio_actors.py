"""What the workers of test_stdio.py do."""

from __future__ import annotations

import functools
import os
import socket
import subprocess
from typing import Any

import trio

from actorcluster import Actor


async def flood(actor: Actor, pieces: int, *, then_wait: bool = False) -> None:
    """Write numbered pieces of 1000 bytes to stdout, half as many to stderr, and say so."""
    for number in range(pieces):
        write_all(1, b"%0999d\n" % number)
        if number % 2:
            write_all(2, b"%0999d\n" % number)
    await actor.send("written")
    if then_wait:
        await trio.sleep_forever()


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


async def descriptors(actor: Actor, numbers: list[int]) -> None:
    """Tell of each whether it is open here, its kind, and whether programs inherit it."""
    found: dict[str, Any] = {}
    for number in numbers:
        try:
            where = os.readlink(f"/proc/self/fd/{number}").partition(":")[0]
        except OSError:
            found[str(number)] = None
        else:
            found[str(number)] = [where, os.get_inheritable(number)]
    await actor.send(found)
    await trio.sleep_forever()


async def echo(actor: Actor, *numbers: int) -> None:
    """Send back in capitals what comes at each descriptor, up to its end; then a last word."""

    def serve(number: int) -> None:
        with socket.socket(fileno=number) as sock:
            while data := sock.recv(65536):
                sock.sendall(data.upper())
            sock.sendall(b"%d is over" % number)

    async with trio.open_nursery() as nursery:
        for number in numbers:
            run = functools.partial(trio.to_thread.run_sync, serve, number, abandon_on_cancel=True)
            nursery.start_soon(run)


async def says(actor: Actor, number: int, text: str) -> None:
    """Write to a descriptor, and end with what came there unread."""
    write_all(number, text.encode())
    await actor.send("said")
    await actor.mailbox.receive()


async def leaves_a_program(actor: Actor, number: int) -> None:
    """End, but leave a program behind that has the descriptor, too, until it is killed."""
    program = subprocess.Popen(["sleep", "1000"], pass_fds=[number])
    program.returncode = 0  # nobody here waits for it
    os.write(number, b"before the end")
    await actor.send(program.pid)
