"""What a worker cannot run is refused at the call, and no process comes into being."""

from __future__ import annotations

import functools
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import actorcluster
from actorcluster import Actor, Handle
from tests.e2e import actors
from tests.orphans import children
from tests.program import running

pytestmark = pytest.mark.own_fork_server

HERE = __name__
LAMBDA = lambda actor: actor.disconnect()  # noqa: E731  (has to have that name)


def outer() -> Callable[..., Any]:
    async def inner(actor: Actor) -> None:
        await trio.sleep_forever()

    return inner


def closing_over(value: object) -> Callable[..., Any]:
    async def closure(actor: Actor) -> None:
        await actor.send(value)

    return closure


def sync(actor: Actor) -> None:
    """Not async."""


async def generator(actor: Actor) -> AsyncIterator[int]:
    yield 1


class Server:
    async def method(self, actor: Actor) -> None:
        await trio.sleep_forever()

    async def __call__(self, actor: Actor) -> None:
        await trio.sleep_forever()


async def hidden(actor: Actor) -> None:
    await trio.sleep_forever()


first_definition = hidden


async def hidden(actor: Actor) -> None:  # type: ignore[no-redef]  # hidden on purpose
    await trio.sleep_forever()


async def homeless(actor: Actor) -> None:
    await trio.sleep_forever()


homeless.__module__ = "tests.e2e.gone"

# What is given, what the text says is wrong, and what it says to do.
BAD: dict[str, tuple[object, tuple[object, ...], str, str]] = {
    "lambda": (LAMBDA, (), "it is a lambda", "async def at the top of a module"),
    "closure": (closing_over(1), (), "inside another function", "pass what it closes over as args"),
    "nested": (outer(), (), "inside another function", "move it to the top of a module"),
    "bound method": (Server().method, (), "it is a bound method", "the state as args"),
    "callable object": (Server(), (), "it is a callable object", "give an async function"),
    "sync function": (sync, (), "it is a sync function", "write async def"),
    "async generator": (generator, (), "it is an async generator", "take the yield out"),
    "class": (Server, (), "it is a class", "give an async function"),
    "partial": (
        functools.partial(actors.returns, value=1),
        (),
        "it is a functools.partial",
        "give the function itself and its arguments after it",
    ),
    "hidden": (first_definition, (), "that name does not lead to it", "give what the name holds"),
    "no such module of a function": (homeless, (), "'tests.e2e.gone' cannot be imported", "define"),
    "missing module": (
        "tests.e2e.gone:main",
        (),
        "module 'tests.e2e.gone' cannot be found",
        "look",
    ),
    "missing attribute": (
        "tests.e2e.actors:idel",
        (),
        "module 'tests.e2e.actors' has no 'idel'",
        "did you mean 'idle'",
    ),
    "sync function by name": (f"{HERE}:sync", (), "it is a sync function", "write async def"),
    "class by name": (f"{HERE}:Server", (), "it is a class", "give an async function"),
    "half a name": ("tests.e2e.actors", (), "not a full name", '"package.module:function"'),
    "number": (3, (), "target must be an async function", "or None, not 3"),
    "too few arguments": (actors.raises, (1, 2, 3), "(actor, kind='ValueError')", "change"),
    "too many arguments by name": ("tests.e2e.actors:idle", (1,), "(actor)", "or the args given"),
    "unencodable argument": (actors.tell_args, (1, {"x": {2}}), "args[1]['x']: set", "body holds"),
    "key": (actors.tell_args, ({1: 2},), "args[0]", "keys"),
    "arguments of a script": (None, (1,), "nothing takes the 1 arguments", "use settings.args"),
}


class Quiet:
    """Proves that nothing was started: no event, no worker, no process, not even a fork server."""

    def __init__(self, primary: actorcluster.Primary) -> None:
        self._primary = primary
        self._events = primary.events()
        self._before = children()

    def __enter__(self) -> None:
        self._events.__enter__()

    def __exit__(self, *exc_info: object) -> None:
        assert {} == dict(self._primary.workers)
        assert self._before == children()
        assert not self._events._unread
        self._events.__exit__(None, None, None)


@pytest.mark.parametrize("name", BAD)
async def test_bad_targets(name: str) -> None:
    target, args, problem, remedy = BAD[name]
    async with actorcluster.open_primary() as primary:
        with Quiet(primary):
            with pytest.raises(TypeError, match=re.escape(problem)) as caught:
                await primary.fork(target, *args)
            assert remedy in str(caught.value)
            with pytest.raises(TypeError) as again:
                primary.fork_soon(target, *args)
            assert str(caught.value) == str(again.value)


