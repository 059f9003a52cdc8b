"""The rules of supervision that others have, and what is made of each; read from two tables."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final, Literal

import attrs

__all__ = ["RULES", "Rule"]


@attrs.frozen(kw_only=True)
class Rule:
    """One rule, in a sentence.

    Attributes:
        id: where it comes from, what it is about, a number.
        text: what it says there.
        where: what keeps it: ``"plan"``, the pure core; ``"tree"``, the checks of what is
            written down; ``"shell"``, what carries out a plan.
        verdict: ``"same"`` here; ``"different"`` on purpose; ``"absent"``: it does not apply.
        reason: why not the same.
    """

    id: str
    text: str
    where: Literal["plan", "tree", "shell"]
    verdict: Literal["same", "different", "absent"]
    reason: str = ""

    @property
    def needs_case(self) -> bool:
        """Whether a table has to show it."""
        return self.where != "shell" and self.verdict != "absent"


def _read(name: str) -> list[Rule]:
    text = Path(__file__).with_name(name).read_text()
    return [Rule(**entry) for entry in tomllib.loads(text)["rule"]]


RULES: Final = tuple(_read("rules_otp.toml") + _read("rules_others.toml"))
