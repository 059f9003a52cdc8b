"""One rule holds the house together: a file imports only what stands above it in `ORDER`.

Everything is read from the source with `ast`, so imports inside functions count as well.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

import actorcluster

PACKAGE = Path(actorcluster.__file__).parent

# A new file is entered here, as high as it can stand and as low as it must.
ORDER = """
    _counted errors

    wire._generated wire.state wire.credit wire.fact wire.events wire.descriptors wire.holdings
    wire.fields wire.sendable wire.values wire.plain wire.runs wire.header wire.pieces wire.frames
    wire.fragments wire.batches wire.outbox wire.listener
    wire.session wire.flow wire.sending wire.letters wire.bulk wire.receiving wire.ports
    wire.monitors wire.handshake
    wire.life wire.dispatch wire.connection wire.__init__

    conform.diagnostic conform.material conform.options conform.claims conform.frames
    conform.shapes conform.books conform.watch conform.lane conform.line conform.transcript
    conform.forging conform.forge conform.orphans
    conform.process conform.things conform.case conform.ear conform.play conform.played
    conform.cases.transports conform.cases.bringup conform.cases.framing
    conform.cases.liveness conform.cases.calls conform.cases.shutdown conform.cases.vectors
    conform.cases.states conform.cases.channels conform.cases.messages conform.cases.settings
    conform.cases.bulk
    conform.cases.flow conform.cases.fragments conform.cases.values conform.cases.descriptors
    conform.cases.handles conform.cases.listening conform.cases.logs conform.cases.evolution
    conform.cases.lanes
    conform.cases.watched conform.cases.__init__
    conform.report conform.runner conform.coverage
    conform.primary.__init__ conform.primary.standin conform.primary.standins conform.primary.talk
    conform.primary.terms conform.primary.innocent conform.primary.lives conform.primary.subject
    conform.primary.stage conform.primary.case conform.primary.scene conform.primary.play
    conform.primary.cases.descriptors conform.primary.cases.duties
    conform.primary.cases.floods conform.primary.cases.framing
    conform.primary.cases.leaving conform.primary.cases.mail conform.primary.cases.opening
    conform.primary.cases.ports conform.primary.cases.tables conform.primary.cases.bulk
    conform.primary.cases.others
    conform.primary.cases.__init__ conform.primary.report
    conform.primary.bodies conform.primary.rules conform.primary.judge
    conform.primary.fuzz.__init__ conform.primary.fuzz.mutate conform.primary.fuzz.sentences
    conform.primary.fuzz.episode conform.primary.fuzz.figures conform.primary.fuzz.campaign
    conform.primary.runner
    conform.__init__

    _link.__init__ _link.filetable _link.kinds _link.head _link.staging _link.handles
    _link.fdsocket _link.carrier _link.nodelines _link.pairing _link.lane _link.memory
    _link.bulk _link.failure _link.parcel _link.pace
    _link.passes _link.allocator _link.writing _link.pipe _link.answering _link.waits _link.channel
    _link.held _link.introduction _link.adapter _link.tracing

    trace.__init__ trace.tracefile trace.masks trace.tap trace.lanes trace.carrier trace.store
    trace.recorder trace.reading trace.conversation trace.replay

    adapters.__init__ adapters.node_lines adapters.node_outbox adapters.node_queries
    adapters.node_session adapters.node_versions adapters.node_handles
    adapters.node_mail adapters.node_writing adapters.node_ipc adapters.node_child

    _worker.__init__ _worker.bootstrap _worker.words _worker.logquota _worker.journal
    _worker.loghandler _worker.deferred _worker.lastlines
    _worker.report _worker.exit
    _worker.oom _worker.memorykills _worker.settings _worker.sources _worker.imports
    _worker.targets _worker.targetchecks _worker.arguments _worker.message
    _worker.leftmail _worker.mailbox
    _worker.opened _worker.stopped _worker.inet _worker.lean _worker.accepting
    _worker.listeners _worker.listening _worker.listens
    _worker.buffers _worker.holes _worker.spared _worker.eventloop _worker.clone _worker.forkrequest
    _worker.user _worker.tee _worker.streams _worker.unixpath _worker.rendezvous _worker.process
    _worker.placing _worker.adopted
    _worker.pulse _worker.stack _worker.stackfile
    _worker.commands _worker.forkprocess _worker.forkserver
    _worker.forked _worker.template _worker.start _worker.ref _worker.monitor _worker.watches
    _worker.ladder _worker.moments
    _worker.latch _worker.peer _worker.life
    _worker.worker
    _worker.quota _worker.outgoing
    _worker.actorhome _worker.actor _worker.job _worker.tasklink
    _worker.taskhome _worker.whereabouts _worker.berth _worker.overseer
    _worker.tasklife
    _worker.runtime _worker.rehearsal _worker.draft _worker.__main__ adapters.node_worker

    run_wrapper.wishes run_wrapper.endings run_wrapper.child run_wrapper.life run_wrapper.__init__

    _cluster.__init__ _cluster.checks _cluster.toml _cluster.restarts _cluster.limits
    _cluster.listen _cluster.tree _cluster.places
    _cluster.ties _cluster.roster _cluster.jobs _cluster.progress _cluster.plan _cluster.rollout
    _cluster.events _cluster.supervision _cluster.options _cluster.balance
    _cluster.peeking
    _cluster.activation _cluster.bounds _cluster.binding _cluster.choosing
    _cluster.shares _cluster.overflow _cluster.peeks _cluster.dealing
    _cluster.ports _cluster.watching _cluster.passage _cluster.relay _cluster.liveness
    _cluster.seat
    _cluster.loopback _cluster.names _cluster.tasks
    _cluster.pins _cluster.seating
    _cluster.operations _cluster.rolling _cluster.forking _cluster.mailing _cluster.primary
    _cluster.tracing
    _cluster.open _cluster.run

    __init__
