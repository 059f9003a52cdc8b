"""The diagnostic form of values as JSON Schema, and words that the rest of the schema is made of.

Runs in: neither; part of the generator.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

SAFE = 2**53 - 1


def ref(name: str) -> Schema:
    """Another definition."""
    return {"$ref": f"#/$defs/{name}"}


def nullable(schema: Schema) -> Schema:
    """Absent or nil."""
    return {"anyOf": [schema, {"type": "null"}]}


def array_of(schema: Schema, *, least: int = 0) -> Schema:
    """An array of one type."""
    return {"type": "array", "items": schema, **({"minItems": least} if least else {})}


def closed(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """An object of a vector, in which every key has a meaning."""
    return {
        "type": "object",
        "required": [*required],
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }


HEX: Schema = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
INTEGER: Schema = {"type": "integer", "minimum": -SAFE, "maximum": SAFE}
BIG: Schema = {"type": "string", "pattern": "^-?[1-9][0-9]{15,19}$"}
FLOAT: Schema = {
    "type": "string",
    "pattern": "^(nan|-?inf|-?(0|[1-9][0-9]*)|-?[1-9](\\.[0-9]+)?e\\+[0-9]+)$",
}
#: An object that is not a map.
ONE_FORM: Schema = {
    "minProperties": 1,
    "maxProperties": 1,
    "propertyNames": {"pattern": "^\\$"},
}
BYTE: Schema = {"type": "integer", "minimum": -128, "maximum": 127}


def _forms(value: str, *, handles: bool) -> dict[str, Schema]:
    """The forms of what JSON cannot say, each an object with one key."""
    pair = {"prefixItems": [{"type": "string", "pattern": "^\\$"}, ref(value)]}
    size = {"type": "array", "minItems": 2, "maxItems": 2}
    forms: dict[str, Schema] = {
        "$bin": ref("hex"),
        "$ext": {"prefixItems": [BYTE, ref("hex")], **size},
        "$int": BIG,
        "$float": FLOAT,
        "$map": {"type": "array", "items": {**pair, **size}, "minItems": 1, "maxItems": 1},
    }
    if handles:
        entry = [{"type": "string"}, {"type": "integer"}, ref("map")]
        forms["$handle"] = {"type": "array", "prefixItems": entry, "minItems": 3, "maxItems": 3}
    return forms


def _value(name: str, *, handles: bool) -> Schema:
    """Any value; the conditions keep a failure next to its reason."""
    form = {"properties": _forms(name, handles=handles), "additionalProperties": False}
    return {
        "allOf": [
            {
                "if": {"type": "object"},
                "then": {"if": ONE_FORM, "then": form, "else": {"additionalProperties": ref(name)}},
            },
            {"if": {"type": "array"}, "then": {"items": ref(name)}},
            {"if": {"type": "integer"}, "then": INTEGER},
        ]
    }


def diagnostic() -> dict[str, Schema]:
    """The definitions that say what a value is."""
    no_form = {"required": ["$map"]}
    return {
        "hex": HEX,
        "value": _value("value", handles=False),
        "told": _value("told", handles=True),
        "map": {"type": "object", "if": ONE_FORM, "then": no_form, **ref("value")},
        "bin": closed({"$bin": HEX}),
        "int": {"anyOf": [INTEGER, closed({"$int": BIG})]},
        "u64": {
            "anyOf": [{**INTEGER, "minimum": 0}, closed({"$int": {**BIG, "pattern": "^[1-9]"}})]
        },
        "number": {"anyOf": [{"type": "number", "minimum": 0}, closed({"$float": FLOAT})]},
    }
