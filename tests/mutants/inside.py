"""Run pytest in a copy of the package, and not with any other that may be installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import actorcluster

if __name__ == "__main__":
    if not Path(actorcluster.__file__).resolve().is_relative_to(Path.cwd()):
        print(f"another package is imported: {actorcluster.__file__}")
        sys.exit(2)
    sys.exit(int(pytest.main(sys.argv[1:])))
