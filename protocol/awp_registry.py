"""Reads ``awp.v1.toml`` and refuses a registry that contradicts itself.

Runs in: neither; part of the generator.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Registry = dict[str, Any]


class RegistryError(Exception):
    """The registry contradicts itself, its lock, or the specification's text."""


def load(path: Path) -> Registry:
    """Read the registry and refuse one that contradicts itself."""
    registry = tomllib.loads(path.read_text(encoding="utf-8"))
    checks = (_duplicates, _state_problems, _requirement_problems)
    problems = [problem for check in checks for problem in check(registry)]
    if problems:
        raise RegistryError("\n".join(problems))
    return registry


def built(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those entries whose meaning is specified now."""
    return [entry for entry in entries if entry["status"] == "built"]


def rows(registry: Registry) -> list[str]:
    """Row names of the receive tables, in order."""
    return [kind["name"] for kind in built(registry["kind"])] + ["unknown", "eof"]


def states(registry: Registry) -> list[str]:
    """State names, in the order of the table columns."""
    return [state["name"] for state in registry["state"]]


def cells(registry: Registry, role: str, row: str) -> list[tuple[str, str]]:
    """(action, next state or "") of one row, one for each state."""
    pairs = (cell.partition(">") for cell in registry["receive"][role][row].split())
    return [(action, target) for action, _, target in pairs]


def requirement_text(entry: dict[str, Any]) -> str:
    """The sentence on one line."""
    return " ".join(entry["text"].split())


def _duplicates(registry: Registry) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for registered, code, name in lock_entries(registry):
        for what in {code, name} - {"-"}:
            if (registered, what) in seen:
                yield f"{registered}: {what} is used twice"
            seen[registered, what] = name


def _state_problems(registry: Registry) -> Iterator[str]:
    names, known = states(registry), {kind["name"] for kind in built(registry["kind"])}
    for role in ("worker", "primary"):
        table = registry["receive"][role]
        for row in set(table).symmetric_difference(rows(registry)):
            yield f"receive.{role}: row {row} is missing or unknown"
        for row in table:
            found = cells(registry, role, row)
            if len(found) != len(names):
                yield f"receive.{role}.{row}: {len(found)} cells for {len(names)} states"
            for action, target in found:
                if action not in {"deliver", "ignore", "abort", "refuse"}:
                    yield f"receive.{role}.{row}: no action is called {action}"
                if target not in {"", *names}:
                    yield f"receive.{role}.{row}: no state is called {target}"
        for state in set(registry["send"][role]).symmetric_difference(names):
            yield f"send.{role}: state {state} is missing or unknown"
        sent = [kind for words in registry["send"][role].values() for kind in words.split()]
        for kind in {*sent, *registry["sent"][role]} - known:
            yield f"send.{role}: no built kind is called {kind}"
        for target in set(registry["sent"][role].values()) - set(names):
            yield f"sent.{role}: no state is called {target}"


def _requirement_problems(registry: Registry) -> Iterator[str]:
    for entry in registry["requirement"]:
        if not re.search(rf"\b{entry['level']}\b", entry["text"]):
            yield f"{entry['id']}: the sentence does not say {entry['level']}"


def lock_entries(registry: Registry) -> list[tuple[str, str, str]]:
    """(registry, code, name) of everything that may never change again."""
    found = []
    for registered in ("flag", "kind", "abort", "reason", "handle", "ext"):
        found += [(registered, str(entry["code"]), entry["name"]) for entry in registry[registered]]
    for kind in registry["kind"]:
        fields = kind["env"] if kind["env"] != "any" else []
        found += [(f"env.{kind['name']}", str(at), one["name"]) for at, one in enumerate(fields)]
    for registered in ("capability", "error", "limit"):
        found += [(registered, "-", entry["name"]) for entry in registry[registered]]
    found += [(f"key.{entry['of']}", "-", entry["name"]) for entry in registry["key"]]
    found += [(f"meta.{entry['of']}", "-", entry["name"]) for entry in registry["meta"]]
    found += [("requirement", "-", entry["id"]) for entry in registry["requirement"]]
    return found


def number(code: int, base: int) -> str:
    """A code as it is usually written."""
    return f"0x{code:02X}" if base == 16 else str(code)
