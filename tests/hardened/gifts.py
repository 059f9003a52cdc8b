"""Messages with handles that tell what became of them, and somebody who takes them.

A `Gift` has a number and the writing ends of two pipes, one in the body and one beside it; the
reading ends stay with its giver. Whoever receives it writes the number into both. So the giver
reads who got what was in the message, and sees by the end of file that nobody holds it any more.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, Final, final

import attrs
import trio

from actorcluster import Handle, Message
from tests.hardened.moments import every_moment

__all__ = ["FILLER", "PATIENCE", "SMALL_MAILBOX", "Gift", "cancel_asks", "cancel_sends", "take"]

PATIENCE: Final = 60
"""Seconds for what takes milliseconds."""

SMALL_MAILBOX: Final = 64 * 1024
FILLER: Final = b"x" * 60_000
"""Leaves no room beside it in a small mailbox."""

Act = Callable[..., Awaitable[Any]]


@final
class Gift:
    """See above."""

    def __init__(self, number: int, size: int = 0) -> None:
        self.number = number
        pipes = [os.pipe() for _ in range(2)]
        self._reading = [reading for reading, _ in pipes]
        self._writing = [Handle.of(writing) for _, writing in pipes]
        self.beside = self._writing[1]
        self.body = {"number": number, "inside": [self._writing[0]], "padding": b"x" * size}

    @property
    def is_kept(self) -> bool:
        """Whether it is still wholly ours, rather than wholly given away."""
        kept = {not handle.closed for handle in self._writing}
        assert 1 == len(kept), "half of a message was sent"
        return kept.pop()

    async def written(self) -> list[bytes]:
        """Wait until nobody has it any more; what was written into it then."""
        for handle in self._writing:
            handle.close()
        with trio.fail_after(PATIENCE):
            return [await _read_all(fd) for fd in self._reading]

    @property
    def mark(self) -> bytes:
        """What its receiver writes."""
        return str(self.number).encode()


async def _read_all(fd: int) -> bytes:
    os.set_blocking(fd, False)
    async with trio.lowlevel.FdStream(fd) as stream:
        return b"".join([data async for data in stream])


def sign(handle: Handle, number: int) -> None:
    """Write the number, and close the handle."""
    with handle.into_file() as file:
        file.write(str(number).encode())


# ---- who takes them -------------------------------------------------------------------------


async def take(mailbox: AsyncIterable[Message]) -> tuple[list[int], Any]:
    """Take gifts and answer asks until somebody says that it is done.

    The answer to an ask gives back what was inside. The answer to "report" is the list of numbers.

    Returns:
        the numbers that came, and the last body, a list.
    """
    numbers: list[int] = []
    async for message in mailbox:
        with message:
            match message.body:
                case "report":
                    await message.reply(numbers)
                case {"number": int(number), "inside": [Handle() as inside]}:
                    numbers.append(number)
                    if message.handle is not None:
                        sign(message.handle, number)
                    if not message.is_ask:
                        sign(inside, number)
                        continue
                    with contextlib.closing(inside):  # the asker may give up just now
                        await message.reply({"number": number, "inside": inside})
                case list():
                    return numbers, message.body
    return numbers, None


# ---- who gives them -------------------------------------------------------------------------


@attrs.frozen
class Given:
    """What became of the gifts of one probe, by number.

    Attributes:
        sent: those that must have arrived.
        kept: those that must not.
        lost: asks that were given up; they may have arrived.
    """

    sent: list[int] = attrs.Factory(list)
    kept: list[int] = attrs.Factory(list)
    lost: list[int] = attrs.Factory(list)

    def check(self, arrived: list[int]) -> None:
        """Compare with what the receiver says."""
        assert sorted(arrived) == arrived, "out of order"
        assert len(set(arrived)) == len(arrived), "twice"
        assert set(self.sent) == set(arrived) - set(self.lost)
        assert set(self.kept).isdisjoint(arrived)
        assert self.sent
        assert self.kept


async def cancel_sends(send: Act, *, size: int = 0, before: Callable[[], object] = list) -> Given:
    """Cancel a send of a gift at every moment.

    Args:
        send: the call.
        size: bytes to put in beside the handles.
        before: called before each.
    """
    given, gifts = Given(), []
    for number, trial in enumerate(every_moment()):
        gift = Gift(number, size)
        before()
        await trial.run(send, gift.body, gift.beside)
        assert trial.cancelled == gift.is_kept, f"{trial}: neither sent nor kept"
        (given.kept if trial.cancelled else given.sent).append(number)
        gifts.append((gift, b"" if trial.cancelled else gift.mark))
    for gift, mark in gifts:
        assert [mark, mark] == await gift.written()
    return given


async def cancel_asks(ask: Act, *, size: int = 0, before: Callable[[], object] = list) -> Given:
    """Cancel an ask with a gift at every moment; see `cancel_sends`."""
    given = Given()
    for number, trial in enumerate(every_moment()):
        gift = Gift(number, size)
        before()
        answer = await trial.run(ask, gift.body, gift.beside)
        kept = gift.is_kept
        if not trial.cancelled:
            assert not kept, f"{trial}: answered, but not sent"
            assert number == answer["number"], f"{trial}: the answer to another ask"
            sign(answer["inside"], number)
            given.sent.append(number)
            assert [gift.mark] * 2 == await gift.written()
        elif kept:
            given.kept.append(number)
            assert [b"", b""] == await gift.written(), f"{trial}: sent, but kept"
        else:
            given.lost.append(number)
            inside, beside = await gift.written()
            assert b"" == inside, f"{trial}: nobody can have signed it"
            assert beside in (b"", gift.mark), f"{trial}: somebody else had it"
    return given


def fill(send_nowait: Callable[[bytes], None]) -> Callable[[], None]:
    """Make what leaves no room in a small mailbox, so that whoever sends must wait."""

    def act() -> None:
        with contextlib.suppress(trio.WouldBlock):
            while True:
                send_nowait(FILLER)

    return act
