"""All cases, one file for each area; importing this enters them into the list.

Runs in: both
"""

from __future__ import annotations

from . import (  # noqa: F401  (each enters its cases)
    bringup,
    bulk,
    calls,
    channels,
    descriptors,
    evolution,
    flow,
    fragments,
    framing,
    handles,
    lanes,
    listening,
    liveness,
    logs,
    messages,
    settings,
    shutdown,
    states,
    transports,
    values,
    vectors,
    watched,
)

__all__: list[str] = []
