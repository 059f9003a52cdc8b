"""Whom we are compared with, and how a plain pair of programs is run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from benchmarks import process
from benchmarks.model import Result, Scale, Side

__all__ = [
    "ANY_NODE",
    "ERLANG",
    "FLOOR",
    "FLOOR_BLOCKING",
    "NODE",
    "NODE_ADVANCED",
    "NODE_AWAITED",
    "OURS",
    "PEERS",
    "PIPE",
    "TRIO",
    "ZMQ",
    "Peer",
    "sides",
    "sum_to",
]


@attrs.frozen(kw_only=True)
class Peer:
    """Somebody whose programs are run.

    Attributes:
        name: short, for the names of rows.
        who: its name in tables.
        suffix: of its programs, after the name of what is measured.
        arguments: what tells its programs how to be this peer.
        takes_bytes: whether it carries bytes; JSON carries text only.
        needs: the programs or modules without which it cannot run.
    """

    name: str
    who: str
    suffix: str
    arguments: Mapping[str, object] = attrs.Factory(dict)
    takes_bytes: bool = True
    needs: tuple[str, ...] = ()

    def file(self, measure: str) -> str:
        """Give the name of its program."""
        return f"{measure}_{self.suffix}"


OURS: Final = Peer(name="ours", who="actorcluster", suffix="ours.py")
NODE: Final = Peer(
    name="node-json",
    who="Node cluster, json",
    suffix="node.js",
    arguments={"serialization": "json"},
    takes_bytes=False,
    needs=("node",),
)
NODE_AWAITED: Final = attrs.evolve(
    NODE,
    name="node-json-awaited",
    who="Node cluster, json, each send awaited",
    arguments={"serialization": "json", "chunk": 1},
)
ANY_NODE: Final = Peer(name="node", who="Node cluster", suffix="node.js", needs=("node",))
NODE_ADVANCED: Final = Peer(
    name="node-advanced",
    who="Node cluster, advanced",
    suffix="node.js",
    arguments={"serialization": "advanced"},
    needs=("node",),
)
ERLANG: Final = Peer(
    name="erlang", who="Erlang's supervisor", suffix="erlang.escript", needs=("escript",)
)
PIPE: Final = Peer(name="pipe", who="multiprocessing", suffix="pipe.py")
ZMQ: Final = Peer(name="zmq", who="pyzmq", suffix="zmq.py", needs=("zmq",))
TRIO: Final = Peer(name="trio", who="bare Trio", suffix="trio.py")
FLOOR: Final = Peer(name="floor", who="the floor", suffix="floor.py")
#: The same where what is long or rare goes, so that no loop of events is asked for.
FLOOR_BLOCKING: Final = attrs.evolve(FLOOR, suffix="blocking.py")

PEERS: Final = (NODE, NODE_ADVANCED, PIPE, ZMQ, TRIO, FLOOR)


def sum_to(count: int) -> int:
    """Add up the numbers of so many messages, which begin with 0."""
    return count * (count - 1) // 2


def sides(
    measure: str,
    peer: Peer,
    arguments: Mapping[str, object],
    judge: Callable[[Result, Scale], float],
) -> tuple[Side, Side]:
    """Make both sides of a row whose programs run by themselves and print one line.

    Args:
        measure: the first part of the names of the programs.
        peer: the other side.
        arguments: what both programs are given.
        judge: checks a result, and gives the figure of it.
    """

    def side(one: Peer) -> Side:
        file = one.file(measure)
        given = {**arguments, **one.arguments}
        run = functools.partial(_run, file, given, judge)
        return Side(who=one.who, files=(file,), arguments=given, needs=one.needs, run=run)

    return side(OURS), side(peer)


def _run(
    file: str,
    arguments: Mapping[str, object],
    judge: Callable[[Result, Scale], float],
    scale: Scale,
) -> Result:
    times = {"seconds": scale.seconds, "warmup": scale.warmup}
    result = process.run(file, {**arguments, **times})
    return {**result, "value": judge(result, scale)}
