"""The registry, and what is generated from it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from actorcluster.wire import _generated
from actorcluster.wire._generated import (
    EOF,
    HANDLE_NAMES,
    KINDS,
    LIMIT_DEFAULTS,
    LIMIT_FLOORS,
    PRIMARY_AFTER_SENDING,
    PRIMARY_SENDS,
    PRIMARY_TABLE,
    REQUIREMENTS,
    UNKNOWN_KIND,
    WORKER_AFTER_SENDING,
    WORKER_SENDS,
    WORKER_TABLE,
    Action,
    HandleKind,
    Kind,
    State,
)

ROOT = Path(__file__).resolve().parents[2]
BUILT = {code for code, info in KINDS.items() if info.status == "built"}
TABLES = {"worker": WORKER_TABLE, "primary": PRIMARY_TABLE}
SENDS = {"worker": WORKER_SENDS, "primary": PRIMARY_SENDS}
AFTER_SENDING = {"worker": WORKER_AFTER_SENDING, "primary": PRIMARY_AFTER_SENDING}
PEER = {"worker": "primary", "primary": "worker"}


# ---- the generator ----------------------------------------------------------------------------


def generate(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "protocol" / "generate.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all that the generator reads and writes."""
    shutil.copytree(
        ROOT / "protocol",
        tmp_path / "protocol",
        ignore=shutil.ignore_patterns("vectors", "workers", "__pycache__"),
    )
    package = tmp_path / "actorcluster" / "wire"
    package.mkdir(parents=True)
    shutil.copy(_generated.__file__, package)  # of the package as it is installed
    for constants in ROOT.glob("examples/workers/**/awp_v1.*"):
        place = tmp_path / constants.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(constants, place)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} is in {path} {text.count(old)} times"
    path.write_text(text.replace(old, new))


def test_nothing_has_drifted(copy: Path) -> None:
    result = generate(copy, "--check")
    assert (0, "", "") == (result.returncode, result.stdout, result.stderr)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("actorcluster/wire/_generated.py", "TELL = 0x20", "TELL = 0x2A"),
        ("protocol/SPEC.md", "| 20 | TELL | both |", "| 20 | TELL | P>W |"),
        ("protocol/SPEC.md", "accept every way", "accept some ways"),
    ],
)
def test_a_generated_file_that_was_edited_is_found_and_mended(
    copy: Path, name: str, old: str, new: str
) -> None:
    before = (copy / name).read_text()
    edit(copy / name, old, new)
    result = generate(copy, "--check")
    assert (1, f"differs: {name}\n") == (result.returncode, result.stderr)
    assert 0 == generate(copy).returncode
    assert before == (copy / name).read_text()


def test_a_line_missing_in_the_lock_is_found(copy: Path) -> None:
    lock = copy / "protocol" / "registry.lock"
    edit(lock, "kind 32 TELL\n", "")
    assert 1 == generate(copy, "--check").returncode


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        ('code = 0x20\nname = "TELL"', 'code = 0x2A\nname = "TELL"', "kind 32 TELL"),
        ('code = 14\nname = "spoofed_sender"', 'code = 14\nname = "spoofed"', "abort 14 spoofed_"),
        ('[[error]]\nname = "expired"\n', '[[error]]\nname = "late"\n', "error - expired"),
        ('{ name = "upto", type = "u64" }, { name = "lost"', '{ name = "lost"', "env.HANDLE_ACK 1"),
    ],
    ids=["renumbered", "renamed", "removed", "envelope moved"],
)
@pytest.mark.parametrize("options", [["--check"], []], ids=["check", "write"])
def test_what_was_released_stays(
    copy: Path, old: str, new: str, lost: str, options: list[str]
) -> None:
    edit(copy / "protocol" / "awp.v1.toml", old, new)
    result = generate(copy, *options)
    assert 1 == result.returncode
    assert lost in result.stderr
    assert (ROOT / "protocol/registry.lock").read_text() == (
        copy / "protocol/registry.lock"
    ).read_text()


