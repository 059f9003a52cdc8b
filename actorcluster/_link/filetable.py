"""The table of open files, and what part of it descriptors may take that nobody has asked for.

Runs in: both

Of a primary's table half is for connections that wait for a worker (``_cluster/ports.py``), three
eighths for handles in messages that wait to be received or passed on, and an eighth at least is
left to start workers and to accept. One worker alone gets two thirds of the three eighths, see
`holdings`: with the usual limit of 1024 that is 256, and no message has more than 253. A worker
hears nobody but its primary, whose mail may take half of its table.
"""

from __future__ import annotations

import resource
import sys

from ..wire.holdings import DescriptorBudget

__all__ = ["most_open", "of_primary", "of_worker"]


def most_open() -> int:
    """How many files this process may have open: the soft limit, which may change at any time."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if most == resource.RLIM_INFINITY else most


def of_primary() -> int:
    """How many descriptors may wait in mail to a primary, that of all workers together."""
    return most_open() * 3 // 8


def of_worker() -> DescriptorBudget:
    """The budget of a worker, all of whose mail comes from its primary."""
    return DescriptorBudget(most_open() * 3 // 4)
