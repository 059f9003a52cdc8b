from __future__ import annotations

import array
import errno
import os
import random
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link import fdsocket
from actorcluster._link.fdsocket import RECEIVE_SIZE, FdSocket
from actorcluster._link.handles import close_descriptors

FULL = RECEIVE_SIZE


@pytest.fixture
def pair() -> Iterator[tuple[FdSocket, FdSocket]]:
    ours, theirs = map(FdSocket, socket.socketpair())
    yield ours, theirs
    ours.close()
    theirs.close()


def number_of_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def open_memfds(count: int) -> list[int]:
    """Descriptors that can be told apart: the i-th is a file of i bytes."""
    fds = [os.memfd_create("test") for _ in range(count)]
    for size, fd in enumerate(fds):
        os.truncate(fd, size)
    return fds


def sizes(fds: Sequence[int]) -> list[int]:
    """Which descriptors of `open_memfds` these are; closes them."""
    try:
        return [os.fstat(fd).st_size for fd in fds]
    finally:
        close_descriptors(fds)


def read_all(sock: FdSocket) -> tuple[bytes, list[list[int]]]:
    """Everything that is there: the bytes, and each group of descriptors."""
    data, groups = bytearray(), []
    while (got := sock.receive_now()) is not None and len(got[0]):
        data += got[0]
        assert got[2] is False
        if got[1]:
            groups.append(got[1])
    return bytes(data), groups


def at_end(sock: FdSocket) -> bool:
    got = sock.receive_now()
    return got is not None and (b"", [], False) == (bytes(got[0]), *got[1:])


def fill(sock: FdSocket) -> int:
    """Send until the socket is full, nothing kept; returns how much it took."""
    total = 0
    while True:
        sock.send_now([b"f" * 4096])
        if sock.unsent:
            total += 4096 - sock.unsent
            break
        total += 4096
    sock._queue.clear()
    sock.unsent = 0
    return total


def transfer(sender: FdSocket, receiver: FdSocket) -> tuple[bytes, list[list[int]]]:
    """Send on and read until the sender has nothing left."""
    data, groups = bytearray(), []
    done = False
    while not done:
        done = sender.send_now(())
        more, more_groups = read_all(receiver)
        data += more
        groups += more_groups
    return bytes(data), groups


# ---- bytes ----


