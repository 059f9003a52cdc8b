"""What a handle that was received becomes: streams, sockets, files; and where its kind is a lie."""

from __future__ import annotations

import copy
import errno
import io
import os
import pickle
import pty
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link import kinds
from actorcluster._link.handles import HANDLES, Handle, close_descriptors, commit, own
from actorcluster._link.staging import Staged, stage
from actorcluster.errors import HandleError
from actorcluster.wire._generated import HandleKind
from tests.descriptors import is_open
from tests.link.things import (
    MAKERS,
    every_kind,
    one_of,
    open_numbers,
    tcp_listener,
    tcp_pair,
    udp_socket,
    unix_listener,
)

# ---- use ----


async def test_into_stream_of_sockets() -> None:
    for pair in (tcp_pair(), socket.socketpair()):
        ours, theirs = (Handle.of(end).into_stream() for end in pair)
        assert isinstance(ours, trio.SocketStream)
        async with ours, theirs:
            await ours.send_all(b"hello")
            assert b"hello" == await theirs.receive_some()


async def test_into_stream_of_a_pipe() -> None:
    reading, writing = (Handle.of(end).into_stream() for end in os.pipe())
    assert isinstance(reading, trio.lowlevel.FdStream)
    async with reading, writing:
        await writing.send_all(b"hello")
        assert b"hello" == await reading.receive_some()


async def test_into_listener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for sock in (tcp_listener(), unix_listener("socket")):
        address = sock.getsockname()
        async with Handle.of(sock).into_listener() as listener:
            with socket.socket(sock.family) as client:
                client.connect(address)
                async with await listener.accept() as stream:
                    await stream.send_all(b"x")
                assert b"x" == client.recv(1)
    os.unlink("socket")


async def test_into_socket() -> None:
    sock = Handle.of(udp_socket()).into_socket()
    await sock.sendto(b"to myself", sock.getsockname())
    assert b"to myself" == await sock.recv(100)
    sock.close()


def test_into_file_has_the_access_mode_of_the_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello")
    expected: dict[int, type] = {
        os.O_RDONLY: io.BufferedReader,
        os.O_WRONLY: io.BufferedWriter,
        os.O_RDWR: io.BufferedRandom,
    }
    for flags, type_ in expected.items():
        with Handle.of(os.open(path, flags)).into_file() as file:
            assert type_ is type(file)
    assert b"hello" == path.read_bytes()  # writing did not truncate


def test_into_file_of_a_terminal_is_unbuffered() -> None:
    ours, theirs = pty.openpty()
    with Handle.of(theirs).into_file() as file:
        assert io.FileIO is type(file)
        file.write(b"hello")
        assert b"hello" == os.read(ours, 100)
    os.close(ours)


def test_into_file_makes_a_pipe_blocking() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"hello")
    os.close(writing)
    with Handle.of(reading).into_file() as file:
        assert os.get_blocking(file.fileno())
        assert b"hello" == file.read()


def test_a_directory_is_no_file_and_stays() -> None:
    handle = Handle.of(os.open("/", os.O_RDONLY))
    with pytest.raises(IsADirectoryError):
        handle.into_file()
    os.close(handle.detach())
    assert handle.closed


@every_kind
def test_into_the_wrong_thing(make: Callable[[], Any], name: str, kind: HandleKind) -> None:
    right = {
        "into_stream": kinds.STREAMS | kinds.PIPES,
        "into_listener": kinds.LISTENERS,
        "into_socket": kinds.SOCKETS,
        "into_file": frozenset(HandleKind) - kinds.SOCKETS,
    }
    handle = Handle.of(make())
    for method, right_kinds in right.items():
        if kind in right_kinds or kind is HandleKind.OPAQUE:
            continue
        with pytest.raises(HandleError, match=rf"{method}\(\) is not for a handle of kind {name}"):
            getattr(handle, method)()
        assert is_open(handle.fileno())
    handle.close()


async def test_an_unknown_socket_is_a_socket() -> None:
    handle = Handle.of(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    with pytest.raises(HandleError, match="into_file"):
        handle.into_file()
    handle.into_socket().close()
    handle = Handle.of(os.open("/", os.O_RDONLY))
    with pytest.raises(HandleError, match="into_socket"):
        handle.into_socket()
    handle.close()


USES: list[Callable[[Handle], object]] = [
    Handle.fileno,
    Handle.detach,
    Handle.dup,
    Handle.into_stream,
    Handle.into_listener,
    Handle.into_socket,
    Handle.into_file,
    lambda handle: handle.kind,
    lambda handle: handle.address,
    stage,
    HANDLES.describe,
    lambda handle: HANDLES.describe(Staged(0, False, handle)),
]


@pytest.mark.parametrize("use", USES)
def test_nothing_is_left_after_a_move(use: Callable[[Handle], object]) -> None:
    for declared in (HandleKind.TCP_SOCKET, None):
        fd = one_of(tcp_pair()).detach()
        handle = Handle(fd, declared)
        assert fd == handle.detach()
        assert handle.closed
        handle.close()
        assert is_open(fd)
        with pytest.raises(trio.ClosedResourceError):
            use(handle)
        os.close(fd)


def test_a_descriptor_closed_by_somebody_else() -> None:
    handle = own(one_of(tcp_pair()).detach(), HandleKind.TCP_SOCKET)
    os.close(handle.fileno())
    with pytest.raises(OSError) as caught:
        handle.into_stream()
    assert errno.EBADF == caught.value.errno
    handle.detach()


def test_dup() -> None:
    handle = Handle.of(udp_socket())
    other = handle.dup()
    assert handle.address == other.address
    assert handle.fileno() != other.fileno()
    handle.close()
    assert "udp_socket" == other.kind
    other.close()


def test_close_is_idempotent() -> None:
    handle = Handle.of(os.eventfd(0))
    fd = handle.fileno()
    handle.close()
    assert not is_open(fd)
    reused = os.eventfd(0)
    assert fd == reused
    handle.close()
    assert is_open(reused)
    os.close(reused)


def test_forgotten_handles_say_so_and_close() -> None:
    handle = Handle.of(os.eventfd(0))
    fd = handle.fileno()
    with pytest.warns(ResourceWarning, match=f"<Handle eventfd {fd}> was never closed"):
        del handle
    assert not is_open(fd)


def test_a_handle_that_was_never_made_is_silent() -> None:
    with pytest.raises(TypeError):
        Handle()  # type: ignore[call-arg]  # wrong on purpose


def test_no_copies() -> None:
    handle = Handle.of(os.eventfd(0))
    for make_copy in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="one owner"):
            make_copy(handle)
    handle.close()


