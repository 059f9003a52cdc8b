"""What cannot be bound, and what comes of it."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
from pathlib import Path

from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import PATIENCE, Client, scene
from tests.require import require


async def test_what_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with scene() as stage:
        worker = await stage.worker()
        with socket.socket(socket.AF_UNIX) as taken:
            taken.bind(str(path))
            taken.listen()
            answer = await worker.ask(["listen_unix", str(path)])
            with clause("ER-01.a"):
                assert errno.EADDRINUSE == answer["errno"]
            with clause("ER-01.b"):
                assert {"errno"} == answer.keys()
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                with clause("ER-01.c"):
                    assert taken.accept()[0].close() is None  # type: ignore[func-returns-value]  # that is the clause
        path.unlink()

        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with clause("ER-02.a"):
                assert {"errno": errno.EADDRINUSE} == await worker.ask(["listen", port])
        with clause("ER-02.b"):
            assert [["127.0.0.1", port]] == await worker.ask(["listen", port])


async def test_two_primaries() -> None:
    async with scene() as one, scene() as two:
        first, second = await one.worker(), await two.worker()
        ((_, port),) = await first.ask(["listen"])
        with clause("ER-03.a"):
            assert {"errno": errno.EADDRINUSE} == await second.ask(["listen", port])
        async with await Client.connect(port) as client:
            with clause("ER-03.b"):
                assert first.id == await client.served_by()


@require("privileged-ports")
def test_without_rights() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.node_parity.unprivileged"],
        stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    dealt, shared = json.loads(done.stdout)
    with clause("ER-04.a"):
        assert {"errno": errno.EACCES} == dealt["answer"]
    with clause("ER-04.b"):
        assert "Listening" not in dealt["events"]
    with clause("ER-04.c"):
        assert 0 == dealt["code"]
    with clause("SH-04.a"):
        assert {"errno": errno.EACCES} == shared["answer"]
    with clause("SH-04.b"):
        assert "Listening" not in shared["events"]
    with clause("SH-04.c"):
        assert 0 == shared["code"]


async def test_an_error_in_handling_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with scene(settings={"stdio": ["ignore"] * 3}) as stage:
            port = taken.getsockname()[1]
            worker = await stage.primary.fork(actors.fails_to_handle, port)
            gone = await stage.until_gone(worker)
            await stage.everything()
    error = gone.status.error
    assert error is not None
    with clause("ER-05.a"):
        assert ("RuntimeError", "cannot handle it") == (error.type, error.text)
    with clause("ER-05.b"):
        assert worker.exited_after_disconnect is True
    with clause("ER-05.c"):
        assert (1, 1) == stage.ends(worker)
    with clause("ER-05.d"):
        assert 1 == gone.status.code
