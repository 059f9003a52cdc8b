"""A test asserts every clause that its source names, or fails."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.node_parity.clauses import ASSERTED
from tests.node_parity.rows import CLAUSES
from tests.node_table import unreached


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Compare what is written with what was reached."""
    ASSERTED.clear()
    result = yield
    file = pyfuncitem.path.relative_to(Path(__file__).parent).as_posix()
    missed = unreached(f"{file}::{pyfuncitem.originalname}", ASSERTED)
    if missed:
        lines = [f"  line {use.line}: {use.clause}: {CLAUSES[use.clause].text}" for use in missed]
        pytest.fail("\n".join(["passed without having asserted:", *lines]), pytrace=False)
    return result