def test_what_is_new_is_appended_to_the_lock(copy: Path) -> None:
    edit(
        copy / "protocol" / "awp.v1.toml",
        "[[abort]]\ncode = 1\n",
        '[[abort]]\ncode = 16\nname = "tired"\ndoc = "needs a rest"\n[[abort]]\ncode = 1\n',
    )
    assert 1 == generate(copy, "--check").returncode
    assert 0 == generate(copy).returncode
    old = (ROOT / "protocol" / "registry.lock").read_text()
    assert old + "abort 16 tired\n" == (copy / "protocol" / "registry.lock").read_text()
    assert 0 == generate(copy, "--check").returncode


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("awp.v1.toml", "code = 0x21\n", "code = 0x20\n", "kind: 32 is used twice"),
        ("awp.v1.toml", 'STARTING = "READY ', 'STARTING = "STEADY ', "no built kind is called"),
        ("awp.v1.toml", 'STOP = "STOPPING"', 'STOP = "STOPPED"', "no state is called STOPPED"),
        ("SPEC.md", "* **[AWP-FR-7]**", "* **[AWP-FR-6]**", "SPEC.md states AWP-FR-6 twice"),
        ("SPEC.md", "* **[AWP-FR-7]**", "* see below:", "SPEC.md does not state AWP-FR-7"),
        ("SPEC.md", "(AWP-MS-1), and", "(AWP-MS-99), and", "the registry lacks AWP-MS-99"),
        ("SPEC.md", "<!-- begin kinds -->", "<!-- begin kids -->", "unknown part: kids"),
    ],
)
def test_a_contradiction_is_refused(
    copy: Path, name: str, old: str, new: str, complaint: str
) -> None:
    edit(copy / "protocol" / name, old, new)
    result = generate(copy)
    assert 1 == result.returncode
    assert complaint in result.stderr


@pytest.mark.parametrize(
    ("row", "new", "complaint"),
    [
        ("TELL", "", "receive.worker: row TELL is missing"),
        ("TELL", "abort deliver ignore", "receive.worker.TELL: 3 cells for 6 states"),
        ("TELL", "abort abort take take take ignore", "no action is called take"),
    ],
)
def test_a_hole_in_a_state_table_is_refused(copy: Path, row: str, new: str, complaint: str) -> None:
    path = copy / "protocol" / "awp.v1.toml"
    line = f'{row} = "{new}"' if new else ""
    path.write_text(re.sub(rf"(?m)^{row} +=.*$", line, path.read_text(), count=1))
    result = generate(copy)
    assert 1 == result.returncode
    assert complaint in result.stderr


# ---- what is generated ------------------------------------------------------------------------


def test_every_requirement_is_a_sentence_of_the_specification() -> None:
    text = " ".join((ROOT / "protocol" / "SPEC.md").read_text().split())
    assert [] == [
        requirement
        for requirement, sentence in REQUIREMENTS.items()
        if f"* **[{requirement}]** {sentence}" not in text
    ]


def test_every_kind_in_the_enum_is_registered() -> None:
    assert {kind.value: kind.name for kind in Kind} == {
        code: info.name for code, info in KINDS.items()
    }


def test_handle_names_cover_the_handle_kinds() -> None:
    assert {kind.value: kind.name for kind in HandleKind} == {
        code: name.upper().replace("-", "_") for code, name in HANDLE_NAMES.items()
    }


def test_defaults_are_not_below_the_floors() -> None:
    assert list(LIMIT_DEFAULTS) == list(LIMIT_FLOORS)
    assert all(LIMIT_DEFAULTS[name] >= floor for name, floor in LIMIT_FLOORS.items())


@pytest.mark.parametrize("role", ["worker", "primary"])
def test_every_cell_is_filled(role: str) -> None:
    rows = BUILT | {UNKNOWN_KIND, EOF}
    assert dict.fromkeys(State, rows) == {state: set(row) for state, row in TABLES[role].items()}
    assert set(State) == set(SENDS[role])


@pytest.mark.parametrize("role", ["worker", "primary"])
def test_a_cell_that_aborts_closes_and_a_closed_connection_stays_closed(role: str) -> None:
    for state, row in TABLES[role].items():
        for action, after in row.values():
            if action is Action.ABORT or state is State.CLOSED:
                assert State.CLOSED is after
            if action in (Action.IGNORE, Action.REFUSE):
                assert state is after
            assert list(State).index(after) >= list(State).index(state)


@pytest.mark.parametrize("role", ["worker", "primary"])
def test_each_side_may_send_exactly_the_kinds_of_its_direction(role: str) -> None:
    directions = {"both", "W>P" if role == "worker" else "P>W"}
    mine = {code for code in BUILT if KINDS[code].direction in directions}
    assert mine == set().union(*SENDS[role].values())
    assert set(AFTER_SENDING[role]) <= mine


