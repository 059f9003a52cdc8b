"""Whatever happens to a connection: no other error, no lost descriptor, no lost message.

The first half feeds one connection with anything; the second lets two talk through a wire that
cuts the stream wherever it likes and gives descriptors as Linux does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire import events
from actorcluster.wire._generated import (
    BUILT_CAPABILITIES,
    FLAG_FRAG,
    FLAG_MORE,
    FLAG_OPTIONAL,
    Kind,
    State,
)
from actorcluster.wire.batches import Batch
from actorcluster.wire.connection import Connection
from actorcluster.wire.frames import FrameReader, encode_frame
from actorcluster.wire.state import Role
from actorcluster.wire.values import RawHandle, Values
from tests.wire.pair import CLUSTER, ConnectionPair, raw
from tests.wire.strategies import hostile_bytes
from tests.wire.talk import HELLO, WELCOME, frame, hello

ORDER = list(State)
LIMITS = {"max_frame": 16384, "max_message": 65536, "max_partial": 65536, "window": 65536}

# ---- one connection, and anything at all


def connection_in(role: Role, state: State, *, gather: bool = False) -> Connection:
    """A connection that got there with a peer that did nothing else; some channels are open."""
    connection = Connection(role, limits=LIMITS, gather=gather)
    if state is State.HANDSHAKE:
        return connection
    if role == "worker":
        connection.send_hello()
        connection.receive(frame(Kind.WELCOME, None, {**WELCOME, **CAPABLE}))
    else:
        connection.receive(hello(**CAPABLE))
        connection.send_welcome(worker=1, cluster=CLUSTER, name="", config={})
    if state is State.STARTING:
        return connection
    if role == "worker":
        connection.send_ready()
        connection.send_monitor("name")
        connection.send_listen({"transport": "tcp", "credit": 2})
        connection.receive(frame(Kind.LISTENING, None, {"mode": "handoff"}, channel=1))
        connection.receive(frame(Kind.CALL, [None], 1, channel=2))
    else:
        connection.receive(frame(Kind.READY))
        connection.receive(frame(Kind.MONITOR, [1, "name"]))
        connection.receive(frame(Kind.LISTEN, None, {"transport": "tcp", "credit": 2}, channel=1))
        connection.send_listening(1, mode="handoff", address=None)
        connection.send_connections(1, 1, [raw(-1)])
        connection.receive(frame(Kind.CALL, [None], 1, channel=3))
    connection.send_call(connection.encode("x"))
    if state is not State.ACTIVE:
        leave(connection, state)
    return connection


def leave(connection: Connection, state: State) -> None:
    if connection.role == "primary":
        connection.send_stop()
    else:
        connection.receive(frame(Kind.STOP, None, {}))
    if state in (State.CLOSING, State.CLOSED):
        connection.send_goodbye()
    if state is State.CLOSED:
        connection.abort(1)


CAPABLE = {
    "caps": sorted(BUILT_CAPABILITIES - {"bulk.memfd"}),
    "handles": ["tcp-socket"],
    "limits": LIMITS,
}
places = st.sampled_from([(role, state) for role in ("worker", "primary") for state in ORDER])

ENVELOPES: list[Any] = [
    None,
    [],
    [None],
    [1],
    [2],
    [1, []],
    [1, [1]],
    [1, [[1, {}]]],
    [1, [[1, {}], [1, {}]]],
    [None, None, [[1, {}]]],
    [None, None, [[1, {}], [1, None]], {"ttl": 5}],
    [None, 1 << 32, None, {}],
    [None, 0],
    ["name", None, [[99, {}]]],
    [[[1, {}]]],
    [[[1, {}]], {"handle": 0}],
    [20, 1.5, "logger"],
    [2, "name"],
    [1, 1 << 32, "word"],
    [0x60],
]
PAYLOADS: list[Any] = [
    None,
    {},
    "x",
    b"\xa1x",
    b"\x81",
    msgpack.ExtType(1, b"\x00"),
    [msgpack.ExtType(1, b"\x01")],
    ["message", {}],
    HELLO,
    {**HELLO, **CAPABLE},
    {**WELCOME, **CAPABLE},
    {"recv": 0},
    {"recv": 1, "reason": 5},
    {"code": 1},
    {"code": "app", "message": ""},
    {"deadline": 5},
    {"limits": {"window": 100_000, "max_frame": 20_000}},
    {"limits": {"max_calls": 1, "fds_in_flight": 1}},
    {"transport": "tcp"},
    {"transport": "tcp", "credit": 1},
    {"mode": "shared"},
    {"code": 1, "signal": "SIGKILL", "voluntary": True, "type": "x", "text": "y"},
    {"info": 5, "reason": "x", "limits": []},
    bytes(17_000),
]
FLAGS = [0, 0, 0, 0, FLAG_FRAG, FLAG_FRAG | FLAG_MORE, FLAG_MORE, FLAG_OPTIONAL]


@st.composite
def meaningful(draw: st.DrawFn) -> bytes:
    """A frame that means something more often than not."""
    return frame(
        draw(st.sampled_from(list(Kind))),
        draw(st.sampled_from(ENVELOPES)),
        PAYLOADS[draw(st.integers(0, len(PAYLOADS) - 1))],
        channel=draw(st.integers(0, 5)),
        flags=draw(st.sampled_from(FLAGS)),
        nfds=draw(st.sampled_from([0, 0, 0, 1, 2])),
    )


@st.composite
def reads(draw: st.DrawFn) -> list[tuple[bytes, int, bool, int]]:
    """What a socket gives: bytes, how many descriptors, truncated, and where to cut the bytes."""
    return [
        (
            b"".join(draw(PARTS) for _ in range(draw(st.integers(0, 3)))),
            draw(st.sampled_from([0, 0, 0, 1, 1, 2, 17])),
            draw(st.sampled_from([False, False, False, True])),
            draw(st.integers(0, 40)),
        )
        for _ in range(draw(st.integers(1, 4)))
    ]


PARTS = st.one_of(meaningful(), meaningful(), meaningful(), hostile_bytes)


def handles_in(event: Any) -> list[RawHandle]:
    """The handles of an event."""
    if isinstance(event, events.Listening):
        return [] if event.handle is None else [event.handle]
    return list(
        getattr(event, "handles", ())
        if not isinstance(event, events.Hello | events.Welcome)
        else ()
    )


@given(place=places, reads=reads())
def test_anything_gives_events_or_a_protocol_error_and_no_descriptor_is_lost(
    place: tuple[Role, State], reads: list[tuple[bytes, int, bool, int]]
) -> None:
    connection = connection_in(*place)
    connection.take_discarded()
    given_in, came_out = 0, []
    for data, count, truncated, cut in reads:
        fds = range(given_in, given_in + count)
        given_in += count
        before = connection.state
        for piece, group, lost in ((data[:cut], fds, truncated), (data[cut:], (), False)):
            try:
                found = connection.receive(piece, group, lost)
            except RemoteProtocolError:
                found = connection.take_events()
                assert State.CLOSED is connection.state
            came_out += [handle.fd for event in found for handle in handles_in(event)]
            check_output(connection.data_to_send())
        assert ORDER.index(connection.state) >= ORDER.index(before)
    connection.receive_eof()
    came_out += connection.take_discarded()
    assert list(range(given_in)) == sorted(came_out)
    assert 0 == connection.statistics().partial
    assert [] == connection.receive(b"anything", [1, 2], True)
    assert [1, 2] == connection.take_discarded()


def check_output(batches: list[Batch]) -> None:
    """What a connection says can be read, whatever it was told."""
    reader = FrameReader(Values(), max_frame=LIMITS["max_frame"])
    for batch in batches:
        for sent in reader.feed(b"".join(batch.buffers)):
            assert Kind(sent.kind) in Kind
            assert sent.error is None or sent.kind == Kind.PONG
    assert 0 == reader.buffered()


@given(place=places, sent=meaningful())
def test_any_frame_in_any_state_ends_legal_or_closed(
    place: tuple[Role, State], sent: bytes
) -> None:
    connection = connection_in(*place)
    connection.data_to_send()
    try:
        connection.receive(sent, [7] * sent[9])
    except RemoteProtocolError:
        assert State.CLOSED is connection.state
        if place[1] is not State.CLOSED:
            (batch,) = connection.data_to_send()
            assert batch.buffers
    else:
        assert connection.state in ORDER[ORDER.index(place[1]) :]


@pytest.mark.parametrize("role", ["worker", "primary"])
@pytest.mark.parametrize("state", ORDER)
def test_every_kind_in_every_state(role: Role, state: State) -> None:
    for kind in range(256):
        connection = connection_in(role, state)
        try:
            connection.receive(frame(kind) + frame(kind, [], {}))
        except RemoteProtocolError:
            assert State.CLOSED is connection.state


# ---- two connections, and a wire between them


class Wire:
    """One direction of an AF_UNIX stream between two connections, as Linux reads it."""

    def __init__(self) -> None:
        self._sent: deque[tuple[bytes, list[int]]] = deque()

    def write(self, batches: Iterable[Batch]) -> None:
        for batch in batches:
            self._sent.append((b"".join(batch.buffers), [handle.fd for handle in batch.handles]))

    def read(self, size: int) -> tuple[bytes, Sequence[int]]:
        """Up to ``size`` bytes: plain ones, up to the end of one send with descriptors."""
        got = b""
        while self._sent and len(got) < size:
            data, fds = self._sent.popleft()
            room = size - len(got)
            if data[room:]:
                self._sent.appendleft((data[room:], []))
            got += data[:room]
            if fds:
                return got, fds
        return got, ()

    def __bool__(self) -> bool:
        return bool(self._sent)


class Side:
    """One connection, its shell, and what it should see."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.out = Wire()
        self.peer: Side
        self.mailbox: list[events.TellReceived | events.CallReceived] = []
        self.unanswered: list[int] = []
        self.sent: deque[tuple[int, Any, tuple[int, ...]]] = deque()
        self.calls: dict[int, Any] = {}
        self.answered: dict[int, Any] = {}
        self.bounced: list[int] = []
        self.monitors: dict[int, Any] = {}
        self.downs: dict[int, Any] = {}
        self.handles_sent = 0
        self.handles_acknowledged = 0

    def read(self, size: int) -> None:
        data, fds = self.peer.out.read(size)
        for event in self.connection.receive(data, fds):
            getattr(self, "on_" + type(event).__name__, lambda _: None)(event)

    def on_TellReceived(self, event: events.TellReceived) -> None:  # noqa: N802  (named after the event)
        self.take(event)

    def on_CallReceived(self, event: events.CallReceived) -> None:  # noqa: N802  (named after the event)
        self.take(event)
        self.unanswered.append(event.channel)

    def take(self, event: events.TellReceived | events.CallReceived) -> None:
        number, body, fds = self.peer.sent.popleft()
        assert (number, body, fds) == (
            event.number,
            event.body,
            tuple(handle.fd for handle in event.handles),
        )
        self.mailbox.append(event)

    def on_ReplyReceived(self, event: events.ReplyReceived) -> None:  # noqa: N802  (named after the event)
        assert self.peer.answered.pop(event.channel) == event.body
        del self.calls[event.channel]

    def on_ErrorReceived(self, event: events.ErrorReceived) -> None:  # noqa: N802  (named after the event)
        assert self.peer.answered.pop(event.channel) == event.error
        del self.calls[event.channel]

    def on_HandlesAcknowledged(self, event: events.HandlesAcknowledged) -> None:  # noqa: N802  (named after the event)
        assert () == event.lost
        self.handles_acknowledged = event.upto

    def on_Monitored(self, event: events.Monitored) -> None:  # noqa: N802  (named after the event)
        assert event.number not in self.monitors
        self.monitors[event.number] = event.target

    def on_Demonitored(self, event: events.Demonitored) -> None:  # noqa: N802  (named after the event)
        del self.monitors[event.number]

    def on_Down(self, event: events.Down) -> None:  # noqa: N802  (named after the event)
        target, code = self.peer.downs.pop(event.number)
        assert {"code": code} == event.detail
        assert target == self.monitors.pop(event.number)

    def down(self, index: int, code: int) -> None:
        number = [*self.monitors][index % len(self.monitors)]
        gone = self.monitors.pop(number), code
        if number in self.peer.monitors:  # else it was taken back, and that is still on its way
            self.downs[number] = gone
        self.connection.send_down(number, 1 << 32, "exit", {"code": code})

    def answer(self, index: int, body: Any, *, fails: bool) -> None:
        channel = self.unanswered.pop(index % len(self.unanswered))
        if fails:
            error = {"code": "app", "message": "no"}
            self.connection.send_error(channel, error)
            self.answered[channel] = error
        else:
            self.connection.send_reply(channel, self.connection.encode(body))
            self.answered[channel] = body

    def is_busy(self) -> bool:
        waits = self.connection.has_unsent() or self.connection.due()
        return waits or bool(self.mailbox or self.unanswered or self.monitors)

    def on_Undeliverable(self, event: events.Undeliverable) -> None:  # noqa: N802  (named after the event)
        self.peer.bounced.remove(event.number)

    def dispose(self, *, bounces: bool = False) -> None:
        event = self.mailbox.pop(0)
        self.connection.grant(event.charge)
        if bounces and isinstance(event, events.TellReceived):
            error = {"code": "no_such_actor", "message": ""}
            self.connection.send_undeliverable(event.number, event.to, error)
            self.bounced.append(event.number)
        else:
            self.connection.arrived(event.number)


