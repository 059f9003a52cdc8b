"""The registry as Go: ``gen/awp_v1.go``, as gofmt writes it.

Runs in: neither; part of the generator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from awp_constants import (
    ACTIONS,
    BODIES,
    CHANNELS,
    GENERATED,
    HEADER_SIZE,
    ROLES,
    Constant,
    coded,
    envelopes,
    keys,
    metas,
    named,
    receives,
    sends,
    words,
    wrapped,
)
from awp_registry import Registry, built, states

# As Go writes initials.
INITIALS = {"fd": "FD", "fds": "FDs", "pid": "PID", "pidfd": "PIDFD", "tcp": "TCP", "ttl": "TTL"}
INITIALS |= {"tty": "TTY", "udp": "UDP", "uuid": "UUID"}


def go_name(name: Iterable[str]) -> str:
    """LikeThis, but TTLLikeThis."""
    return "".join(INITIALS.get(word, word.capitalize()) for word in name)


def aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Cells under each other, as gofmt puts those of lines that follow each other."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        yield "\t" + " ".join(cells).rstrip()


def block(
    kind: str, prefix: str, doc: str, entries: Iterable[Constant], base: int = 10
) -> Iterator[str]:
    """Constants of one type; of none if `kind` is empty."""
    lines = []
    for entry in entries:
        value = f"0x{entry.value:02X}" if base == 16 else _literal(entry.value)
        left = [prefix + go_name(entry.words), *([kind] if kind else []), "=", value]
        lines.append([*left, f"// {entry.doc}" if entry.doc else ""])
    yield from ("", *wrapped(doc, 80, "// "), "const (", *aligned(lines), ")")


def _literal(value: int | str) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


def ordinals(kind: str, doc: str, members: Iterable[str], first: int = 0) -> Iterator[str]:
    """A type whose values have no number on the wire."""
    entries = [Constant((word.lower(),), at, "") for at, word in enumerate(members, first)]
    yield from ("", f"// {kind} says {doc}.", f"type {kind} uint8")
    yield from block(kind, kind, f"The values of {kind}.", entries)


def typed(kind: str, under: str, doc: str, entries: list[Constant], base: int = 10) -> list[str]:
    """A type and its values, which can say their names if they are numbers."""
    lines = ["", f"// {kind} is {doc}.", f"type {kind} {under}"]
    return [*lines, *block(kind, kind, f"The values of {kind}.", entries, base)]


def _string(kind: str, names: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from (
        "",
        "// String is the name that the specification uses.",
        f"func (x {kind}) String() string {{",
        "\tswitch x {",
    )
    for constant, name in names:
        yield from (f"\tcase {constant}:", f'\t\treturn "{name}"')
    yield from ("\t}", f'\treturn "{kind}(" + strconv.Itoa(int(x)) + ")"', "}")


def _coded(registry: Registry) -> Iterator[str]:
    for kind, under, doc, entry, base in (
        ("Flag", "uint8", "a set of flags of a frame", "flag", 16),
        ("Kind", "uint8", "what a frame is for", "kind", 16),
        ("Abort", "uint8", "a code of ABORT", "abort", 10),
        ("Reason", "uint8", "why somebody stops or leaves", "reason", 10),
        ("Handle", "uint8", "what a descriptor is", "handle", 10),
        ("Ext", "int8", "an extension type of msgpack in bodies", "ext", 10),
    ):
        entries = coded(registry, entry)
        yield from typed(kind, under, doc, entries, base)
        if entry in {"kind", "abort", "reason", "handle"}:
            names = {one["code"]: one["name"] for one in registry[entry]}
            yield from _string(
                kind, [(kind + go_name(one.words), names[int(one.value)]) for one in entries]
            )


def _ordinals(registry: Registry) -> Iterator[str]:
    yield from ordinals("State", "where a connection stands", states(registry))
    names = [(f"State{name.capitalize()}", name) for name in states(registry)]
    yield from _string("State", names)
    yield from ordinals("Action", "what an arriving frame does", ACTIONS, first=1)
    yield from ordinals("Channel", "which channels a kind goes on", CHANNELS)
    yield from ordinals("Body", "what a broken body breaks", BODIES)


def _names(registry: Registry) -> Iterator[str]:
    yield from typed("Capability", "string", "a capability", named(registry, "capability"))
    yield from typed("ErrorCode", "string", "a code in error maps", named(registry, "error"))
    for of, entries in keys(registry).items():
        prefix = "Key" + go_name(words(of))
        yield from block("", prefix, f"Keys of {of}.", entries)
    for of, entries in metas(registry).items():
        prefix = "Meta" + go_name(words(of))
        yield from block("", prefix, f"Keys of the meta map of a {of}.", entries)
    for of, entries in envelopes(registry).items():
        prefix = "Env" + go_name(words(of))
        yield from block("", prefix, f"Positions in the envelope of {of}.", entries)


LIMIT = """
// Limit is what the registry says of a limit.
type Limit struct {
	Name    string // the key in HELLO, WELCOME and SETTINGS
	Default uint32
	Floor   uint32 // a receiver must not announce less
}
""".rstrip().splitlines()


def _limits(registry: Registry) -> Iterator[str]:
    yield from (*LIMIT, "", "// The limits.", "var (")
    rows = []
    for limit in built(registry["limit"]):
        value = f'Limit{{"{limit["name"]}", {limit["default"]}, {limit["floor"]}}}'
        name = "Limit" + go_name(words(limit["name"]))
        rows.append([name, "=", value, f"// {limit['doc']}"])
    yield from (*aligned(rows), ")")


INFO = """
// KindInfo is what the registry says of a kind.
type KindInfo struct {
	Capability   Capability // must be in force for its use, if it is not ""
	Channel      Channel
	Body         Body
	Level        int // the conformance level it belongs to
	WorkerSends  bool
	PrimarySends bool
	Urgent       bool // may overtake frames that are not urgent
	Charged      bool // costs window bytes
	Handles      bool // its envelope may carry handles
}

