"""The package's face: what it exports is stated, found by static tools, and described."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

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
    body = ast.parse(Path(module.__file__).read_text()).body
    for node in [*body, *imports_for_types(module)]:
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


def imports_for_types(module: types.ModuleType) -> Iterator[ast.stmt]:
    """What `module` imports for type checkers alone."""
    assert module.__file__ is not None
    for node in ast.parse(Path(module.__file__).read_text()).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Attribute):
            yield from node.body


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


def test_names_are_what_type_checkers_believe() -> None:
    """What is imported when it is used is what the imports for type checkers would give."""
    source = "\n".join(ast.unparse(found) for found in imports_for_types(actorcluster))
    believed: dict[str, object] = {}
    exec(source, {"__package__": "actorcluster"}, believed)
    assert sorted(actorcluster._HOMES) == sorted(believed)
    assert [] == [n for n in believed if believed[n] is not getattr(actorcluster, n)]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'actorcluster' has no attribute 'Primry'"):
        _ = actorcluster.Primry  # type: ignore[attr-defined]  # wrong on purpose
    with pytest.raises(ImportError):
        from actorcluster import Primry  # type: ignore[attr-defined] # noqa: F401  (wrong on purpose)


def test_everything_exported_is_listed() -> None:
    assert set() == {*actorcluster.__all__} - {*dir(actorcluster)}


def loaded_by(code: str) -> set[str]:
    """Every module that a program has loaded in the end."""
    program = f"{code}; import sys; print(*sys.modules)"
    return {*subprocess.check_output([sys.executable, "-c", program], text=True).split()}


def test_importing_the_package_costs_next_to_nothing() -> None:
    loaded = loaded_by("import actorcluster; assert not actorcluster.is_worker()")
    ours = {name for name in loaded if name.startswith("actorcluster.")}
    assert {"errors", "_worker", "_worker.bootstrap"} == {n.partition(".")[2] for n in ours}
    assert not {"trio", "attrs", "msgpack"} & loaded


def test_who_works_does_not_import_who_supervises() -> None:
    names = "Actor, Handle, Mailbox, Message, Ref, current_actor, is_worker, run_worker, PeerClosed"
    loaded = loaded_by(f"from actorcluster import {names}")
    assert [] == [name for name in loaded if name.startswith("actorcluster._cluster")]
    assert not {f"actorcluster._worker.{name}" for name in ("start", "life", "worker")} & loaded


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
