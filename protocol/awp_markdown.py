"""The registry as Markdown: the tables and requirement sentences of ``SPEC.md``.

Runs in: neither; part of the generator.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from awp_registry import (
    Registry,
    RegistryError,
    built,
    cells,
    number,
    requirement_text,
    rows,
    states,
)

WRAPPER = textwrap.TextWrapper(
    100, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
)


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)


def _envelope(kind: dict[str, Any]) -> str:
    if kind["env"] == "any":
        return "any"
    fields = ", ".join(f"{field['name']}: {field['type']}" for field in kind["env"])
    return f"`[{fields}]`" if fields else "nil"


def kinds_table(registry: Registry) -> str:
    """The kinds that are built."""
    head = ("Code", "Name", "Dir", "Class", "Channel", "Needs", "Level", "Envelope", "Payload")
    body = []
    for kind in built(registry["kind"]):
        marks = ("U" if kind.get("urgent") else "O") + (" $" if kind.get("charged") else "")
        needs = f"`{kind['capability']}`" if "capability" in kind else ""
        code = f"{kind['code']:02X}"
        tail = (f"L{kind['level']}", _envelope(kind), kind["payload"])
        body.append((code, kind["name"], kind["direction"], marks, kind["channel"], needs, *tail))
    return table(head, body)


def meanings_table(registry: Registry) -> str:
    """What each built kind says, and what its body is held to."""
    body = [(kind["name"], kind["body"], kind["doc"]) for kind in built(registry["kind"])]
    return table(("Name", "Body", "Says"), body)


def reserved_list(registry: Registry) -> str:
    """Kinds whose number is taken."""
    taken = [kind for kind in registry["kind"] if kind["status"] == "reserved"]
    return ", ".join(f"{kind['code']:02X} {kind['name']}" for kind in taken) + "."


def ranges_table(registry: Registry) -> str:
    """Numbers that no kind has."""
    body = []
    for entry in registry["range"]:
        first, last = f"{entry['first']:02X}", f"{entry['last']:02X}"
        body.append((first if first == last else f"{first} to {last}", entry["doc"]))
    return table(("Codes", "Use"), body)


def keys_table(registry: Registry, kind: str) -> str:
    """The keys of one kind's payload map."""
    body = [
        (f"`{key['name']}`", key["type"], "yes" if key.get("required") else "", key["doc"])
        for key in registry["key"]
        if key["of"] == kind
    ]
    return table(("Key", "Type", "Required", "Meaning"), body)


def coded_table(registry: Registry, name: str, base: int = 10) -> str:
    """Code, name and meaning of a registry."""
    body = []
    for entry in registry[name]:
        doc = f"*reserved*: {entry['doc']}" if entry.get("status") == "reserved" else entry["doc"]
        body.append((number(entry["code"], base), f"`{entry['name']}`", doc))
    return table(("Code", "Name", "Meaning"), body)


def handles_table(registry: Registry) -> str:
    """The handle kinds."""
    body = [
        (str(entry["code"]), f"`{entry['name']}`", "*reserved*" * (entry["status"] == "reserved"))
        for entry in registry["handle"]
    ]
    return table(("Code", "Name", ""), body)


def meta_table(registry: Registry, of: str) -> str:
    """The keys of one kind of meta map."""
    body = []
    for entry in registry["meta"]:
        if entry["of"] == of:
            mark = "*reserved*: " * (entry["status"] == "reserved")
            body.append((f"`{entry['name']}`", entry["type"], mark + entry["doc"]))
    return table(("Key", "Type", "Meaning"), body)


def limits_table(registry: Registry) -> str:
    """What a receiver announces."""
    body = []
    for limit in registry["limit"]:
        mark = "*reserved*: " * (limit["status"] == "reserved")
        values = (f"{limit['default']:,}", f"{limit['floor']:,}")
        body.append((f"`{limit['name']}`", *values, mark + limit["doc"]))
    return table(("Key", "Default", "Floor", "Bounds"), body)


def capabilities_table(registry: Registry) -> str:
    """What may be agreed upon."""
    body = []
    for entry in registry["capability"]:
        mark = "*reserved*: " * (entry["status"] == "reserved")
        body.append((f"L{entry['level']}", f"`{entry['name']}`", mark + entry["doc"]))
    return table(("Level", "Name", "Covers"), body)


