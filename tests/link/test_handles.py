from __future__ import annotations

import contextlib
import copy
import errno
import fcntl
import io
import os
import pickle
import pty
import socket
import ssl
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actorcluster._link import kinds
from actorcluster._link.handles import (
    HANDLES,
    Handle,
    Staged,
    close_descriptors,
    commit_all,
    own,
    stage,
)
from actorcluster.errors import HandleError
from actorcluster.wire._generated import HandleKind
from actorcluster.wire.values import Values

# ---- things to pass, each closed by the test that asked for it ----


@pytest.fixture
def cleanup() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def open_numbers() -> set[int]:
    numbers = set(map(int, os.listdir("/proc/self/fd")))
    return {fd for fd in numbers if is_open(fd)}  # without the one that read the directory


def is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def tcp_listener(host: str = "127.0.0.1") -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.bind((host, 0))
    sock.listen()
    return sock


def tcp_pair(host: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
    with tcp_listener(host) as listener:
        client = socket.create_connection(listener.getsockname()[:2])
        server, _ = listener.accept()
    return client, server


def udp_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    return sock


def unix_listener(path: str | bytes) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock


def one_of(pair: tuple[Any, Any]) -> Any:
    """The first of two; the other, a socket or a number, is closed."""
    other = pair[1]
    os.close(other) if isinstance(other, int) else other.close()
    return pair[0]


def abstract_name() -> bytes:
    return f"\0actorcluster-test-{os.getpid()}".encode()


MAKERS: dict[str, tuple[Callable[[], Any], str, HandleKind]] = {
    "tcp": (lambda: one_of(tcp_pair()), "tcp_stream", HandleKind.TCP_SOCKET),
    "tcp6": (lambda: one_of(tcp_pair("::1")), "tcp_stream", HandleKind.TCP_SOCKET),
    "tcp-listener": (tcp_listener, "tcp_listener", HandleKind.TCP_LISTENER),
    "udp": (udp_socket, "udp_socket", HandleKind.UDP_SOCKET),
    "unix": (lambda: one_of(socket.socketpair()), "unix_stream", HandleKind.UNIX_STREAM),
    "unix-listener": (
        lambda: unix_listener(abstract_name()),
        "unix_listener",
        HandleKind.UNIX_LISTENER,
    ),
    "unix-dgram": (
        lambda: one_of(socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
        "other",
        HandleKind.UNIX_DGRAM,
    ),
    "unix-seqpacket": (
        lambda: one_of(socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)),
        "other",
        HandleKind.UNIX_SEQPACKET,
    ),
    "netlink": (
        lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "other",
        HandleKind.OPAQUE,
    ),
    "pipe-read": (lambda: one_of(os.pipe()), "pipe", HandleKind.PIPE_READ),
    "pipe-write": (lambda: one_of(os.pipe()[::-1]), "pipe", HandleKind.PIPE_WRITE),
    "file": (lambda: os.open(__file__, os.O_RDONLY), "file", HandleKind.FILE),
    "unlinked-file": (tempfile.TemporaryFile, "file", HandleKind.FILE),
    "device": (lambda: os.open("/dev/null", os.O_RDWR), "file", HandleKind.FILE),
    "memfd": (lambda: os.memfd_create("test"), "memfd", HandleKind.MEMFD),
    "tty": (lambda: one_of(pty.openpty()), "other", HandleKind.TTY),
    "eventfd": (lambda: os.eventfd(0), "other", HandleKind.EVENTFD),
    "pidfd": (lambda: os.pidfd_open(os.getpid()), "other", HandleKind.PIDFD),
    "epoll": (lambda: __import__("select").epoll(), "other", HandleKind.OPAQUE),
    "directory": (lambda: os.open("/", os.O_RDONLY), "other", HandleKind.OPAQUE),
}

every_kind = pytest.mark.parametrize(("make", "name", "kind"), MAKERS.values(), ids=MAKERS)


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
    handle = stage(thing, keep_open=True).commit()
    assert {handle.fileno()} == open_numbers() - before
    assert not os.get_inheritable(handle.fileno())
    handle.close()
    assert before == open_numbers()
    stage(thing).commit().close()


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
        Handle.of(trio.testing.memory_stream_pair()[0])  # type: ignore[arg-type]


def test_of_tls(cleanup: contextlib.ExitStack) -> None:
    ours, theirs = socket.socketpair()
    cleanup.enter_context(theirs)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    secret = context.wrap_socket(ours, do_handshake_on_connect=False)
    cleanup.enter_context(secret)
    with pytest.raises(HandleError, match="TLS"):
        Handle.of(secret)
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
        with stage(file, keep_open=keep_open).commit().into_file() as received:
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
        staged.commit()
    assert before == open_numbers()


def test_another_descriptor_under_the_number_is_not_taken() -> None:
    handle = Handle.of(os.eventfd(0))
    staged = stage(handle)
    fd = handle.detach()
    handle = own(os.dup(fd), HandleKind.EVENTFD)
    os.close(fd)
    staged = Staged(fd, False, handle)
    with pytest.raises(trio.ClosedResourceError):
        staged.commit()
    handle.close()


def test_commit_moves_a_handle() -> None:
    handle = Handle.of(udp_socket())
    fd = handle.fileno()
    moved = stage(handle).commit()
    assert handle.closed
    assert fd == moved.fileno()
    assert (HandleKind.UDP_SOCKET, {}) == HANDLES.describe(moved)
    moved.close()


def test_keep_open_is_told_to_the_receiver() -> None:
    with udp_socket() as sock:
        staged = stage(sock, keep_open=True)
        assert (HandleKind.UDP_SOCKET, {"shared": True}) == staged.describe()
        kept = staged.commit()
        assert (HandleKind.UDP_SOCKET, {"shared": True}) == HANDLES.describe(kept)
        assert sock.fileno() != kept.fileno()
        kept.close()


def test_meta_travels_on_with_a_handle() -> None:
    handle = HANDLES.build(one_of(socket.socketpair()).detach(), 4, {"head": b"GET"})
    assert (4, {"head": b"GET"}) == HANDLES.describe(handle)
    again = stage(handle, keep_open=True).commit()
    assert (4, {"head": b"GET", "shared": True}) == HANDLES.describe(again)
    assert (4, {"head": b"GET"}) == HANDLES.describe(handle)
    again.close()
    handle.close()


@pytest.mark.parametrize("keep_open", [False, True])
def test_sockets_are_sent_non_blocking(keep_open: bool) -> None:
    with udp_socket() as sock:
        with contextlib.closing(stage(sock, keep_open=keep_open).commit()) as handle:
            assert not os.get_blocking(handle.fileno())
    pipe = one_of(os.pipe())
    with contextlib.closing(stage(pipe).commit()) as handle:
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
        from actorcluster._link.handles import Handle, commit_all, stage

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
            stage(thing).commit().close()  # a move needs none
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
        assert sock.getsockname() == address(stage(sock, keep_open=True).commit())
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
        Handle()  # type: ignore[call-arg]


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
        stage(handle).commit()
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
    async with stage(reading, keep_open=True).commit().into_stream() as stream:
        assert 1 == len(open_numbers() - before)
        assert os.get_blocking(reading)
        os.write(writing, b"hello")
        assert b"hello" == await stream.receive_some()
    assert before == open_numbers()
    os.set_blocking(reading, False)
    with stage(reading, keep_open=True).commit().into_file() as file:
        assert os.get_blocking(file.fileno())
        assert not os.get_blocking(reading)
    os.close(reading)
    os.close(writing)


def test_a_pipe_that_has_the_mode_is_left_alone() -> None:
    reading = one_of(os.pipe())
    with stage(reading, keep_open=True).commit().into_file() as file:
        assert os.get_blocking(file.fileno())
    os.close(reading)
