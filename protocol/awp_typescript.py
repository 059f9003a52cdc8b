"""The registry as TypeScript: ``gen/awp_v1.ts``, a module without dependencies.

Runs in: neither; part of the generator.

There are no TypeScript enums in it: what is written here becomes JavaScript by leaving the types
out, as Node does it by itself.
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

WIDTH = 80


def doc(text: str, indent: str = "") -> list[str]:
    """A documentation comment."""
    flat = f"{indent}/** {text} */"
    if len(flat) <= WIDTH:
        return [flat]
    return [f"{indent}/**", *wrapped(text, WIDTH, f"{indent} * "), f"{indent} */"]


def camel(name: str) -> str:
    """Like_this as LikeThis."""
    return "".join(word.capitalize() for word in words(name))


def literal(value: int | str, base: int) -> str:
    """A number or a string."""
    if isinstance(value, str):
        return f'"{value}"'
    return f"0x{value:02x}" if base == 16 else str(value)


def members(entries: Iterable[Constant], base: int, indent: str) -> Iterator[str]:
    """The properties of an object, with what they mean."""
    for entry in entries:
        yield from doc(entry.doc, indent) if entry.doc else []
        yield f"{indent}{entry.upper()}: {literal(entry.value, base)},"


def enum(name: str, about: str, entries: Iterable[Constant], base: int = 10) -> Iterator[str]:
    """An object of values, and their type under the same name."""
    yield from ("", *doc(about), f"export const {name} = {{", *members(entries, base, "  "))
    yield "} as const;"
    flat = f"export type {name} = (typeof {name})[keyof typeof {name}];"
    yield flat


def ordinals(name: str, about: str, found: Iterable[str]) -> Iterator[str]:
    """A type of words that have no number on the wire."""
    entries = [Constant((word.lower(),), word.lower(), "") for word in found]
    return enum(name, about, entries)


def nested(name: str, about: str, parts: dict[str, list[Constant]]) -> Iterator[str]:
    """An object of objects."""
    yield from ("", *doc(about), f"export const {name} = {{")
    for of, entries in parts.items():
        yield from (f"  {of.upper()}: {{", *members(entries, 10, "    "), "  },")
    yield "} as const;"


def _limits(registry: Registry) -> Iterator[str]:
    yield from (
        "",
        *doc("Limits: the default, and the least that a receiver may announce."),
        "export const Limit = {",
    )
    for limit in built(registry["limit"]):
        yield from doc(limit["doc"], "  ")
        yield f"  {limit['name']}: {{ default: {limit['default']}, floor: {limit['floor']} }},"
    yield from ("} as const;", "export type LimitName = keyof typeof Limit;")


INFO = """
/** What the registry says of a kind. */
export interface KindInfo {
  /** As in the specification. */
  readonly name: keyof typeof Kind;
  /** Must be in force for its use, if any. */
  readonly capability: Capability | null;
  readonly channel: Channel;
  readonly body: Body;
  /** The conformance level it belongs to. */
  readonly level: number;
  readonly workerSends: boolean;
  readonly primarySends: boolean;
  /** It may overtake frames that are not urgent. */
  readonly urgent: boolean;
  /** It costs window bytes. */
  readonly charged: boolean;
  /** Its envelope may carry handles. */
  readonly handles: boolean;
}

/**
 * What is known of a kind, by its number. What is not here is unknown, or
 * reserved, which is the same to a receiver (AWP-EV-2).
 */
