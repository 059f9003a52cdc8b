"""What a worker says of itself in HELLO, and the level that this makes.

Runs in: both
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from ..wire._generated import BUILT_CAPABILITIES, LIMIT_DEFAULTS

__all__ = ["LEVELS", "NARROW", "Claims", "claims_of", "level_of"]

#: To each level what it has more than the one below; of ``listen.*`` one is enough.
LEVELS: Final[tuple[frozenset[str], ...]] = (
    frozenset(),
    frozenset({"msg", "call", "frag", "ack", "log"}),
    frozenset({"handle", "handle.send", "handle.ack", "handle.head", "listen.*"}),
    frozenset({"monitor"}),
    frozenset({"bulk.memfd"}),
)

#: What has to be said beside a verdict on a level that is more than its name promises.
NARROW: Final = {
    3: "L3 is `monitor` so far: how DOWN is taken is tried, and MONITOR where the worker says it",
    4: "L4 is `bulk.memfd` so far",
}


def level_of(caps: frozenset[str]) -> int:
    """Give the lowest level of which these capabilities are a part."""
    return max((_level_of(cap) for cap in caps), default=0)


def _level_of(cap: str) -> int:
    name = "listen.*" if cap.startswith("listen.") else cap
    return next((number for number, caps in enumerate(LEVELS) if name in caps), 0)


@attrs.frozen
class Claims:
    """What a worker offers.

    Attributes:
        caps: those that are built.
        limits: with the defaults filled in.
        handles: names of the kinds it takes.
        impl: who it is, for display.
    """

    caps: frozenset[str]
    limits: dict[str, int]
    handles: frozenset[str]
    impl: str

    @property
    def level(self) -> int:
        """The highest level of which, and of those below, everything is offered."""
        level = 0
        for number, wanted in enumerate(LEVELS):
            if self.missing(wanted):
                break
            level = number
        return level

    def missing(self, wanted: frozenset[str]) -> list[str]:
        """Give what of these capabilities is not offered."""
        return sorted(cap for cap in wanted if not self._offers(cap))

    def _offers(self, cap: str) -> bool:
        if cap == "listen.*":
            return any(one.startswith("listen.") for one in self.caps)
        return cap in self.caps


def claims_of(hello: Any) -> Claims:
    """Read the payload of a HELLO; what is not as it should be counts as absent."""
    said = hello if isinstance(hello, dict) else {}
    limits = said.get("limits")
    limits = limits if isinstance(limits, dict) else {}
    impl = said.get("impl")
    impl = impl if isinstance(impl, dict) else {}
    return Claims(
        caps=frozenset(_words(said.get("caps"))) & BUILT_CAPABILITIES,
        limits={
            name: limits[name] if isinstance(limits.get(name), int) else default
            for name, default in LIMIT_DEFAULTS.items()
        },
        handles=frozenset(_words(said.get("handles"))),
        impl=" ".join(str(impl[key]) for key in ("name", "version", "lang") if key in impl),
    )


def _words(value: Any) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
