"""What a primary owes to any worker, hostile or not: order, answers, credit, numbers.

Runs in: both
"""

from __future__ import annotations

import socket
from typing import Any, Final

import msgpack

from ....wire._generated import FLAG_FRAG, FLAG_MORE, HandleKind, Kind
from ..case import ACTIVE, OPEN, Lives, case
from ..scene import Scene
from ..talk import frame
from ..terms import Problem

__all__: list[str] = []

#: What a message costs at least.
LEAST: Final = 256


def fail_unless(good: bool, text: str) -> None:
    """Raise `Problem` if it is not so."""
    if not good:
        raise Problem(text)


@case("duty.order", "AWP-MS-2", Lives(), needs=("tell",))
async def order(it: Scene) -> None:
    """Is sent fifty messages, which come in order and for its main actor."""
    await it.command("tell", [50, "x"])
    said = [await it.hear(Kind.TELL) for _ in range(50)]
    numbers = [one.payload[0] for one in said]
    fail_unless(numbers == list(range(1, 51)), f"they came as {numbers}")
    fail_unless(all(one.elements[:1] in ([], [None]) for one in said), "one has a `to`")


@case("duty.main-actor", "AWP-MS-9", Lives(), OPEN)
async def main_actor(it: Scene) -> None:
    """Calls nobody by name: it is the primary's main actor that answers."""
    await it.say(frame(Kind.CALL, None, ["echo", [1, "two"]], channel=1))
    answer = await it.hear(Kind.REPLY, Kind.ERROR, channel=1)
    fail_unless(answer.payload == [1, "two"], f"the answer is {answer.payload}")


@case("duty.not-handled", "AWP-CA-5", Lives(), OPEN)
async def not_handled(it: Scene) -> None:
    """Calls with what is no command: the call is answered when it is dropped."""
    await it.say(frame(Kind.CALL, [None], "no command", channel=1))
    await it.hear_error("not_handled", channel=1)


@case("duty.ack", "AWP-MS-3", Lives())
async def acknowledges(it: Scene) -> None:
    """Sends a few messages: they are acknowledged within a second or so, and no other."""
    await it.say(frame(Kind.TELL, [None], "hi") * 20)
    last = 0
    while last < 20:
        last = (await it.hear(Kind.ACK)).elements[0]
        fail_unless(last <= 20, f"ACK says {last} of 20")


@case("duty.credit", "AWP-FC-4", Lives(), also=("AWP-FC-5",))
async def gives_back(it: Scene) -> None:
    """Sends messages that are taken: what they cost comes back, to the byte."""
    large = frame(Kind.TELL, [None], bytes(9000))
    await it.say(frame(Kind.TELL, [None], 1) * 20, large)
    due = 20 * LEAST + len(large)
    while due > 0:
        due -= (await it.hear(Kind.CREDIT)).elements[0]
    fail_unless(due == 0, f"{-due} bytes more came back than were spent")


@case("duty.conn", "AWP-LI-1", Lives(), also=("AWP-LI-6", "AWP-FD-9", "AWP-HA-1"))
async def connections(it: Scene) -> None:
    """Has credit for three of five clients: it gets 1, 2 and 3, not blocking, and no more."""
    port = await it.listens(credit=3)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(5)]
    numbers: list[int] = []
    kinds: set[int] = set()
    try:
        while len(numbers) < 3:
            conn = await it.hear(Kind.CONN)
            kinds.update(entry[0] for entry in conn.elements[1])
            numbers += range(conn.elements[0], conn.elements[0] + conn.nfds)
        await it.acknowledge()
        await it.sync()
        more = sum(one.nfds for one in it.it.heard if one.kind == Kind.CONN)
        fail_unless(numbers == [1, 2, 3] and more == 3, f"it got {numbers}, {more} together")
        fail_unless(not it.it.blocking, "a socket came in blocking mode")
        fail_unless(kinds == {HandleKind.TCP_SOCKET}, f"they are handles of kinds {kinds}")
    finally:
        for client in clients:
            client.close()


@case("duty.first-byte", "AWP-FD-1", Lives())
async def first_byte(it: Scene) -> None:
    """Reads byte by byte: descriptors come with the first byte of their frame."""
    it.it.read_size = 1
    begin = it.it.received  # what came before was not read so
    port = await it.listens(credit=3)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)):
            await it.hear(Kind.CONN)
    at, wanted = 0, []
    for one in it.it.heard:
        wanted += [at] if one.nfds else []
        at += 16 + len(one.body)
    exact = [where for where in it.it.groups if where >= begin]
    fail_unless(exact == wanted, f"descriptors came at {exact}, frames with some are at {wanted}")
    it.it.read_size = 65536
    await it.acknowledge()


