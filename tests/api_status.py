"""Which names of the public contract are built: compares tests/api_names.toml with the package.

``python -m tests.api_status`` rewrites docs/reference/api-status.md, ``--check`` only says
whether that would change it. Both fail if the package and the contract contradict each other.
"""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import math
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

import actorcluster

TABLE = Path(__file__).with_name("api_names.toml")
PAGE = Path(__file__).parents[1] / "docs/reference/api-status.md"

HEAD = """\
# What is built

Every name of the public contract. *built*: it is here and does all that its documentation says.
*later*: it is not here at all; nothing exists that only raises `NotImplementedError`.

Written by `python -m tests.api_status`, not by hand; a test compares it with the package.
"""

CALLABLES = ("functions", "async_functions", "classes", "exceptions")
KINDS = (*CALLABLES, "attributes", "constants", "modules", "commands")

WORDS = {"classes": "class", "modules": "module", "async_functions": "async function"}


@attrs.frozen
class Name:
    """One entry of the table.

    Attributes:
        path: from the package on, e.g. ``Primary.fork``.
        signature: as written there, or None.
        options: of ours, beyond the contract, as written after the ``+``.
        missing: the parameters that come later, as written after the ``-``.
    """

    title: str
    kind: str
    path: str
    signature: str | None
    options: str
    missing: str

    @property
    def shown(self) -> str:
        """The name as its users write it."""
        return self.path + (self.signature or "")


@functools.cache
def table() -> dict[str, Any]:
    """The contract as it stands in the file."""
    return tomllib.loads(TABLE.read_text())


def names() -> Iterator[Name]:
    """Every name of the contract, in its order."""
    for group in table()["group"]:
        owner = group.get("owner")
        for kind in KINDS:
            for entry in group.get(kind, []):
                contract, _, missing = " ".join(entry.split()).partition(" - ")
                contract, _, options = contract.partition(" + ")
                name, bracket, rest = contract.partition("(")
                path = f"{owner}.{name}" if owner else name
                yield Name(group["title"], kind, path, bracket + rest or None, options, missing)


# ------------------------------------------------------------------------- what the package has


def find(path: str) -> Any:
    """What the package has under `path`; `LookupError` if it has nothing."""
    value: Any = actorcluster
    for part in path.split("."):
        if inspect.isclass(value) and _assigns(value, part):
            return None  # an attribute that exists in instances only
        try:
            # A module may import a name when it is asked for.
            get = getattr if inspect.ismodule(value) else inspect.getattr_static
            value = get(value, part)
        except AttributeError:
            raise LookupError(path) from None
        if isinstance(value, classmethod | staticmethod):
            value = value.__func__
    return value


def _assigns(cls: type, name: str) -> bool:
    """Whether a method of `cls`, or of a base, assigns ``self.name``."""
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and ast.unparse(node) == f"self.{name}"
        for base in cls.__mro__
        if base.__module__.startswith("actorcluster")
        for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(base))))
    )


