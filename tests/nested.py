"""A test run inside a test, for the tests of the test suite's own tools."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
"""Where tests/ stands: the checkout, or the copy that tests an installed wheel."""


def run_nested(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tests: str
) -> pytest.RunResult:
    """Run `tests` in a process of its own, under a copy of our conftest and settings."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest((ROOT / "tests/conftest.py").read_text())
    (pytester.path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    test_file = pytester.makepyfile(tests)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", test_file)
