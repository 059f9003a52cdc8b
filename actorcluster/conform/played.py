"""How a stream vector becomes a case: what it needs, and what of it can be seen from outside.

Runs in: both

A vector says what a library is to tell its user. From outside there are only answers,
HANDLE_ACK, the end, and that the actor goes on; so that is what is looked at. The user, of whom a
vector says that he answers nothing, is the conformance actor: it answers a CALL that is no command
by `not_handled`, and that answer is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs
import msgpack

from ..wire._generated import (
    BUILT_CAPABILITIES,
    FLAG_FRAG,
    HANDLE_NAMES,
    KINDS,
    LIMIT_DEFAULTS,
    AbortCode,
    Kind,
)
from .claims import level_of
from .diagnostic import from_diagnostic, same, to_diagnostic
from .frames import Cutter, Heard
from .material import preludes

__all__ = [
    "Expected",
    "Read",
    "abort_codes",
    "frames_of",
    "grant_of",
    "limits_of",
    "needs_of",
    "reads_of",
]

_MANY: Final = 50  # repetitions that are written as one


@attrs.frozen
class Read:
    """A write of ours, which a vector calls a read; `kinds` are those of the descriptors."""

    data: bytes
    fds: tuple[str, ...] = ()
    kinds: tuple[int, ...] = ()


def reads_of(steps: Sequence[Mapping[str, Any]]) -> list[Read]:
    """Give the reads of a vector, repetitions written out."""
    plain = []
    for step in steps:
        data = bytes.fromhex(step["hex"] if "hex" in step else step["receive"])
        count = step.get("repeat", 1)
        fds = tuple(step.get("fds", ()))
        if count > _MANY and not fds:
            plain.append(Read(data * count))
        else:
            plain += [Read(data, fds)] * count
    return list(_with_kinds(plain))


def _with_kinds(reads: Sequence[Read]) -> Iterator[Read]:
    """Find out what descriptors are to be: the n-th group goes with the n-th frame that has any."""
    declared = iter([one for one in frames_of(reads) if one.nfds])
    for read in reads:
        if not read.fds:
            yield read
            continue
        heard = next(declared, None)
        entries = _entries(heard) if heard is not None else []
        kinds = [entries[at] if at < len(entries) else 0 for at in range(len(read.fds))]
        yield attrs.evolve(read, kinds=tuple(kinds))


def _entries(heard: Heard) -> list[int]:
    known = KINDS.get(heard.kind)
    if known is None or "handles" not in known.fields:
        return []
    envelope = heard.envelope
    if envelope is None and heard.faults:  # of a broken body there may be that much
        unpacker = msgpack.Unpacker()
        unpacker.feed(heard.body)
        envelope = unpacker.unpack()
    index = known.fields.index("handles")
    entries = envelope[index] if isinstance(envelope, list) and index < len(envelope) else []
    return [
        one[0] if isinstance(one, list) and one and isinstance(one[0], int) else 0
        for one in entries
    ]


def frames_of(reads: Sequence[Read]) -> list[Heard]:
    """Give the frames in what is written, as far as they are frames."""
    cutter = Cutter()
    return [heard for read in reads for heard in cutter.feed(read.data, 0.0)]


def limits_of(vector: Mapping[str, Any]) -> dict[str, int]:
    """Give the worker's limits that the vector is about."""
    announced: Mapping[str, int] = {}
    for step in preludes()[vector["prelude"]]["steps"]:
        if "send" in step:
            hello = Cutter().feed(bytes.fromhex(step["send"]), 0.0)[0]
            announced = hello.field("limits") or {}
            break
    defaults = {name: LIMIT_DEFAULTS[name] for name in vector.get("limits", ())}
    return {**defaults, **announced} if grant_of(vector["prelude"]) != frozenset() else {}


def grant_of(prelude: str) -> frozenset[str] | None:
    """Give the capabilities that the prelude has in force; None: all."""
    if prelude.endswith(".bare"):
        return frozenset()
    if prelude.endswith(".no-handle-ack"):
        return BUILT_CAPABILITIES - {"handle.ack"}
    return None


def needs_of(vector: Mapping[str, Any], frames: Sequence[Heard]) -> tuple[int, frozenset[str]]:
    """Give the level and the capabilities without which there is nothing to try."""
    caps: set[str] = set()
    level = 0
    for heard in frames:
        known = KINDS.get(heard.kind)
        level = max(level, known.level if known is not None and known.status == "built" else 1)
        if known is not None and known.status == "built" and known.capability:
            caps.add(known.capability)
        if heard.flags & FLAG_FRAG:
            caps.add("frag")
        if heard.nfds:
            caps.add("handle")
        if heard.kind == Kind.WELCOME:
            caps |= set(heard.field("caps") or ())  # which hold nothing that was not offered
    if vector.get("handle_ack"):
        caps.add("handle.ack")
    if {"AWP-HA-6", "AWP-HA-7"} & set(vector["requirements"]):
        caps.add("handle.head")
    if vector.get("abort") or "AWP-FR-3" in vector["requirements"]:
        level = max(level, 1 if frames else 0)
    if grant_of(vector["prelude"]) == frozenset():
        caps &= {"msg"}
    if any("fds" in read for read in vector["reads"]):
        level = 2
    needed = frozenset(caps & BUILT_CAPABILITIES)
    return max(level, level_of(needed)), needed


def abort_codes(abort: Mapping[str, Any]) -> tuple[AbortCode, ...]:
    """Give the codes that will do; for a missing capability two sentences name different ones."""
    code = AbortCode[abort["code"].upper()]
    if "AWP-HS-3" in abort["requirement"]:
        return (code, AbortCode.STATE_VIOLATION, AbortCode.PROTOCOL_ERROR)
    return (code,)


def unknown_to(kinds: Sequence[int], taken: frozenset[str]) -> list[str]:
    """Give the names of known handle kinds that the worker does not take."""
    names = [HANDLE_NAMES[kind] for kind in kinds if kind in HANDLE_NAMES]
    return [name for name in names if name not in taken and name != "opaque"]


@attrs.frozen
class Expected:
    """A frame that a vector expects as an answer."""

    form: Mapping[str, Any]

    def fits(self, heard: Heard) -> bool:
        """Whether this is it."""
        form = self.form
        if heard.name != form["kind"] or heard.channel != form.get("channel", heard.channel):
            return False
        if "body" in form and heard.body.hex() != form["body"]:
            return False
        if "envelope" in form and not _same_envelope(heard.envelope, form["envelope"]):
            return False
        return "payload" not in form or _same_payload(heard.payload, form["payload"])

    def __str__(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.form.items() if key != "repeat")


def _same_envelope(said: Any, wanted: Any) -> bool:
    return same(_trimmed(to_diagnostic(said)), _trimmed(wanted))


def _trimmed(envelope: Any) -> Any:
    """Leave out the nils at the end of an envelope."""
    if not isinstance(envelope, list):
        return envelope
    kept = list(envelope)
    while kept and kept[-1] is None:
        kept.pop()
    return kept or None


def _same_payload(said: Any, wanted: Any) -> bool:
    if (
        isinstance(wanted, dict)
        and isinstance(said, dict)
        and not any(k.startswith("$") for k in wanted)
    ):
        return all(key in said and same(to_diagnostic(said[key]), wanted[key]) for key in wanted)
    return same(to_diagnostic(said), to_diagnostic(from_diagnostic(wanted)))
