"""How often in a second what ends as soon as it runs is started again: a process, a task."""

from __future__ import annotations

from benchmarks.measures.peers import ANY_NODE, ERLANG, FLOOR, Peer, sides
from benchmarks.model import Mark, Result, Row, Scale, check

__all__ = ["rows"]


def rows(scale: Scale) -> list[Row]:
    """Give the rows of each kind."""
    return [_processes(ANY_NODE), _processes(FLOOR), _tasks(ERLANG), _tasks(FLOOR)]


def _processes(peer: Peer) -> Row:
    ours, theirs = sides("restarts", peer, {}, _judge)
    return Row(
        name=f"restarts-{'node' if peer is ANY_NODE else 'process-' + peer.name}",
        measure="restarts",
        title="restarts of a process that exits at once",
        unit="/s",
        ours=ours,
        peer=theirs,
        mark=Mark(bound=10, at_least=True) if peer is ANY_NODE else None,
    )


def _tasks(peer: Peer) -> Row:
    ours, theirs = sides("taskrestarts", peer, {}, _judge)
    return Row(
        name=f"restarts-{'erlang' if peer is ERLANG else 'task-' + peer.name}",
        measure="restarts",
        title="restarts of a task that crashes at once, of one supervisor",
        unit="/s",
        ours=ours,
        peer=theirs,
        mark=Mark(bound=3, at_least=True) if peer is ERLANG else None,
    )


def _judge(result: Result, scale: Scale) -> float:
    check(result, least=scale.seconds)
    rate: float = result["received"] / result["seconds"]
    return rate
