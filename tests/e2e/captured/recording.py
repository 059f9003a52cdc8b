"""Plays the conversations of protocol/vectors/captures.json again, and writes down what is said.

``python -m tests.e2e.captured.recording`` writes that file, where our side of it has changed.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

import actorcluster
from actorcluster import Handle, Worker
from actorcluster._link.waits import ChannelStatistics
from tests.wire.annotated import annotated
from tests.wire.vectors import kind_name
from tests.worker.lines import until

ROOT = Path(__file__).resolve().parents[3]
CAPTURES = ROOT / "protocol" / "vectors" / "captures.json"
RECORDER = ROOT / "protocol" / "record.py"

#: The window of our workers, all of it.
FULL = 4194304
Talk = Callable[[Worker], Awaitable[object]]


def program(name: str) -> str:
    """A program in the page, by its file's name in the line above it."""
    page = (ROOT / "protocol" / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(rf"(?ms)^`{re.escape(name)}`:\n\n```\w+\n(.*?)^```$", page)
    return str(found)


def counts(worker: Worker) -> ChannelStatistics:
    """What has gone to a worker and come from it."""
    found = worker.statistics().channel
    assert found is not None
    return found


async def until_pinged(worker: Worker) -> None:
    """Until a PING has left, behind WELCOME. It is answered before the STOP behind it."""
    await until(lambda: counts(worker).sends >= 2)


async def talk(worker: Worker) -> None:
    """A question, a message there and back, what is said of both, and a descriptor."""
    assert await worker.ask("hi") == "hi"
    await worker.send([1, 2])
    with await worker.mailbox.receive() as message:
        assert message.body == [1, 2]
    await until(lambda: not counts(worker).unconfirmed and counts(worker).room == FULL)
    reading, writing = os.pipe()
    os.close(reading)
    answer = await worker.ask(Handle.of(writing))
    answer.close()


async def record(command: list[str], talk: Talk, heartbeat: float) -> list[dict[str, Any]]:
    """What a primary and the worker of this command say when the primary has that talk."""
    with tempfile.TemporaryDirectory() as place:
        path = f"{place}/capture.json"
        recorder = (sys.executable, str(RECORDER), path, "--", *command)
        async with actorcluster.open_primary() as primary:
            worker = await primary.fork(None, name="w", exec=recorder, heartbeat=heartbeat)
            await talk(worker)  # a time limit would be part of what is said
            status = await worker.disconnect()
            assert status.voluntary, status
        said = json.loads(Path(path).read_text(encoding="utf-8"))
    steps: list[dict[str, Any]] = said["recorded"]["steps"]
    return steps


async def level_0(place: Path) -> list[dict[str, Any]]:
    """The page's own worker, asked for a sign of life."""
    path = place / "worker.py"
    path.write_text(program("worker.py"), encoding="utf-8")
    steps = await record([sys.executable, str(path)], until_pinged, heartbeat=0.3)
    return without_repeated_pings(steps)


def without_repeated_pings(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many there are is a matter of time."""
    seen: set[str] = set()
    kept = []
    for step in steps:
        kind = kind_of(step)
        if kind not in ("PING", "PONG") or kind not in seen:
            kept.append(step)
        seen.add(kind)
    return kept


def kind_of(step: dict[str, Any]) -> str:
    """The name of the kind of a step's frame."""
    return kind_name(bytes.fromhex(step.get("send") or step["receive"])[7])


async def level_1(_: Path) -> list[dict[str, Any]]:
    """A worker of this library."""
    path = Path(__file__).with_name("echo.py")
    return await record([sys.executable, str(path)], talk, heartbeat=1000.0)


TALKS: dict[str, tuple[str, Callable[[Path], Awaitable[list[dict[str, Any]]]]]] = {
    "level-0": ("the worker of protocol/README.md is started, pinged and stopped", level_0),
    "echo": ("a worker of the Python library is asked, told and given a pipe", level_1),
}


def shown(step: dict[str, Any]) -> dict[str, Any]:
    """A step as the file has it."""
    who = "send" if "send" in step else "receive"
    frame = bytes.fromhex(step[who])
    fds = {"fds": step["fds"]} if "fds" in step else {}
    return {who: step[who], **fds, "comment": kind_of(step), "bytes": annotated(frame)}


def text_of(captures: dict[str, Any]) -> str:
    """The file, a field a line."""
    flat = json.dumps(captures, indent=2, ensure_ascii=False)
    return re.sub(r'\[\s+("[^"\n]*"),\s+("(?:[^"\\\n]|\\.)*")\s+\]', r"[\1, \2]", flat) + "\n"


async def main() -> None:
    """Record all, and write the file."""
    captures = {}
    with tempfile.TemporaryDirectory() as place:
        for name, (comment, play) in TALKS.items():
            steps = [shown(step) for step in await play(Path(place))]
            captures[name] = {"role": "worker", "comment": comment, "steps": steps}
    CAPTURES.write_text(text_of(captures), encoding="utf-8")


if __name__ == "__main__":
    trio.run(main)
