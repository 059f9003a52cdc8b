"""A worker's own socket: who is let in, who is turned away, what is left of it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from actorcluster._worker import rendezvous
from actorcluster._worker.rendezvous import Rendezvous
from actorcluster._worker.unixpath import remove_orphan
from actorcluster.wire._generated import AbortCode, Kind
from actorcluster.wire.frames import encode_frame
from tests.require import require
from tests.wire.vectors import split_frames

WORKER = 7


def hello(**said: Any) -> bytes:
    return frame(Kind.HELLO, {"versions": [[1, 0]], **said})


def frame(kind: int, payload: Any) -> bytes:
    return encode_frame(kind, 0, b"\xc0", msgpack.packb(payload))


@pytest.fixture
def place() -> Iterator[Rendezvous]:
    made = Rendezvous(WORKER)
    yield made
    made.close()


def token_of(place: Rendezvous) -> str:
    return place.environment["ACTORCLUSTER_TOKEN"]


class Client:
    """Somebody who connects."""

    def __init__(self, place: Rendezvous) -> None:
        self._sock = socket.socket(socket.AF_UNIX)
        try:
            self._sock.connect(place.path)
        except OSError:
            self._sock.close()
            raise

    def says(self, data: bytes) -> Client:
        self._sock.sendall(data)
        return self

    def leaves(self) -> None:
        self._sock.close()

    def hears(self) -> list[tuple[str, int]]:
        """Kind and code of all that it is told, to the end of the stream."""
        self._sock.settimeout(60)
        data = b""
        with contextlib.suppress(ConnectionResetError):  # not all that it said was read
            while more := self._sock.recv(65536):
                data += more
        self._sock.close()
        return [(one["kind"], one["payload"]["code"]) for one in split_frames(data)]

    async def is_turned_away(self) -> None:
        heard = await trio.to_thread.run_sync(self.hears)
        assert [("ABORT", AbortCode.AUTH)] == heard


Met = list[tuple[socket.socket, bytes]]


@contextlib.asynccontextmanager
async def meeting(place: Rendezvous) -> AsyncIterator[Met]:
    """Wait for the worker beside the block; it is there when that is left."""
    met: Met = []

    async def meet() -> None:
        met.append(await place.meet())

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(meet)
            yield met
    for sock, _ in met:
        sock.close()


async def test_where_it_lies(place: Rendezvous) -> None:
    """Nobody else can enter the directory, and the name cannot be guessed."""
    assert f"unix:{place.path}" == place.environment["ACTORCLUSTER_CHANNEL"]
    assert 0o700 == stat.S_IMODE(os.stat(place.directory).st_mode)
    assert os.geteuid() == os.stat(place.directory).st_uid
    assert 64 == len(token_of(place))
    other = Rendezvous(WORKER)
    other.close()
    assert token_of(other) != token_of(place)


@pytest.mark.parametrize("said", [{}, {"worker": WORKER}, {"versions": [[9, 0]]}, {"caps": 5}])
async def test_the_worker_is_let_in(said: dict[str, Any], place: Rendezvous) -> None:
    """What else is wrong with its HELLO is for the protocol to say."""
    first = hello(token=token_of(place), **said)
    async with meeting(place) as met:
        client = Client(place).says(first + b"more")
    ((sock, read),) = met
    assert first == read
    assert not Path(place.directory).exists()
    client.leaves()
    assert sock.fileno() < 0


async def test_what_comes_behind_its_hello_stays_unread(place: Rendezvous) -> None:
    first = hello(token=token_of(place))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.meet)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert not Path(place.directory).exists()
    second = Rendezvous(WORKER)
    first = hello(token=token_of(second))
    client = Client(second).says(first + b"more")
    with trio.fail_after(60):
        sock, read = await second.meet()
    with sock:
        assert (first, b"more") == (read, sock.recv(100))
        assert not sock.getblocking()
    client.leaves()


async def test_byte_by_byte(place: Rendezvous) -> None:
    async with meeting(place) as met:
        client = Client(place)
        for byte in hello(token=token_of(place)):
            client.says(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
    assert hello(token=token_of(place)) == met[0][1]
    client.leaves()


@pytest.mark.parametrize(
    "said",
    [
        hello(),
        hello(token="0" * 64),
        hello(token=""),
        hello(token="é" * 64),
        hello(token=None),
        hello(token=b"0"),
        hello(token=["0"]),
        frame(Kind.PING, {"token": "0"}),
        frame(Kind.HELLO, "text"),
        frame(Kind.HELLO, {5: 6}),
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x95\xce\xff\xff\xff\xff\xce\x01\x00\x00\x00\xce\x00\x00\x00\x00",
    ],
)
async def test_who_gets_there_first_takes_nobodys_place(said: bytes, place: Rendezvous) -> None:
    async with meeting(place) as met:
        await Client(place).says(said).is_turned_away()
        assert [] == met
        worker = Client(place).says(hello(token=token_of(place)))
    assert 1 == len(met)
    worker.leaves()


async def test_right_token_of_another_id(place: Rendezvous) -> None:
    async with meeting(place):
        said = hello(token=token_of(place), worker=WORKER + 1)
        await Client(place).says(said).is_turned_away()
        Client(place).says(hello(token=token_of(place))).leaves()


async def test_who_leaves_at_once_or_in_the_middle(place: Rendezvous) -> None:
    async with meeting(place) as met:
        Client(place).leaves()
        Client(place).says(b"\x95\xce").leaves()
        await trio.testing.wait_all_tasks_blocked()
        assert [] == met
        Client(place).says(hello(token=token_of(place))).leaves()
    assert 1 == len(met)


async def test_who_says_nothing(place: Rendezvous, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendezvous, "_HELLO_SECONDS", 0.05)
    async with meeting(place):
        silent = Client(place).says(hello(token=token_of(place))[:-1])
        await silent.is_turned_away()
        Client(place).says(hello(token=token_of(place))).leaves()


async def test_many_who_say_nothing_hold_up_only_each_other(
    place: Rendezvous, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those beyond the most wait in the kernel; the log has few of them."""
    monkeypatch.setattr(rendezvous, "_HELLO_SECONDS", 0.2)
    async with meeting(place):
        silent = [await trio.to_thread.run_sync(Client, place) for _ in range(30)]
        worker = await trio.to_thread.run_sync(Client, place)
        worker.says(hello(token=token_of(place)))
    worker.leaves()
    heard = [client.hears() for client in silent]
    assert heard.count([("ABORT", AbortCode.AUTH)]) >= 16
    assert 30 == heard.count([("ABORT", AbortCode.AUTH)]) + heard.count([])
    told = [r for r in caplog.records if "turned away" in r.getMessage()]
    assert 5 == len(told)
    assert {logging.WARNING} == {record.levelno for record in told}
    assert token_of(place) not in caplog.text


