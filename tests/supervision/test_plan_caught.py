"""One behaviour each, in a few lines: what the faults in tests/mutants/supervision.py break."""

from __future__ import annotations

import math
from typing import Any

from actorcluster._cluster.places import Absence
from actorcluster._cluster.plan import Plan
from actorcluster._cluster.restarts import Backoff, Budget, after_exit
from actorcluster._cluster.tree import Child, Pool, RetryAfter, Spec, Supervisor, stop_seconds
from tests.supervision.simulation import Simulation


def child(name: str, **options: Any) -> Child:
    return Child(name, "module:function", **options)


def started(*children: Spec | str, slow_to_stop: str = "", **rules: Any) -> Simulation:
    """A tree that is up."""
    specs = [child(spec) if isinstance(spec, str) else spec for spec in children]
    simulation = Simulation(Supervisor(**rules, children=specs), slow_to_stop=slow_to_stop.split())
    simulation.start()
    return simulation


def group(name: str, *children: str, **rules: Any) -> Supervisor:
    return Supervisor(name, **rules, children=[child(name) for name in children])


def end(simulation: Simulation, name: str) -> list[str]:
    simulation.plan.end(simulation.place(name), simulation.now)
    return simulation.settle()


# ---- may it, and when? -------------------------------------------------------------------------


def test_so_many_restarts_and_not_one_more() -> None:
    budget = Budget(2, 10)
    assert [True, True, False] == [budget.spend(0.0) for _ in range(3)]


def test_the_edge_of_the_window_still_counts() -> None:
    budget = Budget(1, 10)
    assert budget.spend(0.0)
    assert not budget.spend(10.0)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    budget = Budget(1, 10)
    assert budget.spend(0.0)
    assert budget.spend(10.5)


def test_each_delay_is_twice_the_one_before() -> None:
    assert [0.1, 0.2, 0.4] == [Backoff().delay(failures, 0.0) for failures in range(3)]


def test_no_delay_exceeds_the_maximum() -> None:
    assert 10 == Backoff(min=10, max=10, jitter=0.5).delay(0, 0.9)


def test_those_that_wait_longest_do_not_come_back_together() -> None:
    assert Backoff().delay(50, 0.0) < Backoff().delay(50, 0.5)


def test_a_temporary_child_never_comes_back() -> None:
    assert "finish" == after_exit("temporary", "signal", was_ready=True)


def test_a_transient_child_has_finished_when_it_ended_well() -> None:
    reasons = ["normal", "shutdown", "killed", "error"]
    fates = [after_exit("transient", reason, was_ready=True) for reason in reasons]
    assert ["finish", "finish", "finish", "restart"] == fates


def test_a_start_that_failed_did_not_end_well() -> None:
    assert "restart" == after_exit("transient", "normal", was_ready=False)


def test_a_broken_protocol_is_not_tried_again() -> None:
    assert "park" == after_exit("permanent", "protocol", was_ready=True)


# ---- how long a stop may take ------------------------------------------------------------------


def test_one_stop_after_another() -> None:
    tree = Supervisor(children=[child("a"), Supervisor("s", children=[child("b", shutdown=1)])])
    assert 5 + 4 + 1 + 4 == stop_seconds(tree)


def test_the_slots_of_a_pool_stop_together() -> None:
    assert 5 + 4 == stop_seconds(Pool("p", "module:function", count=3))


def test_what_is_killed_needs_no_time() -> None:
    assert 0 == stop_seconds(child("a", shutdown="brutal_kill"))


# ---- starting and stopping ---------------------------------------------------------------------


def test_children_start_in_order() -> None:
    tree = Supervisor(children=[child(name) for name in "abc"])
    assert ["start a", "start b", "start c", "up root"] == Simulation(tree).start()


def test_children_stop_in_reverse_order() -> None:
    assert ["stop c", "stop b", "stop a"] == started(*"abc").stop()[:3]


def test_one_child_is_stopped_at_a_time() -> None:
    simulation = started(*"ab", slow_to_stop="b")
    assert ["stop b"] == simulation.stop()
    assert "stop a" in simulation.gone("b")


def test_the_slots_of_a_pool_start_together() -> None:
    tree = Supervisor(children=[Pool("p", "module:function", count=2)])
    assert ["start p.1", "start p.2"] == Simulation(tree, slow_to_start=["p.1", "p.2"]).start()


def test_the_slots_of_a_pool_stop_together_at_once() -> None:
    pool = Pool("p", "module:function", count=2)
    assert ["stop p.2", "stop p.1"] == started(pool, slow_to_stop="p.1 p.2").stop()


