"""The registry as a C header: ``gen/awp_v1.h``, C11, as clang-format writes it (style LLVM).

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
    wrapped,
)
from awp_registry import Registry, built, states

WIDTH = 80


def comment(text: str, indent: str = "") -> list[str]:
    """A comment of one line or more."""
    lines = wrapped(text, WIDTH - 3, f"{indent} * ")
    lines[0] = f"{indent}/* " + lines[0].removeprefix(f"{indent} * ")
    return [*lines[:-1], lines[-1] + " */"]


def enum(name: str, doc: str, entries: Iterable[Constant], base: int = 10) -> Iterator[str]:
    """An enum whose members are told apart by its name."""
    yield from ("", *comment(doc), f"enum awp_{name} {{")
    for entry in entries:
        assert isinstance(entry.value, int)
        value = f"0x{entry.value:02X}" if base == 16 else str(entry.value)
        if entry.doc:
            yield from comment(entry.doc, "  ")
        yield f"  AWP_{name.upper()}_{entry.upper()} = {value},"
    yield "};"


def ordinals(name: str, doc: str, members: Iterable[str], first: int = 0) -> Iterator[str]:
    """An enum of words that have no number on the wire."""
    found = [Constant((word.lower(),), at, "") for at, word in enumerate(members, first)]
    return enum(name, doc, found)


def define(name: str, value: str) -> str:
    """A constant of the preprocessor, on two lines if it has to be."""
    flat = f"#define {name} {value}"
    return flat if len(flat) <= WIDTH else f"#define {name} \\\n  {value}"


def strings(prefix: str, doc: str, entries: Iterable[Constant]) -> Iterator[str]:
    """Names that are on the wire."""
    yield from ("", *comment(doc))
    for entry in entries:
        yield from comment(entry.doc)
        yield define(f"AWP_{prefix}_{entry.upper()}", f'"{entry.value}"')


def _limits(registry: Registry) -> Iterator[str]:
    yield from (
        "",
        *comment("Limits: the key, the default, and the least that a receiver may announce."),
    )
    for limit in built(registry["limit"]):
        name = limit["name"].upper()
        yield from comment(limit["doc"])
        yield define(f"AWP_LIMIT_{name}", f'"{limit["name"]}"')
        yield define(f"AWP_DEFAULT_{name}", f"UINT32_C({limit['default']})")
        yield define(f"AWP_FLOOR_{name}", f"UINT32_C({limit['floor']})")


INFO = """
/* What the registry says of a kind. */
struct awp_kind_info {
  /* As in the specification, or NULL: this kind is unknown. */
  const char *name;
  /* Must be in force for its use, or NULL. */
  const char *capability;
  enum awp_channel channel;
  enum awp_body body;
  /* The conformance level it belongs to. */
  uint8_t level;
  bool worker_sends;
  bool primary_sends;
  /* May overtake frames that are not urgent. */
  bool urgent;
  /* Costs window bytes. */
  bool charged;
  /* Its envelope may carry handles. */
  bool handles;
};

/* What is known of a kind, or NULL: it is unknown, or reserved, which is the
 * same to a receiver (AWP-EV-2). */
static inline const struct awp_kind_info *awp_kind_info(uint8_t kind) {
  static const struct awp_kind_info infos[256] = {""".splitlines()

INFO_END = """  };
  return infos[kind].name == NULL ? NULL : &infos[kind];
}""".splitlines()


def _infos(registry: Registry) -> Iterator[str]:
    yield from INFO
    for kind in built(registry["kind"]):
        name, needs = kind["name"], kind.get("capability")
        fields = [] if kind["env"] == "any" else [field["name"] for field in kind["env"]]
        values = {
            "name": f'"{name}"',
            "capability": f'"{needs}"' if needs else None,
            "channel": f"AWP_CHANNEL_{kind['channel'].upper()}",
            "body": f"AWP_BODY_{kind['body'].upper()}",
            "level": str(kind["level"]),
            "worker_sends": "true" if kind["direction"] != "P>W" else None,
            "primary_sends": "true" if kind["direction"] != "W>P" else None,
            "urgent": "true" if kind.get("urgent") else None,
            "charged": "true" if kind.get("charged") else None,
            "handles": "true" if "handles" in fields else None,
        }
        yield f"      [AWP_KIND_{name}] ="
        yield "          {"
        yield from (f"              .{key} = {value}," for key, value in values.items() if value)
        yield "          },"
    yield from INFO_END


RECEIVES = """
/* What the {role} does with a frame of this kind that arrives in this state
 * (section 18). Cells: the action, and the state from then on. */
