"""The short form of ``python -m tests.full_house``, and proof that it would notice."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.full_house.figures import House, Measured, figures
from tests.full_house.house import measure

#: How fast this machine is, and what else it does, is not asked here.
TIMED = {"elapsed", "primary"}


async def test_a_small_house() -> None:
    house = House(connections=300, workers=3, limit=4, open=60, hold=0.01)
    measured = await measure(house, patience=60.0)
    assert (300, {}) == (measured.served, measured.failed)
    assert 300 == measured.handed_over
    held = [figure for figure in figures(house, measured) if figure.name not in TIMED]
    assert [True] * 3 == [figure.is_met for figure in held]
    assert measured.descriptors_before < measured.descriptors
    assert house.ideal <= measured.elapsed


HOUSE = House()
GOOD = Measured(
    served=20_000,
    failed={},
    elapsed=28.75,
    processor=2.875,
    handed_over=21_000,
    descriptors_before=35,
    descriptors=1115,
)


@pytest.mark.parametrize(
    ("changes", "missed"),
    [
        ({}, []),
        ({"served": 19_999}, ["failed"]),
        ({"elapsed": 28.77}, ["elapsed"]),
        ({"processor": 2.88}, ["primary"]),
        ({"handed_over": 21_010}, ["hand-overs"]),
        ({"descriptors": 1116}, ["descriptors"]),
        ({"descriptors_before": 34}, ["descriptors"]),
    ],
)
def test_what_is_missed(changes: dict[str, Any], missed: list[str]) -> None:
    held = figures(HOUSE, attrs.evolve(GOOD, **changes))
    assert missed == [figure.name for figure in held if not figure.is_met]
    assert [f"{name:12}" for name in missed] == [
        str(figure)[:12] for figure in held if str(figure).endswith("missed")
    ]
