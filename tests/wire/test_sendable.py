"""What cannot be sent fails at the sender, with the path to it; nothing else can happen."""

from __future__ import annotations

import datetime
import re
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest

from actorcluster.wire.values import Encoded, Values
from tests.wire.strategies import ext, nested

EAST = datetime.timezone(datetime.timedelta(hours=14))
WEST = datetime.timezone(datetime.timedelta(hours=-12))

loop: list[Any] = []
loop.extend([1, loop, loop])
knot: dict[str, Any] = {}
knot["self"] = {"inner": [knot]}


class Text(str):
    __slots__ = ()


class Moment(datetime.datetime):
    pass


class Liar(dict[str, int]):
    def __len__(self) -> int:
        return 5


class Stutter(list[int]):
    def __iter__(self) -> Iterator[int]:
        yield from (1, 2, 3)


class NoZone(datetime.tzinfo):
    def utcoffset(self, _: datetime.datetime | None) -> None:
        return None

    dst = utcoffset
    tzname = utcoffset


SENDABLE = (
    "cannot be sent; a body holds None, bool, int, float, str, bytes, list, dict with str keys"
)


@pytest.mark.parametrize(
    ("text", "body"),
    [
        pytest.param(f"body: set {SENDABLE}", set(), id="set"),
        pytest.param(f"body['rows'][3]: set {SENDABLE}", {"rows": [0, 1, (), {1}]}, id="path"),
        pytest.param(f"body[0]: complex {SENDABLE}", [1j], id="complex"),
        pytest.param(f"body['a']: object {SENDABLE}", {Text("a"): object()}, id="object"),
        pytest.param(f"body: Timestamp {SENDABLE}", msgpack.Timestamp(1), id="Timestamp"),
        pytest.param(f"body[0]: date {SENDABLE}", [datetime.date(2024, 1, 1)], id="date"),
        pytest.param(f"body: mappingproxy {SENDABLE}", types.MappingProxyType({}), id="proxy"),
        pytest.param("body[1]: int outside -2**63..2**64-1", [1, 2**64], id="int too large"),
        pytest.param("body['n']: int outside", {"n": -(2**63) - 1}, id="int too small"),
        pytest.param("body[0]: str with a lone surrogate", ["\ud800"], id="surrogate"),
        pytest.param("body: str with a lone surrogate", "\udfff", id="surrogate alone"),
        pytest.param(
            "body[0]: dict key with a lone surrogate", [{"\ud800": 1}], id="key surrogate"
        ),
        pytest.param("body: dict key of type int; keys are str", {1: 1}, id="int key"),
        pytest.param("body[0]: dict key of type bytes", [{"a": 1, b"b": 2}], id="bytes key"),
        pytest.param("body['a']: dict key of type NoneType", {"a": {None: 1}}, id="None key"),
        pytest.param("body: dict key of type tuple", {("a",): 1}, id="tuple key"),
        pytest.param(
            "body[0]: datetime without a time zone",
            [datetime.datetime(2024, 1, 1)],  # noqa: DTZ001  (wrong on purpose)
            id="naive",
        ),
        pytest.param(
            "body: datetime without a time zone",
            datetime.datetime(2024, 1, 1, tzinfo=NoZone()),
            id="zone without offset",
        ),
        pytest.param(
            "body: datetime without a time zone",
            Moment(2024, 1, 1),
            id="naive subclass",
        ),
        pytest.param(
            "body[0]: datetime outside the years 1..9999 in UTC",
            [datetime.datetime(1, 1, 1, tzinfo=EAST)],
            id="before the year 1",
        ),
        pytest.param(
            "body: datetime outside the years 1..9999 in UTC",
            datetime.datetime(9999, 12, 31, 23, tzinfo=WEST),
            id="after the year 9999",
        ),
        pytest.param("body[0]: memoryview with gaps", [memoryview(b"abcd")[::2]], id="gaps"),
        pytest.param("body: ExtType 1 is the wire's own", msgpack.ExtType(1, b"\0"), id="ext 1"),
        pytest.param("body[0]: ExtType -1 is the wire's own", [ext(-1, bytes(4))], id="ext -1"),
        pytest.param("body: ExtType that is not (-128..127, bytes)", ext(200, b""), id="code"),
        pytest.param("body: ExtType that is not (-128..127, bytes)", ext("x", b""), id="no code"),
        pytest.param("body: ExtType that is not (-128..127, bytes)", ext(9, "x"), id="no data"),
        pytest.param(
            "body: Liar whose length is not the number of its elements", Liar(), id="liar"
        ),
        pytest.param("body[0]: Stutter whose length is not", [Stutter([1])], id="stutter"),
        pytest.param(
            f"body{'[0]' * 64}: nested deeper than 64 levels, or inside itself",
            nested(65),
            id="deep list",
        ),
        pytest.param(
            f"body{'''['k']''' * 64}: nested deeper", nested(65, by_key=True), id="deep dict"
        ),
        pytest.param(f"body{'[1]' * 64}: nested deeper", loop, id="loop"),
        pytest.param("body['self']['inner'][0]['self']['inner']", knot, id="knot"),
        pytest.param(f"body['k']{'[0]' * 63}: nested deeper", {"k": nested(5000)}, id="very deep"),
    ],
)
def test_cannot_be_sent(text: str, body: Any) -> None:
    values = Values()
    with pytest.raises(TypeError, match=f"^{re.escape(text)}"):
        values.encode(body)
    assert Encoded(b"\x91\x01", ()) == values.encode([1])  # the packer is as good as new


def test_path_is_readable_however_long_a_key() -> None:
    with pytest.raises(TypeError) as caught:
        Values().encode({"k" * 10_000: object()})
    assert len(str(caught.value)) < 300


def on_a_full_stack(call: Callable[[], Any], spare: int = 25) -> Any:
    """Call with so little of Python's stack left that nothing can recurse 64 times."""
    depth = 0
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        depth += 1

    def descend(levels: int) -> Any:
        return call() if levels == 0 else descend(levels - 1)

    return descend(sys.getrecursionlimit() - depth - spare)


def test_no_recursion_error() -> None:
    values = Values()
    with pytest.raises(TypeError, match="nested deeper"):
        on_a_full_stack(lambda: values.encode(loop))
    payload = on_a_full_stack(lambda: values.encode(nested(64))).payload
    assert nested(64) == on_a_full_stack(lambda: values.decode(payload))
