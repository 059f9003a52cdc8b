"""Which Node a program runs on: how its processes speak may change with the major version.

Runs in: primary

The program is asked itself. It is the worker's, which may have fewer rights than the primary and
may have written it: so it is run with the rights of the worker, and not listened to for long.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
from typing import Any, Final, final

import trio

__all__ = ["NodeVersions"]

log = logging.getLogger("actorcluster.node")

#: Major versions that are tried.
_TRIED: Final = (20, 22, 24)
_SECONDS: Final = 10.0
_MOST_BYTES: Final = 100
_IDS: Final = ("Uid", "Gid")


@final
class NodeVersions:
    """Looks once at each interpreter that workers of one primary have."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    async def look(self, pid: int) -> None:
        """Log a warning if that process runs on a Node that is not tried.

        What is no Node by its name is left alone.

        Cancellation:
            Nothing is left running.
        """
        try:
            program = os.readlink(f"/proc/{pid}/exe")
            rights = _rights(pid)
        except OSError:  # it has ended, or is somebody else's
            return
        if program in self._known or not os.path.basename(program).startswith("node"):
            return
        self._known.add(program)
        with trio.move_on_after(_SECONDS):
            try:
                said = await _ask(program, rights)
            except OSError:  # it was replaced meanwhile
                return
            found = re.match(rb"v(\d+)\.[\d.]+", said)
            if found is not None and int(found[1]) not in _TRIED:
                log.warning(
                    "%s is Node %s; tried are only %s, and workers may fail in ways of their own",
                    program,
                    found[0].decode(),
                    ", ".join(map(str, _TRIED)),
                )


def _rights(pid: int) -> dict[str, Any]:
    """What `subprocess` is to be told, so that a program gets no more rights than that process.

    Raises:
        OSError: it is gone.
    """
    with open(f"/proc/{pid}/status") as status:  # the owner of /proc/PID may be another
        ids = {name: int(text.split()[0]) for name, text in map(_parted, status) if name in _IDS}
    if ids["Uid"] == os.geteuid():
        return {}
    return {"user": ids["Uid"], "group": ids["Gid"], "extra_groups": []}


def _parted(line: str) -> tuple[str, str]:
    name, _, text = line.partition(":")
    return name, text


async def _ask(program: str, rights: dict[str, Any]) -> bytes:
    """The first words of its answer, whatever it would go on to say.

    Raises:
        OSError: it cannot be executed.
    """
    process = await trio.lowlevel.open_process(
        [program, "--version"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **rights,
    )
    assert process.stdout is not None
    try:
        async with process.stdout:
            return bytes(await process.stdout.receive_some(_MOST_BYTES))
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
