"""Both drivers play the same scenarios, each in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.program import ROOT

from .scenarios import Scenario

__all__ = ["Line", "Trace", "play", "play_both"]

HERE: Final = Path(__file__).parent
OURS: Final = (sys.executable, "-m", "tests.node_parity.differential.driver")
#: Seconds for one scenario; a driver waits 20 for each step.
_PATIENCE: Final = 60

Line: TypeAlias = dict[str, Any]
#: By observer, in the order in which it saw them.
Trace: TypeAlias = dict[str, list[Line]]


def node(program: str = "node") -> tuple[str, ...]:
    """Give the command of the other driver."""
    return (program, str(HERE / "driver.js"))


def play_both(
    scenarios: Sequence[Scenario], program: str = "node"
) -> tuple[dict[str, Trace], dict[str, Trace]]:
    """Play scenarios on both sides at the same time; returns Node's traces and ours."""
    with tempfile.TemporaryDirectory(prefix="ac-") as place:  # short, for paths of sockets
        sides = [(node(program), "n"), (OURS, "o")]
        running = [_begin(command, scenarios, Path(place, name)) for command, name in sides]
        theirs, ours = (_end(process, path) for process, path in running)
    return theirs, ours


def play(command: Sequence[str], scenarios: Sequence[Scenario]) -> dict[str, Trace]:
    """Play scenarios on one side; returns the traces by the scenarios' names."""
    with tempfile.TemporaryDirectory(prefix="ac-") as place:
        return _end(*_begin(command, scenarios, Path(place, "t")))


def _begin(
    command: Sequence[str], scenarios: Sequence[Scenario], path: Path
) -> tuple[subprocess.Popen[str], Path]:
    script = path.with_suffix(".json")
    script.write_text(json.dumps([one.to_json(index) for index, one in enumerate(scenarios)]))
    path.touch()
    errors = path.with_suffix(".err").open("w")
    with errors:
        process = subprocess.Popen([*command, script, path], cwd=ROOT, stderr=errors, text=True)
    return process, path


def _end(process: subprocess.Popen[str], path: Path) -> dict[str, Trace]:
    count = len(json.loads(path.with_suffix(".json").read_text()))
    try:
        code = process.wait(_PATIENCE * count)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if code:
        errors = path.with_suffix(".err").read_text()
        raise RuntimeError(f"a driver of {path.name} ended with {code}\n{errors}")
    traces: dict[str, Trace] = {}
    for text in path.read_text().splitlines():
        line: Line = json.loads(text)
        observers = traces.setdefault(line.pop("scenario"), {})
        observers.setdefault(line.pop("who"), []).append(line)
    return traces
