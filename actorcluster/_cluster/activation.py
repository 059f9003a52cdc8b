"""Sockets that systemd, or whoever follows its protocol, passed to this process.

Runs in: primary

See sd_listen_fds(3): the environment says for which process, how many, and by which names; they are
the descriptors from 3 on. They are whoever's who passed them: here they are neither shut down, nor
is the file of a unix socket removed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Final

__all__ = ["passed", "read"]

log = logging.getLogger("actorcluster.ports")

_FIRST: Final = 3
_MOST: Final = 1024


def passed() -> dict[str, int]:
    """Give the descriptors by their names; none if there are none for this process.

    Programs that it starts do not inherit them.
    """
    try:
        found = read(os.environ, os.getpid())
    except ValueError as exc:
        log.warning("listen_fds='systemd', but %s", exc)
        return {}
    for number in found.values():
        with contextlib.suppress(OSError):  # it is closed: whoever asks for it is told
            os.set_inheritable(number, False)
    return found


def read(environ: Mapping[str, str], pid: int) -> dict[str, int]:
    """Read what an environment says.

    Args:
        environ: has ``LISTEN_PID``, ``LISTEN_FDS`` and perhaps ``LISTEN_FDNAMES``.
        pid: who asks.

    Returns:
        Descriptors by name; the second of one name is ``name.2``, and so on. Those without a name
        are ``unknown``, as in sd_listen_fds_with_names(3).

    Raises:
        ValueError: there are none for this process; the text says why.
    """
    for_whom, count = environ.get("LISTEN_PID"), environ.get("LISTEN_FDS")
    if for_whom is None or count is None:
        raise ValueError("LISTEN_PID and LISTEN_FDS are not in the environment")
    if for_whom != str(pid):
        raise ValueError(f"LISTEN_PID={for_whom} is not this process, which is {pid}")
    if not (count.isascii() and count.isdigit() and int(count) <= _MOST):
        raise ValueError(f"LISTEN_FDS={count} is no number of descriptors")
    text = environ.get("LISTEN_FDNAMES", "")
    names = text.split(":") if text else ["unknown"] * int(count)
    if len(names) != int(count):
        raise ValueError(f"LISTEN_FDNAMES={text} are not {count} names")
    found: dict[str, int] = {}
    for number, name in enumerate(names, _FIRST):
        same, unique = 1, name
        while unique in found:
            same += 1
            unique = f"{name}.{same}"
        found[unique] = number
    return found
