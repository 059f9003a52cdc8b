"""The registry as Rust: ``gen/awp_v1.rs``, a module without dependencies, as rustfmt writes it.

Runs in: neither; part of the generator.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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

WIDTH = 100
DERIVE = "#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]"


def doc(text: str, indent: str = "") -> list[str]:
    """A documentation comment."""
    return wrapped(text, WIDTH, f"{indent}/// ")


def camel(name: str) -> str:
    """A registry name as that of a variant."""
    return "".join(word.capitalize() for word in words(name))


def enum(name: str, about: str, entries: Iterable[Constant], base: int = 10) -> Iterator[str]:
    """An enum of numbers, and the way back from a number."""
    entries = list(entries)
    under = "i8" if any(isinstance(one.value, int) and one.value < 0 for one in entries) else "u8"
    yield from ("", *doc(about), DERIVE, f"#[repr({under})]", f"pub enum {name} {{")
    numbers = [f"0x{one.value:02X}" if base == 16 else str(one.value) for one in entries]
    for entry, value in zip(entries, numbers, strict=True):
        yield from doc(entry.doc, "    ") if entry.doc else []
        yield f"    {entry.camel()} = {value},"
    yield from ("}", "", f"impl {name} {{")
    yield from doc("What a number means, if anything.", "    ")
    yield f"    pub const fn from_code(code: {under}) -> Option<Self> {{"
    yield "        Some(match code {"
    for entry, value in zip(entries, numbers, strict=True):
        yield f"            {value} => Self::{entry.camel()},"
    yield from ("            _ => return None,", "        })", "    }", "}")


def ordinals(name: str, about: str, members: Iterable[str], first: int = 0) -> Iterator[str]:
    """An enum of words that have no number on the wire."""
    entries = [Constant((word.lower(),), at, "") for at, word in enumerate(members, first)]
    yield from ("", *doc(about), DERIVE, "#[repr(u8)]", f"pub enum {name} {{")
    yield from (f"    {entry.camel()} = {entry.value}," for entry in entries)
    yield "}"


def names(module: str, about: str, entries: Iterable[Constant], indent: str = "") -> Iterator[str]:
    """A module of strings that are on the wire."""
    yield from (*doc(about, indent), f"{indent}pub mod {module} {{")
    for entry in entries:
        yield from doc(entry.doc, indent + "    ")
        yield from constant(f"{entry.upper()}: &str", f'"{entry.value}"', indent + "    ")
    yield f"{indent}}}"


def constant(head: str, value: str, indent: str = "") -> list[str]:
    """A constant, on two lines if it has to be."""
    flat = f"{indent}pub const {head} = {value};"
    if len(flat) <= WIDTH:
        return [flat]
    return [f"{indent}pub const {head} =", f"{indent}    {value};"]


def _nested(module: str, about: str, parts: dict[str, list[Constant]]) -> Iterator[str]:
    yield from ("", *doc(about), f"pub mod {module} {{")
    for at, (of, entries) in enumerate(parts.items()):
        if at:
            yield ""
        yield from names(of.lower(), f"{of}.", entries, "    ")
    yield "}"


def _limits(registry: Registry) -> Iterator[str]:
    for module, about, key in (
        ("default", "What a receiver takes that does not say otherwise.", "default"),
        ("floor", "The least that a receiver may announce.", "floor"),
    ):
        yield from ("", *doc(about), f"pub mod {module} {{")
        for limit in built(registry["limit"]):
            yield from doc(limit["doc"], "    ")
            yield from constant(f"{limit['name'].upper()}: u32", f"{limit[key]:_}", "    ")
        yield "}"


def _envelopes(registry: Registry) -> Iterator[str]:
    yield from ("", *doc("Positions of the elements of envelopes."), "pub mod envelope {")
    for at, (kind, entries) in enumerate(envelopes(registry).items()):
        if at:
            yield ""
        yield from (*doc(f"{kind}.", "    "), f"    pub mod {kind.lower()} {{")
        for entry in entries:
            yield from doc(entry.doc, "        ")
            yield from constant(f"{entry.upper()}: usize", str(entry.value), "        ")
        yield "    }"
    yield "}"


INFO = """
/// What the registry says of a kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KindInfo {
    /// As in the specification.
    pub name: &'static str,
    /// Must be in force for its use, if any.
    pub capability: Option<&'static str>,
    /// Which channels it goes on.
    pub channel: Channel,
    /// What a broken body breaks.
    pub body: Body,
    /// The conformance level it belongs to.
    pub level: u8,
    /// A worker sends it.
    pub worker_sends: bool,
    /// A primary sends it.
    pub primary_sends: bool,
    /// It may overtake frames that are not urgent.
    pub urgent: bool,
    /// It costs window bytes.
    pub charged: bool,
    /// Its envelope may carry handles.
    pub handles: bool,
}

