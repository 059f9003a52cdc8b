"""The benchmarks themselves, with times so short that only right and wrong are of interest."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from benchmarks import measures, process, run
from benchmarks.__main__ import QUICK
from benchmarks.model import Result, Row, Scale, Side, Wrong
from benchmarks.programs.common import RESPONSE
from tests.benchmarks.test_model import row, side
from tests.program import ROOT
from tests.require import require

pytestmark = pytest.mark.no_leaks

OF_PYTHON = {
    "oneway-small-to_worker-trio",
    "oneway-64k-to_primary-pipe",
    "oneway-small-to_primary-floor",
    "oneway-64k-to_worker-floor",
    "roundtrip-trio",
    "roundtrip-floor",
    "in-flight-floor",
    "in-flight-pipe",
    "handles-pipe",
    "handles-floor",
    "handle-roundtrip-trio",
    "start-warm-pipe",
    "start-warm-floor",
    "memory-trio",
    "memory-floor",
}
OF_NODE = {
    "oneway-64k-to_primary-node-advanced",
    "in-flight-node-json",
    "handle-roundtrip-node-json",
    "kill-node",
}


def measured(rows: list[Row], scale: Scale = QUICK) -> tuple[run.Outcome, list[str]]:
    """Run rows; returns what came of it, and what was told meanwhile."""
    told: list[str] = []
    outcome = run.run(rows, scale, tell=told.append, keep=lambda _: None)
    return outcome, told


def right(names: set[str]) -> set[str]:
    """Run these rows quickly; returns the names of those that were right."""
    outcome, _ = measured([one for one in measures.rows(QUICK) if one.name in names])
    assert {} == outcome.failed
    return {summary["name"] for summary in outcome.summaries()}


def test_python_programs_do_what_they_are_to_do() -> None:
    assert right(OF_PYTHON) == OF_PYTHON


@require("node")
def test_node_programs_do_what_they_are_to_do() -> None:
    assert right(OF_NODE) == OF_NODE


@require("node", "wrk")
def test_connections_are_counted_on_both_sides() -> None:
    names = {"connections-rr-listeners-node", "connections-none-raw-trio"}
    assert right(names) == names


def test_the_command_writes_page_plot_and_figures(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "benchmarks", "--quick", "--only", "roundtrip-trio"]
    done = subprocess.run(
        [*argv, "--pairs", "2", "--out", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert ["1/2 roundtrip-trio: right", "2/2 roundtrip-trio: right"] == done.stdout.splitlines()[
        :2
    ]
    raw = json.loads((tmp_path / "benchmarks" / "raw.json").read_text())
    (summary,) = raw["rows"]
    assert [True, False] == [pair["ours_first"] for pair in summary["pairs"]]
    assert "round trip, small dict" in (tmp_path / "benchmarks.md").read_text()
    assert (tmp_path / "benchmarks" / "ratios.svg").read_text().startswith("<svg")


def test_the_soak_counts_what_it_does_and_looks_at_its_processes(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "benchmarks.soak", "--seconds", "6", "--kill-every", "0.5"]
    done = subprocess.run(
        [*argv, "--out", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    result = json.loads((tmp_path / "soak.json").read_text())
    assert [] == result["wrong"]
    assert result["counts"]["killed"]
    assert result["clients"]["answered"]
    assert all(result["series"]["primary"]["descriptors"])


# ---- the rows -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [Scale(), QUICK])
def test_rows_have_names_of_their_own_and_programs(scale: Scale) -> None:
    rows = measures.rows(scale)
    assert len(rows) == len({one.name for one in rows})
    files = {file for one in rows for side in (one.ours, one.peer) for file in side.files}
    assert [] == [file for file in files if not (process.PROGRAMS / file).exists()]


def test_every_server_answers_with_the_same_bytes() -> None:
    source = (process.PROGRAMS / "common.js").read_text()
    found = re.search(r"RESPONSE = Buffer.from\(\s*'(.*?)'", source)
    assert found
    assert RESPONSE == found[1].encode().decode("unicode_escape").encode()


# ---- pairs --------------------------------------------------------------------------------


def test_each_round_runs_a_pair_of_every_row_and_changes_who_begins() -> None:
    order: list[str] = []

    def noted(who: str) -> Side:
        def once(scale: Scale) -> Result:
            order.append(who)
            return {"value": 1.0, "received": 1}

        return attrs.evolve(side(who), run=once)

    rows = [
        attrs.evolve(row(name=name), ours=noted(f"{name} ours"), peer=noted(f"{name} peer"))
        for name in ("a", "b")
    ]
    outcome, _ = measured(rows, Scale(pairs=2))
    assert order == [
        "a ours", "a peer", "b ours", "b peer",
        "a peer", "a ours", "b peer", "b ours",
    ]  # fmt: skip
    assert [True, False] == [pair.ours_first for pair in outcome.pairs["a"]]


def test_one_run_of_ours_stands_between_the_peers_of_two_rows() -> None:
    order: list[str] = []

    def noted(who: str) -> Side:
        def once(scale: Scale) -> Result:
            order.append(who)
            return {"value": float(len(order)), "received": 1}

        return attrs.evolve(side(who), run=once)

    ours = noted("ours")
    names = ("a", "b", "c")
    rows = [attrs.evolve(row(name=name), ours=ours, peer=noted(name)) for name in names]
    outcome, _ = measured(rows, Scale(pairs=2))
    assert ["b", "ours", "a", "ours", "c", "a", "ours", "b", "c", "ours"] == order
    figures = {
        name: [(pair.ours["value"], pair.peer["value"], pair.ours_first) for pair in pairs]
        for name, pairs in outcome.pairs.items()
    }
    assert figures == {
        "a": [(2.0, 3.0, True), (7.0, 6.0, False)],
        "b": [(2.0, 1.0, False), (7.0, 8.0, True)],
        "c": [(4.0, 5.0, True), (10.0, 9.0, False)],
    }


def test_a_row_that_is_wrong_has_no_figures_and_the_others_go_on() -> None:
    def wrong(scale: Scale) -> Result:
        raise Wrong("sent 2, received 1")

    broken = attrs.evolve(row(name="broken"), peer=attrs.evolve(side("peer"), run=wrong))
    outcome, told = measured([broken, row(name="good")], Scale(pairs=1))
    assert {"broken": "sent 2, received 1"} == outcome.failed
    assert ["good"] == [summary["name"] for summary in outcome.summaries()]
    assert ["1/1 broken: WRONG, sent 2, received 1", "1/1 good: 1.00"] == told


def test_rows_that_share_our_side_are_all_wrong_if_that_is() -> None:
    def wrong(scale: Scale) -> Result:
        raise Wrong("sent 2, received 1")

    ours = attrs.evolve(side("ours"), run=wrong)
    rows = [attrs.evolve(row(name=name), ours=ours) for name in ("a", "b")]
    outcome, _ = measured(rows, Scale(pairs=1))
    assert {"a": "sent 2, received 1", "b": "sent 2, received 1"} == outcome.failed


def test_a_row_whose_peer_is_not_here_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run, "lack", {"node": "node is not installed"}.get)
    lacking = attrs.evolve(row(name="lacking"), peer=attrs.evolve(side("peer"), needs=("node",)))
    outcome, told = measured([lacking, row(name="good")], Scale(pairs=1))
    assert {"lacking": "node is not installed"} == outcome.left_out
    assert ["lacking: left out, node is not installed", "1/1 good: 1.00"] == told


# ---- programs -----------------------------------------------------------------------------


def test_a_program_that_fails_is_wrong_and_says_why() -> None:
    with process.program([sys.executable, "-c", "raise SystemExit('no luck')"]) as program:
        with pytest.raises(Wrong, match=r"(?s)ended with 1\n.*no luck"):
            program.says()


def test_a_program_that_hangs_is_ended() -> None:
    code = "import time; time.sleep(100)"
    with process.program([sys.executable, "-c", code], patience=0.1) as program:
        with pytest.raises(Wrong, match="ended with -9"):
            program.says()


def test_what_a_program_leaves_behind_is_ended() -> None:
    """The fixture would find the child."""
    code = (
        "import subprocess; subprocess.Popen(['sleep', '100'], stdout=2); print('{}', flush=True)"
    )
    with process.program([sys.executable, "-c", code]) as program:
        assert {} == program.says()
        program.ends()
