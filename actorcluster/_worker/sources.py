"""What the text of a module says about one of its names, without running it.

Runs in: primary

Everything here is lenient: it reports what is certain, and leaves doubt to the import in the
worker, which finds out.
"""

from __future__ import annotations

import ast
import inspect
import types
from inspect import Parameter
from typing import Any, Final, Literal

import attrs

__all__ = ["Finding", "is_unguarded", "look"]

# Names whose use lets a module bind what its source does not show.
_DYNAMIC: Final = frozenset({"exec", "globals", "locals", "modules", "vars"})
_CONDITIONS: Final = (ast.If, ast.IfExp, ast.BoolOp, ast.Match)


@attrs.frozen(kw_only=True, eq=False)
class Finding:
    """What a name of a module certainly is.

    Attributes:
        kind: ``"unknown"`` when the text leaves any doubt, ``"missing"`` when nothing binds it.
        signature: of an async function, fit for ``bind``; else None.
        parameters: the same as the source has it.
        names: all names that the module binds.
    """

    kind: Literal["async", "asyncgen", "sync", "class", "missing", "unknown"]
    signature: inspect.Signature | None = None
    parameters: str = ""
    names: tuple[str, ...] = ()


def look(source: str, qualname: str) -> Finding:
    """Find out what *qualname* is in a module with that *source*.

    Raises:
        SyntaxError: the source does not compile.
        ValueError: it contains NUL characters (SyntaxError from Python 3.12 on).
    """
    tree = ast.parse(source)
    code = compile(source, "<source>", "exec", dont_inherit=True)
    bindings = _Bindings(tree)
    name, _, rest = qualname.partition(".")
    nodes = bindings.names.get(name, [])
    if not nodes and bindings.complete:
        return Finding(kind="missing", names=tuple(bindings.names))
    if rest or any(getattr(node, "decorator_list", None) for node in nodes):
        return Finding(kind="unknown")
    kinds = {type(node) for node in nodes}
    if kinds == {ast.ClassDef}:
        return Finding(kind="class")
    if kinds == {ast.FunctionDef}:
        return Finding(kind="sync")
    if len(nodes) == 1 and isinstance(nodes[0], ast.AsyncFunctionDef):
        return _async_function(nodes[0], code)
    return Finding(kind="unknown")


def _async_function(node: ast.AsyncFunctionDef, code: types.CodeType) -> Finding:
    inner = [item for item in code.co_consts if isinstance(item, types.CodeType)]
    if any(c.co_flags & inspect.CO_ASYNC_GENERATOR for c in inner if c.co_name == node.name):
        return Finding(kind="asyncgen")
    parameters = f"({ast.unparse(node.args)})"
    return Finding(kind="async", signature=_signature(node.args), parameters=parameters)


class _Bindings(ast.NodeVisitor):
    """What the statements of a module bind in any branch, outside its functions and classes.

    Attributes:
        names: every name bound, with the nodes that bind it.
        complete: nothing suggests that the module has names which its source does not show.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.names: dict[str, list[ast.AST]] = {}
        self.complete = True
        self.visit(tree)
        for node in ast.walk(tree):
            used = getattr(node, "id", None) or getattr(node, "attr", None)
            self.complete = self.complete and used not in _DYNAMIC
            if isinstance(node, ast.Global):
                self._bind(node, *node.names)
        self.complete = self.complete and "__getattr__" not in self.names

    def _bind(self, node: ast.AST, *names: str | None) -> None:
        for name in filter(None, names):
            self.names.setdefault(name, []).append(node)

    def _visit_scope(self, node: Any) -> None:
        self._bind(node, node.name)  # and not into it: what it binds is its own

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _visit_scope  # noqa: N815  (as `ast` calls them)

    def _visit_import(self, node: ast.Import | ast.ImportFrom) -> None:
        for alias in node.names:
            self.complete = self.complete and alias.name != "*"
            self._bind(node, alias.asname or alias.name.partition(".")[0])

    visit_Import = visit_ImportFrom = _visit_import  # noqa: N815  (as `ast` calls them)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._bind(node, node.id)

    def generic_visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            self._bind(node, node.name)
        elif isinstance(node, ast.MatchMapping):
            self._bind(node, node.rest)
        super().generic_visit(node)


def _signature(arguments: ast.arguments) -> inspect.Signature:
    """The shape of a parameter list; a default is there or not, its value is not known."""
    plain = [*arguments.posonlyargs, *arguments.args]
    required = len(plain) - len(arguments.defaults)
    parameters = []
    for index, item in enumerate(plain):
        only = index < len(arguments.posonlyargs)
        kind = Parameter.POSITIONAL_ONLY if only else Parameter.POSITIONAL_OR_KEYWORD
        default = Parameter.empty if index < required else None
        parameters.append(Parameter(item.arg, kind, default=default))
    if arguments.vararg is not None:
        parameters.append(Parameter(arguments.vararg.arg, Parameter.VAR_POSITIONAL))
    for item, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        default = Parameter.empty if value is None else None
        parameters.append(Parameter(item.arg, Parameter.KEYWORD_ONLY, default=default))
    if arguments.kwarg is not None:
        parameters.append(Parameter(arguments.kwarg.arg, Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)


def is_unguarded(source: bytes, code: types.CodeType, line: int) -> bool:
    """Whether *line* of a script runs whenever the script is imported, beyond any doubt.

    Args:
        source: the script's text.
        code: what runs. Where it was not compiled from *source* (edited since it was started)
            the line number means nothing.
        line: where it runs just now.
    """
    try:
        tree = ast.parse(source)
        if compile(source, code.co_filename, "exec", dont_inherit=True) != code:
            return False
    except (SyntaxError, ValueError):
        return False
    for statement in tree.body:
        if _covers(statement, line):
            nodes = ast.walk(statement)
            return not any(isinstance(node, _CONDITIONS) and _covers(node, line) for node in nodes)
        if isinstance(statement, ast.If | ast.Assert) and _mentions_name(statement.test):
            return False  # may leave early: if __name__ != "__main__": raise ...
    return False


def _covers(node: ast.stmt | ast.expr, line: int) -> bool:
    return node.lineno <= line <= (node.end_lineno or node.lineno)


def _mentions_name(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))
