"""What an actor awaits of others, cancelled at every moment; the probes are in `ref_probes`."""

from __future__ import annotations

import pytest
import trio

import actorcluster
from tests.hardened import ref_probes
from tests.hardened.gifts import PATIENCE


async def test_monitors() -> None:
    """Entered or not, ended or not: nothing is left of those that were cancelled."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(ref_probes.watches)
        with trio.fail_after(PATIENCE):
            async for message in worker.mailbox:
                if not message.is_ask:
                    assert "done" == message.body
                    break
                await message.reply(len(primary._names.watching))
        assert {} == primary._names.watching.of_lives == primary._names.watching.of_names


@pytest.mark.parametrize("size", [5_000, 25_000, 100_000])
async def test_sends_that_wait_for_half_a_window(size: int) -> None:
    async with actorcluster.open_primary(settings={"mailbox_size": 65536}) as primary:
        await primary.fork(ref_probes.dawdles, name="b")
        worker = await primary.fork(ref_probes.floods, "b", size)
        with trio.fail_after(PATIENCE):
            assert "done" == (await worker.mailbox.receive()).body
        relay = primary._names.seats[worker.id].relay
        assert {} == relay._lanes
