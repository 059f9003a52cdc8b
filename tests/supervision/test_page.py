"""What docs/explanation/supervision.md refers to is there, and nothing that differs is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import actorcluster
from actorcluster import Supervisor
from tests.differential_otp.differences import DIFFERENCES
from tests.supervision.rules import RULES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "supervision.md").read_text()
ENTRIES = re.split(r"(?m)^### ", PAGE)[1:]


def test_entries_are_numbered() -> None:
    assert [*range(1, len(ENTRIES) + 1)] == [int(entry.split(".")[0]) for entry in ENTRIES]


def test_every_entry_says_what_shows_it() -> None:
    assert [] == [entry.splitlines()[0] for entry in ENTRIES if "Shown by: " not in entry]


def test_rules_exist() -> None:
    named = set(re.findall(r"\bB\d-[A-Z]+-\d+", PAGE))
    assert set() == named - {rule.id for rule in RULES}


def test_tests_exist() -> None:
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", PAGE)
    assert [] == [name for name in named if f"def {name}(" not in source]


def test_every_difference_from_erlang_is_explained() -> None:
    assert [] == [one.id for one in DIFFERENCES if f"`{one.id}`" not in PAGE]


def test_the_tree_in_code_and_the_one_in_a_file_are_the_same(tmp_path: Path) -> None:
    first: dict[str, str] = {}
    for kind, block in re.findall(r"(?ms)^```(\w+)\n(.*?)^```$", PAGE):
        first.setdefault(kind, block)
    said: dict[str, Any] = {name: getattr(actorcluster, name) for name in actorcluster.__all__}
    exec(first["python"].partition("async with")[0], said)
    (tmp_path / "tree.toml").write_text(first["toml"])
    assert said["tree"] == Supervisor.from_toml(tmp_path / "tree.toml")
