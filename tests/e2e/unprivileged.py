"""Workers that are another user; ``python -m tests.e2e.unprivileged`` has some, and waits."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from actorcluster import Actor, open_primary

NOBODY = 65534
GROUP = 65533

WAYS_BACK: dict[str, Callable[[], object]] = {
    "setuid": lambda: os.setuid(0),
    "seteuid": lambda: os.seteuid(0),
    "setreuid": lambda: os.setreuid(0, 0),
    "setresuid": lambda: os.setresuid(-1, 0, -1),
    "setgid": lambda: os.setgid(0),
    "setegid": lambda: os.setegid(0),
    "setresgid": lambda: os.setresgid(-1, 0, -1),
    "setgroups": lambda: os.setgroups([0]),
    "kill": lambda: os.kill(os.getppid(), 0),
    "memory": lambda: open(f"/proc/{os.getppid()}/mem", "rb"),
}


CAPABILITIES = ("CapPrm", "CapEff", "CapAmb")


def outcome(act: Callable[[], object]) -> str:
    """What became of it: the name of an error, or nothing."""
    try:
        act()
    except OSError as exc:
        return errno.errorcode[exc.errno or 0]
    return ""


def status() -> dict[str, list[str]]:
    """What the kernel knows of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {name: value.split() for name, _, value in (line.partition(":") for line in lines)}


async def tell(actor: Actor, secret: str, port: int) -> None:
    """Send who I am, and what I can still do; then serve the port that the primary may bind."""
    await actor.send(
        {
            "ids": [os.getresuid(), os.getresgid(), os.getgroups()],
            "capabilities": sum(int(status()[name][0], 16) for name in CAPABILITIES),
            "ways back": {name: outcome(act) for name, act in WAYS_BACK.items()},
            "secret": outcome(lambda: open(secret)),
            "own descriptors": bool(os.listdir("/proc/self/fd")),
            "cwd": os.getcwd(),
        }
    )
    found: list[Any] = []
    try:
        await actor.listen_tcp(port, host="127.0.0.1", exclusive=True)
    except PermissionError as exc:
        found.append(exc.errno)
    (listener,) = await actor.listen_tcp(port, host="127.0.0.1")
    await actor.send(found)
    async for message in actor.mailbox:
        with message:
            if message.body == "handle":
                assert message.handle is not None
                await message.reply(os.fstat(message.handle.fileno()).st_size)
            else:
                async with await listener.accept() as stream:
                    await stream.send_all(b"served")


async def ids(actor: Actor) -> None:
    """Send who I am."""
    await actor.send([os.getresuid(), os.getresgid(), os.getgroups()])
    await trio.sleep_forever()


async def has_files(actor: Actor) -> None:
    """What the worker needs besides: its own script, modules that nobody has imported, memory."""
    import tests.e2e.forks

    await actor.send([tests.e2e.forks.__name__, os.memfd_create("x") > 2])


async def stands_still(actor: Actor) -> None:
    """Block the event loop for a while."""
    signal.sigtimedwait([signal.SIGUSR1], 20)


async def idle(actor: Actor, is_stopped: bool) -> None:
    """Say who I am; be stopped."""
    os.write(1, f"{os.getpid()} {os.getuid()}\n".encode())
    if is_stopped:
        os.kill(os.getpid(), signal.SIGSTOP)
    await trio.sleep_forever()


async def main() -> None:
    """Be a primary."""
    async with open_primary(settings={"uid": NOBODY, "gid": NOBODY}) as primary:
        for method in ("forkserver", "exec"):
            for is_stopped in (False, True):
                primary.fork_soon(idle, is_stopped, settings={"start_method": method})
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main)
