"""The results as people read them: lines for a terminal, a page for docs/."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from benchmarks.measures.peers import FLOOR, TRIO
from benchmarks.model import AT_LEAST

__all__ = ["amount", "page", "programs", "verdict", "written"]

_HEAD: Final = """\
# Benchmarks

Written by `python -m benchmarks`, not by hand; [raw.json](benchmarks/raw.json) has every figure of
every run of every program. What counts are the ratios: each is that of two programs that ran one
right after the other, one run of ours at times between those of two peers. The figures themselves
belong to the machine and the hour.
"""

_HOW: Final = """\
## How it is measured

Each side is a short program in [benchmarks/programs](../benchmarks/programs): a primary, and the
workers that it starts. Ours use the public API as the tutorial shows it, with credit and
acknowledgements, as always. Both sides of a pair send the same bodies, and look at every one they
receive: they add up its number and its length. That all have arrived is checked, and so is the sum.
Messages to Node with JSON carry text, all others bytes. Of Node's ways to send, the fastest of
those that were tried is used: bursts, each of which waits for its last message to be written. In
rows that say so each send is awaited, as it is in our programs. Targets are for both.
pyzmq, bare Trio and the floor encode with msgpack, as we do. `multiprocessing` and pyzmq know no
tasks: with 64 questions in flight, one thread sends all of them ahead.
"""

_LIMIT: Final = """\
The last columns are ratios to the same other side as well, from the rows of both. Bare Trio is what
Trio and msgpack reach as one would use them, with no protocol round them: no credit, no
acknowledgement, nobody who may be cancelled or killed. The floor is the least that is possible: for
small messages only what a program sees of ours is left, an `await` for each that can be cancelled,
one in 64 that lets others run, and an object for each that was received; for long messages and open
sockets nothing but msgpack and blocking calls; for starts and memory a process that has imported
Trio and forks, and a child that runs Trio and speaks. Where the floor misses a target too, no
library of this kind can meet it on that machine.
"""

_TITLES: Final = {
    "oneway": "One-way messages",
    "roundtrip": "Questions and answers",
    "handles": "Open sockets in messages",
    "connections": "Connections to a shared port",
    "start": "Starting a worker",
    "memory": "Memory of a worker",
    "kill": "Replacing a killed worker",
    "restarts": "Restarting what failed",
}
_COLUMNS: Final = ("", "against", "ours", "theirs", "ratio", "min to max", "target", "")


def amount(value: float, unit: str) -> str:
    """Write a figure with its unit."""
    if unit == "bytes":
        return f"{value / 1024 / 1024:.1f} MiB"
    if unit == "/s":
        return f"{value:,.0f}/s"
    return f"{value * 1000:.1f} ms" if value >= 0.001 else f"{value * 1e6:.0f} µs"


def verdict(row: Mapping[str, Any]) -> str:
    """Say whether the target of a row is met; nothing if it has none."""
    return {True: "met", False: "missed", None: ""}[row["met"]]


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        row["title"],
        row["peer"]["who"],
        *(
            ", ".join(filter(None, [amount(row[side]["median"], row["unit"]), row[side]["remark"]]))
            for side in ("ours", "peer")
        ),
        f"{row['median']:.2f}",
        f"{row['min']:.2f} to {row['max']:.2f}",
        row["mark"] or "",
        verdict(row),
    )


def written(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lay out the rows for a terminal."""
    cells = [_COLUMNS, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    marked = [row for row in rows if row["met"] is not None]
    return [*lines, f"{sum(row['met'] for row in marked)} of {len(marked)} targets met"]


def programs(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say for a terminal which programs were run, what they were given, what they counted."""
    return [
        f"{row['name']}: " + " against ".join(_program(row[side]) for side in ("ours", "peer"))
        for row in rows
    ]


def _program(side: Mapping[str, Any]) -> str:
    given = [f"{name}={value}" for name, value in side["arguments"].items()]
    return " ".join([*side["files"], *given, f"({side['count']:,})"])


def page(raw: Mapping[str, Any]) -> str:
    """Write the page of docs/ from what was kept of a run."""
    rows: Sequence[Mapping[str, Any]] = raw["rows"]
    parts = [_HEAD, *_facts(raw), _HOW, *_summary(rows)]
    for measure, group in itertools.groupby(rows, key=lambda row: row["measure"]):
        parts += [f"## {_TITLES[measure]}\n", *_measure([*group])]
    for title, why in (("Left out", raw["left_out"]), ("Failed", raw["failed"])):
        if why:
            parts += [f"## {title}\n", *_list(why)]
    return "\n".join(parts)


def _facts(raw: Mapping[str, Any]) -> Iterator[str]:
    machine, scale = raw["machine"], raw["scale"]
    commit = f", commit {machine['commit']}" if machine["commit"] else ""
    gib = machine["memory_bytes"] / 1024**3
    versions = ", ".join(f"{name} {version}" for name, version in raw["versions"].items())
    yield "## The run\n"
    yield f"- {machine['cpu']}, {machine['cores']} cores, {gib:.1f} GiB, {machine['kernel']}"
    yield f"- load of the machine when it began: {machine['load']:.2f}"
    yield f"- {versions}{commit}"
    yield (
        f"- {scale['pairs']} pairs of each row, in turns ours and the other side first; each side"
        f" measures {scale['seconds']:g} s, after {scale['warmup']:g} s that are discarded"
    )
    yield f"- began {raw['began']}, took {raw['took'] / 60:.0f} minutes\n"


def _summary(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    marked = [row for row in rows if row["met"] is not None]
    yield "## Targets\n"
    yield f"{sum(row['met'] for row in marked)} of {len(marked)} targets are met.\n"
    yield "![ratios and targets](benchmarks/ratios.svg)\n"
    yield _LIMIT
    limits = {peer.who: [_limit(row, rows, peer.who) for row in marked] for peer in (TRIO, FLOOR)}
    yield from _table(marked, limits)
    yield ""


def _limit(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], who: str) -> str:
    """Where somebody else's program stands against the other side of a row."""
    twins = (
        other["median"]
        for other in rows
        if other["title"] == row["title"] and other["peer"]["who"] == who
    )
    ours = next(twins, None)
    if ours is None:
        return ""
    ratio = row["median"] / ours
    at_least = row["mark"].startswith(AT_LEAST)
    met = ratio >= row["bound"] if at_least else ratio <= row["bound"]
    return f"{ratio:.2f}, {'met' if met else 'missed'}"


def _measure(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield from _table(rows)
    yield "\n| programs | arguments | counted |\n|---|---|---|"
    for row in rows:
        for side in row["ours"], row["peer"]:
            files = ", ".join(f"[{name}](../benchmarks/programs/{name})" for name in side["files"])
            given = " ".join(f"{name}={value}" for name, value in side["arguments"].items())
            yield f"| {files} | {given and f'`{given}`'} | {side['count']:,} |"
    yield ""


def _table(
    rows: Sequence[Mapping[str, Any]], more: Mapping[str, Sequence[str]] | None = None
) -> Iterator[str]:
    """Lay out the rows for the page, with more columns: their names and cells."""
    more = more or {}
    yield "| " + " | ".join([*_COLUMNS, *more]) + " |"
    yield "|---|---|--:|--:|--:|--:|---|---|" + "--:|" * len(more)
    for number, row in enumerate(rows):
        cells = [*_cells(row), *(column[number] for column in more.values())]
        yield "| " + " | ".join(cells) + " |"


def _list(why: Mapping[str, str]) -> Iterator[str]:
    for name, text in why.items():
        yield f"- {name}: {text.splitlines()[0]}"
    yield ""