export const KINDS: ReadonlyMap<number, KindInfo> = new Map<number, KindInfo>([
""".rstrip().splitlines()


def _infos(registry: Registry) -> Iterator[str]:
    yield from INFO
    for kind in built(registry["kind"]):
        fields = [] if kind["env"] == "any" else [field["name"] for field in kind["env"]]
        needs = kind.get("capability")
        values: dict[str, object] = {
            "name": f'"{kind["name"]}"',
            "capability": f'"{needs}"' if needs else "null",
            "channel": f'"{kind["channel"]}"',
            "body": f'"{kind["body"]}"',
            "level": kind["level"],
            "workerSends": kind["direction"] != "P>W",
            "primarySends": kind["direction"] != "W>P",
            "urgent": kind.get("urgent", False),
            "charged": kind.get("charged", False),
            "handles": "handles" in fields,
        }
        yield from ("  [", f"    Kind.{kind['name']},", "    {")
        yield from (
            f"      {key}: {str(value).lower() if isinstance(value, bool) else value},"
            for key, value in values.items()
        )
        yield from ("    },", "  ],")
    yield "]);"


STEP = """
/** What an arriving frame does, and the state from then on. */
export interface Step {
  readonly action: Action;
  readonly next: State;
}

const STATES: readonly State[] = [
{states}
];
const ACTIONS: readonly Action[] = [{actions}];

/** One byte: the action from 1 up in the low half, the state in the high. */
function step(row: readonly number[], state: State): Step {
  const cell = row[STATES.indexOf(state)] ?? 0;
  const action = ACTIONS[(cell & 0x0f) - 1];
  const next = STATES[cell >> 4];
  if (action === undefined || next === undefined) {
    throw new RangeError(`no such state: ${state}`);
  }
  return { action, next };
}"""


def _step(registry: Registry) -> list[str]:
    text = STEP.replace("{states}", "\n".join(f'  "{one.lower()}",' for one in states(registry)))
    return text.replace("{actions}", ", ".join(f'"{one}"' for one in ACTIONS)).splitlines()


RECEIVES = """
/**
 * What the {role} does with a frame of this kind that arrives in this state
 * (section 18).
 */
export function {role}Receives(state: State, kind: number): Step {
  return step({ROLE}_RECEIVES.get(kind) ?? {ROLE}_UNKNOWN, state);
}

/** What the {role} does at the end of the stream in this state. */
export function {role}AtEof(state: State): Step {
  return step({ROLE}_EOF, state);
}

/**
 * Whether the {role} may send a frame of this kind in this state; HELLO and
 * WELCOME only once, and first.
 */
export function {role}MaySend(state: State, kind: Kind): boolean {
  const states = {ROLE}_SENDS.get(kind) ?? 0;
  return ((states >> STATES.indexOf(state)) & 1) !== 0;
}

/** The {role}'s state after it sent a frame of this kind. */
export function {role}Sent(state: State, kind: Kind): State {
  switch (kind) {"""


def _role(registry: Registry, role: str) -> Iterator[str]:
    upper, last = role.upper(), {}
    yield from ("", f"const {upper}_RECEIVES: ReadonlyMap<number, readonly number[]> = new Map([")
    for row in receives(registry, role):
        codes = ", ".join(f"0x{code:02x}" for code in row.codes())
        if row.kind in {"unknown", "eof"}:
            last[row.kind] = codes
        else:
            yield f"  [Kind.{row.kind}, [{codes}]],"
    yield "]);"
    for name, codes in last.items():
        head = f"const {upper}_{name.upper()}: readonly number[] = ["
        flat = f"{head}{codes}];"
        yield from [flat] if len(flat) <= WIDTH else [head, f"  {codes},", "];"]
    yield "// The states, each as the bit of its number."
    yield f"const {upper}_SENDS: ReadonlyMap<number, number> = new Map(["
    for bits, kinds in sends(registry, role):
        yield from (f"  [Kind.{kind}, 0x{bits:02x}]," for kind in kinds)
    yield "]);"
    yield from RECEIVES.replace("{role}", role).replace("{ROLE}", upper).splitlines()
    for kind, target in registry["sent"][role].items():
        yield from (f"    case Kind.{kind}:", f'      return "{target.lower()}";')
    yield from ("    default:", "      return state;", "  }", "}")


def _constants(registry: Registry) -> Iterator[str]:
    protocol = registry["protocol"]
    yield f"export const MAJOR = {protocol['major']};"
    yield f"export const MINOR = {protocol['minor']};"
    yield from doc("Bytes before every body.")
    yield f"export const HEADER_SIZE = {HEADER_SIZE};"
    yield from enum("Flag", "Flags of a frame.", coded(registry, "flag"), 16)
    yield from enum("Kind", "What a frame is for.", coded(registry, "kind"), 16)
    yield from enum("Abort", "Codes of ABORT.", coded(registry, "abort"))
    yield from enum("Reason", "Reasons in STOP, LEAVE and GOODBYE.", coded(registry, "reason"))
    yield from enum("Handle", "What a descriptor is.", coded(registry, "handle"))
    yield from enum("Ext", "Extension types of msgpack in bodies.", coded(registry, "ext"))
    yield from enum("Capability", "Capabilities.", named(registry, "capability"))
    yield from enum("ErrorCode", "Codes in error maps.", named(registry, "error"))
    about = "Handle kinds as HELLO names them."
    yield from enum("HandleName", about, named(registry, "handle"))
    yield from ordinals("State", "Where a connection stands.", states(registry))
    yield from ordinals("Action", "What an arriving frame does.", ACTIONS)
    yield from ordinals("Channel", "Which channels a kind goes on.", CHANNELS)
    yield from ordinals("Body", "What a broken body breaks.", BODIES)
    yield from _limits(registry)
    yield from nested("Key", "Keys of the maps in payloads.", keys(registry))
    yield from nested("Meta", "Keys of meta maps.", metas(registry))
    yield from nested("Envelope", "Positions of elements of envelopes.", envelopes(registry))


def typescript_text(registry: Registry, _old: str) -> str:
    """Source of ``gen/awp_v1.ts``."""
    protocol = registry["protocol"]
    about = (
        f"AWP {protocol['major']}.{protocol['minor']}: numbers, names, limits, tables of states."
    )
    lines = [
        f"// {GENERATED}",
        "",
        *doc(about),
        "",
        *_constants(registry),
        *_infos(registry),
        *_step(registry),
    ]
    for role in ROLES:
        lines += _role(registry, role)
    return "\n".join(lines) + "\n"
