"""Whether a worker will be able to run what it is to run: found out before there is one.

Runs in: primary

The module of ``"package.module:function"`` is never imported here: its source is read. Looking for
that source does import the packages above it, as ``importlib.util.find_spec`` does.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import inspect
import io
import os
import sys
import types
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Final, Literal

from .imports import GUARD, MAIN_NAME
from .sources import is_unguarded, look
from .targets import MISSING, REFUSED, Target, check_async, no_such_name, refuse, walk

if TYPE_CHECKING:
    from .settings import Settings

__all__ = ["check_form", "check_target"]

_MAIN_NAMES: Final = ("__main__", MAIN_NAME)


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
        check_async(target, what)
    elif target is not None:
        raise _not_a_function(target)


def _not_a_function(target: object) -> TypeError:
    """Why something that is no function, no name and not None is refused."""
    if inspect.isclass(target):
        return refuse(repr(target), *REFUSED["class"])
    if isinstance(target, functools.partial):
        remedy = "give the function itself and its arguments after it"
        return refuse(repr(target), "it is a functools.partial", remedy)
    if inspect.ismethod(target):
        problem = "it is a bound method and the worker does not have the object it is bound to"
        return refuse(repr(target), problem, "give a module's async function, the state as args")
    if inspect.iscoroutine(target):
        target.close()  # or Python adds "was never awaited", which would mislead
        problem = "it is a coroutine, the function has been called already"
        return refuse(repr(target), problem, "give the function without the parentheses")
    if callable(target):
        problem = "it is a callable object, not a function"
        return refuse(repr(target), problem, "give an async function of a module")
    allowed = 'an async function, "package.module:function" or None'
    return TypeError(f"target must be {allowed}, not {target!r}")


def _check_function(target: types.FunctionType, args: Sequence[object]) -> Target:
    module_name, qualname = target.__module__, target.__qualname__
    what = f"{module_name}:{qualname}"
    _check_reachable(target, what)
    check_async(target, what)
    module = _module_of(what, module_name)
    if walk(module, qualname) is not target:
        problem = "that name does not lead to it: a decorator or a later definition hides it"
        remedy = "give what the name holds, and use functools.wraps in decorators"
        raise refuse(what, problem, remedy)
    _check_arity(what, inspect.signature(target), args)
    return _in_module("function", what, module, module_name, qualname)


def _check_reachable(target: types.FunctionType, what: str) -> None:
    if "<lambda>" in target.__qualname__:
        raise refuse(what, "it is a lambda", "write it as an async def at the top of a module")
    if "<locals>" in target.__qualname__:
        problem = "it is defined inside another function, where a worker cannot reach it"
        remedy = "move it to the top of a module and pass what it closes over as args"
        hint = "a decorator that made it needs functools.wraps"
        raise refuse(what, problem, f"{remedy} ({hint})")


def _module_of(what: str, name: str | None) -> types.ModuleType:
    """The module a function says it comes from; in the primary it is there as a rule."""
    if not name:
        problem = "it does not say which module it comes from (__module__ is empty)"
        raise refuse(what, problem, "define it at the top of a module")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        problem = f"its module {name!r} cannot be imported: {error}"
        raise refuse(what, problem, "define it in a module that can") from error


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


def _check_arity(
    what: str, signature: inspect.Signature, args: Sequence[object], shown: str | None = None
) -> None:
    try:
        signature.bind(None, *args)
    except TypeError as error:
        call = f"(actor, and {len(args)} more)" if args else "(actor)"
        problem = f"it takes {shown or _bare(signature)} and would be called with {call}: {error}"
        raise refuse(what, problem, "change its parameters or the args given") from error


def _bare(signature: inspect.Signature) -> inspect.Signature:
    """The same without annotations, to be read by people."""
    empty = inspect.Signature.empty
    parameters = [item.replace(annotation=empty) for item in signature.parameters.values()]
    return signature.replace(parameters=parameters, return_annotation=empty)


# ---------------------------------------------------------------- in the primary: the script


def _check_script(args: Sequence[object], settings: Settings) -> Target:
    if args:
        problem = f"without a target function nothing takes the {len(args)} arguments after it"
        raise refuse("a script", problem, "use settings.args, its sys.argv[1:]")
    if isinstance(settings.exec, tuple):
        return Target(form="script")
    if settings.exec is not None:
        path = os.path.abspath(settings.exec)
        if not os.path.exists(path):
            remedy = "set exec to the path of a script, or to a command line as a tuple"
            raise refuse(settings.exec, f"settings.exec {path!r} does not exist", remedy)
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
        raise refuse(what, problem, remedy)
    if spec is not None and spec.name.startswith(f"{__package__}."):
        raise refuse(what, "this process is a worker that was started without a script", remedy)
    if spec is not None and spec.name != "__main__":
        return {"name": spec.name}  # python -m
    path = os.path.abspath(file)
    if spec is not None:
        path = os.path.dirname(path)  # python directory_or_zip
    if not os.path.exists(path):
        raise refuse(what, f"the file of the started script, {path!r}, does not exist", remedy)
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
        found = walk(module, qualname)
        if found is MISSING:
            raise no_such_name(what, module_name, qualname, dir(module))
        check_async(found, what)
        with contextlib.suppress(ValueError):  # no signature to be had: the call will tell
            _check_arity(what, inspect.signature(found), args)  # type: ignore[arg-type]  # `check_async` has looked
        return _in_module("name", what, module, module_name, qualname)
    spec = _find_spec(what, module_name)
    _check_source(what, spec, qualname, args)
    file = os.path.abspath(spec.origin) if spec.has_location and spec.origin else None
    return Target(form="name", module=module_name, qualname=qualname, module_file=file)


def _split_name(text: str) -> tuple[str, str]:
    module_name, colon, qualname = text.partition(":")
    parts = [*module_name.split("."), *qualname.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise refuse(repr(text), "it is not a full name", 'write "package.module:function"')
    return module_name, qualname


def _find_spec(what: str, name: str) -> ModuleSpec:
    try:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    except ImportError as error:
        problem = f"module {name!r} cannot be found: {error}"
        raise refuse(what, problem, "look at its spelling and at sys.path") from error
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
        raise refuse(what, problem, "correct it") from error
    if found.kind == "missing":
        raise no_such_name(what, spec.name, qualname, found.names)
    if found.kind in REFUSED:
        raise refuse(what, *REFUSED[found.kind])
    if found.signature is not None:
        _check_arity(what, found.signature, args, shown=found.parameters)


def _source_of(spec: ModuleSpec) -> str | None:
    get_source = getattr(spec.loader, "get_source", None)
    try:
        source: str | None = get_source(spec.name) if get_source is not None else None
    except (ImportError, UnicodeDecodeError):
        return None  # the import in the worker will say it better
    return source
