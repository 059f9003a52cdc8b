"""What the kit is asked to do.

Runs in: both
"""

from __future__ import annotations

import attrs

__all__ = ["Options"]


@attrs.frozen(kw_only=True)
class Options:
    """How a program is tried.

    Attributes:
        command: the program and its arguments.
        level: the highest level that is tried; None: what the program claims. Given, the program
            has to claim it.
        caps: only cases that need one of these capabilities; empty: all.
        only: patterns of case ids or requirement ids; empty: all.
        strict: what violates a SHOULD fails.
        seed: of the order of cases and of random cuts.
        timeout: seconds that a wait lasts at most.
        slow: also what takes long by its nature.
        jobs: cases at a time.
        known: cases that are expected to fail.
        lane: the form of a side lane by which all handles go; empty: beside the bytes.
        preload: the program is in Python: it is started once, with these modules loaded, and
            forked for each case; empty: each is started from nothing.
    """

    command: tuple[str, ...]
    level: int | None = None
    caps: frozenset[str] = frozenset()
    only: tuple[str, ...] = ()
    strict: bool = False
    seed: int = 0
    timeout: float = 10.0
    slow: bool = False
    jobs: int = 1
    known: frozenset[str] = frozenset()
    lane: str = ""
    preload: tuple[str, ...] = ()
