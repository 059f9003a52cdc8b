"""The lies of hostile workers, by what they are about; importing this enters all of them.

Runs in: both
"""

from __future__ import annotations

from . import (
    bulk,
    descriptors,
    duties,
    floods,
    framing,
    leaving,
    mail,
    opening,
    others,
    ports,
    tables,
)

__all__ = [
    "bulk",
    "descriptors",
    "duties",
    "floods",
    "framing",
    "leaving",
    "mail",
    "opening",
    "others",
    "ports",
    "tables",
]
