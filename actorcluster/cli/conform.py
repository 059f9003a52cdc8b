"""``conform``: tries a program that claims to be a worker, and says what it does wrong.

Runs in: primary
"""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from actorcluster import conform as kit

from .._counted import counted
from .conform_primary import fuzz_primary, show_primary_coverage
from .interrupts import INTERRUPTED, is_interrupt

__all__ = ["conform"]


def _in_a_directory(_ctx: object, _option: object, path: str | None) -> str | None:
    """Say at once, not after minutes of playing, that a file can never be written."""
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory for {path}")
    return path


@click.command(
    context_settings={"ignore_unknown_options": False},
    short_help="Test a worker in any language, or a primary.",
)
@click.option("--level", type=click.IntRange(0, 4), metavar="N",
              help="It has to claim this level, and keep it: 0 starts and stops, 1 has messages, 2"
              " ports and handles, 3 monitors, 4 payloads in memory files.")  # fmt: skip
@click.option("--cap", "caps", multiple=True, metavar="NAME",
              help="Only cases that need this capability.")  # fmt: skip
@click.option("--only", multiple=True, metavar="PATTERN",
              help="Only cases, or sentences, that match this pattern.")  # fmt: skip
@click.option("--list", "is_list", is_flag=True, help="Name the cases, and play none.")
@click.option("--coverage", is_flag=True, help="Show which sentences have which cases.")
@click.option("--strict", is_flag=True, help="What violates a SHOULD fails.")
@click.option("--seed", type=int, default=0, metavar="N",
              help="Of the order of cases and of random cuts.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0.1), default=10.0, show_default=True,
              metavar="SECONDS", help="How long a wait lasts at most.")  # fmt: skip
@click.option("--slow", is_flag=True, help="Also what takes long by its nature.")
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, metavar="N",
              help="Cases at a time.")  # fmt: skip
@click.option("--known", type=click.Path(exists=True, dir_okay=False),
              help="Names the cases that are expected to fail, one in a line.")  # fmt: skip
@click.option("--junit", type=click.Path(dir_okay=False), callback=_in_a_directory,
              help="Write the results here, as CI systems read them.")  # fmt: skip
@click.option("--json", "json_path", type=click.Path(dir_okay=False), callback=_in_a_directory,
              help="Write the results here, for programs.")  # fmt: skip
@click.option("--transcripts", type=click.Path(file_okay=False), metavar="DIR",
              help="Write here what was said in cases that failed, as stream vectors.")  # fmt: skip
@click.option("--lane", type=click.Choice(["node"]),
              help="All handles go by a side lane of this form.")  # fmt: skip
@click.option("--preload", metavar="MODULES",
              help="COMMAND is a Python program: load these modules once (with commas"
              " between), and fork for each case.")  # fmt: skip
@click.option("--primary", "is_primary", is_flag=True,
              help="COMMAND is a primary: play hostile workers.")  # fmt: skip
@click.option("--fuzz", "is_fuzz", is_flag=True, help="With --primary: by chance.")
@click.option("--minutes", type=click.FloatRange(0.01), default=1.0, show_default=True, metavar="N",
              help="With --fuzz: how long.")  # fmt: skip
@click.option("--case", "number", type=click.IntRange(0), metavar="N",
              help="With --fuzz: this case alone.")  # fmt: skip
@click.option("--lanes", type=click.IntRange(1, 64), default=4, show_default=True, metavar="N",
              help="With --fuzz: how many hostile workers there are at a time.")  # fmt: skip
