"""Descriptors over a socket: each group arrives once, in order and apart, or is said to be cut."""

from __future__ import annotations

import array
import errno
import os
import random
import socket
from typing import Any

import pytest

from actorcluster._link import fdsocket
from actorcluster._link.fdsocket import FdSocket
from actorcluster._link.handles import close_descriptors
from tests.link.fdsockets import (
    at_end,
    fill,
    number_of_open,
    open_memfds,
    read_all,
    run_script,
    sizes,
    transfer,
)

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
