"""Bound checks that our primary has not, one at a time: ``python -m tests.conform.planted``.

The fault goes into a copy of the package that the primary under test imports; the kit is as it is.
Each has to be found by chance within the time, leave a vector, and be found again when that case is
played alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import attrs

import actorcluster
from actorcluster import conform
from actorcluster.conform.primary.fuzz.figures import Figures

__all__ = ["PLANTED", "Found", "Planted", "find", "main", "plant"]

PRIMARY: Final = (sys.executable, "-m", "tests.conform.python_primary")
ROOT: Final = Path(__file__).parents[2]


@attrs.frozen
class Planted:
    """One check that is not there.

    Attributes:
        file: in the package.
        old: what stands there, once.
        new: what comes in its place.
        case: of the table, which finds it too.
    """

    file: str
    old: str
    new: str
    case: str


#: What each leaves unbounded.
PLANTED: Final[Mapping[str, Planted]] = {
    "max_frame": Planted(
        "wire/frames.py", "    if length > limit:", "    if length > limit << 8:", "framing.giant"
    ),
    "max_fds": Planted(
        "wire/descriptors.py", "if count > self.max_fds:", "if count > 255:", "fds.max"
    ),
    "credit": Planted(
        "wire/flow.py",
        "        if not self._window.credit(count):",
        "        if not self._window.credit(count) and count > 1 << 40:",
        "mail.credit",
    ),
    "messages acknowledged": Planted(
        "wire/credit.py", "        if upto > self.sent:", "        if upto < 0:", "mail.ack"
    ),
    "messages bounced": Planted(
        "wire/receiving.py",
        "        if not 0 < number <= self._deliveries.sent:",
        "        if number < 0:",
        "mail.bounce",
    ),
}


@attrs.frozen
class Found:
    """What came of looking for one.

    Attributes:
        case: the number of the case that found it; None: it was not found.
        cases: how many were played until then.
        seconds: how long that took.
        vector: whether it left one.
        again: whether the case finds it when it is played alone.
    """

    case: int | None
    cases: int
    seconds: float
    vector: bool = False
    again: bool = False

    @property
    def is_good(self) -> bool:
        """Whether it is as it should be."""
        return self.case is not None and self.vector and self.again


@contextmanager
def plant(fault: Planted, place: Path) -> Iterator[dict[str, str]]:
    """Make a copy of the package with the fault; gives the environment for the primary alone."""
    package = Path(actorcluster.__file__).parent
    ignore = shutil.ignore_patterns("__pycache__", "vectors")
    shutil.copytree(package, place / "actorcluster", ignore=ignore)
    path = place / "actorcluster" / fault.file
    text = path.read_text()
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.old!r} is not once in {fault.file}")
    path.write_text(text.replace(fault.old, fault.new))
    yield {"PYTHONPATH": f"{place}{os.pathsep}{ROOT}", "PYTHONSAFEPATH": "1"}


def find(directory: Path, *, seed: int, minutes: float, lanes: int = 4) -> Found:
    """Look for a fault that is planted, in an environment that has the primary import it."""

    def played(only: int | None = None) -> Figures:
        options = conform.FuzzOptions(
            command=PRIMARY, minutes=minutes, seed=seed, lanes=lanes, findings=1, only=only
        )
        return conform.fuzz_primary(options, lambda _: None, str(directory))

    begin = time.monotonic()
    figures = played()
    seconds = time.monotonic() - begin
    if not figures.findings:
        return Found(None, figures.cases, seconds)
    number = figures.findings[0].case
    path = directory / f"fuzz.{seed}.{number}.json"
    has_vector = path.is_file() and bool(json.loads(path.read_text())[0]["reads"])
    again = number in [one.case for one in played(number).findings]
    return Found(number, figures.cases, seconds, has_vector, again)


def main() -> int:
    """Look for all of them; 0 if each is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.conform.planted")
    parser.add_argument("names", nargs="*", choices=[[], *PLANTED], help="which; all")
    parser.add_argument("--minutes", type=float, default=10.0, help="for each, at most")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    bad = 0
    names = options.names or list(PLANTED)
    for name in names:
        with TemporaryDirectory() as place, plant(PLANTED[name], Path(place)) as environment:
            os.environ.update(environment)  # of this process, which has imported what it needs
            found = find(Path(place, "found"), seed=options.seed, minutes=options.minutes)
        bad += not found.is_good
        verdict = "found" if found.is_good else f"NOT FOUND: {found}"
        print(f"{name}: {verdict}, {found.cases} cases, {found.seconds:.0f} s", flush=True)
    print(f"{len(names) - bad} of {len(names)} were found")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
