"""Mail for Node, whichever side it is: said there, or given back with the reason.

Runs in: both
"""

from __future__ import annotations

from typing import Final, TypeAlias

from .._link.channel import Channel
from .._link.writing import close_all
from ..errors import HandleError
from ..wire import events
from ..wire._generated import BUILT_CAPABILITIES, Capability, ErrorCode
from .node_handles import node_kind
from .node_outbox import NodeOutbox

__all__ = ["CAPABILITIES", "Refusal", "give_back", "hand_on"]

CAPABILITIES: Final = BUILT_CAPABILITIES - {
    Capability.HANDLE_HEAD,
    Capability.MONITOR,
    Capability.LOG,
}
"""Those for which Node's protocol has words."""

Refusal: TypeAlias = tuple[ErrorCode, str]
"""Why a message is given back, for programs and for people."""


def hand_on(event: events.TellReceived, outbox: NodeOutbox) -> Refusal | None:
    """Say a message to Node; gives why that cannot be, and nothing was said then."""
    try:
        handle, kind = node_kind(event)
        outbox.tell(event.number, event.body, event.charge, handle, **kind)
    except (TypeError, RecursionError) as exc:
        return ErrorCode.BAD_PAYLOAD, str(exc)
    except (HandleError, OSError) as exc:
        return ErrorCode.UNSUPPORTED_HANDLE, str(exc)
    return None


def give_back(
    event: events.TellReceived | events.CallReceived, why: Refusal, channel: Channel
) -> None:
    """Tell the sender that Node does not get it; its handles are closed."""
    code, text = why
    close_all(event.handles)
    error = {"code": str(code), "message": text}
    if isinstance(event, events.CallReceived):
        channel.connection.send_error(event.channel, error)
    else:
        channel.connection.send_undeliverable(event.number, event.to, error)
    channel.release(event.charge)
    channel.flush()