// Info is what is known of a kind; false: it is unknown, or reserved, which is the
// same to a receiver (AWP-EV-2).
func (x Kind) Info() (KindInfo, bool) {
	switch x {""".splitlines()


def _infos(registry: Registry) -> Iterator[str]:
    yield from INFO
    for kind in built(registry["kind"]):
        fields = [] if kind["env"] == "any" else [field["name"] for field in kind["env"]]
        values = {
            "Capability": f'"{kind["capability"]}"' if "capability" in kind else "",
            "Channel": f"Channel{kind['channel'].capitalize()}",
            "Body": f"Body{kind['body'].capitalize()}",
            "Level": str(kind["level"]),
            "WorkerSends": "true" if kind["direction"] != "P>W" else "",
            "PrimarySends": "true" if kind["direction"] != "W>P" else "",
            "Urgent": "true" if kind.get("urgent") else "",
            "Charged": "true" if kind.get("charged") else "",
            "Handles": "true" if "handles" in fields else "",
        }
        inner = ", ".join(f"{key}: {value}" for key, value in values.items() if value)
        yield f"\tcase Kind{go_name(words(kind['name']))}:"
        yield f"\t\treturn KindInfo{{{inner}}}, true"
    yield from ("\t}", "\treturn KindInfo{}, false", "}")


def _role(registry: Registry, role: str) -> Iterator[str]:
    name = role.capitalize()
    table = {row.kind: ", ".join(f"0x{code:02X}" for code in row.codes())
             for row in receives(registry, role)}  # fmt: skip
    yield from (
        "",
        f"// {name}Receives says what the {role} does with a frame of this kind that arrives in",
        "// this state, and its state from then on (section 18).",
        f"func {name}Receives(state State, kind Kind) (Action, State) {{",
        f"\trow := [...]uint8{{{table.pop('unknown')}}}",
        "\tswitch kind {",
    )
    eof = table.pop("eof")
    for kind, codes in table.items():
        yield from (f"\tcase Kind{go_name(words(kind))}:", f"\t\trow = [...]uint8{{{codes}}}")
    yield from (
        "\t}",
        "\treturn Action(row[state] & 0x0F), State(row[state] >> 4)",
        "}",
        "",
        f"// {name}AtEOF says what the {role} does at the end of the stream in this state.",
        f"func {name}AtEOF(state State) (Action, State) {{",
        f"\trow := [...]uint8{{{eof}}}",
        "\treturn Action(row[state] & 0x0F), State(row[state] >> 4)",
        "}",
        "",
        f"// {name}MaySend says whether the {role} may send a frame of this kind in this state;",
        "// HELLO and WELCOME only once, and first.",
        f"func {name}MaySend(state State, kind Kind) bool {{",
        "\tvar states uint8 // each state as the bit of its number",
        "\tswitch kind {",
    )
    for bits, kinds in sends(registry, role):
        listed = ",\n\t\t".join(f"Kind{go_name(words(kind))}" for kind in kinds)
        yield from (*f"\tcase {listed}:".splitlines(), f"\t\tstates = 0x{bits:02X}")
    yield from ("\t}", "\treturn states>>state&1 != 0", "}", "")
    yield f"// {name}Sent is the {role}'s state after it sent a frame of this kind."
    yield from (f"func {name}Sent(state State, kind Kind) State {{", "\tswitch kind {")
    for kind, target in registry["sent"][role].items():
        yield f"\tcase Kind{go_name(words(kind))}:"
        yield f"\t\treturn State{target.capitalize()}"
    yield from ("\t}", "\treturn state", "}")


def go_text(registry: Registry, _old: str) -> str:
    """Source of ``gen/awp_v1.go``."""
    protocol = registry["protocol"]
    version = f"{protocol['major']}.{protocol['minor']}"
    lines = [
        f"// {GENERATED}",
        "",
        f"// Package awp has the numbers, names, limits and tables of states of AWP {version}.",
        "package awp",
        "",
        'import "strconv"',
        "",
        "// The version, and the bytes before every body.",
        "const (",
        f"\tMajor      = {protocol['major']}",
        f"\tMinor      = {protocol['minor']}",
        f"\tHeaderSize = {HEADER_SIZE}",
        ")",
        *_coded(registry),
        *_ordinals(registry),
        *_names(registry),
        *_limits(registry),
        *_infos(registry),
    ]
    for role in ROLES:
        lines += _role(registry, role)
    return "\n".join(lines) + "\n"
