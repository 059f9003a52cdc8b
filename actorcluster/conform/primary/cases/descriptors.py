"""Descriptors: more than were declared, fewer, none, of the wrong kind, in the wrong place.

Runs in: both
"""

from __future__ import annotations

import socket
from typing import Any

from ....wire._generated import FLAG_FRAG, FLAG_MORE, Kind
from ..case import ACTIVE, CLOSING, EVERYWHERE, OPEN, STARTING, Aborts, Lives, case
from ..scene import Scene
from ..talk import frame

__all__: list[str] = []


def message(nfds: int, kind: int = 8, **more: Any) -> bytes:
    """A TELL with handles."""
    return frame(Kind.TELL, [None, None, [[kind, {}]] * nfds], "hi", nfds=nfds, **more)


def call(nfds: int, kind: int = 8) -> bytes:
    """A CALL with handles, on channel 1."""
    envelope = [None, None, [[kind, {}]] * nfds]
    return frame(Kind.CALL, envelope, ["echo", "hi"], channel=1, nfds=nfds)


@case("fds.undeclared", "AWP-FD-6", Aborts("fd_violation"), EVERYWHERE)
async def undeclared(it: Scene) -> None:
    """Sends descriptors that no frame declares, more than 4 times max_fds."""
    if it.state in ("HANDSHAKE", "STARTING"):
        with it.pipes(1) as fds:
            await it.say(it.usual()[:-1], fds=fds)
        return
    with it.pipes(253) as fds:
        for _ in range(4 * it.limit("max_fds") // 253 + 1):
            await it.say(frame(Kind.LOG, [20, 0.0, "log"], ["hi"], flags=0x80), fds=fds)


@case("fds.early", "AWP-FD-6", Aborts("fd_violation"), ("HANDSHAKE", STARTING))
async def early(it: Scene) -> None:
    """Declares and sends descriptors before READY."""
    data = bytearray(it.usual())
    data[9] = 1
    with it.pipes(1) as fds:
        await it.say(bytes(data), fds=fds)


@case("fds.max", "AWP-FD-6", Aborts("fd_violation"), EVERYWHERE)
async def too_many(it: Scene) -> None:
    """Declares more descriptors than max_fds."""
    with it.pipes(1) as fds:
        await it.say(message(min(255, it.limit("max_fds") + 1)), fds=fds)


@case("fds.more", "AWP-FD-6", Aborts("fd_violation"), EVERYWHERE, forms=2, also=("AWP-FD-4",))
async def more_than_declared(it: Scene) -> None:
    """Sends more descriptors with a frame than it declares, by one or by hundreds."""
    with it.pipes((2, 253)[it.form]) as fds:
        await it.say(message(1), fds=fds)


@case("fds.kind", "AWP-FD-6", Aborts("fd_violation"), OPEN, forms=4)
async def kind_without_handles(it: Scene) -> None:
    """Sends a descriptor with a kind whose envelope has no handles."""
    frames = (
        frame(Kind.SETTINGS, None, {}, nfds=1),
        frame(Kind.CREDIT, [0], nfds=1),
        frame(Kind.CANCEL, None, channel=1, nfds=1),
        frame(Kind.LOG, [20, 0.0, "log"], ["hi"], nfds=1),
    )
    with it.pipes(1) as fds:
        await it.say(frames[it.form], fds=fds)


@case("fds.missing", "AWP-FD-5", Lives(), OPEN, forms=2)
async def missing(it: Scene) -> None:
    """Declares descriptors and sends none: the message is answered with handle_lost."""
    if it.form:
        await it.say(call(3))
        await it.hear_error("handle_lost", channel=1)
    else:
        await it.say(message(3))
        await it.hear_error("handle_lost")


@case("fds.fewer", "AWP-FD-5", Lives(), OPEN)
async def fewer(it: Scene) -> None:
    """Sends fewer descriptors than it declares, then a message whose descriptors are right."""
    with it.pipes(1) as fds:
        await it.say(message(3), fds=fds)
        await it.hear_error("handle_lost")
        await it.say(message(1), fds=fds)


@case("fds.tail", "AWP-FD-3", Lives(), OPEN, also=("AWP-FR-7",))
async def glued(it: Scene) -> None:
    """Cuts a frame so that the next one's descriptors arrive with its tail."""
    with it.pipes(1) as fds:
        await it.say(message(1)[:20], fds=fds)
        await it.say(message(1)[20:] + message(1)[:3], fds=fds)
        await it.say(message(1)[3:])


@case("fds.ignored", "AWP-FD-7", Lives(), (*OPEN, CLOSING))
async def ignored(it: Scene) -> None:
    """Sends descriptors with frames that are ignored: they are closed."""
    late = frame(Kind.REPLY, [[[8, {}]]], 1, channel=4_000_000_000, nfds=1)
    unknown = frame(0x60, None, None, flags=0x80, nfds=1)
    with it.pipes(1) as fds:
        for _ in range(40):
            await it.say(late, fds=fds)
            await it.say(unknown, fds=fds)


@case("fds.bounced", "AWP-FD-7", Lives(), OPEN)
async def bounced(it: Scene) -> None:
    """Sends descriptors to an actor that is not there: they are closed."""
    data = frame(Kind.TELL, ["nobody", None, [[8, {}]]], "hi", nfds=1)
    with it.pipes(1) as fds:
        for _ in range(40):
            await it.say(data, fds=fds)
    await it.hear_error("no_such_actor")


@case("fds.entries", "AWP-HA-5", Lives(), OPEN, forms=4)
async def entries(it: Scene) -> None:
    """Has another number of entries in `handles` than descriptors, or what is no entry."""
    wrong: tuple[Any, ...] = (None, [[8, {}]] * 2, [8], [[8, "meta"]])
    with it.pipes(1) as fds:
        await it.say(frame(Kind.TELL, [None, None, wrong[it.form]], "hi", nfds=1), fds=fds)
    await it.hear_error("bad_payload")


@case("fds.wrong-kind", "AWP-HA-2", Lives(), OPEN)
async def wrong_kind(it: Scene) -> None:
    """Sends a pipe that is called a TCP socket."""
    with it.pipes(1) as fds:
        await it.say(message(1, 1), fds=fds)


@case("fds.not-taken", "AWP-HA-8", Lives(), OPEN, forms=3, also=("AWP-EV-3", "AWP-FD-7"))
async def not_taken(it: Scene) -> None:
    """Sends handles of kinds that are reserved, or unknown."""
    with it.pipes(1) as fds:
        await it.say(message(1, (15, 99, 1 << 33)[it.form]), fds=fds)
    await it.hear_error("unsupported_handle")


@case("fds.head", "AWP-HA-6", Lives(), OPEN, forms=3)
async def wrong_head(it: Scene) -> None:
    """Has a head that is no bin, or of what is no stream."""
    kind, head = ((1, "text"), (8, b"head"), (1, [b"head"]))[it.form]
    with it.pipes(1) as fds:
        await it.say(
            frame(Kind.TELL, [None, None, [[kind, {"head": head}]]], "hi", nfds=1), fds=fds
        )
    await it.hear_error("bad_payload")


@case("fds.index", "AWP-VA-1", Lives(), OPEN)
async def unknown_index(it: Scene) -> None:
    """Refers in its payload to a handle that it does not have."""
    body = b"\x93\xc0\xc0\x91\x92\x08\x80" + b"\xd4\x01\x05"
    with it.pipes(1) as fds:
        await it.say(frame(Kind.TELL, nfds=1, body=body), fds=fds)
    await it.hear_error("bad_payload")


@case("fds.fragments", "AWP-LG-7", Aborts("protocol_error"), OPEN)
async def later_fragment(it: Scene) -> None:
    """Sends descriptors with a fragment that is not the first."""
    flags = FLAG_FRAG | FLAG_MORE
    with it.pipes(1) as fds:
        await it.say(it.piece(1, b"\x92\x01", first=True))
        later = frame(Kind.TELL, [None, None, [[8, {}]]], b"\x02", channel=1, flags=flags, nfds=1)
        await it.say(later, fds=fds)


@case("fds.unfinished", "AWP-LG-6", Lives(), OPEN, also=("AWP-FD-7",))
async def unfinished(it: Scene) -> None:
    """Begins messages with descriptors and abandons half of them."""
    flags = FLAG_FRAG | FLAG_MORE
    with it.pipes(2) as fds:
        for number in range(20):
            handles = [None, None, [[8, {}]] * 2]
            channel = 1 + 2 * number
            begun = frame(Kind.TELL, handles, b"\x91", channel=channel, flags=flags, nfds=2)
            await it.say(begun, fds=fds)
    await it.say(*(frame(Kind.CANCEL, None, channel=1 + 4 * n) for n in range(10)))


@case("fds.flood", "AWP-FD-7", Lives(), OPEN)
async def flood(it: Scene) -> None:
    """Sends two thousand descriptors in messages that the primary takes."""
    with it.pipes(10) as fds:
        for _ in range(200):
            await it.say(message(10), fds=fds)


@case("fds.itself", "AWP-FD-7", Lives(), OPEN)
async def itself(it: Scene) -> None:
    """Sends sockets that have each other in flight, and nobody holds."""
    for _ in range(10):
        one, other = socket.socketpair()
        with one, other:
            socket.send_fds(one, [b"x"], [other.fileno()])
            socket.send_fds(other, [b"x"], [one.fileno()])
            fds = [one.fileno(), other.fileno()]
            handles = [None, None, [[4, {}], [4, {}]]]
            await it.say(frame(Kind.TELL, handles, "hi", nfds=2), fds=fds)


@case("fds.slow-to-close", "AWP-FD-7", Lives(), (ACTIVE,))
async def lingering(it: Scene) -> None:
    """Sends a socket whose closing takes a second, as on a slow file system, and keeps no copy."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        served, _ = server.accept()
    with served:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\1\0\0\0")
        client.setblocking(False)
        try:
            while client.send(bytes(65536)):
                pass
        except BlockingIOError:
            pass
        with client:
            await it.say(message(1, 1), fds=[client.fileno()])
        await it.sync()
        await it.clients.next()


@case("fds.ack", "AWP-HA-4", Aborts("protocol_error"), OPEN, forms=2)
async def never_sent(it: Scene) -> None:
    """Acknowledges frames with handles that were never sent."""
    await it.say(frame(Kind.HANDLE_ACK, [(1, (1 << 64) - 1)[it.form]]))