@case("duty.in-flight", "AWP-FD-8", Lives(), limits={"fds_in_flight": 4})
async def in_flight(it: Scene) -> None:
    """Takes four descriptors at a time that it has not acknowledged: it is sent no more."""
    port = await it.listens(credit=10)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    try:
        came, acknowledged = 0, 0
        while came < 8:
            conn = await it.hear(Kind.CONN)
            came += conn.nfds
            acknowledged += 1
            if came == 4:
                await it.sync()
                flying = sum(one.nfds for one in it.it.heard)
                fail_unless(flying <= 4, f"{flying} descriptors came, not 4")
            if came >= 4:
                await it.say(frame(Kind.HANDLE_ACK, [acknowledged]))
    finally:
        for client in clients:
            client.close()


@case("duty.fragments", "AWP-LG-1", Lives(), needs=("tell",), limits={"max_frame": 16384})
async def fragments(it: Scene) -> None:
    """Takes small frames only, and is sent a large message: it comes in pieces that fit."""
    await it.command("tell", [1, "x" * 50_000])
    whole = b""
    while True:
        piece = await it.hear(Kind.TELL)
        fail_unless(len(piece.body) <= 16384, f"a frame of {len(piece.body)} bytes")
        fail_unless(bool(piece.flags & FLAG_FRAG), "it came in one frame")
        whole += piece.payload
        if not piece.flags & FLAG_MORE:
            break
    fail_unless(msgpack.unpackb(whole) == [1, "x" * 50_000], "the pieces are not the message")


@case("duty.interleaved", "AWP-LG-2", Lives(), OPEN)
async def interleaved(it: Scene) -> None:
    """Sends two calls in pieces, one between the other: both are answered."""
    body = msgpack.packb(["echo", "x" * 300])
    for at in range(0, len(body), 100):
        flags = FLAG_FRAG | (FLAG_MORE if at + 100 < len(body) else 0)
        envelope = [None] if not at else None
        for channel in (1, 3):
            await it.say(
                frame(Kind.CALL, envelope, body[at : at + 100], channel=channel, flags=flags)
            )
    for _ in range(2):  # in any order
        answer = await it.hear(Kind.REPLY, Kind.ERROR)
        fail_unless(answer.kind == Kind.REPLY, f"call {answer.channel} failed: {answer.payload}")


@case("duty.begun", "AWP-LG-5", Lives(), (ACTIVE,))
async def begun(it: Scene) -> None:
    """Begins a call in pieces, is told to stop, and goes on with it: it is answered."""
    body = msgpack.packb(["echo", "x"])
    flags = FLAG_FRAG | FLAG_MORE
    await it.say(frame(Kind.CALL, [None], body[:3], channel=1, flags=flags))
    await it.reach("STOPPING")
    await it.say(frame(Kind.CALL, None, body[3:], channel=1, flags=FLAG_FRAG))
    answer = await it.hear(Kind.REPLY, Kind.ERROR, channel=1)
    fail_unless(answer.payload == "x", f"the answer is {answer.payload}")


@case("duty.values", "AWP-VA-3", Lives(), OPEN, forms=3, also=("AWP-EV-3",))
async def values(it: Scene) -> None:
    """Sends values that look like code, or of unknown types: they come back as they are."""
    odd: tuple[Any, ...] = (
        {"py/object": "os.system", "args": ["false"]},
        msgpack.ExtType(40, b"\x80\x04cos\nsystem\n."),
        "__import__('os')",
    )
    await it.say(frame(Kind.CALL, [None], ["echo", odd[it.form]], channel=1))
    answer = await it.hear(Kind.REPLY, Kind.ERROR, channel=1)
    fail_unless(answer.payload == odd[it.form], f"the answer is {answer.payload}")


@case("duty.room", "AWP-MS-14", Lives(), (ACTIVE,), needs=("innocent",))
async def room(it: Scene) -> None:
    """Asks whether what it sent to the innocent worker was sent on: nil, once it was."""
    await it.say(frame(Kind.TELL, ["db"], "hi") * 10)
    await it.say(frame(Kind.CALL, ["db", None, None, {"room": True}], None, channel=1))
    answer = await it.hear(Kind.REPLY, Kind.ERROR, channel=1)
    fail_unless(answer.kind == Kind.REPLY and answer.payload is None, f"it is {answer.payload}")


@case("duty.heads", "AWP-HA-7", Lives(), OPEN)
async def heads(it: Scene) -> None:
    """Sends a handle with a head as large as max_message, and a payload: together too large."""
    most = it.limit("max_message")
    if most + 100 > it.limit("max_frame"):
        return  # a head has to fit into a frame
    one, other = socket.socketpair()
    with one, other:
        handles = [[4, {"head": bytes(most - 3)}]]
        await it.say(
            frame(Kind.TELL, [None, None, handles], "too large", nfds=1), fds=[one.fileno()]
        )
    await it.hear_error("too_large")
