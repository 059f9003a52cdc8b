"""What a worker in any language does when it is the conformance actor of annex A."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Mapping, Sequence

import pytest
import trio
import trio.testing

from actorcluster import Handle, Primary, RemoteError, Worker
from tests.samples.load import descriptors, settled

__all__ = [
    "calls_given_up_end",
    "complaint",
    "handles_both_ways",
    "messages_both_ways",
    "small_messages",
]

SECONDS = 60.0
BODY = {"a": [1, -1, 2**53, 2**64 - 1, 2.5, 2.0, "ü", b"\0", None, True], "b": {}}


def complaint(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a program says that was not started as a worker, or not by anybody who can do that."""
    done = subprocess.run(
        command,
        check=False,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert (2, "") == (done.returncode, done.stdout)
    return done.stderr


async def messages_both_ways(primary: Primary, worker: Worker) -> None:
    """Small ones and large ones, errors, and what it tells of its own accord."""
    assert BODY == await worker.ask(["echo", BODY])
    large = ["x" * 2_500_000, random.Random(0).randbytes(2_500_000)]
    assert large == await worker.ask(["echo", large])
    with pytest.raises(RemoteError, match="no such luck"):
        await worker.ask(["fail", "no such luck"])
    assert 3 == await worker.ask(["tell_back", [3, "hi"]])
    for number in (1, 2, 3):
        with await primary.mailbox.receive() as message:
            assert [number, "hi"] == message.body


async def calls_given_up_end(worker: Worker) -> None:
    """A call that we cancel is cancelled there."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.ask, ["sleep", 60_000])
        await trio.testing.wait_all_tasks_blocked()
        assert 0 == await worker.ask(["cancel_state"])
        nursery.cancel_scope.cancel()
    while not await worker.ask(["cancel_state"]):  # noqa: ASYNC110 - another process's
        await trio.sleep(0.01)


async def handles_both_ways(worker: Worker, times: int = 1) -> None:
    """They are the same there as here, and none is left over."""
    before = descriptors(worker)
    for _ in range(times):
        ours, theirs = socket.socketpair()
        reading, writing = os.pipe()
        expected = [[4, os.fstat(theirs.fileno()).st_ino], [9, os.fstat(writing).st_ino]]
        with ours, open(reading, "rb"):
            given = [Handle.of(theirs), Handle.of(open(writing, "wb"))]
            assert expected == await worker.ask(["take_handle", given])
        for handle in await worker.ask(["give_handle", 3]):
            with handle.into_socket() as sock:
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    assert before == await settled(worker, before)


async def small_messages(primary: Primary, worker: Worker) -> None:
    """Both ways at once, ten times of what a mailbox of 64 KiB holds."""
    body = b"x" * 10_000
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.ask, ["tell_back", [64, body]])
        for _ in range(64):
            nursery.start_soon(worker.ask, ["echo", body])
        for number in range(1, 65):
            with await primary.mailbox.receive() as message:
                assert [number, body] == message.body
