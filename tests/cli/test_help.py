"""What ``--help`` says on a terminal of 80 columns: nothing is cut off, and no word is torn."""

from __future__ import annotations

import re

import click
import pytest
from click.testing import CliRunner

from actorcluster.cli.commands import main
from actorcluster.cli.run_wrapper import main as run

COMMANDS: dict[str, click.Command] = {"": main, **main.commands, "actorcluster-run": run}


def told(command: click.Command) -> str:
    done = CliRunner().invoke(command, ["--help"], terminal_width=80)
    assert 0 == done.exit_code
    return done.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_readable_at_80_columns(name: str) -> None:
    lines = told(COMMANDS[name]).splitlines()
    assert [] == [line for line in lines if len(line) > 80]
    assert [] == [line for line in lines if line.count("[") != line.count("]")]
    assert [] == [line for line in lines if line.endswith("-") or "\\b" in line]


def test_commands_are_told_in_a_whole_line() -> None:
    listed = told(main).partition("Commands:\n")[2].splitlines()
    assert sorted(main.commands) == [line.split()[0] for line in listed]
    assert [] == [line for line in listed if not line.endswith(".") or line.endswith("..")]


def test_every_option_says_what_it_is() -> None:
    for command in COMMANDS.values():
        options = [one for one in command.params if isinstance(one, click.Option)]
        assert [] == [
            one.name for one in options if not re.fullmatch(r"[A-Z0-9].+[.]", one.help or "")
        ]
