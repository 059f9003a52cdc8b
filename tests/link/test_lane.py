"""A channel in two sockets, whose other ends the test has: what a hostile worker may do."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from actorcluster._link import lane as lane_module
from actorcluster._link.handles import Handle, close_descriptors
from actorcluster._link.lane import LaneSocket
from actorcluster._link.nodelines import ACK, NACK, handle_line
from actorcluster.wire._generated import FLAG_LANE, HandleKind
from tests.link.test_pairing import PLAIN, frame

LISTENER = HandleKind.TCP_LISTENER


@attrs.define
class Ends:
    """Ours, and the worker's two."""

    ours: LaneSocket
    stream: socket.socket
    lane: socket.socket

    def gives(self, number: int, line: bytes | None = None) -> None:
        """Send a new socket by the lane."""
        with socket.socket() as sock:
            self.sends(handle_line(number, LISTENER) if line is None else line, sock.fileno())

    def sends(self, line: bytes, *fds: int) -> None:
        socket.send_fds(self.lane, [line], fds)

    def hears(self) -> bytes:
        """What has come by the lane, its descriptors closed."""
        self.lane.setblocking(False)
        data, fds, _, _ = socket.recv_fds(self.lane, 100_000, 253)
        close_descriptors(fds)
        return data

    def read(self) -> tuple[bytes, list[tuple[int, bool]]] | None:
        """What the pipe would get; of each group the count, and whether it was cut off."""
        got = self.ours.gather_now()
        if got is None:
            return None
        data, groups = got
        for fds, _ in groups:
            close_descriptors(fds)
        return bytes(data), [(len(fds), truncated) for fds, truncated in groups]


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, stream = socket.socketpair()
    near, far = socket.socketpair()
    both = Ends(LaneSocket(ours, near), stream, far)
    yield both
    both.ours.close()
    both.ours.close()
    stream.close()
    far.close()


async def test_handles_to_the_worker(ends: Ends) -> None:
    """By the lane, one a line; the frame is marked."""
    with socket.socket() as one, socket.socket() as other:
        assert ends.ours.send_now([frame(2, flags=0)], [one, other])
    assert frame(2) == ends.stream.recv(100)
    assert FLAG_LANE == frame(2)[8]
    for number in (1, 2):
        data, fds, _, _ = socket.recv_fds(ends.lane, 1000, 253)
        assert (handle_line(number, HandleKind.TCP_SOCKET), 1) == (data, len(fds))
        close_descriptors(fds)
    assert (1, 0) == (ends.ours.groups_sent, ends.ours.unsent)


async def test_frames_without_handles_are_as_they_were(ends: Ends) -> None:
    assert ends.ours.send_now([PLAIN, PLAIN])
    assert PLAIN * 2 == ends.stream.recv(1000)
    assert 0 == ends.ours.groups_sent


async def test_a_lane_that_is_full(ends: Ends) -> None:
    """Handles wait, their frames need not, and they count as sent one after another."""
    with socket.socket() as sock:
        groups = 0
        while ends.ours.send_now([frame(1)], [sock]):
            groups += 1
            ends.stream.recv(1000)
        assert frame(1) == ends.stream.recv(1000)
        assert groups == ends.ours.groups_sent
        ends.ours.send_now([PLAIN])
        assert PLAIN == ends.stream.recv(1000)
        with trio.move_on_after(0.05) as scope:
            await ends.ours.wait_writable()
        assert scope.cancelled_caught
        with pytest.raises(BlockingIOError):
            while True:
                ends.hears()
        with trio.fail_after(60):
            await ends.ours.wait_writable()
        assert ends.ours.send_now(())
        assert groups + 1 == ends.ours.groups_sent


async def test_a_worker_that_never_answers(ends: Ends) -> None:
    """So many may be on their way; then its lane is over, and so is the channel."""
    with socket.socket() as sock, pytest.raises(OSError, match="lane for handles is over"):
        while True:
            ends.ours.send_now([frame(1)], [sock])
            ends.stream.recv(1000)
            ends.hears()


