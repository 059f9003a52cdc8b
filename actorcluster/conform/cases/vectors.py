"""Every vector for a worker that can be played from outside, as a case of the same id.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgpack

from ...wire._generated import Kind
from ..case import Case, Noted, Story, add
from ..diagnostic import same, to_diagnostic
from ..frames import HEADER, frame, pack
from ..material import STREAM_FILES, vectors
from ..play import Play
from ..played import (
    Expected,
    abort_codes,
    frames_of,
    grant_of,
    limits_of,
    needs_of,
    reads_of,
    unknown_to,
)

__all__ = ["NOT_PLAYED"]

#: Vectors that cannot be played as they are, and why; other cases try the same.
NOT_PLAYED: Final[dict[str, str]] = {
    "call.too-many": "the actor answers what is no command at once; see ca.max-calls",
    "abort.channel-reused": "likewise; see ch.open",
    "abort.window": "the actor takes messages at once; see fc.overspent",
    "abort.window-by-one": "likewise; see fc.overspent",
    "ping.closing": "a worker may have closed its side already",
    "abort.tell-before-ready-worker": "nobody can tell when READY was sent",
    "fd.before-ready-worker": "likewise",
    "fd.kinds-not-taken": "each worker has kinds of its own; see ha.kind-nobody-knows",
    "value.depth-64": "a command is one level more; see va.depth",
}
#: Those whose stream is played once more byte by byte.
_BYTEWISE: Final = (
    "split.", "glued.", "fd.plain", "fd.early", "fd.behind", "fd.dribble", "fd.glued-tail",
    "fd.three", "fragments.two", "fragments.interleaved", "unknown.not-msgpack", "bad.utf8",
    "abort.length-short",
)  # fmt: skip
_OWN_CHANNELS: Final = 0x40000000  # of the kit's own calls, out of the way of the vector's


def _can_be_played(vector: Mapping[str, Any]) -> bool:
    steps = [*vector.get("before", ()), *vector["reads"]]
    return (
        vector["prelude"].startswith("worker.")
        and vector["id"] not in NOT_PLAYED
        and not any("send" in step or step.get("truncated") for step in steps)
    )


def _story(vector: dict[str, Any]) -> Story:
    async def play(p: Play) -> None:
        await _play(p, vector)

    return play


async def _play(p: Play, vector: dict[str, Any]) -> None:
    """Say what the vector says, and look at what comes of it."""
    p.take_channels_from(_OWN_CHANNELS)
    reads = reads_of([*vector.get("before", ()), *vector["reads"]])
    kinds = [kind for read in reads for kind in read.kinds]
    lacking = unknown_to(kinds, p.claims.handles)
    if lacking and not vector.get("abort"):
        raise Noted(f"it does not take {', '.join(lacking)}")
    state = vector["prelude"].split(".")[1]
    glued = await _reach(p, state)
    for index, read in enumerate(reads):
        if _must_abort(vector) and index + 1 == len(reads):
            # What is not written yet when it gives up need not be any more.
            await _answers(p, vector)
        things = [p.thing(kind) for kind in read.kinds]
        data = (glued if index == 0 else b"") + read.data
        await p.raw(data, [one.fd for one in things], [one.name for one in things])
        for one in things:
            one.close_ours()
        if index + 1 < len(reads):
            await p.line.drained()
    if glued and not reads:
        await p.raw(glued)
    if state == "starting" or "Welcome" in [one["event"] for one in vector["expect"]]:
        # One that is told to stop at once need not become ready before it leaves.
        await p.until(lambda: _has_begun(p), "READY", requirement="AWP-HS-4")
        p.drop(lambda heard: heard.kind == Kind.READY)
    p.note_messages(frames_of(reads))
    await _judge(p, vector, state)


def _has_begun(p: Play) -> bool | None:
    """Whether it is ready, or does not become so any more; PONG may come before."""
    kinds = {one.kind for one in p.heard}
    return bool(kinds & {Kind.READY, Kind.GOODBYE, Kind.ABORT}) or None


async def _reach(p: Play, state: str) -> bytes:
    """Bring the worker to the vector's state.

    Returns:
        what has to be written with the first read.
    """
    if state == "starting":
        return p.welcome_frame()
    if state == "stopping":
        await p.stall()
        await p.send(Kind.STOP, None, {})
    elif state == "closing":
        await p.send(Kind.STOP, None, {})
        await p.expect(Kind.GOODBYE, requirement="AWP-ST-1")
    return b""


async def _judge(p: Play, vector: dict[str, Any], state: str) -> None:
    abort = vector.get("abort")
    if abort is not None and abort.get("optional") and p.has_aborted():
        return
    if abort is None or abort.get("optional"):
        await _answers(p, vector)
    else:
        await p.abort(*abort_codes(abort), requirement=abort["requirement"][0])
        return
    events = [one["event"] for one in vector["expect"]]
    if {"Aborted"} & set(events):
        await p.eof("AWP-ST-4")
        await p.exited("AWP-ST-4")
    elif "Goodbye" in events or state == "closing":
        await _part(p, vector, state)
    elif "Stop" in events or state == "stopping":
        await _go_on_stopping(p, vector, state)
    elif vector.get("eof"):
        p.line.shut_down()
        await p.ends_well("AWP-ST-3", within=2.0)
    else:
        await _go_on(p, vector, is_optional=abort is not None)


def _must_abort(vector: Mapping[str, Any]) -> bool:
    abort = vector.get("abort")
    return abort is not None and not abort.get("optional")


async def _answers(p: Play, vector: Mapping[str, Any]) -> None:
    for answer in vector.get("answers", ()):
        for _ in range(answer.get("repeat", 1)):
            expected = Expected(answer)
            await p.expect(Kind[answer["kind"]], channel=answer.get("channel"), like=expected.fits)


async def _part(p: Play, vector: dict[str, Any], state: str) -> None:
    """The worker has said GOODBYE, or the vector did."""
    if state != "closing":
        await p.expect(Kind.GOODBYE, requirement="AWP-ST-2")
    if "Goodbye" not in [one["event"] for one in vector["expect"]]:
        await p.send(Kind.GOODBYE, None, {"recv": 0})
    p.line.shut_down()
    await p.ends_well("AWP-ST-2")


async def _go_on_stopping(p: Play, vector: dict[str, Any], state: str) -> None:
    """The worker is told to stop: it says GOODBYE as soon as nothing is left to do."""
    if state == "stopping":
        await p.ping()
        await p.unstall()
    await _answers_to_calls(p, vector)
    await _handle_ack(p, vector)
    await p.part()


async def _go_on(p: Play, vector: dict[str, Any], *, is_optional: bool) -> None:
    if is_optional:  # it may give up from here on, and may answer what is too much
        await p.pong_or_abort()
        return
    await _answers_to_calls(p, vector)
    await _handle_ack(p, vector)
    await p.alive()
    for answer in vector.get("may_answer", ()):
        p.drop(Expected(answer).fits)
    p.quiet()
    await p.all_closed()


async def _answers_to_calls(p: Play, vector: dict[str, Any]) -> None:
    calls = [one["channel"] for one in vector["expect"] if one["event"] == "CallReceived"]
    for channel in calls:
        await p.error(channel, "not_handled", "cancelled", "stopping", requirement="AWP-CA-1")


async def _handle_ack(p: Play, vector: dict[str, Any]) -> None:
    wanted = vector.get("handle_ack")
    if wanted is None:
        return
    await p.until(
        lambda: p.highest(Kind.HANDLE_ACK) >= wanted["upto"] or None,
        f"HANDLE_ACK of {wanted['upto']}",
        requirement="AWP-HA-4",
    )
    acks = [one for one in p.heard if one.kind == Kind.HANDLE_ACK]
    lost = sorted(number for one in acks for number in one.item(1) or ())
    p.check(lost == (wanted["lost"] or []), f"lost are {lost}, not {wanted['lost']}", "AWP-HA-4")


def _enter_streams() -> None:
    for name in STREAM_FILES:
        for vector in vectors(name):
            if _can_be_played(vector):
                _enter_stream(vector)


def _enter_stream(vector: dict[str, Any]) -> None:
    level, caps = needs_of(vector, frames_of(reads_of(vector["reads"])))
    state = vector["prelude"].split(".")[1]
    is_stalled = state == "stopping"
    add(
        Case(
            id=vector["id"],
            requirements=tuple(vector["requirements"]),
            title=vector["comment"].partition("\n")[0].rstrip("."),
            level=max(level, 1) if is_stalled else level,
            caps=caps | {"msg", "call"} if is_stalled else caps,
            begin="hello" if state in ("handshake", "starting") else "active",
            grant=grant_of(vector["prelude"]),
            limits=limits_of(vector),
            welcome={"limits": {"window": 65536}} if is_stalled else {},
            beside=vector["id"].startswith("fd."),
            lane=vector["id"].startswith("lane."),
            ways=("whole", "bytewise") if vector["id"].startswith(_BYTEWISE) else ("whole",),
            story=_story(vector),
        )
    )


# ---- values ------------------------------------------------------------------------------------


def _value_story(vector: dict[str, Any]) -> Story:
    data = bytes.fromhex(vector["hex"])[HEADER:]
    unpacker = msgpack.Unpacker()
    unpacker.feed(data)
    unpacker.skip()
    payload = data[unpacker.tell() :]

    async def play(p: Play) -> None:
        channel = p.channel()
        body = pack([None]) + b"\x92" + pack("echo") + payload
        await p.raw(frame(Kind.CALL, channel=channel, body=body))
        said = to_diagnostic(await p.reply(channel))
        wanted = vector["frame"]["payload"]
        p.check(same(said, wanted), f"echo gave {said!r:.300} for {wanted!r:.300}")

    return play


def _enter_values() -> None:
    for vector in vectors("values"):
        if vector["id"] not in NOT_PLAYED:
            add(
                Case(
                    id=vector["id"],
                    requirements=tuple(vector["requirements"]),
                    title=f"Echo: {vector['comment'].rstrip('.')}",
                    level=1,
                    caps=frozenset({"call"}),
                    story=_value_story(vector),
                )
            )


_enter_streams()
_enter_values()
