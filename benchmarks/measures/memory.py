"""Memory of a worker that has answered one message and waits for more.

The figure is PSS, which divides what processes share among those that share it. The helpers that a
side needs beside its workers and its primary, such as a fork server, are reported beside it, and
have a row of their own in which each worker bears its part of them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from typing import Final

from benchmarks import procfs
from benchmarks.measures.peers import ANY_NODE, FLOOR, OURS, PIPE, TRIO, Peer
from benchmarks.model import Mark, Result, Row, Scale, Side, check
from benchmarks.process import command, program

__all__ = ["rows"]

_PEERS: Final = (ANY_NODE, PIPE, TRIO, FLOOR)
_WORKERS: Final = 8
_MIB: Final = 1024 * 1024


def rows(scale: Scale) -> list[Row]:
    """Give two rows for each peer: workers alone, and with their part of the helpers."""
    if scale.quick:
        return [_row(peer, with_helpers=False) for peer in _PEERS]
    return [_row(peer, with_helpers=each) for each in (False, True) for peer in _PEERS]


def _row(peer: Peer, *, with_helpers: bool) -> Row:
    def side(one: Peer) -> Side:
        file = one.file("memory")
        arguments = {"workers": _WORKERS}
        run = functools.partial(_run, file, arguments, with_helpers)
        return Side(who=one.who, files=(file,), arguments=arguments, needs=one.needs, run=run)

    is_marked = peer.name == ANY_NODE.name and not with_helpers
    return Row(
        name=f"memory-{'all-' if with_helpers else ''}{peer.name}",
        measure="memory",
        title="memory of a worker" + (", its part of the helpers included" if with_helpers else ""),
        unit="bytes",
        ours=side(OURS),
        peer=side(peer),
        mark=Mark(bound=0.6, at_least=False) if is_marked else None,
        remark=_helpers,
    )


def _run(file: str, arguments: dict[str, int], with_helpers: bool, scale: Scale) -> Result:
    with program(command(file, arguments)) as started:
        workers = started.says()["workers"]
        time.sleep(scale.seconds)  # whatever is still being tidied up
        all_of_them = procfs.descendants(started.pid)
        helpers = [pid for pid in all_of_them if pid not in workers]
        pss = [procfs.pss(pid) for pid in workers]
        helpers_pss = [procfs.pss(pid) for pid in helpers]
        started.tell()
        result = started.says()
        started.ends()
    check({**result, "seconds": scale.seconds})
    value = (sum(pss) + with_helpers * sum(helpers_pss)) / len(workers)
    return {**result, "pss": pss, "helpers": helpers_pss, "value": value}


def _helpers(results: Sequence[Result]) -> str:
    helpers = results[0]["helpers"]
    if not helpers:
        return ""
    return f"{len(helpers)} helpers, {sum(helpers) / _MIB:.1f} MiB"
