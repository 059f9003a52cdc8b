"""The application's code is imported inside a worker, the started script included.

Runs in: worker

While that goes on, what would start the program once more is refused: an application without
its ``if __name__ == "__main__":`` would fork workers that fork workers.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
import types
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec, PathFinder, SourcelessFileLoader
from typing import Final, NoReturn

__all__ = [
    "GUARD",
    "MAIN_NAME",
    "load_main",
    "load_module",
    "loading_main",
    "refuse_while_loading",
    "while_loading",
]

MAIN_NAME: Final = "__actorcluster_main__"
"""What the started script is called inside a worker."""

GUARD: Final = '\n\n    if __name__ == "__main__":\n        actorcluster.run(main)\n'
"""The two lines to write, as the end of an error's text."""

_loading: Final[list[str]] = []  # what is being imported just now, the innermost last


def loading_main() -> str | None:
    """Path or name of the script or module that a worker imports just now, or None."""
    return _loading[-1] if _loading else None


def refuse_while_loading(what: str) -> None:
    """Raise RuntimeError if a worker is still importing the application's code.

    Args:
        what: the call that makes no sense then, e.g. ``"actorcluster.run()"``.
    """
    path = loading_main()
    if path is not None:
        raise RuntimeError(
            f"{what} was reached while a worker imported {path}, which would start the whole "
            f"program again; what starts the program must stand below{GUARD}"
        )


@contextlib.contextmanager
def while_loading(what: str) -> Iterator[None]:
    """Mark the time in which *what*, a path or name, is being imported."""
    _loading.append(what)
    try:
        yield
    finally:
        _loading.pop()


def load_module(name: str, file: str | None) -> types.ModuleType:
    """Import by name; only if nobody knows the name, from the file the primary has it from."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        unknown = error.name is not None and f"{name}.".startswith(f"{error.name}.")
        spec = importlib.util.spec_from_file_location(name, file) if file and unknown else None
        if spec is None or spec.loader is None or not os.path.isfile(str(file)):
            raise
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def load_main(main: Mapping[str, str]) -> types.ModuleType:
    """Execute the started script once more, as a module that is not called ``__main__``."""
    if MAIN_NAME in sys.modules:
        return sys.modules[MAIN_NAME]
    module = types.ModuleType(MAIN_NAME)
    code = _code_from_name(module, main["name"]) if "name" in main else _code(module, main["path"])
    before = sys.modules["__main__"]
    sys.modules[MAIN_NAME] = sys.modules["__main__"] = module
    try:
        exec(code, vars(module))  # noqa: S102  (this is what importing is)
    except BaseException:
        sys.modules["__main__"] = before
        sys.modules.pop(MAIN_NAME, None)
        raise
    return module


def _code_from_name(module: types.ModuleType, name: str) -> types.CodeType:
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return _code_from_spec(module, spec)


def _code(module: types.ModuleType, path: str) -> types.CodeType:
    """The code of a script file, or of the ``__main__`` in a directory or zip file."""
    source: bytes | None = None
    with contextlib.suppress(IsADirectoryError), io.open_code(path) as file:
        source = file.read()
    if source is None or b"\0" in source:  # in a text it would look for the end of a zip file
        spec = PathFinder.find_spec("__main__", [path])
        if spec is not None:
            return _code_from_spec(module, spec)
    module.__file__ = path
    if source is None or path.endswith(".pyc"):
        code = SourcelessFileLoader(MAIN_NAME, path).get_code(MAIN_NAME)
        return code if code is not None else _no_code(path)
    # Not through SourceFileLoader: it would leave a __pycache__ beside the script.
    return compile(source, path, "exec", dont_inherit=True)


def _code_from_spec(module: types.ModuleType, spec: ModuleSpec) -> types.CodeType:
    # What the interpreter itself sets for `python -m` and `python directory`.
    module.__spec__, module.__loader__ = spec, spec.loader
    module.__package__, module.__file__ = spec.parent, spec.origin
    get_code = getattr(spec.loader, "get_code", None)
    code: types.CodeType | None = get_code(spec.name) if get_code is not None else None
    return code if code is not None else _no_code(spec.name)


def _no_code(name: str) -> NoReturn:
    raise ImportError(f"no code to be had for {name}", name=name)
