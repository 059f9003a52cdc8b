"""The registry as Python: ``actorcluster/wire/_generated.py``, formatted as ruff formats it.

Runs in: neither; part of the generator.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from awp_registry import Registry, built, cells, number, requirement_text, rows, states

WIDTH = 100


def identifier(name: str) -> str:
    """A registry name as the name of an enum member."""
    return re.sub(r"[^0-9A-Za-z]", "_", name).upper()


def literal(value: object) -> str:
    """A Python literal, quoted as the formatter quotes."""
    if isinstance(value, str):
        quote = "'" if value.count('"') > value.count("'") else '"'
        return quote + value.replace("\\", "\\\\").replace(quote, "\\" + quote) + quote
    if isinstance(value, tuple):
        inner = ", ".join(literal(one) for one in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    return repr(value)


def bracketed(before: str, items: Sequence[str], after: str) -> list[str]:
    """A collection on one line if it fits, else one item a line."""
    flat = before + ", ".join(items) + after
    if len(flat) <= WIDTH:
        return [flat]
    indent = " " * (len(before) - len(before.lstrip()))
    return [before, *(f"{indent}    {item}," for item in items), indent + after]


def call(before: str, items: Sequence[str], after: str) -> list[str]:
    """A call on one line if it fits, else its arguments on the next, else one a line."""
    flat = before + ", ".join(items) + after
    indent = " " * (len(before) - len(before.lstrip()))
    inner = f"{indent}    " + ", ".join(items)
    if len(flat) > WIDTH and len(inner) <= WIDTH:
        return [before, inner, indent + after]
    return bracketed(before, items, after)


def enum_class(head: str, doc: str, members: Iterable[tuple[str, str]]) -> list[str]:
    """One enum with its members."""
    body = [f"    {name} = {value}" for name, value in members]
    return ["", "", f"class {head}:", f'    """{doc}"""', "", *body]


def _coded(entries: Iterable[dict[str, Any]], base: int = 10) -> list[tuple[str, str]]:
    return [(identifier(entry["name"]), number(entry["code"], base)) for entry in entries]


def _named(entries: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(identifier(entry["name"]), literal(entry["name"])) for entry in entries]


def _constants(registry: Registry) -> list[str]:
    protocol = registry["protocol"]
    lines = [
        f"NAME = {literal(protocol['name'])}",
        f"MAJOR = {protocol['major']}",
        f"MINOR = {protocol['minor']}",
        f"COMPATIBLE_SINCE = {protocol['compatible_since']}",
        "",
    ]
    lines += [
        f"FLAG_{flag['name']} = {number(flag['code'], 16)}"
        for flag in registry["flag"]
        if flag["name"] != "COMPRESSED"
    ]
    return [*lines, "", "UNKNOWN_KIND = -1", "EOF = -2"]


def _enums(registry: Registry) -> list[str]:
    state_members = [(name, literal(name.lower())) for name in states(registry)]
    actions = [(name.upper(), literal(name)) for name in ("deliver", "ignore", "abort", "refuse")]
    return [
        *enum_class(
            "Kind(enum.IntEnum)", "What a frame is for.", _coded(registry["kind"], base=16)
        ),
        *enum_class(
            "AbortCode(enum.IntEnum)", "Why a connection was given up.", _coded(registry["abort"])
        ),
        *enum_class(
            "Reason(enum.IntEnum)", "Why a side stops or leaves.", _coded(registry["reason"])
        ),
        *enum_class("ErrorCode(enum.StrEnum)", "Why a message failed.", _named(registry["error"])),
        *enum_class(
            "Capability(enum.StrEnum)",
            "What two peers agree to use; not all is built.",
            _named(registry["capability"]),
        ),
        *enum_class(
            "HandleKind(enum.IntEnum)", "What a descriptor is.", _coded(registry["handle"])
        ),
        *enum_class(
            "Ext(enum.IntEnum)", "msgpack extension types in bodies.", _coded(registry["ext"])
        ),
        *enum_class("State(enum.Enum)", "Where a connection stands.", state_members),
        *enum_class("Action(enum.Enum)", "What becomes of an arriving frame.", actions),
    ]


def _kind_row(kind: dict[str, Any]) -> str:
    fields = [] if kind["env"] == "any" else [field["name"] for field in kind["env"]]
    marks = [mark for mark in ("urgent", "charged") if kind.get(mark)]
    values = (
        kind["name"],
        kind["direction"],
        kind["level"],
        kind["channel"],
        kind.get("capability"),
        " ".join(fields),
        " ".join(marks),
    )
    items = [number(kind["code"], 16), *(literal(value) for value in values)]
    return f"    ({', '.join(items)}),"


def _kinds(registry: Registry) -> list[str]:
    lines = []
    for status in ("built", "reserved"):
        chosen = [kind for kind in registry["kind"] if kind["status"] == status]
        lines += [f"_{status.upper()}: tuple[_Row, ...] = (", *map(_kind_row, chosen), ")"]
    return lines


KIND_INFO = '''

@attrs.frozen(eq=False)
class KindInfo:
    """One row of the registry of kinds.

    Attributes:
        code: the number in the frame header.
        name: as in `Kind`.
        direction: who sends it: "W>P", "P>W" or "both".
        urgent: it may overtake frames that are not urgent.
        charged: it costs window bytes.
        level: the conformance level it belongs to.
        capability: must be in force for its use, if any.
        channel: "zero", "opens", "uses", "optional" (0 unless in fragments) or "any".
        handles: its envelope may carry handles.
        fields: names of the envelope's elements, in order.
        status: "built", or "reserved": a receiver treats it as unknown.
    """

    code: int
    name: str
    direction: str
    urgent: bool
    charged: bool
    level: int
    capability: str | None
    channel: str
    handles: bool
    fields: tuple[str, ...]
    status: str


_Row = tuple[int, str, str, int, str, str | None, str, str]


def _kind_info(row: _Row, status: str) -> KindInfo:
    code, name, direction, level, channel, capability, words, marks = row
    fields = tuple(words.split())
    return KindInfo(
        code=code,
        name=name,
        direction=direction,
        urgent="urgent" in marks,
        charged="charged" in marks,
        level=level,
        capability=capability,
        channel=channel,
        handles="handles" in fields,
        fields=fields,
        status=status,
    )


# code, name, direction, level, channel, capability, envelope, marks
'''.splitlines()

KINDS = """KINDS: dict[int, KindInfo] = {
    row[0]: _kind_info(row, status)
    for status, rows in (("built", _BUILT), ("reserved", _RESERVED))
    for row in rows
}""".splitlines()

TABLES = """

