"""Plays a stream vector against a Connection: prelude, reads, and what came of them.

Runs in: both
"""

from __future__ import annotations

from typing import Any

import attrs
import msgpack

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire._generated import AbortCode
from actorcluster.wire.connection import Connection
from actorcluster.wire.values import RawHandle

from .diagnostic import NamedHandle, from_diagnostic, to_diagnostic
from .vectors import PRELUDES, Read, Vector, split_frames

__all__ = ["Outcome", "Stage"]

#: Frames that a side may send at any time, each for many that came: never listed as answers.
_GATHERED = {"CREDIT", "ACK", "CONN_CREDIT", "HANDLE_ACK"}


@attrs.define
class Outcome:
    """What came of a vector's reads, in the forms in which vectors state it."""

    events: list[dict[str, Any]]
    answers: list[dict[str, Any]]
    handle_ack: dict[str, Any] | None
    discarded: list[str]
    abort: tuple[str, str] | None
    state: str
    eof: str | None


@attrs.frozen
class _Ref:
    aid: int | None
    name: str | None


class _Refs:
    """Refs as plain values, so that the vectors' refs are checked at all."""

    type = _Ref

    def describe(self, ref: _Ref) -> tuple[int | None, str | None]:
        return ref.aid, ref.name

    def build(self, aid: int | None, name: str | None) -> _Ref:
        return _Ref(aid, name)


