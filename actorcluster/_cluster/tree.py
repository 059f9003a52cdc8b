"""What is to run and what happens when it ends, as values: Child, Pool, Supervisor.

Runs in: primary

A tree is data: frozen, compared by value, checked when it is written down. What is wrong names
its field. Only what needs the machine (is that script there? can that module be imported?) waits
for `open_primary`, so a module that holds a tree can be imported anywhere, by a worker as well.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias, TypeVar, final

import attrs

from .._worker.settings import Settings, check_stderr
from .._worker.targetchecks import check_form
from . import checks, toml
from .limits import Limits
from .listen import Listen, check_listeners
from .restarts import Backoff

__all__ = [
    "AutoShutdown",
    "Backoff",
    "Child",
    "GivenSettings",
    "Limits",
    "OnExhausted",
    "Pool",
    "Protocol",
    "Restart",
    "RetryAfter",
    "Run",
    "SettingsOf",
    "Spec",
    "Strategy",
    "Supervisor",
    "stop_seconds",
]

Restart: TypeAlias = Literal["permanent", "transient", "temporary"]
Run: TypeAlias = Literal["process", "task"]
Ready: TypeAlias = Literal["online", "listening", "called"]
Protocol: TypeAlias = Literal["awp", "node"]
Strategy: TypeAlias = Literal["one_for_one", "one_for_all", "rest_for_one"]
AutoShutdown: TypeAlias = Literal["never", "any_significant", "all_significant"]

T = TypeVar("T")

RUNGS_SECONDS: Final = 4.0
"""From cancelling a main to its certain end: SIGTERM 2 s later, SIGKILL after 2 s more. A task is
given up when a process would be killed."""

GivenSettings: TypeAlias = Settings | Mapping[str, Any]
SettingsOf: TypeAlias = Callable[[int, str], GivenSettings]
"""Gives the settings of one life, by its id and name."""

_RESERVED: Final = ("primary",)
#: What says something about a process, and nothing about a task; None or the default says nothing.
_OF_PROCESSES: Final = (
    *("exec", "protocol", "stderr", "env", "settings", "hung_after", "heartbeat"),
)
#: Seconds; more often than that a worker is not asked whether it still runs.
_SHORTEST_HEARTBEAT: Final = 0.01
#: What stands in the table of a pool or supervisor, and of no child.
_OF_GROUPS: Final = ("max_restarts", "within", "on_exhausted", "retry_after", "auto_shutdown")


@final
@attrs.frozen
class RetryAfter:
    """For ``on_exhausted``: when the limit is reached, wait, forget all restarts, try again.

    Attributes:
        seconds: how long to wait.
    """

    seconds: float = attrs.field(validator=checks.positive)


OnExhausted: TypeAlias = Literal["escalate", "park"] | RetryAfter


def _tuple(value: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else value  # type: ignore[return-value]  # the validator refuses others


def _mapping(value: Any) -> Any:
    return MappingProxyType(dict(value)) if isinstance(value, Mapping) else value


def _check_name(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{field.name} must be a str, not {value!r}")
    if not value or not value.isprintable() or "." in value or value in _RESERVED:
        allowed = "a non-empty printable str without dots, and other than 'primary'"
        raise ValueError(f"{field.name} must be {allowed}, not {value!r}")


def _check_target(_: object, __: attrs.Attribute[Any], value: object) -> None:
    check_form(value)


def _check_settings(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, Mapping):
        Settings().merged(**value)
    elif value is not None and not isinstance(value, Settings) and not callable(value):
        allowed = "a Settings, a mapping of its fields, or a function of id and name"
        raise TypeError(f"{field.name} must be {allowed}, not {value!r}")


def _check_env(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None:
        if not isinstance(value, Mapping):
            raise TypeError(f"{field.name} must be a mapping of str to str or None, not {value!r}")
        Settings(env=value)


def _program(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else _tuple(value)


def _check_exec(_: object, __: attrs.Attribute[Any], value: Any) -> None:
    Settings(exec=value)


@attrs.frozen
class _Childlike:
    """What a child and the slots of a pool have in common."""

    name: str = attrs.field(validator=_check_name)
    target: Any = attrs.field(validator=_check_target)
    args: tuple[Any, ...] = attrs.field(
        kw_only=True,
        default=(),
        converter=_tuple,
        validator=checks.instance(tuple, "a tuple or list"),
    )
    run: Run = attrs.field(
        kw_only=True, default="process", validator=checks.one_of("process", "task")
    )
    restart: Restart = attrs.field(
        kw_only=True,
        default="permanent",
        validator=checks.one_of("permanent", "transient", "temporary"),
    )
    ready: Ready = attrs.field(
        kw_only=True, default="online", validator=checks.one_of("online", "listening", "called")
    )
    start_timeout: float = attrs.field(kw_only=True, default=30.0, validator=checks.seconds)
    shutdown: float | Literal["brutal_kill"] = attrs.field(
        kw_only=True, default=5.0, validator=checks.seconds_or("brutal_kill")
    )
    significant: bool = attrs.field(
        kw_only=True, default=False, validator=checks.instance(bool, "a bool")
    )
    backoff: Backoff = attrs.field(
        kw_only=True, default=Backoff(), validator=checks.instance(Backoff, "a Backoff")
    )
    limits: Limits | None = attrs.field(
        kw_only=True,
        default=None,
        validator=checks.optional(checks.instance(Limits, "a Limits or None")),
    )
    heartbeat: float = attrs.field(kw_only=True, default=5.0, validator=checks.positive_or_inf)
    hung_after: float | None = attrs.field(
        kw_only=True, default=None, validator=checks.optional(checks.positive)
    )
    exec: str | tuple[str, ...] | None = attrs.field(
        kw_only=True,
        default=None,
        converter=_program,
        validator=_check_exec,
    )
    protocol: Protocol = attrs.field(
        kw_only=True, default="awp", validator=checks.one_of("awp", "node")
    )
    warm_up: float = attrs.field(kw_only=True, default=0.0, validator=checks.at_least(0))
    env: Mapping[str, str | None] | None = attrs.field(
        kw_only=True, default=None, converter=_mapping, validator=_check_env, hash=False
    )
    stderr: Literal["inherit", "capture"] | None = attrs.field(
        kw_only=True, default=None, validator=attrs.validators.optional(check_stderr)
    )
    settings: GivenSettings | SettingsOf | None = attrs.field(
        kw_only=True, default=None, converter=_mapping, validator=_check_settings, hash=False
    )

    def __attrs_post_init__(self) -> None:
        if self.significant and self.restart == "permanent":
            raise ValueError(
                f"significant: {self.name!r} is permanent, it never ends for good;"
                " restart must be 'transient' or 'temporary'"
            )
        if self.limits is not None and self.restart == "temporary":
            raise ValueError(f"limits: {self.name!r} is temporary, nothing comes after its end")
        if self.heartbeat < _SHORTEST_HEARTBEAT:
            raise ValueError(
                f"heartbeat must be at least {_SHORTEST_HEARTBEAT}, not {self.heartbeat}"
            )
        if self.hung_after is not None and self.hung_after < self.heartbeat:
            raise ValueError(
                f"hung_after must be at least heartbeat ({self.heartbeat}), not {self.hung_after}"
            )
        if self.run == "task":
            self._check_task()
        if self.protocol == "node":
            self._check_node()

    def _check_node(self) -> None:
        """Refuse what Node's protocol has no words for."""
        if self.target is not None:
            raise ValueError(f"target: {self.name!r} is a Node program, which exec= names")
        if self.hung_after is not None:
            text = "a Node program cannot be asked whether its loop runs"
            raise ValueError(f"hung_after: {self.name!r}: {text}")

    def _check_task(self) -> None:
        """Refuse what only a process can have."""
        if self.target is None:
            raise ValueError(f"target: {self.name!r} runs as a task, which needs a function")
        for field in attrs.fields(type(self)):
            if field.name in _OF_PROCESSES and getattr(self, field.name) != field.default:
                raise ValueError(f"{field.name}: {self.name!r} runs as a task and cannot have it")
        if self.limits is not None and self.limits.max_rss is not None:
            text = f"{self.name!r} is a task, its memory is the primary's"
            raise ValueError(f"limits.max_rss: {text}")


