"""``python -m actorcluster``: see `actorcluster.cli`.

Runs in: primary
"""

from __future__ import annotations

from .cli.commands import main

if __name__ == "__main__":
    main(prog_name="python -m actorcluster")
