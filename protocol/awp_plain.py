"""The registry as plain Python: ``awp_v1.py``, for workers that have only the standard library.

Runs in: neither; part of the generator.

Reserved numbers and names are left out: they mean nothing yet, and a receiver has to treat them
like those that it has never heard of.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from awp_python import bracketed, enum_class, identifier, literal
from awp_registry import Registry, built, cells, number, rows, states

HEAD = '''"""AWP 1.0 for a worker: numbers, names, limits and tables. Generated, do not edit.

Written by protocol/generate.py from protocol/awp.v1.toml.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

'''.splitlines()

SHAPES = '''

class Field(NamedTuple):
    """One element of an envelope, or one key of a map: its type is that of SPEC.md."""

    name: str
    type: str
    required: bool


class KindInfo(NamedTuple):
    """What SPEC.md, section 6, says of a kind.

    `direction` is "W>P", "P>W" or "both"; `channel` is "zero", "opens", "uses", "optional" or
    "any"; `body` is "control", "data" or "opaque"; `payload` is "nil", "map", "any" or "error".
    """

    name: str
    direction: str
    channel: str
    body: str
    urgent: bool
    charged: bool
    capability: str | None
    handles: bool
    envelope: tuple[Field, ...]
    payload: str


'''.splitlines()


def _field(name: str, kind: str, *, required: bool) -> str:
    return f"Field({literal(name)}, {literal(kind)}, {required})"


def _envelope(kind: dict[str, Any]) -> list[str]:
    if kind["env"] == "any":
        return []
    return [
        _field(one["name"], one["type"].rstrip("?"), required=not one["type"].endswith("?"))
        for one in kind["env"]
    ]


def _kind(kind: dict[str, Any]) -> list[str]:
    words = [kind["name"], kind["direction"], kind["channel"], kind["body"]]
    marks = [bool(kind.get("urgent")), bool(kind.get("charged")), kind.get("capability")]
    handles = any("array<handle>" in field for field in _envelope(kind))
    plain = [literal(one) for one in (*words, *marks, handles)]
    envelope = _envelope(kind)
    lines = [f"    Kind.{kind['name']}: KindInfo(", *(f"        {one}," for one in plain)]
    after = ",)," if len(envelope) == 1 else "),"
    lines += bracketed("        (", envelope, after)
    return [*lines, f"        {literal(kind['payload'])},", "    ),"]


def _kinds(registry: Registry) -> list[str]:
    lines = ["KINDS: dict[int, KindInfo] = {"]
    for kind in built(registry["kind"]):
        lines += _kind(kind)
    return [*lines, "}"]


def _keys(registry: Registry) -> list[str]:
    chosen: dict[str, list[str]] = {}
    kinds = {kind["name"] for kind in built(registry["kind"])}
    for entry in registry["key"]:
        if entry["of"] in kinds and not entry["doc"].startswith("*reserved*"):
            field = _field(entry["name"], entry["type"], required=bool(entry.get("required")))
            chosen.setdefault(entry["of"], []).append(field)
    lines = ["# The keys of a payload that is a map.", "KEYS: dict[int, tuple[Field, ...]] = {"]
    for name, fields in chosen.items():
        after = ",)," if len(fields) == 1 else "),"
        lines += bracketed(f"    Kind.{name}: (", fields, after)
    return [*lines, "}"]


def _table(registry: Registry) -> list[str]:
    special = {"unknown": "UNKNOWN_KIND", "eof": "EOF"}
    lines = [
        "# What an arriving frame does, by kind and state: what to do, and the state from then on.",
        "RECEIVE: dict[int, dict[State, tuple[Action, State]]] = {",
    ]
    names = states(registry)
    for row in rows(registry):
        lines.append(f"    {special.get(row, f'Kind.{row}')}: {{")
        for state, (action, target) in zip(names, cells(registry, "worker", row), strict=True):
            after = "CLOSED" if action == "abort" else target or state
            lines.append(f"        State.{state}: (Action.{action.upper()}, State.{after}),")
        lines.append("    },")
    return [*lines, "}"]


def _mapping(name: str, comment: str, items: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f"    {key}: {value}," for key, value in items]
    return ["", f"# {comment}", f"{name} = {{", *lines, "}"]


def _coded(entries: Iterable[dict[str, Any]], base: int = 10) -> list[tuple[str, str]]:
    return [(identifier(one["name"]), number(one["code"], base)) for one in entries]


def _enums(registry: Registry) -> list[str]:
    found = {name: built_or_all(registry[name]) for name in ("abort", "reason", "handle", "ext")}
    errors = [(identifier(one["name"]), literal(one["name"])) for one in registry["error"]]
    names = [(name, literal(name)) for name in states(registry)]
    actions = [(one.upper(), literal(one)) for one in ("deliver", "ignore", "abort", "refuse")]
    kinds = _coded(built(registry["kind"]), base=16)
    return [
        *enum_class("Kind(enum.IntEnum)", "What a frame is for.", kinds),
        *enum_class("Abort(enum.IntEnum)", "Why a connection is given up.", _coded(found["abort"])),
        *enum_class("Reason(enum.IntEnum)", "Why a side stops.", _coded(found["reason"])),
        *enum_class("HandleKind(enum.IntEnum)", "What a handle is.", _coded(found["handle"])),
        *enum_class("Ext(enum.IntEnum)", "Extension types of values.", _coded(found["ext"])),
        *enum_class("Code(enum.StrEnum)", "Why a message failed.", errors),
        *enum_class("State(enum.Enum)", "Where the connection stands.", names),
        *enum_class("Action(enum.Enum)", "What becomes of an arriving frame.", actions),
    ]


def built_or_all(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that mean something now; registries without a status have no others."""
    return [one for one in entries if one.get("status", "built") == "built"]


def plain_text(registry: Registry, _old: str) -> str:
    """Source of ``awp_v1.py``."""
    flags = built_or_all(registry["flag"])
    handles = [
        (f"HandleKind.{identifier(one['name'])}", literal(one["name"]))
        for one in built(registry["handle"])
    ]
    limits = registry["limit"]
    protocol = registry["protocol"]
    lines = [
        f"MAJOR = {protocol['major']}",
        f"MINOR = {protocol['minor']}",
        "HEADER_SIZE = 16",
        "",
        *(f"FLAG_{one['name']} = {number(one['code'], 16)}" for one in flags),
        "",
        "UNKNOWN_KIND = -1",
        "EOF = -2",
        *_enums(registry),
        *SHAPES,
        *_kinds(registry),
        "",
        *_keys(registry),
        "",
        *_table(registry),
        *_mapping(
            "HANDLE_NAMES: dict[int, str]",
            "Kinds of handles as HELLO and WELCOME name them.",
            handles,
        ),
    ]
    for name in ("default", "floor"):
        items = [(literal(one["name"]), str(one[name])) for one in limits]
        what = {"default": "that are not announced", "floor": "nobody may announce less"}[name]
        lines += _mapping(f"LIMIT_{name.upper()}S: dict[str, int]", f"Limits: {what}.", items)
    capabilities = [
        (literal(one["name"]), str(int(one["level"]))) for one in built(registry["capability"])
    ]
    lines += _mapping(
        "CAPABILITIES: dict[str, int]", "Capabilities, and the level of each.", capabilities
    )
    return "\n".join([*HEAD, *lines]) + "\n"