@pytest.mark.parametrize("role", ["worker", "primary"])
def test_a_kind_of_the_other_direction_always_aborts(role: str) -> None:
    direction = "W>P" if role == "worker" else "P>W"
    for state in set(State) - {State.CLOSED}:
        for code in BUILT:
            if KINDS[code].direction == direction:
                assert Action.ABORT is TABLES[role][state][code][0], (state, KINDS[code].name)


# ---- two peers that follow the tables never abort each other ----------------------------------

#: An urgent frame may overtake frames in its sender's queue, but not these (AWP-MS-4).
BARRIERS = {Kind.HELLO, Kind.WELCOME, Kind.READY}
#: Sent at most once, before anything else.
FIRST = {"worker": Kind.HELLO, "primary": Kind.WELCOME}
MOVERS = {Kind.HELLO, Kind.WELCOME, Kind.READY, Kind.STOP, Kind.GOODBYE, Kind.ABORT}
DEPTH = 3


@attrs.frozen
class Side:
    """One side: its state, what it has sent and the other side has not received."""

    state: State = State.HANDSHAKE
    queue: tuple[int, ...] = ()
    introduced: bool = False
    ended: bool = False
    met: bool = False

    def send(self, role: str, kind: int, at: int) -> Side:
        after = AFTER_SENDING[role].get(kind, self.state)
        queue = (*self.queue[:at], kind, *self.queue[at:])
        introduced = self.introduced or kind == FIRST[role]
        return attrs.evolve(
            self, state=after, queue=queue, introduced=introduced, ended=kind == EOF
        )


def sendable(side: Side, role: str, probe: int) -> Iterator[tuple[int, int]]:
    """(kind, position in the queue) of what a side may send now: movers, ends, and the probe."""
    if side.ended or len(side.queue) >= DEPTH:
        return
    end = len(side.queue)
    if side.state in (State.CLOSING, State.CLOSED):
        yield EOF, end
    for kind in SENDS[role][side.state]:
        if not side.introduced and kind not in {FIRST[role], Kind.ABORT}:
            continue
        if side.introduced and kind == FIRST[role]:
            continue
        if kind == probe and KINDS[kind].urgent:
            # All but PING answer something that came after READY.
            if kind == Kind.PING or side.met or role == "worker":
                barriers = [at + 1 for at, queued in enumerate(side.queue) if queued in BARRIERS]
                yield from ((kind, at) for at in range(max(barriers, default=0), end + 1))
        elif kind == probe or kind in MOVERS:
            yield kind, end


def violations(probe: int) -> set[tuple[str, State, int]]:
    """All cells that abort although both sides follow the rules; one probe is under way at most."""
    start = (Side(), Side())
    seen, todo, found = {start}, [start], set()
    roles = ("worker", "primary")
    while todo:
        sides = todo.pop()
        following: list[tuple[Side, Side]] = []
        probing = any(probe in side.queue for side in sides) and probe not in MOVERS
        for index, role in enumerate(roles):
            side, peer = sides[index], sides[1 - index]
            moves = [
                (side.send(role, kind, at), peer)
                for kind, at in sendable(side, role, probe)
                if not (probing and kind == probe)
            ]
            if peer.queue:
                kind, *rest = peer.queue
                action, after = TABLES[role][side.state][kind]
                if action is Action.ABORT:
                    found.add((role, side.state, kind))
                met = side.met or kind == Kind.READY
                moves.append(
                    (attrs.evolve(side, state=after, met=met), attrs.evolve(peer, queue=(*rest,)))
                )
            following += [move if index == 0 else (move[1], move[0]) for move in moves]
        for one in following:
            if one not in seen:
                seen.add(one)
                todo.append(one)
    return found


@pytest.mark.parametrize("probe", sorted(BUILT - {Kind.WELCOME, Kind.READY, Kind.STOP, Kind.ABORT}))
def test_no_frame_that_may_be_sent_ever_aborts(probe: int) -> None:
    assert set() == violations(probe)


def test_the_search_reaches_every_state() -> None:
    """A frame that only a broken worker sends is found where it hurts."""
    broken = {**PRIMARY_TABLE[State.STOPPING], Kind.READY: (Action.ABORT, State.CLOSED)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TABLES, "primary", {**PRIMARY_TABLE, State.STOPPING: broken})
        assert {("primary", State.STOPPING, Kind.READY)} == violations(Kind.TELL)