""".split()
RANK = {name: rank for rank, name in enumerate(ORDER)}

ROOMS = ("_link", "adapters", "_worker", "_cluster")
"""Private: their `__init__` files import nothing, so importing one file imports no other."""

DOORS = ("__main__", "cli", "testing")
"""They stand below everything and use `import actorcluster` as any user would."""

OPEN_TO_DOORS = (
    "__init__",
    "_counted",
    "conform.__init__",
    "run_wrapper.__init__",
    "trace.reading",
    "trace.replay",
)
"""What any user may import; and a word that everybody says."""

# What the type checker alone needs may stand below.
FOR_TYPES_ONLY = {
    ("conform.case", "conform.play"),  # what a case is given to play with
    ("conform.primary.case", "conform.primary.scene"),  # likewise
    ("_worker.ref", "_worker.monitor"),  # Ref.monitor
    ("_worker.report", "_worker.exit"),  # CrashReport.error
    ("_worker.template", "_worker.draft"),  # loads it by name, once it is to fork
    ("errors", "_worker.exit"),  # WorkerStartError.status and PeerClosed.status
    ("errors", "_worker.report"),  # WorkerStartError.report
    ("errors", "_worker.worker"),  # ReloadAborted.worker
}

PURE = [name for name in ORDER if name.startswith("wire.")] + [
    "_counted",
    "conform.diagnostic",
    "conform.claims",
    "conform.frames",
    "conform.shapes",
    "conform.books",
    "conform.watch",
    "conform.case",
    "conform.primary.talk",
    "conform.primary.terms",
    "conform.primary.case",
    "conform.primary.bodies",
    "conform.primary.rules",
    "conform.primary.judge",
    "_link.nodelines",
    "_link.pairing",
    "trace.tracefile",
    "trace.masks",
    "trace.tap",
    "trace.lanes",
    "trace.conversation",
    "adapters.node_lines",
    "adapters.node_outbox",
    "adapters.node_queries",
    "adapters.node_child",
    "adapters.node_session",
    "_worker.words",
    "_worker.logquota",
    "_worker.deferred",
    "_worker.lastlines",
    "_worker.report",
    "_worker.exit",
    "_worker.oom",
    "_worker.settings",
    "_worker.quota",
    "_worker.pulse",
    "_worker.stack",
    "_cluster.balance",
    "_cluster.peeking",
    "_cluster.bounds",
    "_cluster.checks",
    "_cluster.restarts",
    "_cluster.limits",
    "_cluster.listen",
    "_cluster.tree",
    "_cluster.places",
    "_cluster.ties",
    "_cluster.roster",
    "_cluster.jobs",
    "_cluster.progress",
    "_cluster.plan",
    "_cluster.rollout",
]
"""They decide or compute, with time and counts passed in."""

# Neither waits, nor asks what time it is, nor talks to anybody.
IMPURE = frozenset(
    "asyncio concurrent logging multiprocessing random select selectors socket ssl subprocess"
    " threading time trio".split()
)
# Beyond that the bytes know no operating system.
IMPURE_FOR_WIRE = IMPURE | {"ctypes", "fcntl", "io", "os", "pathlib", "signal", "sys", "tempfile"}

LIBRARIES = {"attrs", "msgpack", "trio"} | sys.stdlib_module_names
LIBRARIES_OF_DOORS = LIBRARIES | {"click"}

LONGEST_FILE = 500
LONGEST_FUNCTION = 60
GENERATED = {"wire._generated"}


@attrs.frozen
class Import:
    """One imported name: `target` is the file it comes from, or a foreign module."""

    target: str
    line: int
    for_types: bool

    @property
    def library(self) -> str:
        """The first part of a foreign module's name."""
        return self.target.partition(".")[0]


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Every file of the package, by its name in `ORDER`."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(name: str) -> Iterator[Import]:
    """What the file imports, anywhere in it."""
    tree = modules()[name]
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(name, node)
            targets = [_file_or_module(base, alias.name) for alias in node.names]
        else:
            continue
        for target in targets:
            yield Import(_file(target) or target, node.lineno, id(node) in for_types)


