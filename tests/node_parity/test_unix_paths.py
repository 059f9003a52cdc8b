"""Unix sockets that workers listen on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import trio

from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import Client, scene, shape


async def test_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / ("d" * 60) / ("e" * 60)
    home.mkdir(parents=True)
    monkeypatch.chdir(home)
    (home / "sub").mkdir()
    async with scene(settings={"cwd": home / "sub"}) as stage:
        worker = await stage.worker(["listen_unix", "name"], ready="listening")
        with clause("RR-05.a"):
            assert (home / "sub" / "name").is_socket()
        async with Client(await trio.open_unix_socket("sub/name")) as client:
            with clause("RR-05.b"):
                assert worker.id == await client.served_by()
        monkeypatch.chdir("/")
        with clause("RR-05.c"):
            assert {"errno": errno.ENAMETOOLONG} == await worker.ask(["listen_unix", "other"])
        status = await worker.disconnect()
        with clause("RR-05.d"):
            assert (0, None) == shape(status)[:2]
        with clause("RR-05.e"):
            assert [] == [*(home / "sub").iterdir()]


async def test_for_everybody(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    umask = os.umask(0o077)
    try:
        async with scene() as stage:
            await stage.worker(["listen_unix", path, 0o777], ready="listening")
            with clause("RR-06.a"):
                assert 0o777 == os.stat(path).st_mode & 0o7777
            await stage.worker(["listen_unix", path, 0o700], ready="listening")
            with clause("RR-06.b"):
                assert 0o777 == os.stat(path).st_mode & 0o7777
    finally:
        os.umask(umask)
    with clause("RR-06.c"):
        assert [] == [*tmp_path.iterdir()]


async def test_a_request(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with scene() as stage:
        worker = await stage.primary.fork(actors.answers_http, path, ready="listening")
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
            response = b"".join([piece async for piece in stream])
        with clause("RR-07.a"):
            assert response.startswith(b"HTTP/1.0 200 OK\r\n")
        with clause("RR-07.b"):
            assert response.endswith(b"\r\n\r\npeer: ")
        with clause("RR-07.c"):
            assert (0, None) == shape(await worker.disconnect())[:2]
