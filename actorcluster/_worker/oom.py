"""Was it killed for want of memory? What the kernel's own counts prove, and nothing less; pure.

Runs in: primary

The kernel does not say whom it killed, nor why a process got SIGKILL. It counts, for each cgroup,
how many of its processes it has killed because no memory was left: ``oom_kill`` in
``memory.events.local`` (version 2) or ``memory.oom_control`` (version 1). Both count the kills of
processes in that very cgroup, not in those below.

So a worker that died of SIGKILL, which was not ours, was killed for want of memory if the count of
its cgroup has risen since it was started, and if no other death could be what was counted: of all
workers of this cgroup that SIGKILL has ended and about whom nothing is decided yet, each needs a
count of its own. With two such deaths and one count it is not known whose it was: neither is called
``oom``. A count is used up by the death that it explains, and a death that is not explained leaves
none behind for later ones.

What it cannot know: of other processes in the same cgroup, those that a worker started, a kill is
counted as well. Who kills a worker by hand after such a one was killed during its life is told
``oom``. A worker that was moved to another cgroup after its start has no evidence on its side.
"""

from __future__ import annotations

import re
from typing import Final, final

__all__ = ["Tally", "count_in", "counter_file"]

_COUNT: Final = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_FILES: Final = {"cgroup": "memory.oom_control", "cgroup2": "memory.events.local"}


def counter_file(cgroups: str, mounts: str) -> str | None:
    """Find the file in which the kills of a process' cgroup are counted.

    Args:
        cgroups: ``/proc/<pid>/cgroup`` of the process.
        mounts: ``/proc/self/mountinfo``.

    Returns:
        Its path; None if there is none, or it cannot be seen from here.
    """
    group = _memory_group(cgroups)
    if group is None:
        return None
    version, path = group
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.partition(" ")
        if kind != version or (kind == "cgroup" and "memory" not in re.split(r"[ ,]", options)):
            continue
        _, _, _, root, point, *_ = fields.split()
        below = _below(path, _unescape(root))
        if below is not None:
            return f"{_unescape(point)}{below}/{_FILES[version]}"
    return None


def _memory_group(cgroups: str) -> tuple[str, str] | None:
    """Version and path of the cgroup that counts its memory; version 1 where that has it."""
    found: dict[str, str] = {}
    for line in cgroups.splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            found["cgroup"] = path
        elif number == "0":
            found["cgroup2"] = path
    return next(((kind, found[kind]) for kind in _FILES if kind in found), None)


def _below(path: str, root: str) -> str | None:
    """The part of a path that is below the root of a mount, empty for the root itself."""
    root = root.rstrip("/")
    if ".." in path.split("/") or not (path == root or path.startswith(f"{root}/")):
        return None
    return path[len(root) :].rstrip("/")


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def count_in(text: str) -> int | None:
    """Read the count of kills from a counter file; None from a kernel that does not count."""
    match = _COUNT.search(text)
    return None if match is None else int(match[1])


@final
class Tally:
    """The kills counted for one cgroup, and the deaths that they explain."""

    def __init__(self) -> None:
        self._spent = 0

    def explains(self, *, before: int, now: int, deaths: int) -> bool:
        """Decide whether a death by SIGKILL was for want of memory.

        Args:
            before: the count at the start of the worker.
            now: the count after its death.
            deaths: workers of this cgroup that SIGKILL has ended and about whom nothing is
                decided, this one included.
        """
        is_proven = now - max(before, self._spent) >= deaths
        self._spent = now - (deaths - 1) if is_proven else now
        return is_proven