@final
@attrs.frozen
class Child(_Childlike):
    """One actor: what it runs, when it is ready, what happens when it ends.

    Attributes:
        name: unique among its siblings; ``mail.smtp`` is the child ``smtp`` of ``mail``.
        target: an async function, ``"package.module:function"``, or None for a script.
        args: body values for the function, without handles.
        run: ``"process"``, or ``"task"``: in the primary itself, isolated from all else there
            except that what holds up the loop holds up all, and that a task cannot be forced to
            end: one that ignores its cancellation for four seconds is given up.
        restart: ``"permanent"`` always; ``"transient"`` unless it ended well: by itself, without
            an error, or because it was told to; ``"temporary"`` never.
        ready: ``"online"``, ``"listening"`` or ``"called"``, see `Primary.fork`.
        start_timeout: seconds until it must be ready.
        shutdown: seconds from Stop to cancelling its main, ``inf``, or ``"brutal_kill"``.
        significant: when it ends for good its supervisor may end, see `Supervisor`.
        backoff: how long to wait before it is started again.
        limits: when it is replaced while it is well.
        heartbeat: seconds of silence in which its loop counts as stuck (`events.Hung`): it is
            asked three times as often, and answers by itself; ``inf``: nobody asks.
        hung_after: seconds without an answer after which it is killed, ``heartbeat`` at least;
            None: it is only reported.
        warm_up: seconds in which its share of connections grows to what is due to it, from when it
            is ready on; see `Actor.listen_tcp`.
        exec: as `Settings.exec`.
        protocol: what the program speaks that *exec* names: ``"awp"``, our own; or ``"node"``: it
            is a Node program, unmodified, and takes itself for a worker of Node's cluster. Its
            heartbeat is not looked after.
        env: merged over `Settings.env`.
        stderr: as `Settings.stderr`.
        settings: a `Settings` or some of its fields, for this child alone; or a function that gives
            them for each life, of its id and its name (of a slot, ``web.2``). What that raises is a
            start that has failed.
    """


