"""Scripts of what happens to a tree and what follows, as text that is compared as a whole.

One line is one step: what a test does, an arrow, and all that follows before time passes::

    start        -> start a, start b, up root
    exit a error -> restart a 0.1 1
    wait 0.1     -> start a

What follows are the lines of `Simulation.log`. A line that begins with an arrow goes on with the
line above; one that begins with ``#`` says why.

Steps beside those of `Simulation` (``start stop exit ready fail gone``)::

    wait SECONDS, pass       time passes: so many seconds; until nothing waits for it any more
    begin, end, leaving, delete NAME
    add NAME [RESTART]       a child is added; refusals read "refused TEXT"
    slow, sticky NAME        from now on it is ready, or gone, only when a step says so
    brisk NAME               no longer
    failing NAME COUNT       so many of its next starts fail
    who                      who is up
    why NAME                 its phase, and why it is down
    reload NAME [SURGE UNAVAILABLE], scale NAME COUNT, recycle NAME
    slow-code                from now on new code is there only when a step says so
    prepared [FAILS], succeed, flop, left NAME
    cancel                   nobody waits any more for the job that was asked for last
    size NAME                how many slots there are
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from actorcluster._cluster.jobs import Reload, Scale, count_of, units_of
from actorcluster._cluster.places import Group, Phase
from actorcluster._cluster.tree import Backoff, Child, Pool, Supervisor
from tests.supervision.simulation import Simulation

__all__ = [
    "STEADY",
    "Case",
    "child",
    "play",
    "pool",
    "steps",
    "supervisor",
    "temporary",
    "transient",
    "words",
]

#: Every delay is one second, so that a script can be read.
STEADY = Backoff(min=1.0, max=1.0, jitter=0.0)

TARGET = "package.module:function"


# ---- short words for trees --------------------------------------------------------------------


def child(name: str, **options: Any) -> Child:
    return Child(name, TARGET, **{"backoff": STEADY, **options})


def transient(name: str, **options: Any) -> Child:
    return child(name, restart="transient", **options)


def temporary(name: str, **options: Any) -> Child:
    return child(name, restart="temporary", **options)


def pool(name: str, count: int, **options: Any) -> Pool:
    return Pool(name, TARGET, count=count, **{"backoff": STEADY, **options})


def supervisor(strategy: Any, *children: Any, name: str = "root", **options: Any) -> Supervisor:
    """A name alone is a permanent child."""
    specs = [child(spec) if isinstance(spec, str) else spec for spec in children]
    return Supervisor(name, strategy=strategy, children=specs, **options)


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# ---- cases ------------------------------------------------------------------------------------


@attrs.frozen
class Case:
    """A tree, a script, and the rules it shows, if it shows any.

    Attributes:
        name: unique; the id of the test.
        tree: what runs.
        script: see above.
        rules: ids of `tests.supervision.rules`.
        chance: of every jitter.
    """

    name: str
    tree: Supervisor
    script: str
    rules: tuple[str, ...] = attrs.field(default="", converter=words)
    chance: float = 0.0

    @property
    def expected(self) -> list[str]:
        return steps(self.script)

    def played(self) -> list[str]:
        return play(self.tree, self.script, chance=self.chance)


def steps(script: str) -> list[str]:
    """The script as one string a step, without comments."""
    found: list[str] = []
    for line in script.splitlines():
        words = " ".join(line.split())
        if words.startswith("->"):
            found[-1] += words.removeprefix("->")
        elif words and not words.startswith("#"):
            found.append(words)
    return found


def play(tree: Supervisor, script: str, *, chance: float = 0.0) -> list[str]:
    """Do what a script says; gives the script as it should read."""
    simulation = Simulation(tree, chance=lambda: chance)
    return [_step(simulation, line) for line in steps(script)]


def _step(simulation: Simulation, line: str) -> str:
    step = line.partition("->")[0].strip()
    verb, *words = step.split()
    followed = _VERBS[verb](simulation, *words)
    # Without an arrow nobody cares what follows, and then nothing may.
    return f"{step} -> {', '.join(followed)}".strip() if followed or "->" in line else step


# ---- steps ------------------------------------------------------------------------------------


def _wait(simulation: Simulation, seconds: str) -> list[str]:
    return simulation.advance(float(seconds))


def _managed(act: Callable[[Simulation, str], object]) -> Callable[[Simulation, str], list[str]]:
    """A call that may be refused."""

    def do(simulation: Simulation, *words: str) -> list[str]:
        try:
            act(simulation, *words)
        except ValueError as refusal:
            return [f"refused {refusal}"]
        return simulation.settle()

    return do


def _add(simulation: Simulation, name: str, restart: Any = "permanent") -> None:
    above, _, own = name.rpartition(".")
    group = simulation.place(above or "root")
    assert isinstance(group, Group)
    simulation.plan.add(child(own, restart=restart), group)


def _prepare(simulation: Simulation, name: str, slow: bool, sticky: bool) -> list[str]:
    """From now on; what is left out stays as it was."""
    if slow:
        simulation.slow_to_start.add(name)
    if sticky:
        simulation.slow_to_stop.add(name)
    return []


def _brisk(simulation: Simulation, name: str) -> list[str]:
    simulation.slow_to_start.discard(name)
    simulation.slow_to_stop.discard(name)
    return []


def _failing(simulation: Simulation, name: str, count: str) -> list[str]:
    simulation.failing[name] = int(count)
    return []


def _reload(
    simulation: Simulation, name: str, max_surge: str = "1", max_unavailable: str = "0"
) -> list[str]:
    job = Reload(
        units=deque(units_of(simulation.place(name))),
        max_surge=int(max_surge),
        max_unavailable=int(max_unavailable),
    )
    simulation.asked = job
    return simulation.ask(job)


def _scale(simulation: Simulation, name: str, count: str) -> list[str]:
    pool = simulation.place(name)
    assert isinstance(pool, Group)
    simulation.asked = Scale(pool=pool, count=int(count))
    return simulation.ask(simulation.asked)


def _cancel(simulation: Simulation) -> list[str]:
    assert simulation.asked is not None
    simulation.rollouts.cancel(simulation.asked)
    return simulation.settle()


def _slow_code(simulation: Simulation) -> list[str]:
    simulation.is_slow_to_prepare = True
    return []


def _prepared(simulation: Simulation, fails: str = "") -> list[str]:
    return simulation.prepared(RuntimeError(fails) if fails else None)


def _size(simulation: Simulation, name: str) -> list[str]:
    pool = simulation.place(name)
    assert isinstance(pool, Group)
    assert count_of(pool) == len(pool.children)
    return list(pool.children)


def _why(simulation: Simulation, name: str) -> list[str]:
    place = simulation.place(name)
    if place.phase is Phase.DOWN:
        return [place.absence.name.lower()]
    return [place.phase.name.lower()]


_VERBS: dict[str, Callable[..., list[str]]] = {
    "start": Simulation.start,
    "stop": Simulation.stop,
    "exit": Simulation.exit,
    "ready": Simulation.ready,
    "fail": Simulation.fail,
    "gone": Simulation.gone,
    "wait": _wait,
    "pass": Simulation.pass_time,
    "begin": _managed(lambda sim, name: sim.plan.begin(sim.place(name), sim.now)),
    "end": _managed(lambda sim, name: sim.plan.end(sim.place(name), sim.now)),
    "leaving": _managed(lambda sim, name: sim.plan.leaving(sim.place(name))),
    "delete": _managed(lambda sim, name: sim.plan.delete(sim.place(name))),
    "add": _managed(_add),
    "slow": lambda sim, name: _prepare(sim, name, slow=True, sticky=False),
    "sticky": lambda sim, name: _prepare(sim, name, slow=False, sticky=True),
    "brisk": _brisk,
    "failing": _failing,
    "who": Simulation.running,
    "why": _why,
    "reload": _reload,
    "scale": _scale,
    "recycle": Simulation.recycle,
    "cancel": _cancel,
    "slow-code": _slow_code,
    "prepared": _prepared,
    "succeed": Simulation.succeed,
    "flop": Simulation.flop,
    "left": Simulation.left,
    "size": _size,
}
