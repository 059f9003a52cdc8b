"""The package's face: what it exports is stated, found by static tools, and described."""

from __future__ import annotations

import ast
import inspect
import types
from collections.abc import Iterator
from pathlib import Path

import actorcluster

FACES = [actorcluster, actorcluster.events]
"""The public modules."""


def exported() -> Iterator[tuple[str, object]]:
    """Every public name with what it stands for."""
    for module in FACES:
        for name in module.__all__:
            yield f"{module.__name__}.{name}", getattr(module, name)


def names_in_source(module: types.ModuleType) -> set[str]:
    """What a tool that reads `module` without running it sees as public."""
    assert module.__file__ is not None
    names: set[str] = set()
    for node in ast.parse(Path(module.__file__).read_text()).body:
        match node:
            case ast.ImportFrom(module="__future__"):
                pass
            case ast.Import() | ast.ImportFrom():
                names |= {alias.asname or alias.name for alias in node.names}
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {name for name in names if not name.startswith("_")}


def test_the_root_exports_exactly_what_it_imports() -> None:
    """It only re-exports; nothing else is bound there."""
    assert sorted(actorcluster.__all__) == sorted(names_in_source(actorcluster))


def test_everything_exported_is_visible_to_static_tools() -> None:
    hidden = {
        f"{module.__name__}.{name}"
        for module in FACES
        for name in set(module.__all__) - names_in_source(module)
    }
    assert set() == hidden


def test_nothing_is_exported_twice() -> None:
    for module in FACES:
        assert len(set(module.__all__)) == len(module.__all__)


def test_everything_exported_is_described() -> None:
    bare = [
        name
        for name, value in exported()
        if (callable(value) or inspect.ismodule(value)) and not inspect.getdoc(value)
    ]
    assert [] == bare


def test_every_public_method_is_described() -> None:
    bare = [
        f"{name}.{member}"
        for name, value in exported()
        if inspect.isclass(value)
        for member, what in vars(value).items()
        if not member.startswith("_")
        and (callable(what) or isinstance(what, property | classmethod | staticmethod))
        and not inspect.getdoc(what)
    ]
    assert [] == bare


def test_type_checkers_are_told_that_the_package_is_typed() -> None:
    assert Path(actorcluster.__file__).with_name("py.typed").exists()
