"""What the Python worker needs, loaded before it is forked for each case: ``--preload`` of the kit.

The package looks at its environment when it is imported, as a worker's first import does; here it
has to look again in each process.
"""

from __future__ import annotations

import os

from actorcluster._worker import bootstrap, runtime

__all__ = ["runtime"]  # with all that a worker needs


def _look_again() -> None:
    bootstrap._read_environment(os.environ)


os.register_at_fork(after_in_child=_look_again)
