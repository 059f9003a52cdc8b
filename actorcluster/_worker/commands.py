"""Command lines that start another interpreter in the likeness of this one.

Runs in: primary
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["import_path", "module_argv", "python_argv", "script_argv", "worker_argv"]


def worker_argv(
    exec_argv: Sequence[str] | None = None, args: Sequence[str] = ()
) -> tuple[str, ...]:
    """The command line of a worker that runs what WELCOME will name.

    Args:
        exec_argv: flags of the interpreter; None means those of this process.
        args: its ``sys.argv[1:]``.
    """
    program = sys.argv[0] if sys.argv else ""
    code = f"sys.argv[0] = {program!a}; "
    code += "from actorcluster._worker.__main__ import main; sys.exit(main())"
    return python_argv(code, exec_argv, args)


def script_argv(
    script: str, exec_argv: Sequence[str] | None = None, args: Sequence[str] = ()
) -> tuple[str, ...]:
    """The command line of a worker that is a Python script, as `worker_argv`."""
    flags = interpreter_flags() if exec_argv is None else exec_argv
    return (sys.executable, *flags, script, *args)


def module_argv(
    module: str, exec_argv: Sequence[str] | None = None, args: Sequence[str] = ()
) -> tuple[str, ...]:
    """The command line of a worker that is a module, as after ``python -m``; see `worker_argv`."""
    code = f"import runpy; runpy.run_module({module!a}, run_name='__main__', alter_sys=True)"
    return python_argv(code, exec_argv, args)


def python_argv(
    code: str, exec_argv: Sequence[str] | None = None, args: Sequence[str] = ()
) -> tuple[str, ...]:
    """A command line that runs ``code`` where every import finds what it would find here.

    ``-m actorcluster...`` would not do: this process may have found actorcluster in a zip file, in
    the directory it was started in, or by a ``sys.path`` that was changed since.
    """
    flags = interpreter_flags() if exec_argv is None else exec_argv
    code = f"import sys; sys.path[:] = {import_path()!a}; {code}"
    return (sys.executable, *flags, "-c", code, *args)


def import_path() -> list[str]:
    """``sys.path`` in a form that holds in every working directory."""
    path = []
    for entry in sys.path:
        # An entry that is no file may be anything: import hooks put placeholders there.
        with contextlib.suppress(FileNotFoundError):  # the working directory was removed
            path.append(os.path.abspath(entry) if not entry or os.path.exists(entry) else entry)
    return path


def interpreter_flags() -> list[str]:
    """The command line flags that give another interpreter the settings of this one."""
    # Not documented, but what the standard library's own multiprocessing relies on.
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # see above
    return flags
