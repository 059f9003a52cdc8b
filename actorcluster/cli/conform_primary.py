"""``conform --primary``: what differs where a primary is tried.

Runs in: primary
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .interrupts import INTERRUPTED, is_interrupt

if TYPE_CHECKING:
    from actorcluster import conform as kit

__all__ = ["fuzz_primary", "show_primary_coverage"]


def fuzz_primary(kit: Any, options: kit.FuzzOptions, directory: str | None) -> int:
    """Try a primary by chance; returns the exit status."""
    try:
        figures = kit.fuzz_primary(options, click.echo, directory)
    except kit.Unfit as exc:
        click.echo(str(exc), err=True)
        return 2
    except (BaseExceptionGroup, KeyboardInterrupt) as exc:
        if not is_interrupt(exc):
            raise
        click.echo("conform: interrupted", err=True)
        return INTERRUPTED
    for line in figures.lines():
        click.echo(line)
    for finding in figures.findings:
        click.echo(f"again: --primary --fuzz --seed {options.seed} --case {finding.case}")
    return 0 if figures.passed else 1


def show_primary_coverage(kit: Any) -> int:
    """Show which sentences that a primary has to keep have which cases."""
    lines, missing = kit.primary_coverage()
    for line in lines:
        click.echo(line)
    return 1 if missing else 0