async def test_a_second_connection_finds_nobody(place: Rendezvous) -> None:
    async with meeting(place):
        Client(place).says(hello(token=token_of(place))).leaves()
    with pytest.raises(FileNotFoundError):
        Client(place)


async def test_two_at_once_with_the_same_token(place: Rendezvous) -> None:
    """One is taken; the other sees the end of the stream."""
    clients = [Client(place).says(hello(token=token_of(place))) for _ in range(2)]
    async with meeting(place) as met:
        pass
    assert 1 == len(met)
    for client in clients:
        assert [] == await trio.to_thread.run_sync(client.hears)


async def test_cancelled(place: Rendezvous) -> None:
    client = Client(place)
    with trio.move_on_after(0.05):
        await place.meet()
    assert not Path(place.directory).exists()
    assert [] == client.hears()


@require("other-user")
async def test_another_user() -> None:
    """It may enter, and nobody else counts: not even we."""
    place = Rendezvous(WORKER, 65534)
    try:
        assert 65534 == os.stat(place.directory).st_uid
        async with trio.open_nursery() as nursery:
            nursery.start_soon(place.meet)
            with trio.fail_after(60):
                await Client(place).says(hello(token=token_of(place))).is_turned_away()
            nursery.cancel_scope.cancel()
    finally:
        place.close()


def test_a_long_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker could not connect there."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    place = Rendezvous(WORKER)
    assert place.directory.startswith("/tmp/actorcluster-")
    place.close()
    assert [] == os.listdir(deep)


def test_what_a_killed_primary_leaves() -> None:
    """Its fork server removes file and directory, but nothing that somebody has put there."""
    place = Rendezvous(WORKER)
    place._socket.close()
    remove_orphan(place.path, place.file)
    assert not Path(place.directory).exists()
    place = Rendezvous(WORKER)
    place._socket.close()
    other = Path(place.directory, "other")
    other.touch()
    remove_orphan(place.path, place.file)
    assert ["other"] == os.listdir(place.directory)
    other.unlink()
    os.rmdir(place.directory)


def test_files_of_others_are_left_alone() -> None:
    place = Rendezvous(WORKER)
    other = Path(place.directory, "other")
    other.touch()
    place.close()
    assert ["other"] == os.listdir(place.directory)
    other.unlink()
    os.rmdir(place.directory)
