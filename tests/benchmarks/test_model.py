"""The arithmetic of the benchmarks: ratios, targets, what is right, what is growth."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.growth import grown, verdicts
from benchmarks.idle import calls_in, is_busy
from benchmarks.measures.connections import wrk_counts
from benchmarks.measures.peers import sum_to
from benchmarks.model import Mark, Pair, Result, Row, Scale, Side, Wrong, check, summed_up
from benchmarks.programs.common import Arguments, percentile, spread


def side(who: str, *values: float) -> Side:
    """A side that gives these figures, one after another."""
    left = iter(values)

    def run(scale: Scale) -> Result:
        return {"value": next(left), "received": 10, "hung": 0}

    return Side(who=who, files=("a.py",), arguments={"size": 8}, run=run)


def row(mark: Mark | None = None, name: str = "row") -> Row:
    return Row(
        name=name,
        measure="oneway",
        title="title",
        unit="/s",
        ours=side("ours", 1),
        peer=side("peer", 1),
        mark=mark,
    )


def pairs(*figures: tuple[float, float], **more: Any) -> list[Pair]:
    return [
        Pair(
            ours={"value": ours, "received": 2, **more},
            peer={"value": peer, "received": 3},
            ours_first=True,
        )
        for ours, peer in figures
    ]


# ---- ratios -------------------------------------------------------------------------------


def test_the_ratio_of_a_row_is_the_median_of_those_of_its_pairs() -> None:
    """Not the ratio of the medians, which would be 20 / 5 = 4."""
    summary = summed_up(row(), pairs((10, 10), (20, 2), (90, 5)))
    assert [1.0, 10.0, 18.0] == summary["ratios"]
    assert (10.0, 1.0, 18.0) == (summary["median"], summary["min"], summary["max"])


def test_a_summary_keeps_every_figure() -> None:
    summary = summed_up(row(), pairs((10, 5), (30, 5), (20, 4)))
    assert 20 == summary["ours"]["median"]
    assert (6, 9) == (summary["ours"]["count"], summary["peer"]["count"])
    assert [10, 30, 20] == [pair["ours"]["value"] for pair in summary["pairs"]]
    assert {"size": 8} == summary["ours"]["arguments"]


@pytest.mark.parametrize(
    ("mark", "median", "met"),
    [
        (Mark(bound=3, at_least=True), 3.0, True),
        (Mark(bound=3, at_least=True), 2.99, False),
        (Mark(bound=1.3, at_least=False), 1.3, True),
        (Mark(bound=1.3, at_least=False), 1.31, False),
    ],
)
def test_a_target_bounds_the_median(mark: Mark, median: float, met: bool) -> None:
    summary = summed_up(row(mark), pairs((median, 1)))
    assert met is summary["met"]
    assert mark.bound == summary["bound"]


@pytest.mark.parametrize(("hung", "met"), [(0, True), (1, False)])
def test_a_target_may_forbid_something_in_every_pair(hung: int, met: bool) -> None:
    mark = Mark(bound=1, at_least=False, none_of="hung")
    both = [*pairs((1, 2), hung=0), *pairs((1, 2), hung=hung)]
    assert "≤ 1, 0 hung" == str(mark)
    assert met is summed_up(row(mark), both)["met"]


def test_a_row_without_a_target_is_neither_met_nor_missed() -> None:
    assert summed_up(row(), pairs((1, 2)))["met"] is None


# ---- what is right ------------------------------------------------------------------------

RIGHT = {"sent": 4, "received": 4, "checksum": 6, "seconds": 1.0}


def test_what_was_sent_has_arrived_and_was_looked_at() -> None:
    check(RIGHT, checksum=sum_to(4), least=1.0)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"received": 3}, "sent 4, received 3"),
        ({"sent": 0, "received": 0}, "sent 0"),
        ({"checksum": 7}, "checksum is 7"),
        ({"seconds": 0.9}, "less than 1.0 s"),
    ],
)
def test_anything_else_is_wrong(wrong: dict[str, float], why: str) -> None:
    with pytest.raises(Wrong, match=why):
        check({**RIGHT, **wrong}, checksum=6, least=1.0)


WRK = """\
Running 1s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     9.10ms    1.20ms  20.15ms   80.00%
  5841 requests in 1.02s, 399.29KB read