@final
@attrs.frozen
class Pool(_Childlike):
    """Several of the same: slots ``name.1`` to ``name.<count>``, each restarted on its own.

    One place in the order of its supervisor, with a budget of its own: siblings notice nothing
    unless the pool gives up.

    Attributes:
        count: how many.
        max_restarts: as for a `Supervisor`, all slots together.
        within: as for a `Supervisor`.
        on_exhausted: as for a `Supervisor`.
    """

    count: int = attrs.field(kw_only=True, validator=checks.count(0))
    max_restarts: int = attrs.field(kw_only=True, default=5, validator=checks.count(0))
    within: float = attrs.field(kw_only=True, default=30.0, validator=checks.positive)
    on_exhausted: OnExhausted = attrs.field(
        kw_only=True, default="escalate", validator=checks.one_of_or(RetryAfter, "escalate", "park")
    )

    def slot(self, number: int) -> Child:
        """Give the child of one slot, named by its number."""
        names = (field.name for field in attrs.fields(_Childlike) if field.name != "name")
        return Child(str(number), **{name: getattr(self, name) for name in names})


def _check_children(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple):
        raise TypeError(f"{field.name} must be a tuple or list, not {value!r}")
    names: set[str] = set()
    for index, child in enumerate(value):
        if not isinstance(child, (Child, Pool, Supervisor)):
            allowed = "a Child, a Pool or a Supervisor"
            raise TypeError(f"{field.name}[{index}] must be {allowed}, not {child!r}")
        if child.name in names:
            raise ValueError(f"{field.name}[{index}].name: {child.name!r} is used twice")
        names.add(child.name)


@final
@attrs.frozen
class Supervisor:
    """Starts its children in order, restarts them by its strategy, stops them in reverse order.

    Attributes:
        name: of the place; the root's is not part of its children's names.
        strategy: whom a restart concerns: ``"one_for_one"`` who failed, ``"rest_for_one"`` those
            started after it too, ``"one_for_all"`` all.
        max_restarts: so many restarts of children are allowed ...
        within: ... in so many seconds; retries of starts that failed count, siblings do not.
        on_exhausted: at one more: ``"escalate"`` it stops its children and fails itself;
            ``"park"`` who failed stays down, with whom the strategy ties to it; `RetryAfter`.
        auto_shutdown: ``"any_significant"``: it ends well when one significant child has ended
            by itself; ``"all_significant"``: when the last has; ``"never"``.
        children: in the order of their start.
        listeners: ports that it binds before its first child is started, and holds until it is
            down and nothing starts it again by itself; see `Listen`.
    """

    name: str = attrs.field(default="root", validator=_check_name)
    strategy: Strategy = attrs.field(
        kw_only=True,
        default="one_for_one",
        validator=checks.one_of("one_for_one", "one_for_all", "rest_for_one"),
    )
    max_restarts: int = attrs.field(kw_only=True, default=5, validator=checks.count(0))
    within: float = attrs.field(kw_only=True, default=30.0, validator=checks.positive)
    on_exhausted: OnExhausted = attrs.field(
        kw_only=True, default="escalate", validator=checks.one_of_or(RetryAfter, "escalate", "park")
    )
    auto_shutdown: AutoShutdown = attrs.field(
        kw_only=True,
        default="any_significant",
        validator=checks.one_of("never", "any_significant", "all_significant"),
    )
    children: tuple[Spec, ...] = attrs.field(
        kw_only=True, default=(), converter=_tuple, validator=_check_children
    )
    listeners: tuple[Listen, ...] = attrs.field(
        kw_only=True, default=(), converter=_tuple, validator=check_listeners
    )

    def __attrs_post_init__(self) -> None:
        if self.auto_shutdown != "never":
            return
        for index, child in enumerate(self.children):
            if isinstance(child, _Childlike) and child.significant:
                raise ValueError(
                    f"children[{index}].significant: {child.name!r} is significant, but"
                    " auto_shutdown is 'never'"
                )

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Supervisor:
        """Read a tree from a file.

        The top level holds the root's fields, ``[[children]]`` its children in order. One with a
        ``count`` is a `Pool`, one with a ``strategy``, ``children`` or ``listeners`` a
        `Supervisor`, any other a `Child`; each of ``[[listeners]]`` is a `Listen`. All fields have
        the names that they have here; ``retry_after = 10.0`` stands for
        ``on_exhausted = RetryAfter(10.0)``.

        Args:
            path: of the file.

        Raises:
            OSError: it cannot be read.
            TypeError, ValueError: it is no TOML, or something in it is wrong; the text names
                file, place and field.
        """
        return _from_table(toml.read(path), f"{os.fspath(path)}: ", cls)

    def walk(self, prefix: str = "") -> Iterator[tuple[str, Spec]]:
        """Give every place below with its full name, in order of start."""
        for child in self.children:
            yield prefix + child.name, child
            if isinstance(child, Supervisor):
                yield from child.walk(f"{prefix}{child.name}.")


