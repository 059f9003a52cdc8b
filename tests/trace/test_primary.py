"""Real workers, and what the file says of them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import trio

from actorcluster import Child, Pool, Supervisor, events, open_primary
from actorcluster.conform.frames import kind_name
from actorcluster.trace.reading import as_json, load
from actorcluster.trace.tracefile import Begin, Closed, End, Exit, Frame, Record, Shut, Spawn
from tests.e2e.connecting_actors import PLAIN
from tests.trace import actors

SECONDS = 120
SECRET = "nobody-is-to-read-this"


def said(path: Path, worker: int = 1) -> list[str]:
    """Kinds with the direction, of one worker."""
    return [
        ("<" if one.direction else ">") + kind_name(one.header[7])
        for one in load(str(path)).records
        if isinstance(one, Frame) and one.worker == worker
    ]


def of(path: Path, kind: type[Record]) -> list[Any]:
    return [one for one in load(str(path)).records if isinstance(one, kind)]


async def test_a_life(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path) as primary:
            worker = await primary.fork(actors.echo, name="ä")
            assert SECRET == await worker.ask(SECRET)
            found = primary.statistics().trace
            assert found is not None
            assert (str(path), 1, 0, False) == (found.path, found.part, found.lost, found.is_over)
            await worker.disconnect()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert SECRET.encode() not in path.read_bytes()
    begin, spawn, *_, exited, end = load(str(path)).records
    assert isinstance(begin, Begin)
    assert (os.getpid(), 1, False) == (begin.primary, begin.part, begin.bodies)
    assert isinstance(spawn, Spawn)
    assert ("ä", "awp", "fd") == (spawn.name, spawn.protocol, spawn.channel)
    assert isinstance(exited, Exit)
    assert (worker.pid, 0, "shutdown") == (exited.pid, exited.code, exited.reason)
    assert isinstance(end, End)
    order = said(path)
    assert ["<HELLO", ">WELCOME", "<READY", ">CALL", "<REPLY", ">STOP", "<GOODBYE"] == [
        one
        for one in order
        if one[1:] not in ("CREDIT", "ACK", "PING", "PONG") and one != ">GOODBYE"
    ]
    assert {0, 1} == {one.direction for one in of(path, Shut)}
    times = [one.time for one in load(str(path)).records]
    assert sorted(times) == times


async def test_many_ways_to_connect_in_one_file(tmp_path: Path) -> None:
    """Forked, executed, over a socket of its own, with a token; handles, connections, bodies."""
    path = tmp_path / "t"
    plain = (sys.executable, "-c", PLAIN)
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path, trace_bodies=True) as primary:
            with primary.events(events.Listening) as listening:
                await primary.fork(actors.serve, ready="listening")
                address = (await anext(listening)).address
            assert isinstance(address, tuple)
            async with await trio.open_tcp_stream(*address) as stream:
                assert b"1" == await stream.receive_some()
            executed = await primary.fork(actors.echo, settings={"start_method": "exec"})
            unix = await primary.fork(actors.echo, settings={"channel": "unix"})
            await primary.fork(None, exec=plain, settings={"channel": "unix"})
            giver = await primary.fork(actors.give)
            with await giver.mailbox.receive() as message:
                assert message.handle is not None
                message.handle.close()
            async with trio.open_nursery() as nursery:
                for worker in (executed, unix):
                    for number in range(20):
                        nursery.start_soon(worker.ask, [SECRET, number])
    assert ["fd", "fd", "unix", "unix", "fd"] == [one.channel for one in of(path, Spawn)]
    assert {"forkserver", "exec"} >= {one.method for one in of(path, Spawn)}
    assert {"<LISTEN", ">LISTENING", ">CONN", "<CONN_REPLY"} <= {*said(path, 1)}
    conn, _ = [
        next(one for one in of(path, Frame) if kind_name(one.header[7]) == kind and one.fds)
        for kind in ("CONN", "TELL")
    ]
    assert [1] == [kind for _, kind in conn.fds]
    assert [8] == [kind for one in of(path, Frame) if one.worker == 5 for _, kind in one.fds]
    for number in (2, 3):
        assert Counter({">CALL": 20, "<REPLY": 20}) == Counter(
            one for one in said(path, number) if one in (">CALL", "<REPLY")
        )
    for hello in (one for one in of(path, Frame) if kind_name(one.header[7]) == "HELLO"):
        assert (("token",) if hello.worker in (3, 4) else ()) == hello.masked
    forms = [form for form in as_json(load(str(path)), 2) if form["record"] == "frame"]
    assert 2 == sum(form["frame"].get("payload", 0) == [SECRET, 7] for form in forms)


async def test_tokens_and_environments_are_not_in_it(tmp_path: Path) -> None:
    path, told = tmp_path / "t", tmp_path / "token"
    note = f"import os; open({str(told)!r}, 'w').write(os.environ['ACTORCLUSTER_TOKEN'])\n"
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path, trace_bodies=True) as primary:
            command = (sys.executable, "-c", note + PLAIN)
            await primary.fork(None, exec=command, env={"X": SECRET}, settings={"channel": "unix"})
            worker = await primary.fork(actors.echo, env={"X": SECRET})
            worker.configure(config={"x": SECRET})
            assert 1 == await worker.ask(1)
    token, data = told.read_bytes(), path.read_bytes()
    assert len(token) > 30
    assert token not in data
    assert SECRET.encode() not in data


async def test_a_worker_that_dies_in_a_frame(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path) as primary:
            status = await primary.fork_soon(actors.die_in_a_frame).wait()
            assert "SIGKILL" == status.signal
    (closed,) = of(path, Closed)
    assert 37 == closed.unfinished
    (exited,) = of(path, Exit)
    assert ("SIGKILL", "signal") == (exited.signal, exited.reason)


async def test_a_worker_that_never_was(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path) as primary:
            await primary.fork_soon(None, exec=("/there/is/none",)).wait()
    assert [] == of(path, Spawn)
    assert [(1, None)] == [(one.worker, one.pid) for one in of(path, Exit)]


async def test_a_reload(tmp_path: Path) -> None:
    path = tmp_path / "t"
    tree = Supervisor(
        children=[Pool("web", actors.echo, count=2), Child("t", actors.echo, run="task")]
    )
    with trio.fail_after(SECONDS):
        async with open_primary(tree, trace=path) as primary:
            await primary.reload("web")
            alive = {worker.pid for worker in primary.workers.values() if worker.pid != os.getpid()}
    spawned = [(one.name, one.pid) for one in of(path, Spawn)]
    assert ["web.1", "web.1", "web.2", "web.2"] == sorted(name for name, _ in spawned)
    assert alive == {pid for _, pid in spawned[2:]}
    assert {pid for _, pid in spawned} == {one.pid for one in of(path, Exit)}


def test_without_a_trace_nothing_is_imported() -> None:
    code = """if True:
        import sys, trio, actorcluster
        async def main():
            async with actorcluster.open_primary():
                pass
        trio.run(main)
        print([name for name in sys.modules if name.startswith("actorcluster.trace")])
        """
    clean = {key: value for key, value in os.environ.items() if key != "ACTORCLUSTER_TRACE"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=clean, text=True, check=False
    )
    assert ("[]\n", "") == (done.stdout, done.stderr)


def test_the_environment_names_one(tmp_path: Path) -> None:
    """Workers do not inherit it; where it cannot be written the program runs all the same."""
    code = """if True:
        import logging, os, trio, actorcluster
        from tests.trace import actors
        logging.basicConfig()
        async def main():
            async with actorcluster.open_primary() as primary:
                worker = await primary.fork(actors.variable, "ACTORCLUSTER_TRACE")
                print("asked", await worker.ask(3), primary.statistics().trace is not None)
        trio.run(main)
        """
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, is_there in ((tmp_path / "t", True), (fifo, False)):
        env = {**os.environ, "ACTORCLUSTER_TRACE": str(path)}
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, env=env, text=True, check=False
        )
        assert f"asked None {is_there}\n" == done.stdout
        assert is_there == (done.stderr == "")
    assert "WARNING:actorcluster.trace:ACTORCLUSTER_TRACE is ignored:" in done.stderr
    assert "no regular file" in done.stderr
    assert load(str(tmp_path / "t")).has_end


def test_a_primary_that_is_killed_leaves_what_it_wrote(tmp_path: Path) -> None:
    code = f"""if True:
        import os, trio, actorcluster
        from tests.trace import actors
        async def main():
            async with actorcluster.open_primary(trace={str(tmp_path / "t")!r}) as primary:
                worker = await primary.fork(actors.echo)
                await worker.ask(3)
                await trio.testing.wait_all_tasks_blocked()
                os.kill(os.getpid(), {int(signal.SIGKILL)})
        import trio.testing
        trio.run(main)
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert -signal.SIGKILL == done.returncode
    trace = load(str(tmp_path / "t"))
    assert (0, "", False) == (trace.left, trace.fault, trace.has_end)
    assert "<REPLY" in said(tmp_path / "t")
