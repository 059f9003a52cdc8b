"""A primary and a worker in virtual time: who stands still is found, who does not is let alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
from hypothesis import event, given
from hypothesis import strategies as st

from actorcluster._worker.pulse import Act, Beats, Pulse

HEARTBEAT = 3.0
BEAT = 1.0
LATENCY = 0.01
"""From a question to its answer."""
END = 60.0

Span = tuple[float, float]


@attrs.define
class World:
    """What happens to one worker.

    Args:
        blocks: when its loop stands still.
        pauses: when the machine does, and with it both.
        hung_after: seconds.
    """

    blocks: Sequence[Span] = ()
    pauses: Sequence[Span] = ()
    hung_after: float = math.inf
    acts: list[tuple[float, Act]] = attrs.Factory(list)

    def run(self) -> World:
        """Let time pass, up to `END` or its death."""
        beats, pulse = Beats.of(HEARTBEAT, 0.0), Pulse(self.hung_after)
        answers: list[float] = []
        while (due := min(beats.due, pulse.ends_at)) < END:
            now = self._after(due, self.pauses)
            heard = any(answer <= now for answer in answers)
            answers = [answer for answer in answers if answer > now]
            if beats.due <= now:
                self._note(now, pulse.beat(now, heard=heard, counts=beats.hold(now)))
                heard = False
            if pulse.ends_at <= now:
                self._note(now, pulse.end(now, heard=heard))
            if self.acts and self.acts[-1] == (now, Act.ASK):
                answers.append(self._answer(now))
            if self.acts and self.acts[-1][1] is Act.KILL:
                break
        return self

    def times(self, act: Act) -> list[float]:
        """When something was done."""
        return [at for at, done in self.acts if done is act]

    def _note(self, now: float, acts: list[Act]) -> None:
        self.acts += [(now, act) for act in acts]

    def _after(self, moment: float, spans: Sequence[Span]) -> float:
        return next((end for begin, end in spans if begin <= moment < end), moment)

    def _answer(self, asked: float) -> float:
        """When the answer comes: its loop needs a moment in which it can run."""
        spans = sorted([*self.blocks, *self.pauses])
        ready = asked + LATENCY
        for begin, end in spans:
            if begin < ready and asked < end:
                asked = end
                ready = end + LATENCY
        return ready


@st.composite
def spans(draw: st.DrawFn, longest: float, gap: float) -> list[Span]:
    """Spans of time with gaps between them."""
    lengths = st.tuples(st.floats(gap, gap + 5.0), st.floats(0.01, longest))
    found, at = [], 0.0
    for before, length in draw(st.lists(lengths, max_size=8)):
        begin, at = at + before, at + before + length
        if at < END - 10:
            found.append((begin, at))
    return found


@given(spans(longest=30.0, gap=0.05))
def test_a_machine_that_stood_still_accuses_nobody(pauses: list[Span]) -> None:
    world = World(pauses=pauses, hung_after=HEARTBEAT).run()
    assert ([], []) == (world.times(Act.REPORT), world.times(Act.KILL))


@given(spans(longest=12.0, gap=5.0))
def test_whoever_stands_still_for_a_heartbeat_is_reported_and_nobody_else(
    blocks: list[Span],
) -> None:
    world = World(blocks=blocks).run()
    reports, recoveries = world.times(Act.REPORT), world.times(Act.RECOVERED)
    for begin, end in blocks:
        found = [at for at in reports if begin - LATENCY <= at <= end + LATENCY]
        if end - begin < 2 * BEAT - LATENCY:
            assert [] == found
        elif end - begin > HEARTBEAT + LATENCY:
            (at,) = found
            assert begin + 2 * BEAT - LATENCY <= at <= begin + HEARTBEAT + LATENCY
            assert 1 == sum(end <= at <= end + BEAT + 2 * LATENCY for at in recoveries)
        else:
            event("in between")
    assert len(reports) == len(recoveries)


@given(st.floats(1.0, 5.0), st.floats(0.1, 40.0), st.floats(HEARTBEAT, 20.0))
def test_whoever_stands_still_for_too_long_is_killed_and_nobody_else(
    begin: float, length: float, hung_after: float
) -> None:
    world = World(blocks=[(begin, begin + length)], hung_after=hung_after).run()
    kills = world.times(Act.KILL)
    if length > hung_after + BEAT + LATENCY:
        (at,) = kills
        assert begin + hung_after - LATENCY <= at <= begin + hung_after + BEAT
    elif length < hung_after - LATENCY:
        assert [] == kills
    assert len(kills) <= len(world.times(Act.REPORT))


@given(spans(longest=30.0, gap=1.5), st.floats(HEARTBEAT, 10.0))
def test_whoever_never_answers_is_killed_however_late_the_primary_is(
    pauses: list[Span], hung_after: float
) -> None:
    """Time in which we could not look is given back, and no more."""
    world = World(blocks=[(0.0, math.inf)], pauses=pauses, hung_after=hung_after).run()
    (at,) = world.times(Act.KILL) or [END]
    paused = sum(min(end, at) - min(begin, at) for begin, end in pauses)
    assert at - paused <= hung_after + BEAT * (2 * len(pauses) + 1) or at == END