def test_a_first_start_is_not_retried() -> None:
    simulation = Simulation(Supervisor(children=[child("a"), child("b")]))
    simulation.failing["b"] = 1
    simulation.start()
    assert "finished start_failed b" == simulation.log[-1]


def test_a_supervisor_is_up_when_nobody_waits_any_more() -> None:
    simulation = Simulation(Supervisor(children=[child("a"), child("b")]), slow_to_start=["b"])
    simulation.start()
    simulation.exit("a")
    assert [] == simulation.ready("b")
    assert ["start a", "up root"] == simulation.advance(0.1)


def test_who_stops_is_still_there() -> None:
    simulation = started(*"ab", slow_to_stop="b")
    simulation.stop()
    assert 2 == simulation.plan.root.alive


# ---- restarts ----------------------------------------------------------------------------------


def test_a_restart_waits_for_its_delay() -> None:
    simulation = started("a")
    assert ["restart a 0.1 1"] == simulation.exit("a")
    assert [] == simulation.advance(0.05)
    assert ["start a"] == simulation.advance(0.05)


def test_a_restart_of_several_waits_for_its_delay() -> None:
    simulation = started(*"ab", strategy="one_for_all")
    simulation.exit("a")
    assert [] == simulation.advance(0.05)
    assert ["start a", "start b"] == simulation.advance(0.05)


def test_a_restart_is_due_at_its_very_second() -> None:
    plan = started("a").plan
    plan.ended(plan.places["a"], "signal", None, 0.0)
    plan.take()
    plan.tick(plan.deadline())
    assert 1 == len(plan.take())


def test_one_for_all_stops_and_starts_all_in_order() -> None:
    simulation = started(*"abc", strategy="one_for_all")
    assert ["restart b 0.1 1", "stop c", "stop a"] == simulation.exit("b")
    assert ["start a", "start b", "start c"] == simulation.advance(0.1)


def test_rest_for_one_leaves_those_before_alone() -> None:
    simulation = started(*"abc", strategy="rest_for_one")
    assert ["restart b 0.1 1", "stop c"] == simulation.exit("b")
    assert ["start b", "start c"] == simulation.advance(0.1)


def test_nothing_starts_while_something_still_stops() -> None:
    simulation = started(*"abc", strategy="one_for_all", slow_to_stop="b")
    simulation.exit("a")
    assert [] == simulation.advance(5.0)
    assert ["start a", "start b", "start c"] == simulation.gone("b")


def test_who_ends_while_it_is_to_be_stopped_has_not_failed() -> None:
    simulation = started(*"abc", strategy="one_for_all", slow_to_stop="c")
    simulation.exit("a")
    assert [] == simulation.exit("b")


def test_siblings_cost_nothing() -> None:
    simulation = started(*"abc", strategy="one_for_all", max_restarts=2)
    for _ in range(2):
        simulation.exit("a")
        simulation.advance(1.0)
    assert ["a", "b", "c"] == simulation.running()


def test_a_start_that_fails_is_counted() -> None:
    simulation = started("a", max_restarts=1)
    simulation.failing["a"] = 1
    simulation.exit("a")
    simulation.advance(0.1)
    assert "finished exhausted a" == simulation.log[-1]


def test_a_child_has_recovered_when_it_was_ready_for_long_enough() -> None:
    simulation = started(child("a", backoff=Backoff(reset_after=10)))
    simulation.exit("a")
    simulation.advance(0.1)
    simulation.advance(9.0)
    assert "restart a 0.2 2" == simulation.exit("a")[-1]
    simulation.advance(0.2)
    simulation.advance(11.0)
    assert "restart a 0.1 1" == simulation.exit("a")[-1]


def test_just_long_enough_is_long_enough() -> None:
    simulation = started(child("a", backoff=Backoff(min=1, reset_after=8)))
    simulation.exit("a")
    simulation.advance(1.0)
    simulation.advance(8.0)
    assert "restart a 1 1" == simulation.exit("a")[-1]


def test_the_time_a_start_takes_is_no_recovery() -> None:
    simulation = started(child("a", backoff=Backoff(min=1, reset_after=10)))
    simulation.slow_to_start.add("a")
    simulation.exit("a")
    simulation.advance(1.0)
    simulation.advance(9.0)
    simulation.ready("a")
    simulation.advance(1.0)
    assert "restart a 2 2" == simulation.exit("a")[-1]


# ---- too many ----------------------------------------------------------------------------------


