"""What is made of each behaviour of Node: the table, its tests and its page agree."""

from __future__ import annotations

import pytest

from tests import node_table
from tests.node_parity.clauses import ASSERTED, clause
from tests.node_parity.rows import ROWS, parse

ROW = """
[[row]]
id = "LC-01"
title = "a title"
maps = "yes"
verdict = "same"
test = "test_x.py::test_it"
clauses = [["LC-01.a", "code", "It is so."], ["LC-01.b", "flag", "And so."]]
"""

TEST = """
async def test_it(things):
    with clause("LC-01.a"):
        assert 1 == things.one
    for _ in range(2):
        with clause("LC-01.b"), pytest.raises(ValueError, match="two"):
            things.two()
"""


def wrong(row: str = ROW, test: str = TEST) -> list[str]:
    return list(node_table.problems(parse(row), node_table.scan({"test_x.py": test})))


def test_every_row_is_complete() -> None:
    assert [] == list(node_table.problems())


def test_the_page_is_current() -> None:
    """Otherwise: ``python -m tests.node_table``."""
    assert node_table.render() == node_table.PAGE.read_text()


def test_a_row_and_its_test() -> None:
    assert [] == wrong()


def test_a_skeleton_has_a_block_for_each_clause_and_is_no_test_yet() -> None:
    text = node_table.skeleton(parse(ROW))
    found, problems = node_table.scan({"test_x.py": text})
    assert [("LC-01.a", "test_x.py::test_it"), ("LC-01.b", "test_x.py::test_it")] == [
        (use.clause, use.test) for use in found
    ]
    assert ["LC-01.a has no assert", "LC-01.b has no assert"] == [
        problem.partition(": ")[2].partition(" of its own")[0] for problem in problems
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"a title"', '""', "LC-01: no title"),
        ('"yes"', '""', "LC-01: maps is ''"),
        ('"same"', '"alike"', "LC-01: verdict is 'alike'"),
        ('"same"', '"better"', "LC-01: why is for verdicts other than same, and they need it"),
        ('"same"', '"same"\nwhy = "So."', "LC-01: why is for verdicts other than same, and"),
        ('"same"', '"better"\nwhy = "so"', "LC-01: why is no sentence"),
        ("test_it", "test_that", "LC-01: test is ['test_x.py::test_that'], its clauses are in"),
        ('test = "test_x.py::test_it"', "", "LC-01: no test"),
        ('"same"', '"not applicable"\nwhy = "So."', "LC-01: what does not apply has no test"),
        ('"LC-01.b"', '"LC-01.c"', "LC-01: its clauses are not numbered a, b, c"),
        ('"code"', '"colour"', "LC-01: LC-01.a is about 'colour', which is none of"),
        ("And so.", "And so", "LC-01: LC-01.b is no sentence"),
        ('"LC-01"', '"LC-02"', "LC-02: twice, or out of order, or after a gap"),
        ('"LC-01"', '"ZZ-01"', "ZZ: no such group"),
        ('"same"', '"same"\nfault = "none.js"', "LC-01: there is no faults/none.js"),
        (", [", ', ["LC-01.c", "code", "More."], [', "LC-01.c is asserted nowhere"),
        (', ["LC-01.b", "flag", "And so."]', "", "line 6: rows.toml has no clause LC-01.b"),
    ],
)
def test_a_row_that_is_not_complete(old: str, new: str, problem: str) -> None:
    assert old in ROW
    found = wrong(row=ROW.replace(old, new))
    assert [True] == [True for line in found if problem in line], found


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("assert 1 == things.one", "things.one()", "has no assert of its own, right in its block"),
        ("assert 1 == things.one", "assert True", "has no assert of its own, right in its block"),
        ("        assert", "        if 0:\n            assert", "has no assert of its own"),
        ("LC-01.b", "LC-01.a", "LC-01.a is asserted more than once"),
        ('clause("LC-01.a"):', "things:  # LC-01.a", "LC-01.a is asserted nowhere"),
        ('clause("LC-01.a")', "clause(things.name)", "the name of a clause is written out"),
        ('with clause("LC-01.a")', 'with x, clause("LC-01.a")', "clause is only used as"),
        ("async def", "said = clause\nasync def", "clause is only used as"),
        ("pytest.raises(ValueError, match=", "suppress(", "beside a clause only pytest.raises"),
        ("test_it(", "helper(", "is not in a test function at the top of its file"),
        (
            "async def",
            "if 0:\n  def f(): ...\nasync def test_it(): ...\nasync def",
            "there are two",
        ),
        ("async def", "@pytest.mark.skip\nasync def", "skip: what a test needs, tests/require.py"),
        ("async def", "@mark.xfail\nasync def", "xfail: what a test needs, tests/require.py"),
        ('with clause("LC-01.b")', 'with clause("LC-02.a")', "LC-01.b is asserted nowhere"),
    ],
)
def test_a_test_that_does_not_assert(old: str, new: str, problem: str) -> None:
    assert old in TEST
    found = wrong(test=TEST.replace(old, new))
    assert [] != [line for line in found if problem in line], found


def test_an_open_row_is_no_problem() -> None:
    assert [] == wrong(row='[[row]]\nid = "LC-01"\ntitle = "x"\nopen = "no test yet"\n', test="")


def test_only_some_rows_may_differ() -> None:
    text = '[[row]]\nid = "LC-{:02}"\ntitle = "x"\nopen = "no"\nverdict = "different"\n'
    allowed = "".join(text.format(number) for number in range(1, 16))
    assert [] == wrong(row=allowed, test="")
    assert ["16 rows differ on purpose, more than 15"] == wrong(allowed + text.format(16), test="")


def test_a_clause_that_was_not_reached() -> None:
    row = next(row for row in ROWS if len(row.test) == 1 and len(row.clauses) > 1)
    here = {use.clause for use in node_table.uses() if use.test == row.test[0]}
    assert [] == node_table.unreached(row.test[0], here)
    missed = node_table.unreached(row.test[0], here - {row.clauses[0].id})
    assert [row.clauses[0].id] == [use.clause for use in missed]


def test_a_clause_that_fails_shows_its_text() -> None:
    ASSERTED.clear()
    with pytest.raises(AssertionError) as caught:
        with clause("LC-01.a"):
            assert [] == [1]
    assert "LC-01.a: Fork, Online" in caught.value.__notes__[0]
    assert set() == ASSERTED
    with pytest.raises(LookupError, match=r"rows\.toml has no clause LC-01\.z"):
        with clause("LC-01.z"):
            pass
    with clause("LC-01.a"):
        pass
    assert {"LC-01.a"} == ASSERTED


def test_the_page() -> None:
    page = node_table.render(parse(ROW + 'since = "22.12"\nfault = "x01.js"\n'))
    assert "| same | as in Node | 1 |" in page
    line = "| LC-01 (Node 22.12) | a title | same | `test_x.py::test_it`, Node's fault: `x01.js` |"
    assert line in page
