"""``actorcluster-run``: any socket-activated program as a supervised worker.

Runs in: worker
"""

from __future__ import annotations

import signal
from collections.abc import Sequence

import click

from ..run_wrapper import Plan, Wish, read_wishes, wrap

__all__ = ["main"]


def _wishes(_context: click.Context, _option: click.Parameter, texts: Sequence[str]) -> list[Wish]:
    try:
        return read_wishes(texts)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from exc


def _signal(_context: click.Context, _option: click.Parameter, name: str) -> int:
    try:
        return signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    except KeyError as exc:
        raise click.BadParameter(f"there is no signal {name}") from exc


@click.command()
@click.option(
    "--listen",
    "wishes",
    metavar="[NAME=][HOST:]PORT",
    callback=_wishes,
    multiple=True,
    help="A port that CMD serves, beside other workers; or unix:/PATH. May be given often.",
)
@click.option(
    "--stop-signal",
    metavar="SIGNAL",
    callback=_signal,
    default="TERM",
    show_default=True,
    help="Tells CMD to finish what it has begun, and end.",
)
@click.option(
    "--stop-timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Until SIGKILL, if the primary would wait for longer.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="CMD...")
def main(
    wishes: list[Wish],
    stop_signal: int,
    stop_timeout: float | None,
    command: tuple[str, ...],
) -> None:
    """Be a worker that is CMD, a program that takes its sockets as systemd hands them over.

    A primary starts this:

    \b
        exec=["actorcluster-run", "--listen", "8000", "--", "CMD"]

    CMD finds its sockets from descriptor 3 on, and LISTEN_FDS; it is told to stop when the worker
    is, and the worker ends as CMD does.

    All of it is told in docs/howto/any-program.md.
    """  # noqa: D301  (click's mark of a paragraph that is not wrapped)
    wrap(Plan(command, tuple(wishes), stop_signal, stop_timeout))
