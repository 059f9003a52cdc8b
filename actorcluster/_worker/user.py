"""Becoming another user, for good.

Runs in: worker

It uses nothing but the modules `os` and `errno`: its code is also run elsewhere, see `placing`.
"""

from __future__ import annotations

import errno
import os

__all__ = ["change_user"]


def change_user(uid: int | None, gid: int | None) -> None:
    """Become another user and group, with no other groups, and no way back.

    The order matters: whoever has changed the user has no right left to change the rest. All ids
    are set, the saved ones too, which could be taken back otherwise.

    Args:
        uid: user id; None leaves it.
        gid: group id; None leaves it.

    Raises:
        OSError: there is no right to do this, or it would still be there afterwards.
    """
    if 2**32 - 1 in (uid, gid):  # to the kernel it means "leave it as it is"
        raise OSError(errno.EINVAL, "Invalid argument")
    changes = [uid is not None and os.getresuid() != (uid, uid, uid)]
    changes.append(gid is not None and os.getresgid() != (gid, gid, gid))
    if os.geteuid() == 0 or any(changes):
        os.setgroups([])
    if gid is not None:
        os.setresgid(gid, gid, gid)
    if uid is not None:
        os.setresuid(uid, uid, uid)
    ways_back = [(uid, os.setresuid), (gid if uid else None, os.setresgid)]
    for number, change_back in ways_back:
        if number:
            try:
                change_back(0, 0, 0)
            except OSError:
                continue
            raise PermissionError(errno.EPERM, "its capabilities would lead back")
