"""``python -m actorcluster demo``: the real command, with everything that may happen to it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import signal
import socket

import pytest
import trio

from actorcluster.cli.clients import Tally
from actorcluster.cli.show import mismatch
from tests.cli.test_screen import shown
from tests.program import Program, running
from tests.require import require
from tests.together import Together

pytestmark = pytest.mark.no_leaks

DEMO = ("-m", "actorcluster", "demo")
SHORT = (*DEMO, "--requests", "400")
OK = r"demo: ok requests=(\d+) failed=0 restarts=1 seconds=\d+\.\d$"
EVENT = re.compile(r" *\d+\.\d\d s  \S")
REDRAWN = "\r\x1b[7A"  # four workers, the heading, the summary, and an empty line


async def worker_pids(program: Program) -> dict[str, int]:
    """Wait until the clients begin; returns all processes by name."""
    pids = {}
    for _ in range(4):
        listens = await program.says(r"(web-\d)/1 listens on \S+ \(pid (\d+)\)")
        pids[listens[1]] = int(listens[2])
    pids["clients"] = int((await program.says(r"clients begin in another process \(pid (\d+)"))[1])
    return pids


# ---- as it should be ----------------------------------------------------------------------


async def test_demo_keeps_its_promises() -> None:
    async with running(*DEMO) as program:
        code = await program.ends()
    *events, last = program.text.splitlines()
    assert 0 == code, program.text
    result = re.fullmatch(OK, last)
    assert result, program.text
    assert int(result[1]) >= 2000
    assert [] == [line for line in events if not EVENT.match(line)]
    assert "\x1b" not in program.text
    killed = re.search(r"killing (web-\d)/1 after \d+ requests", program.text)
    assert killed
    name = killed[1]
    first, second = re.findall(rf"{name}/[12] listens on \S+ \(pid (\d+)\)", program.text)
    assert first != second
    assert f"{name}/1 died: SIGKILL (pid {first})" in program.text
    assert f"{name}/2 listens" in program.text
    assert re.search(r"16 clients begin in another process \(pid \d+\)", program.text)


@require("pty")
async def test_on_a_terminal_the_table_is_redrawn() -> None:
    async with running(*DEMO, terminal=True) as program:
        before = program.terminal_state()
        while REDRAWN not in program.text:
            await program.says("")
        assert 0 == await program.ends()
        assert before == program.terminal_state()
    lines = shown(program.text)
    assert re.fullmatch(OK, lines[-1]), lines
    header, *rows = lines[-7:-2]
    assert ["worker", "pid", "incarnation", "state", "served", "restarts"] == header.split()
    names, pids, incarnations, states, served, restarts = zip(*map(str.split, rows), strict=True)
    assert ("web-1", "web-2", "web-3", "web-4") == names
    assert 4 == len(set(pids))
    assert ["1", "1", "1", "2"] == sorted(incarnations)
    assert {"listening"} == set(states)
    assert ["0", "0", "0", "1"] == sorted(restarts)
    requests = re.fullmatch(OK, lines[-1])
    assert requests
    assert int(requests[1]) <= sum(map(int, served))
    assert "\x1b[32m" in program.text
    events = [line for line in lines if EVENT.match(line)]
    redraws = program.text.count(REDRAWN) - len(events)
    assert redraws >= 4 * float(events[-1].split()[0])


@require("pty")
async def test_no_color_takes_the_colors_away() -> None:
    async with running(*SHORT, terminal=True, env={"NO_COLOR": "1"}) as program:
        assert 0 == await program.ends()
    assert REDRAWN in program.text
    assert [] == re.findall(r"\x1b\[\d*m", program.text)


async def test_one_worker_is_enough() -> None:
    """While nobody is alive the clients wait in the kernel's queue."""
    async with running(*SHORT, "--workers", "1") as program:
        assert 0 == await program.ends(), program.text
    assert re.search(rf"(?m)^{OK}", program.text)


@require("pty")
async def test_ctrl_c_ends_it_quietly() -> None:
    async with running(*DEMO, terminal=True) as program:
        before = program.terminal_state()
        await worker_pids(program)
        program.interrupt()
        assert 130 == await program.ends()
        assert before == program.terminal_state()
    # Ctrl-C makes the terminal drop what it has not shown so far, so only the end is certain.
    assert program.text.endswith("\rdemo: interrupted\x1b[K\r\n"), program.text
    assert "Traceback" not in program.text


