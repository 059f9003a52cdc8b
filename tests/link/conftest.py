"""Two connected sockets that carry descriptors, and a stack for what a test is to close."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from actorcluster._link.fdsocket import FdSocket


@pytest.fixture
def pair() -> Iterator[tuple[FdSocket, FdSocket]]:
    ours, theirs = map(FdSocket, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack
