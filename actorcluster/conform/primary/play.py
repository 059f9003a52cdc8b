"""Playing a case: one life after another, and what they leave behind.

Runs in: both
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final, final

import attrs
import trio

from ..._counted import counted
from .case import Case
from .lives import Gone, Life, Said
from .scene import Scene
from .stage import Stage
from .talk import kind_name
from .terms import Problem

__all__ = ["MEMORY", "Played", "play"]

#: Bytes by which the primary may grow over a case.
MEMORY: Final = 64 << 20
#: What is slow by its nature may take so many times the patience.
_SLOW: Final = 3


@final
@attrs.define
class Played:
    """What came of a case.

    Attributes:
        problems: of the primary, in words; none: passed.
        lives: how many it took.
        logs: what was said in the lives that had a problem.
    """

    case: Case
    problems: list[str] = attrs.Factory(list)
    lives: int = 0
    seconds: float = 0.0
    logs: list[tuple[str, list[Said]]] = attrs.Factory(list)

    @property
    def passed(self) -> bool:
        """Whether the primary did as it must."""
        return not self.problems


async def play(stage: Stage, case: Case, seed: int = 0) -> Played:
    """Play all of a case.

    Args:
        seed: of what is to be random.
    """
    played = Played(case)
    begin = trio.current_time()
    memory, failures = stage.memory(), stage.clients.failed
    stage.clients.slowest = 0.0
    for state, form in case.plays():
        chance = random.Random(f"{seed} {case.id} {state} {form}")  # noqa: S311  # of lies
        problem, life = await _play_one(stage, case, state, form, chance)
        played.lives += 1
        if problem is not None:
            place = f"{state}, form {form + 1}" if case.forms > 1 else state
            played.problems.append(f"{place}: {problem}")
            if life is not None:
                played.logs.append((state, life.log))
        if stage.subject.status is not None:
            break
    left = await stage.settle()
    if left is not None:
        played.problems.append(left)
    grown = stage.memory() - memory
    if grown > MEMORY:
        played.problems.append(f"the primary has grown by {grown >> 20} MiB")
    failed = stage.clients.failed - failures
    if failed:
        requests = counted(failed, "request")
        text = f"{requests} to the innocent worker failed: {stage.clients.failures[-1]}"
        played.problems.append(text)
    played.seconds = trio.current_time() - begin
    return played


async def _play_one(
    stage: Stage, case: Case, state: str, form: int, chance: random.Random
) -> tuple[str | None, Life | None]:
    """Play one life; returns what was wrong, and the life."""
    outcome = case.outcomes[state]
    life = None
    patience = stage.patience * (_SLOW if case.slow else 1)
    step = "another hostile worker was to come"
    try:
        with trio.fail_after(patience):
            life = await stage.hangar.take()
            scene = Scene(
                case,
                life,
                hangar=stage.hangar,
                clients=stage.clients,
                terms=stage.terms,
                form=form,
                chance=chance,
            )
            step = f"{state} was to be reached"
            await scene.reach(state)
            step = "the lie was to be told"
            await case.lie(scene)
            step = f"expected: {outcome}"
            await scene.judge(outcome)
    except (Problem, Gone) as exc:
        return str(exc), life
    except trio.TooSlowError:
        return f"{step}, and for {patience:g} s nothing happened{_last(life)}", life
    except BaseExceptionGroup as group:
        problems = group.subgroup(Problem)
        if problems is None:
            raise
        return _first(problems), life
    finally:
        if life is not None:
            await _end(life)
    return None, life


async def _end(life: Life) -> None:
    with trio.CancelScope(shield=True):
        await life.end()


def _first(group: BaseExceptionGroup[Problem]) -> str:
    inner: Any = group
    while isinstance(inner, BaseExceptionGroup):
        inner = inner.exceptions[0]
    return str(inner)


def _last(life: Life | None) -> str:
    """What the primary said last."""
    heard: Sequence[Any] = () if life is None else life.heard
    if not heard:
        return "; it has said nothing"
    return f"; the last that it said was {kind_name(heard[-1].kind)}"
