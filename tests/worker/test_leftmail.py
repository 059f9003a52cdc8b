"""What workers have left that are gone: little is kept, of more the oldest is given up."""

from __future__ import annotations

import gc
import logging
import os

import attrs
import pytest

from actorcluster import Primary, open_primary
from actorcluster._worker.leftmail import MOST_BYTES, MOST_WORKERS, LeftMail
from actorcluster.wire.holdings import DescriptorBudget
from tests.worker import leftmail_workers


@attrs.define
class Holding:
    bytes: int
    handles: int


@attrs.define(eq=False)
class Box:
    """A mailbox with so much in it, a message of it being a byte or a handle."""

    left: LeftMail
    bytes: int = 0
    handles: int = 0

    def __len__(self) -> int:
        return self.bytes + self.handles

    def statistics(self) -> Holding:
        return Holding(self.bytes, self.handles)

    def _discard(self) -> int:
        count, self.bytes, self.handles = len(self), 0, 0
        self.left.remove(self)
        return count


def left(*boxes: tuple[int, int]) -> tuple[LeftMail, list[Box]]:
    mail = LeftMail(DescriptorBudget(400))
    made = [Box(mail, *each) for each in boxes]
    for box in made:
        mail.add(box)
    return mail, made


def test_what_is_little_is_kept() -> None:
    mail, boxes = left((MOST_BYTES - 2, 50), (1, 50), (1, 0))
    assert (0, [50, 50, 0]) == (mail.given_up, [box.handles for box in boxes])


def test_who_ended_first_is_given_up_first(caplog: pytest.LogCaptureFixture) -> None:
    third = MOST_BYTES // 3
    mail, boxes = left((third, 0), (third, 7), (third, 0), (third, 0))
    assert [0, third, third, third] == [box.bytes for box in boxes]
    assert third == mail.given_up
    (record,) = caplog.records
    assert ("actorcluster.mailbox", logging.WARNING) == (record.name, record.levelno)
    assert f"{third} messages of the 1 that ended first are given up" in record.getMessage()


def test_the_last_keeps_all_it_has() -> None:
    mail, boxes = left((1, 1), (MOST_BYTES * 2, 300))
    assert [0, MOST_BYTES * 2] == [box.bytes for box in boxes]
    mail.add(last := Box(mail, 1, 0))
    assert (0, 1) == (boxes[1].bytes, last.bytes)


def test_descriptors_count_by_themselves() -> None:
    """A quarter of the budget."""
    _, boxes = left((0, 60), (0, 40), (0, 1))
    assert [0, 40, 1] == [box.handles for box in boxes]


def test_what_somebody_is_reading_is_looked_at_again() -> None:
    mail, (first, second) = left((MOST_BYTES - 2, 0), (2, 0))
    first.bytes = 10
    mail.add(Box(mail, 100, 0))
    assert (0, 10, 2) == (mail.given_up, first.bytes, second.bytes)


def test_all_that_somebody_is_reading_is_looked_at_before_any_is_given_up() -> None:
    """The oldest is left alone, where another one holds little by now."""
    mail, (first, second) = left((10, 0), (MOST_BYTES - 10, 0))
    second.bytes = 10
    mail.add(Box(mail, MOST_BYTES - 20, 0))
    assert (0, 10, 10) == (mail.given_up, first.bytes, second.bytes)
    mail.add(last := Box(mail, 1, 0))
    assert (10, 0, 10, 1) == (mail.given_up, first.bytes, second.bytes, last.bytes)


def test_so_many_workers_at_most(caplog: pytest.LogCaptureFixture) -> None:
    """However little each has left: its channel takes more. All that go at once are one warning."""
    mail, boxes = left(*[(1, 0)] * (MOST_WORKERS + 2))
    assert [0, 0, 1] == [box.bytes for box in boxes[:3]]
    assert 2 == mail.given_up
    caplog.clear()
    mail.add(Box(mail, MOST_BYTES, 0))
    assert (MOST_WORKERS + 2, 1) == (mail.given_up, len(caplog.records))


def test_what_is_empty_is_forgotten() -> None:
    mail, (first, second) = left((MOST_BYTES, 0), (0, 100))
    first._discard()
    mail.add(Box(mail, MOST_BYTES, 0))
    assert (0, 100) == (mail.given_up, second.handles)


# ---- with real workers ------------------------------------------------------------------------


async def ended(primary: Primary, *args: int) -> None:
    worker = await primary.fork(leftmail_workers.leaves, *args)
    assert "normal" == (await worker.wait()).reason


async def test_lives_that_nobody_reads_do_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actorcluster._worker.leftmail.MOST_BYTES", 100_000)
    async with open_primary() as primary:
        for _ in range(4):
            await ended(primary, 4, 10_000, 3)
        found = primary.mailbox.statistics()
        assert (8, 6, 8) == (found.messages, found.handles, found.given_up)
        for _ in range(8):  # of the two that ended last
            with primary.mailbox.receive_nowait() as message:
                data, handles = message.body
                assert 10_000 == len(data)
                for handle in handles:
                    handle.close()
        assert 0 == primary.mailbox.statistics().messages


async def closed_with_mail() -> Primary:
    """A primary that has closed, with two handles in its mailbox."""
    async with open_primary() as primary:
        await ended(primary, 1, 10, 2)
    found = primary.mailbox.statistics()
    assert (1, 2) == (found.messages, found.handles)
    return primary


async def test_what_is_left_can_be_taken_when_the_block_has_ended() -> None:
    """Handles, too: they are open until somebody takes them, or drops the primary."""
    primary = await closed_with_mail()
    with primary.mailbox.receive_nowait() as message:
        for handle in message.body[1]:
            assert os.path.samestat(os.stat("/dev/null"), os.fstat(handle.fileno()))
            handle.close()


def drop(primaries: list[Primary]) -> None:
    primaries.clear()
    gc.collect()


async def test_what_nobody_takes_is_closed_with_the_primary() -> None:
    primaries = [await closed_with_mail()]
    before = len(os.listdir("/proc/self/fd"))
    with pytest.warns(ResourceWarning, match="was never closed"):
        drop(primaries)
    assert before - 2 == len(os.listdir("/proc/self/fd"))
