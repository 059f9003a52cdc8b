"""A Stop that comes just before a worker asks for its port: that is no failure."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import Actor, open_primary

SECONDS = 60
#: How it comes to that, and how it ends then: code, reason, class of the error.
WELL = (0, "shutdown", None)
ENDS = {
    "shared": WELL,
    "exclusive": WELL,
    "datagrams": WELL,
    "in a group": WELL,
    "caught": WELL,
    "with a failure": (1, "error", "ExceptionGroup"),
    "as a cause": (1, "error", "KeyError"),
}


async def listens_late(actor: Actor, how: str) -> None:
    """Ask for a port when it is too late."""
    with actor.busy():
        await actor.draining.wait()
        match how:
            case "shared":
                await actor.listen_tcp(0, host="127.0.0.1")
            case "exclusive":
                await actor.listen_tcp(0, host="127.0.0.1", exclusive=True)
            case "datagrams":
                await actor.bind_udp(0, host="127.0.0.1")
            case "in a group":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(actor.listen_tcp, 0)
                    nursery.start_soon(actor.listen_fd, "web")
            case _:
                try:
                    await actor.listen_unix("nowhere/s")
                except trio.ClosedResourceError as exc:
                    if how == "with a failure":
                        raise ExceptionGroup("both", [exc, ValueError("mine")]) from None
                    if how == "as a cause":
                        raise KeyError("mine") from exc


@pytest.mark.parametrize("run", ["process", "task"])
async def test_it_listens_too_late(run: Any) -> None:
    """A plain stop looks like one; what is wrong besides is a failure as ever."""
    ends: dict[str, Any] = {}
    said: dict[str, bytes] = {}

    async def live(how: str) -> None:
        settings = {"silent": True} if run == "process" else None
        worker = await primary.fork(listens_late, how, run=run, settings=settings)
        await worker.disconnect()
        status = await worker.wait()
        ends[how] = (status.code, status.reason, status.error and status.error.type)
        if worker.stderr is not None:
            said[how] = b"".join([piece async for piece in worker.stderr])

    with trio.fail_after(SECONDS):
        async with open_primary() as primary, trio.open_nursery() as nursery:
            for how in ENDS:
                nursery.start_soon(live, how)
    assert ENDS == {how: ends[how] for how in ENDS}
    quiet = {how for how, text in said.items() if not text}
    assert (set() if run == "task" else {how for how in ENDS if ENDS[how] == WELL}) == quiet
