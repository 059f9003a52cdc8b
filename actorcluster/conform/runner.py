"""Runs cases against a program: one fresh process for each, several at a time.

Runs in: both
"""

from __future__ import annotations

import fnmatch
import random
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs
import trio

from . import cases as _cases  # noqa: F401  (which fills `CASES`)
from .case import CASES, Case, Failed, Noted, Outcome, Result, Unclaimed
from .claims import Claims
from .forge import Forge
from .frames import Fault
from .material import requirements
from .options import Options
from .orphans import open_orphanage
from .play import WORKER_ID, Play
from .process import PURPOSE, Program
from .report import Report
from .transcript import transcript
from .watch import Watch

__all__ = ["select", "try_program"]

_PROBE: Final = "hs.hello"
_WHOLE_CASE: Final = 8  # times the time-out
_WORST: Final = [Outcome.PASS, Outcome.INFO, Outcome.UNCLAIMED, Outcome.NON_STRICT, Outcome.FAIL]


def select(options: Options) -> list[Case]:
    """Give the cases that the options name, whatever the program claims."""
    found = [one for one in CASES.values() if _is_wanted(one, options)]
    if options.seed:
        random.Random(options.seed).shuffle(found)  # noqa: S311  (an order, not a key)
    return found


def _is_wanted(one: Case, options: Options) -> bool:
    if one.slow and not options.slow:
        return False
    if options.level is not None and one.level > options.level:
        return False
    if one.beside if options.lane else one.lane:
        return False
    if options.caps and not one.caps & options.caps:
        return False
    names = (one.id, *one.requirements)
    return not options.only or any(
        fnmatch.fnmatchcase(name, pattern) for name in names for pattern in options.only
    )


def try_program(options: Options, on_result: Callable[[Result], None] | None = None) -> Report:
    """Try a program.

    Args:
        options: how.
        on_result: is told of each result as it comes.

    Raises:
        KeyboardInterrupt: nothing of the program is left.
        FileNotFoundError, PermissionError: it cannot be started.
        ValueError, RuntimeError: it cannot be preloaded.
    """
    forge = Forge(options.command, options.preload) if options.preload else None
    try:
        with open_orphanage() as orphanage:
            run = _Run(options, on_result or (lambda _: None), forge)
            trio.run(run.all)
            return run.report(orphanage.left)
    finally:
        if forge is not None:
            forge.close()


@attrs.define
class _Sightings:
    """What came of a rule that is watched."""

    tried: int = 0
    found: list[tuple[str, Fault]] = attrs.Factory(list)


