"""Faults to put into workers, one small change each, and the case that has to notice it.

To add one is to add a row, whatever language the worker is written in: `old` occurs once in `file`.
"""

from __future__ import annotations

from tests.conform.faults import asyncio, c, go, node, rust
from tests.conform.faults.fault import Fault

__all__ = ["FAULTS", "Fault"]

FAULTS = [*asyncio.FAULTS, *go.FAULTS, *rust.FAULTS, *c.FAULTS, *node.FAULTS]
