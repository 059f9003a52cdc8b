"""All settings at once, for every form of target; and settings that are a function of the life."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import Child, Pool, Settings, Supervisor, Worker, WorkerStartError, events
from actorcluster._worker.commands import python_argv
from tests.e2e import actors, told
from tests.e2e.supervised import AT_ONCE

SECONDS = 30
SCRIPT = Path(told.__file__)
CODE = "import tests.e2e.told as told; import actorcluster; actorcluster.run_worker(told.tell)"

FORMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "function": (told.tell, {}),
    "name": ("tests.e2e.told:tell", {}),
    "script": (None, {"exec": SCRIPT}),
    "relative script": (None, {"exec": SCRIPT.name}),
    "command": (None, {"exec": list(python_argv(CODE, ["-O"]))}),
}


async def body_of(worker: Worker) -> Any:
    return (await worker.mailbox.receive()).body


async def rest_of(stream: trio.abc.ReceiveStream | None) -> bytes:
    assert stream is not None
    return b"".join([piece async for piece in stream])


@pytest.mark.parametrize("form", FORMS)
async def test_all_settings_at_once(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None hinders another, by both methods, with an interpreter's flags, and per fork."""
    monkeypatch.chdir(SCRIPT.parent)  # where the relative path begins, whatever cwd says
    monkeypatch.setenv("TOLD_KEPT", "ours")
    monkeypatch.setenv("TOLD_GONE", "ours")
    target, of_form = FORMS[form]
    config: dict[str, Any] = {
        **of_form,
        "args": ["-x", "a b", ""],
        "cwd": tmp_path,
        "env": {"TOLD_GONE": None, "TOLD_STREAMS": "3"},
        "stdio": ["ignore", "pipe", "inherit", "pipe"],
        "mailbox_size": 65536,
        "max_message": 65536,
        "preload": ["json.tool"],
    }
    expected = {
        "argv": ["-x", "a b", ""],
        "cwd": str(tmp_path),
        "env": {"TOLD_KEPT": "ours", "TOLD_STREAMS": "3", "TOLD_FORK": "fork"},
    }
    ways: list[dict[str, Any]] = [{"start_method": "exec"}, {"exec_argv": ["-O", "-B"]}]
    if form != "command":
        ways.append({"start_method": "forkserver"})
    else:
        with pytest.raises(ValueError, match="start_method='forkserver' cannot be kept: exec is"):
            Settings(**of_form)
            async with actorcluster.open_primary(settings=config) as primary:
                await primary.fork(settings={"start_method": "forkserver"})
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary(settings=config) as primary:
            for way in ways:
                worker = await primary.fork(target, settings=way, env={"TOLD_FORK": "fork"})
                found = await body_of(worker)
                assert expected == {name: found[name] for name in expected}
                forked = way.get("start_method") == "forkserver"
                assert ("forkserver" if forked else "exec") == worker.start_method
                assert forked is found["preloaded"]
                if "exec_argv" in way and form != "command":
                    assert [1, 1] == found["flags"]
                assert "normal" == (await worker.wait()).reason
                assert b"printed" == await rest_of(worker.stdout)
                assert b"further" == await rest_of(worker.stdio[3])