@pytest.mark.parametrize("kind", ["file", "memfd"])
async def test_what_would_end_node(kind: str, ends: Ends) -> None:
    fd = os.memfd_create("x") if kind == "memfd" else os.open(__file__, os.O_RDONLY)
    with pytest.raises(OSError, match=f"Node can be given no {kind}"):
        ends.ours.send_now([frame(1)], [fd])
    os.close(fd)


async def test_what_got_lost_is_sent_again_three_times(ends: Ends) -> None:
    with socket.socket() as sock:
        ends.ours.send_now([frame(1)], [sock])
        for _ in range(4):
            assert handle_line(1, HandleKind.TCP_SOCKET) == ends.hears()
            ends.sends(NACK)
            assert ends.read() is None
        with pytest.raises(BlockingIOError):
            ends.hears()
        assert 1 == ends.ours.groups_sent


async def test_what_is_closed_is_not_sent_again(ends: Ends) -> None:
    handle = Handle.of(socket.socket())
    ends.ours.send_now([frame(1)], [handle])
    handle.close()
    ends.hears()
    ends.sends(NACK + ACK + ACK + NACK)
    assert ends.read() is None
    with pytest.raises(BlockingIOError):
        ends.hears()


@pytest.mark.parametrize("first", ["frame", "handle"])
async def test_handles_from_the_worker(first: str, ends: Ends) -> None:
    if first == "frame":
        ends.stream.send(frame(1) + PLAIN)
        assert ends.read() is None
        ends.gives(1)
    else:
        ends.gives(1)
        assert ends.read() is None
        ends.stream.send(frame(1) + PLAIN)
    with trio.fail_after(60):
        await ends.ours.wait_readable()
    assert (frame(1) + PLAIN, [(1, False)]) == ends.read()
    assert ACK == ends.hears()


async def test_a_handle_that_never_comes(
    ends: Ends, autojump_clock: trio.testing.MockClock
) -> None:
    ends.stream.send(frame(1) + PLAIN)
    assert ends.read() is None
    begin = trio.current_time()
    await ends.ours.wait_readable()
    assert (frame(1) + PLAIN, [(0, True)]) == ends.read()
    assert lane_module.PATIENCE == pytest.approx(trio.current_time() - begin)
    ends.gives(1)  # too late
    assert ends.read() is None


async def test_waiting_does_not_spin(ends: Ends) -> None:
    """Bytes behind a frame that waits, an end of file likewise, do not wake anybody."""
    ends.stream.send(frame(1))
    assert ends.read() is None
    ends.stream.send(PLAIN)
    with trio.move_on_after(0.05) as scope:
        await ends.ours.wait_readable()
    assert scope.cancelled_caught


async def test_descriptors_beside_the_bytes_are_closed(ends: Ends) -> None:
    with socket.socket() as sock:
        socket.send_fds(ends.stream, [frame(1)], [sock.fileno()])
    assert ends.read() is None
    ends.gives(1)
    assert (frame(1), [(1, False)]) == ends.read()


async def test_the_end_of_the_stream_gives_up_what_is_due(ends: Ends) -> None:
    ends.stream.send(frame(1) + frame(1) + PLAIN[:5])
    ends.gives(1)
    ends.stream.close()
    assert (frame(1), [(1, False)]) == ends.read()
    # The next one is still waited for, until the end is read.
    ends.ours._pairing.give_up()
    assert (frame(1), [(0, True)]) == ends.read()
    assert (PLAIN[:5], []) == ends.read()
    assert (b"", []) == ends.read()


BROKEN = {
    "no json": b"{\n",
    "no text": b"\xff\xfe\n",
    "a line without end": b"x" * 70_000,
    "deep": b"[" * 50_000 + b"\n",
}