@click.argument("command", nargs=-1)
def conform(
    *,
    is_primary: bool,
    is_fuzz: bool,
    minutes: float,
    number: int | None,
    lanes: int,
    level: int | None,
    caps: tuple[str, ...],
    only: tuple[str, ...],
    is_list: bool,
    coverage: bool,
    strict: bool,
    seed: int,
    timeout: float,
    slow: bool,
    jobs: int,
    known: str | None,
    junit: str | None,
    json_path: str | None,
    transcripts: str | None,
    lane: str | None,
    preload: str | None,
    command: tuple[str, ...],
) -> None:
    """Play the primary against COMMAND, or hostile workers, and judge it by the specification.

    Put -- before COMMAND. Exits 0 if it passes, 1 if it does not, 2 if it was called wrongly.
    """
    if is_fuzz and not is_primary:
        raise click.UsageError("--fuzz needs --primary")
    if number is not None and not is_fuzz:
        raise click.UsageError("--case needs --fuzz")
    for name in ("minutes", "lanes"):
        if not is_fuzz and _is_given(name):
            raise click.UsageError(f"--{name} needs --fuzz")
    if coverage:
        sys.exit(show_primary_coverage(_load()) if is_primary else _show_coverage())
    kit = _load()
    options = kit.Options(
        command=command,
        level=level,
        caps=frozenset(caps),
        only=only,
        strict=strict,
        seed=seed,
        timeout=timeout,
        slow=slow,
        jobs=jobs,
        known=_known(known),
        lane=lane or "",
        preload=tuple(filter(None, (preload or "").split(","))),
    )
    if is_primary and is_fuzz:
        fuzz = kit.FuzzOptions(
            command=_given(command),
            minutes=minutes,
            seed=seed,
            only=number,
            lanes=lanes,
            timeout=timeout,
        )
        sys.exit(fuzz_primary(kit, fuzz, transcripts))
    select = kit.select_primary if is_primary else kit.select
    if is_list:
        for one in select(options):
            click.echo(f"L{one.level}  {one.id:28}  {' '.join(one.requirements):24}  {one.title}")
        return
    _given(command)
    if not select(options):
        raise click.UsageError("no case is called so")
    sys.exit(_try(options, is_primary, junit, json_path, transcripts))


def _is_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is click.core.ParameterSource.COMMANDLINE


def _given(command: tuple[str, ...]) -> tuple[str, ...]:
    if not command:
        raise click.UsageError("there is no COMMAND to try; put it behind --")
    return command


def _try(
    options: kit.Options,
    is_primary: bool,
    junit: str | None,
    json_path: str | None,
    transcripts: str | None,
) -> int:
    progress, kit = _Progress(), _load()
    try:
        report: Any
        if is_primary:
            report = kit.try_primary(options, progress.add)
        else:
            report = kit.try_program(options, progress.add)
    except kit.Unfit as exc:
        click.echo(str(exc), err=True)
        return 2
    except (ValueError, RuntimeError) as exc:
        if not options.preload:
            raise
        click.echo(f"--preload: {exc}", err=True)
        return 2
    except OSError as exc:
        click.echo(f"{options.command[0]}: {exc.strerror or exc}", err=True)
        return 2
    except (BaseExceptionGroup, KeyboardInterrupt) as exc:
        if not is_interrupt(exc):
            raise
        return _interrupted(progress)
    progress.end()
    for line in report.lines():
        click.echo(line)
    try:
        _write(report, junit, json_path, transcripts)
    except OSError as exc:
        click.echo(f"conform: {exc.filename} cannot be written: {exc.strerror or exc}", err=True)
        return 2
    return int(report.exit_status)


def _write(report: Any, junit: str | None, json_path: str | None, transcripts: str | None) -> None:
    kit = _load()
    if junit:
        kit.write_junit(report, junit)
    if json_path:
        kit.write_json(report, json_path)
    if transcripts:
        for path in kit.write_transcripts(report, transcripts):
            click.echo(f"written: {path}")


def _load() -> Any:
    """Load the kit, which other commands need not wait for."""
    return importlib.import_module("actorcluster.conform")


class _Progress:
    """A line on a terminal that counts; nothing elsewhere."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self.failed: list[kit.Result] = []
        self._is_terminal = sys.stderr.isatty()

    def add(self, result: kit.Result) -> None:
        self._counts[str(result.outcome)] += 1
        if result.outcome is _load().Outcome.FAIL:
            self.failed.append(result)
        if self._is_terminal:
            words = ", ".join(f"{count} {name}" for name, count in self._counts.items())
            click.echo(f"\r\x1b[K{words}  {result.case.id}", nl=False, err=True)

    @property
    def count(self) -> int:
        """Of cases, so far."""
        return sum(self._counts.values())

    def end(self) -> None:
        if self._is_terminal:
            click.echo("\r\x1b[K", nl=False, err=True)


def _interrupted(progress: _Progress) -> int:
    """Say what there is to say of a run that was not to its end."""
    progress.end()
    for one in progress.failed:
        click.echo(f"FAIL       {one.case.id}  {one.text}")
    click.echo(f"conform: interrupted, after {counted(progress.count, 'case')}", err=True)
    return INTERRUPTED


def _show_coverage() -> int:
    kit = _load()
    for line in kit.coverage_lines():
        click.echo(line)
    return 1 if kit.uncovered() else 0


def _known(path: str | None) -> frozenset[str]:
    """Read the file of expected failures: a case in each line, ``#`` begins a comment."""
    if path is None:
        return frozenset()
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text().splitlines())
    return frozenset(filter(None, lines))