def _absolute(name: str, node: ast.ImportFrom) -> str:
    if node.level == 0:
        return node.module or ""
    package = ["actorcluster", *name.split(".")][: -node.level]
    return ".".join(package + ([node.module] if node.module else []))


def _file_or_module(base: str, name: str) -> str:
    """`from base import name`: is the name a file itself, or something inside `base`?"""
    return f"{base}.{name}" if _file(f"{base}.{name}") else base


def _file(module: str) -> str | None:
    """The name in `ORDER` of a module of ours; None for others'."""
    parts = module.split(".")
    if parts[0] != "actorcluster":
        return None
    inside = ".".join(parts[1:])
    candidates = [inside, f"{inside}.__init__".lstrip(".")]
    return next((name for name in candidates if name in modules()), None)


def house() -> list[str]:
    """Every file but the doors'."""
    return [name for name in modules() if not is_door(name)]


def is_door(name: str) -> bool:
    return name.partition(".")[0] in DOORS


def test_every_file_has_its_place_in_the_order() -> None:
    """A new file, or one that has gone: say so in ORDER above."""
    assert sorted(ORDER) == sorted(house())


def test_a_file_imports_only_what_stands_above_it() -> None:
    assert [] == [
        f"{name}:{found.line} imports {found.target}"
        for name in house()
        for found in imports(name)
        if found.target in modules()
        and not (found.for_types and (name, found.target) in FOR_TYPES_ONLY)
        and RANK.get(found.target, len(ORDER)) >= RANK.get(name, 0)
    ]


def test_the_exceptions_for_types_are_in_use() -> None:
    used = {(name, found.target) for name in house() for found in imports(name) if found.for_types}
    assert set() == FOR_TYPES_ONLY - used


