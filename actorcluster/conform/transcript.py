"""What was said in a case that failed, as a stream vector; see protocol/vectors/README.md.

Runs in: both

All that was said up to the last thing the worker heard is ``before``, with an inline prelude that
says no more than the role; the last is ``reads``; what the worker said to that is ``observed``. So
whoever has a decoder for vectors can play it again. What may be a secret is replaced: ``data`` of
LISTEN and LISTENING, ``config`` of WELCOME and SETTINGS. That changes the length of these frames,
and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..wire._generated import Kind
from .diagnostic import to_diagnostic
from .frames import Cutter, Heard, frame
from .line import Step

__all__ = ["diagnostic_frame", "redacted", "transcript"]

_SECRETS: Final = {
    Kind.LISTEN: "data",
    Kind.LISTENING: "data",
    Kind.WELCOME: "config",
    Kind.SETTINGS: "config",
}
_REDACTED: Final = "redacted"
_LONGEST: Final = 65536  # bytes of a write; what is longer is cut, and said to be


def transcript(
    case: str, requirements: Sequence[str], text: str, steps: Sequence[Step]
) -> dict[str, Any]:
    """Write the vector.

    Args:
        case: its id.
        requirements: that it tries.
        text: what went wrong.
        steps: all that was said.
    """
    last = max((index for index, step in enumerate(steps) if step.to_worker), default=-1)
    begin = last
    while begin > 0 and steps[begin - 1].to_worker:
        begin -= 1
    return {
        "id": f"transcript.{case}",
        "kind": "stream",
        "requirements": list(requirements),
        "comment": text,
        "prelude": {"role": "worker", "steps": []},
        "before": [_step(step) for step in steps[: max(begin, 0)]],
        "reads": [_read(step) for step in steps[max(begin, 0) : last + 1]],
        "expect": [],
        "observed": [
            {"time": round(step.at, 4), **found}
            for step in steps[last + 1 :]
            for found in _frames(step)
        ],
    }


def _step(step: Step) -> dict[str, Any]:
    direction = "receive" if step.to_worker else "send"
    return {direction: redacted(step.data).hex(), **_more(step)}


def _read(step: Step) -> dict[str, Any]:
    return {"hex": redacted(step.data).hex(), **_more(step)}


def _more(step: Step) -> dict[str, Any]:
    more: dict[str, Any] = {"time": round(step.at, 4)}
    if step.fds:
        more["fds"] = list(step.fds)
    if len(step.data) > _LONGEST:
        more["cut"] = len(step.data)
    more["comment"] = "; ".join(_words(step))
    return more


def _words(step: Step) -> list[str]:
    cutter = Cutter()
    heard = cutter.feed(redacted(step.data), step.at)
    words = [str(one) for one in heard[:20]]
    rest = cutter.unfinished
    return [*words, f"{rest} bytes that are no whole frame"] if rest else words


def _frames(step: Step) -> list[dict[str, Any]]:
    return [diagnostic_frame(one) for one in Cutter().feed(redacted(step.data), step.at)]


def diagnostic_frame(heard: Heard) -> dict[str, Any]:
    """Write a frame as frame vectors do."""
    form: dict[str, Any] = {
        "kind": heard.name,
        "flags": heard.flags,
        "nfds": heard.nfds,
        "channel": heard.channel,
    }
    if heard.kind in (Kind.PING, Kind.PONG) or heard.faults:
        form["body"] = heard.body.hex()
    else:
        form["envelope"] = to_diagnostic(heard.envelope)
        form["payload"] = to_diagnostic(heard.payload)
    return form


def redacted(data: bytes) -> bytes:
    """Replace what may be a secret in frames that are whole, and cut what is very long."""
    cutter = Cutter()
    frames = cutter.feed(data, 0.0)
    if any(one.kind in _SECRETS for one in frames):
        tail = data[sum(len(one.raw) for one in frames) :]
        data = b"".join(map(_without_secret, frames)) + tail
    return data[:_LONGEST]


def _without_secret(heard: Heard) -> bytes:
    key = _SECRETS.get(Kind(heard.kind)) if heard.kind in _SECRETS else None
    if key is None or not isinstance(heard.payload, dict) or not heard.payload.get(key):
        return heard.raw
    value: Any = {_REDACTED: True} if key == "config" else _REDACTED
    payload = {**heard.payload, key: value}
    return frame(
        heard.kind,
        heard.envelope,
        payload,
        channel=heard.channel,
        flags=heard.flags,
        nfds=heard.nfds,
    )
