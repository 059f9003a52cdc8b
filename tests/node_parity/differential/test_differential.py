"""The short form of ``python -m tests.node_parity.differential``; proof that it would notice."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.require import require

from .comparison import Result, compare, compared
from .generator import scenario_of, shrunk
from .running import Trace
from .scenarios import Scenario, parse, written


@require("node")
def test_only_what_is_meant_to_differ_does() -> None:
    result = compared([*written(), *map(scenario_of, range(20))])
    assert [] == [fault for _, fault in result.faults]
    assert [] == result.unused()


# ---- the comparison -------------------------------------------------------------------------

SCENARIO = parse("one", "fork 1; exit 1 3")
TRACE: Trace = {
    "primary about 1": [
        {"event": "fork", "state": "none", "flag": None},
        {"event": "online", "state": "online", "flag": None},
        {"event": "disconnect", "state": "disconnected", "flag": False},
        {"event": "exit", "state": "dead", "flag": False, "code": 3, "signal": None},
    ],
    "worker 1": [
        {"event": "started", "args": [], "extra": None},
        {"event": "message", "body": "a"},
        {"event": "message", "body": "b"},
    ],
    "client a": [{"event": "end", "text": "hello from 1"}],
}


def faults(ours: Trace, node: Trace = TRACE) -> list[str]:
    result = Result()
    compare(SCENARIO, node, ours, result)
    return [fault.splitlines()[1].strip() for _, fault in result.faults]


def altered(change: Callable[[Trace], Any]) -> Trace:
    trace = copy.deepcopy(TRACE)
    change(trace)
    return trace


SEEDED: dict[str, tuple[Callable[[Trace], Any], str]] = {
    "a swapped event": (
        lambda trace: trace["primary about 1"].insert(0, trace["primary about 1"].pop(1)),
        "primary about 1: Node has 'fork', ours 'online'",
    ),
    "a missing exit": (
        lambda trace: trace["primary about 1"].pop(),
        "primary about 1: Node has 'exit', ours nothing more",
    ),
    "an exit too many": (
        lambda trace: trace["primary about 1"].append(trace["primary about 1"][-1]),
        "primary about 1: Node has nothing more, ours 'exit'",
    ),
    "a wrong flag": (
        lambda trace: trace["primary about 1"][3].update(flag=True),
        "primary about 1: exit: Node's flag is False, ours True",
    ),
    "a wrong code": (
        lambda trace: trace["primary about 1"][3].update(code=1),
        "primary about 1: exit: Node's code is 3, ours 1",
    ),
    "messages in another order": (
        lambda trace: trace["worker 1"].append(trace["worker 1"].pop(1)),
        "worker 1: message: Node's body is 'a', ours 'b'",
    ),
    "another body": (
        lambda trace: trace["worker 1"][1].update(body="c"),
        "worker 1: message: Node's body is 'a', ours 'c'",
    ),
    "a client that nobody served": (
        lambda trace: trace.pop("client a"),
        "client a: Node has 'end', ours nothing more",
    ),
    "a field too many": (
        lambda trace: trace["client a"][0].update(late=True),
        "client a: end: Node's late is None, ours True",
    ),
}


@pytest.mark.parametrize("name", SEEDED)
def test_what_is_not_equal_is_reported(name: str) -> None:
    change, fault = SEEDED[name]
    assert [fault] == faults(altered(change))
    assert len(faults(TRACE, node=altered(change))) == 1


def test_both_ends_of_a_life_come_in_either_order() -> None:
    def swap(trace: Trace) -> None:
        trace["primary about 1"][2:] = reversed(trace["primary about 1"][2:])

    assert [] == faults(altered(swap)) == faults(TRACE, node=altered(swap))


def test_an_allowed_difference_is_counted_and_is_one_of_one_value_only() -> None:
    result = Result()
    line = {"event": "exit", "state": "dead", "flag": True, "code": 1, "signal": None}
    compare(
        SCENARIO, {"primary about 1": [line]}, {"primary about 1": [{**line, "code": 0}]}, result
    )
    assert [] == result.faults
    assert [1] == list(result.uses.values())
    compare(
        SCENARIO, {"primary about 1": [{**line, "code": 0}]}, {"primary about 1": [line]}, result
    )
    assert 1 == len(result.faults)


# ---- scenarios ------------------------------------------------------------------------------


def test_there_are_many_and_each_reads_as_it_is_written() -> None:
    scenarios = written()
    assert len({scenario.name for scenario in scenarios}) >= 40
    assert scenarios == [parse(one.name, str(one), one.policy) for one in scenarios]


@pytest.mark.parametrize(
    "text", ["jump 1", "fork", "fork x", "kill 1", "exit 1 SIGKILL", "look 1 2", "connect a b"]
)
def test_what_is_no_step(text: str) -> None:
    with pytest.raises(ValueError, match=text.rsplit(maxsplit=1)[-1]):
        parse("bad", text)


def test_a_seed_is_one_scenario() -> None:
    texts = [str(scenario_of(seed)) for seed in range(50)]
    assert texts == [str(scenario_of(seed)) for seed in range(50)]
    assert 50 == len(set(texts))
    does = {step.does for seed in range(200) for step in scenario_of(seed).steps}
    assert {"fork", "listen", "send", "disconnect", "kill", "exit", "leave", "hold"} <= does


def test_a_fault_is_shrunk_to_what_it_needs() -> None:
    scenario = parse("long", "fork 1; send 1 a; fork 2; listen 2 tcp; connect a; kill 1 SIGTERM")

    def fails(one: Scenario) -> bool:
        return any(step.does == "kill" for step in one.steps)

    assert "fork 1; kill 1 SIGTERM" == str(shrunk(scenario, fails))
