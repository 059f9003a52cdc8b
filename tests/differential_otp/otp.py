"""Scenarios run by Erlang: one start of its machine for all."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .scenarios import Scenario

__all__ = ["run_otp"]

SCRIPT = Path(__file__).with_name("otp.escript")


def run_otp(scenarios: Iterable[Scenario]) -> dict[int, list[list[str]]]:
    """Give the events of each step, by seeds."""
    with tempfile.NamedTemporaryFile("w", suffix=".terms") as file:
        file.writelines(scenario.term() for scenario in scenarios)
        file.flush()
        command = ["escript", str(SCRIPT), file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{done.stdout[-2000:]}\n{done.stderr}")
    return parse(done.stdout)


def parse(output: str) -> dict[int, list[list[str]]]:
    """Read what `otp.escript` prints: ``# SEED``, then ``-`` before the events of each step."""
    logs: dict[int, list[list[str]]] = {}
    for line in output.splitlines():
        if line.startswith("# "):
            steps = logs[int(line[2:])] = []
        elif line == "-":
            steps.append([])
        elif line.startswith("crash "):
            raise RuntimeError(f"seed {[*logs][-1]}: {line}")
        else:
            steps[-1].append(line)
    return logs
