"""A module for `preload` that leaves something in every kind of buffer, and random state."""

from __future__ import annotations

import atexit
import ctypes
import os
import random
import secrets
import sys
import tempfile
import uuid

PATH = os.environ.get("LOUD")

if PATH is not None:  # the fork server that preloads it, or a worker of it
    print("loud: stdout")
    print("loud: stderr", end=" ", file=sys.stderr)
    file = open(PATH, "a")
    file.write("loud: file\n")
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.fopen.restype = ctypes.c_void_p
    _stream = _libc.fopen(os.fsencode(PATH), b"a")
    _libc.fputs(b"loud: C\n", ctypes.c_void_p(_stream))

_names = tempfile._get_candidate_names()  # type: ignore[attr-defined]  # nothing public draws from it
next(_names)
random.random()


def draw() -> list[str]:
    """Random numbers from everywhere that has them."""
    return [
        repr(random.random()),
        secrets.token_hex(8),
        repr(secrets.SystemRandom().random()),
        os.urandom(8).hex(),
        str(uuid.uuid4()),
        next(_names),
    ]


def at_exit(path: str, text: str) -> None:
    """Have that written to the end of a file when the process ends, and something buffered."""
    left = open(path, "a")
    atexit.register(left.write, text)
