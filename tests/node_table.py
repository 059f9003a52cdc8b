"""What is made of each behaviour of Node: compares rows.toml with the tests, and writes the page.

``python -m tests.node_table`` rewrites docs/reference/node.md from tests/node_parity/rows.toml,
``--check`` only says whether that would change it. Both fail if a row is not complete, or if its
clauses are not those that its tests assert. Open rows are counted, and are no failure.

``--skeleton ROW ...`` prints the tests that rows name, with a block for each clause, to be filled.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from tests.node_parity.rows import GROUPS, ROWS, VERDICTS, WHATS, Row

__all__ = [
    "MAX_DIFFERENT",
    "PAGE",
    "Use",
    "problems",
    "render",
    "scan",
    "skeleton",
    "unreached",
    "uses",
]

TESTS: Final = Path(__file__).with_name("node_parity")
PAGE: Final = Path(__file__).parents[1] / "docs/reference/node.md"

#: Rows that may differ on purpose.
MAX_DIFFERENT: Final = 15

#: What may not be said about a test that shows a row: it would not be run, or not believed.
_EXCUSES: Final = frozenset("skip skipif xfail importorskip".split())


# ---- what the tests assert ----------------------------------------------------------------------


@attrs.frozen
class Use:
    """One ``with clause("...")`` in a test."""

    clause: str
    test: str
    line: int


class _Finder(ast.NodeVisitor):
    """Finds the clauses of one file, and whatever is wrong with them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.test = ""
        self.uses: list[Use] = []
        self.problems: list[str] = []
        self._fine: set[ast.AST] = set()

    def _complain(self, node: ast.expr | ast.stmt, text: str) -> None:
        self.problems.append(f"{self.name}:{node.lineno}: {text}")

    def file(self, tree: ast.Module) -> None:
        """Look at a whole file."""
        names = Counter(
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        )
        for node in tree.body:
            self.test = ""
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if names[node.name] > 1:
                    self._complain(node, f"there are two functions {node.name}")
                if node.name.startswith("test_"):
                    self.test = f"{self.name}::{node.name}"
            self.visit(node)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        first = node.items[0].context_expr
        if isinstance(first, ast.Call) and _is_clause(first.func):
            self._fine.add(first.func)
            self._block(first, node)
        self.generic_visit(node)

    visit_AsyncWith = visit_With  # noqa: N815  (the name is the visitor's)

    def _block(self, call: ast.Call, node: ast.With | ast.AsyncWith) -> None:
        match call.args, call.keywords:
            case [ast.Constant(value=str(name))], []:
                pass
            case _:
                self._complain(node, "the name of a clause is written out")
                return
        others = [item.context_expr for item in node.items[1:]]
        if others:
            if len(others) > 1 or not _is_raises(others[0]):
                self._complain(node, f"{name}: beside a clause only pytest.raises may stand")
        elif not any(map(_asserts, node.body)):
            self._complain(node, f"{name} has no assert of its own, right in its block")
        if not self.test:
            self._complain(node, f"{name} is not in a test function at the top of its file")
        self.uses.append(Use(name, self.test, node.lineno))

    def visit_Name(self, node: ast.Name) -> None:
        if _is_clause(node) and node not in self._fine:
            self._complain(node, "clause is only used as `with clause(...)`, first in its line")
        self._excuse(node, node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self._excuse(node, node.attr)
        self.generic_visit(node)

    def _excuse(self, node: ast.expr, name: str) -> None:
        if name in _EXCUSES:
            self._complain(node, f"{name}: what a test needs, tests/require.py knows")


def _is_clause(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "clause"


def _is_raises(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.raises"


def _asserts(node: ast.stmt) -> bool:
    """Whether it is an assert, of something that is not known beforehand."""
    return isinstance(node, ast.Assert) and any(
        isinstance(part, ast.Name | ast.Call) for part in ast.walk(node.test)
    )


def scan(sources: Mapping[str, str]) -> tuple[list[Use], list[str]]:
    """Find the clauses that tests assert, and what is wrong with how they do.

    Args:
        sources: by file name.
    """
    found: list[Use] = []
    wrong: list[str] = []
    for name, text in sources.items():
        finder = _Finder(name)
        finder.file(ast.parse(text))
        found += finder.uses
        wrong += finder.problems
    return found, wrong


@functools.cache
def _scanned() -> tuple[list[Use], list[str]]:
    return scan({path.name: path.read_text() for path in sorted(TESTS.glob("test_*.py"))})


def uses() -> list[Use]:
    """Every clause that a test asserts."""
    return _scanned()[0]


def unreached(test: str, asserted: Iterable[str]) -> list[Use]:
    """What the source of a test asserts, and one run of it did not."""
    reached = frozenset(asserted)
    return [use for use in uses() if use.test == test and use.clause not in reached]


# ---- what is wrong ------------------------------------------------------------------------------


def problems(
    rows: Iterable[Row] = ROWS, scanned: tuple[list[Use], list[str]] | None = None
) -> Iterator[str]:
    """Give everything in which the table is not complete or not what the tests show, in words."""
    rows = tuple(rows)
    found, wrong = _scanned() if scanned is None else scanned
    yield from wrong
    yield from _numbers(rows)
    for row in rows:
        yield from (f"{row.id}: {text}" for text in (*_cells(row), *_clauses(row)))
    yield from _asserted(rows, found)
    different = [row.id for row in rows if row.verdict == "different"]
    if len(different) > MAX_DIFFERENT:
        yield f"{len(different)} rows differ on purpose, more than {MAX_DIFFERENT}"


def _numbers(rows: Iterable[Row]) -> Iterator[str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row.id)
    for group, ids in groups.items():
        if group not in GROUPS:
            yield f"{group}: no such group"
        expected = [f"{group}-{number:02}" for number in range(1, len(ids) + 1)]
        if ids != expected:
            odd = next(a for a, b in zip(ids, expected, strict=True) if a != b)
            yield f"{odd}: twice, or out of order, or after a gap"


def _cells(row: Row) -> Iterator[str]:
    if not row.title:
        yield "no title"
    if row.open:
        return
    if row.maps not in ("yes", "partly", "no"):
        yield f"maps is {row.maps!r}"
    if row.verdict not in VERDICTS:
        yield f"verdict is {row.verdict!r}"
    if (row.verdict != "same") != bool(row.why):
        yield "why is for verdicts other than same, and they need it"
    if row.why and not row.why.endswith("."):
        yield "why is no sentence"
    shown = row.verdict != "not applicable"
    if shown != bool(row.test):
        yield "no test" if shown else "what does not apply has no test"
    if shown != bool(row.clauses):
        yield "no clauses" if shown else "what does not apply has no clauses"
    if row.fault and not (TESTS / "faults" / row.fault).exists():
        yield f"there is no faults/{row.fault}"


def _clauses(row: Row) -> Iterator[str]:
    expected = [f"{row.id}.{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    if [clause.id for clause in row.clauses] != expected[: len(row.clauses)]:
        yield "its clauses are not numbered a, b, c"
    for clause in row.clauses:
        if clause.what not in WHATS:
            yield f"{clause.id} is about {clause.what!r}, which is none of {sorted(WHATS)}"
        if not clause.text.endswith("."):
            yield f"{clause.id} is no sentence"


def _asserted(rows: Iterable[Row], found: Iterable[Use]) -> Iterator[str]:
    places: dict[str, list[Use]] = defaultdict(list)
    for use in found:
        places[use.clause].append(use)
    for row in rows:
        tests = set()
        for clause in row.clauses:
            match places.pop(clause.id, []):
                case [use]:
                    tests.add(use.test)
                case []:
                    if not row.open:
                        yield f"{clause.id} is asserted nowhere"
                case several:
                    lines = ", ".join(f"{use.test} line {use.line}" for use in several)
                    yield f"{clause.id} is asserted more than once: {lines}"
        if tests != set(row.test):
            yield f"{row.id}: test is {sorted(row.test)}, its clauses are in {sorted(tests)}"
    for name, several in places.items():
        for use in several:
            yield f"{use.test} line {use.line}: rows.toml has no clause {name}"


# ---- the page -----------------------------------------------------------------------------------

HEAD = """\
# What Node does, and what is done here

The behaviour of Node's `cluster`, and of the channel to its child processes, as its own tests have
it: row by row, with what is made of each here. A row is divided into clauses in
`tests/node_parity/rows.toml`; each clause has an assert of its own in the test that is named.

Written by `python -m tests.node_table`, not by hand; a test compares it with the table.
"""

EXPLAINED = {
    "same": "as in Node",
    "better": "what Node does, and more, or without its fault",
    "different": "another outcome, with its reason",
    "not applicable": "nothing here that it could be about, with the reason",
}


def _counts(rows: Iterable[Row]) -> Iterator[str]:
    counts = Counter("open" if row.open else row.verdict for row in rows)
    for verdict, words in VERDICTS.items():
        yield f"| {words} | {EXPLAINED[verdict]} | {counts[verdict]} |"
    if counts["open"]:
        yield f"| open | not shown yet | {counts['open']} |"


def _line(row: Row) -> str:
    name = f"{row.id} (Node {row.since})" if row.since else row.id
    if row.open:
        verdict = f"open: {row.open}"
    else:
        verdict = f"{VERDICTS[row.verdict]}: {row.why}" if row.why else VERDICTS[row.verdict]
    shown = [f"`{test}`" for test in row.test]
    if row.fault:
        shown.append(f"Node's fault: `{row.fault}`")
    return f"| {name} | {row.title} | {verdict} | {', '.join(shown)} |"


def render(rows: Iterable[Row] = ROWS) -> str:
    """Make the page."""
    rows = tuple(rows)
    parts = [HEAD, "| verdict | | rows |", "|---|---|---|", *_counts(rows)]
    for group, title in GROUPS.items():
        lines = [_line(row) for row in rows if row.group == group]
        if lines:
            parts += ["", f"## {title}", "", "| row | about | verdict | test |"]
            parts += ["|---|---|---|---|", *lines]
    return "\n".join(parts) + "\n"


def skeleton(rows: Iterable[Row]) -> str:
    """Make the tests that rows name, all but what each clause asserts; so none is taken yet."""
    tests: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for clause in row.clauses:
            place = row.test[0] if row.test else f"::test_{row.id.lower().replace('-', '_')}"
            tests[place.partition("::")[2]] += [
                f"        # {clause.what}: {clause.text}",
                f'        with clause("{clause.id}"):',
                "            assert ...",
            ]
    parts = []
    for name, lines in tests.items():
        head = [f"async def {name}() -> None:", "    async with scene() as stage:"]
        parts.append("\n".join([*head, *lines]))
    return "\n\n\n".join(parts) + "\n"


def _say_open() -> None:
    waiting = [row for row in ROWS if row.open]
    groups = Counter(row.group for row in waiting)
    if waiting:
        words = ", ".join(f"{group} {count}" for group, count in groups.items())
        print(f"{len(waiting)} of {len(ROWS)} rows are open: {words}")


def main(arguments: list[str]) -> int:
    """Write the page, or check it; or print skeletons of tests."""
    if arguments[:1] == ["--skeleton"]:
        unknown = sorted(set(arguments[1:]) - {row.id for row in ROWS})
        if unknown or not arguments[1:]:
            print(f"which rows? there is no {', '.join(unknown) or 'name'}", file=sys.stderr)
            return 1
        print(skeleton(row for row in ROWS if row.id in arguments), end="")
        return 0
    wrong = list(problems())
    page = render()
    if "--check" not in arguments:
        PAGE.write_text(page)
    elif not PAGE.exists() or page != PAGE.read_text():
        name = PAGE.relative_to(PAGE.parents[2])
        wrong.append(f"{name} is not what rows.toml says: run python -m tests.node_table")
    for line in wrong:
        print(line, file=sys.stderr)
    _say_open()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
