"""Whose files are touched, how large they become, and what happens when they cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from actorcluster import open_primary
from actorcluster.trace.reading import as_lines, load, load_all, state_of
from actorcluster.trace.store import Store
from actorcluster.trace.tracefile import OPENING, Begin, End, Frame, encode
from tests.trace import actors

SECONDS = 120


def begin(part: int, size: int) -> bytes:
    return encode(
        Begin(time=0, part=part, began=1, primary=7, bodies=False, size=size, lives=((1, 70, "w"),))
    )


def store(path: Path, size: int = 2000) -> Store:
    return Store(str(path), size, begin, lambda: encode(End(time=0, why="full")))


def test_an_earlier_trace_is_kept_once(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for content in (b"", OPENING + b"1", OPENING + b"2"):
        path.write_bytes(content)
        store(path).close()
        assert content == (tmp_path / "t.1").read_bytes()
        assert path.read_bytes().startswith(OPENING)
    assert ["t", "t.1"] == sorted(os.listdir(tmp_path))


def test_what_is_there_already_is_left_alone(tmp_path: Path) -> None:
    path, other = tmp_path / "t", tmp_path / "other"
    other.write_bytes(OPENING)

    def fifo() -> None:
        os.mkfifo(path)

    made: list[tuple[Callable[[], object], str]] = [
        (lambda: path.write_bytes(b"precious"), "is no trace"),
        (lambda: path.symlink_to(other), "a symbolic link"),
        (lambda: path.symlink_to(tmp_path / "nowhere"), "a symbolic link"),
        (lambda: path.hardlink_to(other), "another name"),
        (fifo, "no regular file"),
        (path.mkdir, "no regular file"),
    ]
    for make, why in made:
        make()
        before = os.lstat(path)
        with pytest.raises(OSError, match=why):
            store(path)
        assert (before.st_ino, before.st_size) == (os.lstat(path).st_ino, os.lstat(path).st_size)
        path.rmdir() if path.is_dir() else path.unlink()
    assert OPENING == other.read_bytes()
    assert ["other"] == os.listdir(tmp_path)


def test_what_another_writes_is_left_alone(tmp_path: Path) -> None:
    first = store(tmp_path / "t")
    with pytest.raises(OSError, match="another primary writes it"):
        store(tmp_path / "t")
    first.close()
    first.close()
    store(tmp_path / "t").close()


def test_the_two_files_stay_within_their_bound(tmp_path: Path) -> None:
    path = tmp_path / "t"
    size = 2000
    for length in range(60, 121):  # in some of these the last record just fits
        record = encode(End(time=1, why="x" * length))
        found = store(path, size)
        for count in (1, 5, 40, 3):
            found.append([record] * count)
            both = [os.path.getsize(tmp_path / name) for name in os.listdir(tmp_path)]
            assert max(both) <= size // 2
        found.close()
        assert 49 == found.records
    last, before = load(str(path)), load(f"{path}.1")
    assert End(time=0, why="full") == before.records[-1]
    assert [found.part, found.part - 1] == [
        one.records[0].part for one in (last, before) if isinstance(one.records[0], Begin)
    ]
    assert before.records + last.records == load_all(str(path)).records
    assert "" == state_of(last)


@pytest.mark.parametrize("is_removed", [True, False])
def test_a_file_that_somebody_has_moved_away(tmp_path: Path, is_removed: bool) -> None:
    path = tmp_path / "t"
    found = store(path)
    path.rename(tmp_path / "moved")
    if not is_removed:
        path.write_bytes(b"another's")
        with pytest.raises(FileExistsError):
            found.append([encode(End(time=1, why="x" * 90))] * 20)
        assert b"another's" == path.read_bytes()
        return
    found.append([encode(End(time=1, why="x" * 90))] * 10)
    found.close()
    assert ["moved", "t"] == sorted(os.listdir(tmp_path))


def test_an_error_ends_the_trace_and_nothing_else(tmp_path: Path) -> None:
    """A limit for the size of files is met as a full disk is."""
    code = f"""if True:
        import logging, resource, trio, actorcluster
        from tests.trace import actors
        logging.basicConfig()
        async def main():
            async with actorcluster.open_primary(trace={str(tmp_path / "t")!r}) as primary:
                worker = await primary.fork(actors.echo)
                before = resource.getrlimit(resource.RLIMIT_FSIZE)
                resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
                for number in range(100):
                    assert number == await worker.ask(number)
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
                found = primary.statistics().trace
                print(found.is_over, found.lost > 50, found.records > 3)
        trio.run(main)
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (0, "True True True\n") == (done.returncode, done.stdout), done.stderr
    assert 1 == done.stderr.count("\n"), done.stderr
    assert "WARNING:actorcluster.trace:the trace ends, and the cluster goes on" in done.stderr
    trace = load(str(tmp_path / "t"))
    assert (0, "", False) == (trace.left, trace.fault, trace.has_end)
    assert any(isinstance(one, Frame) for one in trace.records)


async def test_a_program_that_asks_for_one_that_cannot_be_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="none"):
        async with open_primary(trace=tmp_path / "none" / "t"):
            raise AssertionError("it was entered")
    wrongs: list[dict[str, Any]] = [
        {"trace": 3},
        {"trace_bodies": 1},
        {"trace_size": "x"},
        {"trace_size": True},
    ]
    for wrong in wrongs:
        with pytest.raises(TypeError):
            open_primary(**wrong)
    bads: list[dict[str, Any]] = [{"trace": ""}, {"trace_size": 10}]
    for bad in bads:
        with pytest.raises(ValueError, match="trace"):
            open_primary(**bad)


async def test_a_small_trace_of_a_long_talk(tmp_path: Path) -> None:
    """The latest is there, and it names who lives."""
    path = tmp_path / "t"
    with trio.fail_after(SECONDS):
        async with open_primary(trace=path, trace_bodies=True, trace_size=64 * 1024) as primary:
            worker = await primary.fork(actors.echo)
            for _ in range(40):
                await worker.ask("x" * 3000)
            pid = worker.pid
    sizes = [os.path.getsize(one) for one in (path, f"{path}.1")]
    assert max(sizes) <= 32 * 1024
    first = load(str(path)).records[0]
    assert isinstance(first, Begin)
    assert ((1, pid, "worker-1"),) == first.lives
    assert "the end, closed" in list(as_lines(load(str(path))))[-1]