async def test_nobody_reads_any_more() -> None:
    async with running(*SHORT) as program:
        await program.says("web-1/1 listens")
        await program.stop_reading()
        with trio.fail_after(60):
            code = await trio.to_thread.run_sync(program.process.wait, abandon_on_cancel=True)
        assert 1 == code


async def test_help_names_the_demo() -> None:
    async with running("-m", "actorcluster", "--help") as program:
        assert 0 == await program.ends()
    assert re.search(r"(?m)^  demo  ", program.text)


async def test_version() -> None:
    async with running("-m", "actorcluster", "--version") as program:
        assert 0 == await program.ends()
    installed = importlib.metadata.version("actorcluster")
    assert f"actorcluster, version {installed}\n" == program.text.replace("\r", "")


# ---- broken promises ----------------------------------------------------------------------


async def breaks(program: Program) -> str:
    """Read to the end; returns the promise that the last line says was broken."""
    assert 1 == await program.ends(), program.text
    last = program.text.splitlines()[-1]
    assert last.startswith("demo: broken promise: "), program.text
    assert "Traceback" not in program.text
    return last.removeprefix("demo: broken promise: ")


async def the_port_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running(*DEMO, "--port", str(port)) as program:
            broken = await breaks(program)
    assert f"the workers share port {port}, but: Address already in use" == broken
    assert 1 == len(program.text.splitlines())


async def workers_that_are_stopped_answer_nothing() -> None:
    async with running(*DEMO) as program:
        pids = await worker_pids(program)
        for name in "web-1", "web-2", "web-3", "web-4":
            os.kill(pids[name], signal.SIGSTOP)
        with trio.fail_after(60):
            broken = await breaks(program)
    assert re.fullmatch(
        r"every request is answered, but \d+ of \d+ were not: no answer within 3 seconds", broken
    )


async def everybody_is_stopped() -> None:
    """Those who would tell us that requests fail included."""
    async with running(*DEMO) as program:
        pids = await worker_pids(program)
        for pid in pids.values():
            os.kill(pid, signal.SIGSTOP)
        with trio.fail_after(60):
            broken = await breaks(program)
    assert "the clients get answers, but nothing was heard of them for 4 seconds" == broken


async def a_worker_ends_by_itself() -> None:
    async with running(*DEMO) as program:
        pids = await worker_pids(program)
        os.kill(pids["web-1"], signal.SIGTERM)
        broken = await breaks(program)
    assert "no worker ends by itself, but web-1/1 did: SIGTERM" == broken


async def the_clients_die() -> None:
    async with running(*DEMO) as program:
        os.kill((await worker_pids(program))["clients"], signal.SIGKILL)
        broken = await breaks(program)
    assert "the clients finish, but their process ended: SIGKILL" == broken


BROKEN = Together(
    {
        "the port is taken": the_port_is_taken,
        "workers are stopped": workers_that_are_stopped_answer_nothing,
        "all are stopped": everybody_is_stopped,
        "a worker ends": a_worker_ends_by_itself,
        "the clients die": the_clients_die,
    }
)


@pytest.mark.parametrize("story", BROKEN.names)
def test_what_breaks_a_promise(story: str) -> None:
    BROKEN.check(story)


# ---- pure parts ---------------------------------------------------------------------------


def test_counts_that_agree_are_no_mismatch() -> None:
    assert None is mismatch("web-1/1", says=7, told=7, answered=7)


@pytest.mark.parametrize("counts", [(8, 7, 7), (7, 8, 7), (7, 7, 8)])
def test_mismatch_names_the_life_and_all_counts(counts: tuple[int, int, int]) -> None:
    says, told, answered = counts
    text = mismatch("web-1/1", says=says, told=told, answered=answered)
    assert (
        f"web-1/1 says that it served {says} requests, its messages say {told}, "
        f"and the clients got {answered} answers from it"
    ) == text


def test_a_tally_travels_as_a_message_body() -> None:
    tally = Tally(begun=9, repeated=1, failed=1, why="cut twice", finished=True)
    tally.answered["web-1/1"] += 7
    body = tally.to_body()
    assert {dict, int, str, bool} == {type(value) for value in body.values()}
    assert tally == Tally.from_body(body)
    assert 7 == tally.total
