"""``trace``: prints what a primary has written down, or plays it again.

Runs in: primary
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

import click

__all__ = ["trace"]


@click.command(short_help="Show a trace that a primary wrote, or play it again.")
@click.option("--decode", "to_decode", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="Print what is in FILE.")  # fmt: skip
@click.option("--replay", "to_replay", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
              help="Play the primary's side of a worker in FILE against COMMAND.")  # fmt: skip
@click.option("--json", "is_json", is_flag=True, help="With --decode: a line of JSON each.")
@click.option("--worker", type=click.IntRange(1), metavar="ID",
              help="Only this worker; with --replay by default the first.")  # fmt: skip
@click.option("--payloads", is_flag=True,
              help="With --replay: what answers say is compared, too.")  # fmt: skip
@click.option("--lane", type=click.Choice(["none", "node"]),
              help="With --replay: how handles go; by default as in FILE.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0.1), default=10.0, show_default=True,
              metavar="SECONDS",
              help="With --replay: how long each wait lasts at most.")  # fmt: skip
@click.argument("command", nargs=-1)
def trace(
    *,
    to_decode: str | None,
    to_replay: str | None,
    is_json: bool,
    worker: int | None,
    payloads: bool,
    lane: str | None,
    timeout: float,
    command: tuple[str, ...],
) -> None:
    """Show a trace that a primary wrote, or play it again.

    Put -- before COMMAND. Exits 0 if all is well, 1 if the file is damaged or COMMAND answers
    otherwise than the worker in the trace did, 2 if it was called wrongly. All that is in a trace
    is told in docs/reference/trace.md.
    """
    if (to_decode is None) == (to_replay is None):
        raise click.UsageError("say either --decode FILE or --replay FILE")
    if to_decode is not None:
        if command:
            raise click.UsageError("--decode takes no COMMAND")
        sys.exit(_decode(to_decode, worker, is_json=is_json))
    if not command:
        raise click.UsageError("there is no COMMAND to play with; put it behind --")
    assert to_replay is not None
    has_lane = None if lane is None else lane == "node"
    options = {"worker": worker, "timeout": timeout, "payloads": payloads, "lane": has_lane}
    sys.exit(_replay(to_replay, command, options))


def _decode(path: str, worker: int | None, *, is_json: bool) -> int:
    reading = importlib.import_module("actorcluster.trace.reading")
    found = _load(reading, reading.load, path)
    if worker is not None and worker not in found.workers:
        click.echo(f"{path}: there is no worker {worker} in it; {found.who_is_there()}", err=True)
        _say_state(reading, found, path)
        return 2
    try:
        if is_json:
            for form in reading.as_json(found, worker):
                click.echo(json.dumps(form))
        else:
            for line in reading.as_lines(found, worker):
                click.echo(line)
    except BrokenPipeError:
        # Nobody reads any more, as with `| head`; the interpreter must not try to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    _say_state(reading, found, path)
    return 1 if found.fault else 0


def _say_state(reading: Any, found: Any, path: str) -> None:
    state = reading.state_of(found)
    if state:
        click.echo(f"{path} is {state}", err=True)


def _replay(path: str, command: tuple[str, ...], options: dict[str, Any]) -> int:
    reading = importlib.import_module("actorcluster.trace.reading")
    replay = importlib.import_module("actorcluster.trace.replay")
    found = _load(reading, reading.load_all, path)
    try:
        outcome = replay.play_again(found, command, **options)
    except replay.CannotReplay as exc:
        click.echo(f"{path}: {exc}", err=True)
        return 2
    except OSError as exc:
        click.echo(f"{command[0]}: {exc.strerror or exc}", err=True)
        return 2
    for line in outcome.lines():
        click.echo(line)
    return 0 if outcome.is_same else 1


def _load(reading: Any, load: Any, path: str) -> Any:
    try:
        return load(path)
    except (reading.BadTrace, OSError) as exc:
        click.echo(f"{path}: {exc}", err=True)
        sys.exit(2)
