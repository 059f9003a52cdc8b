"""Large messages of real workers, which come in memory files."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actorcluster import RemoteError, Worker, open_primary
from actorcluster._link import bulk
from tests.e2e import bulk_actors as actors

SECONDS = 60
MIB = 1024 * 1024


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the files that the primary has read."""
    sizes: list[int] = []

    def note(fd: int, size: int) -> bytes | None:
        sizes.append(size)
        return bulk.read_bulk(fd, size)

    monkeypatch.setattr("actorcluster._worker.life.read_bulk", note)
    return sizes


async def body_of(worker: Worker) -> Any:
    return (await worker.mailbox.receive()).body


@pytest.mark.parametrize(
    ("size", "is_file"), [(2 * MIB - 100, False), (2 * MIB, True), (15 * MIB, True)]
)
async def test_from_a_size_on(size: int, is_file: bool, read: list[int]) -> None:
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = await primary.fork(actors.tell, size, 3)
            for number in range(3):
                assert [number, bytes(size)] == await body_of(worker)
            assert "normal" == (await worker.wait()).reason
    assert (3 if is_file else 0) == len(read)


async def test_answers(read: list[int]) -> None:
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = await primary.fork(actors.answer)
            for size in (10, 2 * MIB, 3 * MIB):
                assert bytes(size) == await worker.ask(size)
            with pytest.raises(RemoteError) as caught:
                await worker.ask(17 * MIB)
            assert "too_large" == caught.value.code
    assert 2 == len(read)


async def test_asks_with_a_handle_besides(read: list[int]) -> None:
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = await primary.fork(actors.ask, 2 * MIB)
            message = await worker.mailbox.receive()
            assert bytes(2 * MIB) == message.body["data"]
            assert message.handle is not None
            with message.handle.into_socket() as sock:
                await sock.send(b"through")
            await message.reply(5)
            assert [5, "through"] == await body_of(worker)
    assert 1 == len(read)


async def test_a_window_that_is_smaller_than_the_message(read: list[int]) -> None:
    """It goes alone, as if it were in the frame."""
    with trio.fail_after(SECONDS):
        async with open_primary(settings={"mailbox_size": 65536}) as primary:
            worker = await primary.fork(actors.tell, 2 * MIB, 3)
            for number in range(3):
                assert [number, bytes(2 * MIB)] == await body_of(worker)
    assert 3 == len(read)


@pytest.mark.parametrize("target", [actors.without_files, actors.without_descriptors])
async def test_without_files_it_goes_in_fragments(target: Any, read: list[int]) -> None:
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            worker = await primary.fork(target, 2 * MIB)
            assert bytes(2 * MIB) == await body_of(worker)
    assert [] == read


async def test_a_task_needs_no_file(read: list[int]) -> None:
    with trio.fail_after(SECONDS):
        async with open_primary() as primary:
            task = await primary.fork(actors.tell, 2 * MIB, 1, run="task")
            assert [0, bytes(2 * MIB)] == await body_of(task)
    assert [] == read
