"""The program of a worker whose target is named by its primary: ``python -m actorcluster._worker``.

Runs in: worker
"""

from __future__ import annotations

import importlib
import sys

from . import bootstrap

ENTRY = "actorcluster._worker.runtime:run_worker"


def main(entry: str = ENTRY) -> int:
    """Run a worker.

    Args:
        entry: ``"module:function"``, called without arguments; its return value is the exit code.
    """
    bootstrap.prepare_signals()
    bootstrap.prepare_sigterm()
    if not bootstrap.is_worker():
        sys.stderr.write("actorcluster: only a primary starts this program\n")
        return 2
    module, _, function = entry.partition(":")
    code: int = getattr(importlib.import_module(module), function)()
    return code


if __name__ == "__main__":
    sys.exit(main())
