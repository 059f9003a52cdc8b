"""Programs for Node's cluster and their counterparts: console and clients see the same of both."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from tests.program import ROOT, Program, running
from tests.require import require

PAIRS = ROOT / "examples/from_node"
PAGE = ROOT / "docs/howto/from-node.md"


async def visit(port: int) -> str:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        return b"".join([piece async for piece in stream]).decode()


async def four_clients(program: Program, port: int) -> str:
    await program.says("worker 2 is listening")
    seen = [await visit(port) for _ in range(4)]
    program.process.terminate()
    return "".join(seen)


async def two_clients(program: Program, port: int) -> str:
    await program.says("listening")
    seen = [await visit(port) for _ in range(2)]
    program.process.terminate()
    return "".join(seen)


async def one_who_stays(program: Program, port: int) -> str:
    await program.says("listening")
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        seen = await stream.receive_some()
        await program.says("told to leave")
        await stream.send_all(b"bye")
        return (seen + b"".join([piece async for piece in stream])).decode()


async def nobody(program: Program, port: int) -> str:
    return ""


#: Of each pair: the client, and what the console and the client see.
SEEN: dict[str, tuple[Callable[[Program, int], Awaitable[str]], str, str]] = {
    "first": (
        four_clients,
        "worker 1 is listening\nworker 2 is listening\n",
        "hello from worker 1\nhello from worker 2\n" * 2,
    ),
    "messages": (nobody, "doubled: 2\ndoubled: 4\n", ""),
    "ask": (nobody, "root of 49: 7\nroot of 64: 8\n", ""),
    "everybody": (
        nobody,
        "".join(f"worker {number}: how are you? fine\n" for number in (1, 2, 3))
        + "all have left\n",
        "",
    ),
    "events": (nobody, "fork 1\nonline 1\nlistening 1\nexit 1\n", ""),
    "replace": (nobody, "worker 1 ended: 1\nworker 2 ended: SIGKILL\nworker 3 ended: 3\n", ""),
    "settings": (nobody, "setup: one,two\narguments: one,two, colour: blue\n", ""),
    "leave": (
        one_who_stays,
        "listening\nthe worker is told to leave\nit has left, because it was told to: yes\n",
        "welcome\ngoodbye\n",
    ),
    "hand_over": (
        two_clients,
        "listening\n",
        "a client of worker 1\na client of worker 2\n",
    ),
}


async def seen_of(path: Path, interpreter: str) -> tuple[str, str]:
    """What the console and the client see of one program."""
    client, _, _ = SEEN[path.stem]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with running(str(path), str(port), interpreter=interpreter) as program:
        with trio.fail_after(60):
            heard = await client(program, port)
            await program.ends()
        return program.text, heard


@pytest.mark.parametrize("name", SEEN)
async def test_ours(name: str) -> None:
    assert SEEN[name][1:] == await seen_of(PAIRS / f"{name}.py", sys.executable)


@require("node")
@pytest.mark.parametrize("name", SEEN)
async def test_nodes(name: str) -> None:
    node = shutil.which("node")
    assert node
    assert SEEN[name][1:] == await seen_of(PAIRS / f"{name}.js", node)


def test_each_pair_has_a_test_and_is_on_the_page() -> None:
    files = sorted(path.name for path in PAIRS.iterdir() if path.suffix in (".py", ".js"))
    assert files == sorted(f"{name}{suffix}" for name in SEEN for suffix in (".py", ".js"))
    page = PAGE.read_text()
    assert [] == [name for name in files if f"(../../examples/from_node/{name})" not in page]


def test_the_code_on_the_page_is_that_of_the_files() -> None:
    blocks = re.findall(r"(?ms)^```(?:python|js)\n(.*?)^```$", PAGE.read_text())
    programs = [path.read_text() for path in PAIRS.iterdir() if path.is_file()]
    assert len(blocks) >= 4
    assert [] == [block for block in blocks if not any(block in text for text in programs)]


NAMES = """
const cluster = require('node:cluster');
console.log(JSON.stringify([
  ...Object.keys(cluster).filter((name) => !name.startsWith('_') && !name.includes('aster')),
  ...Object.keys(cluster.Worker.prototype).map((name) => `worker.${name}`),
]));
"""


@require("node")
def test_every_name_of_nodes_module_has_its_counterpart() -> None:
    done = subprocess.run(["node", "-e", NAMES], capture_output=True, text=True, check=True)
    page = PAGE.read_text()
    names = json.loads(done.stdout)
    assert {"fork", "workers", "worker.disconnect"} <= set(names)
    missing = [name for name in names if f"`{name}" not in page and f"`cluster.{name}" not in page]
    assert [] == missing
