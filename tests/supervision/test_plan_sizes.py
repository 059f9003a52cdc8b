"""Many children, many levels: what a plan costs is counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest

from actorcluster._cluster import checks, places, plan, restarts, ties, tree
from actorcluster._cluster.tree import Spec, Supervisor, stop_seconds
from tests.supervision.simulation import Simulation
from tests.supervision.transcript import child, pool, supervisor, temporary

LEVELS: Final = 100
CORE: Final = {module.__file__ for module in (checks, places, plan, restarts, ties, tree)}


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the calls of functions of the core."""
    calls = [0]

    def count(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename in CORE:
            calls[0] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(before)


def nested(levels: int, innermost: Spec) -> Supervisor:
    """One supervisor in the other, beside a child each."""
    spec = innermost
    for level in range(levels):
        spec = supervisor("one_for_all", f"a{level}", spec, name=f"s{level}")
    assert isinstance(spec, Supervisor)
    return spec


@pytest.mark.parametrize(
    "innermost", [child("x"), pool("x", 2), Supervisor("x")], ids=["child", "pool", "nothing"]
)
def test_many_levels(innermost: Spec) -> None:
    simulation = Simulation(nested(LEVELS, innermost))
    assert f"up s{LEVELS - 1}" == simulation.start()[-1]
    simulation.stop()
    assert "finished told" == simulation.log[-1]
    assert [] == simulation.running()


def test_a_failure_climbs_many_levels() -> None:
    spec: Spec = child("x")
    for level in range(LEVELS):
        spec = supervisor("one_for_all", f"a{level}", spec, name=f"s{level}", max_restarts=0)
    assert isinstance(spec, Supervisor)
    simulation = Simulation(spec)
    simulation.start()
    name = ".".join([f"s{level}" for level in reversed(range(LEVELS - 1))] + ["x"])
    simulation.exit(name)
    assert LEVELS == sum(line.startswith("gave up") for line in simulation.log)
    assert f"finished exhausted s{LEVELS - 2}" == simulation.log[-1]


def test_who_cannot_start_on_the_lowest_of_many_levels() -> None:
    simulation = Simulation(nested(LEVELS, child("x")))
    name = ".".join([f"s{level}" for level in reversed(range(LEVELS - 1))] + ["x"])
    simulation.failing[name] = 1
    simulation.start()
    assert f"finished start_failed {name}" == simulation.log[-1]


def test_many_levels_as_values() -> None:
    spec = nested(LEVELS, child("x"))
    assert nested(LEVELS, child("x")) == spec
    assert hash(nested(LEVELS, child("x"))) == hash(spec)
    assert 2 * LEVELS == len([*spec.walk()])
    assert (LEVELS + 1) * (5 + 4) == stop_seconds(spec)


# ---- so many children -------------------------------------------------------------------------


def started(strategy: str, count: int, **options: Any) -> Simulation:
    spec = supervisor(strategy, *(f"c{n}" for n in range(count)), **options)
    simulation = Simulation(spec)
    simulation.start()
    return simulation


def start_and_stop(count: int) -> None:
    simulation = started("one_for_one", count)
    simulation.stop()
    assert 2 * count == sum(line[:6] in ("start ", "stop c") for line in simulation.log)


def start_and_stop_a_pool(count: int) -> None:
    simulation = Simulation(supervisor("one_for_one", pool("p", count)))
    simulation.start()
    assert count == len(simulation.running())
    simulation.stop()


def restart_each(count: int) -> None:
    simulation = started("one_for_one", count, max_restarts=count)
    for name in simulation.running():
        simulation.exit(name)
    simulation.pass_time()
    assert count == len(simulation.running())


def restart_one_many_times(count: int) -> None:
    """Old timers do not pile up."""
    simulation = started("one_for_one", 1, max_restarts=count)
    for _ in range(count):
        simulation.exit("c0")
        simulation.pass_time()
    assert 0 == len(simulation.plan.timers)


def restart_all(count: int) -> None:
    simulation = started("one_for_all", count)
    simulation.exit(f"c{count // 2}")
    simulation.pass_time()
    assert count == len(simulation.running())


def fail_at_the_last(count: int) -> None:
    simulation = Simulation(supervisor("one_for_one", *(f"c{n}" for n in range(count))))
    simulation.failing[f"c{count - 1}"] = 1
    simulation.start()
    assert f"finished start_failed c{count - 1}" == simulation.log[-1]


def add_and_end(count: int) -> None:
    """As workers are forked, and leave."""
    simulation = started("one_for_one", 0)
    fork_each(simulation, count)
    for name in simulation.running():
        simulation.plan.end(simulation.place(name), 0.0)
        simulation.settle()
    assert {} == simulation.plan.places


def add_and_leave_by_themselves(count: int) -> None:
    simulation = started("one_for_one", 0)
    fork_each(simulation, count)
    for name in simulation.running():
        simulation.exit(name)
    assert {} == simulation.plan.places


def fork_each(simulation: Simulation, count: int) -> None:
    for number in range(count):
        place = simulation.plan.add(temporary(f"f{number}"), simulation.plan.root)
        simulation.plan.begin(place, 0.0)
        simulation.settle()


def pool_finishes(count: int) -> None:
    simulation = Simulation(supervisor("one_for_one", pool("p", count, restart="transient")))
    simulation.start()
    for name in simulation.running():
        simulation.exit(name, "normal")
    assert "down p" == simulation.log[-1]


def park_each(count: int) -> None:
    simulation = started("one_for_one", count)
    for name in simulation.running():
        simulation.exit(name, "protocol")
    assert [] == simulation.running()


@pytest.mark.parametrize(
    "happens",
    [
        start_and_stop,
        start_and_stop_a_pool,
        restart_each,
        restart_one_many_times,
        restart_all,
        fail_at_the_last,
        add_and_end,
        add_and_leave_by_themselves,
        pool_finishes,
        park_each,
    ],
)
def test_ten_times_as_many_cost_ten_times_as_much(happens: Callable[[int], None]) -> None:
    counts = []
    for size in (100, 1000):
        with counted() as calls:
            happens(size)
        counts.append(calls[0])
    assert counts[1] <= 11 * counts[0]


def test_ten_thousand_children() -> None:
    counts = []
    for size in (1000, 10_000):
        simulation = Simulation(supervisor("one_for_one", *(f"c{n}" for n in range(size))))
        with counted() as calls:
            simulation.start()
            simulation.stop()
        assert 2 * size + 3 == len(simulation.log)
        counts.append(calls[0])
    assert counts[1] <= 10 * counts[0]
