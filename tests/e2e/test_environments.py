"""The product works however the program was started, by either start method."""

from __future__ import annotations

import inspect
import json
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import actorcluster
from tests.e2e import actors
from tests.e2e.programs import measured, report
from tests.program import running
from tests.require import require

PROGRAMS = Path(__file__).parent / "programs"
MAIN = "__actorcluster_main__"


async def reports(*command: str, import_first: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """What the workers of a program like `report` are: one by each method, both ended well."""
    async with running(*command, import_first=import_first) as program:
        assert 0 == await program.ends(), program.text
    *lines, last = program.text.splitlines()
    assert "after the block" == last
    facts = [json.loads(line) for line in lines]
    assert list(report.METHODS) == [fact.pop("method") for fact in facts]
    assert ["normal"] * 2 == [fact.pop("status") for fact in facts]
    return facts


def as_main(argv0: str, package: str | None = None) -> dict[str, Any]:
    """What a worker says whose function is the started program's own."""
    return {
        "word": "hello",
        "argv": json.dumps([argv0, "its", "own"]),
        "module": MAIN,
        "package": package,
        "main": MAIN,
        "same": True,
    }


# ---- started from the command line --------------------------------------------------------


async def test_from_a_file() -> None:
    path = str(PROGRAMS / "report.py")
    assert [as_main(path)] * 2 == await reports(path)


async def test_from_a_file_whose_path_is_not_utf8(tmp_path: Path) -> None:
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    directory.mkdir()
    path = directory / "report.py"
    path.write_text((PROGRAMS / "report.py").read_text())
    assert [as_main(str(path))] * 2 == await reports(str(path))


async def test_from_a_module() -> None:
    facts = await reports("-m", "tests.e2e.programs.report")
    assert [as_main(str(PROGRAMS / "report.py"), "tests.e2e.programs")] * 2 == facts


async def test_from_a_package() -> None:
    """Its `__main__` imports relatively, and runs `trio.run` itself."""
    name = "tests.e2e.programs.package"
    expected = {"word": "hello, next door", "module": MAIN, "package": name}
    assert [expected] * 2 == await reports("-m", name)


async def test_a_module_that_is_primary_and_worker() -> None:
    """Its workers are the module once more, not its file: it imports relatively."""
    expected = {"word": "next door", "name": "__main__", "argv": ["its", "own"]}
    assert [expected] * 2 == await reports("-m", "tests.e2e.programs.package.itself")


async def test_from_a_command() -> None:
    """A function of a module works; one of the command itself is refused, with the reason."""
    code = """if True:
        import actorcluster, trio
        from tests.e2e.programs import report

        async def mine(actor, word):
            raise AssertionError

        try:
            trio.run(report.main, mine)
        except TypeError as exc:
            refusal = str(exc)
        actorcluster.run(report.main)
        assert "cannot run __main__:mine in a worker" in refusal, refusal
        assert "python -c" in refusal, refusal
        assert "put the function into a module file" in refusal, refusal
    """
    name = "tests.e2e.programs.report"
    expected = as_main("-c", name.rpartition(".")[0]) | {
        "module": name,
        "main": "__main__",
        "same": False,
    }
    assert [expected] * 2 == await reports("-c", code)


async def test_nothing_is_printed_unasked() -> None:
    """Not even errors, as long as the program does not set up logging."""
    code = "import actorcluster, logging; logging.getLogger('actorcluster.worker').error('no')"
    async with running("-c", code) as program:
        assert 0 == await program.ends()
    assert "" == program.text


# ---- under other tools --------------------------------------------------------------------

INNER_TESTS = """
import pytest
import trio
import actorcluster

async def double(actor, number):
    await actor.send(2 * number)

async def doubled(method):
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(double, 21, settings={"start_method": method})
        with trio.fail_after(60):
            return (await worker.mailbox.receive()).body, worker.start_method

def test_plain_trio():
    assert (42, "forkserver") == trio.run(doubled, "forkserver")

@pytest.mark.trio
async def test_pytest_trio():
    assert (42, "exec") == await doubled("exec")
"""


@pytest.mark.parametrize("mode", ["prepend", "importlib"])
async def test_under_pytest(mode: str, tmp_path: Path) -> None:
    """The workers' function is in the test module itself, which importlib mode puts nowhere."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    inside = tmp_path / "checks" / "deep"
    inside.mkdir(parents=True)
    (inside / "test_inner.py").write_text(INNER_TESTS)
    plugins = ("-p", "no:cacheprovider")
    where = ("-c", str(tmp_path / "pytest.ini"), "--rootdir", str(tmp_path), str(tmp_path))
    async with running("-m", "pytest", *plugins, f"--import-mode={mode}", *where) as program:
        assert 0 == await program.ends(), program.text
    assert "2 passed" in program.text


COMBINE = """
import sys
from coverage import Coverage
directory, path = sys.argv[1:]
coverage = Coverage(data_file=f"{directory}/data", config_file=False)
coverage.combine([directory])
print(*coverage.get_data().lines(path))
"""


@require("coverage")
async def test_under_coverage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What workers run is measured, however they were started."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)  # those of the run that this test is part of
    config = tmp_path / "config"
    config.write_text(f"[run]\ndata_file={tmp_path}/data\nparallel=true\npatch=subprocess\n")
    path = str(PROGRAMS / "measured.py")
    async with running("-m", "coverage", "run", f"--rcfile={config}", path) as program:
        assert 0 == await program.ends(), program.text
    async with running("-c", COMBINE, str(tmp_path), path) as combining:
        assert 0 == await combining.ends(), combining.text
    seen = set(map(int, combining.text.split()))
    for function in (measured.by_forkserver, measured.by_exec):
        lines, first = inspect.getsourcelines(function)
        assert first + len(lines) - 1 in seen


# ---- inside a worker ----------------------------------------------------------------------


async def has_a_worker(actor: actorcluster.Actor) -> None:
    """Answer asks with what a worker of this worker answers."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(actors.echo)
        async for message in actor.mailbox:
            with message:
                await message.reply([worker.name, await worker.ask(message.body)])


async def test_inside_a_worker() -> None:
    """Names and ids are those of the inner primary; when the outer one stops, all are gone."""
    async with actorcluster.open_primary() as primary:
        worker = await primary.fork(has_a_worker, name="outer")
        assert ["worker-1", "hello"] == await worker.ask("hello")
    assert "shutdown" == (await worker.wait()).reason


# ---- threads ------------------------------------------------------------------------------


def in_thread(async_fn: Callable[..., Awaitable[Any]], *args: Any) -> Callable[[], Any]:
    """Run it in a thread of its own by `actorcluster.run`; call the result to join."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(actorcluster.run(async_fn, *args)))
    thread.start()

    def join() -> Any:
        thread.join(20)
        return results.pop()

    return join


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


async def ask(method: str, meet: Callable[[], object]) -> tuple[object, object, list[object]]:
    """The answer of an echo, how it was started, and the signal handlers meanwhile."""
    async with actorcluster.open_primary(settings={"start_method": method}) as primary:
        worker = await primary.fork(actors.echo)
        await trio.to_thread.run_sync(meet)
        meanwhile = handlers()
        answer = await worker.ask("hello")
    return answer, worker.start_method, meanwhile


@pytest.mark.own_fork_server  # one loop can use a server at a time
def test_in_two_threads_at_once() -> None:
    """Each has a primary; both are there at the same time; signals are nobody's business."""
    before = handlers()
    both_up = threading.Barrier(2, timeout=20)
    joins = [in_thread(ask, method, both_up.wait) for method in report.METHODS]
    assert [("hello", method, before) for method in report.METHODS] == [join() for join in joins]


async def test_two_primaries_in_one_loop() -> None:
    """Each has its own fork server, and one may end while the other goes on."""
    async with actorcluster.open_primary() as stays:
        async with actorcluster.open_primary() as goes:
            workers = [await primary.fork(actors.echo) for primary in (stays, goes)]
            assert [1, 2] == [await worker.ask(i) for i, worker in enumerate(workers, 1)]
        assert workers[1].is_dead()
        assert "still here" == await workers[0].ask("still here")
        assert "forkserver" == (await stays.fork(actors.echo)).start_method
