from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link import kinds
from actorcluster._link.handles import HANDLES, Handle, commit, commit_all, own
from actorcluster._link.staging import Staged, stage
from actorcluster.wire._generated import HandleKind
from actorcluster.wire.values import Values
from tests.descriptors import is_open
from tests.link.things import (
    abstract_name,
    every_kind,
    one_of,
    open_numbers,
    tcp_listener,
    tcp_pair,
    udp_socket,
    unix_listener,
)

# ---- kinds ----


@every_kind
def test_kind(make: Callable[[], Any], name: str, kind: HandleKind) -> None:
    thing = make()
    assert (kind, {}) == HANDLES.describe(stage(thing))
    handle = Handle.of(thing)
    assert name == handle.kind
    assert (kind, {}) == HANDLES.describe(handle)
    handle.close()


@every_kind
def test_kind_of_a_number(make: Callable[[], Any], name: str, kind: HandleKind) -> None:
    thing = make()
    fd = thing if isinstance(thing, int) else os.dup(thing.fileno())
    if not isinstance(thing, int):
        thing.close()
    handle = Handle.of(fd)
    assert fd == handle.fileno()
    assert name == handle.kind
    handle.close()


def test_every_wire_name_has_a_public_name() -> None:
    public = set("tcp_stream tcp_listener unix_stream unix_listener udp_socket pipe file".split())
    assert public | {"memfd", "other"} == {kinds.public_name(kind) for kind in HandleKind}


def test_kind_without_proc() -> None:
    assert "" == kinds._proc_link(-1)


# ---- taking over ----


GIVEN: dict[str, Callable[[], Any]] = {
    "stdlib socket": udp_socket,
    "trio socket": lambda: trio.socket.from_stdlib_socket(udp_socket()),
    "stream": lambda: trio.SocketStream(trio.socket.from_stdlib_socket(one_of(tcp_pair()))),
    "listener": lambda: trio.SocketListener(trio.socket.from_stdlib_socket(tcp_listener())),
    "pipe": lambda: trio.lowlevel.FdStream(one_of(os.pipe())),
    "async file": lambda: trio.wrap_file(tempfile.TemporaryFile()),
    "binary file": tempfile.TemporaryFile,
    "raw file": lambda: tempfile.TemporaryFile(buffering=0),
    "text file": lambda: tempfile.TemporaryFile("w"),
    "named file": tempfile.NamedTemporaryFile,
    "named text file": lambda: tempfile.NamedTemporaryFile("w+"),
}


@pytest.mark.parametrize("make", GIVEN.values(), ids=GIVEN)
async def test_the_object_is_taken_over(make: Callable[[], Any]) -> None:
    before = open_numbers()
    thing = make()
    handle = Handle.of(thing)
    assert {handle.fileno()} == open_numbers() - before
    assert not os.get_inheritable(handle.fileno())
    with pytest.raises(trio.ClosedResourceError):
        stage(thing)
    handle.close()
    assert before == open_numbers()


@pytest.mark.parametrize("make", GIVEN.values(), ids=GIVEN)
async def test_keep_open_leaves_the_object_alone(make: Callable[[], Any]) -> None:
    thing = make()
    before = open_numbers()
    handle = commit(stage(thing, keep_open=True))
    assert {handle.fileno()} == open_numbers() - before
    assert not os.get_inheritable(handle.fileno())
    handle.close()
    assert before == open_numbers()
    commit(stage(thing)).close()


def test_of_a_handle_is_that_handle() -> None:
    handle = Handle.of(os.eventfd(0))
    assert Handle.of(handle) is handle
    handle.close()
    with pytest.raises(trio.ClosedResourceError):
        Handle.of(handle)


class Unclosable:
    def fileno(self) -> int:
        return 0


@pytest.mark.parametrize("thing", [object(), "file", None, True, 1.5, io.BytesIO(), Unclosable()])
def test_of_what_has_no_descriptor(thing: Any) -> None:
    with pytest.raises(TypeError, match=f"{type(thing).__name__} has no descriptor"):
        Handle.of(thing)


def test_of_memory_streams() -> None:
    with pytest.raises(TypeError, match="StapledStream has no descriptor"):
        Handle.of(trio.testing.memory_stream_pair()[0])  # type: ignore[arg-type]  # wrong on purpose


