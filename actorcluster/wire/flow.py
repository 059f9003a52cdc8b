"""Credit, acknowledgements of messages and of handles: what is owed to the peer, and by it.

Runs in: both
"""

from __future__ import annotations

from typing import Final

from ..errors import RemoteProtocolError
from ._generated import AbortCode, Kind
from .credit import ReceiveWindow
from .events import Acknowledged, CreditGranted, HandlesAcknowledged
from .fields import read_envelope
from .frames import Frame, encode_frame
from .session import NIL, Session

__all__ = ["Flow"]

_ACK: Final = int(Kind.ACK)
_CREDIT: Final = int(Kind.CREDIT)
_HANDLE_ACK: Final = int(Kind.HANDLE_ACK)


class Flow(Session):
    """The layer of the books; the arithmetic is in `credit`."""

    # ---- out ------------------------------------------------------------------------------

    @property
    def sent(self) -> int:
        """How many messages of ours were queued so far; the number of the latest."""
        return self._deliveries.sent

    @property
    def unacknowledged(self) -> int:
        """How many of our messages the peer has not reported as handled."""
        return self._deliveries.sent - self._deliveries.acknowledged

    @property
    def tells_unacknowledged(self) -> int:
        """How many of them are no calls."""
        if not self.unacknowledged:
            return 0  # as a rule; each of a thousand asks that fail together wants to know
        done = self._deliveries.acknowledged
        return self.unacknowledged - sum(number > done for number in self._calls.values())

    @property
    def available(self) -> int:
        """Credit: how many bytes of mail may be sent now. Can be negative."""
        return self._window.available

    @property
    def inbound_window(self) -> ReceiveWindow:
        """The book of the peer's credit; the same object all the time."""
        return self._inbound_window

    def has_room(self, charge: int) -> bool:
        """Whether a message that costs ``charge`` may be sent now."""
        return charge <= self._window.available

    def grant(self, charge: int, handles: int = 0) -> bool:
        """Give credit back for a message that left its mailbox, or was bounced.

        Args:
            charge: what it cost.
            handles: how many it has.

        Returns:
            whether a CREDIT frame was queued, because a good part of the window has come
            together; otherwise `due` is true and the shell calls `flush_grants` soon.
        """
        self._give_room_back(handles)
        return self._inbound_window.give_back(charge) and self._send_credit()

    def arrived(self, number: int) -> None:
        """Note that messages 1..number are in a mailbox, bounced, or answered.

        To be called in the order of the numbers; several may be noted by the last of them.
        """
        if self._arrivals.handle(number):
            self._send_ack()

    def due(self) -> bool:
        """Whether an acknowledgement or credit waits to be sent."""
        sendable, arrivals = self._machine.sendable, self._arrivals
        if self._inbound_window.owed and _CREDIT in sendable:
            return True
        return arrivals.handled > arrivals.acknowledged and _ACK in sendable

    def flush_grants(self) -> None:
        """Queue ACK and CREDIT for whatever is due."""
        self._send_ack()
        self._send_credit()

    # Nothing is lost by waiting for a peer that does not read: the next frame says it all.

    def _send_credit(self) -> bool:
        if _CREDIT not in self._machine.sendable or self._outbox.is_jammed:
            return False
        if grant := self._inbound_window.collect():
            self._outbox.put_urgent(encode_frame(_CREDIT, 0, self._pack([grant]), NIL))
        return True

    def _send_ack(self) -> None:
        if _ACK not in self._machine.sendable or self._outbox.is_jammed:
            return
        if upto := self._arrivals.collect():
            self._outbox.put_urgent(encode_frame(_ACK, 0, self._pack([upto]), NIL))

    # ---- in -------------------------------------------------------------------------------

    def _on_credit(self, frame: Frame) -> None:
        (count,) = read_envelope(_CREDIT, frame.envelope)
        if frame.channel:
            return  # of streams, which are reserved
        if not self._window.credit(count):
            text = f"{count} bytes of credit are more than was spent"
            raise self._violation("AWP-FC-6", text, AbortCode.FLOW_VIOLATION)
        self._events.append(CreditGranted(self._window.available))

    def _charge(self, length: int, begun: int | None) -> int:
        """Book what a message costs; `begun`: the size of our window when it did, in fragments."""
        window = self._inbound_window
        charge = window.take(length) if begun is None else window.take_begun(length, begun)
        if charge < 0:
            raise self._overrun(length)
        return charge

    def _overrun(self, length: int) -> RemoteProtocolError:
        text = f"a message of {length} bytes, {self._inbound_window.available} bytes of credit"
        return self._violation("AWP-FC-6", text, AbortCode.FLOW_VIOLATION)

    def _on_ack(self, frame: Frame) -> None:
        (upto,) = read_envelope(_ACK, frame.envelope)
        if not self._deliveries.acknowledge(upto):
            text = f"message {upto} is acknowledged, {self._deliveries.sent} were sent"
            raise self._violation("AWP-MS-8", text)
        self._events.append(Acknowledged(upto))

    def _on_plain_handle_ack(self, frame: Frame) -> bool:
        """Take one that reports no loss, and is all well; False for all else, left as it is."""
        envelope = frame.envelope
        if (
            frame.error is not None
            or frame.channel
            or type(envelope) is not list
            or list(map(type, envelope)) != [int]
            or not 0 <= envelope[0] <= self._outbox.handle_frames
        ):
            return False
        self._outbox.acknowledge(envelope[0])
        self._events.append(HandlesAcknowledged(envelope[0], ()))
        return True

    def _on_handle_ack(self, frame: Frame) -> None:
        upto, lost = read_envelope(frame.kind, frame.envelope)
        if not self._outbox.acknowledge(upto):
            text = f"frame {upto} with handles is acknowledged, it was not sent"
            raise self._violation("AWP-HA-4", text)
        self._events.append(HandlesAcknowledged(upto, tuple(lost or ())))

    def _claim(self, frame: Frame) -> None:
        """Give a frame its descriptors, or note that they were lost."""
        if self._unclaimed:  # they may be the frame's; what still waits then is entered anew
            self._give_room_back(self._unclaimed)
            self._unclaimed = 0
        self._fds = self._descriptors.take(frame.nfds)
        self._handle_frames += 1
        if self._fds is None:
            self._handle_frames_lost.append(self._handle_frames)

    def _acknowledge_handles(self) -> None:
        """Acknowledge all frames with handles that arrived since the last time."""
        upto = self._handle_frames
        if upto == self._handle_frames_acknowledged:
            return
        lost, self._handle_frames_lost = self._handle_frames_lost, []
        self._handle_frames_acknowledged = upto
        if _HANDLE_ACK in self._machine.sendable:
            envelope = self._pack([upto, lost] if lost else [upto])
            self._answer(encode_frame(_HANDLE_ACK, 0, envelope, NIL), urgent=True)
