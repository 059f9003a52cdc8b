"""Setup: what workers are started with."""

from __future__ import annotations

import datetime
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import WorkerStartError, events
from tests.node_parity import actors
from tests.node_parity.clauses import clause
from tests.node_parity.scene import is_there, scene, shape
from tests.orphans import children

ROOT = Path(__file__).parents[2]


async def test_settings_of_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "its", "own"])
    async with scene() as stage:
        primary = stage.primary
        primary.setup_primary(silent=False)
        await stage.everything()
        with clause("ST-02.c"):
            assert [1, []] == [stage.setups, stage.seen]
        worker = await stage.worker()
        with clause("ST-02.a"):
            assert [] == (await worker.ask(["about"]))["argv"]
        primary.setup_primary(args=sys.argv[1:])
        worker = await stage.worker()
        with clause("ST-02.b"):
            assert ["its", "own"] == (await worker.ask(["about"]))["argv"]

        await stage.everything()
        stage.setups = 0
        primary.setup_primary(args=["custom", "$HOME `id` *"], silent=True)
        workers = [await stage.worker(), await stage.worker(settings={"start_method": "exec"})]
        argvs = [(await worker.ask(["about"]))["argv"] for worker in workers]
        with clause("ST-01.a"):
            assert ["custom"] * 2 == [argv[0] for argv in argvs]
        with clause("ST-23.a"):
            assert ["$HOME `id` *"] * 2 == [argv[1] for argv in argvs]
        printed = []
        for worker in workers:
            await worker.ask(["print", "words"])
            assert worker.stdout is not None
            printed.append(await worker.stdout.receive_some())
        with clause("ST-01.b"):
            assert [b"words\n"] * 2 == printed
        await stage.everything()
        with clause("ST-01.c"):
            assert 1 == stage.setups
        with clause("ST-01.d"):
            settings = primary.settings
            assert (("custom", "$HOME `id` *"), True, None) == (
                settings.args,
                settings.silent,
                settings.exec,
            )
        await primary.disconnect()
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stderr is not None
            await worker.stdout.aclose()
            await worker.stderr.aclose()


async def test_setup() -> None:
    async with actorcluster.open_primary() as primary:
        with primary.events(events.Setup) as setups:
            before = primary.settings
            with clause("ST-03.a"):
                assert actorcluster.Settings() == before
            primary.setup_primary(args=["x"], cwd="/")
            first = primary.settings
            primary.setup_primary(cwd="/tmp")
            with clause("ST-03.b"):
                assert (("x",), "/tmp") == (primary.settings.args, primary.settings.cwd)
            primary.setup_primary()
            with clause("ST-03.c"):
                assert (("x",), "/tmp") == (primary.settings.args, primary.settings.cwd)
            with clause("ST-03.d"):
                assert [((), None), (("x",), "/")] == [(s.args, s.cwd) for s in (before, first)]
            with clause("ST-03.e"), pytest.raises(TypeError, match="'agrs'; there are: exec, args"):
                primary.setup_primary(agrs=[])
            with clause("ST-03.f"), pytest.raises(TypeError, match="silent must be a bool"):
                primary.setup_primary(args=["y"], silent="yes")
            for name in ("a.py", "b.py", "c.py"):
                primary.setup_primary(exec=name)
            primary.setup_primary(exec="end.py")
            seen = [(await anext(setups)).settings]
            while seen[-1].exec != "end.py":
                seen.append((await anext(setups)).settings)
            with clause("ST-04.a"):
                assert 7 == len(seen)
            with clause("ST-04.b"):
                assert [(("x",), "/"), (("x",), "/tmp"), (("x",), "/tmp")] == [
                    (one.args, one.cwd) for one in seen[:3]
                ]
            with clause("ST-05.a"):
                assert ["a.py", "b.py", "c.py"] == [one.exec for one in seen[3:-1]]


async def test_directory_and_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PARITY_ONE", "the primary's")
    monkeypatch.setenv("PARITY_TWO", "the primary's")
    monkeypatch.setenv("PARITY_THREE", "the primary's")
    given = {"PARITY_ONE": "its own", "PARITY_NEW": "new", "PARITY_THREE": None}
    async with scene() as stage:
        first = await stage.worker(env=given)
        stage.primary.setup_primary(cwd=tmp_path)
        second = await stage.worker(env=None)
        about = [await worker.ask(["about"]) for worker in (first, second)]
        with clause("ST-07.a"):
            assert os.getcwd() == about[0]["cwd"]
        with clause("ST-07.b"):
            assert str(tmp_path) == about[1]["cwd"]
        with clause("ST-07.c"):
            assert os.getcwd() == (await first.ask(["about"]))["cwd"]
        env = about[0]["env"]
        with clause("ST-08.a"):
            assert "new" == env["PARITY_NEW"]
        with clause("ST-08.b"):
            assert "its own" == env["PARITY_ONE"]
        with clause("ST-08.c"):
            ours = {name: text for name, text in os.environ.items() if name not in given}
            assert ours == {name: env.get(name) for name in ours}
        with clause("ST-08.d"):
            assert "PARITY_THREE" not in env
        with clause("ST-08.e"):
            assert ("the primary's", False) == (
                about[1]["env"]["PARITY_ONE"],
                "PARITY_NEW" in about[1]["env"],
            )