def test_one_restart_too_many_ends_the_supervisor() -> None:
    simulation = started("a", max_restarts=0)
    assert ["gave up root", "down root", "finished exhausted a"] == simulation.exit("a")


def test_a_supervisor_that_gave_up_has_failed() -> None:
    simulation = started(group("s", "x", max_restarts=0))
    assert ["gave up s", "down s", "restart s 0.1 1"] == simulation.exit("s.x")


def test_a_supervisor_that_comes_back_has_forgotten_all_restarts() -> None:
    simulation = started(group("s", "x", max_restarts=1))
    for _ in range(2):
        simulation.exit("s.x")
        simulation.advance(0.1)
    assert simulation.exit("s.x")[-1].startswith("restart s.x")


def test_a_pool_has_a_budget_of_its_own() -> None:
    simulation = started(Pool("p", "module:function", count=2), max_restarts=0)
    assert "restart p.1 0.1 1" == simulation.exit("p.1")[-1]


def test_a_retry_comes_after_its_own_delay() -> None:
    simulation = started("a", max_restarts=0, on_exhausted=RetryAfter(5))
    assert "restart a 5 1" == simulation.exit("a")[-1]
    assert [] == simulation.advance(4.9)
    assert ["start a"] == simulation.advance(0.1)


def test_a_retry_forgets_all_restarts() -> None:
    simulation = started("a", max_restarts=1, on_exhausted=RetryAfter(5))
    for _ in range(2):
        simulation.exit("a")
        simulation.pass_time()
    assert not simulation.exit("a")[-1].startswith("restart a 5")


def test_who_is_given_up_stays_down() -> None:
    simulation = started(*"ab", max_restarts=0, on_exhausted="park")
    assert "gave up a" == simulation.exit("a")[-1]
    assert math.inf == simulation.plan.deadline()
    assert ["b"] == simulation.running()


def test_who_is_given_up_is_not_brought_back_by_a_sibling() -> None:
    simulation = started(*"ab", strategy="rest_for_one")
    simulation.exit("b", "protocol")
    simulation.exit("a")
    simulation.pass_time()
    assert ["a"] == simulation.running()


# ---- who has finished --------------------------------------------------------------------------


def test_the_end_of_a_significant_child_is_its_supervisors() -> None:
    simulation = started(child("a", restart="transient", significant=True), "b")
    simulation.exit("a", "normal")
    assert "finished well" == simulation.log[-1]


def test_the_last_significant_child_ends_its_supervisor() -> None:
    significant = [child(name, restart="transient", significant=True) for name in "ab"]
    simulation = started(*significant, auto_shutdown="all_significant")
    assert [] == simulation.exit("a", "normal")
    simulation.exit("b", "normal")
    assert "finished well" == simulation.log[-1]


def test_who_is_given_up_may_come_back_and_is_waited_for() -> None:
    significant = [child(name, restart="transient", significant=True) for name in "ab"]
    simulation = started(*significant, auto_shutdown="all_significant")
    simulation.exit("a", "protocol")
    assert [] == simulation.exit("b", "normal")


def test_a_supervisor_that_has_finished_does_not_come_back() -> None:
    significant = child("x", restart="transient", significant=True)
    simulation = started(Supervisor("s", children=[significant]), "a")
    assert ["down s"] == simulation.exit("s.x", "normal")


# ---- by hand -----------------------------------------------------------------------------------


def test_who_was_stopped_by_hand_is_not_brought_back_by_a_sibling() -> None:
    simulation = started(*"ab", strategy="one_for_all", slow_to_stop="b")
    end(simulation, "b")
    simulation.exit("a")
    simulation.gone("b")
    simulation.pass_time()
    assert ["a"] == simulation.running()


def test_who_was_stopped_by_hand_does_not_come_back_with_its_supervisor() -> None:
    simulation = started(group("s", "x", "y", max_restarts=0))
    end(simulation, "s.y")
    simulation.exit("s.x")
    simulation.pass_time()
    assert ["s.x"] == simulation.running()


def test_who_was_told_past_the_plan_has_not_failed() -> None:
    simulation = started("a")
    simulation.plan.leaving(simulation.place("a"))
    assert [] == simulation.exit("a")


def test_somebodys_start_that_fails_ends_nobody_else() -> None:
    simulation = started("a")
    place = simulation.plan.add(child("b"), simulation.plan.root)
    simulation.failing["b"] = 1
    simulation.plan.begin(place, simulation.now)
    assert ["start b", "fail b"] == simulation.settle()
    assert ["a"] == simulation.running()


