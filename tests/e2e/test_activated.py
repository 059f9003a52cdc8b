"""Socket activation: what was passed to the primary is served by its workers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import trio

from tests.program import ROOT

# Puts sockets at 3 and 4 and becomes the program, as systemd does.
ACTIVATE = """
import os, sys
for number, fd in enumerate(map(int, sys.argv[1].split(",")), 3):
    os.dup2(fd, number)
names = {"LISTEN_FDS": "3", "LISTEN_FDNAMES": "web:other:third"}
os.environ |= {"LISTEN_PID": str(os.getpid()), **names}
os.execv(sys.executable, [sys.executable, "-m", "tests.e2e.activated"])
"""


async def test_sockets_that_were_passed(tmp_path: Path) -> None:
    """By name or number; the environment is the primary's alone; nothing of them is removed."""
    path = tmp_path / "s"
    with (
        socket.create_server(("127.0.0.1", 0)) as web,
        socket.socket(socket.AF_UNIX) as other,
        socket.socket(type=socket.SOCK_DGRAM) as third,
    ):
        other.bind(str(path))
        other.listen()
        # Above those that they are to become.
        fds = [os.dup2(sock.fileno(), 60 + n) for n, sock in enumerate((web, other, third))]
        program = subprocess.Popen(
            [sys.executable, "-c", ACTIVATE, ",".join(map(str, fds))],
            pass_fds=fds,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for fd in fds:
            os.close(fd)
        address = list(web.getsockname())
        with program:
            try:
                pids = await trio.to_thread.run_sync(read_facts, program, address, str(path))
                web.close()
                other.close()
                seen: set[int] = set()
                for _ in range(8):
                    async with await trio.open_tcp_stream(*address) as stream:
                        seen.add(int(await stream.receive_some()))
                assert pids == seen
                async with await trio.open_unix_socket(str(path)) as stream:
                    assert int(await stream.receive_some()) in pids
            finally:
                program.send_signal(signal.SIGTERM)
        assert 0 == program.returncode
    assert path.is_socket()
    path.unlink()


def read_facts(program: subprocess.Popen[str], address: list[Any], path: str) -> set[int]:
    assert program.stdout is not None
    pids = set()
    expected = {"found": [address, path, "EADDRINUSE", "EINVAL", "EPERM"], "env": []}
    for _ in range(2):
        pid, _, facts = program.stdout.readline().partition(" ")
        pids.add(int(pid))
        assert repr(expected) == facts.strip()
    last = repr({"found": ["EPERM", "EPERM"], "env": []})
    assert f"last {last}" == program.stdout.readline().strip()
    return pids
