"""How much more may be sent, what is given back, what has arrived: arithmetic, no frames.

Runs in: both

Theory of operation
===================

Mail (TELL and CALL) is bounded in bytes. The receiver's limit ``window`` says how many bytes of
mail may lie in its mailboxes or be on their way there; the sender spends from it, the receiver
gives back with CREDIT what left a mailbox. Nothing else is ever charged: an actor that awaits a
reply while its mailbox is full must get that reply.

Both sides compute the same charge from the same bytes, so the two books always agree:

    charge = min(window, max(256, 16 + length))

``length`` is the encoded envelope plus the *whole* encoded payload: for a message in one frame
simply the header's ``length`` field. A fragmented message is charged as if it had been sent in
one frame: by its sender before the first fragment, by its receiver with the last one, each
once. 256 stands for what a queued message costs in memory however small it is; the ``min`` lets
a message larger than the window go as soon as the window is whole.

A window may change while mail is under way. The sender of mail uses the new size from the moment
it queues SETTINGS_ACK, the receiver from the moment that SETTINGS_ACK arrives; since mail and
SETTINGS_ACK keep their order in the stream, each message is clipped to the same size on both
sides; one in fragments, by its first. Between the two moments the room may be negative: then
nothing may be sent.

For either direction, at any time:
``available`` + what is on its way + what lies in mailboxes + ``owed`` + CREDIT on its way == size.
"""

from __future__ import annotations

from typing import Final, final

__all__ = ["ACK_EVERY", "MINIMUM_CHARGE", "Arrivals", "Deliveries", "ReceiveWindow", "SendWindow"]

MINIMUM_CHARGE: Final = 256
#: A receiver acknowledges at least this often without being asked (AWP-MS-3).
ACK_EVERY: Final = 1000

_HEADER: Final = 16
#: The largest number that a CREDIT frame can carry.
_MAX_GRANT: Final = 2**32 - 1