async def test_settings_of_each_life(tmp_path: Path) -> None:
    """A function of id and name: the slots of a pool differ, and so do two lives of one place."""
    asked: list[tuple[int, str]] = []

    def of_life(worker_id: int, name: str) -> dict[str, Any]:
        asked.append((worker_id, name))
        (tmp_path / name).mkdir(exist_ok=True)
        return {"cwd": tmp_path / name, "args": [str(worker_id)], "env": {"TOLD_NAME": name}}

    tree = Supervisor(
        children=[
            Pool("pool", told.tell, count=2, restart="temporary", settings=of_life),
            Child("child", told.tell, backoff=AT_ONCE, settings=of_life, env={"TOLD_MORE": "x"}),
        ],
        max_restarts=1000,
    )
    seen: dict[int, Any] = {}
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary(tree, settings={"args": ["lost"]}) as primary:
            while len(seen) < 5:
                with await primary.mailbox.receive() as message:
                    seen[message.body["id"]] = message.body
            assert 3 <= [name for _, name in asked].count("child")
            forked = await primary.fork(told.tell, settings=lambda n, _: Settings(args=[str(-n)]))
            while forked.id not in seen:
                with await primary.mailbox.receive() as message:
                    seen[message.body["id"]] = message.body
    assert [str(-forked.id)] == seen.pop(forked.id)["argv"]
    for number, body in seen.items():
        name = body["name"]
        assert (number, name) in asked
        assert ([str(number)], str(tmp_path / name)) == (body["argv"], body["cwd"])
        expected = {"TOLD_NAME": name} | ({"TOLD_MORE": "x"} if name == "child" else {})
        assert expected == body["env"]
    assert {"pool.1", "pool.2", "child"} == {body["name"] for body in seen.values()}


def raises(worker_id: int, name: str) -> dict[str, Any]:
    raise LookupError(f"nothing for {worker_id} {name}")


FAILURES: dict[str, tuple[Any, str, str]] = {
    "raises": (raises, "LookupError", "nothing for 1 worker-1"),
    "returns nothing": (lambda *_: None, "TypeError", r"settings\(1, 'worker-1'\) must return a"),
    "an unknown field": (lambda *_: {"agrs": []}, "TypeError", "no such setting: 'agrs'"),
    "a wrong value": (lambda *_: {"uid": -1}, "ValueError", "uid must be an int from 0"),
    "a wrong combination": (
        lambda *_: {"start_method": "forkserver", "exec_argv": []},
        "ValueError",
        "cannot be kept",
    ),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_a_function_that_fails(case: str) -> None:
    """Is a start that has failed, with the reason; nobody else notices."""
    function, kind, text = FAILURES[case]
    with trio.fail_after(SECONDS):
        async with actorcluster.open_primary() as primary:
            with primary.events(events.Fork, events.Exit) as ends:
                with pytest.raises(WorkerStartError, match=text) as caught:
                    await primary.fork(actors.idle, settings=function)
                seen = [type(await anext(ends)) for _ in range(2)]
            assert [events.Fork, events.Exit] == seen
            assert caught.value.status is not None
            assert caught.value.status.error is not None
            assert (kind, None) == (caught.value.status.error.type, caught.value.errno)
            worker = await primary.fork(actors.echo)
            assert 1 == await worker.ask(1)


async def test_what_is_no_settings() -> None:
    with pytest.raises(TypeError, match="settings must be a Settings, a mapping of its fields, or"):
        Child("a", actors.idle, settings=5)
    with pytest.raises(ValueError, match="settings: 'a' runs as a task and cannot have it"):
        Child("a", actors.idle, run="task", settings=lambda *_: {})


async def test_the_number_of_what_went_wrong(tmp_path: Path) -> None:
    """Wherever in a start an OSError comes from, its number is in the error."""
    async with actorcluster.open_primary() as primary:
        for config, number in (
            ({"cwd": tmp_path / "gone"}, errno.ENOENT),
            ({"cwd": tmp_path / "gone", "start_method": "exec"}, errno.ENOENT),
            ({"cwd": sys.executable}, errno.ENOTDIR),
            ({"exec": [str(tmp_path)]}, errno.EACCES),
            ({"stdio": [999_999]}, errno.EBADF),
        ):
            target = None if "exec" in config else actors.idle
            with pytest.raises(WorkerStartError, match=os.strerror(number)) as caught:
                await primary.fork(target, settings=config)
            assert number == caught.value.errno
        with pytest.raises(WorkerStartError) as caught:
            await primary.fork(actors.raises, ready="called")
        assert caught.value.errno is None
