"""What holds for every test: nothing leaks, every skip says what it lacks, and is counted."""

from __future__ import annotations

import collections
import faulthandler
import gc
import itertools
import random
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import hypothesis
import pytest

from tests import leaks, require
from tests.kept import kept_server, share_the_fork_server
from tests.leaks import no_leaks, private_tmp
from tests.samples.builds import node_sample

__all__ = ["kept_server", "no_leaks", "node_sample", "private_tmp", "share_the_fork_server"]

ReportT = TypeVar("ReportT", pytest.TestReport, pytest.CollectReport)

# `ci` is what everybody runs; the same examples every time, so that a run says something about
# the change and not about the dice. `long` is for the dice: --hypothesis-profile=long. `quick` is
# for the same tests once more, with another Python.
hypothesis.settings.register_profile(
    "ci", max_examples=500, deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.register_profile(
    "quick", max_examples=50, deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.register_profile("long", max_examples=20_000, deadline=None, print_blob=True)
hypothesis.settings.load_profile("ci")


# A shell lets its jobs in the background ignore Ctrl-C, and so would all programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ours."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="run the tests in another order")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run the Trio tests that must not leak under the check for system tasks; shuffle."""
    seed = config.getoption("--shuffle")
    if seed is not None:
        shuffle(items, random.Random(seed))
    for item in items:
        if item.get_closest_marker("trio") is not None and leaks.covers(item):
            # pytest-trio has added its own mark by now; the first one counts.
            item.add_marker(pytest.mark.trio(run=leaks.run_without_leaking_tasks), append=False)


def shuffle(items: list[pytest.Item], dice: random.Random) -> None:
    """Give the files another order, and the tests of each: what they share is made once for all."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    groups = list(files.values())
    dice.shuffle(groups)
    for group in groups:
        dice.shuffle(group)
    items[:] = itertools.chain.from_iterable(groups)


def pytest_collection_finish() -> None:
    """Put aside what lives as long as the run: collecting garbage takes 1 ms then, not 25."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _put_aside() -> Iterator[None]:
    """The same for what a module leaves: after a thousand properties it would take 150 ms."""
    yield
    gc.collect()
    gc.freeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Obey the marks of `require.require`; let nobody end the long tests."""
    if hypothesis.settings.get_current_profile_name() == "long":
        faulthandler.cancel_dump_traceback_later()  # pytest's, see faulthandler_timeout
    for mark in item.iter_markers("require"):
        require.ensure(*mark.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that names no missing tool or right into a failure."""
    return _refuse_nameless_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself."""
    return _refuse_nameless_skip((yield))


def _refuse_nameless_skip(report: ReportT) -> ReportT:
    xfail = hasattr(report, "wasxfail")
    if report.skipped and not xfail and not _reason(report).startswith(require.SKIP_PREFIX):
        report.outcome = "failed"
        report.longrepr = f"skipped without tests/require.py: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the skips by what they lacked."""
    skips = collections.Counter(map(_reason, terminalreporter.stats.get("skipped", [])))
    for reason, count in sorted(skips.items()):
        terminalreporter.write_line(f"skipped {count}: {reason}")