def test_bytes_travel(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    assert ours.send_now([b"hello"])
    got = theirs.receive_now()
    assert got is not None
    assert (b"hello", [], False) == (bytes(got[0]), *got[1:])
    assert theirs.receive_now() is None
    assert (1, 2) == (ours.sends, theirs.receives)


@pytest.mark.parametrize(
    "buffers",
    [
        [b"one", bytearray(b"two"), memoryview(b"three")],
        [b"head", b"b" * 30_000, b"", b"tail" * 5000],
        [b"", b""],
        [],
    ],
)
def test_several_buffers_are_one_system_call(
    pair: tuple[FdSocket, FdSocket], buffers: list[Any]
) -> None:
    ours, theirs = pair
    assert ours.send_now(buffers)
    expected = b"".join(buffers)
    assert min(1, len(expected)) == ours.sends
    assert expected == read_all(theirs)[0]


def test_more_buffers_than_one_system_call_takes(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(1)
    buffers = [bytes([i % 251]) * 5000 for i in range(1500)]
    assert not ours.send_now(buffers, fds)
    data, groups = transfer(ours, theirs)
    assert b"".join(buffers) == data
    assert [[0]] == list(map(sizes, groups))
    close_descriptors(fds)


def test_more_than_1024_buffers_that_fit(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    buffers = [b"x"] * 1025 + [b"y" * 5_000_000]
    assert not ours.send_now(buffers)
    assert 2 == ours.sends  # 1024 bytes, then as much as the socket takes
    assert b"".join(buffers) == transfer(ours, theirs)[0]


def test_what_does_not_fit_is_kept_uncopied(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    payload = os.urandom(3_000_000)
    assert not ours.send_now([b"head", payload, payload])
    kept = ours._queue[0].buffers
    assert isinstance(kept[0], memoryview)
    assert kept[0].obj is payload
    assert kept[1] is payload
    assert sum(map(len, kept)) == ours.unsent
    sends = ours.sends
    assert not ours.send_now([b"tail"])
    assert not ours.send_now([])  # tries, in vain
    assert sends + 1 == ours.sends
    assert b"head" + payload + payload + b"tail" == transfer(ours, theirs)[0]
    assert 0 == ours.unsent
    assert ours.send_now([b"next"])
    assert b"next" == read_all(theirs)[0]


def test_a_full_socket_takes_nothing(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    size = fill(ours)
    assert not ours.send_now([b"more"])
    assert 4 == ours.unsent
    assert not ours.stalled
    assert b"f" * size + b"more" == transfer(ours, theirs)[0]


def test_is_full_read() -> None:
    raw, other = socket.socketpair()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * FULL)
    ours, theirs = FdSocket(raw), FdSocket(other)
    ours.send_now([b"x" * FULL + b"y"])
    seen = []
    while (got := theirs.receive_now()) is not None:
        seen.append((len(got[0]), theirs.is_full_read))
    assert [(FULL, True), (1, False)] == seen
    ours.close()
    theirs.close()


def test_is_full_read_behind_descriptors(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(1)
    ours.send_now([b"x"], fds)
    ours.send_now([b"y"])
    got = theirs.receive_now()
    assert got is not None
    assert b"x" == bytes(got[0])
    assert theirs.is_full_read
    assert (b"y", []) == read_all(theirs)
    close_descriptors(fds)
    close_descriptors(got[1])


# ---- descriptors ----


@pytest.mark.parametrize("buffers", [[b"x"], [b"x", b"y"], [b"x" * 9000, b"y" * 9000]])
@pytest.mark.parametrize("count", [1, 2, 253])
def test_descriptors_travel(
    pair: tuple[FdSocket, FdSocket], buffers: list[bytes], count: int
) -> None:
    ours, theirs = pair
    fds = open_memfds(count)
    before = number_of_open()
    assert ours.send_now(buffers, fds)
    assert (1, 1) == (ours.sends, ours.groups_sent)
    data, (received,) = read_all(theirs)
    assert b"".join(buffers) == data
    assert not any(map(os.get_inheritable, received))
    assert list(range(count)) == sizes(received)
    assert before == number_of_open()
    close_descriptors(fds)


def test_groups_stay_apart(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(6)
    ours.send_now([b"plain"])
    ours.send_now([b"a"], fds[:1])
    ours.send_now([b"b"], fds[1:3])
    ours.send_now([b"plain"])
    ours.send_now([b"c"], fds[3:])
    data, groups = read_all(theirs)
    assert b"plainabplainc" == data
    assert [[0], [1, 2], [3, 4, 5]] == list(map(sizes, groups))
    close_descriptors(fds)


def test_several_groups_are_gathered(pair: tuple[FdSocket, FdSocket]) -> None:
    """With one call, each group by itself, bytes in front and behind included."""
    ours, theirs = pair
    fds = open_memfds(6)
    before = number_of_open()
    ours.send_now([b"a"], fds[:1])
    ours.send_now([b"b"], fds[1:3])
    ours.send_now([b"plain"])
    ours.send_now([b"c"], fds[3:])
    ours.send_now([b"plain"])
    got = theirs.gather_now()
    assert got is not None
    assert b"abplaincplain" == bytes(got[0])
    assert [[0], [1, 2], [3, 4, 5]] == [sizes(group) for group, _ in got[1]]
    assert not any(truncated for _, truncated in got[1])
    assert not theirs.is_full_read
    assert theirs.gather_now() is None
    assert before == number_of_open()
    close_descriptors(fds)


def test_plain_bytes_are_read_once(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    ours.send_now([b"plain"])
    got = theirs.gather_now()
    assert got is not None
    assert (b"plain", []) == (bytes(got[0]), got[1])
    assert (1, False) == (theirs.receives, theirs.is_full_read)


@pytest.mark.parametrize(("count", "gathered"), [(1, 64), (100, 3), (253, 1)])
def test_only_so_much_is_gathered(
    pair: tuple[FdSocket, FdSocket], count: int, gathered: int
) -> None:
    ours, theirs = pair
    null = os.open(os.devnull, os.O_RDONLY)
    for _ in range(gathered + 1):
        ours.send_now([b"x"], [null] * count)
    got = theirs.gather_now()
    assert got is not None
    assert (b"x" * gathered, [count] * gathered) == (
        bytes(got[0]),
        [len(group) for group, _ in got[1]],
    )
    assert theirs.is_full_read
    for group, _ in got[1]:
        close_descriptors(group)
    os.close(null)


def test_gathering_keeps_to_its_size(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    null = os.open(os.devnull, os.O_RDONLY)
    for _ in range(3):
        ours.send_now([b"x" * 10], [null])
    got = theirs.gather_now(15)
    assert got is not None
    assert b"x" * 15 == bytes(got[0])
    assert theirs.is_full_read
    data, groups = read_all(theirs)
    assert b"x" * 15 == data
    for group in [*groups, *(group for group, _ in got[1])]:
        close_descriptors(group)
    os.close(null)


def test_gathering_leaves_the_end_to_the_next_read(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    null = os.open(os.devnull, os.O_RDONLY)
    ours.send_now([b"x"], [null])
    ours.close()
    os.close(null)
    got = theirs.gather_now()
    assert got is not None
    assert b"x" == bytes(got[0])
    close_descriptors(got[1][0][0])
    assert at_end(theirs)


def test_gathering_leaves_an_error_to_the_next_read(
    pair: tuple[FdSocket, FdSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before it is not lost."""
    ours, theirs = pair
    null = os.open(os.devnull, os.O_RDONLY)
    ours.send_now([b"x"], [null])
    ours.send_now([b"y"], [null])
    os.close(null)
    receive, calls = theirs._receive, 0

    def fail_second(self: FdSocket, buffers: list[memoryview]) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(errno.ENOMEM, "no memory")
        return receive(buffers)

    monkeypatch.setattr(FdSocket, "_receive", fail_second)
    for data in (b"x", b"y"):
        got = theirs.gather_now()
        assert got is not None
        assert data == bytes(got[0])
        assert theirs.is_full_read is (data == b"x")
        close_descriptors(got[1][0][0])


def test_descriptors_need_a_byte(pair: tuple[FdSocket, FdSocket]) -> None:
    for buffers in ([], [b""]):
        with pytest.raises(ValueError, match="at least one byte"):
            pair[0].send_now(buffers, [0])
    assert 0 == pair[0].sends


def test_more_descriptors_than_the_kernel_takes(pair: tuple[FdSocket, FdSocket]) -> None:
    with pytest.raises(ValueError, match="254 descriptors, but 253"):
        pair[0].send_now([b"x"], [0] * 254)
    assert 0 == pair[0].sends


def test_a_partial_send_carries_its_descriptors_once(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(2)
    before = number_of_open()
    buffers = [os.urandom(300_000) for _ in range(4)]
    for i, buffer in enumerate(buffers):
        assert not (ours.send_now([b"head", buffer], fds[: i % 3]) and i)
    assert ours.unsent
    data, groups = transfer(ours, theirs)
    assert b"".join(b"head" + buffer for buffer in buffers) == data
    assert [[0], [0, 1]] == list(map(sizes, groups))
    assert 2 == ours.groups_sent
    assert before == number_of_open()
    close_descriptors(fds)


def test_descriptors_wait_for_their_first_byte(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(2)
    size = fill(ours)
    assert not ours.send_now([b"one"], fds[:1])
    assert not ours.send_now([b"two"], fds)
    assert not ours.send_now(())
    assert 0 == ours.groups_sent
    data, groups = transfer(ours, theirs)
    assert b"f" * size + b"onetwo" == data
    assert [[0], [0, 1]] == list(map(sizes, groups))
    assert 2 == ours.groups_sent
    close_descriptors(fds)


def test_any_order_of_sends_arrives_in_order(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    dice = random.Random(7)
    fds = open_memfds(20)
    before = number_of_open()
    sent, received = bytearray(), bytearray()
    sent_groups: list[list[int]] = []
    received_groups: list[list[int]] = []
    for _ in range(400):
        buffers = [
            dice.randbytes(dice.choice([0, 1, 16, 300, 5000, 60_000]))
            for _ in range(dice.randrange(1, 5))
        ]
        group = dice.sample(range(20), dice.choice([0, 0, 1, 20])) if any(buffers) else []
        ours.send_now(buffers, [fds[i] for i in group])
        sent += b"".join(buffers)
        if group:
            sent_groups.append(group)
        if dice.random() < 0.3 and (got := theirs.receive_now()) is not None:
            received += got[0]
            if got[1]:
                received_groups.append(sizes(got[1]))
    data, groups = transfer(ours, theirs)
    assert sent == received + data
    assert sent_groups == received_groups + list(map(sizes, groups))
    assert before == number_of_open()
    close_descriptors(fds)


def test_close_with_descriptors_kept_leaks_nothing(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(3)
    before = number_of_open()
    ours.send_now([b"x"], fds)  # never read
    fill(ours)
    ours.send_now([b"y"], fds)  # never sent
    ours.close()
    assert 0 == ours.unsent
    theirs.close()
    assert before - 2 == number_of_open()
    close_descriptors(fds)  # they were borrowed


def test_a_descriptor_that_is_not_open(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fd = os.eventfd(0)
    os.close(fd)
    with pytest.raises(OSError) as caught:
        ours.send_now([b"x"], [fd])
    assert errno.EBADF == caught.value.errno
    assert (0, 0) == (ours.unsent, ours.groups_sent)
    assert ours.send_now([b"y"])
    assert b"y" == read_all(theirs)[0]


def rights(*fds: int) -> tuple[int, int, bytes]:
    return socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes()


def test_every_control_message_is_walked() -> None:
    credentials = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, bytes(12))
    elsewhere = (socket.IPPROTO_IP, socket.SCM_RIGHTS, bytes(4))
    cut_short = (*rights()[:2], rights(7)[2] + b"\0")
    ancillary = [rights(5, 6), credentials, elsewhere, cut_short]
    assert [5, 6, 7] == fdsocket._descriptors(ancillary)


def test_descriptors_are_closed_when_something_goes_wrong() -> None:
    before = number_of_open()
    nonsense: Any = (*rights()[:2], None)
    with pytest.raises(TypeError):
        fdsocket._descriptors([rights(*open_memfds(3)), nonsense])
    assert before == number_of_open()


# ---- in a process with limits of its own ----


def run_script(code: str) -> None:
    code = textwrap.dedent("""
        import os, resource, socket, sys
        from actorcluster._link.fdsocket import FdSocket

        ours, theirs = map(FdSocket, socket.socketpair())
    """) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_a_receiver_without_room_gets_truncated_groups() -> None:
    run_script("""
        assert ours.send_now([b"one"], [0] * 4)
        assert ours.send_now([b"two"], [0] * 4)
        assert ours.send_now([b"three"], [0] * 4)
        free = os.dup(0)
        os.close(free)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 2, before[1]))
        data, fds, truncated = theirs.receive_now()
        assert (b"one", [free, free + 1], True) == (data, fds, truncated)
        assert theirs.is_full_read
        data, none, truncated = theirs.receive_now()
        assert (b"two", [], True) == (data, none, truncated)
        assert theirs.is_full_read
        for fd in fds:
            os.close(fd)
        data, fds, truncated = theirs.receive_now()
        assert (b"three", [free, free + 1], True) == (data, fds, truncated)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    """)


def test_too_many_descriptors_in_flight() -> None:
    # The limit is each user's, and root has none. In a child, because what a test run records at
    # its end is written by the user who began it.
    run_script("""
        def fill_and_read():
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(54321)
                os.setuid(54321)
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            groups = 0
            while ours.send_now([b"x"], [0] * 8):
                groups += 1
                assert groups < 100
            assert ours.stalled
            assert (1, groups) == (ours.unsent, ours.groups_sent)
            assert not ours.send_now([b"y"])
            assert ours.stalled
            assert not ours.send_now(())
            assert ours.stalled
            for _ in range(groups):
                data, fds, truncated = theirs.receive_now()
                assert (b"x", 8, False) == (data, len(fds), truncated)
                for fd in fds:
                    os.close(fd)
            assert ours.send_now(())
            assert not ours.stalled
            assert (0, groups + 1) == (ours.unsent, ours.groups_sent)
            data, fds, truncated = theirs.receive_now()
            assert (b"x", 8, False) == (data, len(fds), truncated)
            assert b"y" == theirs.receive_now()[0]

        pid = os.fork()
        if pid == 0:
            try:
                fill_and_read()
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        assert 0 == os.waitpid(pid, 0)[1]
        ours.close()
        theirs.close()
    """)


def test_a_dead_peer_does_not_kill_by_sigpipe() -> None:
    run_script("""
        import signal, trio

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        theirs.close()
        for buffers, fds in [([b"x"], []), ([b"x" * 9999] * 2, []), ([b"x"], [0])]:
            try:
                ours.send_now(buffers, fds)
            except trio.BrokenResourceError:
                pass
            else:
                raise AssertionError("it went somewhere")
        ours.close()
    """)


# ---- the end ----


def test_sending_to_a_peer_that_is_gone(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    ours.send_now([b"x" * 1_000_000])
    assert ours.unsent
    theirs.close()
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError):
            ours.send_now(()) if ours.unsent else ours.send_now([b"x"])
        assert 0 == ours.unsent
    assert ours.send_now(())


def test_end_of_file(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    ours.send_now([b"last words"])
    ours.shutdown_write()
    with pytest.raises(trio.BrokenResourceError):
        ours.send_now([b"more"])
    assert b"last words" == read_all(theirs)[0]
    for _ in range(2):
        assert at_end(theirs)
    assert theirs.send_now([b"the other way"])
    assert b"the other way" == read_all(ours)[0]
    theirs.close()
    ours.shutdown_write()


def test_a_reset_is_an_end_of_file(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    fds = open_memfds(1)
    theirs.send_now([b"unread"])
    ours.send_now([b"last words"], fds)
    ours.close()
    got = theirs.receive_now()
    assert got is not None
    assert (b"last words", [0]) == (bytes(got[0]), sizes(got[1]))
    assert at_end(theirs)
    assert at_end(theirs)
    close_descriptors(fds)


async def test_nothing_goes_after_close(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, _ = pair
    ours.close()
    ours.close()
    for use in (lambda: ours.send_now([b"x"]), ours.receive_now, ours.shutdown_write):
        with pytest.raises(trio.ClosedResourceError):
            use()
    for wait in (ours.wait_readable, ours.wait_writable):
        with pytest.raises(trio.ClosedResourceError):
            await wait()


def test_close_forgets_what_was_kept(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, _ = pair
    ours.send_now([b"x" * 1_000_000])
    ours.close()
    assert 0 == ours.unsent
    with pytest.raises(trio.ClosedResourceError):
        ours.send_now([b"x"])


@pytest.mark.parametrize(
    ("family", "type_"),
    [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_SEQPACKET)],
)
def test_only_unix_streams(family: int, type_: int) -> None:
    with socket.socket(family, type_) as sock:
        with pytest.raises(ValueError, match="AF_UNIX stream"):
            FdSocket(sock)


def test_other_errors_are_not_hidden() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"\0actorcluster-test-{os.getpid()}")
        sock.listen()
        listener = FdSocket(sock)
        with pytest.raises(OSError) as caught:
            listener.receive_now()
        assert errno.EINVAL == caught.value.errno
        with pytest.raises(trio.BrokenResourceError):
            listener.send_now([b"x"])


# ---- waiting ----


async def test_waiting_for_bytes(
    pair: tuple[FdSocket, FdSocket], autojump_clock: trio.testing.MockClock
) -> None:
    ours, theirs = pair
    with trio.move_on_after(1) as scope:
        await theirs.wait_readable()
    assert scope.cancelled_caught
    ours.send_now([b"x"])
    await theirs.wait_readable()
    assert b"x" == read_all(theirs)[0]


async def test_waiting_for_room(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, theirs = pair
    await ours.wait_writable()
    payload = os.urandom(2_000_000)
    received = bytearray()

    async def read() -> None:
        while len(received) < len(payload):
            await theirs.wait_readable()
            received.extend(read_all(theirs)[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        done = ours.send_now([payload])
        while not done:
            await ours.wait_writable()
            done = ours.send_now(())
    assert payload == received


async def test_close_wakes_whoever_waits(pair: tuple[FdSocket, FdSocket]) -> None:
    ours, _ = pair
    fill(ours)

    async def wait(what: Any) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await what()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, ours.wait_readable)
        nursery.start_soon(wait, ours.wait_writable)
        await trio.testing.wait_all_tasks_blocked()
        ours.close()