impl Kind {
    /// What the registry says of this kind.
    pub const fn info(self) -> KindInfo {
        match self {""".splitlines()


def _infos(registry: Registry) -> Iterator[str]:
    yield from INFO
    for kind in built(registry["kind"]):
        fields = [] if kind["env"] == "any" else [field["name"] for field in kind["env"]]
        needs = kind.get("capability")
        flags = {
            "worker_sends": kind["direction"] != "P>W",
            "primary_sends": kind["direction"] != "W>P",
            "urgent": kind.get("urgent", False),
            "charged": kind.get("charged", False),
            "handles": "handles" in fields,
        }
        values = {
            "name": f'"{kind["name"]}"',
            "capability": f'Some("{needs}")' if needs else "None",
            "channel": f"Channel::{kind['channel'].capitalize()}",
            "body": f"Body::{kind['body'].capitalize()}",
            "level": str(kind["level"]),
            **{name: str(value).lower() for name, value in flags.items()},
        }
        yield f"            Self::{camel(kind['name'])} => KindInfo {{"
        yield from (f"                {key}: {value}," for key, value in values.items())
        yield "            },"
    yield from ("        }", "    }", "}")


STEP = """
impl State {
    const fn from_index(index: u8) -> Self {
        match index {""".splitlines()

STEP_END = """        }
    }
}

const fn step(cell: u8) -> (Action, State) {
    let action = match cell & 0x0F {
        1 => Action::Deliver,
        2 => Action::Ignore,
        3 => Action::Abort,
        _ => Action::Refuse,
    };
    (action, State::from_index(cell >> 4))
}""".splitlines()


def _step(registry: Registry) -> Iterator[str]:
    *first, last = states(registry)
    yield from STEP
    yield from (f"            {at} => Self::{camel(name)}," for at, name in enumerate(first))
    yield f"            _ => Self::{camel(last)},"
    yield from STEP_END


def _role(registry: Registry, role: str) -> Iterator[str]:
    about = (
        f"What the {role} does with a frame of this kind that arrives in this state, and its state "
        "from then on (section 18). None is a kind that is unknown or reserved."
    )
    yield from ("", *doc(about))
    yield f"pub const fn {role}_receives(state: State, kind: Option<Kind>) -> (Action, State) {{"
    yield f"    let row: [u8; {len(states(registry))}] = match kind {{"
    eof = ""
    for row in receives(registry, role):
        codes = ", ".join(f"0x{code:02X}" for code in row.codes())
        if row.kind == "eof":
            eof = codes
        else:
            pattern = "None" if row.kind == "unknown" else f"Some(Kind::{camel(row.kind)})"
            yield f"        {pattern} => [{codes}],"
    yield from ("    };", "    step(row[state as usize])", "}", "")
    yield from doc(f"What the {role} does at the end of the stream in this state.")
    yield f"pub const fn {role}_at_eof(state: State) -> (Action, State) {{"
    yield f"    let row: [u8; {len(states(registry))}] = [{eof}];"
    yield from ("    step(row[state as usize])", "}", "")
    about = "may send a frame of this kind in this state; HELLO and WELCOME only once, and first."
    yield from doc(f"Whether the {role} {about}")
    yield f"pub const fn {role}_may_send(state: State, kind: Kind) -> bool {{"
    yield "    // The states, each as the bit of its number."
    yield "    let states: u8 = match kind {"
    for bits, kinds in sends(registry, role):
        yield from _arm([f"Kind::{camel(kind)}" for kind in kinds], f"0x{bits:02X}")
    yield from ("        _ => 0,", "    };", "    states >> (state as u8) & 1 != 0", "}", "")
    yield from doc(f"The {role}'s state after it sent a frame of this kind.")
    yield f"pub const fn {role}_sent(state: State, kind: Kind) -> State {{"
    yield "    match kind {"
    for kind, target in registry["sent"][role].items():
        yield f"        Kind::{camel(kind)} => State::{camel(target)},"
    yield from ("        _ => state,", "    }", "}")


def _arm(patterns: list[str], value: str) -> Iterator[str]:
    flat = "        " + " | ".join(patterns) + " => "
    if len(flat) + len(value) + 1 <= WIDTH:
        yield f"{flat}{value},"
        return
    if len(flat) + 1 <= WIDTH:
        yield from (flat + "{", f"            {value}", "        }")
        return
    yield f"        {patterns[0]}"
    yield from (f"        | {pattern}" for pattern in patterns[1:-1])
    yield f"        | {patterns[-1]} => {value},"


def _numbers(registry: Registry) -> Iterator[str]:
    protocol = registry["protocol"]
    yield from constant("MAJOR: u8", str(protocol["major"]))
    yield from constant("MINOR: u8", str(protocol["minor"]))
    yield from doc("Bytes before every body.")
    yield from constant("HEADER_SIZE: usize", str(HEADER_SIZE))
    yield from ("", *doc("Flags of a frame."), "pub mod flag {")
    for flag in coded(registry, "flag"):
        yield from doc(flag.doc, "    ")
        yield from constant(f"{flag.upper()}: u8", f"0x{flag.value:02X}", "    ")
    yield "}"
    yield from enum("Kind", "What a frame is for.", coded(registry, "kind"), 16)
    yield from enum("Abort", "Codes of ABORT.", coded(registry, "abort"))
    yield from enum("Reason", "Reasons in STOP, LEAVE and GOODBYE.", coded(registry, "reason"))
    yield from enum("Handle", "What a descriptor is.", coded(registry, "handle"))
    yield from enum("Ext", "Extension types of msgpack in bodies.", coded(registry, "ext"))
    yield from ordinals("State", "Where a connection stands.", states(registry))
    yield from ordinals("Action", "What an arriving frame does.", ACTIONS, first=1)
    yield from ordinals("Channel", "Which channels a kind goes on.", CHANNELS)
    yield from ordinals("Body", "What a broken body breaks.", BODIES)


def rust_text(registry: Registry, _old: str) -> str:
    """Source of ``gen/awp_v1.rs``."""
    protocol = registry["protocol"]
    about = (
        f"AWP {protocol['major']}.{protocol['minor']}: numbers, names, limits, tables of states."
    )
    lines = [
        f"// {GENERATED}",
        "",
        f"//! {about}",
        "",
        "#![allow(dead_code)] // a program needs some of it",
        "",
        *_numbers(registry),
        "",
        *names("capability", "Capabilities.", named(registry, "capability")),
        "",
        *names("error", "Error codes, in error maps.", named(registry, "error")),
        "",
        *names("handle_name", "Handle kinds as HELLO names them.", named(registry, "handle")),
        "",
        *names("limit", "Keys of limits.", named(registry, "limit")),
        *_limits(registry),
        *_nested("key", "Keys of the maps in payloads.", keys(registry)),
        *_nested("meta", "Keys of meta maps.", metas(registry)),
        *_envelopes(registry),
        *_infos(registry),
        *_step(registry),
    ]
    for role in ROLES:
        lines += _role(registry, role)
    return "\n".join(lines) + "\n"