async def test_values() -> None:
    moment = datetime.datetime(2024, 2, 29, 1, 2, 3, 456789, tzinfo=datetime.UTC)
    value = [b"\0\xff", moment, 2**64 - 1, -(2**63), {"": [None, True, 1.5]}]
    endless: list[Any] = []
    endless.append(endless)
    async with scene() as stage:
        worker = await stage.worker()
        with clause("ST-11.a"):
            assert value == await worker.ask(["echo", value])
        with clause("ST-11.b"), pytest.raises((TypeError, ValueError), match="deep"):
            await worker.send(endless)
        with clause("ST-11.c"):
            assert "deep" in await worker.ask(["say_endless"])
        with clause("ST-11.d"):
            assert [0, "still here"] == [
                len(worker.mailbox),
                await worker.ask(["echo", "still here"]),
            ]


async def test_one_that_never_comes_up() -> None:
    async with scene() as stage:
        worker = stage.primary.fork_soon(exec=("/bin/sleep", "1000"))
        worker.kill()
        with clause("ST-14.a"):
            assert (None, "SIGTERM") == shape(await worker.wait())[:2]
        await stage.until_gone(worker)
        with clause("ST-14.b"):
            assert ["Fork", "Disconnect", "Exit"] == stage.kinds(worker)


async def test_wrong_arguments() -> None:
    async with scene() as stage:
        primary = stage.primary
        before = children()
        wrong: Any = 5
        with clause("ST-17.a"), pytest.raises(TypeError, match="target must be an async function"):
            primary.fork_soon(wrong)
        with clause("ST-17.b"), pytest.raises(TypeError, match="code"):
            primary.fork_soon(actors.exits)
        with clause("ST-17.c"), pytest.raises(TypeError, match="no such option of fork: redy"):
            primary.fork_soon(actors.obeys, redy="online")  # type: ignore[call-arg]  # wrong on purpose
        with clause("ST-17.d"), pytest.raises(TypeError, match="env"):
            primary.fork_soon(actors.obeys, env=wrong)
        await stage.everything()
        with clause("ST-17.e"):
            assert (set(), []) == (children() - before, stage.seen)
        worker = await stage.worker(env=None)
        with clause("ST-17.f"):
            assert [] == (await worker.ask(["about"]))["argv"]


async def test_another_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "python"
    path.symlink_to(sys.executable)
    script = ROOT / "tests/node_parity/script.py"
    async with scene() as stage:
        worker = stage.primary.fork_soon(
            exec=(str(path), str(script)),
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        message = await worker.mailbox.receive()
        with clause("ST-19.a"):
            assert str(path) == message.body["executable"]
        with clause("ST-19.b"):
            assert (worker.id, worker.pid) == (message.body["id"], message.body["pid"])
        with clause("ST-19.c"):
            assert 0 == (await worker.wait()).code


async def test_taking_a_fork_back() -> None:
    async with scene() as stage:
        primary = stage.primary
        before = children()
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_online, stage, scope)
                await primary.fork(actors.obeys, ready="called")
        with clause("ST-24.a"):
            assert (True, set()) == (scope.cancelled_caught, children() - before)
        worker = stage.seen[0].worker
        gone = await stage.until_gone(worker)
        with clause("ST-24.b"):
            assert (None, "SIGKILL", "killed") == shape(gone.status)[:3]
        with trio.move_on_after(0) as scope:
            await primary.fork(actors.obeys)
        await stage.everything()
        with clause("ST-24.c"):
            assert (True, {worker}) == (
                scope.cancelled_caught,
                {event.worker for event in stage.seen},
            )
        with trio.CancelScope() as scope:
            other = await primary.fork(actors.obeys)
        scope.cancel()
        with clause("ST-24.d"):
            assert "still here" == await other.ask(["echo", "still here"])


async def cancel_when_online(stage: Any, scope: trio.CancelScope) -> None:
    event = await anext(stage._subscription)
    stage.seen.append(event)
    await stage.until(events.Online, event.worker)
    scope.cancel()


async def test_a_limit_of_time() -> None:
    async with scene() as stage:
        primary = stage.primary
        worker = await stage.worker()
        with trio.move_on_after(0.01):
            await worker.wait()
        worker.kill("SIGUSR1")
        with clause("ST-25.a"):
            assert (None, "SIGUSR1") == shape(await worker.wait())[:2]
        with clause("ST-25.b"), pytest.raises(TypeError, match="start_timeout"):
            primary.fork_soon(actors.obeys, start_timeout="soon")  # type: ignore[arg-type]  # wrong on purpose
        with clause("ST-25.c"), pytest.raises(ValueError, match="start_timeout"):
            primary.fork_soon(actors.obeys, start_timeout=-1)
        with pytest.raises(WorkerStartError) as caught:
            await primary.fork(actors.obeys, ready="called", start_timeout=0.05)
        with clause("ST-25.d"):
            assert 0.05 == caught.value.timeout
        await stage.everything()
        late = stage.seen[-1].worker
        assert late.pid is not None
        with clause("ST-25.e"):
            assert not is_there(late.pid)