def test_repr() -> None:
    fd = os.eventfd(0)
    assert f"<Handle unknown {fd}>" == repr(handle := Handle(fd))
    assert "other" == handle.kind
    assert f"<Handle eventfd {fd}>" == repr(handle)
    assert fd == handle.detach()
    assert "<Handle closed>" == repr(handle)
    handle = HANDLES.build(fd, 99, {})
    assert f"<Handle kind 99 {fd}>" == repr(handle)
    handle.close()


def test_close_descriptors_goes_on_after_an_error() -> None:
    first, second = os.eventfd(0), os.eventfd(0)
    os.close(first)
    close_descriptors([first, second])
    assert not is_open(second)


# ---- received ----


def test_building_asks_nothing() -> None:
    handle = HANDLES.build(2**30, HandleKind.TCP_SOCKET, {})  # no such descriptor
    assert 2**30 == handle.detach()


TRUE = [
    ("file", HandleKind.FILE),
    ("memfd", HandleKind.FILE),
    ("tty", HandleKind.FILE),
    ("unix", HandleKind.AWP_PEER),
    ("tcp", HandleKind.OPAQUE),
    ("tcp", 99),
]
FALSE = [
    ("unix", HandleKind.TCP_SOCKET),
    ("tcp", HandleKind.TCP_LISTENER),
    ("tcp-listener", HandleKind.TCP_SOCKET),
    ("file", HandleKind.MEMFD),
    ("file", HandleKind.TCP_SOCKET),
    ("pipe-read", HandleKind.PIPE_WRITE),
    ("tcp", HandleKind.FILE),
    ("tcp", HandleKind.PIPE_READ),
    ("tcp", HandleKind.AWP_PEER),
]


@pytest.mark.parametrize(("real", "declared"), TRUE)
def test_true_declarations(real: str, declared: int) -> None:
    make, name, _ = MAKERS[real]
    handle = HANDLES.build(Handle.of(make()).detach(), declared, {})
    assert name == handle.kind
    handle.close()


@pytest.mark.parametrize(("real", "declared"), FALSE)
def test_false_declarations(real: str, declared: HandleKind) -> None:
    make, _, real_kind = MAKERS[real]
    handle = HANDLES.build(Handle.of(make()).detach(), declared, {})
    uses = ["kind", "address", "into_stream", "into_listener", "into_socket", "into_file"]
    said, is_ = map(kinds.kind_name, (declared, real_kind))
    text = rf"\[AWP-HA-2\] declared {said}, but it is {is_}"
    for use in uses:
        with pytest.raises(HandleError, match=text):
            found = getattr(handle, use)
            found()
    with pytest.raises(HandleError, match=text):
        commit(stage(handle))
    fd = handle.detach()
    assert is_open(fd)
    os.close(fd)


def received(sock: Any, kind: HandleKind, **meta: Any) -> Handle:
    return HANDLES.build(Handle.of(sock).detach(), kind, meta)


async def test_the_mode_of_a_shared_socket_is_not_changed() -> None:
    ours, theirs = socket.socketpair()
    handle = received(theirs, HandleKind.UNIX_STREAM, shared=True)
    os.set_blocking(handle.fileno(), True)
    with pytest.raises(HandleError, match="AWP-FD-9"):
        handle.into_stream()
    assert os.get_blocking(handle.fileno())
    os.set_blocking(handle.fileno(), False)
    handle.into_socket().close()
    ours.close()


async def test_the_mode_of_a_shared_pipe_is_not_changed() -> None:
    reading, writing = os.pipe()
    before = open_numbers()
    async with commit(stage(reading, keep_open=True)).into_stream() as stream:
        assert 1 == len(open_numbers() - before)
        assert os.get_blocking(reading)
        os.write(writing, b"hello")
        assert b"hello" == await stream.receive_some()
    assert before == open_numbers()
    os.set_blocking(reading, False)
    with commit(stage(reading, keep_open=True)).into_file() as file:
        assert os.get_blocking(file.fileno())
        assert not os.get_blocking(reading)
    os.close(reading)
    os.close(writing)


def test_a_pipe_that_has_the_mode_is_left_alone() -> None:
    reading = one_of(os.pipe())
    with commit(stage(reading, keep_open=True)).into_file() as file:
        assert os.get_blocking(file.fileno())
    os.close(reading)
