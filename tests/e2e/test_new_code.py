"""Reload brings what is on disk into service, or leaves everything as it was."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from actorcluster import Backoff, Child, Pool, Primary, ReloadAborted, Supervisor, open_primary
from tests.e2e.releases import BROKEN, Release, released
from tests.e2e.supervised import PATIENCE
from tests.together import Together

pytestmark = pytest.mark.own_fork_server

STARTS = [
    pytest.param({"start_method": "forkserver"}, id="fork server"),
    pytest.param({"start_method": "forkserver", "preload": ["some_release"]}, id="preloaded"),
    pytest.param({"start_method": "exec"}, id="exec"),
]


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    with released(tmp_path) as release:
        release.write(1)
        yield release


def tree(release: Release, count: int = 2) -> Supervisor:
    backoff = Backoff(min=0, max=0)
    return Supervisor(
        children=[Pool("web", release.target, count=count, ready="called", backoff=backoff)]
    )


def settings(start: dict[str, Any]) -> dict[str, Any]:
    return {**start, "stdio": ["ignore"] * 3}


async def versions(primary: Primary) -> set[int]:
    return {await primary.ref(f"web.{slot}").ask("version") for slot in (1, 2)}


@pytest.mark.parametrize("start", STARTS)
async def test_new_code_comes_into_service(release: Release, start: dict[str, Any]) -> None:
    async with open_primary(tree(release), settings=settings(start)) as primary:
        with trio.fail_after(PATIENCE):
            assert {1} == await versions(primary)
            for version in (2, 3):
                release.write(version)
                await primary.reload()
                assert {version} == await versions(primary)
            release.write(4)
            await primary.reload("web", max_surge=0, max_unavailable=1)
            assert {4} == await versions(primary)


async def test_a_fork_server_that_is_not_ready_in_time(release: Release) -> None:
    """The error says what was waited for, and how long."""
    start = {"start_method": "forkserver"}
    async with open_primary(tree(release), settings=settings(start)) as primary:
        with pytest.raises(ReloadAborted, match=r"its fork server was not ready within 0\.001 s"):
            await primary.reload(ready_timeout=0.001)
        assert {1} == await versions(primary)


async def broken_release(wrong: str) -> None:
    """The old ones serve on, and the next good release comes into service."""
    start = {"start_method": "forkserver"}
    module = f"broken_release_{wrong.replace(' ', '_')}"
    with tempfile.TemporaryDirectory() as directory, released(Path(directory), module) as release:
        release.write(1)
        async with open_primary(tree(release), settings=settings(start)) as primary:
            with trio.fail_after(3 * PATIENCE):
                began = trio.current_time()
                await primary.reload()
                # That a silent one will never be ready is told only by its taking far longer than
                # two good ones and their fork server.
                patience = 3 * (trio.current_time() - began)
                workers = {worker.id for worker in primary.workers.values()}
                release.write_text(BROKEN[wrong])
                is_silent = wrong in ("never ready", "hangs", "stops")
                with pytest.raises(ReloadAborted) as caught:
                    await primary.reload(ready_timeout=patience if is_silent else 30.0)
                assert caught.value.status is not None
                assert ("start_timeout" == caught.value.status.reason) is is_silent
                assert workers == {worker.id for worker in primary.workers.values()}
                assert {1} == await versions(primary)
                release.write(2)
                await primary.reload()
                assert {2} == await versions(primary)


RELEASES = Together({wrong: partial(broken_release, wrong) for wrong in BROKEN})


@pytest.mark.parametrize("wrong", RELEASES.names)
def test_a_broken_release(wrong: str) -> None:
    RELEASES.check(wrong)


@pytest.mark.parametrize("wrong", ["syntax", "import", "hangs"])
async def test_a_broken_release_that_is_preloaded(release: Release, wrong: str) -> None:
    """No worker is started at all; who crashes comes back with the old code."""
    start = {"start_method": "forkserver", "preload": ["some_release"]}
    async with open_primary(tree(release), settings=settings(start)) as primary:
        with trio.fail_after(PATIENCE):
            release.write_text(BROKEN[wrong])
            with pytest.raises(ReloadAborted, match=r"^the new code cannot be loaded: ") as caught:
                await primary.reload(ready_timeout=0.5 if wrong == "hangs" else 30.0)
            assert (None, None) == (caught.value.worker, caught.value.status)
            assert caught.value.__cause__ is not None
            await crash(primary)
            assert {1} == await versions(primary)


async def crash(primary: Primary) -> None:
    for worker in list(primary.workers.values()):
        await worker.send("signal")
        await worker.wait()


async def test_who_crashes_before_the_new_code_has_proved_itself(release: Release) -> None:
    """It comes back with what was preloaded before."""
    start = {"start_method": "forkserver", "preload": ["some_release"]}
    async with open_primary(tree(release), settings=settings(start)) as primary:
        release.write_text(BROKEN["never ready"])
        with trio.fail_after(PATIENCE):
            with pytest.raises(ReloadAborted):
                await primary.reload(ready_timeout=0.5)
            await crash(primary)
            assert {1} == await versions(primary)
            release.write(2)
            await primary.reload()
            release.write(3)
            await crash(primary)
            assert {2} == await versions(primary)


async def test_another_name_in_the_new_release(release: Release) -> None:
    """The tree says what runs; a release that has no such function is broken."""
    child = Child("a", release.target, ready="called")
    quiet = settings({})
    async with open_primary(Supervisor(children=[child]), settings=quiet) as primary:
        release.write_text(BROKEN["missing"])
        with trio.fail_after(PATIENCE), pytest.raises(ReloadAborted, match="main"):
            await primary.reload()