def test_of_tls(cleanup: contextlib.ExitStack) -> None:
    ours, theirs = socket.socketpair()
    cleanup.enter_context(theirs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    secret = context.wrap_socket(ours, do_handshake_on_connect=False)
    cleanup.enter_context(secret)
    in_memory = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    for thing in (secret, in_memory):
        name = type(thing).__name__
        with pytest.raises(TypeError, match=f"{name} cannot be sent.* TLS .*before the handshake"):
            Handle.of(thing)  # type: ignore[arg-type]  # wrong on purpose
    assert is_open(secret.fileno())


def test_of_a_number_that_is_not_open() -> None:
    fd = os.eventfd(0)
    os.close(fd)
    with pytest.raises(OSError) as caught:
        Handle.of(fd)
    assert errno.EBADF == caught.value.errno
    with pytest.raises(trio.ClosedResourceError):
        Handle.of(-1)


async def test_whoever_waits_for_a_moved_socket_is_woken(cleanup: contextlib.ExitStack) -> None:
    ours, theirs = trio.socket.socketpair()
    cleanup.enter_context(theirs)
    stream = trio.SocketStream(ours)

    async def wait() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        Handle.of(stream).close()


# ---- files: nothing written or unread is lost ----


def test_written_bytes_are_flushed(tmp_path: Path) -> None:
    for keep_open in (False, True):
        file = open(tmp_path / "file", "w")
        file.write("hello")
        with commit(stage(file, keep_open=keep_open)).into_file() as received:
            assert b"hello" == (tmp_path / "file").read_bytes()
            assert 5 == received.tell()
        assert keep_open is not file.closed
        file.close()


@pytest.mark.parametrize("mode", ["rb", "r", "r+b"])
def test_bytes_read_ahead_are_still_to_be_read(tmp_path: Path, mode: str) -> None:
    (tmp_path / "file").write_bytes(b"one\ntwo\nthree\n")
    file = open(tmp_path / "file", mode)
    line = file.readline()
    assert "one\n" == (line if isinstance(line, str) else line.decode())
    handle = Handle.of(file)
    assert file.closed
    with handle.into_file() as received:
        assert b"two\nthree\n" == received.read()


def test_a_file_that_does_not_tell_its_position_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("one\ntwo\n")
    with open(tmp_path / "file") as file:
        assert "one\n" == next(file)
        with pytest.raises(OSError, match="telling position disabled"):
            Handle.of(file)
        assert "two\n" == next(file)


def test_a_file_that_cannot_be_flushed_stays(cleanup: contextlib.ExitStack) -> None:
    before = open_numbers()
    full = open("/dev/full", "wb", 100)
    full.write(b"data")
    with pytest.raises(OSError) as caught:
        Handle.of(full)
    assert errno.ENOSPC == caught.value.errno
    assert not full.closed
    with pytest.raises(OSError):
        full.close()
    assert before == open_numbers()


class ClosesBadly(io.FileIO):
    def close(self) -> None:
        super().close()
        raise OSError(errno.EIO, "late")


def test_a_late_error_of_close_loses_nothing(tmp_path: Path) -> None:
    file = ClosesBadly(tmp_path / "file", "w")
    handle = Handle.of(file)
    assert file.closed
    os.write(handle.fileno(), b"still here")
    handle.close()
    with contextlib.suppress(OSError):
        file.close()  # the collector would, noisily


# ---- two steps ----


def test_stage_changes_nothing(tmp_path: Path) -> None:
    with open(tmp_path / "file", "wb") as file, udp_socket() as sock:
        file.write(b"x")
        before = open_numbers()
        for thing in (file, sock):
            for keep_open in (False, True):
                staged = stage(thing, keep_open=keep_open)
                assert thing.fileno() == staged.fd
                staged.describe()
                HANDLES.describe(staged)
        assert before == open_numbers()
        assert b"" == (tmp_path / "file").read_bytes()
        assert os.get_blocking(sock.fileno())


def test_the_giver_may_close_what_is_staged() -> None:
    sock = udp_socket()
    staged = stage(sock)
    sock.close()
    before = open_numbers()
    with pytest.raises(trio.ClosedResourceError):
        commit(staged)
    assert before == open_numbers()


def test_another_descriptor_under_the_number_is_not_taken() -> None:
    handle = Handle.of(os.eventfd(0))
    staged = stage(handle)
    fd = handle.detach()
    handle = own(os.dup(fd), HandleKind.EVENTFD)
    os.close(fd)
    staged = Staged(fd, False, handle)
    with pytest.raises(trio.ClosedResourceError):
        commit(staged)
    handle.close()


def test_commit_moves_a_handle() -> None:
    handle = Handle.of(udp_socket())
    fd = handle.fileno()
    moved = commit(stage(handle))
    assert handle.closed
    assert fd == moved.fileno()
    assert (HandleKind.UDP_SOCKET, {}) == HANDLES.describe(moved)
    moved.close()


def test_keep_open_is_told_to_the_receiver() -> None:
    with udp_socket() as sock:
        staged = stage(sock, keep_open=True)
        assert (HandleKind.UDP_SOCKET, {"shared": True}) == staged.describe()
        kept = commit(staged)
        assert (HandleKind.UDP_SOCKET, {"shared": True}) == HANDLES.describe(kept)
        assert sock.fileno() != kept.fileno()
        kept.close()


def test_meta_travels_on_with_a_handle() -> None:
    handle = HANDLES.build(one_of(socket.socketpair()).detach(), 4, {"head": b"GET"})
    assert (4, {"head": b"GET"}) == HANDLES.describe(handle)
    again = commit(stage(handle, keep_open=True))
    assert (4, {"head": b"GET", "shared": True}) == HANDLES.describe(again)
    assert (4, {"head": b"GET"}) == HANDLES.describe(handle)
    again.close()
    handle.close()


@pytest.mark.parametrize("keep_open", [False, True])
def test_sockets_are_sent_non_blocking(keep_open: bool) -> None:
    with udp_socket() as sock:
        with contextlib.closing(commit(stage(sock, keep_open=keep_open))) as handle:
            assert not os.get_blocking(handle.fileno())
    pipe = one_of(os.pipe())
    with contextlib.closing(commit(stage(pipe))) as handle:
        assert os.get_blocking(handle.fileno())


def test_all_or_nothing() -> None:
    closed = udp_socket()
    with udp_socket() as first, open(os.devnull) as second, udp_socket() as third:
        before = open_numbers()
        parcel = [stage(first), stage(second), stage(third, keep_open=True), stage(closed)]
        closed.close()
        with pytest.raises(trio.ClosedResourceError):
            commit_all(parcel)
        assert before - open_numbers() == {parcel[3].fd}
        for handle in commit_all(parcel[:3]):
            handle.close()
        assert -1 == first.fileno()
        assert second.closed
        assert -1 != third.fileno()


def test_one_descriptor_is_not_moved_twice() -> None:
    with udp_socket() as sock:
        with pytest.raises(ValueError, match="twice"):
            commit_all([stage(sock), stage(sock.fileno())])
        for handle in commit_all([stage(sock, keep_open=True), stage(sock, keep_open=True)]):
            handle.close()
        assert is_open(sock.fileno())


@pytest.mark.parametrize("kept_first", [False, True])
def test_one_descriptor_may_be_moved_and_kept(kept_first: bool) -> None:
    handle = Handle.of(udp_socket())
    moved_and_kept = commit_all(
        [stage(handle, keep_open=keep) for keep in (kept_first, not kept_first)]
    )
    assert handle.closed
    for taken in moved_and_kept:
        assert "udp_socket" == taken.kind
        taken.close()


def run_script(code: str) -> None:
    """Run code, which has limits of its own, in another process."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)


def test_without_a_free_descriptor_nothing_happens() -> None:
    run_script(
        """
        import errno, os, resource, socket
        from actorcluster._link.handles import Handle, commit, commit_all
        from actorcluster._link.staging import stage

        sock, file = socket.socket(), open(os.devnull)
        handle = Handle.of(os.eventfd(0))
        free = os.dup(0)
        os.close(free)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, before[1]))
        parcel = [
            stage(sock),
            stage(handle, keep_open=True),  # takes the last number
            stage(file),
        ]
        try:
            commit_all(parcel)
        except OSError as exc:
            assert errno.EMFILE == exc.errno
        else:
            raise AssertionError("there was a descriptor")
        assert not file.closed and not handle.closed and sock.fileno() >= 0
        assert free == os.dup(0)  # the duplicate of the second was given back
        try:
            handle.dup()
        except OSError as exc:
            assert errno.EMFILE == exc.errno
        else:
            raise AssertionError("there was a descriptor")
        for thing in (handle, sock):
            commit(stage(thing)).close()  # a move needs none
        file.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    """
    )


def test_the_codec_takes_handles_and_what_is_staged() -> None:
    values = Values(handles=HANDLES)
    handle = Handle.of(os.eventfd(0))
    with udp_socket() as sock:
        staged = stage(sock, keep_open=True)
        encoded = values.encode({"take": [handle, handle]}, staged)
    assert (staged, handle) == encoded.handles
    body = values.place(values.decode(encoded.payload), ["the socket", handle])
    assert {"take": [handle, handle]} == body
    handle.close()


# ---- addresses ----


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a short path
    with contextlib.ExitStack() as stack:

        def address(thing: Any) -> Any:
            handle = Handle.of(thing)
            stack.callback(handle.close)
            return handle.address

        for host in ("127.0.0.1", "::1"):
            client, server = tcp_pair(host)
            expected = client.getsockname()[:2]
            assert expected == address(server)
            client.close()
        sock = tcp_listener()
        assert sock.getsockname() == address(commit(stage(sock, keep_open=True)))
        sock.close()
        assert "127.0.0.1" == address(udp_socket())[0]
        listener = unix_listener("socket")
        client = socket.socket(socket.AF_UNIX)
        client.connect("socket")
        assert "socket" == address(client)
        assert None is address(listener.accept()[0])
        assert "socket" == address(listener)
        assert abstract_name() == address(unix_listener(abstract_name()))
        assert None is address(os.memfd_create("test"))
        assert None is address(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
    os.unlink("socket")


@pytest.mark.parametrize(
    ("told", "address"),
    [(["10.0.0.1", 80], ("10.0.0.1", 80)), ("path", "path"), (None, None), ([1], None), ({}, None)],
)
def test_address_of_a_peer_that_is_gone(told: Any, address: Any) -> None:
    sock = socket.socket()  # never connected: the kernel knows no peer, as after a reset
    meta = {} if told is None else {"peer": told}
    handle = HANDLES.build(sock.detach(), HandleKind.TCP_SOCKET, meta)
    assert address == handle.address
    handle.close()
