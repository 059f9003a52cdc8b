"""tests/README.md names every command of the tests and of the benchmarks, and no other."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS / "README.md").read_text()
COMMAND = re.compile(r"prog=.python -m (tests[\w.]+)")


def test_every_command_is_there() -> None:
    """Those that say how they are called, and what can be called by the name of its directory."""
    called = {name for path in TESTS.rglob("*.py") for name in COMMAND.findall(path.read_text())}
    rooms = {f"tests.{path.parent.name}" for path in TESTS.glob("*/__main__.py")}
    assert set() == {name for name in called | rooms if f"`{name}" not in TEXT}
    assert rooms


def test_no_command_is_there_that_is_not() -> None:
    names = re.findall(r"^\| `((?:tests|benchmarks)[\w.]*)", TEXT, re.MULTILINE)
    assert len(names) > 15
    for name in names:
        spec = importlib.util.find_spec(name)
        assert spec is not None, name
        if spec.submodule_search_locations is not None:
            assert importlib.util.find_spec(f"{name}.__main__"), name
