"""Who gives up before it was ever up."""

from __future__ import annotations

from actorcluster import Backoff, Child, Supervisor
from tests.supervision.simulation import Simulation
from tests.supervision.transcript import TARGET


def test_it_waits_for_its_own_delay_and_holds_up_nobody_behind_it() -> None:
    inner = Supervisor("s", max_restarts=0, children=[Child("x", TARGET), Child("y", TARGET)])
    first = Child("e", TARGET, backoff=Backoff(min=1, jitter=0))
    simulation = Simulation(
        Supervisor(children=[first, inner, Child("z", TARGET)]), slow_to_start=["s.y"]
    )
    simulation.start()
    simulation.exit("e")
    simulation.advance(0.95)
    assert ["gave up s", "stop s.y", "down s", "restart s 0.1 1", "start z"] == simulation.exit(
        "s.x"
    )
    assert ["start e"] == simulation.advance(0.06)
    assert ["start s.x", "start s.y"] == simulation.advance(0.1)