@pytest.mark.parametrize("line", BROKEN.values(), ids=BROKEN)
async def test_a_lane_that_lies(line: bytes, ends: Ends) -> None:
    """It is over: what is due is lost, what is sent ends the channel; bytes go on."""
    ends.stream.send(frame(1) + PLAIN)
    assert ends.read() is None
    ends.lane.sendall(line)
    got = None
    while got is None:
        got = ends.read()
    assert (frame(1) + PLAIN, [(0, True)]) == got
    ends.gives(2)
    ends.stream.send(frame(1))
    assert (frame(1), [(0, True)]) == ends.read()
    with socket.socket() as sock, pytest.raises(OSError, match="lane for handles is over"):
        ends.ours.send_now([frame(1)], [sock])
    assert ends.ours.send_now([PLAIN])


async def test_a_lane_that_ends(ends: Ends) -> None:
    ends.stream.send(frame(1))
    assert ends.read() is None
    ends.lane.close()
    with trio.fail_after(60):
        await ends.ours.wait_readable()
    assert (frame(1), [(0, True)]) == ends.read()
    with trio.move_on_after(0.05) as scope:
        await ends.ours.wait_readable()
    assert scope.cancelled_caught


async def test_lines_that_have_no_descriptor(ends: Ends) -> None:
    ends.sends(handle_line(1, LISTENER))
    ends.stream.send(frame(1))
    assert ends.read() is None
    assert NACK == ends.hears()
    ends.gives(1)
    assert (frame(1), [(1, False)]) == ends.read()


async def test_descriptors_without_a_line(ends: Ends) -> None:
    with socket.socket() as sock:
        for _ in range(20):
            ends.sends(b'{"x":1}\n', sock.fileno())
        while not ends.ours._lane_is_over:
            assert ends.read() is None


async def test_handles_without_a_frame_are_bounded(ends: Ends) -> None:
    """What is beyond stays in the kernel until frames claim them."""
    with socket.socket() as sock:
        ends.lane.setblocking(False)
        for number in range(1, 150):
            ends.sends(handle_line(number, LISTENER), sock.fileno())
    for _ in range(100):
        assert ends.read() is None
    assert 128 <= ends.ours._pairing.unclaimed <= 128 + 4
    with trio.move_on_after(0.05) as scope:
        await ends.ours.wait_readable()
    assert scope.cancelled_caught
    ends.stream.send(frame(140))
    got = None
    while got is None:
        got = ends.read()
    assert (frame(140), [(140, False)]) == got


async def test_who_never_reads_its_answers(ends: Ends) -> None:
    """Answers would pile up."""
    while not ends.ours._lane_is_over:
        for _ in range(50):
            ends.sends(handle_line(1, LISTENER))
        ends.read()
    assert ends.ours.unsent < 300_000


async def test_numbers_that_are_nobodys(ends: Ends) -> None:
    ends.gives(1)
    ends.gives(1)
    ends.gives(5000)
    ends.gives(1, b'{"cmd":"NODE_HANDLE","msg":"?"}\n')
    ends.stream.send(frame(1) + PLAIN)
    assert (frame(1) + PLAIN, [(1, False)]) == ends.read()
    ends.gives(1)
    assert ends.read() is None
    assert 0 == ends.ours._pairing.unclaimed


async def test_truncated(ends: Ends) -> None:
    """A descriptor that found no room is a line that brought none."""
    ends.stream.send(frame(1))
    got = ends.ours._lane.receive_now

    def without(most: int) -> Any:
        read = got(most)
        if read is None or not read[1]:
            return read
        close_descriptors(read[1])
        return read[0], [], True

    class Lossy:
        """The lane of a process without room in its table."""

        receive_now = staticmethod(without)

        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

    inner = ends.ours._lane
    ends.ours._lane = Lossy()  # type: ignore[assignment]  # in its place
    ends.gives(1)
    assert ends.read() is None
    ends.ours._lane = inner
    assert NACK == ends.hears()
    ends.gives(1)
    assert (frame(1), [(1, False)]) == ends.read()


async def test_closed(ends: Ends) -> None:
    ends.gives(1)
    ends.read()
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await ends.ours.wait_readable()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        ends.ours.close()
    with pytest.raises(trio.ClosedResourceError):
        await ends.ours.wait_readable()
