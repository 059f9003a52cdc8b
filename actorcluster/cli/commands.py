"""The commands of ``python -m actorcluster``: reads arguments, starts what they ask for.

Runs in: primary
"""

from __future__ import annotations

import os
import sys

import click

from .conform import conform
from .demo import run_demo
from .screen import Screen
from .show import Scale
from .trace import trace

__all__ = ["main"]


@click.group()
@click.version_option(package_name="actorcluster", prog_name="actorcluster")
def main() -> None:
    """Worker processes as actors, with shared ports and passed descriptors."""


main.add_command(conform)
main.add_command(trace)


@main.command(short_help="See it run: workers on one port, one killed under load.")
@click.option(
    "--workers",
    metavar="N",
    default=4,
    type=click.IntRange(1, 64),
    show_default=True,
    help="Processes that share the port.",
)
@click.option(
    "--requests",
    metavar="N",
    default=2000,
    type=click.IntRange(min=100),
    show_default=True,
    help="At least so many; it goes on until the killed worker is back.",
)
@click.option(
    "--clients",
    metavar="N",
    default=16,
    type=click.IntRange(1, 256),
    show_default=True,
    help="Connections at a time.",
)
@click.option(
    "--port",
    metavar="N",
    default=0,
    type=click.IntRange(0, 65535),
    help="0, the default: a free one.",
)
def demo(workers: int, requests: int, clients: int, port: int) -> None:
    """Serve requests on a port that workers share, and kill one of them under load.

    Exits 0 if every request was answered, the killed worker came back, and no message was lost;
    else the last line names what was promised and not kept.
    """
    scale = Scale(workers=workers, requests=requests, clients=clients, port=port)
    code = 1
    try:
        code = run_demo(scale, Screen.for_stdout())
    except* BrokenPipeError:
        # Nobody reads any more, as with `| head`; the interpreter must not try to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