def errors_table(registry: Registry) -> str:
    """The error codes."""
    body = [(f"`{entry['name']}`", entry["doc"]) for entry in registry["error"]]
    return table(("Code", "Meaning"), body)


def states_table(registry: Registry) -> str:
    """What each state means on each side."""
    body = [(entry["name"], entry["worker"], entry["primary"]) for entry in registry["state"]]
    return table(("State", "the worker", "the primary"), body)


def receive_table(registry: Registry, role: str) -> str:
    """What becomes of a frame that this role receives."""
    body = []
    for row in rows(registry):
        found = cells(registry, role, row)
        shown = [f"{action} → {target}" if target else action for action, target in found]
        body.append((row, *shown))
    return table(("Frame", *states(registry)), body)


def send_table(registry: Registry, role: str) -> str:
    """What this role may send, and the state it is in afterwards."""
    after = registry["sent"][role]
    body = []
    for state in states(registry):
        words = registry["send"][role][state].split()
        shown = [f"{word} → {after[word]}" if word in after else word for word in words]
        body.append((state, ", ".join(shown) or "nothing"))
    return table(("State", f"the {role} may send"), body)


PARTS: dict[str, Callable[[Registry], str]] = {
    "kinds": kinds_table,
    "meanings": meanings_table,
    "reserved": reserved_list,
    "ranges": ranges_table,
    "flags": lambda registry: coded_table(registry, "flag", base=16),
    "aborts": lambda registry: coded_table(registry, "abort"),
    "reasons": lambda registry: coded_table(registry, "reason"),
    "ext": lambda registry: coded_table(registry, "ext"),
    "errors": errors_table,
    "handles": handles_table,
    "limits": limits_table,
    "capabilities": capabilities_table,
    "states": states_table,
}


def part(registry: Registry, name: str) -> str:
    """The generated text between one pair of markers."""
    first, _, rest = name.partition(" ")
    with_argument: dict[str, Callable[[Registry, str], str]] = {
        "keys": keys_table,
        "meta": meta_table,
        "receive": receive_table,
        "send": send_table,
    }
    if first in with_argument:
        return with_argument[first](registry, rest)
    if name in PARTS:
        return PARTS[name](registry)
    raise RegistryError(f"SPEC.md asks for an unknown part: {name}")


def _sentence(entry: dict[str, Any]) -> str:
    text = requirement_text(entry)
    return f"*reserved*: {text}" if entry["status"] == "reserved" else text


MARKED = re.compile(r"<!-- begin (?P<name>[^>]+?) -->\n.*?<!-- end -->", re.DOTALL)
SENTENCE = re.compile(
    r"^\* \*\*\[(?P<id>AWP-[A-Z]{2}-\d+)\]\*\*(?:[ ].*)?\n(?: +\S.*\n)*", re.MULTILINE
)


def spec_text(registry: Registry, old: str) -> str:
    """SPEC.md with its tables and requirement sentences brought up to date.

    Raises:
        RegistryError: a requirement is missing in the text or in the registry, or is there twice.
    """
    texts = {entry["id"]: _sentence(entry) for entry in registry["requirement"]}
    stated = [match["id"] for match in SENTENCE.finditer(old)]
    problems = [f"SPEC.md does not state {one}" for one in texts if one not in stated]
    problems += [f"SPEC.md states {one} twice" for one in set(stated) if stated.count(one) > 1]
    mentioned = set(re.findall(r"AWP-[A-Z]{2}-\d+", old))
    problems += [f"the registry lacks {one}" for one in sorted(mentioned - set(texts))]
    if problems:
        raise RegistryError("\n".join(problems))

    def sentence(match: re.Match[str]) -> str:
        text = f"* **[{match['id']}]** {texts[match['id']]}"
        return WRAPPER.fill(text) + "\n"

    def marked(match: re.Match[str]) -> str:
        name = match["name"]
        return f"<!-- begin {name} -->\n{part(registry, name)}\n<!-- end -->"

    return MARKED.sub(marked, SENTENCE.sub(sentence, old))