Spec: TypeAlias = Child | Pool | Supervisor


def _from_table(table: Any, where: str, kind: type[T]) -> T:
    """Make one place of a tree, and all below."""
    if kind is Child:
        _check_is_child(table, where)
    if isinstance(table, dict) and "retry_after" in table:
        at = toml.within(where, "retry_after")
        if "on_exhausted" in table:
            raise ValueError(f"{at}: on_exhausted is given too")
        seconds = {"seconds": table["retry_after"]}
        table = {key: value for key, value in table.items() if key != "retry_after"}
        table["on_exhausted"] = toml.build(RetryAfter, seconds, at, {})
    special: dict[str, toml.Build] = {
        "backoff": lambda value, at: toml.build(Backoff, value, at, {}),
        "limits": lambda value, at: toml.build(Limits, value, at, {}),
        "on_exhausted": _on_exhausted_from,
        "children": _children_from,
        "listeners": _listeners_from,
    }
    return toml.build(kind, table, where, special)


def _check_is_child(table: object, where: str) -> None:
    """Say what makes a pool or a supervisor of what is neither, but has a field of theirs."""
    for key in table if isinstance(table, dict) else ():
        if key in _OF_GROUPS:
            raise ValueError(
                f"{where}: a Child has no {key!r}; with a count it is a Pool,"
                " with a strategy, children or listeners a Supervisor"
            )


def _on_exhausted_from(value: object, where: str) -> object:
    if isinstance(value, dict):
        raise TypeError(
            f"{where} must be 'escalate' or 'park', not {value!r}; or retry_after = 10.0"
        )
    return value


def _children_from(tables: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(tables, list):
        raise TypeError(f"{where} must be an array of tables, not {tables!r}")
    return tuple(
        _from_table(table, f"{where}[{index}]", _kind_of(table))
        for index, table in enumerate(tables)
    )


def _listeners_from(tables: Any, where: str) -> tuple[Listen, ...]:
    if not isinstance(tables, list):
        raise TypeError(f"{where} must be an array of tables, not {tables!r}")
    return tuple(
        toml.build(Listen, table, f"{where}[{index}]", {}) for index, table in enumerate(tables)
    )


def _kind_of(table: Any) -> type[Child | Pool | Supervisor]:
    keys = set(table) if isinstance(table, dict) else set()
    if "count" in keys:
        return Pool
    return Supervisor if keys & {"children", "listeners", "strategy"} else Child


def stop_seconds(spec: Spec) -> float:
    """How long a stop may take: one after another, the slots of a pool together.

    A deadline for a whole subtree can only be computed: one that is shorter than what its
    children were promised would kill a supervisor's processes while it still stops others.
    """
    if isinstance(spec, Supervisor):
        return math.fsum(map(stop_seconds, spec.children))
    if spec.shutdown == "brutal_kill":
        return RUNGS_SECONDS if spec.run == "task" else 0.0
    return spec.shutdown + RUNGS_SECONDS
