"""What is played: steps, written as one line of text, and back.

``fork 1; listen 1 tcp; connect a; disconnect 1 &; look 1`` are five steps. One that ends with ``&``
is not waited for before the next; all are in the end.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import attrs

__all__ = ["Scenario", "Step", "parse", "written"]

#: What each step takes: a worker's number, a client's letter, a value.
SHAPES: Final = {
    "setup": ("value",),
    "fork": ("worker", "value?"),
    "send": ("worker", "value"),
    "tell": ("worker", "value"),
    "listen": ("worker", "value"),
    "disconnect": ("worker",),
    "leave": ("worker",),
    "quit": ("worker",),
    "kill": ("worker", "value"),
    "exit": ("worker", "number"),
    "throw": ("worker",),
    "look": ("worker",),
    "disconnect_all": (),
    "connect": ("client",),
    "hold": ("client",),
    "drop": ("client",),
    "pass": ("client", "worker"),
}


@attrs.frozen
class Step:
    """One of them.

    Attributes:
        does: a key of `SHAPES`.
        worker: by number.
        client: by letter.
        value: what is said, how one listens, a signal, an exit code.
        on: the next step does not wait for this one.
    """

    does: str
    worker: int | None = None
    client: str | None = None
    value: Any = None
    on: bool = False

    def __str__(self) -> str:
        words = [
            getattr(self, shape.replace("number", "value").rstrip("?"))
            for shape in SHAPES[self.does]
        ]
        said = [str(word) for word in words if word is not None]
        return " ".join([self.does, *said, *(["&"] if self.on else [])])


@attrs.frozen
class Scenario:
    """What both drivers play.

    Attributes:
        name: unique.
        steps: in their order.
        policy: ``"rr"`` or ``"none"``.
    """

    name: str
    steps: tuple[Step, ...]
    policy: str = "rr"

    def __str__(self) -> str:
        return "; ".join(map(str, self.steps))

    def to_json(self, number: int) -> dict[str, Any]:
        """For the drivers; ``number`` keeps the socket files of one run apart."""
        return {**attrs.asdict(self), "number": number}


def parse(name: str, text: str, policy: str = "rr") -> Scenario:
    """Read the steps of a scenario.

    Raises:
        ValueError: one is none.
    """
    steps = (_parse_step(part.split()) for part in text.split(";") if part.strip())
    return Scenario(name, tuple(steps), policy)


def _parse_step(words: list[str]) -> Step:
    text = " ".join(words)
    on = words[-1] == "&"
    does, *rest = words[:-1] if on else words
    if does not in SHAPES:
        raise ValueError(f"{text!r}: there is no step {does!r}")
    values: dict[str, Any] = {}
    for shape in SHAPES[does]:
        if not rest:
            if shape.endswith("?"):
                continue
            raise ValueError(f"{text!r}: no {shape}")
        word = rest.pop(0)
        key = shape.replace("number", "value").rstrip("?")
        values[key] = int(word) if shape in ("worker", "number") else word
    if rest:
        raise ValueError(f"{text!r}: {rest} are too many")
    return Step(does, on=on, **values)


def written() -> list[Scenario]:
    """Give those of scenarios.toml."""
    found = tomllib.loads((Path(__file__).parent / "scenarios.toml").read_text())
    return [parse(name, entry["steps"], entry.get("policy", "rr")) for name, entry in found.items()]