static inline struct awp_step awp_{role}_receives(enum awp_state state,
                                                  uint8_t kind) {{
  static const uint8_t cells[256][{states}] = {{""".lstrip("\n")

SENDS = """
/* Whether the {role} may send a frame of this kind in this state; HELLO and
 * WELCOME only once, and first. */
static inline bool awp_{role}_may_send(enum awp_state state, uint8_t kind) {{
  /* The states, each as the bit of its number. */
  unsigned states = 0;
  switch (kind) {{""".lstrip("\n")


def _receive(registry: Registry, role: str) -> Iterator[str]:
    text = RECEIVES.format(role=role, states=len(states(registry)))
    # Arguments go under each other, or below the name's line where that is too far right.
    yield from ("", *_aligned(text))
    last = {}
    for row in receives(registry, role):
        codes = ", ".join(f"0x{code:02X}" for code in row.codes())
        if row.kind in {"unknown", "eof"}:
            last[row.kind] = codes
        else:
            yield f"      [AWP_KIND_{row.kind}] = {{{codes}}},"
    yield "  };"
    yield f"  static const uint8_t unknown[] = {{{last['unknown']}}};"
    yield "  return awp_step(cells[kind][state] != 0 ? cells[kind][state]"
    yield "                                          : unknown[state]);"
    yield "}"
    yield ""
    yield from comment(f"What the {role} does at the end of the stream in this state.")
    yield f"static inline struct awp_step awp_{role}_at_eof(enum awp_state state) {{"
    yield f"  static const uint8_t cells[] = {{{last['eof']}}};"
    yield "  return awp_step(cells[state]);"
    yield "}"


def _aligned(text: str) -> list[str]:
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("static inline struct"))
    column = lines[at].index("(") + 1
    lines[at + 1] = " " * column + lines[at + 1].lstrip()
    return lines


def _send(registry: Registry, role: str) -> Iterator[str]:
    yield from ("", *SENDS.format(role=role).splitlines())
    for bits, kinds in sends(registry, role):
        yield from (f"  case AWP_KIND_{kind}:" for kind in kinds)
        yield from (f"    states = 0x{bits:02X};", "    break;")
    yield from ("  default:", "    break;", "  }", "  return (states >> state & 1) != 0;", "}", "")
    yield from comment(f"The {role}'s state after it sent a frame of this kind.")
    head = f"static inline enum awp_state awp_{role}_sent("
    yield head + "enum awp_state state,"
    yield " " * len(head) + "uint8_t kind) {"
    yield "  switch (kind) {"
    for kind, target in registry["sent"][role].items():
        yield f"  case AWP_KIND_{kind}:"
        yield f"    return AWP_STATE_{target};"
    yield from ("  default:", "    return state;", "  }", "}")


STEP = """
/* What an arriving frame does. */
struct awp_step {
  enum awp_action action;
  enum awp_state next;
};

static inline struct awp_step awp_step(uint8_t cell) {
  struct awp_step step = {(enum awp_action)(cell & 0x0F),
                          (enum awp_state)(cell >> 4)};
  return step;
}""".splitlines()


def _constants(registry: Registry) -> Iterator[str]:
    protocol = registry["protocol"]
    yield from (
        "",
        f"#define AWP_MAJOR {protocol['major']}",
        f"#define AWP_MINOR {protocol['minor']}",
        *comment("Bytes before every body."),
        f"#define AWP_HEADER_SIZE {HEADER_SIZE}",
    )
    yield from enum("flag", "Flags of a frame.", coded(registry, "flag"), 16)
    yield from enum("kind", "What a frame is for.", coded(registry, "kind"), 16)
    yield from enum("abort", "Codes of ABORT.", coded(registry, "abort"))
    yield from enum("reason", "Reasons in STOP, LEAVE and GOODBYE.", coded(registry, "reason"))
    yield from enum("handle", "What a descriptor is.", coded(registry, "handle"))
    yield from enum("ext", "Extension types of msgpack in bodies.", coded(registry, "ext"))
    yield from ordinals("state", "Where a connection stands.", states(registry))
    yield from ordinals("action", "What an arriving frame does.", ACTIONS, first=1)
    yield from ordinals("channel", "Which channels a kind goes on.", CHANNELS)
    yield from ordinals("body", "What a broken body breaks.", BODIES)
    yield from strings("CAP", "Capabilities.", named(registry, "capability"))
    yield from strings("ERROR", "Error codes, in error maps.", named(registry, "error"))
    yield from strings(
        "HANDLE_NAME", "Handle kinds as HELLO names them.", named(registry, "handle")
    )
    yield from _limits(registry)
    for kind, entries in keys(registry).items():
        yield from strings(f"KEY_{kind.upper()}", f"Keys of {kind}.", entries)
    for of, entries in metas(registry).items():
        yield from strings(f"META_{of.upper()}", f"Keys of the meta map of a {of}.", entries)
    yield from ("", *comment("Positions of the elements of envelopes."))
    for kind, entries in envelopes(registry).items():
        yield from (define(f"AWP_ENV_{kind}_{one.upper()}", str(one.value)) for one in entries)


def c_text(registry: Registry, _old: str) -> str:
    """Source of ``gen/awp_v1.h``."""
    protocol = registry["protocol"]
    about = (
        f"AWP {protocol['major']}.{protocol['minor']}: numbers, names, limits and tables of "
        "states. See SPEC.md. Nothing here has to be linked."
    )
    lines = [
        *comment(GENERATED),
        "",
        *comment(about),
        "",
        "#ifndef AWP_V1_H",
        "#define AWP_V1_H",
        "",
        "#include <stdbool.h>",
        "#include <stddef.h>",
        "#include <stdint.h>",
        *_constants(registry),
        *_infos(registry),
        *STEP,
    ]
    for role in ROLES:
        lines += [*_receive(registry, role), *_send(registry, role)]
    return "\n".join([*lines, "", "#endif"]) + "\n"
