"""Handles where the kernel refuses; the scenarios are in `limits`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.hardened.limits import SCENARIOS
from tests.program import ROOT
from tests.require import require

NOBODY = 65534


@require("other-user")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_as_nobody(scenario: str) -> None:
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-m", "tests.hardened.limits", scenario],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "" == done.stderr
    assert 0 == done.returncode
