"""Random scenarios, each the same for its seed, and smaller ones with the same fault.

What the generator knows of the workers is just enough to tell what can be asked of whom. Steps
whose outcome is a race in Node itself are not made: who reads what was sent in the moment in which
somebody dies is nobody's promise.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator

import attrs

from .scenarios import Scenario, Step

__all__ = ["scenario_of", "shrunk"]

_MOST_WORKERS = 4


def scenario_of(seed: int) -> Scenario:
    """Give the scenario of a seed."""
    dice = random.Random(seed)
    steps = _Script(dice).steps(dice.randint(4, 12))
    return Scenario(f"seed-{seed}", tuple(steps), dice.choice(["rr", "rr", "none"]))


class _Script:
    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.alive: list[int] = []
        self.listening: list[int] = []
        self.held: list[str] = []
        self.forked = 0
        self.letters = iter(string.ascii_lowercase)

    def steps(self, count: int) -> Iterator[Step]:
        for _ in range(count):
            choices = [make for weight, make in self._choices() for _ in range(weight)]
            yield from self.dice.choice(choices)()
        # A worker that waits for its connections would wait without end.
        for letter in self.held:
            yield Step("drop", client=letter)

    def _choices(self) -> Iterator[tuple[int, Callable[[], Iterator[Step]]]]:
        if self.forked < _MOST_WORKERS:
            yield 3 if self.alive else 8, self._fork
            yield 1, self._fork_and_send
        if self.forked:
            yield 2, self._look
        if self.alive:
            yield 3, self._mail
            yield 3, self._end
            if len(self.listening) < len(self.alive):
                yield 4, self._listen
        if self.listening:
            yield 4, self._connect
            yield 2, self._hold
            yield 1, self._drain
        if self.forked > len(self.alive):
            yield 1, self._send_to_the_dead

    def _fork(self) -> Iterator[Step]:
        self.forked += 1
        self.alive.append(self.forked)
        colour = self.dice.choice([None, None, "blue"])
        if colour is None and self.dice.random() < 0.2:
            yield Step("setup", value=self.dice.choice(["one", "two"]))
        yield Step("fork", worker=self.forked, value=colour)

    def _fork_and_send(self) -> Iterator[Step]:
        self.forked += 1
        self.alive.append(self.forked)
        yield Step("fork", worker=self.forked, on=True)
        yield Step("send", worker=self.forked, value="early")

    def _look(self) -> Iterator[Step]:
        yield Step("look", worker=self.dice.randint(1, self.forked))

    def _mail(self) -> Iterator[Step]:
        worker, does = self.dice.choice(self.alive), self.dice.choice(["send", "tell"])
        many = self.dice.randint(1, 4)
        for number in range(many):
            yield Step(does, worker=worker, value=f"m{number}", on=number < many - 1)

    def _listen(self) -> Iterator[Step]:
        worker = self.dice.choice([one for one in self.alive if one not in self.listening])
        if self.dice.random() < 0.15:
            yield Step("listen", worker=worker, value="taken")
            return
        self.listening.append(worker)
        yield Step("listen", worker=worker, value="tcp")

    def _connect(self) -> Iterator[Step]:
        for _ in range(self.dice.randint(1, 3)):
            if letter := next(self.letters, None):
                yield Step("connect", client=letter)

    def _hold(self) -> Iterator[Step]:
        if letter := next(self.letters, None):
            self.held.append(letter)
            yield Step("hold", client=letter)

    def _drain(self) -> Iterator[Step]:
        """Nobody is left who listens, whoever serves the connections that are held."""
        workers, self.listening = self.listening, []
        for worker in workers:
            self.alive.remove(worker)
            yield Step("disconnect", worker=worker, on=True)
        yield Step("look", worker=workers[0])
        for letter in self.held:
            yield Step("drop", client=letter)
        self.held = []

    def _end(self) -> Iterator[Step]:
        worker = self.dice.choice(self.alive)
        ways = [
            Step("kill", worker=worker, value=self.dice.choice(["SIGKILL", "SIGTERM"])),
            Step("exit", worker=worker, value=self.dice.choice([0, 1, 42])),
            Step("throw", worker=worker),
            Step("quit", worker=worker),
        ]
        if not self.held:
            ways += [Step("disconnect", worker=worker), Step("leave", worker=worker)]
        self.alive.remove(worker)
        if worker in self.listening:
            self.listening.remove(worker)
        yield self.dice.choice(ways)

    def _send_to_the_dead(self) -> Iterator[Step]:
        dead = [one for one in range(1, self.forked + 1) if one not in self.alive]
        yield Step("send", worker=self.dice.choice(dead), value="late")


def shrunk(scenario: Scenario, fails: Callable[[Scenario], bool]) -> Scenario:
    """Leave out steps as long as it fails, one at a time, the last first."""
    index = len(scenario.steps) - 1
    while index >= 0:
        steps = scenario.steps[:index] + scenario.steps[index + 1 :]
        smaller = attrs.evolve(scenario, steps=steps)
        if _is_sound(smaller) and fails(smaller):
            scenario = smaller
        index -= 1
    return scenario


def _is_sound(scenario: Scenario) -> bool:
    """Whether each step is about somebody who is there."""
    workers: set[int | None] = {None}
    clients: set[str | None] = {None}
    listens = False
    for step in scenario.steps:
        match step.does:
            case "fork":
                workers.add(step.worker)
            case "listen":
                listens = True
            case "connect" | "hold" if listens:
                clients.add(step.client)
            case "pass":
                clients.add(step.client)
        if step.worker not in workers or step.client not in clients:
            return False
    return True