"""


def test_wrk_is_read() -> None:
    assert {"requests": 5841, "seconds": 1.02} == wrk_counts(WRK)
    assert {"requests": 5841, "seconds": 0.5} == wrk_counts(WRK.replace("1.02s", "500.00ms"))
    assert {"requests": 5841, "seconds": 90.0} == wrk_counts(WRK.replace("1.02s", "1.50m"))


@pytest.mark.parametrize(
    "said",
    [
        "",
        WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
        WRK + "  Non-2xx or 3xx responses: 5\n",
    ],
)
def test_errors_of_wrk_are_wrong(said: str) -> None:
    with pytest.raises(Wrong, match="wrk says"):
        wrk_counts(said)


# ---- programs -----------------------------------------------------------------------------


def test_percentiles() -> None:
    times = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert {"p50": 3.0, "p99": 5.0, "max": 5.0} == spread(times)
    assert (1.0, 5.0) == (percentile(times, 0.0), percentile(times, 1.0))


def test_arguments_of_programs() -> None:
    given = Arguments(["size=3", "seconds=0.5", "data=bytes", "path=a=b"])
    assert (b"xxx", (0.1, 0.5), "a=b") == (given.data(), given.phases(), given.text("path", ""))
    assert (8, "rr") == (Arguments([]).whole("size", 8), Arguments([]).text("policy", "rr"))
    assert "xxxxxxxx" == Arguments([]).data()


# ---- growth and idleness ------------------------------------------------------------------


def test_growth_is_between_the_second_quarter_and_the_last() -> None:
    settled = [1, 5, 10, 10, 10, 10, 10, 10]
    assert grown(settled, 0.0, 0.0) is None
    leaking = [float(value) for value in range(100)]
    assert (37.0, 87.0) == grown(leaking, 0.0, 0.0)
    assert grown(leaking, 0.0, 50.0) is None
    assert grown(leaking, 2.0, 0.0) is None


def test_a_single_peak_is_no_growth() -> None:
    values = [10.0] * 100
    values[90] = 1000.0
    assert grown(values, 0.0, 0.0) is None


def test_too_few_samples_are_not_judged() -> None:
    with pytest.raises(ValueError, match="too few"):
        grown([1.0] * 7, 0.0, 0.0)


def test_growth_is_named() -> None:
    flat = {"rss": [1e9] * 8, "threads": [1.0] * 8}
    series = {"primary": {**flat, "descriptors": [9.0, 9, 9, 9, 9, 9, 99, 99]}, "helpers": flat}
    assert ["descriptors of primary grew from 9 to 99"] == verdicts(series)


def test_who_does_more_than_its_heartbeats_is_busy() -> None:
    for role, most in [("primary", 117), ("worker", 13), ("helper", 0)]:
        found = [is_busy(20)({"role": role, "wake_ups": count}) for count in (most, most + 1)]
        assert [False, True] == found


def test_only_calls_that_return_are_counted() -> None:
    """Those in which a sleeping thread is found, and is left, wake up nobody."""
    log = """\
11 restart_syscall(<... resuming interrupted read ...> <unfinished ...>
12 epoll_wait(3,  <unfinished ...>
13 epoll_wait(3, [{events=EPOLLIN, data=0x5}], 256, -1) = 1
13 read(5, "x", 1)                   = 1
12 <... epoll_wait resumed>[], 256, 1) = 0
13 epoll_wait(3,  <detached ...>
"""
    assert {"epoll_wait": 2, "read": 1} == calls_in(log)