@functools.cache
def is_built(name: Name) -> bool:
    """Whether the package has it."""
    if name.kind == "commands":
        command = [sys.executable, "-m", "actorcluster", name.path, "--help"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        find(name.path)
    except LookupError:
        return False
    return True


def contradictions() -> Iterator[str]:
    """Everything in which the package differs from the contract, in words."""
    listed = {name.path for name in names()} | set(table()["beyond"]) | _internal()
    for path in sorted(public_paths() - listed):
        yield f"{path} is public, but tests/api_names.toml does not list it"
    for path in sorted((set(table()["beyond"]) | _internal()) - public_paths()):
        yield f"{path} is listed beyond the contract, but does not exist"
    for name in names():
        if name.signature is not None and is_built(name):
            yield from _signature_differences(name)
        if name.kind in ("functions", "async_functions") and is_built(name):
            awaited = name.kind == "async_functions"
            if awaited is not inspect.iscoroutinefunction(find(name.path)):
                yield f"{name.path}: the contract {'awaits' if awaited else 'calls'} it"


def _internal() -> set[str]:
    return set(table()["internal"]["names"])


def public_paths() -> set[str]:
    """Every name that the package shows: its exports, and the members of exported classes."""
    paths = set(actorcluster.__all__)
    paths |= {f"events.{name}" for name in actorcluster.events.__all__}
    for path in paths - set(table()["beyond"]):
        value = find(path)
        if inspect.isclass(value):
            paths |= {f"{path}.{member}" for member in _members(value)}
    return paths


def _members(cls: type) -> Iterator[str]:
    for base in cls.__mro__:
        if base.__module__.startswith("actorcluster"):
            yield from (name for name in vars(base) if not name.startswith("_"))


# ---------------------------------------------------------------------------------- signatures


def _signature_differences(name: Name) -> Iterator[str]:
    assert name.signature is not None
    expected = [p for p in _parse(name.signature) if p.name not in name.missing.split()]
    options = _parse(f"(*, {name.options})" if name.options else "()")
    actual = _without_self(inspect.signature(find(name.path)), name)
    if not any(p.kind is p.VAR_KEYWORD for p in expected):
        expected += options
    elif not any(p.kind is p.VAR_KEYWORD for p in actual):
        # The contract leaves the options to the code, which spells them out.
        expected = [p for p in expected if p.kind is not p.VAR_KEYWORD]
        known = {p.name for p in expected}
        actual = [p for p in actual if p.name in known or p.kind is not p.KEYWORD_ONLY]
    if _sorted(expected) != _sorted(actual):
        ours, theirs = (str(inspect.Signature(_sorted(p))) for p in (actual, expected))
        yield f"{name.path}{ours} differs from the contract's {theirs}"


def _parse(signature: str) -> list[inspect.Parameter]:
    """Let Python itself read it, with the package's names and `inf` for the defaults."""
    namespace = {name: getattr(actorcluster, name) for name in actorcluster.__all__}
    namespace["inf"] = math.inf
    exec(f"def function{signature}: ...", namespace)
    return list(inspect.signature(namespace["function"]).parameters.values())


def _without_self(signature: inspect.Signature, name: Name) -> list[inspect.Parameter]:
    parameters = [
        p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()
    ]
    return parameters[1:] if "." in name.path and name.kind != "classes" else parameters


def _sorted(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Keyword-only parameters by name: their order is nobody's business."""
    return sorted(parameters, key=lambda p: (p.kind, p.name if p.kind is p.KEYWORD_ONLY else ""))


# ------------------------------------------------------------------------------------ the page


def render() -> str:
    """The page."""
    lines = [HEAD]
    built = sum(map(is_built, names()))
    lines.append(f"{built} names are built, {len([*names()]) - built} come later.\n")
    for title, group in itertools.groupby(names(), lambda name: name.title):
        lines += [f"## {title}\n", "| name | kind | |", "|---|---|---|"]
        lines += [*map(_row, group), ""]
    lines += ["## Beyond the contract\n", "| name | |", "|---|---|"]
    lines += [f"| `{path}` | {why} |" for path, why in sorted(table()["beyond"].items())]
    return "\n".join(lines) + "\n"


def _row(name: Name) -> str:
    kind = WORDS.get(name.kind, name.kind.removesuffix("s"))
    options = f", also `{name.options}`" if name.options else ""
    state = "built" if is_built(name) else "later"
    if name.missing:
        state += f", *{', '.join(name.missing.split())}* later"
    return f"| `{name.shown}`{options} | {kind} | {state} |"


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` compare it; 1 if anything is wrong."""
    wrong = list(contradictions())
    page = render()
    if "--check" not in arguments:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(page)
    elif not PAGE.exists() or PAGE.read_text() != page:
        wrong.append(f"{PAGE.name} is not up to date: run python -m tests.api_status")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
