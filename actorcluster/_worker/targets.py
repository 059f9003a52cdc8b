"""What a worker is to run: checked before any process exists, found again inside the worker.

Runs in: both

No function travels, only its name: a worker imports the module and walks to the function, so a
target is good exactly if that walk leads to it. A target inside the started script needs that
script in the worker: it is executed once more under the name ``__actorcluster_main__``, so that
what stands below ``if __name__ == "__main__":`` does not run again. The precedent is
``prepare`` in the standard library's ``multiprocessing.spawn``; unlike there the script becomes
a module whose functions see its own globals, it may be a directory, a zip file or a package, a
target elsewhere does not import it, and the missing guard is named before a process starts, see
`targetchecks`.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import types
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, Literal

import attrs

from .imports import load_main, load_module, while_loading

__all__ = [
    "MISSING",
    "REFUSED",
    "Target",
    "check_async",
    "find_target",
    "load_target",
    "no_such_name",
    "refuse",
    "walk",
]

MISSING: Final = object()
"""What `walk` gives where a name leads nowhere."""

REFUSED: Final = {
    "asyncgen": ("it is an async generator", "take the yield out of it"),
    "class": ("it is a class", "give an async function"),
    "sync": ("it is a sync function", "write async def (trio.to_thread.run_sync runs sync code)"),
}
"""By kind of object: what is wrong with it, what to do."""


@attrs.frozen(kw_only=True)
class Target:
    """What a worker runs, in words that another process understands.

    Attributes:
        form: ``"function"`` or ``"name"``: *qualname* of *module*; ``"script"``: a program that
            calls ``run_worker`` itself.
        module: full name; ``"__main__"`` for the started script.
        qualname: dotted path of the function inside the module.
        main: how to import the started script, ``{"path": ...}`` or ``{"name": ...}`` as after
            ``python -m``; None when the target does not live there.
        module_file: where the primary has the module from, for a worker that cannot find it by
            its name; or None.
        script: path of the program of the ``"script"`` form; None when ``settings.exec`` is a
            command line.
    """

    form: Literal["function", "name", "script"]
    module: str | None = None
    qualname: str | None = None
    main: Mapping[str, str] | None = None
    module_file: str | None = None
    script: str | None = None

    def __str__(self) -> str:
        if self.form == "script":
            return self.script or "the command line of settings.exec"
        return f"{self.module}:{self.qualname}"

    def to_config(self) -> dict[str, Any]:
        """The target as values of a message body."""
        config = attrs.asdict(self, recurse=False)
        config["main"] = None if self.main is None else dict(self.main)
        portable: dict[str, Any] = _portable(config)
        return portable

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Target:
        """The target that ``to_config`` described; entries of later versions are passed over."""
        return cls(**{key: _readable(value) for key, value in config.items() if key in _FIELDS})


#: Known beforehand: to ask attrs costs a worker a tenth of a millisecond.
_FIELDS: Final = frozenset(field.name for field in attrs.fields(Target))


def _portable(value: Any) -> Any:
    """Bytes for a path that has no UTF-8."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
        return os.fsencode(value)
    return value


def _readable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    return os.fsdecode(value) if isinstance(value, bytes) else value


def refuse(what: object, problem: str, remedy: str) -> TypeError:
    """Make the error that says why something cannot run."""
    return TypeError(f"cannot run {what} in a worker: {problem}; {remedy}")


def check_async(found: object, what: str) -> None:
    """Whether an object that a name led to can be awaited as the main of a worker."""
    if type(found) is types.FunctionType and found.__code__.co_flags & inspect.CO_COROUTINE:
        return  # nearly all are
    if inspect.isasyncgenfunction(found):
        raise refuse(what, *REFUSED["asyncgen"])
    if inspect.iscoroutinefunction(found):
        return
    if inspect.isclass(found):
        raise refuse(what, *REFUSED["class"])
    if inspect.isfunction(found):
        raise refuse(what, *REFUSED["sync"])
    problem = f"it is of type {type(found).__qualname__!r}, not an async function"
    raise refuse(what, problem, "name an async function of a module")


def walk(root: object, qualname: str) -> object:
    """Give what a dotted path leads to, or `MISSING`."""
    for part in qualname.split("."):
        root = getattr(root, part, MISSING)
        if root is MISSING:
            break
    return root


def no_such_name(what: str, module: str, qualname: str, names: Iterable[str]) -> TypeError:
    """Make the error that says that a module has no such name; maybe it has a similar one."""
    near = difflib.get_close_matches(qualname.partition(".")[0], list(names))
    if near:
        remedy = f"did you mean {', '.join(map(repr, near))}?"
    elif module == "__main__":
        remedy = 'look at its spelling; what stands below `if __name__ == "__main__"` is not there'
    else:
        remedy = "look at its spelling"
    return refuse(what, f"module {module!r} has no {qualname!r}", remedy)


# ---------------------------------------------------------------- as this process has it


def find_target(target: Target) -> Callable[..., Awaitable[object]]:
    """Give the function of a checked target as this process has it, for an actor that lives here.

    Raises:
        TypeError: the name leads nowhere, or to something that is no async function.
        Exception: whatever the application's code raises while it is imported, as it is.
    """
    assert target.module is not None
    assert target.qualname is not None
    module = importlib.import_module(target.module)
    found = walk(module, target.qualname)
    if found is MISSING:
        raise no_such_name(str(target), target.module, target.qualname, dir(module))
    check_async(found, str(target))
    return found  # type: ignore[return-value]  # `check_async` has looked


# ---------------------------------------------------------------- in the worker


def load_target(target: Target) -> Callable[..., Awaitable[object]]:
    """Import the target's module, or the started script, and return the function.

    Raises:
        TypeError: the name leads nowhere, or to something that is no async function.
        Exception: whatever the application's code raises while it is imported, as it is.
    """
    if target.module is None or target.qualname is None:
        problem = "it is a program that has to call actorcluster.run_worker(function) itself"
        raise refuse(target, problem, "do so, with an async function")
    with while_loading(_label(target)):
        if target.main is not None:
            module = load_main(target.main)
        else:
            module = load_module(target.module, target.module_file)
    found = walk(module, target.qualname)
    if found is MISSING:
        raise no_such_name(str(target), target.module, target.qualname, dir(module))
    check_async(found, str(target))
    return found  # type: ignore[return-value]  # `check_async` has looked


def _label(target: Target) -> str:
    main = target.main or {}
    return main.get("path") or main.get("name") or target.module_file or str(target.module)
