"""What .ci/run has to work out: coverage against its thresholds, sums, the oldest libraries."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Per cent, of branches and of lines. The kit is by itself: whole runs of it are not measured.
THRESHOLDS = {"pure": 98.0, "all": 90.0, "kit": 45.0}
MEASURES = {
    "branches": ("num_branches", "covered_branches"),
    "lines": ("num_statements", "covered_lines"),
}


def coverage(path: str) -> int:
    """Compare coverage's JSON report with the thresholds."""
    sys.path.insert(0, str(ROOT))
    from tests.test_layers import PURE  # noqa: PLC0415  (loads the package: not for the others)

    files: dict[str, Any] = json.loads(Path(path).read_text())["files"]
    pure = {"actorcluster/" + name.replace(".", "/") + ".py" for name in PURE}
    if unmeasured := sorted(pure - files.keys()):
        print(f"not measured: {unmeasured}")
        return 1
    kit = {name for name in files if name.startswith("actorcluster/conform/")}
    groups = {"pure": pure - kit, "all": set(files) - kit, "kit": kit}
    failures = 0
    for group, minimum in THRESHOLDS.items():
        for measure, (of, count) in MEASURES.items():
            total = sum(files[name]["summary"][of] for name in groups[group])
            covered = sum(files[name]["summary"][count] for name in groups[group])
            percent = 100 * covered / total
            failures += percent < minimum
            print(
                f"{measure} of {group} files: {covered} of {total}, {percent:.2f} %,"
                f" {'TOO FEW' if percent < minimum else 'enough'} (threshold {minimum} %)"
            )
    return 1 if failures else 0


def totals(*logs: str) -> int:
    """Add up pytest's closing lines; a run that has none has failed."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for log in map(Path, logs):
        closing = re.findall(r"^=+ (.+) in [\d.]+s.* =+$", log.read_text(), re.MULTILINE)
        for number, word in re.findall(r"(\d+) (\w+)", closing[-1] if closing else "1 failed"):
            kind = "failed" if word.startswith("error") else word
            if kind in counts:
                counts[kind] += int(number)
    print(", ".join(f"{number} {word}" for word, number in counts.items()))
    return 1 if counts["failed"] or not counts["passed"] else 0


def constraints(which: str) -> int:
    """For pip: the lower bound of each dependency if `which` is "oldest", else nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for bound in project["dependencies"] if which == "oldest" else []:
        print(bound.replace(">=", "=="))
    return 0


if __name__ == "__main__":
    commands: dict[str, Callable[..., int]] = {
        "coverage": coverage,
        "totals": totals,
        "constraints": constraints,
    }
    sys.exit(commands[sys.argv[1]](*sys.argv[2:]))
