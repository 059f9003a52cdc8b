"""One behaviour each, in a few lines: what the faults in tests/mutants/rollout.py break."""

from __future__ import annotations

from collections import deque
from typing import Any

from actorcluster._cluster.jobs import Reload, Scale, units_of
from actorcluster._cluster.limits import reached
from actorcluster._cluster.places import Group
from actorcluster._cluster.restarts import Backoff
from actorcluster._cluster.tree import Child, Limits, Pool, Spec, Supervisor
from tests.supervision.simulation import Simulation
from tests.supervision.transcript import child, pool


def started(*children: Spec, slow: str = "", sticky: str = "", **rules: Any) -> Simulation:
    """A tree that is up; ``slow`` are ready, and ``sticky`` gone, only when a test says so."""
    simulation = Simulation(Supervisor(**rules, children=children), slow_to_stop=sticky.split())
    simulation.start()
    simulation.slow_to_start.update(slow.split())
    return simulation


def web(count: int = 3, **options: Any) -> Simulation:
    return started(pool("web", count), **options)


def reload(simulation: Simulation, name: str = "root", **options: Any) -> list[str]:
    return simulation.ask(Reload(units=deque(units_of(simulation.place(name))), **options))


def scale(simulation: Simulation, count: int) -> list[str]:
    place = simulation.place("web")
    assert isinstance(place, Group)
    return simulation.ask(Scale(pool=place, count=count))


# ---- reload ------------------------------------------------------------------------------------


def test_no_more_successors_than_allowed() -> None:
    simulation = web(slow="web.1 web.2 web.3")
    assert ["prepare", "renew web.1", "renew web.2"] == reload(simulation, max_surge=2)


def test_no_more_places_without_a_life_than_allowed() -> None:
    simulation = web(sticky="web.1 web.2 web.3")
    assert ["prepare", "stop web.1"] == reload(simulation, max_surge=0, max_unavailable=1)


def test_the_old_life_counts_until_it_has_ended() -> None:
    simulation = web(sticky="web.1")
    assert ["prepare", "renew web.1", "switch web.1", "commit"] == reload(simulation)
    assert "renew web.2" == simulation.left("web.1")[0]


def test_the_first_failure_ends_it() -> None:
    simulation = web()
    simulation.failing["web.1"] = 1
    assert ["prepare", "renew web.1", "flop web.1", "revert", "job failed web.1"] == reload(
        simulation
    )


def test_successors_of_others_go_when_one_fails() -> None:
    simulation = web(slow="web.1 web.2")
    reload(simulation, max_surge=2)
    assert "drop web.2" in simulation.flop("web.1")


def test_new_code_that_failed_is_not_that_of_restarts() -> None:
    simulation = web(slow="web.1")
    reload(simulation)
    simulation.exit("web.1")
    simulation.fail("web.1")
    simulation.pass_time()
    assert 0 == simulation.plan.generation == simulation.place("web.1").generation


def test_new_code_that_is_good_is_that_of_restarts() -> None:
    simulation = web(slow="web.2")
    reload(simulation)
    simulation.exit("web.3")
    simulation.pass_time()
    assert 1 == simulation.place("web.3").generation


def test_who_has_the_new_code_already_is_left_alone() -> None:
    simulation = web(slow="web.2")
    reload(simulation)
    simulation.exit("web.3")
    simulation.pass_time()
    assert ["switch web.2", "job done"] == simulation.succeed("web.2")


def test_who_is_to_be_stopped_gets_no_successor_any_more() -> None:
    simulation = started(child("a"), child("b"), slow="a", sticky="b", strategy="one_for_all")
    reload(simulation, "a")
    simulation.stop()
    assert ["drop a", "commit", "job done"] == simulation.succeed("a")


def test_a_restart_that_is_under_way_waits_for_nothing() -> None:
    simulation = web(slow="web.1")
    reload(simulation)
    assert ["restart web.1 0 1", "adopt web.1"] == simulation.exit("web.1")


def test_a_place_is_down_when_all_its_lives_are() -> None:
    simulation = web(1, sticky="web.1")
    reload(simulation)
    simulation.stop()
    assert [] == simulation.gone("web.1")
    assert "down web" == simulation.left("web.1")[0]


def test_who_is_told_to_stop_takes_its_successor_along() -> None:
    simulation = web(1, slow="web.1")
    reload(simulation)
    assert ["drop web.1", "stop web.1"] == simulation.stop()[:2]


def test_one_job_after_another() -> None:
    simulation = web(slow="web.1")
    reload(simulation)
    assert [] == reload(simulation)
    assert [] == scale(simulation, 4)
    assert [] == simulation.recycle("web.2")


def test_tasks_have_no_new_code() -> None:
    simulation = started(child("a", run="task"), child("b"))
    assert ["prepare", "renew b", "switch b", "commit", "job done"] == reload(simulation)


# ---- recycling ---------------------------------------------------------------------------------


def aging() -> Simulation:
    at_once = Backoff(min=0, max=0)
    return started(Child("a", "m:f", backoff=at_once, limits=Limits(max_age=10)))


def test_a_recycling_that_failed_waits_for_its_delay() -> None:
    simulation = started(child("a"))
    simulation.failing["a"] = 1
    simulation.recycle("a")
    assert [] == simulation.advance(0.5)
    assert ["renew a", "switch a", "job done"] == simulation.advance(0.5)


def test_the_age_is_that_of_the_present_life() -> None:
    simulation = aging()
    simulation.advance(5)
    simulation.exit("a")
    assert [] == simulation.advance(9)
    assert ["renew a", "switch a", "job done"] == simulation.advance(1)


def test_a_successor_grows_old_as_well() -> None:
    simulation = aging()
    simulation.advance(10)
    assert ["renew a", "switch a", "job done"] == simulation.advance(10)


def test_a_limit_is_reached_and_not_only_exceeded() -> None:
    limits = Limits(max_messages=5)
    assert reached(limits, rss=0, messages=4, accepted=0) is None
    assert "max_messages" == reached(limits, rss=0, messages=5, accepted=0)


# ---- the size of a pool ------------------------------------------------------------------------


def test_the_highest_slots_leave_first() -> None:
    assert ["stop web.3", "stop web.2", "job done"] == scale(web(), 1)


def test_slots_that_left_are_forgotten() -> None:
    simulation = web()
    scale(simulation, 1)
    assert ["root", "web", "web.1"] == ["root", *simulation.plan.places]


def test_a_pool_that_could_not_grow_is_as_it_was() -> None:
    simulation = web()
    simulation.failing["web.5"] = 1
    scale(simulation, 5)
    spec = simulation.place("web").spec
    assert isinstance(spec, Pool)
    assert 3 == spec.count
    assert ["web.1", "web.2", "web.3"] == simulation.running()