SIZES = [0, 3, 200, 300, 5000, 16_000, 17_000, 33_000, 65_000]
bodies = st.builds(lambda size, fill: fill * size, st.sampled_from(SIZES), st.sampled_from("ab"))
whose = st.sampled_from(["worker", "primary"])


class Conversations(RuleBasedStateMachine):
    """Two connections with small limits. Everything sent arrives, once and in order."""

    def __init__(self) -> None:
        super().__init__()
        pair = ConnectionPair(worker={"limits": LIMITS}, primary={"limits": LIMITS})
        pair.start()
        self.sides = {"worker": Side(pair.worker), "primary": Side(pair.primary)}
        worker, primary = self.sides.values()
        worker.peer, primary.peer = primary, worker
        self.next_fd = 0
        self.windows = {"worker": 65536, "primary": 65536}

    @rule(
        who=whose, body=bodies, count=st.integers(1, 4), fds=st.integers(0, 2), asks=st.booleans()
    )
    def say(self, who: str, body: Any, count: int, fds: int, asks: bool) -> None:
        side = self.sides[who]
        for _ in range(count):
            handles = [raw(self.next_fd + index) for index in range(fds)]
            encoded = side.connection.encode([body, *handles])
            ttl = 1.5 if asks else None
            envelope = side.connection.envelope(encoded, ttl=ttl)
            if not side.connection.has_room(side.connection.charge(encoded, envelope)):
                return
            self.next_fd += fds
            if asks:
                channel = side.connection.send_call(encoded, ttl=ttl)
                side.calls[channel] = body
                number = side.connection.statistics().sent
            else:
                number = side.connection.send_tell(encoded)
            side.sent.append((number, [body, *handles], tuple(handle.fd for handle in handles)))
            side.handles_sent += bool(fds)

    @rule(who=whose, index=st.integers(0, 9), body=bodies, fails=st.booleans())
    def answer(self, who: str, index: int, body: Any, fails: bool) -> None:
        if self.sides[who].unanswered:
            self.sides[who].answer(index, body, fails=fails)

    @rule(who=whose, index=st.integers(0, 9))
    def cancel(self, who: str, index: int) -> None:
        side = self.sides[who]
        if side.calls:
            side.connection.send_cancel([*side.calls][index % len(side.calls)])

    @rule(to=st.sampled_from(["web", 1 << 32]), count=st.integers(1, 3))
    def monitor(self, to: Any, count: int) -> None:
        side = self.sides["worker"]
        for _ in range(count):
            side.monitors[side.connection.send_monitor(to)] = to

    @rule(index=st.integers(0, 9))
    def demonitor(self, index: int) -> None:
        side = self.sides["worker"]
        if side.monitors:
            number = [*side.monitors][index % len(side.monitors)]
            del side.monitors[number]
            side.peer.downs.pop(number, None)
            side.connection.send_demonitor(number)

    @rule(index=st.integers(0, 9), code=st.integers(0, 255))
    def down(self, index: int, code: int) -> None:
        side = self.sides["primary"]
        if side.monitors:
            side.down(index, code)

    @rule(who=whose, count=st.integers(1, 8), bounces=st.booleans())
    def dispose(self, who: str, count: int, bounces: bool) -> None:
        side = self.sides[who]
        for _ in range(min(count, len(side.mailbox))):
            side.dispose(bounces=bounces)

    @rule(who=whose)
    def flush(self, who: str) -> None:
        self.sides[who].connection.flush_grants()

    @rule(who=whose, window=st.sampled_from([65536, 80_000, 200_000]))
    def change_window(self, who: str, window: int) -> None:
        self.sides[who].connection.send_settings({"limits": {"window": window}})
        self.windows[who] = window

    @rule(who=whose)
    def ping(self, who: str) -> None:
        self.sides[who].connection.send_ping("are you there")

    @rule(who=whose, limit=st.sampled_from([1, 20_000, 200_000]))
    def write(self, who: str, limit: int) -> None:
        side = self.sides[who]
        side.out.write(side.connection.data_to_send(limit))

    @precondition(lambda self: any(side.out for side in self.sides.values()))
    @rule(sizes=st.lists(st.tuples(whose, st.sampled_from([1, 9, 20, 500, 70_000])), min_size=1))
    def read(self, sizes: list[tuple[str, int]]) -> None:
        for who, size in sizes:
            self.sides[who].read(size)

    def teardown(self) -> None:
        for _ in range(1000):
            for side in self.sides.values():
                for _ in range(len(side.mailbox)):
                    side.dispose()
                for _ in range(len(side.unanswered)):
                    side.answer(0, "late", fails=False)
                side.connection.flush_grants()
                for _ in range(len(side.monitors) if side.connection.role == "primary" else 0):
                    side.down(0, 0)
                side.out.write(side.connection.data_to_send())
                while side.out:
                    side.peer.read(100_000)
            if not any(map(Side.is_busy, self.sides.values())):
                break
        for who, side in self.sides.items():
            connection = side.connection
            assert not side.sent
            assert not side.calls
            assert not side.answered
            assert not side.bounced
            assert not side.monitors
            assert not side.downs
            assert not connection._monitors
            assert side.handles_sent == side.handles_acknowledged
            assert 0 == connection.unacknowledged
            assert self.windows[who] == side.peer.connection.available
            assert self.windows[who] == connection._inbound_window.available
            facts = connection.statistics()
            assert (0, 0, 0, 0) == (facts.calls, facts.inbound_calls, facts.partial, facts.owed)
            assert [] == connection.take_discarded()
            assert State.ACTIVE is connection.state


