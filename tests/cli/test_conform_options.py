"""What ``conform`` says of options that cannot be meant, before or without playing anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from actorcluster.cli.commands import main

COMMAND = ("--", "/bin/true")

WRONG = {
    "no directory for junit": (("--junit", "/not/there/x.xml", *COMMAND), "no directory for"),
    "no directory for json": (("--json", "/not/there/x.json", *COMMAND), "no directory for"),
    "one case of many without chance": (("--case", "3", *COMMAND), "--case needs --fuzz"),
    "chance without a primary": (("--fuzz", *COMMAND), "--fuzz needs --primary"),
    "nothing to try": ((), "there is no COMMAND"),
    "no such case": (("--only", "zz.*", *COMMAND), "no case is called so"),
}


@pytest.mark.parametrize("how", WRONG)
def test_called_wrongly(how: str) -> None:
    arguments, expected = WRONG[how]
    result = CliRunner().invoke(main, ["conform", *arguments])
    assert 2 == result.exit_code
    assert expected in result.stderr.splitlines()[-1]


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    """The verdict stands on the screen all the same."""
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "below"
    arguments = ["--only", "hs.hello", "--transcripts", str(place), *COMMAND]
    result = CliRunner().invoke(main, ["conform", *arguments])
    assert 2 == result.exit_code
    assert "not conformant: it never said HELLO as it must" == result.stdout.splitlines()[-1]
    assert [f"conform: {place} cannot be written: Not a directory"] == result.stderr.splitlines()