class _Run:
    """A program being tried."""

    def __init__(
        self, options: Options, on_result: Callable[[Result], None], forge: Forge | None
    ) -> None:
        self._options = options
        self._forge = forge
        self._on_result = on_result
        self._claims: Claims | None = None
        self._results: dict[str, Result] = {}
        self._watched: dict[str, _Sightings] = defaultdict(_Sightings)
        self._chosen = select(options)

    async def all(self) -> None:
        played = [one for one in self._chosen if not one.watch]
        probe = CASES[_PROBE]
        result = await self._case(probe)
        if probe in played:
            played.remove(probe)
        if probe in self._chosen or result.outcome is Outcome.FAIL:
            self._enter(result)
        if self._claims is None:
            return
        limiter = trio.CapacityLimiter(self._options.jobs)
        async with trio.open_nursery() as nursery:
            for one in played:
                await limiter.acquire_on_behalf_of(one.id)
                nursery.start_soon(self._one, one, limiter)
        for one in self._chosen:
            if one.watch:
                self._enter(self._seen(one))

    async def _one(self, one: Case, limiter: trio.CapacityLimiter) -> None:
        try:
            self._enter(await self._case(one))
        finally:
            limiter.release_on_behalf_of(one.id)

    def _enter(self, result: Result) -> None:
        self._results[result.case.id] = result
        self._on_result(result)

    def report(self, left: Mapping[str, int]) -> Report:
        """Put together what came of it, and which cases left how many processes behind."""
        order = [one.id for one in self._chosen if one.id in self._results]
        order += [name for name in self._results if name not in order]
        return Report(
            options=self._options,
            claims=self._claims,
            results=[self._results[name] for name in order],
            not_run=[one.id for one in self._chosen if one.id not in self._results],
            left=left,
        )

    # ---- one case -------------------------------------------------------------------------

    async def _case(self, one: Case) -> Result:
        """Play it, in each of its ways; the worst counts."""
        missing = self._unclaimed(one)
        if missing:
            return Result(case=one, outcome=Outcome.UNCLAIMED, text=missing)
        worst: Result | None = None
        seconds = 0.0
        for way in one.ways:
            result = await self._play(one, way)
            seconds += result.seconds
            if worst is None or _WORST.index(result.outcome) > _WORST.index(worst.outcome):
                worst = result
            if result.outcome is Outcome.FAIL:
                break
        assert worst is not None
        return attrs.evolve(worst, seconds=seconds)

    def _unclaimed(self, one: Case) -> str:
        claims = self._claims
        if claims is None:
            return ""
        missing = claims.missing(one.caps)
        if missing:
            return f"{', '.join(missing)} not offered"
        # Without a capability to name, what needs a level needs somebody who decodes frames.
        if one.level and not one.caps and not claims.caps:
            return f"it does not claim L{one.level}"
        return ""

    # Ctrl-C must not come between the start of a process and the note of it.
    @trio.lowlevel.enable_ki_protection
    async def _play(self, one: Case, way: str) -> Result:
        began = trio.current_time()
        PURPOSE.set(one.id)
        environment = {
            "ACTORCLUSTER_WORKER_ID": str(WORKER_ID),
            "ACTORCLUSTER_CONFORMANCE": "1",
        }
        if one.limits:
            words = [f"{name}={value}" for name, value in one.limits.items()]
            environment["ACTORCLUSTER_LIMITS"] = " ".join(words)
        program = Program(
            self._options.command, environment, lane=self._options.lane, forge=self._forge
        )
        play = Play(
            one,
            program,
            timeout=self._options.timeout,
            command=self._options.command,
            way=way,
            seed=self._options.seed,
        )
        try:
            result = await self._outcome(play)
            result = attrs.evolve(result, seconds=trio.current_time() - began)
            if result.outcome in (Outcome.FAIL, Outcome.NON_STRICT):
                result = attrs.evolve(
                    result,
                    text=result.text if way == "whole" else f"{result.text} (written {way})",
                    stderr=result.stderr or program.last_words(),
                    transcript=transcript(one.id, one.requirements, result.text, play.line.steps),
                )
        finally:
            for thing in play.things:
                thing.close()
            await program.close()
        if one.id == _PROBE and result.outcome is not Outcome.FAIL:
            self._claims = play.claims
        self._watch(one, play.watch)
        return result

    async def _outcome(self, play: Play) -> Result:
        one = play.case
        assert one.story is not None
        try:
            with trio.move_on_after(self._options.timeout * _WHOLE_CASE) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(play.line.read_forever)
                    nursery.start_soon(play.serve)
                    await play.begin()
                    await one.story(play)
                    nursery.cancel_scope.cancel()
            if scope.cancelled_caught:
                raise play.fail("it took too long as a whole")
        except BaseExceptionGroup as group:
            exc = _only(group)
            if exc is None:
                raise
            return self._judged(one, exc, play)
        except Failed as exc:
            return self._judged(one, exc, play)
        finally:
            play.line.close_descriptors(play.heard)
        if play.notes:
            return Result(case=one, outcome=Outcome.NON_STRICT, text="; ".join(play.notes))
        return Result(case=one, outcome=Outcome.PASS)

    def _judged(self, one: Case, exc: Exception, play: Play) -> Result:
        if isinstance(exc, Unclaimed):
            return Result(case=one, outcome=Outcome.UNCLAIMED, text=str(exc))
        if isinstance(exc, Noted):
            return Result(case=one, outcome=Outcome.INFO, text=str(exc))
        if not isinstance(exc, Failed):
            # What the worker said was so strange that the case could not look at it; or it is a
            # fault of the kit. Neither may pass.
            where = "".join(traceback.format_exception(exc)[-3:])
            fault = Fault(one.requirements[0], f"{type(exc).__name__}: {exc}")
            return Result(
                case=one, outcome=Outcome.FAIL, text=fault.text, fault=fault, stderr=where
            )
        known = requirements().get(exc.fault.requirement)
        is_must = known is None or known.level == "MUST"
        outcome = Outcome.FAIL if is_must else Outcome.NON_STRICT
        return Result(case=one, outcome=outcome, text=exc.fault.text, fault=exc.fault)

    # ---- what is watched ------------------------------------------------------------------

    def _watch(self, one: Case, watch: Watch) -> None:
        for rule in watch.tried:
            self._watched[rule].tried += 1
        for rule, fault in watch.findings:
            self._watched[rule].found.append((one.id, fault))

    def _seen(self, one: Case) -> Result:
        seen = self._watched[one.id]
        if not seen.found:
            outcome = Outcome.PASS if seen.tried else Outcome.INFO
            text = "" if seen.tried else "it never came to that"
            return Result(case=one, outcome=outcome, text=text)
        names = list(dict.fromkeys(name for name, _ in seen.found))
        fault = seen.found[0][1]
        level = requirements()[fault.requirement].level
        text = f"in {', '.join(names[:5])}{', ...' if names[5:] else ''}: {fault.text}"
        outcome = Outcome.FAIL if level == "MUST" else Outcome.NON_STRICT
        return Result(case=one, outcome=outcome, text=text, fault=fault)


def _only(group: BaseExceptionGroup[BaseException]) -> Exception | None:
    """Give the one failure in a group; None: there is more than that."""
    exceptions = list(_flat(group))
    if not all(isinstance(exc, Exception) for exc in exceptions):
        return None
    told = [exc for exc in exceptions if isinstance(exc, Failed | Noted | Unclaimed)]
    found = (told or exceptions)[0]
    return found if isinstance(found, Exception) else None


def _flat(group: BaseException) -> Iterator[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        for exc in group.exceptions:
            yield from _flat(exc)
    else:
        yield group