def test_a_plan_without_children_is_up_at_once() -> None:
    plan = Plan(Supervisor(), lambda: 0.0)
    plan.start(0.0)
    assert 1 == len(plan.take())


# ---- what test_plan_machine.py found -----------------------------------------------------------


def begin(simulation: Simulation, name: str) -> list[str]:
    simulation.plan.begin(simulation.place(name), simulation.now)
    return simulation.settle()


def test_an_old_delay_starts_nobody_before_its_turn() -> None:
    children = [child("a"), child("b", backoff=Backoff(min=8))]
    simulation = started(Supervisor("s", children=children))
    simulation.exit("s.b")
    end(simulation, "s")
    simulation.slow_to_start.add("s.a")
    begin(simulation, "s")
    assert [] == simulation.advance(8.0)


def test_a_child_that_cannot_start_for_long_has_not_recovered() -> None:
    backoff = Backoff(min=1, max=100, jitter=0, reset_after=4)
    simulation = started(child("a", backoff=backoff), max_restarts=99)
    simulation.failing["a"] = 5
    simulation.exit("a")
    simulation.pass_time()
    delays = [line.split()[2] for line in simulation.log if line.startswith("restart")]
    assert "1 2 4 8 16 32".split() == delays


def test_a_restart_amid_the_first_start_forgets_no_temporary_child() -> None:
    children = [child("a"), child("b"), child("c", restart="temporary")]
    tree = Supervisor(strategy="rest_for_one", children=children)
    simulation = Simulation(tree, slow_to_start=["b"])
    simulation.start()
    simulation.slow_to_start.clear()
    simulation.exit("a")
    simulation.pass_time()
    assert ["a", "b", "c"] == simulation.running()
    assert "up root" == simulation.log[-1]


def test_who_was_not_started_yet_stays_down_with_who_is_given_up() -> None:
    children = [child("a"), child("b"), child("c", restart="temporary")]
    tree = Supervisor(strategy="rest_for_one", children=children)
    simulation = Simulation(tree, slow_to_start=["b"])
    simulation.start()
    simulation.exit("a", "protocol")
    simulation.pass_time()
    assert [] == simulation.running()


def test_a_failure_forgets_nobody_who_waits_before_it() -> None:
    simulation = started(*"abc", strategy="rest_for_one")
    end(simulation, "c")
    simulation.exit("a")
    begin(simulation, "c")
    simulation.exit("c")
    simulation.pass_time()
    assert ["a", "b", "c"] == simulation.running()


def test_who_is_given_up_and_still_stops_is_not_brought_back() -> None:
    simulation = started(*"abc", strategy="rest_for_one", slow_to_stop="c")
    simulation.exit("b", "protocol")
    simulation.exit("a")
    simulation.gone("c")
    simulation.pass_time()
    assert ["a"] == simulation.running()


def test_who_was_begun_while_others_stop_is_not_stopped_for_its_last_life() -> None:
    temporary = child("a", restart="temporary")
    simulation = started(temporary, "b", "c", strategy="one_for_all", slow_to_stop="c")
    simulation.exit("b")
    simulation.exit("a")
    begin(simulation, "a")
    simulation.gone("c")
    simulation.pass_time()
    assert ["a", "b", "c"] == simulation.running()


def test_a_sibling_does_not_make_somebodys_stop_forgotten() -> None:
    children = [child("a"), child("b", restart="temporary")]
    tree = Supervisor("s", strategy="one_for_all", children=children)
    simulation = started(tree, slow_to_stop="s.b")
    end(simulation, "s.b")
    simulation.exit("s.a")
    simulation.gone("s.b")
    end(simulation, "s")
    begin(simulation, "s")
    assert ["s.a"] == simulation.running()


def test_no_delay_stays_no_delay() -> None:
    assert 0 == Backoff(min=0).delay(2000, 0.5)


def test_somebodys_start_that_a_sibling_interrupts_still_ends_nobody_else() -> None:
    specs = [child("a"), child("b")]
    simulation = Simulation(
        Supervisor(strategy="rest_for_one", children=specs), slow_to_start=["b", "u"]
    )
    simulation.start()
    place = simulation.plan.add(child("u"), simulation.plan.root)
    begin(simulation, "u")
    simulation.exit("a")  # takes down b, whose first start lasts, and u
    simulation.advance(10.0)
    simulation.ready("b")
    simulation.fail("u")
    assert (["a", "b"], None) == (simulation.running(), simulation.outcome)
    assert place.absence is Absence.FAILED
