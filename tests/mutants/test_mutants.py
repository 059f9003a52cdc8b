"""Every fault can still be put in, and some are tried; `python -m tests.mutants` tries them all."""

from __future__ import annotations

import ast

import pytest

from tests.mutants.__main__ import AREAS, main
from tests.mutants.mutant import TESTS, Mutant, Verdict, applies, run_all

SAMPLE = ["stop-order-not-reversed", "window-exclusive", "stop-takes-the-longest"]

every_area = pytest.mark.parametrize("area", AREAS)


@every_area
def test_the_text_of_every_fault_is_there_once(area: str) -> None:
    assert [] == [mutant.id for mutant in AREAS[area] if not applies(mutant)]


@every_area
def test_every_fault_has_a_name_of_its_own(area: str) -> None:
    ids = [mutant.id for mutant in AREAS[area]]
    assert len(ids) == len(set(ids))


@every_area
def test_the_tests_that_catch_them_exist(area: str) -> None:
    for file, function in {tuple(mutant.test.split("::")) for mutant in AREAS[area]}:
        tree = ast.parse((TESTS.parent / file).read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert function in [node.name for node in tree.body if isinstance(node, functions)]


def test_some_are_caught(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["supervision", *SAMPLE])
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith(f"mutants={len(SAMPLE)} bad=0 ")


def test_a_secret_in_a_trace_is_caught() -> None:
    shown = [mutant for mutant in AREAS["trace"] if mutant.id == "keys-asked-for-shown"]
    assert [Verdict.CAUGHT] == [verdict for _, verdict in run_all(shown, 1)]


def test_what_is_not_caught_is_said() -> None:
    file, old = "_cluster/tree.py", "RUNGS_SECONDS: Final = 4.0"
    test = "tests/supervision/test_plan_caught.py::test_one_stop_after_another"
    mutants = [
        Mutant("harmless", file, old, f"{old} + 0.0", test),
        Mutant("absent", file, "no line of it reads so", "", test),
        Mutant("no-program", file, old, "RUNGS_SECONDS: Final = (", test),
        Mutant("no-test", file, old, f"{old} + 0.0", f"{test}s"),
    ]
    verdicts = [verdict for _, verdict in run_all(mutants, 2)]
    broken = Verdict.BROKEN
    assert [Verdict.SURVIVED, Verdict.NOT_APPLIED, broken, broken] == verdicts
