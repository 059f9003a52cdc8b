"""The registry as JSON Schema of the vectors: ``awp.v1.schema.json``, draft 2020-12.

Runs in: neither; part of the generator.

One schema for every file of ``vectors/``: a list of vectors, or the preludes. Whatever stands for a
value of the protocol is held to the diagnostic form, and every frame to the shapes that the
registry gives to the envelope and payload of its kind. What only arithmetic can tell, that `bytes`
joined give `hex` for example, is not in it: vectors are decoded by tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from awp_forms import Schema, array_of, closed, diagnostic, nullable, ref
from awp_registry import Registry, RegistryError, built, states

WIDTH = 90

# ---- what the registry's types mean -------------------------------------------------------------

PLACE: Schema = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "prefixItems": [{"type": "string"}, {"type": "integer"}],
            "items": False,
            "minItems": 2,
        },
    ]
}
VERSION: Schema = {"type": "array", "items": ref("u64"), "minItems": 2}

#: Of the keys of maps.
KEY_TYPES: dict[str, Schema] = {
    "str": {"type": "string"},
    "int": ref("int"),
    "u8": {"type": "integer", "minimum": 0, "maximum": 255},
    "number": ref("number"),
    "bool": {"type": "boolean"},
    "map": ref("map"),
    "any": {},
    "bin": ref("bin"),
    "bin(16)": closed({"$bin": {"type": "string", "pattern": "^[0-9a-f]{32}$"}}),
    "[str]": array_of({"type": "string"}),
    "[aid]": array_of(ref("u64")),
    "[major, minor]": VERSION,
    "[[major, minor], ...]": array_of(VERSION),
    "[host, port] or str": PLACE,
    "str or int": {"type": ["string", "integer"]},
    "address": {"anyOf": [PLACE, ref("bin")]},
    "aid": ref("u64"),
    "error map": ref("error"),
}

#: Of the elements of envelopes.
ENVELOPE_TYPES: dict[str, Schema] = {
    "u8": KEY_TYPES["u8"],
    "u32": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    "u64": ref("u64"),
    "f64": ref("number"),
    "str": {"type": "string"},
    "aid": ref("u64"),
    "address": {"anyOf": [{"type": "string"}, ref("u64")]},
    "any": {},
    "map": ref("meta.message"),
    "array<handle>": array_of(ref("handle")),
    "array<u64>": array_of(ref("u64")),
}


def _type(types: dict[str, Schema], name: str) -> Schema:
    if name not in types:
        raise RegistryError(f"no schema for the type {name}")
    return types[name]


def _keys(entries: Iterable[dict[str, Any]]) -> dict[str, Schema]:
    found = {}
    for entry in entries:
        schema = _type(KEY_TYPES, entry["type"])
        found[entry["name"]] = schema if entry.get("required") or not schema else nullable(schema)
    return found


def _map_of(entries: list[dict[str, Any]]) -> Schema:
    """A map with these keys, and any others."""
    required = [entry["name"] for entry in entries if entry.get("required")]
    schema = {**ref("map"), "properties": _keys(entries)}
    return {**schema, "required": required} if required else schema


def _payloads(registry: Registry) -> dict[str, Schema]:
    """For each kind its payload, and the same with none of the keys required."""
    entries: dict[str, list[dict[str, Any]]] = {}
    for key in registry["key"]:
        entries.setdefault(key["of"], []).append(key)
    found: dict[str, Schema] = {"error": _map_of(entries["error"])}
    for kind in built(registry["kind"]):
        name, payload = kind["name"], kind["payload"]
        if payload == "map":
            whole = _map_of(entries.get(name, []))
            found[f"part.{name}"] = nullable({k: v for k, v in whole.items() if k != "required"})
            found[f"payload.{name}"] = whole if "required" in whole else nullable(whole)
        elif payload == "error":
            found[f"part.{name}"] = {**ref("map"), "properties": _keys(entries["error"])}
            found[f"payload.{name}"] = ref("error")
        elif payload.startswith("[message"):
            record = [{"type": "string"}, nullable(ref("map"))]
            array = {"type": "array", "prefixItems": record, "items": ref("value"), "minItems": 1}
            found[f"part.{name}"] = found[f"payload.{name}"] = array
        elif payload in {"nil", "any"}:  # nobody looks at what is there in place of nil
            found[f"part.{name}"] = found[f"payload.{name}"] = ref("value")
        else:
            raise RegistryError(f"no schema for the payload {payload}")
    return found


def _envelope(kind: dict[str, Any]) -> Schema:
    if not kind["env"] or kind["env"] == "any":
        return ref("value")
    items, least = [], 0
    for at, field in enumerate(kind["env"]):
        name, optional = field["type"].removesuffix("?"), field["type"].endswith("?")
        schema = _type(ENVELOPE_TYPES, name)
        items.append(nullable(schema) if optional and schema else schema)
        least = least if optional else at + 1
    array = {"type": "array", "prefixItems": items, "items": ref("value"), "minItems": least}
    return array if least else nullable(array)


def _metas(registry: Registry) -> dict[str, Schema]:
    found = {}
    for of in ("message", "handle"):
        entries = [entry for entry in built(registry["meta"]) if entry["of"] == of]
        found[f"meta.{of}"] = _map_of(entries)
    entry = [{"type": "integer"}, nullable(ref("meta.handle"))]
    found["handle"] = {"type": "array", "prefixItems": entry, "minItems": 1}
    return found


# ---- the vectors --------------------------------------------------------------------------------

#: What a library tells its user, and the fields that a vector may name of it.
EVENTS = """
Hello version capabilities limits handles pid worker token implementation
Welcome version worker cluster capabilities limits handles heartbeat config name
Ready info
Serving info address
Stop deadline reason
Leave reason
Goodbye reason received detail
Aborted code detail
Pong body
SettingsChanged settings
CreditGranted available
Acknowledged upto
Unimplemented kind channel
TellReceived to sender body handles meta charge number
CallReceived to sender body handles meta charge number channel
ReplyReceived channel body handles meta
ErrorReceived channel error
Cancelled channel reason
Undeliverable number to error
HandlesAcknowledged upto lost
Listen channel request
Listening channel mode address data handle policy
Connections channel first handles meta
ConnReply channel upto rejected
ConnCredit channel count closed dropped
ListenClosed channel
Monitored number target
Demonitored number
Down number aid reason detail
ExitInfo info
Log level time logger message attributes
"""
COUNT: Schema = {"type": "integer", "minimum": 1}
U8: Schema = KEY_TYPES["u8"]
U32: Schema = ENVELOPE_TYPES["u32"]
TEXT: Schema = {"type": "string", "pattern": "\\S"}


def _chosen(keys: str, name: str, cases: dict[str, dict[str, Schema]]) -> list[Schema]:
    """Further demands that hang on the value of one key."""
    return [
        {"if": {"properties": {keys: {"const": value}}}, "then": {name: demands}}
        for value, demands in cases.items()
    ]


def _frame(registry: Registry) -> Schema:
    """One frame: a piece of a message, or what its kind demands."""
    names = {"envelope": ref("value"), "payload": ref("value")}
    required = {"kind": ref("kind"), "flags": U8, "nfds": U8, "channel": U32, **names}
    kinds = [kind["name"] for kind in built(registry["kind"])]
    cases = {
        name: {"envelope": ref(f"envelope.{name}"), "payload": ref(f"payload.{name}")}
        for name in kinds
    }
    piece = next(flag["code"] for flag in registry["flag"] if flag["name"] == "FRAG")
    is_piece = {"properties": {"flags": {"enum": [n for n in range(256) if n & piece]}}}
    return {
        **closed(required),
        "if": is_piece,
        "then": {"properties": {"payload": ref("bin")}},
        "else": {"allOf": _chosen("kind", "properties", cases)},
    }


def _answer(registry: Registry) -> Schema:
    """A frame of which only that counts which is named."""
    required = {"kind": ref("kind"), "channel": U32}
    optional = {
        "envelope": ref("value"),
        "payload": ref("value"),
        "body": ref("hex"),
        "repeat": COUNT,
    }
    kinds = [kind["name"] for kind in built(registry["kind"])]
    cases = {
        name: {"envelope": ref(f"envelope.{name}"), "payload": ref(f"part.{name}")}
        for name in kinds
    }
    return {**closed(required, optional), "allOf": _chosen("kind", "properties", cases)}


def _event() -> Schema:
    rows = [line.split() for line in EVENTS.strip().splitlines()]
    cases = [
        {
            "if": {"properties": {"event": {"const": name}}},
            "then": {"propertyNames": {"enum": ["event", "repeat", *fields]}},
        }
        for name, *fields in rows
    ]
    return {
        "type": "object",
        "required": ["event"],
        "properties": {"event": {"enum": [row[0] for row in rows]}, "repeat": COUNT},
        "additionalProperties": ref("told"),
        "allOf": cases,
    }


def _enums(registry: Registry) -> dict[str, Schema]:
    kinds = [kind["name"] for kind in registry["kind"]]
    unknown = {"type": "string", "pattern": "^0x[0-9a-f]{2}$"}
    return {
        "kind": {"anyOf": [{"enum": kinds}, unknown]},
        "requirement": {"enum": [entry["id"] for entry in built(registry["requirement"])]},
        "limit": {"enum": [limit["name"] for limit in registry["limit"]]},
        "state": {"enum": states(registry)},
        "abort-code": {"enum": [entry["name"] for entry in registry["abort"]]},
    }


def _parts() -> dict[str, Schema]:
    """The parts of stream vectors."""
    pieces = {
        "type": "array",
        "items": {
            "type": "array",
            "prefixItems": [ref("hex"), TEXT],
            "items": False,
            "minItems": 2,
        },
    }
    names = array_of({"type": "string"})
    read = {"fds": names, "truncated": {"const": True}, "repeat": COUNT}
    said = {"bytes": ref("pieces"), "comment": TEXT, "fds": names}
    abort = {"code": ref("abort-code"), "requirement": array_of(ref("requirement"), least=1)}
    upto = {"upto": ref("u64"), "lost": array_of(ref("u64"))}
    return {
        "pieces": pieces,
        "read": closed({"hex": ref("hex"), "bytes": ref("pieces")}, read),
        "step": {
            "oneOf": [
                closed({"send": ref("hex")}, said),
                closed({"receive": ref("hex")}, said),
            ]
        },
        "abort": closed(abort, {"optional": {"const": True}}),
        "handle-ack": closed(upto),
        "prelude": closed(
            {
                "role": {"enum": ["worker", "primary"]},
                "comment": TEXT,
                "steps": array_of(ref("step")),
            }
        ),
    }


def _vectors() -> dict[str, Schema]:
    head = {
        "id": {"type": "string", "pattern": "^[a-z0-9.-]+$"},
        "requirements": array_of(ref("requirement"), least=1),
        "comment": TEXT,
    }
    frame = {
        "hex": ref("hex"),
        "bytes": ref("pieces"),
        "frame": ref("frame"),
        "canonical": {"type": "boolean"},
    }
    stream = {
        "prelude": {"type": "string"},
        "reads": array_of(ref("read")),
        "expect": array_of(ref("event")),
    }
    more = {
        "limits": array_of(ref("limit"), least=1),
        "before": array_of(ref("step"), least=1),
        "exact": {"const": True},
        "eof": {"enum": ["orderly", "lost"]},
        "answers": array_of(ref("answer")),
        "may_answer": array_of(ref("answer")),
        "handle_ack": ref("handle-ack"),
        "abort": ref("abort"),
        "discarded": array_of({"type": "string"}),
        "state": ref("state"),
    }
    return {
        "frame-vector": closed({**head, "kind": {"const": "frame"}, **frame}),
        "stream-vector": closed({**head, "kind": {"const": "stream"}, **stream}, more),
    }


def _transcript() -> Schema:
    """What the conformance kit writes of a case that failed; what was said may be anything."""
    said: dict[str, Schema] = {
        "time": {"type": "number", "minimum": 0},
        "fds": array_of({"type": "string"}),
        "cut": COUNT,
        "comment": {"type": "string"},
    }
    heard = {"time": said["time"], "kind": ref("kind"), "flags": U8, "nfds": U8, "channel": U32}
    body = {"body": ref("hex"), "envelope": ref("value"), "payload": ref("value")}
    step = {"oneOf": [closed({who: ref("hex")}, said) for who in ("send", "receive")]}
    return closed(
        {
            "id": {"type": "string", "pattern": "^transcript\\."},
            "kind": {"const": "stream"},
            "requirements": array_of(ref("requirement")),
            "comment": {"type": "string"},
            "prelude": closed({"role": {"const": "worker"}, "steps": array_of(step)}),
            "before": array_of(step),
            "reads": array_of(closed({"hex": ref("hex")}, said)),
            "expect": {"type": "array", "maxItems": 0},
            "observed": array_of(closed(heard, body)),
        }
    )


def schema_text(registry: Registry, _old: str) -> str:
    """The text of ``awp.v1.schema.json``."""
    protocol = registry["protocol"]
    is_frame = {"properties": {"kind": {"const": "frame"}}}
    kinds = built(registry["kind"])
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated by protocol/generate.py from protocol/awp.v1.toml: do not edit.",
        "title": f"Vectors of AWP {protocol['major']}.{protocol['minor']}",
        "if": {"type": "array"},
        "then": {
            "items": {
                "type": "object",
                "required": ["kind"],
                "if": is_frame,
                "then": ref("frame-vector"),
                "else": {
                    "if": {"required": ["observed"]},
                    "then": ref("transcript"),
                    "else": ref("stream-vector"),
                },
            }
        },
        "else": {"type": "object", "additionalProperties": ref("prelude")},
        "$defs": {
            **_vectors(),
            "transcript": _transcript(),
            **_parts(),
            **_enums(registry),
            "frame": _frame(registry),
            "answer": _answer(registry),
            "event": _event(),
            **diagnostic(),
            **_metas(registry),
            **{f"envelope.{kind['name']}": _envelope(kind) for kind in kinds},
            **_payloads(registry),
        },
    }
    return _written(schema, "") + "\n"


def _written(value: Any, indent: str) -> str:
    """JSON, with everything on one line that has room there."""
    flat = json.dumps(value)
    if len(indent) + len(flat) <= WIDTH or not isinstance(value, dict | list):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_written(one, inner)}" for key, one in value.items()]
        return "{\n" + ",\n".join(inner + item for item in items) + f"\n{indent}}}"
    items = [_written(one, inner) for one in value]
    return "[\n" + ",\n".join(inner + item for item in items) + f"\n{indent}]"
