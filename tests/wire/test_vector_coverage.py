"""All that the registry has is in a vector: who adds to the one learns here what the other lacks.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actorcluster.wire import events
from actorcluster.wire._generated import (
    BUILT_CAPABILITIES,
    BUILT_HANDLE_NAMES,
    HANDLE_NAMES,
    KINDS,
    LIMIT_DEFAULTS,
    AbortCode,
    ErrorCode,
    Ext,
    Reason,
    State,
)

from .independent import frames_of
from .vectors import (
    FRAMES,
    PRELUDES,
    STREAMS,
    ends_inside_a_frame,
    kind_name,
    reads_of,
)

#: Told by the layers above, for reasons that no bytes can show; fds_lost is in the registry,
#: but every loss has a smaller answer (AWP-FD-5).
ABORTS_OF_OTHERS = {"auth", "heartbeat_timeout", "internal", "fds_lost"}
#: Bounds of what is sent, or not built.
LIMITS_OF_OTHERS = {"fds_in_flight", "max_streams"}
BUILT = [info for info in KINDS.values() if info.status == "built"]
VALID = [vector for vector in FRAMES + STREAMS if "abort" not in vector]
INVALID = [vector for vector in STREAMS if "abort" in vector or vector["id"].startswith("bad.")]


def kinds_in(data: bytes) -> Iterator[str]:
    """The kinds of whole frames, by their headers."""
    while data:
        yield kind_name(data[7])
        data = data[16 + int.from_bytes(data[2:6], "big") :]


def inside(value: Any, key: str) -> Iterator[Any]:
    """Everything under a key, however deep in vectors."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        for item in value.values():
            yield from inside(item, key)
    elif isinstance(value, list):
        for item in value:
            yield from inside(item, key)


def expected(*names: str) -> list[dict[str, Any]]:
    """The events of these names."""
    return [event for vector in STREAMS for event in vector["expect"] if event["event"] in names]


# ---- how many -----------------------------------------------------------------------------------


def test_there_are_valid_and_invalid_ones() -> None:
    assert len(VALID) >= 30
    assert len(INVALID) >= 30


def test_there_are_reads_with_descriptors() -> None:
    laden = [vector for vector in STREAMS if any(read.has_group for read in reads_of(vector))]
    assert len(laden) >= 30


# ---- kinds --------------------------------------------------------------------------------------


def test_every_built_kind_has_a_valid_frame() -> None:
    assert {info.name for info in BUILT} <= {vector["frame"]["kind"] for vector in FRAMES}


@pytest.mark.parametrize(("role", "direction"), [("worker", "P>W"), ("primary", "W>P")])
def test_every_built_kind_is_received_by_each_role_that_may_receive_it(
    role: str, direction: str
) -> None:
    received = {"READY", "WELCOME"}  # by every prelude
    for vector in STREAMS:
        if role == PRELUDES[vector["prelude"]]["role"] and "abort" not in vector:
            data = b"".join(read.data for read in reads_of(vector))
            received |= set() if ends_inside_a_frame(reads_of(vector)) else set(kinds_in(data))
    assert (
        set() == {info.name for info in BUILT if info.direction in (direction, "both")} - received
    )


def laden_frames() -> Iterator[dict[str, Any]]:
    """All good frames that come with descriptors."""
    for vector in STREAMS:
        if "abort" not in vector:
            data = b"".join(read.data for read in reads_of(vector))
            for frame in frames_of(data):
                if frame["nfds"] and not frame["problems"]:
                    yield frame


def test_every_kind_that_carries_handles_comes_with_descriptors() -> None:
    laden = {kind_name(frame["kind"]) for frame in laden_frames()}
    assert set() == {info.name for info in BUILT if info.handles} - laden


def test_every_event_is_expected_somewhere() -> None:
    # Of what there is as TellReceived and so on, see test_gathered.
    another_form = {"TellsReceived", "CallsReceived", "RepliesReceived"}
    found = {event["event"] for event in expected(*events.__all__)}
    assert set(events.__all__) - {"Event"} - another_form == found


def test_every_prelude_is_used() -> None:
    assert set(PRELUDES) == {vector["prelude"] for vector in STREAMS}


# ---- codes and names ----------------------------------------------------------------------------


def test_every_abort_code_is_the_answer_to_something() -> None:
    aborts = {vector["abort"]["code"] for vector in STREAMS if "abort" in vector}
    assert {code.name.lower() for code in AbortCode} - ABORTS_OF_OTHERS == aborts


def test_every_other_abort_code_is_received() -> None:
    received = {event["code"] for event in expected("Aborted")}
    assert {AbortCode[name.upper()].value for name in ABORTS_OF_OTHERS} <= received


def test_every_limit_is_enforced_by_a_vector() -> None:
    limits = {limit for vector in STREAMS for limit in vector.get("limits", ())}
    assert set(LIMIT_DEFAULTS) - LIMITS_OF_OTHERS == limits


def test_every_limit_is_announced() -> None:
    announced = {name for limits in inside(FRAMES, "limits") for name in limits}
    assert set() == set(LIMIT_DEFAULTS) - {"max_streams"} - announced


def test_every_error_code_is_sent_or_received() -> None:
    assert set() == {code.value for code in ErrorCode} - {
        code for code in inside(FRAMES + STREAMS, "code") if isinstance(code, str)
    }


def test_every_reason_is_received() -> None:
    received = {event.get("reason") for event in expected("Stop", "Leave", "Goodbye")}
    assert set() == {reason.value for reason in Reason} - received


def test_every_state_but_the_first_is_one_that_a_vector_ends_in() -> None:
    assert {state.name for state in State} - {"HANDSHAKE"} == {*inside(STREAMS, "state")}


def test_every_kind_of_handle_is_received() -> None:
    built = {code for code, name in HANDLE_NAMES.items() if name in BUILT_HANDLE_NAMES}
    received = set()
    for frame in laden_frames():
        arrays = (part for part in frame["envelope"] or () if isinstance(part, list))
        received |= {entry[0] for entries in arrays for entry in entries}
    assert set() == built - received


def test_every_capability_is_in_force_somewhere() -> None:
    said = [
        frame["payload"]["caps"]
        for prelude in PRELUDES.values()
        for step in prelude["steps"]
        for frame in frames_of(bytes.fromhex(step.get("send") or step["receive"]))
        if kind_name(frame["kind"]) == "WELCOME"
    ]
    assert set() == BUILT_CAPABILITIES - {name for some in said for name in some}


def test_every_extension_type_is_a_value() -> None:
    built = {Ext.TIMESTAMP, Ext.HANDLE, Ext.REF}
    assert set() == {int(code) for code in built} - {code for code, _ in inside(FRAMES, "$ext")}


# ---- the tests above see holes ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("test", "lost"),
    [
        (test_every_error_code_is_sent_or_received, "codes.messages"),
        (test_every_reason_is_received, "codes.leave-idle"),
        (test_every_other_abort_code_is_received, "codes.abort-fds-lost"),
        (test_every_kind_of_handle_is_received, "fd.kinds-not-taken"),
    ],
)
def test_a_hole_is_seen(
    test: Callable[[], None], lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = [vector for vector in STREAMS if vector["id"] != lost]
    monkeypatch.setattr(f"{__name__}.STREAMS", kept)
    with pytest.raises(AssertionError):
        test()