async def test_a_handle_is_no_argument(tmp_path: Path) -> None:
    """Nor is it closed: it is still the caller's."""
    handle = Handle.of(open(tmp_path / "file", "xb"))
    async with actorcluster.open_primary() as primary:
        with Quiet(primary), pytest.raises(TypeError, match=r"args\[0\] holds a handle; send"):
            await primary.fork(actors.tell_args, [handle])
    assert not handle.closed
    handle.close()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"ready": "soon"}, ValueError, "ready must be 'online', 'listening' or 'called'"),
        (
            {"restart": "always"},
            ValueError,
            "restart must be 'permanent', 'transient' or 'temporary', not 'always'",
        ),
        ({"start_timeout": -1}, ValueError, "start_timeout must be a number of seconds, 0 or more"),
        ({"shutdown": "soon"}, ValueError, "shutdown must be a number of seconds"),
        ({"shutdwon": 1}, TypeError, "no such option of fork: shutdwon; there are name, restart"),
        ({"port": 1}, TypeError, "arguments of the target are positional"),
        ({"silent": True}, TypeError, "give settings={'silent': ...}"),
        ({"settings": {"cdw": "/"}}, TypeError, "no such setting: 'cdw'"),
        ({"env": {"A": 1}}, TypeError, "env['A'] must be a str"),
        (
            {"settings": {"start_method": "forkserver", "exec_argv": ["-O"]}},
            ValueError,
            "start_method='forkserver' cannot be kept: exec_argv=('-O',)",
        ),
    ],
)
async def test_bad_options(options: Any, error: type[Exception], text: str) -> None:
    async with actorcluster.open_primary() as primary:
        with Quiet(primary):
            with pytest.raises(error, match=re.escape(text)):
                await primary.fork(actors.idle, **options)
            with pytest.raises(error, match=re.escape(text)):
                primary.fork_soon(actors.idle, **options)


async def test_too_many_bytes_of_arguments() -> None:
    """What a worker is started with must fit into the one frame that brings it."""
    half = "x" * 300_000
    async with actorcluster.open_primary() as primary:
        with Quiet(primary):
            with pytest.raises(ValueError, match="its arguments have 600010 bytes"):
                await primary.fork(actors.tell_args, half, half)


async def test_arguments_are_those_of_the_call() -> None:
    """What the caller does to them afterwards changes nothing; the depth is that of any body."""
    deep: list[Any] = []
    for _ in range(63):
        deep = [deep]
    given = [1]
    async with actorcluster.open_primary() as primary:
        worker = primary.fork_soon(actors.count_args, given, deep)
        given.append(object())  # type: ignore[arg-type]  # wrong on purpose
        with trio.fail_after(60):
            assert [[1], 64] == (await worker.mailbox.receive()).body


# ---- the started script -------------------------------------------------------------------

SCRIPT = """
import trio
import actorcluster
from pathlib import Path

async def work(actor):
    pass

async def main():
    async with actorcluster.open_primary() as primary:
        with primary.events() as events:
            try:
                await primary.fork(work)
            finally:
                children = Path(f"/proc/self/task/{__import__('os').getpid()}/children")
                print("events:", len(events._unread), "children:", children.read_text())

"""
HINT = 'must stand below\n\n    if __name__ == "__main__":\n        actorcluster.run(main)\n'


@pytest.mark.parametrize("call", ["trio.run(main)", "actorcluster.run(main)"])
async def test_script_without_the_guard(call: str, tmp_path: Path) -> None:
    """Seen at the call: the line, what to write, and nothing was started."""
    script = tmp_path / "unguarded.py"
    script.write_text(SCRIPT + call)
    line = len(script.read_text().splitlines())
    async with running(str(script)) as program:
        assert 1 == await program.ends()
    assert "events: 0 children: \n" in program.text
    assert f"RuntimeError: line {line} of {script} would run again in every worker" in program.text
    assert HINT in program.text


async def test_script_whose_guard_does_not_hold(tmp_path: Path) -> None:
    """Where the primary cannot see it, the worker says it instead of starting all over again."""
    script = tmp_path / "clever.py"
    script.write_text(f"{SCRIPT}if __name__ != 'main':\n    actorcluster.run(main)\n")
    async with running(str(script)) as program:
        assert 1 == await program.ends()
    assert "events: 3" in program.text  # Fork, Disconnect, Exit
    assert "WorkerStartError: worker worker-1 ended before it was ready" in program.text
    assert f"run() was reached while a worker imported {script}" in program.text
    assert HINT in program.text


@pytest.mark.parametrize("call", ["trio.run(main)", "actorcluster.run(main)"])
async def test_script_that_does_not_know_it_is_a_worker(call: str, tmp_path: Path) -> None:
    """In script form the guard is no help: without is_worker() it would start itself for ever."""
    script = tmp_path / "endless.py"
    text = SCRIPT.replace("primary.fork(work)", "primary.fork()")
    script.write_text(f'{text}if __name__ == "__main__":\n    {call}\n')
    async with running(str(script)) as program:
        assert 1 == await program.ends()
    assert 1 == program.text.count("events:")
    assert "ended before it was ready: exit 1" in program.text
    what = "open_primary()" if call.startswith("trio") else "run()"
    assert f"RuntimeError: {what} was reached in a worker that runs this script" in program.text
    assert "ask actorcluster.is_worker() first" in program.text