@final
class SendWindow:
    """The peer's window as its sender sees it.

    Attributes:
        size: the whole window, as the peer declared it.
        available: how much of it can be spent now.
    """

    __slots__ = ("available", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.available = size

    def charge(self, length: int) -> int:
        """What a message of ``length`` bytes (envelope and payload) costs."""
        charge = _HEADER + length
        charge = max(charge, MINIMUM_CHARGE)
        return min(self.size, charge)

    def spend(self, length: int) -> bool:
        """Pay for a message of ``length`` bytes; False, and nothing paid, without room."""
        charge = _HEADER + length
        charge = max(charge, MINIMUM_CHARGE)
        charge = min(charge, self.size)
        if charge > self.available:
            return False
        self.available -= charge
        return True

    def credit(self, count: int) -> bool:
        """Book a CREDIT; False when the peer gives back more than was ever spent."""
        self.available += count
        return self.available <= self.size

    def resize(self, size: int) -> None:
        """Take over a new size; what is under way stays charged."""
        self.available += size - self.size
        self.size = size


@final
class ReceiveWindow:
    """Our own window, as its receiver sees it.

    Attributes:
        size: the whole window.
        available: how much the peer may still send, going by what was granted so far.
        owed: what left a mailbox and was not granted yet.
    """

    __slots__ = ("available", "owed", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.available = size
        self.owed = 0

    def take(self, length: int) -> int:
        """Book a message of ``length`` bytes (envelope and payload) that arrived.

        Returns:
            its charge; -1 when the sender had no room for it.
        """
        charge = _HEADER + length
        charge = max(charge, MINIMUM_CHARGE)
        charge = min(charge, self.size)
        if charge > self.available:
            return -1
        self.available -= charge
        return charge

    def take_begun(self, length: int, size: int) -> int:
        """Book a message in fragments, whose first came when the window had that size.

        Its sender has paid by that size; what was taken from the window since then was not taken
        from what it had paid already.
        """
        charge = min(size, max(MINIMUM_CHARGE, _HEADER + length))
        if charge > self.available + max(0, size - self.size):
            return -1
        self.available -= charge
        return charge

    def take_all(self, lengths: list[int], longest: int) -> list[int] | None:
        """Book a run of messages.

        Args:
            lengths: of each, at least one; see `take`.
            longest: the largest of them.

        Returns:
            the charge of each; None, and nothing booked, when there was no room for all.
        """
        if longest <= MINIMUM_CHARGE - _HEADER:
            charges = [min(MINIMUM_CHARGE, self.size)] * len(lengths)
        elif min(lengths) >= MINIMUM_CHARGE - _HEADER and _HEADER + longest <= self.size:
            charges = [_HEADER + length for length in lengths]
        else:
            charges = [min(self.size, max(MINIMUM_CHARGE, _HEADER + n)) for n in lengths]
        total = sum(charges)
        if total > self.available:
            return None
        self.available -= total
        return charges

    def give_back(self, charge: int) -> bool:
        """Note that a message left its mailbox.

        Returns:
            True when a CREDIT is due at once: a quarter of the window has come together, or
            everything is empty and the message alone had a sixteenth, so that a sender of large
            messages need not wait for the timer.
        """
        owed = self.owed = self.owed + charge
        size = self.size
        return owed * 4 >= size or (charge * 16 >= size and self.available + owed == size)

    @property
    def silent(self) -> int:
        """While less than this is owed, no CREDIT is due at once for what is `light`."""
        return -(-self.size // 4)

    @property
    def light(self) -> int:
        """A message that costs less asks for no CREDIT by itself."""
        return -(-self.size // 16)

    def collect(self) -> int:
        """Take what one CREDIT frame can grant; 0 when nothing is owed."""
        grant = min(self.owed, _MAX_GRANT)
        self.owed -= grant
        self.available += grant
        return grant

    def resize(self, size: int) -> None:
        """Take over a new size, when the peer has acknowledged it."""
        self.available += size - self.size
        self.size = size


@final
class Arrivals:
    """Messages of the peer, numbered 1, 2, 3 ... as they become complete.

    The shell reports what it has put into a mailbox, in order. What is bounced before the shell
    sees it counts as well, but only once everything before it does.

    Attributes:
        received: number of the latest complete message.
        handled: messages 1..handled are in a mailbox, bounced, or answered.
        acknowledged: the peer has been told, or is being told, that much.
    """

    __slots__ = ("_bounced", "acknowledged", "handled", "received")

    def __init__(self) -> None:
        self.received = 0
        self.handled = 0
        self.acknowledged = 0
        self._bounced: set[int] = set()

    def handle(self, number: int) -> bool:
        """Note that messages 1..number are handled; True when an ACK is due at once."""
        if number <= self.handled:
            return False
        if self._bounced:
            self._bounced.difference_update(range(self.handled + 1, number + 1))
        self.handled = number
        if self._bounced:
            self._pass_bounced()
        return self.handled - self.acknowledged >= ACK_EVERY

    def bounce(self, number: int) -> None:
        """Note that message ``number`` was bounced; those before it may be on their way yet."""
        self._bounced.add(number)
        self._pass_bounced()

    def _pass_bounced(self) -> None:
        # Not one look at all of them for each: they may be as many as the window has room for.
        while self.handled + 1 in self._bounced:
            self.handled += 1
            self._bounced.discard(self.handled)

    def answer(self, number: int) -> None:
        """Note that message ``number`` is being answered, which acknowledges 1..number."""
        if number > self.handled:
            self.handle(number)
        self.acknowledged = max(self.acknowledged, number)

    def collect(self) -> int:
        """Take the number that an ACK should carry; 0 when the peer knows already."""
        if self.handled == self.acknowledged:
            return 0
        self.acknowledged = self.handled
        return self.handled


@final
class Deliveries:
    """Messages of ours, numbered 1, 2, 3 ... as they are queued.

    Attributes:
        sent: number of the latest message.
        acknowledged: messages 1..acknowledged are handled, as the peer says.
    """

    __slots__ = ("acknowledged", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.acknowledged = 0

    def acknowledge(self, upto: int) -> bool:
        """Book what the peer says; False when it speaks of messages that were never sent."""
        if upto > self.sent:
            return False
        self.acknowledged = max(self.acknowledged, upto)
        return True
