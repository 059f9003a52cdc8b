"""Which Node a program runs on: how its processes speak may change with the major version.

Runs in: primary
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
from typing import Final, final

import trio

__all__ = ["NodeVersions"]

log = logging.getLogger("actorcluster.node")

#: Major versions that are tried.
_TRIED: Final = (20, 22, 24)
_SECONDS: Final = 10.0


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
        except OSError:  # it has ended, or is somebody else's
            return
        if program in self._known or not os.path.basename(program).startswith("node"):
            return
        self._known.add(program)
        with trio.move_on_after(_SECONDS):
            try:
                done = await trio.run_process(
                    [program, "--version"],
                    capture_stdout=True,
                    stderr=subprocess.DEVNULL,
                    check=False,
                )
            except OSError:  # it was replaced meanwhile
                return
            found = re.match(rb"v(\d+)\.[\d.]+", done.stdout)
            if found is not None and int(found[1]) not in _TRIED:
                log.warning(
                    "%s is Node %s; tried are only %s, and workers may fail in ways of their own",
                    program,
                    found[0].decode(),
                    ", ".join(map(str, _TRIED)),
                )
