"""The life that is lived in the fork server before there are workers."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest

from actorcluster import current_actor
from actorcluster._worker import bootstrap
from actorcluster._worker.rehearsal import rehearse


def test_all_goes_well_and_nothing_is_left() -> None:
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    assert rehearse()
    assert descriptors == len(os.listdir("/proc/self/fd"))
    assert threads == threading.active_count()
    assert not bootstrap.is_worker()
    with pytest.raises(RuntimeError):
        current_actor()


def test_what_goes_wrong_is_of_no_consequence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(socket, "socketpair", fail)
    assert not rehearse()
