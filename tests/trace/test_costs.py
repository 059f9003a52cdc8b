"""A trace that is off costs nothing: all that is done is counted, as if there were none at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from tests.program import PATIENCE
from tests.trace import counted
from tests.trace.without import PACKAGE, copy_without_trace

PROGRAM: Final = Path(counted.__file__)


def count(package: Path, *arguments: str) -> dict[str, Any]:
    """Run the program with a package."""
    unwanted = ("ACTORCLUSTER_TRACE", "COVERAGE")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), *arguments],
        env={**clean, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    assert str(package) == found.pop("package")
    return found


def test_one_that_is_off_costs_nothing_and_one_that_is_on_a_write_a_pass(tmp_path: Path) -> None:
    """Not one pass, system call or call of a function more than in a package that has none."""
    assert "_worker/life.py" in copy_without_trace(tmp_path)
    absent = count(tmp_path / PACKAGE.name)
    off = count(PACKAGE)
    on = count(PACKAGE, str(tmp_path / "t"))
    assert absent == off
    assert off["sends"] == off["system"]["socket.send"] > counted.ASKS
    assert off["receives"] == off["system"]["socket.recvmsg_into"] > counted.ASKS
    assert off["passes"] == off["system"]["epoll.poll"]

    for name in ("passes", "sends", "receives"):
        assert off[name] == on[name]
    writes = on["system"].pop("posix.write")
    assert off["system"] == on["system"]
    assert 0 < writes <= on["passes"]
    assert off["calls"] != on["calls"]
