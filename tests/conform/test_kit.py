"""The kit as a program: lists, reports, transcripts, exit codes, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result

from actorcluster import conform
from actorcluster.cli.conform import _interrupted, _Progress
from actorcluster.cli.conform import conform as command
from actorcluster.conform import Outcome
from actorcluster.conform.case import CASES
from actorcluster.conform.claims import claims_of, level_of
from actorcluster.conform.coverage import INTERNAL
from actorcluster.conform.frames import frame
from actorcluster.conform.material import requirements
from actorcluster.conform.transcript import redacted
from actorcluster.wire._generated import BUILT_CAPABILITIES, Kind
from tests.conform.kit import PYTHON_WORKER, tried
from tests.wire.vectors import reads_of, split_frames

CONFORM = [sys.executable, "-m", "actorcluster", "conform"]


def called(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CONFORM, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def invoked(*arguments: str) -> Result:
    """The same without a process of its own, where that makes no difference."""
    return CliRunner().invoke(command, arguments)


# ---- what there is ----


def test_every_must_has_a_case_or_a_reason() -> None:
    assert [] == conform.uncovered()
    musts = [
        one
        for one in requirements().values()
        if one.level == "MUST" and one.is_built and one.applies in ("worker", "both")
    ]
    assert set(INTERNAL) <= {one.id for one in musts}
    assert len(INTERNAL) <= len(musts) // 10


def test_cases_try_sentences_that_there_are() -> None:
    named = {name for one in CASES.values() for name in one.requirements}
    assert set() == named - set(requirements())
    assert len([one for one in CASES.values() if not one.watch]) >= 150
    assert [] == [one.id for one in CASES.values() if not one.title]


def test_a_case_needs_nothing_above_its_level() -> None:
    assert [] == [one.id for one in CASES.values() if level_of(one.caps) > one.level]


def test_nobody_is_granted_what_was_not_offered() -> None:
    """A vector has a WELCOME of its own."""
    assert {"msg", "call"} == CASES["welcome.grease"].caps


def test_cases_are_listed() -> None:
    done = invoked("--list", "--only", "fd.*")
    assert 0 == done.exit_code
    assert "fd.glued-tail" in done.output
    assert "AWP-FD-3" in done.output
    assert "st.stop" not in done.output


def test_coverage_is_shown() -> None:
    for mode in ((), ("--primary",)):
        done = invoked(*mode, "--coverage")
        assert 0 == done.exit_code
        assert "NO CASE" not in done.output
        assert " MUST, 0 without a case, " in done.output


@pytest.mark.parametrize(
    "arguments",
    [[], ["--level", "9", "--", "true"], ["--only", "no.such.case", "--", "true"],
     ["--", "/no/such/program"], ["--minutes", "1", "--", "true"],
     ["--primary", "--lanes", "4", "--", "true"]],
    ids=["no command", "level", "no case", "no program", "minutes", "lanes"],
)  # fmt: skip
def test_a_wrong_call_exits_with_2(arguments: list[str]) -> None:
    assert 2 == invoked(*arguments).exit_code


# ---- what it costs ----


def test_a_case_starts_one_process_for_each_of_its_ways(tmp_path: Path) -> None:
    """Starts are most of what the kit costs, and more than one way is for few cases."""
    noted = ("/bin/sh", "-c", 'echo >> "$0"; exec "$@"', str(tmp_path / "starts"))
    worker = (sys.executable, "-m", "tests.conform.broken_worker")
    only = ("hs.hello", "split.header")
    report = tried((*noted, *worker), only=only)
    assert [] == report.bad
    ways = sum(len(one.case.ways) for one in report.results)
    assert len(report.results) < ways == len((tmp_path / "starts").read_text())
    played = [one for one in CASES.values() if not one.watch]
    assert sum(len(one.ways) for one in played) <= 1.1 * len(played)


# ---- what comes of it ----


def test_what_most_failures_have_in_common_is_said_first() -> None:
    case = CASES["pi.empty"]
    texts = [f"no PONG on channel {n} within 10 s" for n in range(5)] + ["something else"] * 3
    failed = [conform.Result(case=case, outcome=Outcome.FAIL, text=text) for text in texts]

    def told(results: list[conform.Result]) -> list[str]:
        options = conform.Options(command=("x",))
        report = conform.Report(options=options, claims=None, results=results, not_run=[])
        return list(report.lines())[:2]

    assert [
        "5 of 8 failures are the same, as in pi.empty:",
        "    no PONG on channel 0 within 10 s",
    ] == told(failed)
    for few in (failed[1:], failed[5:], failed + failed[5:7]):
        assert not any("the same" in line for line in told(few))


def test_reports_are_written(tmp_path: Path) -> None:
    done = called(
        "--only", "hs.hello", "--only", "st.stop", "--json", str(tmp_path / "a.json"),
        "--junit", str(tmp_path / "a.xml"), "--timeout", "60", "--", *PYTHON_WORKER,
    )  # fmt: skip
    assert 0 == done.returncode, done.stdout
    assert done.stdout.splitlines()[-1].startswith("passed: ")
    report = json.loads((tmp_path / "a.json").read_text())
    assert ["pass", "pass"] == [one["outcome"] for one in report["cases"]]
    assert report["requirements"]["AWP-ST-1"] == "pass"
    suite = ET.parse(tmp_path / "a.xml").getroot()
    assert ("2", "0") == (suite.get("tests"), suite.get("failures"))


def test_a_failure_leaves_a_vector(tmp_path: Path) -> None:
    """It is said by the worker of another language that is wrong in one place."""
    broken = [sys.executable, "-m", "tests.conform.broken_worker"]
    report = tried(broken, only=("pi.channels",))
    assert [Outcome.FAIL] == [one.outcome for one in report.results]
    (path,) = conform.write_transcripts(report, str(tmp_path))
    (vector,) = json.loads(Path(path).read_text())
    assert ("transcript.pi.channels", ["AWP-PI-1"]) == (vector["id"], vector["requirements"])
    assert "PONG on channel 0" in vector["comment"]
    said = [step for step in vector["before"] if "send" in step]
    assert "HELLO" == split_frames(bytes.fromhex(said[0]["send"]))[0]["kind"]
    (read,) = reads_of(vector)
    assert ["PING"] == [one["kind"] for one in split_frames(read.data)]
    assert ["PONG"] == [one["kind"] for one in vector["observed"]]


def test_secrets_are_in_no_transcript() -> None:
    listen = frame(Kind.LISTEN, None, {"transport": "tcp", "data": b"a key"}, channel=1)
    settings = frame(Kind.SETTINGS, None, {"config": {"password": "a key"}})
    data = redacted(listen + frame(Kind.PING, None, 1) + settings + b"\x95")
    assert b"a key" not in data
    kinds = [one["kind"] for one in split_frames(data[:-1])]
    assert ["LISTEN", "PING", "SETTINGS"] == kinds


def test_expected_failures(tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text("pi.channels  # its PONG goes to channel 0\n")
    broken = [sys.executable, "-m", "tests.conform.broken_worker"]
    with_it = ["--known", str(known), "--timeout", "60", "--only", "pi.channels", "--"]
    assert 0 == called(*with_it, *broken).returncode
    done = called(*with_it, *PYTHON_WORKER)
    assert 1 == done.returncode
    assert "expected to fail, and passed" in done.stdout


def test_what_is_not_claimed_counts_where_it_is_asked_for() -> None:
    modest = [sys.executable, "-m", "tests.conform.broken_worker"]
    only = ("hs.hello", "ca.echo", "su.down")
    found = {}
    for level in (None, 1):
        report = tried(modest, only=only, level=level)
        unclaimed = {one.case.id for one in report.of(Outcome.UNCLAIMED)}
        found[level] = (report.exit_status, unclaimed)
    assert {None: (0, {"ca.echo", "su.down"}), 1: (1, {"ca.echo"})} == found


def test_one_way_to_listen_is_enough_for_level_2() -> None:
    caps = ["msg", "call", "frag", "ack", "log", "listen.handoff"]
    names = ("li.shared", "ha.give")
    report = conform.Report(
        options=conform.Options(command=("x",), level=2),
        claims=claims_of({"caps": caps}),
        results=[conform.Result(case=CASES[one], outcome=Outcome.UNCLAIMED) for one in names],
        not_run=[],
    )
    assert ["ha.give"] == [one.case.id for one in report.bad]
    assert any(line.startswith("unclaimed  ha.give") for line in report.lines())


def test_a_verdict_says_what_a_level_means_so_far() -> None:
    def told(level: int) -> list[str]:
        claims = claims_of({"caps": sorted(BUILT_CAPABILITIES)})
        options = conform.Options(command=("x",), level=level)
        report = conform.Report(options=options, claims=claims, results=[], not_run=[])
        return [line[:14] for line in report.lines()][2:]

    assert ["L2 conformant:"] == told(2)
    assert ["L3 is `monitor", "L3 conformant:"] == told(3)
    assert ["L3 is `monitor", "L4 is `bulk.me", "L4 conformant:"] == told(4)


def test_ctrl_c_shows_what_had_failed(capsys: pytest.CaptureFixture[str]) -> None:
    progress = _Progress()
    for name, outcome in (("ha.give", Outcome.FAIL), ("pi.channels", Outcome.PASS)):
        progress.add(conform.Result(case=CASES[name], outcome=outcome, text="why"))
    assert 130 == _interrupted(progress)
    said = capsys.readouterr()
    assert "FAIL       ha.give  why\n" == said.out
    assert "conform: interrupted, after 2 cases\n" == said.err


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    worker = [sys.executable, "-m", "tests.conform.slow_worker", str(note)]
    kit = subprocess.Popen(
        [*CONFORM, "--timeout", "600", "--", *worker],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while not (note.exists() and note.read_text().endswith("\n")):
            time.sleep(0.02)
        os.kill(kit.pid, signal.SIGINT)
        _, errors = kit.communicate(timeout=60)
    finally:
        kit.kill()
        kit.wait()
    assert 130 == kit.returncode, errors
    assert "conform: interrupted, after 0 cases" in errors
    assert not os.path.exists(f"/proc/{note.read_text().strip()}")
