"""What a worker is to run: checked before any process exists, found again inside the worker.

Runs in: both

No function travels, only its name: a worker imports the module and walks to the function, so a
target is good exactly if that walk leads to it. A target inside the started script needs that
script in the worker: it is executed once more under the name ``__actorcluster_main__``, so that
what stands below ``if __name__ == "__main__":`` does not run again. The precedent is
``prepare`` in the standard library's ``multiprocessing.spawn``; unlike there the script becomes
a module whose functions see its own globals, it may be a directory, a zip file or a package, a
target elsewhere does not import it, and the missing guard is named before a process starts.

The parent half never imports the module of ``"package.module:function"``: it reads its source.
Looking for that source does import the packages above it, as ``importlib.util.find_spec`` does.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import importlib.util
import inspect
import io
import os
import sys
import types
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from .imports import (
    GUARD,
    MAIN_NAME,
    load_main,
    load_module,
    loading_main,
    refuse_while_loading,
    while_loading,
)
from .sources import is_unguarded, look

if TYPE_CHECKING:
    from .settings import Settings

__all__ = [
    "MAIN_NAME",
    "Target",
    "check_form",
    "check_target",
    "find_target",
    "load_target",
    "loading_main",
    "refuse_while_loading",
]

_MAIN_NAMES: Final = ("__main__", MAIN_NAME)
_MISSING: Final = object()
_REFUSED: Final = {  # kind of object: what is wrong with it, what to do
    "asyncgen": ("it is an async generator", "take the yield out of it"),
    "class": ("it is a class", "give an async function"),
    "sync": ("it is a sync function", "write async def (trio.to_thread.run_sync runs sync code)"),
}


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


def _refuse(what: object, problem: str, remedy: str) -> TypeError:
    return TypeError(f"cannot run {what} in a worker: {problem}; {remedy}")


# ---------------------------------------------------------------- in the primary: any target


def check_target(target: object, args: Sequence[object], settings: Settings) -> Target:
    """Find out whether a worker will be able to run *target*, before there is a worker.

    Args:
        target: an async function that its module's name and its own lead to, a
            ``"package.module:function"``, or None for ``settings.exec`` or the started script.
        args: what the function gets after the actor.
        settings: the settings of the worker.

    Raises:
        TypeError: it will not; the text says why and what to do.
        RuntimeError: the started script lacks its ``if __name__ == "__main__":``.
    """
    if target is None:
        return _check_script(args, settings)
    if isinstance(target, str):
        return _check_name(target, args)
    if isinstance(target, types.FunctionType):
        return _check_function(target, args)
    raise _not_a_function(target)


def check_form(target: object) -> None:
    """Refuse what no worker can run, wherever it is; unlike `check_target` look nothing up.

    Raises:
        TypeError: the text says why and what to do.
    """
    if isinstance(target, str):
        _split_name(target)
    elif isinstance(target, types.FunctionType):
        what = f"{target.__module__}:{target.__qualname__}"
        _check_reachable(target, what)
        _check_async(target, what)
    elif target is not None:
        raise _not_a_function(target)


def _not_a_function(target: object) -> TypeError:
    """Why something that is no function, no name and not None is refused."""
    if inspect.isclass(target):
        return _refuse(repr(target), *_REFUSED["class"])
    if isinstance(target, functools.partial):
        remedy = "give the function itself and its arguments after it"
        return _refuse(repr(target), "it is a functools.partial", remedy)
    if inspect.ismethod(target):
        problem = "it is a bound method and the worker does not have the object it is bound to"
        return _refuse(repr(target), problem, "give a module's async function, the state as args")
    if inspect.iscoroutine(target):
        target.close()  # or Python adds "was never awaited", which would mislead
        problem = "it is a coroutine, the function has been called already"
        return _refuse(repr(target), problem, "give the function without the parentheses")
    if callable(target):
        problem = "it is a callable object, not a function"
        return _refuse(repr(target), problem, "give an async function of a module")
    allowed = 'an async function, "package.module:function" or None'
    return TypeError(f"target must be {allowed}, not {target!r}")


def _check_function(target: types.FunctionType, args: Sequence[object]) -> Target:
    module_name, qualname = target.__module__, target.__qualname__
    what = f"{module_name}:{qualname}"
    _check_reachable(target, what)
    _check_async(target, what)
    module = _module_of(what, module_name)
    if _walk(module, qualname) is not target:
        problem = "that name does not lead to it: a decorator or a later definition hides it"
        remedy = "give what the name holds, and use functools.wraps in decorators"
        raise _refuse(what, problem, remedy)
    _check_arity(what, inspect.signature(target), args)
    return _in_module("function", what, module, module_name, qualname)


def _check_reachable(target: types.FunctionType, what: str) -> None:
    if "<lambda>" in target.__qualname__:
        raise _refuse(what, "it is a lambda", "write it as an async def at the top of a module")
    if "<locals>" in target.__qualname__:
        problem = "it is defined inside another function, where a worker cannot reach it"
        remedy = "move it to the top of a module and pass what it closes over as args"
        hint = "a decorator that made it needs functools.wraps"
        raise _refuse(what, problem, f"{remedy} ({hint})")


def _module_of(what: str, name: str | None) -> types.ModuleType:
    """The module a function says it comes from; in the primary it is there as a rule."""
    if not name:
        problem = "it does not say which module it comes from (__module__ is empty)"
        raise _refuse(what, problem, "define it at the top of a module")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        problem = f"its module {name!r} cannot be imported: {error}"
        raise _refuse(what, problem, "define it in a module that can") from error


def _in_module(
    form: Literal["function", "name"],
    what: str,
    module: types.ModuleType,
    module_name: str,
    qualname: str,
) -> Target:
    """The target for a function of a module that this process has loaded."""
    if module_name not in _MAIN_NAMES:
        spec = getattr(module, "__spec__", None)
        file = spec.origin if spec and spec.has_location else getattr(module, "__file__", None)
        file = os.path.abspath(file) if file else None
        return Target(form=form, module=module_name, qualname=qualname, module_file=file)
    main = _main_info(what, module)
    _check_guard(module)
    return Target(form=form, module="__main__", qualname=qualname, main=main)


def _check_async(found: object, what: str) -> None:
    """Whether an object that a name led to can be awaited as the main of a worker."""
    if type(found) is types.FunctionType and found.__code__.co_flags & inspect.CO_COROUTINE:
        return  # nearly all are
    if inspect.isasyncgenfunction(found):
        raise _refuse(what, *_REFUSED["asyncgen"])
    if inspect.iscoroutinefunction(found):
        return
    if inspect.isclass(found):
        raise _refuse(what, *_REFUSED["class"])
    if inspect.isfunction(found):
        raise _refuse(what, *_REFUSED["sync"])
    problem = f"it is of type {type(found).__qualname__!r}, not an async function"
    raise _refuse(what, problem, "name an async function of a module")


def _check_arity(
    what: str, signature: inspect.Signature, args: Sequence[object], shown: str | None = None
) -> None:
    try:
        signature.bind(None, *args)
    except TypeError as error:
        call = f"(actor, and {len(args)} more)" if args else "(actor)"
        problem = f"it takes {shown or _bare(signature)} and would be called with {call}: {error}"
        raise _refuse(what, problem, "change its parameters or the args given") from error


def _bare(signature: inspect.Signature) -> inspect.Signature:
    """The same without annotations, to be read by people."""
    empty = inspect.Signature.empty
    parameters = [item.replace(annotation=empty) for item in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=empty)


def _walk(root: object, qualname: str) -> object:
    for part in qualname.split("."):
        root = getattr(root, part, _MISSING)
        if root is _MISSING:
            break
    return root


def _no_such_name(what: str, module: str, qualname: str, names: Iterable[str]) -> TypeError:
    near = difflib.get_close_matches(qualname.partition(".")[0], list(names))
    if near:
        remedy = f"did you mean {', '.join(map(repr, near))}?"
    elif module == "__main__":
        remedy = 'look at its spelling; what stands below `if __name__ == "__main__"` is not there'
    else:
        remedy = "look at its spelling"
    return _refuse(what, f"module {module!r} has no {qualname!r}", remedy)


# ---------------------------------------------------------------- in the primary: the script


def _check_script(args: Sequence[object], settings: Settings) -> Target:
    if args:
        problem = f"without a target function nothing takes the {len(args)} arguments after it"
        raise _refuse("a script", problem, "use settings.args, its sys.argv[1:]")
    if isinstance(settings.exec, tuple):
        return Target(form="script")
    if settings.exec is not None:
        path = os.path.abspath(settings.exec)
        if not os.path.exists(path):
            remedy = "set exec to the path of a script, or to a command line as a tuple"
            raise _refuse(settings.exec, f"settings.exec {path!r} does not exist", remedy)
        return Target(form="script", main={"path": path}, script=path)
    module = sys.modules["__main__"]
    main = _main_info("the started script", module)
    return Target(
        form="script", main=main, script=main.get("path") or os.path.abspath(str(module.__file__))
    )


def _main_info(what: str, module: types.ModuleType) -> dict[str, str]:
    """How a worker can execute the script again that this process was started with."""
    spec: ModuleSpec | None = getattr(module, "__spec__", None)
    file: str | None = getattr(module, "__file__", None)
    remedy = "put the function into a module file, or set settings.exec"
    if file is None:
        problem = "this Python was started without a file (python -c, or interactively)"
        raise _refuse(what, problem, remedy)
    if spec is not None and spec.name.startswith(f"{__package__}."):
        raise _refuse(what, "this process is a worker that was started without a script", remedy)
    if spec is not None and spec.name != "__main__":
        return {"name": spec.name}  # python -m
    path = os.path.abspath(file)
    if spec is not None:
        path = os.path.dirname(path)  # python directory_or_zip
    if not os.path.exists(path):
        raise _refuse(what, f"the file of the started script, {path!r}, does not exist", remedy)
    return {"path": path}


def _check_guard(module: types.ModuleType) -> None:
    """Refuse when the statement of the script that led here would run again in the worker."""
    frame: types.FrameType | None = inspect.currentframe()
    while frame is not None:
        if frame.f_globals is vars(module) and frame.f_code.co_name == "<module>":
            path = str(module.__file__)
            if _is_unguarded(path, frame.f_code, frame.f_lineno):
                raise RuntimeError(
                    f"line {frame.f_lineno} of {path} would run again in every worker, because a "
                    f"worker imports that script; what starts the program must stand below{GUARD}"
                )
        frame = frame.f_back


@functools.lru_cache(maxsize=16)  # asked again at every fork
def _is_unguarded(path: str, code: types.CodeType, line: int) -> bool:
    try:
        with io.open_code(path) as file:
            return is_unguarded(file.read(), code, line)
    except OSError:
        return False


# ---------------------------------------------------------------- in the primary: by name


def _check_name(text: str, args: Sequence[object]) -> Target:
    module_name, qualname = _split_name(text)
    what = repr(text)
    module = sys.modules.get(module_name)
    if module is not None:
        found = _walk(module, qualname)
        if found is _MISSING:
            raise _no_such_name(what, module_name, qualname, dir(module))
        _check_async(found, what)
        with contextlib.suppress(ValueError):  # no signature to be had: the call will tell
            _check_arity(what, inspect.signature(found), args)  # type: ignore[arg-type]
        return _in_module("name", what, module, module_name, qualname)
    spec = _find_spec(what, module_name)
    _check_source(what, spec, qualname, args)
    file = os.path.abspath(spec.origin) if spec.has_location and spec.origin else None
    return Target(form="name", module=module_name, qualname=qualname, module_file=file)


def _split_name(text: str) -> tuple[str, str]:
    module_name, colon, qualname = text.partition(":")
    parts = [*module_name.split("."), *qualname.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise _refuse(repr(text), "it is not a full name", 'write "package.module:function"')
    return module_name, qualname


def _find_spec(what: str, name: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    except ImportError as error:
        problem = f"module {name!r} cannot be found: {error}"
        raise _refuse(what, problem, "look at its spelling and at sys.path") from error
    return spec


def _check_source(what: str, spec: ModuleSpec, qualname: str, args: Sequence[object]) -> None:
    """Refuse what the source of a module that is not loaded shows to be wrong, nothing else."""
    try:
        source = _source_of(spec)
        if source is None:
            return
        found = look(source, qualname)
    except (SyntaxError, ValueError) as error:
        problem = f"module {spec.name!r} does not compile: {error}"
        raise _refuse(what, problem, "correct it") from error
    if found.kind == "missing":
        raise _no_such_name(what, spec.name, qualname, found.names)
    if found.kind in _REFUSED:
        raise _refuse(what, *_REFUSED[found.kind])
    if found.signature is not None:
        _check_arity(what, found.signature, args, shown=found.parameters)


def _source_of(spec: ModuleSpec) -> str | None:
    get_source = getattr(spec.loader, "get_source", None)
    try:
        source: str | None = get_source(spec.name) if get_source is not None else None
    except (ImportError, UnicodeDecodeError):
        return None  # the import in the worker will say it better
    return source


def find_target(target: Target) -> Callable[..., Awaitable[object]]:
    """Give the function of a checked target as this process has it, for an actor that lives here.

    Raises:
        TypeError: the name leads nowhere, or to something that is no async function.
        Exception: whatever the application's code raises while it is imported, as it is.
    """
    assert target.module is not None
    assert target.qualname is not None
    module = importlib.import_module(target.module)
    found = _walk(module, target.qualname)
    if found is _MISSING:
        raise _no_such_name(str(target), target.module, target.qualname, dir(module))
    _check_async(found, str(target))
    return found  # type: ignore[return-value]


# ---------------------------------------------------------------- in the worker


def load_target(target: Target) -> Callable[..., Awaitable[object]]:
    """Import the target's module, or the started script, and return the function.

    Raises:
        TypeError: the name leads nowhere, or to something that is no async function.
        Exception: whatever the application's code raises while it is imported, as it is.
    """
    if target.module is None or target.qualname is None:
        problem = "it is a program that has to call actorcluster.run_worker(function) itself"
        raise _refuse(target, problem, "do so, with an async function")
    with while_loading(_label(target)):
        if target.main is not None:
            module = load_main(target.main)
        else:
            module = load_module(target.module, target.module_file)
    found = _walk(module, target.qualname)
    if found is _MISSING:
        raise _no_such_name(str(target), target.module, target.qualname, dir(module))
    _check_async(found, str(target))
    return found  # type: ignore[return-value]


def _label(target: Target) -> str:
    main = target.main or {}
    return main.get("path") or main.get("name") or target.module_file or str(target.module)