class Stage:
    """A connection that has been through a vector's prelude."""

    def __init__(self, vector: Vector) -> None:
        prelude = PRELUDES[vector["prelude"]]
        steps = [*prelude["steps"], *vector.get("before", ())]
        self._numbers: dict[str, int] = {}
        self._worker = prelude["role"] == "worker"
        self.connection = Connection(prelude["role"], refs=_Refs(), **self._announced(steps))
        if "bulk.memfd" in self.connection._offered:
            self.connection.offer_bulk(lambda fd, size: None)  # names are no files
        for step in steps:
            if "send" in step:
                self._send(bytes.fromhex(step["send"]), tuple(step.get("fds", ())))
            else:
                self.connection.receive(bytes.fromhex(step["receive"]))
        self.connection.take_discarded()
        self._take_output()
        self._abort: tuple[str, str] | None = None
        self._eof: str | None = None
        self._events: list[Any] = []

    def _announced(self, steps: list[dict[str, Any]]) -> dict[str, Any]:
        """What our own HELLO or WELCOME says is what the connection is built with."""
        for step in steps:
            frames = split_frames(bytes.fromhex(step.get("send", "")))
            if frames and frames[0]["kind"] in ("HELLO", "WELCOME"):
                said = frames[0]["payload"]
                return {
                    "limits": said["limits"],
                    "capabilities": said["caps"],
                    "handle_names": said["handles"],
                }
        return {}

    # ---- the prelude's own frames

    def _send(self, data: bytes, fds: tuple[str, ...]) -> None:
        (frame,) = split_frames(data)
        channel = getattr(self, f"_send_{frame['kind'].lower()}")(frame, fds)
        sent = split_frames(self._take_output())
        if [frame["kind"]] != [one["kind"] for one in sent] or channel not in (
            None,
            frame["channel"],
        ):
            raise AssertionError(f"the prelude says {frame}, the connection {sent}")

    def _send_hello(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        said = frame["payload"]
        self.connection.send_hello(worker=said["worker"], pid=said["pid"])

    def _send_welcome(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        said = from_diagnostic(frame["payload"])
        self.connection.send_welcome(
            worker=said["worker"],
            cluster=said["cluster"],
            name=said["name"],
            config=said["config"],
            heartbeat=said["heartbeat"] / 1000,
        )

    def _send_ready(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        self.connection.send_ready()

    def _send_stop(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        said = frame["payload"]
        self.connection.send_stop(said["deadline"] / 1000, said["reason"])

    def _send_goodbye(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        self.connection.send_goodbye(frame["payload"]["reason"])

    def _send_ping(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        self.connection.send_ping(1)

    def _send_settings(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        self.connection.send_settings(frame["payload"])

    def _send_tell(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        to, handles = (*frame["envelope"], None, None)[0:3:2]
        entries = zip(fds, handles or (), strict=True)
        owned = [RawHandle(self._number(fd), kind, meta) for fd, (kind, meta) in entries]
        payload = from_diagnostic(frame["payload"])
        if payload == msgpack.ExtType(1, b"\0"):  # all that a prelude sends of handles
            payload = owned[0]
        self.connection.send_tell(self.connection.encode(payload), to=to)

    def _send_call(self, frame: dict[str, Any], fds: tuple[str, ...]) -> int:
        encoded = self.connection.encode(from_diagnostic(frame["payload"]))
        return self.connection.send_call(encoded, to=frame["envelope"][0])

    def _send_listen(self, frame: dict[str, Any], fds: tuple[str, ...]) -> int:
        return self.connection.send_listen(frame["payload"])

    def _send_listening(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        said = frame["payload"]
        self.connection.send_listening(frame["channel"], mode=said["mode"], address=said["address"])

    def _send_conn(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        first, entries = frame["envelope"][:2]
        handles = [
            RawHandle(self._number(fd), kind, meta)
            for fd, (kind, meta) in zip(fds, entries, strict=True)
        ]
        self.connection.send_connections(frame["channel"], first, handles)

    def _send_monitor(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        assert frame["envelope"][0] == self.connection.send_monitor(frame["envelope"][1])

    def _send_demonitor(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        self.connection.send_demonitor(frame["envelope"][0])

    def _send_listen_close(self, frame: dict[str, Any], fds: tuple[str, ...]) -> None:
        self.connection.send_listen_close(frame["channel"])

    # ---- the vector's reads

    def receive(self, read: Read) -> None:
        """One read. After an abort the rest is as good as never read."""
        if self._abort is not None:
            return
        fds = [self._number(name) for name in read.fds]
        try:
            self._events += self.connection.receive(read.data, fds, read.truncated)
        except RemoteProtocolError as exc:
            self._abort = (AbortCode(exc.code).name.lower(), exc.requirement)
            self._events += self.connection.take_events()

    def receive_eof(self) -> None:
        """The end of the stream."""
        self._eof = "orderly" if self.connection.receive_eof() else "lost"

    def outcome(self) -> Outcome:
        """Everything that came of it, which includes what is to be sent."""
        frames = split_frames(self._take_output())
        answers = [frame for frame in frames if frame["kind"] not in _GATHERED]
        if self._abort is not None:
            last = answers.pop()
            code = {"kind": "ABORT", "code": AbortCode[self._abort[0].upper()]}
            if code != {"kind": last["kind"], "code": last["payload"]["code"]}:
                raise AssertionError(f"{self._abort} was told to the peer as {last}")
        return Outcome(
            events=[self._event(event) for event in self._events],
            answers=answers,
            handle_ack=_gather([f for f in frames if f["kind"] == "HANDLE_ACK"]),
            discarded=sorted(self._name(fd) for fd in self.connection.take_discarded()),
            abort=self._abort,
            state=self.connection.state.name,
            eof=self._eof,
        )

    def _take_output(self) -> bytes:
        out = bytearray()
        while batches := self.connection.data_to_send():
            for batch in batches:
                for buffer in batch.buffers:
                    out += buffer
        return bytes(out)

    def _event(self, event: Any) -> dict[str, Any]:
        form = {"event": type(event).__name__}
        for field in attrs.fields(type(event)):
            form[field.name] = to_diagnostic(getattr(event, field.name), self._named)
        return form

    def _named(self, value: Any) -> NamedHandle:
        if isinstance(value, RawHandle):
            return NamedHandle(self._name(value.fd), value.kind, value.meta)
        raise TypeError(f"{value!r} in an event")

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, 1000 + len(self._numbers))

    def _name(self, number: int) -> str:
        return next(name for name, known in self._numbers.items() if known == number)


def _gather(acks: list[dict[str, Any]]) -> dict[str, Any] | None:
    if not acks:
        return None
    lost = [number for ack in acks for more in ack["envelope"][1:] for number in more]
    return {"upto": acks[-1]["envelope"][0], "lost": lost}
