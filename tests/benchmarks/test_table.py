"""What people get to see of the figures: the table, the page, the plots."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from benchmarks import measures
from benchmarks.model import Mark, summed_up
from benchmarks.plot import plot
from benchmarks.soakplot import soak_page, soak_plot
from benchmarks.svg import Svg, decades, round_steps
from benchmarks.table import _TITLES, amount, page, programs, verdict, written
from tests.benchmarks.test_model import pairs, row

MACHINE = {
    "cpu": "A CPU",
    "cores": 2,
    "memory_bytes": 4 * 1024**3,
    "kernel": "Linux 1",
    "load": 0.25,
    "commit": "abc",
}


def raw() -> dict[str, Any]:
    """What is kept of a run: one target met, one missed, one row without."""
    rows = [
        summed_up(row(Mark(bound=3, at_least=True)), pairs((4000, 1000), (8000, 1000))),
        summed_up(row(Mark(bound=3, at_least=True)), pairs((1, 1))),
        summed_up(row(), pairs((1, 2))),
    ]
    result = {
        "began": "2001-01-01T00:00+00:00",
        "took": 90.0,
        "machine": MACHINE,
        "versions": {"Python": "3.11.0"},
        "scale": {"pairs": 2, "seconds": 1.0, "warmup": 0.3},
        "rows": rows,
        "left_out": {"kill-node": "node is not installed"},
        "failed": {"oneway": "sent 2, received 1\nand more"},
    }
    again: dict[str, Any] = json.loads(json.dumps(result))  # as `--render` reads it
    return again


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1234567.8, "/s", "1,234,568/s"),
        (0.0123, "s", "12.3 ms"),
        (0.0000451, "s", "45 µs"),
        (3 * 1024 * 1024, "bytes", "3.0 MiB"),
    ],
)
def test_figures_have_units(value: float, unit: str, text: str) -> None:
    assert text == amount(value, unit)


def test_verdicts() -> None:
    assert ["met", "missed", ""] == [verdict(one) for one in raw()["rows"]]


def test_the_table_has_a_line_for_each_row() -> None:
    lines = written(raw()["rows"])
    assert "against  ours     theirs   ratio  min to max    target" in lines[0]
    assert "title  peer     6,000/s  1,000/s  6.00   4.00 to 8.00  ≥ 3     met" == lines[1]
    assert "1 of 2 targets met" == lines[-1]


def test_programs_are_shown_with_what_they_counted() -> None:
    assert "row: a.py size=8 (4) against a.py size=8 (6)" == programs(raw()["rows"])[0]


@pytest.mark.parametrize("measure", measures.MEASURES)
def test_every_measure_has_its_place_on_the_page(measure: str) -> None:
    figures = raw()
    for one in figures["rows"]:
        one["measure"] = measure
    assert 1 == page(figures).count("\n## " + _TITLES[measure] + "\n")


def test_the_page_says_what_was_measured_where_and_what_was_not() -> None:
    text = page(raw())
    assert "| title | peer | 6,000/s | 1,000/s | 6.00 | 4.00 to 8.00 | ≥ 3 | met |" in text
    assert "A CPU, 2 cores, 4.0 GiB, Linux 1" in text
    assert "1 of 2 targets are met" in text
    assert "[a.py](../benchmarks/programs/a.py) | `size=8` | 4 |" in text
    assert "- kill-node: node is not installed" in text
    assert "- oneway: sent 2, received 1\n" in text


@pytest.mark.parametrize(
    ("who", "mark", "bound", "cells"),
    [
        ("bare Trio", "≥ 3", 3, "12.00, met |  |"),
        ("the floor", "≥ 3", 3, " | 12.00, met |"),
        ("the floor", "≥ 13", 13, " | 12.00, missed |"),
        ("the floor", "≤ 12", 12, " | 12.00, met |"),
        ("the floor", "≤ 3, 0 hung", 3, " | 12.00, missed |"),
    ],
)
def test_targets_stand_beside_what_others_reach(
    who: str, mark: str, bound: float, cells: str
) -> None:
    figures = raw()
    figures["rows"][0] |= {"mark": mark, "bound": bound}
    figures["rows"][2]["peer"]["who"] = who  # which was twice as fast as we
    assert f"| {mark} | met | {cells}" in page(figures)


def test_the_plot_is_a_picture_of_the_rows_with_targets() -> None:
    texts = [element.text for element in ET.fromstring(plot(raw()["rows"])).iter() if element.text]
    assert 2 == texts.count("title: peer")


def test_the_plot_of_nothing_is_a_picture() -> None:
    assert ET.fromstring(plot([])) is not None


def test_a_soak_is_drawn_and_written() -> None:
    values = [float(number) for number in range(8)]
    result = {
        "began": "2001-01-01T00:00+00:00",
        "seconds": 120.0,
        "machine": MACHINE,
        "times": [value * 15 for value in values],
        "series": {"primary": {"rss": values, "descriptors": values, "threads": [1.0] * 8}},
        "counts": {"told": 1000},
        "clients": {"hung": 0},
        "wrong": [],
        "grown": ["rss of primary grew from 1 to 2"],
    }
    assert "Mixed load for 2.0 minutes" in soak_plot(result)
    assert ET.fromstring(soak_plot(result)) is not None
    assert "- growth: rss of primary grew from 1 to 2" in soak_page(result)
    assert "| told | 1,000 |" in soak_page(result)


def test_axes_have_round_numbers() -> None:
    assert [0.5, 1, 2, 5, 10] == decades(0.4, 12)
    assert [0, 20, 40, 60, 80] == [*round_steps(95)]
    assert [0, 1, 2, 3] == [*round_steps(3)]


def test_text_in_a_picture_is_escaped() -> None:
    svg = Svg(10, 10)
    svg.text(0, 0, "a < b & c")
    assert "a < b & c" in [element.text for element in ET.fromstring(str(svg)).iter()]
