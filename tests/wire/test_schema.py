"""The schema of the vectors: ours keep to it, broken ones do not, and it says why."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest

from actorcluster.conform.line import Step
from actorcluster.conform.transcript import transcript
from actorcluster.wire import events

PROTOCOL = Path(__file__).resolve().parents[2] / "protocol"
SCHEMA = json.loads((PROTOCOL / "awp.v1.schema.json").read_text(encoding="utf-8"))
FILES = sorted((PROTOCOL / "vectors").glob("*.json"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

TELL: dict[str, Any] = {
    "id": "a.tell",
    "kind": "frame",
    "requirements": ["AWP-VA-1"],
    "comment": "hi",
    "hex": "95",
    "bytes": [["95", "a frame: array of 5"]],
    "frame": {
        "kind": "TELL",
        "flags": 0,
        "nfds": 0,
        "channel": 0,
        "envelope": [None],
        "payload": "hi",
    },
    "canonical": True,
}
STREAM: dict[str, Any] = {
    "id": "a.stream",
    "kind": "stream",
    "requirements": ["AWP-FR-7"],
    "comment": "hi",
    "prelude": "worker.active",
    "reads": [{"hex": "95", "bytes": [["95", "a frame"]], "fds": ["A"]}],
    "expect": [{"event": "TellReceived", "body": {"$handle": ["A", 1, {}]}}],
    "answers": [{"kind": "UNDELIVERABLE", "channel": 0, "envelope": [1], "payload": {}}],
    "state": "ACTIVE",
}
PRELUDES: dict[str, Any] = {
    "worker.one": {"role": "worker", "comment": "one", "steps": [{"send": "95", "comment": "x"}]}
}


def problems(value: object) -> list[str]:
    """Where the schema has something against it."""
    return [error.json_path for error in VALIDATOR.iter_errors(value)]


def changed(value: dict[str, Any], path: str, to: object) -> dict[str, Any]:
    """A copy with another value at a path of keys and indices; ... removes it."""
    copied = copy.deepcopy(value)
    place: Any = copied
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    for part in way:
        place = place[part]
    if to is ...:
        del place[last]
    else:
        place[last] = to
    return copied


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_our_vectors_keep_to_it(path: Path) -> None:
    assert [] == problems(json.loads(path.read_text(encoding="utf-8")))


def test_the_samples_below_keep_to_it() -> None:
    assert [] == problems([TELL, STREAM])
    assert [] == problems(PRELUDES)


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("kind", "picture"),
        ("hex", "9"),
        ("hex", "9A"),
        ("bytes/0/1", " "),
        ("comment", ...),
        ("requirements", []),
        ("requirements/0", "AWP-XX-1"),
        ("surprise", 1),
        ("frame/kind", "TOLD"),
        ("frame/flags", 256),
        ("frame/channel", 2**32),
        ("frame/payload", {"$bin": "xyz"}),
        ("frame/payload", {"$what": 1}),
        ("frame/payload", 2**53),
        ("frame/payload", [[{"$int": "5"}]]),
        ("frame/payload", {"$handle": ["A", 1, {}]}),
        ("frame/envelope", "to"),
        ("frame/envelope", [None, "a name cannot be a sender"]),
        ("frame/envelope", [None, None, [["kind", {}]]]),
        ("frame/envelope", [None, None, None, {"ttl": "soon"}]),
        ("frame/flags", 2),
    ],
)
def test_a_broken_frame_vector(path: str, to: object) -> None:
    assert problems([changed(TELL, path, to)])


@pytest.mark.parametrize(
    ("kind", "envelope", "payload"),
    [
        ("HELLO", None, {}),
        ("HELLO", None, {"versions": [[1]]}),
        ("HELLO", None, {"versions": [[1, 0]], "caps": "msg"}),
        ("WELCOME", None, {"version": [1, 0], "worker": 1, "cluster": {"$bin": "00"}}),
        ("GOODBYE", None, None),
        ("ABORT", None, {"code": "auth"}),
        ("CREDIT", [], None),
        ("CREDIT", [-1], None),
        ("CREDIT", None, None),
        ("CONN", [1], None),
        ("CONN_REPLY", [1, 2], None),
        ("LISTENING", None, {"mode": "shared", "address": ["::1"]}),
        ("ERROR", None, {"message": "no code"}),
        ("DOWN", [1, None], {}),
        ("LOG", [300, 1.5, "x"], ["text"]),
        ("LOG", [20, 1.5, "x"], "text"),
    ],
)
def test_a_frame_that_its_kind_forbids(kind: str, envelope: object, payload: object) -> None:
    shown = {**TELL["frame"], "kind": kind, "envelope": envelope, "payload": payload}
    assert problems([{**TELL, "frame": shown}])


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("prelude", ...),
        ("reads/0/hex", ...),
        ("reads/0/repeat", 0),
        ("reads/0/truncated", False),
        ("expect/0/event", "Told"),
        ("expect/0/channel", 2),
        ("answers/0/kind", "UNTOLD"),
        ("answers/0/payload", {"code": 1}),
        ("state", "SLEEPING"),
        ("limits", ["max_everything"]),
        ("eof", "soon"),
        ("abort", {"code": "protocol_error", "requirement": []}),
        ("abort", {"code": "because", "requirement": ["AWP-FR-4"]}),
        ("handle_ack", {"upto": 1}),
        ("before", [{"send": "95", "receive": "95", "bytes": [["95", "x"]]}]),
    ],
)
def test_a_broken_stream_vector(path: str, to: object) -> None:
    assert problems([changed(STREAM, path, to)])


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("worker.one/role", "manager"),
        ("worker.one/steps/0/send", "9"),
        ("worker.one/steps/0", {"say": "95"}),
        ("worker.one/comment", ""),
    ],
)
def test_a_broken_prelude(path: str, to: object) -> None:
    assert problems(changed(PRELUDES, path, to))


def frame(kind: int, body: str) -> bytes:
    return bytes.fromhex(f"95ce{len(body) // 2:08x}ce{kind:02x}000000ce00000000{body}")


def test_transcripts_of_the_kit_keep_to_it() -> None:
    said = [
        Step(False, 0.0, frame(0x01, "c080")),
        Step(True, 0.1, frame(0x02, "c080"), ("A",)),
        Step(False, 0.2, frame(0x60, "c1") + frame(0x20, "91c001")),
        Step(True, 0.3, b"\x95\xce"),
        Step(False, 0.4, frame(0x06, "ff") + frame(0x23, "a1")),
    ]
    written = transcript("framing.one", ["AWP-FR-4"], "it did not", said)
    assert written["observed"]
    assert [] == problems(json.loads(json.dumps([written])))
    assert problems([changed(written, "observed/0/kind", "TOLD")])


def test_it_knows_every_event_and_its_fields() -> None:
    cases = SCHEMA["$defs"]["event"]["allOf"]
    found = {
        case["if"]["properties"]["event"]["const"]: {*case["then"]["propertyNames"]["enum"]}
        for case in cases
    }
    # Of what there is as TellReceived and so on, see test_gathered.
    another_form = {"TellsReceived", "CallsReceived", "RepliesReceived"}
    assert found == {
        name: {"event", "repeat", *(field.name for field in attrs.fields(getattr(events, name)))}
        for name in set(events.__all__) - {"Event"} - another_form
    }
