"""``python -m benchmarks.idle``: how often a primary and its idle workers wake up.

The kernel counts how often each thread has gone to sleep; one that sleeps all the time adds
nothing. Where strace can be used, it shows every system call of the same time as well.
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

from benchmarks import machine, needs, procfs
from benchmarks.process import command, program

WORKERS: Final = 8

BEATS: Final = 3 / 5.0
"""A second: three in each heartbeat, which is 5 s unless somebody says otherwise."""
HEARTBEATS: Final = {"primary": BEATS * (1 + WORKERS), "worker": BEATS, "helper": 0.0}
"""Wake-ups a second of one process that are heartbeats: to ask, and for each answer."""

_SETTLE_SECONDS: Final = 2.0
_SIDES: Final = {"actorcluster": "memory_ours.py", "Node cluster": "memory_node.js"}
_RETURNED: Final = re.compile(r"\d+ +(?:<\.\.\. )?(\w+)\b.*\) += ")


def watch(file: str, seconds: float) -> dict[str, Any]:
    """Start a primary with idle workers, and count for so long what they do.

    Args:
        file: of the program.
        seconds: of each of the two ways to count.
    """
    with program(command(file, {"workers": WORKERS}), patience=3 * seconds + 60) as started:
        workers = started.says()["workers"]
        time.sleep(_SETTLE_SECONDS)
        pids = [started.pid, *procfs.descendants(started.pid)]
        before = {pid: procfs.switches(pid) for pid in pids}
        time.sleep(seconds)
        wake_ups = {pid: procfs.switches(pid) - before[pid] for pid in pids}
        calls = _traced(pids, seconds)
        started.tell()
        started.says()
        started.ends()
    roles = {started.pid: "primary", **dict.fromkeys(workers, "worker")}
    return {
        "processes": [
            {"role": roles.get(pid, "helper"), "wake_ups": wake_ups[pid]} for pid in pids
        ],
        "calls": calls,
    }


def _traced(pids: Sequence[int], seconds: float) -> dict[str, int] | None:
    """Count the system calls of these processes for so long; None where strace cannot."""
    with tempfile.NamedTemporaryFile("r") as log:
        attach = [text for pid in pids for text in ("-p", str(pid))]
        try:
            strace = subprocess.Popen(
                ["strace", "-f", "-q", "-o", log.name, *attach],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            return None
        with strace:
            time.sleep(seconds)
            if strace.poll() is not None:
                return None  # it is not allowed to look
            strace.terminate()
        return calls_in(log.read())


def calls_in(log: str) -> dict[str, int]:
    """Count the system calls that returned while strace was looking: nobody sleeps in those."""
    found = (_RETURNED.match(line) for line in log.splitlines())
    return dict(Counter(match[1] for match in found if match))


def is_busy(seconds: float) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a process does more than its heartbeats, in so many seconds."""

    def more(process: Mapping[str, Any]) -> bool:
        most = HEARTBEATS[process["role"]] * (seconds + 1 / BEATS)  # there is a beat at either end
        return bool(process["wake_ups"] > most)

    return more


def lines(result: Mapping[str, Any]) -> list[str]:
    """Write a result in words."""
    said = []
    for who, side in result["sides"].items():
        by_role: dict[str, list[int]] = {}
        for process in side["processes"]:
            by_role.setdefault(process["role"], []).append(process["wake_ups"])
        for role, wake_ups in by_role.items():
            said.append(f"{who}: {len(wake_ups)} {role}: {sum(wake_ups)} wake-ups")
        calls = side["calls"]
        shown = "strace cannot be used" if calls is None else f"system calls: {calls or 'none'}"
        said.append(f"{who}: {shown}")
    return said


def page(result: Mapping[str, Any]) -> str:
    """Write the page."""
    head = (
        f"# Idle\n\nWritten by `python -m benchmarks.idle`, not by hand. A primary with {WORKERS}"
        f" idle workers: for {result['seconds']:g} s the kernel counts who is woken up, and as long"
        f" again strace shows what is called. {result['machine']['cpu']}, {result['began']}.\n\n"
    )
    return head + "".join(f"- {line}\n" for line in lines(result))


@click.command()
@click.option("--seconds", default=20.0, show_default=True, type=click.FloatRange(min=0.1))
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for idle.json and idle.md; nothing is written without it.",
)
def main(seconds: float, out: Path | None) -> None:
    """Count what idle processes do, and fail if ours do more than their heartbeats."""
    began = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    sides = {
        who: watch(file, seconds)
        for who, file in _SIDES.items()
        if not (file.endswith(".js") and needs.lack("node"))
    }
    result = {"began": began, "machine": machine.facts(), "seconds": seconds, "sides": sides}
    click.echo("\n".join(lines(result)))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "idle.json").write_text(json.dumps(result, indent=1) + "\n")
        (out / "idle.md").write_text(page(result))
    sys.exit(1 if any(map(is_busy(seconds), sides["actorcluster"]["processes"])) else 0)


if __name__ == "__main__":
    main()
