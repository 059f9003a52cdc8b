"""Asserts that say which clause of rows.toml they are for.

::

    with clause("LC-05.c"):
        assert 42 == status.code
    with clause("ST-17.a"), pytest.raises(TypeError, match="target"):
        primary.fork_soon(5)

A clause counts as asserted when its block was left without an exception. A test that passes
without having come to one of its clauses fails: see conftest.py. What the source must look like
is checked by tests/node_table.py.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import pytest

from tests.node_parity.rows import CLAUSES

__all__ = ["ASSERTED", "clause"]

#: The clauses that the running test has asserted.
ASSERTED: Final[set[str]] = set()


@contextlib.contextmanager
def clause(name: str) -> Iterator[None]:
    """Assert a clause in the block; a failure shows its text."""
    if name not in CLAUSES:
        raise LookupError(f"rows.toml has no clause {name}")
    try:
        yield
    except (Exception, pytest.fail.Exception) as exc:
        exc.add_note(f"{name}: {CLAUSES[name].text}")
        raise
    ASSERTED.add(name)