def test_doors_use_the_package_as_any_user_would() -> None:
    assert [] == [
        f"{name}:{found.line} imports {found.target}"
        for name in filter(is_door, modules())
        for found in imports(name)
        if found.target in modules()
        and found.target not in OPEN_TO_DOORS
        and not is_door(found.target)
    ]


def test_private_rooms_open_without_importing_anything() -> None:
    assert [] == [room for room in ROOMS if [*imports(f"{room}.__init__")]]


def test_pure_files_touch_no_clock_task_or_system() -> None:
    assert [] == [
        f"{name}:{found.line} imports {found.target}"
        for name in PURE
        for found in imports(name)
        if found.library in (IMPURE_FOR_WIRE if name.startswith("wire.") else IMPURE)
    ]


def test_only_the_declared_libraries_are_imported() -> None:
    assert [] == [
        f"{name}:{found.line} imports {found.target}"
        for name in modules()
        for found in imports(name)
        if found.target not in modules()
        and found.library not in (LIBRARIES_OF_DOORS if is_door(name) else LIBRARIES)
    ]


def test_importing_the_package_loads_only_what_is_promised() -> None:
    """Trio, attrs, msgpack with what they need, and the standard library: no click."""
    code = "import sys; from actorcluster import *; "
    code += "print(*{name.partition('.')[0] for name in sys.modules})"
    # -S: no .pth file loads anything, -I: nothing from the environment does; hence the path.
    path = f"import sys; sys.path[:] = {sys.path!r}; "
    output = subprocess.check_output([sys.executable, "-IS", "-c", path + code], text=True)
    trio_needs = {"idna", "outcome", "sniffio", "sortedcontainers"}
    allowed = {"__main__", "actorcluster", "attr"} | trio_needs | LIBRARIES
    loaded = {name for name in output.split() if "cython" not in name}  # msgpack is compiled
    assert set() == loaded - allowed


def test_private_names_of_trio_are_not_used() -> None:
    assert [] == [
        f"{name}:{node.lineno} {ast.unparse(node)}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and re.match(r"trio\..*\b_", ast.unparse(node)))
        or (isinstance(node, ast.ImportFrom) and re.match(r"trio\b.*\b_", node.module or ""))
    ]


#: Files of the kit that have a connection's bytes in hand.
KIT = {"conform.lane", "conform.line", "conform.primary.lives", "conform.primary.standin"}


def test_one_file_moves_bytes_and_descriptors() -> None:
    callers = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.match("(send|recv)msg", node.attr)
    }
    # A user's socket, which passes on what is asked of it; and the judge, who shares nothing.
    assert {"_link.fdsocket", "_link.head", *KIT} == callers


def test_the_judge_shares_only_numbers_with_the_judged() -> None:
    assert [] == [
        f"{name}:{found.line} imports {found.target}"
        for name in house()
        for found in imports(name)
        if name.startswith("conform.")
        and found.target in modules()
        and not found.target.startswith("conform.")
        and found.target not in ("_counted", "wire._generated")
    ]


def test_every_file_says_what_it_is_and_where_it_runs() -> None:
    form = re.compile(r"\S[^\n]*[.:]\n\n(.*\n)?Runs in: (primary|worker|both)(\n|$)", re.DOTALL)
    assert [] == [
        name
        for name, tree in modules().items()
        if tree.body and not form.match(ast.get_docstring(tree) or "")
    ]


def test_files_and_functions_are_short() -> None:
    assert [] == [f"{name}: {length} lines" for name, length in _lengths() if name not in GENERATED]


def _lengths() -> Iterator[tuple[str, int]]:
    """What is too long."""
    for name, tree in modules().items():
        lines = max((node.end_lineno or 0 for node in tree.body), default=0)
        if lines > LONGEST_FILE:
            yield name, lines
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = _length_without_docstring(node)
                if length > LONGEST_FUNCTION:
                    yield f"{name}.{node.name}", length


def _length_without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[1] if ast.get_docstring(node) and node.body[1:] else node.body[0]
    return (node.end_lineno or 0) - first.lineno + 1
