"""The runtime that the fork server makes before there is a worker."""

from __future__ import annotations

import faulthandler
import gc
import os
import socket
from collections.abc import Iterator

import pytest

from actorcluster._worker import runtime as module
from actorcluster._worker import stackfile
from actorcluster._worker.draft import Draft
from actorcluster._worker.runtime import Runtime
from actorcluster.wire.connection import Connection
from actorcluster.wire.events import Hello


@pytest.fixture
def draft() -> Iterator[Draft]:
    made = Draft()
    yield made
    made.close()
    if stackfile._Offer.fd >= 0:  # what a worker keeps
        faulthandler.unregister(stackfile.SIGNAL)
        os.close(stackfile._Offer.fd)
        stackfile._Offer.fd = -1


def handed_over(draft: Draft, channel: int) -> Runtime:
    """As in a worker; this process is none, so it is taken away again."""
    draft.hand_over(channel, to_script=False)
    return module._prepared.pop()


def test_the_channel_takes_the_place_of_a_socket_without_a_peer(draft: Draft) -> None:
    draft.suit(None)
    ours, theirs = socket.socketpair()
    with ours:
        channel = theirs.detach()
        runtime = handed_over(draft, channel)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(channel)
        runtime.begin(7, None, is_watched=False)
        assert ours.recv(65536).startswith(b"\x95\xce")
        assert not os.get_blocking(runtime._end.fileno())
        assert not os.get_inheritable(runtime._end.fileno())
        draft.close()
        assert b"" == ours.recv(1)  # there is no other copy


def test_each_worker_announces_what_its_settings_say(draft: Draft) -> None:
    windows, numbers = [], set()
    for limits in ("window=150000", "window=160000", "window=160000", None):
        draft.suit(limits)
        assert draft._runtime is not None
        windows.append(draft._runtime._connection.limits["window"])
        numbers.add(draft._end.fileno())
    assert [150000, 160000, 160000] == windows[:3]
    assert 1 == len(numbers)


def test_limits_that_cannot_be_read_are_refused_each_time(draft: Draft) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="window=much"):
            draft.suit("window=much")
    draft.suit("window=150000")


def test_who_needs_no_runtime_keeps_the_channel(draft: Draft) -> None:
    draft.suit(None)
    ours, theirs = socket.socketpair()
    with ours:
        number = draft.hand_over(theirs.detach(), to_script=True)
        assert [] == module._prepared
        draft._runtime = None
        gc.collect()
        os.write(number, b"!")
        assert b"!" == ours.recv(1)
        os.close(number)


def test_a_hello_is_drafted_but_for_its_numbers() -> None:
    """It says what one says that is worked out in the worker, whatever its limits are."""
    said = []
    for is_drafted in (False, True):
        ours, theirs = socket.socketpair()
        with ours:
            runtime = Runtime(theirs, {"window": module._ANY_ID, "max_message": module._ANY_PID})
            if is_drafted:
                runtime.draft_hello()
            runtime.begin(300, None, is_watched=False)
            said.append(Connection("primary").receive(ours.recv(65536)))
            theirs.close()
    assert said[0] == said[1]
    (hello,) = said[0]
    assert isinstance(hello, Hello)
    assert (300, os.getpid()) == (hello.worker, hello.pid)
