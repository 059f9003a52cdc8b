"""The first start of a tree: in order, never retried, and what is left when it fails."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from actorcluster import Child, Pool, Supervisor, WorkerStartError, open_primary
from tests.e2e import actors, supervised_actors
from tests.e2e.supervised import PATIENCE, all_of, comes, dies, puppet, run_tree, stops
from tests.program import running
from tests.worker.lines import until


@pytest.fixture
def notes(tmp_path: Path) -> Callable[..., Any]:
    """Makes children that write down when they begin and end."""

    def make(name: str, after: str = "ready", **options: Any) -> Child:
        args = (str(tmp_path / "notes"), after)
        return Child(name, supervised_actors.notes, args=args, ready="called", **options)

    return make


@pytest.fixture
def written(tmp_path: Path) -> Callable[[], list[str]]:
    """What they have written so far."""
    path = tmp_path / "notes"
    return lambda: path.read_text().splitlines() if path.exists() else []


Make = Callable[..., Any]
Written = Callable[[], list[str]]
QUIET: dict[str, Any] = {"stdio": ["ignore"] * 3}


async def test_in_order(notes: Make, written: Written) -> None:
    """Each when the one before is ready; stopped from the last to the first, one by one."""
    tree = Supervisor(
        children=[
            notes("a"),
            Supervisor("sub", children=[notes("x"), notes("y")]),
            notes("b"),
        ]
    )
    names = ["a", "sub.x", "sub.y", "b"]
    async with open_primary(tree, settings=QUIET) as primary:
        assert [f"begin {name}" for name in names] == written()
        assert names == [worker.name for _, worker in sorted(primary.workers.items())]
        assert [1] * 4 == [worker.incarnation for worker in primary.workers.values()]
        assert {"up"} == {place.state for place in all_of(primary.tree())}
    assert [f"end {name}" for name in reversed(names)] == written()[4:]


async def test_one_cannot_be_started(notes: Make, written: Written) -> None:
    """The error names it; those before it were stopped in reverse order, none was retried."""
    tree = Supervisor(children=[notes("a"), notes("b"), notes("c", "fail"), notes("d")])
    with pytest.raises(WorkerStartError, match=r"^worker c ended before it was ready") as caught:
        async with open_primary(tree, settings=QUIET):
            raise AssertionError("the block was entered")
    assert caught.value.status is not None
    assert ("exit", 3) == (caught.value.status.reason, caught.value.status.code)
    assert caught.value.timeout is None
    begins = ["begin a", "begin b", "begin c", "end c"]
    assert [*begins, "end b", "end a"] == written()


async def test_one_is_never_ready(notes: Make, written: Written) -> None:
    children = [notes("a"), notes("b", "never", start_timeout=0.3), notes("c")]
    with pytest.raises(WorkerStartError, match=r"^worker b was not ready within 0.3") as caught:
        async with open_primary(Supervisor(children=children), settings=QUIET):
            raise AssertionError("the block was entered")
    assert 0.3 == caught.value.timeout
    assert caught.value.status is not None
    assert "start_timeout" == caught.value.status.reason
    assert ["begin a", "begin b", "end a"] == written()


async def test_one_far_below_cannot_be_started(notes: Make, written: Written) -> None:
    """Nobody on the way up tries again either."""
    two = Supervisor("two", children=[notes("x"), notes("y", "fail")])
    one = Supervisor("one", children=[two, notes("z")])
    with pytest.raises(WorkerStartError, match=r"^worker one\.two\.y "):
        async with open_primary(Supervisor(children=[notes("a"), one]), settings=QUIET):
            raise AssertionError("the block was entered")
    assert [
        *["begin a", "begin one.two.x", "begin one.two.y", "end one.two.y"],
        *["end one.two.x", "end a"],
    ] == written()


async def test_a_slot_of_a_pool_cannot_be_started(notes: Make, written: Written) -> None:
    """The others, which start beside it, are stopped."""
    child = notes("web", "fail")
    pool = Pool("web", child.target, count=3, args=child.args, ready="called")
    with pytest.raises(WorkerStartError, match=r"^worker web\.[123] ended"):
        async with open_primary(Supervisor(children=[notes("a"), pool]), settings=QUIET):
            raise AssertionError("the block was entered")
    assert "begin a" == written()[0]
    assert "end a" == written()[-1]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (Child("x", "tests.e2e.nowhere:main"), r"^sub\.x: "),
        (Child("x", None, exec="tests/e2e/nowhere.py"), r"^sub\.x: "),
    ],
)
async def test_one_that_never_can(notes: Make, written: Written, wrong: Child, text: str) -> None:
    """That is seen before anybody is started."""
    tree = Supervisor(children=[notes("a"), Supervisor("sub", children=[wrong])])
    with pytest.raises(TypeError, match=text):
        async with open_primary(tree, settings=QUIET):
            raise AssertionError("the block was entered")
    assert [] == written()


async def test_cancelled_while_it_starts(notes: Make, written: Written) -> None:
    """From outside: those who are ready stop as ever, one that is not is killed."""
    tree = Supervisor(children=[notes("a"), notes("b", "never"), notes("c")])
    with trio.fail_after(PATIENCE), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                await until(lambda: "begin b" in written())
                scope.cancel()

            nursery.start_soon(cancel)
            async with open_primary(tree, settings=QUIET):
                raise AssertionError("the block was entered")
    assert scope.cancelled_caught
    assert ["begin a", "begin b", "end a"] == written()


async def test_one_is_not_ready_again() -> None:
    """That is a failure as any other: it is killed when its time is up."""
    child = puppet("b", silent=[2], start_timeout=1.0)
    async with run_tree([puppet("a"), child], strategy="rest_for_one") as scene:
        await scene.ends("b")
        await scene.calm()
    assert [
        *[*dies("b", "signal"), "restart b 1", *comes("b")],
        *[*dies("b", "start_timeout"), "restart b 2", *comes("b"), *stops("b", "a")],
    ] == scene.lines


async def test_a_child_that_listens() -> None:
    """Ready when it has its port, which it shares with nobody until then."""
    children = [
        Child("web", actors.serve_pid, ready="listening"),
        Child("other", actors.serve_pid, ready="listening"),
    ]
    async with run_tree(children) as scene:
        assert ["listening"] * 2 == [one.state for one in scene.primary.workers.values()]


async def test_sigterm_while_it_starts() -> None:
    """The block is left as by any stop, and the program goes on behind it."""
    async with running("-m", "tests.e2e.supervised_program") as program:
        await program.says("b begins")
        program.process.send_signal(signal.SIGTERM)
        assert 0 == await program.ends()
    expected = ["a begins", "b begins", "a ends", "behind the block", "returned a value"]
    assert expected == program.text.splitlines()
