"""What to do about a frame that arrived: by state, by kind, and before that by what it carries.

Runs in: both

The method for a kind is called ``_on_`` and its name; the table `_ON` is made from the registry,
so a built kind without a method is an error at import.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..errors import RemoteProtocolError
from ._generated import (
    FLAG_FRAG,
    FLAG_MORE,
    KINDS,
    AbortCode,
    Action,
    Capability,
    ErrorCode,
    Kind,
    State,
)
from .fields import Malformed
from .life import Life
from .runs import Frame, Run

__all__ = ["Dispatch"]

_UNUSUAL: Final = FLAG_FRAG | FLAG_MORE
_MAIL: Final = frozenset({int(Kind.TELL), int(Kind.CALL), int(Kind.REPLY)})
_BEFORE_READY: Final = (State.HANDSHAKE, State.STARTING)
#: With one of these in force, frames of kinds that are unknown here may bring descriptors.
_BRINGING: Final = {
    "worker": {Capability.HANDLE, Capability.LISTEN_HANDOFF, Capability.LISTEN_SHARED},
    "primary": {Capability.HANDLE_SEND},
}
#: What may arrive before this side has introduced itself.
_FIRST: Final = frozenset({int(Kind.HELLO), int(Kind.ABORT)})

_ONLY_ON_ZERO: Final = frozenset(code for code, info in KINDS.items() if info.channel == "zero")
_NEVER_ON_ZERO: Final = frozenset(
    code for code, info in KINDS.items() if info.channel in ("opens", "uses")
)


class Dispatch(Life):
    """The layer that knows all kinds, and what each is about only by its name."""

    def _dispatch(self, frames: list[Frame]) -> None:
        machine = self._machine
        for frame in frames:
            if type(frame) is Run:
                if not (frame.kind in machine.takes and _ON_RUN[frame.kind](self, frame)):
                    self._dispatch(frame.frames())  # finds out what is wrong, and with which
            elif frame.nfds or frame.flags & _UNUSUAL:
                self._dispatch_unusual(frame)
            elif frame.kind in _MAIL and frame.kind in machine.takes:
                _ON[frame.kind](self, frame)  # the short way for what comes most
            elif (
                (take := _ON_PLAIN.get(frame.kind)) is not None
                and frame.kind in machine.takes
                and take(self, frame)
            ):
                pass  # likewise
            else:
                self._dispatch_plain(frame)
                if machine.state is State.CLOSED:
                    return

    def _dispatch_plain(self, frame: Frame) -> None:
        kind = frame.kind
        action = self._machine.received(kind)
        if action is Action.IGNORE:
            return
        if action is Action.ABORT or not (self._introduced or kind in _FIRST):
            raise self._not_now(kind)
        handle = _ON.get(kind)
        if handle is None:
            self._on_unknown(frame)
            return
        if kind in (_ONLY_ON_ZERO if frame.channel else _NEVER_ON_ZERO):
            where = f"{KINDS[kind].name} on channel {frame.channel}"
            raise self._violation("AWP-CH-2", where)
        try:
            if frame.error is not None and kind not in _FORGIVING:
                raise Malformed(frame.error)
            if action is Action.REFUSE:
                self._refuse(frame)
            else:
                handle(self, frame)
        except Malformed as exc:
            raise self._violation("AWP-FR-6", f"{KINDS[kind].name}: {exc}") from None

    def _refuse(self, frame: Frame) -> None:
        """Say that something was not begun, because this side is stopping."""
        text = "the process is stopping"
        if frame.kind == Kind.LISTEN:
            self._refuse_listen(frame, text)
        elif frame.kind == Kind.CONN:
            self._refuse_connections(frame)
        else:
            told = frame.kind == Kind.TELL
            self._on_mail(frame, (ErrorCode.STOPPING if told else ErrorCode.REFUSED, text))

    def _not_now(self, kind: int) -> RemoteProtocolError:
        """The peer sent what it could not send now."""
        machine = self._machine
        name = KINDS[kind].name if kind in KINDS else f"kind {kind:#04x}"
        if kind in machine.withheld and machine.state not in _BEFORE_READY:
            text = f"{name} needs the capability {KINDS[kind].capability}, which is not in force"
            return self._violation("AWP-HS-3", text)
        text = f"{name} arrived while {machine.state.value}"
        return self._violation("AWP-ST-8", text, AbortCode.STATE_VIOLATION)

    def _dispatch_unusual(self, frame: Frame) -> None:
        """Take a frame that has descriptors, or is a fragment."""
        kind, machine = frame.kind, self._machine
        try:
            if frame.nfds:
                self._claim(frame)
                if (
                    kind in _MAIL
                    and kind in machine.takes
                    and not frame.flags & _UNUSUAL
                    and self._brings_handles
                    and machine.state not in _BEFORE_READY
                    and self._take_laden(frame)
                ):
                    return  # the short way for what comes most
                self._check_may_have_handles(frame)
            if frame.flags & _UNUSUAL and frame.kind in _ON:
                self._dispatch_fragment(frame)
            elif frame.kind in _MAIL and frame.kind in self._machine.takes:
                _ON[frame.kind](self, frame)
            else:
                self._dispatch_plain(frame)
        finally:
            if unclaimed := self._take_fds():
                self._descriptors.discard(unclaimed)

    def _dispatch_fragment(self, frame: Frame) -> None:
        kind = frame.kind
        if not frame.flags & FLAG_FRAG or kind not in _MAIL:
            raise self._violation("AWP-LG-7", f"{Kind(kind).name} with flags {frame.flags:#04x}")
        partial = self._reassembly.get(frame.channel)
        if partial is None:
            self._dispatch_plain(frame)  # the first: the state machine decides, for all of them
        elif self._machine.state is State.CLOSING:
            self._abandon(frame.channel)
        elif kind != partial.kind or frame.nfds:
            raise self._violation("AWP-LG-7", f"not the next fragment on channel {frame.channel}")
        else:
            self._on_fragment(partial, frame)

    # ---- descriptors ----------------------------------------------------------------------

    def _check_may_have_handles(self, frame: Frame) -> None:
        kind = frame.kind
        if self._machine.state in _BEFORE_READY:
            problem = " before READY"
        elif kind not in _ON:
            if not self.capabilities.isdisjoint(_BRINGING[self.role]):
                return
            problem = ", and no capability for any is in force"
        elif not KINDS[kind].handles:
            problem = ""
        elif (needed := self._needed_for_handles(kind)) not in self.capabilities:
            problem = f", and {needed} is not in force"
        else:
            return
        name = KINDS[kind].name if kind in KINDS else f"kind {kind:#04x}"
        text = f"{name} with descriptors{problem}"
        raise self._violation("AWP-FD-6", text, AbortCode.FD_VIOLATION)

    def _needed_for_handles(self, kind: int) -> Capability:
        """The capability that the peer needs to send handles in a frame of this kind."""
        if kind == Kind.CONN:
            return Capability.LISTEN_HANDOFF
        if kind == Kind.LISTENING:
            return Capability.LISTEN_SHARED
        return Capability.HANDLE if self.role == "worker" else Capability.HANDLE_SEND

    def _check_descriptors(self) -> None:
        """Check what no frame has claimed, now that all complete ones had their turn."""
        if self._descriptors:
            if self._machine.state in _BEFORE_READY:
                text = "descriptors before READY"
                raise self._violation("AWP-FD-6", text, AbortCode.FD_VIOLATION)
            self._descriptors.check()
        if self._unclaimed != len(self._descriptors):
            self._keep_unclaimed()


_Handler = Callable[[Dispatch, Frame], None]

#: kind -> the method of its name, for all that is not unknown.
_ON: Final[dict[int, _Handler]] = {
    code: getattr(Dispatch, f"_on_{info.name.lower()}")
    for code, info in KINDS.items()
    if info.status == "built"
}

#: Control frames that come most, as they mostly are; False, and nothing done, if one is not so.
_ON_PLAIN: Final[dict[int, Callable[[Dispatch, Frame], bool]]] = {
    int(Kind.HANDLE_ACK): Dispatch._on_plain_handle_ack,
    int(Kind.CONN_REPLY): Dispatch._on_plain_conn_reply,
}

#: The same for runs; False, and nothing done, if not all of one can be taken.
_ON_RUN: Final[dict[int, Callable[[Dispatch, Run], bool]]] = {
    int(Kind.TELL): Dispatch._on_tells,
    int(Kind.CALL): Dispatch._on_calls,
    int(Kind.REPLY): Dispatch._on_replies,
}

#: Kinds whose broken body is the message's trouble, or nobody's; all others are control.
_FORGIVING: Final = _MAIL | {
    Kind.ERROR,
    Kind.UNDELIVERABLE,
    Kind.EXIT_INFO,
    Kind.LOG,
    Kind.PING,
    Kind.PONG,
}
