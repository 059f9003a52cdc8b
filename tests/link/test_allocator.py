"""Memory of large messages is used again."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.require import require

PROGRAM = """
import resource, sys
from actorcluster._link.allocator import keep_large_blocks

def churn():
    for _ in range(50):
        held = [bytearray(b"x") * (1 << 20) for _ in range(4)]
        del held

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "kept":
    keep_large_blocks()
churn()
before = faults()
churn()
print(faults() - before)
"""
PAGES = 50 * 4 * 256


@require("glibc")
@pytest.mark.parametrize(
    ("how", "least", "most"), [("kept", 0, 1000), ("given back", 10_000, PAGES)]
)
def test_memory_is_mapped_once(how: str, least: int, most: int) -> None:
    """And without asking for it, again and again."""
    argv = [sys.executable, "-c", PROGRAM, how]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert least <= int(said) <= most
