"""Handles where the kernel refuses; the scenarios are in `limits`."""

from __future__ import annotations

import pytest

from tests.hardened.limits import SCENARIOS
from tests.program import run_as_nobody
from tests.require import require


@require("other-user")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_as_nobody(scenario: str) -> None:
    done = run_as_nobody("-B", "-W", "error", "-m", "tests.hardened.limits", scenario)
    assert "" == done.stderr
    assert 0 == done.returncode
