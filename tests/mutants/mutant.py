"""One fault as data, a copy of the package to put it in, and the test that has to notice it."""

from __future__ import annotations

import enum
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import attrs

import actorcluster
import tests

__all__ = ["Mutant", "Verdict", "applies", "run_all", "run_tests"]

PACKAGE = Path(actorcluster.__file__).parent
TESTS = Path(tests.__file__).parent
SECONDS = 60.0
"""What takes longer hangs, and has been noticed."""


@attrs.frozen
class Mutant:
    """One small change to the package that is wrong.

    Attributes:
        id: to name it.
        file: inside the package.
        old: the text that is replaced; it occurs once.
        new: by which.
        test: the test that fails then.
    """

    id: str
    file: str
    old: str
    new: str
    test: str


class Verdict(enum.Enum):
    """What became of a mutant."""

    CAUGHT = "caught"
    HANGS = "caught: it hangs"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN: no test ran"
    NOT_APPLIED = "NOT APPLIED: its text is not there once"

    @property
    def is_good(self) -> bool:
        """Whether the tests are as good as they should be."""
        return self in (Verdict.CAUGHT, Verdict.HANGS)


def applies(mutant: Mutant, package: Path = PACKAGE) -> bool:
    """Whether its text occurs exactly once, and something else comes in its place."""
    path = package / mutant.file
    occurs = path.read_text().count(mutant.old) if path.is_file() else 0
    return occurs == 1 and mutant.old != mutant.new


def run_all(mutants: Sequence[Mutant], processes: int) -> Iterator[tuple[Mutant, Verdict]]:
    """Try each in a copy of its own, several side by side; give them in order."""
    with TemporaryDirectory(prefix="ac-mutants-") as directory:
        places = [Path(directory, str(index)) for index in range(len(mutants))]
        with ThreadPoolExecutor(processes) as pool:
            yield from zip(mutants, pool.map(_try, mutants, places), strict=True)


def run_tests(names: Sequence[str], place: Path) -> int:
    """Run tests in a new copy; give pytest's exit code."""
    _copy(place)
    return _pytest(names, place)


def _try(mutant: Mutant, place: Path) -> Verdict:
    if not applies(mutant):
        return Verdict.NOT_APPLIED
    package = _copy(place)
    path = package / mutant.file
    path.write_text(path.read_text().replace(mutant.old, mutant.new))
    # Compiled from what was there before, which may have had the same size in the same second.
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
        compiled.unlink()
    try:
        code = _pytest([mutant.test], place)
    except subprocess.TimeoutExpired:
        return Verdict.HANGS
    finally:
        shutil.rmtree(place)
    return {0: Verdict.SURVIVED, 1: Verdict.CAUGHT}.get(code, Verdict.BROKEN)


def _copy(place: Path) -> Path:
    """Copy the package and its tests; what is compiled comes along."""
    ours = shutil.ignore_patterns("mutants", "vectors", "*-pytest-*")
    shutil.copytree(PACKAGE, place / PACKAGE.name)
    shutil.copytree(TESTS, place / "tests", ignore=ours)
    shutil.copy(Path(__file__).with_name("inside.py"), place)
    if (TESTS.parent / "pyproject.toml").is_file():
        shutil.copy(TESTS.parent / "pyproject.toml", place)
    if (TESTS.parent / "protocol").is_dir():  # which the kit reads; none of it is changed
        (place / "protocol").symlink_to(TESTS.parent / "protocol")
    return place / PACKAGE.name


def _pytest(names: Sequence[str], place: Path) -> int:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")
    }
    done = subprocess.run(
        [sys.executable, "inside.py", "-q", "-p", "no:cacheprovider", *names],
        cwd=place,
        env={**environment, "PYTHONPATH": str(place)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode not in (0, 1):
        print(done.stdout)
    return done.returncode
