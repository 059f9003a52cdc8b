"""The package as it would be if there were no trace: what one that is off is compared with.

All that speaks of it is taken out of the syntax tree of a copy: imports, parameters, arguments,
fields, branches. What is left must not speak of it, so nothing is forgotten here in silence.
"""

from __future__ import annotations

import ast
import shutil
from pathlib import Path
from typing import Any, Final

import actorcluster

__all__ = ["copy_without_trace"]

PACKAGE: Final = Path(actorcluster.__file__).parent
_WORDS: Final = frozenset(
    {"tracing", "_tracing", "Tracing", "TraceStatistics", "traced", "wish", "Wish", "wanted"}
    | {"_note_spawn"}
)
_FILES: Final = ("_link/tracing.py", "_cluster/tracing.py", "cli/trace.py")


def copy_without_trace(place: Path) -> list[str]:
    """Make such a package below a directory; returns the names of the files that had to change."""
    package = place / PACKAGE.name
    unwanted = shutil.ignore_patterns("conform", "vectors")
    shutil.copytree(PACKAGE, package, ignore=unwanted)
    shutil.rmtree(package / "trace")
    for name in _FILES:
        (package / name).unlink()
    changed = []
    for path in sorted(package.rglob("*.py")):
        text = path.read_text()
        if "racing import" not in text:
            continue
        tree = _Without().visit(ast.parse(text))
        assert not _speaks_of_it(tree), path
        path.write_text(ast.unparse(tree))
        # Compiled from what was there before, which may have had the same size in that second.
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*"):
            compiled.unlink()
        changed.append(path.relative_to(package).as_posix())
    return changed


def _speaks_of_it(tree: ast.AST) -> bool:
    return any(_name_of(node) in _WORDS for node in ast.walk(tree))


def _name_of(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.arg(arg=name) | ast.keyword(arg=name):
            return name
        case ast.Attribute(attr=name) | ast.FunctionDef(name=name) | ast.alias(name=name):
            return name
    return None


class _Without(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> Any:
        node.keywords = [one for one in node.keywords if not _speaks_of_it(one)]
        node.args = [one for one in node.args if not _speaks_of_it(one)]
        return self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        pairs = zip(node.kwonlyargs, node.kw_defaults, strict=True)
        kept = [pair for pair in pairs if pair[0].arg not in _WORDS]
        node.kwonlyargs, node.kw_defaults = [one for one, _ in kept], [one for _, one in kept]
        node.args = [one for one in node.args if one.arg not in _WORDS]
        return node

    def visit_If(self, node: ast.If) -> Any:
        return node.orelse if _speaks_of_it(node.test) else self.generic_visit(node)

    def visit_With(self, node: ast.With) -> Any:
        self.generic_visit(node)
        return node.body if any(map(_speaks_of_it, node.items)) else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return None if node.name in _WORDS else self.generic_visit(node)

    def generic_visit(self, node: ast.AST) -> Any:
        super().generic_visit(node)
        is_simple = isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr | ast.ImportFrom)
        return None if is_simple and _speaks_of_it(node) else node
