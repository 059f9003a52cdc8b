"""Every example runs as its reader would run it; what it prints and what it serves is checked."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import signal
import socket
import ssl
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.program import ROOT, Program, running
from tests.require import require

EXAMPLES = ROOT / "examples"
LONGEST = 80
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith("_"))


@contextlib.asynccontextmanager
async def example(name: str, *args: str) -> AsyncIterator[Program]:
    async with running(str(EXAMPLES / name), *args) as program:
        yield program


async def interrupted(program: Program) -> str:
    """Press Ctrl-C; returns all that it said, once it has ended well."""
    program.interrupt()
    assert 0 == await program.ends(), program.text
    assert "Traceback" not in program.text
    return program.text


async def fetch(url: str, context: ssl.SSLContext | None = None) -> str:
    """An HTTP client that is not ours."""

    def get() -> str:
        with urllib.request.urlopen(url, timeout=10, context=context) as response:
            text: str = response.read().decode()
            return text

    return await trio.to_thread.run_sync(get, abandon_on_cancel=True)


async def read_all(stream: trio.abc.ReceiveStream) -> str:
    return b"".join([piece async for piece in stream]).decode()


@require("node")
async def test_node_program() -> None:
    async with example("node_program.py", "0") as program:
        node = await program.says(r"node listens on 127.0.0.1 (\d+)")
        await program.says("python listens on")
        url = f"http://127.0.0.1:{node[1]}/path"
        said = [await fetch(url) for _ in range(4)]
        assert ["Node", "Python"] * 2 == [
            re.findall("from ([A-Z][a-z]+)", text)[0] for text in said
        ]
        assert all(text.endswith("that was /path\n") for text in said)
        await interrupted(program)


async def test_hello() -> None:
    async with example("hello.py", "0") as program:
        pids = set()
        for number in range(1, (os.cpu_count() or 1) + 1):
            listening = await program.says(
                rf"Listening\(worker=<Worker {number} .* pid=(\d+) .*'127.0.0.1', (\d+)\)"
            )
            pids.add(listening[1])
        port = int(listening[2])
        served = set()
        for _ in pids:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                served.add(await read_all(stream))
        assert {f"hello from process {pid}\n" for pid in pids} == served
        assert await says_the_readme(port) in served
        os.kill(int(listening[1]), signal.SIGKILL)
        await program.says(rf"Exit\(worker=<Worker {number} .*signal='SIGKILL', reason='signal'")
        await interrupted(program)


async def says_the_readme(port: int) -> str:
    """Say to the first example what the README would have a newcomer say; returns the answer."""
    (code,) = re.findall(r"(?m)^python3 -c '(.*)'$", (ROOT / "README.md").read_text())
    assert 1 == code.count("8000")
    client = [sys.executable, "-c", code.replace("8000", str(port))]
    return (await trio.run_process(client, capture_stdout=True)).stdout.decode()


async def test_http_hello() -> None:
    """One port, one worker per core, dealt in turn."""
    async with example("http_hello.py", "0") as program:
        await program.says(rf"primary {program.process.pid} is running")
        pids = set()
        for _ in range(os.cpu_count() or 1):
            started = await program.says(r"worker (\d+) started on (http://127.0.0.1:\d+/)")
            pids.add(started[1])
        served = {await fetch(started[2] + "x") for _ in pids}
        assert {f"hello world, this is process {pid}, and that was /x\n" for pid in pids} == served
        os.kill(int(started[1]), signal.SIGKILL)
        await program.says(rf"worker {started[1]} died: SIGKILL")
        await interrupted(program)


async def test_count_requests() -> None:
    async with example("count_requests.py", "0") as program:
        port = (await program.says(r"listening on 127.0.0.1 (\d+)"))[1]
        for number in range(1, 6):
            assert "hello world\n" == await fetch(f"http://127.0.0.1:{port}/{number}")
            await program.says(rf"requests = {number} \(worker-\d+ served /{number}\)")
        await interrupted(program)


async def test_sessions() -> None:
    async with example("sessions.py", "0") as program:
        port = (await program.says(r"listening on 127.0.0.1 (\d+)"))[1]
        url = f"http://127.0.0.1:{port}"
        begun = [re.fullmatch(r"(\S+): visit 1 of (/\w+\.\1)\n", await fetch(url)) for _ in "ab"]
        sessions = {one[1]: one[2] for one in begun if one}
        assert {"web.1", "web.2"} == set(sessions)
        for number in (2, 3):
            for name, path in sessions.items():
                assert f"{name}: visit {number} of {path}\n" == await fetch(url + path)
        assert ": visit 1 of /" in await fetch(url + "/gone.web.3")
        await interrupted(program)


async def test_key_keeper() -> None:
    """Each job has the key once, one after the other; the keeper hears how each ended."""
    async with example("key_keeper.py") as program:
        assert 0 == await program.ends(), program.text
    ends = {"tidy": "normal", "careless": "exit 3", "doomed": "SIGKILL"}
    holders = re.findall(r"(?m)^(\w+) has the key$", program.text)
    assert [*ends] == sorted(holders, key=[*ends].index)
    said = [
        line for line in program.text.splitlines() if re.match(r"\w+ has|the (key|primary)", line)
    ]
    expected = []
    for name in holders:
        expected += [f"{name} has the key", f"the key is back: {name} has ended, {ends[name]}"]
    asked = ["doomed has ended, SIGKILL", "nobody has ended, None"]
    assert expected + [f"the primary asks: {one}" for one in asked] == said


async def test_respawn() -> None:
    async with example("respawn.py", "0") as program:
        life = r"(alpha|beta) serves (\S+) \(life (\d), process (\d+)\)"
        first, second = await program.says(life), await program.says(life)
        url = first[2]
        assert url == second[2]
        expected = {f"{life[1]} 1 {life[4]}\n" for life in (first, second)}
        assert expected == {await fetch(url), await fetch(url)}

        os.kill(int(first[4]), signal.SIGKILL)
        await program.says(r"alpha died \(SIGKILL\), starting it again")
        again = await program.says(life)
        assert ("alpha", url, "2") == again.group(1, 2, 3)
        expected = {f"alpha 2 {again[4]}\n", f"beta 1 {second[4]}\n"}
        assert expected == {await fetch(url), await fetch(url)}

        left = (await fetch(url + "leave")).split()[0]
        await program.says(rf"{left} left because it wished to")
        remaining = next(answer for answer in expected if not answer.startswith(left))
        assert {remaining} == {await fetch(url), await fetch(url)}
        await interrupted(program)


async def test_supervised() -> None:
    async with example("supervised.py", "0") as program:
        pid = int((await program.says(r"  store up pid (\d+)"))[1])
        first, second = [await program.says(rf"    web.{number} up pid (\d+)") for number in (1, 2)]
        url = (await program.says(r"serving (\S+)"))[1]
        answers = sorted([await fetch(url), await fetch(url)])
        assert [["web.1", f"{first[1]}:"], ["web.2", f"{second[1]}:"]] == [
            answer.split()[:2] for answer in answers
        ]
        assert {"1", "2"} == {answer.split()[-1] for answer in answers}

        os.kill(int(first[1]), signal.SIGKILL)
        await program.says(r"web.1: SIGKILL, again in 0.01 s")
        counted = {(await fetch(url)).split()[-1] for _ in range(2)}
        assert {"3", "4"} == counted  # the store has noticed nothing

        os.kill(pid, signal.SIGKILL)
        await program.says(r"store: SIGKILL, again in 0.01 s")
        assert "request 1" in await fetch(url)
        assert "request 2" in await fetch(url + "quit")
        await program.says("the watch has ended, and so has everything")
        assert 0 == await program.ends(), program.text


async def test_held_port() -> None:
    async with example("held_port.py", "0") as program:
        assert 0 == await program.ends(), program.text
    assert re.fullmatch(
        r"port \d+ is held by root\n"
        r"life 1 has served 10, life 2 has served 10, life 3 has served 10\n",
        program.text,
    ), program.text


async def test_echo() -> None:
    async with example("echo.py") as program:
        assert 0 == await program.ends()
    assert [
        "worker 1 sent 'hi there'",
        r"worker 1 answered {'text': 'hi again', 'bytes': b'\x00\x01', 'list': [1, 2.5, None]}",
    ] == program.text.splitlines()


async def test_graceful_shutdown() -> None:
    async with example("graceful_shutdown.py", "0") as program:
        port = int((await program.says(r"polite listens on 127.0.0.1 (\d+)"))[1])
        await program.says(rf"stubborn listens on 127.0.0.1 {port}")
        one = await trio.open_tcp_stream("127.0.0.1", port)
        two = await trio.open_tcp_stream("127.0.0.1", port)
        async with one, two:
            heard = {await read_until_cut(one), await read_until_cut(two)}
        assert {"hello from polite\ngoodbye\n", "hello from stubborn\n"} == heard
        assert 0 == await program.ends()
    assert [
        "polite is gone: shutdown",
        "stubborn is still here after a second",
        "stubborn is gone: SIGKILL",
    ] == program.text.splitlines()[2:]


async def read_until_cut(stream: trio.abc.ReceiveStream) -> str:
    """What was received before the end, even when a kill was the end."""
    text = b""
    with contextlib.suppress(trio.BrokenResourceError):
        async for piece in stream:
            text += piece
    return text.decode()


async def test_two_kinds() -> None:
    # Not 0 twice: that would be the same port for both.
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = str(taken.getsockname()[1])
    async with example("two_kinds.py", "0", free) as program:
        https = await program.says(rf"https worker 1 listens on 127.0.0.1 ({free})")
        http = await program.says(r"http worker 2 listens on 127.0.0.1 (\d+)")
        plain = await fetch(f"http://127.0.0.1:{http[1]}/a")
        context = ssl.create_default_context(cafile=EXAMPLES / "localhost.pem")
        secret = await fetch(f"https://localhost:{https[1]}/b", context)
        assert "/a over http, from worker 2\n" == plain
        assert "/b over https, from worker 1\n" == secret
        await interrupted(program)


async def test_two_kinds_worker_alone() -> None:
    async with example("two_kinds_worker.py") as program:
        assert 1 == await program.ends()
    assert "this is a worker: run two_kinds.py, which starts it\n" == program.text


async def test_announcement() -> None:
    async with example("announcement.py") as program:
        assert 0 == await program.ends()
    assert [
        "told workers [1, 2, 3]",
        *(
            f"I am worker {number}, and I heard: big announcement to all workers"
            for number in (1, 2, 3)
        ),
    ] == program.text.splitlines()


async def test_pass_socket() -> None:
    """The same client always reaches the same worker."""
    async with example("pass_socket.py", "0") as program:
        port = int((await program.says(r"listening on 127.0.0.1 (\d+)"))[1])
        for visit in 1, 2:
            for client, worker in ("127.0.0.2", "worker-1"), ("127.0.0.3", "worker-2"):
                async with await trio.open_tcp_stream(
                    "127.0.0.1", port, local_address=client
                ) as stream:
                    assert f"{worker}: visit {visit}\n" == await read_all(stream)
                await program.says(rf"{client} goes to {worker}")
        await interrupted(program)


async def test_testing_actors() -> None:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "testing_actors.py"]
    done = await trio.run_process(argv, cwd=EXAMPLES, capture_stdout=True, check=False)
    assert 0 == done.returncode, done.stdout.decode()
    assert b"2 passed" in done.stdout


async def test_without_h11_the_hint_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "h11.py").write_text("raise ImportError('not here')")
    command = str(EXAMPLES / "http_hello.py")
    async with running(command, import_first=[str(tmp_path)]) as program:
        assert 1 == await program.ends()
    assert "this example speaks HTTP with h11: pip install h11\n" == program.text


# ---- all of them --------------------------------------------------------------------------


def test_every_example_has_a_test_and_a_line_in_the_readme() -> None:
    tests = {name for name in globals() if name.startswith("test_")}
    readme = (EXAMPLES / "README.md").read_text()
    assert [] == [
        path.name
        for path in PROGRAMS
        if f"({path.name})" not in readme
        or not any(name.startswith(f"test_{path.stem}") for name in tests)
    ]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < LONGEST
    assert ast.get_docstring(ast.parse(text))


PAGES = ["README.md", "docs/tutorial.md", "docs/howto/testing.md", "examples/README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_that_pages_show_is_that_of_the_examples(page: str) -> None:
    """So everything a page shows is run, and its output checked, by the tests above."""
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", (ROOT / page).read_text())
    programs = [path.read_text() for path in PROGRAMS]
    assert [] == [block for block in blocks if not any(block in text for text in programs)]
