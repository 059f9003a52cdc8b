"""Every fault can be put in, and one is tried; `python -m tests.conform.mutants` tries all."""

from __future__ import annotations

import attrs
import pytest

from actorcluster.conform.case import CASES
from tests.conform.bases import BASES
from tests.conform.faults import FAULTS
from tests.conform.mutants import Verdict, applies, main, run_all

SAMPLE = "asyncio.one-byte-of-credit-too-many"


def test_the_text_of_every_fault_is_there_once() -> None:
    assert [] == [fault.id for fault in FAULTS if not applies(fault)]


def test_every_fault_has_a_name_of_its_own_and_a_case() -> None:
    ids = [fault.id for fault in FAULTS]
    assert len(ids) == len(set(ids))
    assert [] == [fault.id for fault in FAULTS if fault.case not in CASES]
    assert set() == {fault.base for fault in FAULTS} - set(BASES)


def test_one_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main([SAMPLE, "--quick"])
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("mutants=1 bad=0 ")


def test_what_is_not_caught_is_said() -> None:
    (fault,) = [one for one in FAULTS if one.id == SAMPLE]
    faults = [
        attrs.evolve(fault, id="harmless", new=f"{fault.old}  # the same"),
        attrs.evolve(fault, id="absent", old="no line of it reads so"),
    ]
    verdicts = [catch.verdict for _, catch in run_all(faults, 2, quick=True)]
    assert [Verdict.SURVIVED, Verdict.NOT_APPLIED] == verdicts
