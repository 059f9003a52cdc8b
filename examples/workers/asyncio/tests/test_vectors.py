"""The vectors of the protocol, played to the library without a socket.

`AWP_VECTORS` names the directory, where it is not the one of the repository.
"""

from __future__ import annotations

import json
import os
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

from awp import events
from awp.awp_v1 import HEADER_SIZE, KINDS, Abort, Kind, State
from awp.connection import Connection
from awp.handles import Handle
from awp.speaking import Hello

VECTORS = Path(
    os.environ.get("AWP_VECTORS", Path(__file__).parents[4].joinpath("protocol", "vectors"))
)
# Answered or counted without an event of its own, or part of a level that is not claimed.
SILENT = {"CreditGranted", "Acknowledged", "HandlesAcknowledged", "Down"}
GATHERED = {Kind.CREDIT, Kind.ACK, Kind.CONN_CREDIT, Kind.HANDLE_ACK, Kind.HELLO, Kind.READY}
SPLITS = ("as it is", "single bytes")


def load(name: str) -> Any:
    return json.loads(VECTORS.joinpath(name).read_text(encoding="utf-8"))


def frames(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    while data:
        length = int.from_bytes(data[2:6], "big")
        end = HEADER_SIZE + length
        yield data[7], data[8], int.from_bytes(data[12:16], "big"), data[HEADER_SIZE:end]
        data = data[end:]


def objects(body: bytes) -> list[Any]:
    unpacker = msgpack.Unpacker(strict_map_key=False)
    unpacker.feed(body)
    return list(unpacker)


class Stage:
    """A connection that has said and heard a prelude."""

    def __init__(self, case: unittest.TestCase, vector: dict[str, Any], prelude: Any) -> None:
        self.case = case
        self.vector = vector
        self.names: dict[int, str] = {}
        self.happened: list[Any] = []
        hello = objects(next(frames(bytes.fromhex(prelude["steps"][0]["send"])))[3])[1]
        self.connection = Connection(
            Hello(
                worker=hello["worker"],
                capabilities=tuple(hello["caps"]),
                handles=tuple(hello["handles"]),
                limits=hello["limits"],
            ),
            verify=lambda _handle: True,
        )
        for step in prelude["steps"][1:] + vector.get("before", []):
            self.step(step)
        self.happened.clear()
        self.drain()

    def step(self, step: dict[str, Any]) -> None:
        if "receive" in step:
            fds = self.open(step.get("fds", []))
            self.happened += self.connection.receive(bytes.fromhex(step["receive"]), fds)
            return
        for kind, flags, channel, body in frames(bytes.fromhex(step["send"])):
            self.say(kind, flags, channel, objects(body))

    def say(self, kind: int, flags: int, channel: int, body: list[Any]) -> None:
        """What the worker said: the state that is behind it, and nothing else, is wanted."""
        connection = self.connection
        match kind:
            case Kind.READY:
                connection.ready()
            case Kind.GOODBYE:
                connection.goodbye()
                self.drain()
                connection.say_goodbye()
            case Kind.TELL | Kind.CALL:
                to = body[0][0] if body[0] else None
                message = connection.compose(
                    Kind(kind), to, body[1], None, on_sent=lambda _number: None
                )
                if kind == Kind.CALL:
                    self.case.assertEqual(channel, self.aligned(channel).call(message))
                else:
                    connection.outbox.send(message)
            case Kind.LISTEN:
                self.case.assertEqual(channel, self.aligned(channel).listen(body[1]))
            case Kind.LISTEN_CLOSE:
                connection.listen_close(channel)
            case Kind.REPLY:
                connection.reply(channel, body[1], lambda _number: None)
            case Kind.CANCEL:
                connection.cancel(channel)
            case Kind.SETTINGS:
                connection.change_limits(body[1].get("limits", {}))
            case Kind.PING | Kind.CONN_REPLY | Kind.MONITOR:
                pass
            case _:
                self.case.fail(f"nobody can say {KINDS[kind].name}")
        self.drain()

    def aligned(self, channel: int) -> Connection:
        self.connection._last_channel = channel - 2  # noqa: SLF001 - a vector begins anywhere
        return self.connection

    def open(self, names: list[str]) -> list[int]:
        fds = [os.open("/dev/null", os.O_RDONLY) for _ in names]
        self.names |= dict(zip(fds, names, strict=True))
        return fds

    def drain(self) -> list[tuple[int, int, int, bytes]]:
        said = []
        self.connection.gather(everything=True)
        while (item := self.connection.outbox.next()) is not None:
            self.connection.outbox.written(item)
            said += list(frames(item.data))
        return said

    def play(self, split: str) -> list[tuple[int, int, int, bytes]]:
        said = []
        for read in self.vector["reads"]:
            data, fds = bytes.fromhex(read["hex"]), read.get("fds", [])
            for _ in range(read.get("repeat", 1)):
                pieces = [data]
                if split == "single bytes" and not self.vector.get("exact"):
                    pieces = [data[at : at + 1] for at in range(len(data))] or [data]
                for at, piece in enumerate(pieces):
                    opened = self.open(fds) if at == 0 else []
                    lost = at == 0 and bool(read.get("truncated"))
                    self.happened += self.connection.receive(piece, opened, lost)
                    if self.connection.state is State.CLOSED:
                        break
                said += self.drain()
        if "eof" in self.vector:
            self.happened += self.connection.receive_eof()
        return said


class Vectors(unittest.TestCase):
    """Every stream of a worker."""

    def test_streams(self) -> None:
        if not VECTORS.is_dir():
            self.skipTest(f"there are no vectors in {VECTORS}")
        preludes = load("preludes.json")
        count = 0
        for name in ("streams", "fragments", "descriptors", "faults", "aborts"):
            for vector in load(f"{name}.json"):
                prelude = preludes[vector["prelude"]]
                if prelude["role"] != "worker":
                    continue
                for split in SPLITS:
                    with self.subTest(vector=vector["id"], split=split):
                        self.check(Stage(self, vector, prelude), split)
                count += 1
        self.assertGreater(count, 150)

    def check(self, stage: Stage, split: str) -> None:
        vector, connection = stage.vector, stage.connection
        said = stage.play(split)
        violated = [one for one in stage.happened if isinstance(one, events.Violated)]
        if "abort" in vector and not vector["abort"].get("optional"):
            expected = Abort[vector["abort"]["code"].upper()]
            self.assertEqual([expected], [one.code for one in violated])
            self.assertEqual(Kind.ABORT, said[-1][0])
        elif "abort" not in vector:
            self.assertEqual([], violated)
        if "eof" in vector:
            ended = stage.happened.pop()
            self.assertEqual(events.Ended(orderly=vector["eof"] == "orderly"), ended)
        self.compare_events(stage)
        self.compare_answers(vector, said)
        if "state" in vector and not vector.get("abort", {}).get("optional"):
            self.assertEqual(State[vector["state"]], connection.state)
        self.compare_handles(stage, vector, said)

    def compare_events(self, stage: Stage) -> None:
        expected = [
            one
            for one in stage.vector.get("expect", [])
            for _ in range(one.get("repeat", 1))
            if one["event"] not in SILENT
        ]
        happened = [one for one in stage.happened if not isinstance(one, events.Violated)]
        self.assertEqual(
            [one["event"] for one in expected], [type(one).__name__ for one in happened]
        )
        for wanted, event in zip(expected, happened, strict=True):
            for key, value in wanted.items():
                if key in ("event", "repeat") or not hasattr(event, key):
                    continue
                found = self.diagnostic(getattr(event, key), stage, value)
                self.assertEqual(value, found, key)

    def diagnostic(self, value: Any, stage: Stage, like: Any = None) -> Any:
        match value:
            case Handle():
                name = stage.names.get(value.fd)
                return {"$handle": [name, int(value.kind), self.diagnostic(value.meta, stage)]}
            case bytes():
                return {"$bin": value.hex()}
            case msgpack.ExtType():
                return {"$ext": [value.code, value.data.hex()]}
            case int() if not isinstance(value, bool) and abs(value) > 2**53 - 1:
                return {"$int": str(value)}
            case frozenset():
                return sorted(value)
            case tuple() | list():
                return [self.diagnostic(one, stage) for one in value]
            case dict() if isinstance(like, dict) and "code" in like:
                return {key: self.diagnostic(value[key], stage) for key in like}
            case dict():
                return {key: self.diagnostic(one, stage) for key, one in value.items()}
        return value

    def compare_answers(
        self, vector: dict[str, Any], said: list[tuple[int, int, int, bytes]]
    ) -> None:
        wanted = [
            (one["kind"], one["channel"])
            for one in vector.get("answers", [])
            for _ in range(one.get("repeat", 1))
        ]
        allowed = {one["kind"] for one in vector.get("may_answer", [])} | {"ABORT"}
        found = [
            (KINDS[kind].name, channel)
            for kind, _flags, channel, _body in said
            if kind not in GATHERED and KINDS[kind].name not in allowed - {one[0] for one in wanted}
        ]
        if "abort" not in vector or not vector["abort"].get("optional"):
            self.assertEqual(sorted(wanted), sorted(found))
        for one in vector.get("answers", []):
            bodies = [
                body
                for kind, _, channel, body in said
                if (KINDS[kind].name, channel) == (one["kind"], one["channel"])
            ]
            if "body" in one:
                self.assertIn(one["body"], [body.hex() for body in bodies])
                continue
            self.assertTrue(any(self.matches(one, objects(body)) for body in bodies), one)

    def matches(self, wanted: dict[str, Any], body: list[Any]) -> bool:
        envelope, payload = body
        if "envelope" in wanted:
            expected = list(wanted["envelope"] or [])
            while expected and expected[-1] is None:
                expected.pop()
            found = list(envelope or [])
            while found and found[-1] is None:
                found.pop()
            if found != expected:
                return False
        if isinstance(wanted.get("payload"), dict):
            return all(payload.get(key) == value for key, value in wanted["payload"].items())
        return True

    def compare_handles(
        self, stage: Stage, vector: dict[str, Any], said: list[tuple[int, int, int, bytes]]
    ) -> None:
        acks = [objects(body)[0] for kind, _, _, body in said if kind == Kind.HANDLE_ACK]
        if "handle_ack" in vector:
            self.assertEqual(vector["handle_ack"]["upto"], max(one[0] for one in acks))
            lost = [number for one in acks if len(one) > 1 for number in one[1]]
            self.assertEqual(vector["handle_ack"]["lost"], lost)
        elif "abort" not in vector:
            self.assertEqual([], acks)
        stage.connection.close()
        kept = set()
        for event in stage.happened:
            for handle in [*getattr(event, "handles", ()), getattr(event, "handle", None)]:
                if isinstance(handle, Handle) and handle.fd >= 0:
                    kept.add(stage.names[handle.fd])
                    handle.close()
        named = {name for read in vector["reads"] for name in read.get("fds", [])}
        if not any("fds" in step for step in vector.get("before", [])):
            self.assertEqual(named - set(vector.get("discarded", [])), kept)
        for fd in stage.names:
            self.assertRaises(OSError, os.fstat, fd)


if __name__ == "__main__":
    unittest.main()
