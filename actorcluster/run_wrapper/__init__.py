"""Any socket-activated program as a supervised worker: ``actorcluster-run -- CMD``.

Runs in: worker
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from typing import NoReturn

import trio

from .._worker.bootstrap import is_worker, prepare_signals, prepare_sigterm
from .child import adopt_orphans
from .endings import Ending
from .life import Plan, live
from .wishes import Wish, read_wish, read_wishes

__all__ = ["Plan", "Wish", "read_wish", "read_wishes", "wrap"]


def wrap(plan: Plan) -> NoReturn:
    """Be a worker that is that program, and end as it ends.

    The exit status is the program's; 0 if it ended by the signal that told it to stop, or the
    primary is gone; 1 if a port cannot be had; 2 if this process is no worker; 126 and 127 if the
    program cannot be executed, or is not there.
    """
    problem = "it is started by a primary, as a worker"
    try:
        found = is_worker()
    except RuntimeError as exc:
        found, problem = False, str(exc)
    if not found:
        sys.stderr.write(f"actorcluster-run: {problem}\n")
        sys.exit(2)
    prepare_signals()
    prepare_sigterm()
    adopt_orphans()
    _end(trio.run(live, plan))


def _end(how: Ending) -> NoReturn:
    if how.signal:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the program has left its own
        if how.signal != signal.SIGKILL:
            signal.signal(how.signal, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [how.signal])
        os.kill(os.getpid(), how.signal)
    sys.exit(how.code)