TestConversations = Conversations.TestCase
TestConversations.settings = settings(stateful_step_count=25)


@given(
    st.lists(st.tuples(st.sampled_from([Kind.TELL, Kind.CALL]), bodies), max_size=8),
    st.lists(st.integers(1, 5000), min_size=1, max_size=20),
)
def test_any_split_gives_the_same_events(
    messages: list[tuple[Kind, str]], sizes: list[int]
) -> None:
    whole, cut = connection_in("worker", State.ACTIVE), connection_in("worker", State.ACTIVE)
    data = b"".join(
        encode_frame(
            kind,
            0 if kind == Kind.TELL else 10 + 2 * number,
            msgpack.packb([None]),
            msgpack.packb(body[:16000]),
        )
        for number, (kind, body) in enumerate(messages)
    )
    expected = outcome(whole, [data])
    pieces: list[bytes] = []
    at = 0
    while at < len(data):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(data[at : at + size])
        at += size
    assert expected == outcome(cut, pieces)


def outcome(connection: Connection, pieces: list[bytes]) -> tuple[list[Any], str | None]:
    found: list[Any] = []
    try:
        for piece in pieces:
            found += connection.receive(piece)
    except RemoteProtocolError as exc:
        found += connection.take_events()
        return [(type(event), event.number, event.body) for event in found], exc.requirement
    return [(type(event), event.number, event.body) for event in found], None
