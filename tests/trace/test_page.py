"""docs/reference/trace.md: its bytes say what it says they do, its program runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from actorcluster.trace.reading import as_lines
from actorcluster.trace.tracefile import read_trace
from tests.program import ROOT

PAGE = (ROOT / "docs/reference/trace.md").read_text()


def block(language: str) -> str:
    return str(re.findall(rf"(?ms)^```{language}\n(.*?)^```$", PAGE)[-1])


def example() -> bytes:
    lines = block("bytes").splitlines()
    columns = [re.match(r"(?:[0-9a-f]{2}(?: |$))*", line) for line in lines]
    return bytes.fromhex("".join(found[0] for found in columns if found))


def test_the_bytes_say_what_is_said_of_them() -> None:
    trace = read_trace(example())
    assert ("", 0) == (trace.fault, trace.left)
    assert block("lines").splitlines() == list(as_lines(trace))


def test_its_program_reads_a_trace(tmp_path: Path) -> None:
    (tmp_path / "web.trace").write_bytes(example() + b"\0\0")
    command = [sys.executable, "-c", block("python")]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    begin, _, _, end = said.splitlines()
    assert "[0, 228, 1, 1795468551423832, 6953, True, 33554432, []]" == begin
    assert "[7, 7848719, 'closed']" == end
