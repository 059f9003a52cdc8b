"""The rules that are watched in every case, as cases of their own.

Runs in: both
"""

from __future__ import annotations

from typing import Final

from ..case import Case, add
from ..watch import RULES

__all__: list[str] = []

#: What holds for a worker of level 0, too.
_OF_LEVEL_0: Final = frozenset(
    {
        "AWP-FR-1", "AWP-FR-2", "AWP-FR-6", "AWP-FR-8", "AWP-HS-1", "AWP-HS-3", "AWP-HS-4",
        "AWP-LM-1", "AWP-ST-2", "AWP-ST-4", "AWP-ST-5", "AWP-PI-1", "AWP-CH-2",
    }
)  # fmt: skip

#: What only workers that take and send handles, or monitor others, can come to.
_OF_LEVEL: Final = {
    **dict.fromkeys(("AWP-FD-1", "AWP-FD-8", "AWP-HA-1", "AWP-HA-4", "AWP-HA-5"), 2),
    **dict.fromkeys(("AWP-LI-3", "AWP-LI-8", "AWP-LN-1", "AWP-LN-2"), 2),
    **dict.fromkeys(_OF_LEVEL_0, 0),
    "AWP-SU-2": 3,
}

for _rule, (_requirement, _title) in RULES.items():
    add(
        Case(
            id=_rule,
            requirements=(_requirement,),
            title=_title,
            level=_OF_LEVEL.get(_requirement, 1),
            watch=True,
            beside=_requirement == "AWP-FD-1",
            lane=_requirement.startswith("AWP-LN-"),
        )
    )
