"""Unix sockets at paths: modes, files that are there already, two who want the same."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from actorcluster._worker import unixpath
from actorcluster._worker.unixpath import bind_unix, remove_orphan, remove_socket
from tests.require import require


@contextlib.contextmanager
def listening(path: Path | str, mode: int | None = None) -> Iterator[socket.socket]:
    sock, file = bind_unix(str(path), mode, 10)
    with sock:
        yield sock
        remove_socket(str(path), file)


def is_refused(path: Path) -> None:
    with pytest.raises(OSError) as caught:
        bind_unix(str(path), None, 10)
    assert errno.EADDRINUSE == caught.value.errno


def leave_behind(path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
    """Do as somebody who is killed."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        if kind == socket.SOCK_STREAM:
            sock.listen()


def reaches(path: Path, sock: socket.socket) -> bool:
    """Whether who connects there comes to that socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        try:
            sock.accept()[0].close()
        except BlockingIOError:
            return False
    return True


# ---- modes --------------------------------------------------------------------------------------


@contextlib.contextmanager
def traced(trace: Any) -> Iterator[None]:
    """Trace the block; whoever measures coverage goes on behind it."""
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("umask", [0, 0o022, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o620, 0o777, 0o1000])
def test_the_file_is_never_more_open_than_asked_for(tmp_path: Path, mode: int, umask: int) -> None:
    """Looked at after every line; whoever may connect at last cannot before it listens."""
    path = tmp_path / "s"
    seen: list[int] = []

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        with contextlib.suppress(FileNotFoundError):
            seen.append(stat.S_IMODE(path.lstat().st_mode))
        return trace

    before = os.umask(umask)
    try:
        with traced(trace), listening(path, mode):
            assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert [] == [found for found in seen if found & ~mode]
    assert mode == seen[-1]
    assert {mode & ~umask, mode} >= set(seen)


def test_no_mode_leaves_it_to_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with listening(tmp_path / "s"):
            assert 0o750 == stat.S_IMODE((tmp_path / "s").stat().st_mode)
    finally:
        os.umask(before)
    assert [] == [*tmp_path.iterdir()]


# ---- a file that is there already ---------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_dead_socket_is_replaced(tmp_path: Path, kind: socket.SocketKind) -> None:
    path = tmp_path / "s"
    leave_behind(path, kind)
    with listening(path, 0o600) as sock:
        assert reaches(path, sock)
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        is_refused(path)
        assert reaches(path, sock)
    assert [] == [*tmp_path.iterdir()]


def test_one_that_lives_is_not(tmp_path: Path) -> None:
    """Also one whose backlog is full, one that is about to listen, and one of another type."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as sock, contextlib.ExitStack() as clients:
        sock.setblocking(False)
        sock.bind(str(path))
        is_refused(path)
        sock.listen(1)
        is_refused(path)
        for _ in range(3):
            client = clients.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(str(path))
        is_refused(path)
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        is_refused(path)
        assert stat.S_ISSOCK(path.lstat().st_mode)
    path.unlink()


def a_file(path: Path) -> None:
    path.write_text("precious")


def a_link_to_a_dead_socket(path: Path) -> None:
    leave_behind(path.with_name("other"))
    path.symlink_to(path.with_name("other"))


def a_link_to_nothing(path: Path) -> None:
    path.symlink_to(path.with_name("nothing"))


@pytest.mark.parametrize(
    "make",
    [a_file, Path.mkdir, os.mkfifo, a_link_to_a_dead_socket, a_link_to_nothing],
)
def test_other_files_stay(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "s"
    make(path)
    before = {one: one.lstat() for one in tmp_path.iterdir()}
    is_refused(path)
    assert before == {one: one.lstat() for one in tmp_path.iterdir()}
    for one in before:
        one.rmdir() if one.is_dir() else one.unlink()


@require("root")
def test_somebody_elses_socket_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    leave_behind(path)
    os.chown(path, 65534, 65534)
    is_refused(path)
    assert 65534 == path.lstat().st_uid
    path.unlink()


def test_a_file_that_took_its_place_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(path):
        path.unlink()
        a_file(path)
    assert "precious" == path.read_text()


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OverflowError):
        bind_unix(str(tmp_path / "s"), None, 2**40)
    assert [] == [*tmp_path.iterdir()]
    with pytest.raises(FileNotFoundError):
        bind_unix(str(tmp_path / "no" / "s"), None, 10)


# ---- long paths ---------------------------------------------------------------------------------


def test_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good enough if the way there from our directory is short; else the error says what is."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    path = deep / "s"
    monkeypatch.chdir(deep.parent)
    leave_behind(Path(os.path.relpath(path)))
    with listening(path) as sock:  # a dead one is replaced there, too
        assert reaches(Path(os.path.relpath(path)), sock)
        monkeypatch.chdir("/")
    assert not path.exists()
    for long in (path, tmp_path / ("x" * 108)):
        with pytest.raises(OSError, match="File name too long") as caught:
            bind_unix(str(long), None, 10)
        assert (errno.ENAMETOOLONG, str(long)) == (caught.value.errno, caught.value.filename)


def test_a_long_path_of_a_killed_primary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fork server, which is somewhere else, removes the file all the same; once it is dead."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    path = deep / "s"
    monkeypatch.chdir(deep)
    sock, file = bind_unix(str(path), None, 10)
    monkeypatch.chdir("/")
    with sock:
        remove_orphan(str(path), file)
        assert path.is_socket()
    remove_orphan(str(path), file)
    assert not path.exists()


def test_the_longest_path(tmp_path: Path) -> None:
    room = 107 - len(os.fsencode(tmp_path)) - 1
    with listening(tmp_path / ("x" * room)) as sock:
        assert reaches(tmp_path / ("x" * room), sock)


# ---- two at once --------------------------------------------------------------------------------


def test_two_find_the_same_dead_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one replaces it, at whatever line he is, the other finds the address in use."""
    monkeypatch.setattr(unixpath, "_LOCK_SECONDS", 0)
    path = tmp_path / "s"
    leave_behind(path)
    locked = {"_bind", "_remove_dead", "_is_alive", "_is_bound"}
    tried: set[str] = set()

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        name = frame.f_code.co_name
        if frame.f_code.co_filename == unixpath.__file__ and name in locked and path.is_socket():
            with traced(None):
                is_refused(path)
            tried.add(name)
        return trace

    with unixpath._locked(str(tmp_path)):
        is_refused(path)  # it is the lock that holds off the other
    with traced(trace):
        sock, file = bind_unix(str(path), 0o600, 10)
    assert locked == tried
    with sock:
        assert reaches(path, sock)
        remove_socket(str(path), file)
    assert not path.exists()


def test_a_directory_that_is_locked(tmp_path: Path) -> None:
    """Whoever holds it for long: new files are made there, and none is replaced."""
    path = tmp_path / "s"
    lock = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with listening(path) as sock:
            assert reaches(path, sock)
        leave_behind(path)
        is_refused(path)
    finally:
        os.close(lock)
    with listening(path) as sock:
        assert reaches(path, sock)


def test_a_directory_that_cannot_be_opened() -> None:
    with unixpath._locked("/no/such/directory") as is_locked:
        assert not is_locked
