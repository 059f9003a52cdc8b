"""The tutorial in protocol/README.md: its bytes are said today, its programs run."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.captured import recording
from tests.wire.diagnostic import same
from tests.wire.independent import frames_of
from tests.wire.vectors import kind_name

CAPTURES: dict[str, Any] = json.loads(recording.CAPTURES.read_text(encoding="utf-8"))
PAGE = (recording.ROOT / "protocol" / "README.md").read_text(encoding="utf-8")

#: Sent when there is time, and gathered.
UNTIMED = {"ACK", "CREDIT", "HANDLE_ACK"}
#: What is another's at every start, or in every version of the library.
CHANGING = {"caps", "cluster", "config", "handles", "impl", "limits", "pid"}


def told(steps: list[dict[str, Any]], who: str) -> list[dict[str, Any]]:
    """What one side says, in its order, as far as it is the same whenever it is said."""
    said = b"".join(bytes.fromhex(step.get(who, "")) for step in steps)
    found = []
    for frame in frames_of(said):
        frame["kind"] = kind_name(frame["kind"])
        if frame["kind"] in UNTIMED:
            continue
        if frame["kind"] in ("HELLO", "WELCOME"):
            del frame["body"]
            frame["payload"].update(dict.fromkeys(CHANGING & {*frame["payload"]}, "..."))
        found.append(frame)
    return found


def timed(steps: list[dict[str, Any]]) -> set[tuple[str, str]]:
    """Who sends kinds that may come at any time."""
    return {
        (who, kind)
        for step in steps
        for who in ("send", "receive")
        if who in step and (kind := recording.kind_of(step)) in UNTIMED
    }


@pytest.mark.parametrize("name", recording.TALKS)
async def test_the_captures_are_what_is_said_today(name: str, tmp_path: Path) -> None:
    """After a change of what our library says: ``python -m tests.e2e.captured.recording``."""
    recorded = CAPTURES[name]["steps"]
    steps = await recording.TALKS[name][1](tmp_path)
    for who in ("send", "receive"):
        expected, found = told(recorded, who), told(steps, who)
        assert same(expected, found), (expected, found)
    assert timed(recorded) >= timed(steps)
    assert [step.get("fds") for step in recorded if "fds" in step] == [
        step.get("fds") for step in steps if "fds" in step
    ]


@pytest.mark.parametrize("name", recording.TALKS)
def test_every_byte_of_a_capture_has_its_comment(name: str) -> None:
    for step in CAPTURES[name]["steps"]:
        whole = step.get("send") or step["receive"]
        assert whole == "".join(part for part, _ in step["bytes"])
        assert recording.shown(step) == step


def test_a_change_would_be_seen() -> None:
    steps = CAPTURES["echo"]["steps"]
    other = copy.deepcopy(steps)
    reply = next(step for step in other if step["comment"] == "REPLY")
    reply["send"] = reply["send"][:-2] + "6a"
    assert not same(told(steps, "send"), told(other, "send"))


QUOTES = re.findall(r"(?ms)^```capture (\S+)$\n(.*?)^```$", PAGE)


def test_the_page_quotes_both() -> None:
    assert {*recording.TALKS} == {name for name, _ in QUOTES}


@pytest.mark.parametrize("name", recording.TALKS)
def test_the_page_quotes_them_word_for_word(name: str) -> None:
    """Every line is a frame of the capture, those of one side in their order; `...` is anything."""
    lines = [line for quoted, text in QUOTES if quoted == name for line in text.splitlines()]
    left = {"worker": "send", "primary": "receive"}
    frames = {
        side: [(step["comment"], step[who]) for step in CAPTURES[name]["steps"] if who in step]
        for side, who in left.items()
    }
    for line in lines:
        side, kind, data = line.split(" ", 2)
        pattern = re.sub(r"[ |]", "", data).replace("...", ".*")
        at = next(
            (
                at
                for at, (found, said) in enumerate(frames[side])
                if found == kind and re.fullmatch(pattern, said)
            ),
            None,
        )
        assert at is not None, line
        del frames[side][at]


def test_its_programs_run(tmp_path: Path) -> None:
    for name in ("worker.py", "primary.py"):
        (tmp_path / name).write_text(recording.program(name), encoding="utf-8")
    command = [sys.executable, "primary.py", sys.executable, "worker.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    up, ended = done.stdout.splitlines()
    assert up.startswith("up: <Worker 1 ")
    assert "ended: shutdown" == ended


def test_its_worker_alone_says_that_it_needs_a_primary(tmp_path: Path) -> None:
    """AWP-TR-3."""
    (tmp_path / "worker.py").write_text(recording.program("worker.py"), encoding="utf-8")
    command = [sys.executable, "worker.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (2, "this is a worker: a primary has to start it\n") == (done.returncode, done.stderr)


def test_its_worker_passes_the_kit(tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(recording.program("worker.py"), encoding="utf-8")
    kit = [sys.executable, "-m", "actorcluster", "conform", "--timeout", "60", "--level", "0"]
    command = [*kit, "--", sys.executable, "worker.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert " 0 fail, 0 non-strict," in done.stdout, done.stdout


def test_its_tables_name_sentences_that_are_there() -> None:
    named = {*re.findall(r"AWP-[A-Z]{2}-\d+", PAGE)}
    spec = (recording.ROOT / "protocol" / "SPEC.md").read_text(encoding="utf-8")
    assert set() == {one for one in named if f"**[{one}]**" not in spec}
