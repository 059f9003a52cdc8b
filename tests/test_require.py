"""A test skips for what it needs, counted and by name; where that was promised, it fails."""

from __future__ import annotations

import sys

import pytest

from tests import require
from tests.nested import run_nested

NEEDY = """
import pytest
from tests.require import ensure, require

@require("python3.0")
def test_marked():
    pass

def test_inside():
    ensure("pty", "python3.0")

@pytest.mark.skip("no time")
def test_nameless():
    pass

@pytest.mark.xfail(strict=True)
def test_expected_failure():
    raise AssertionError
"""


def test_a_missing_tool_skips_and_is_counted(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ACTORCLUSTER_REQUIRE", raising=False)
    result = run_nested(pytester, monkeypatch, NEEDY)
    result.assert_outcomes(skipped=2, errors=1, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "skipped without tests/require.py: no time",
            "skipped 2: needs python3.0: no python3.0 runs",
        ]
    )


def test_a_promised_tool_that_is_missing_fails(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTORCLUSTER_REQUIRE", "pty,python3.0")
    result = run_nested(pytester, monkeypatch, NEEDY)
    # A mark is obeyed before the test begins: that is an error to pytest.
    result.assert_outcomes(errors=2, failed=1, xfailed=1)
    result.stdout.fnmatch_lines(
        ["*ACTORCLUSTER_REQUIRE names python3.0, but: no python3.0 runs"],
    )


def test_a_misspelt_name_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown tool or right 'nodejs'"):
        require.require("nodejs")
    monkeypatch.setenv("ACTORCLUSTER_REQUIRE", "node,rot")
    with pytest.raises(ValueError, match="unknown tool or right 'rot'"):
        require.promised()


def test_an_interpreter_is_one_that_runs_and_says_so() -> None:
    version = "python{}.{}".format(*sys.version_info[:2])
    assert require.interpreter(version) is not None
    assert require.interpreter("python3.0") is None
