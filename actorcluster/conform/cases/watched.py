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

for _rule, (_requirement, _title) in RULES.items():
    add(
        Case(
            id=_rule,
            requirements=(_requirement,),
            title=_title,
            level=0 if _requirement in _OF_LEVEL_0 else 1,
            watch=True,
        )
    )