_Cell = tuple[Action, State | None]


def _by_state(
    rows: dict[int, tuple[_Cell, ...]],
) -> dict[State, dict[int, tuple[Action, State]]]:
    return {
        state: {kind: (cells[at][0], cells[at][1] or state) for kind, cells in rows.items()}
        for at, state in enumerate(State)
    }


""".splitlines()


def _alias(action: str, target: str) -> str:
    if target:
        return f"_TO_{target}"
    return {"deliver": "_OK", "ignore": "_SKIP", "abort": "_NO", "refuse": "_REFUSE"}[action]


def _aliases(registry: Registry) -> list[str]:
    used = {
        cell
        for role in ("worker", "primary")
        for row in rows(registry)
        for cell in cells(registry, role, row)
    }
    lines = []
    for action, target in sorted(used):
        after = "State.CLOSED" if action == "abort" else f"State.{target}" if target else "None"
        lines.append(f"{_alias(action, target)}: _Cell = (Action.{action.upper()}, {after})")
    return lines


def _receive_table(registry: Registry, role: str) -> list[str]:
    lines = [
        "",
        f"# Frames that the {role} receives: table[state][kind] = (action, state afterwards).",
        f"{role.upper()}_TABLE: dict[State, dict[int, tuple[Action, State]]] = _by_state(",
        "    {",
    ]
    special = {"unknown": "UNKNOWN_KIND", "eof": "EOF"}
    codes = {kind["name"]: number(kind["code"], 16) for kind in registry["kind"]}
    for row in rows(registry):
        key = special.get(row) or codes[row]
        aliases = [_alias(*cell) for cell in cells(registry, role, row)]
        lines += bracketed(f"        {key}: (", aliases, "),")
    return [*lines, "    }", ")"]


def _send_table(registry: Registry, role: str) -> list[str]:
    codes = {kind["name"]: number(kind["code"], 16) for kind in registry["kind"]}
    lines = [
        "",
        f"# Kinds that the {role} may send.",
        f"{role.upper()}_SENDS: dict[State, frozenset[int]] = {{",
    ]
    for state in states(registry):
        words = sorted(registry["send"][role][state].split(), key=lambda name: codes[name])
        if words:
            lines += _frozenset(f"    State.{state}: ", [codes[name] for name in words], ",")
        else:
            lines.append(f"    State.{state}: frozenset(),")
    after = registry["sent"][role].items()
    lines += ["}", f"# The {role}'s state after sending; other kinds change nothing."]
    items = [f"{codes[name]}: State.{target}" for name, target in after]
    head = f"{role.upper()}_AFTER_SENDING: dict[int, State] = {{"
    return [*lines, *bracketed(head, items, "}")]


def _frozenset(before: str, items: Sequence[str], after: str) -> list[str]:
    flat = f"{before}frozenset({{{', '.join(items)}}}){after}"
    if len(flat) <= WIDTH:
        return [flat]
    indent = " " * (len(before) - len(before.lstrip()))
    inner = bracketed(f"{indent}    {{", items, "}")
    return [f"{before}frozenset(", *inner, f"{indent}){after}"]


def _dictionary(head: str, items: Iterable[tuple[str, str]]) -> list[str]:
    lines = [f"    {key}: {value}," for key, value in items]
    return [f"{head} = {{", *lines, "}"] if lines else [f"{head} = {{}}"]


def _collections(registry: Registry) -> list[str]:
    limits = registry["limit"]
    lines = ["", "", "# What is specified and implemented now."]
    for name, entries in (("CAPABILITIES", "capability"), ("HANDLE_NAMES", "handle")):
        items = [literal(entry["name"]) for entry in built(registry[entries])]
        lines += _frozenset(f"BUILT_{name}: frozenset[str] = ", items, "")
    names = [(str(entry["code"]), literal(entry["name"])) for entry in registry["handle"]]
    lines += ["", "# Handle kinds as HELLO and WELCOME name them."]
    lines += _dictionary("HANDLE_NAMES: dict[int, str]", names)
    lines += ["", "# A receiver's limits unless it says otherwise, and what it must support."]
    for name in ("default", "floor"):
        values = [(literal(limit["name"]), str(limit[name])) for limit in limits]
        lines += _dictionary(f"LIMIT_{name.upper()}S: dict[str, int]", values)
    return lines


def _requirements(registry: Registry) -> list[str]:
    entries = built(registry["requirement"])
    texts = [(literal(entry["id"]), literal(requirement_text(entry))) for entry in entries]
    head = ["", "# The testable sentences of protocol/SPEC.md."]
    return [*head, *_dictionary("REQUIREMENTS: dict[str, str]", texts)]


HEAD = '''"""Numbers, names, limits and state tables of the protocol: generated, do not edit.

Runs in: both

Written by protocol/generate.py from protocol/awp.v1.toml.
"""

# ruff: noqa: E501  (a row of a table is a line)

from __future__ import annotations

import enum

import attrs
'''.splitlines()


def python_text(registry: Registry, _old: str) -> str:
    """Source of ``actorcluster/wire/_generated.py``, formatted as ruff formats it."""
    roles = ("worker", "primary")
    lines = [
        *_constants(registry),
        *_enums(registry),
        *KIND_INFO,
        *_kinds(registry),
        *KINDS,
        *_collections(registry),
        *TABLES,
        *_aliases(registry),
        *(line for role in roles for line in _receive_table(registry, role)),
        *(line for role in roles for line in _send_table(registry, role)),
        *_requirements(registry),
    ]
    return "\n".join([*HEAD, "", *lines]) + "\n"
