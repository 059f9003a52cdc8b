"""A worker that lies in Node's protocol is lost, for a reason that can be read, and nobody else."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final

import pytest
import trio

from actorcluster import Actor, events, open_primary
from actorcluster.errors import RemoteProtocolError
from tests.node_adapter.liar import LIES, SECRET
from tests.program import PATIENCE
from tests.trace.forms import found_in

LIAR: Final = (sys.executable, str(Path(__file__).with_name("liar.py")))

HEARD: Final = {
    "malformed": "[NODE-1] a line of 63 bytes that is no JSON: ",
    "long": "[NODE-1] a line of more than 16842752 bytes",
    "act": "[NODE-4] an unknown act 'dance'",
    "ack": "[NODE-5] an ack of what was not sent, or is answered",
    "handle_ack": "[NODE-5] an acknowledgement of a descriptor that was not sent",
    "two": "[NODE-3] more than one descriptor at once",
    "stray": "[NODE-3] a descriptor came with a line that is no NODE_HANDLE",
    "key": "[NODE-6] 'close' with a key that was never given",
    "port": "[NODE-2] queryServer with a wrong 'port'",
    "keys": "[NODE-1] a line of 8 bytes that is no JSON: Expecting value at 0",
    "utf8": "[NODE-1] a line of 4 bytes that is no UTF-8 at byte 1",
    "deep": "[NODE-1] a line that is nested too deeply",
    "deep_data": "[NODE-1] a line that is nested too deeply",
    "deep_act": "[NODE-4] an unknown act '[[[",
    "deep_message": "[NODE-2] a message that no body can hold: ",
    "deeper_message": "[NODE-2] a message that no body can hold: ",
}


async def echoes(actor: Actor) -> None:
    await actor.serve_messages(_same)


async def _same(message: object) -> object:
    return message.body  # type: ignore[attr-defined]  # a Message


async def test_only_the_liar_is_lost(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert LIES.keys() == HEARD.keys()
    caplog.set_level(logging.DEBUG)
    told: dict[str, str] = {}
    async with open_primary(trace=tmp_path / "t", trace_bodies=True) as primary:
        innocent = await primary.fork(echoes)
        for lie in LIES:
            with primary.events(events.Error, events.Exit) as happenings:
                worker = primary.fork_soon(exec=(*LIAR, lie), protocol="node")
                with trio.fail_after(PATIENCE):
                    async for event in happenings:
                        if isinstance(event, events.Exit):
                            status = event.status
                            break
                        assert worker is event.worker
                        assert isinstance(event.error, RemoteProtocolError)
                        told[lie] = str(event.error)
            assert ("protocol", "SIGKILL") == (status.reason, status.signal)
            assert lie == await innocent.ask(lie)
    assert [] == [lie for lie, text in HEARD.items() if not told[lie].startswith(text)], told
    assert SECRET not in caplog.text
    assert SECRET not in str(told)
    assert set() == found_in((tmp_path / "t").read_bytes(), SECRET.encode())
    assert set() == found_in((tmp_path / "t").read_bytes(), bytes.fromhex(SECRET))
