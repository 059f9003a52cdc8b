"""Trees as values: what they are equal to, what is in them, how long they take to stop."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from actorcluster import Settings
from actorcluster._cluster.tree import (
    Backoff,
    Child,
    Pool,
    RetryAfter,
    Spec,
    Supervisor,
    stop_seconds,
)
from tests.supervision.sample_tree import TREE, main
from tests.supervision.transcript import TARGET, child, pool, supervisor, transient

# ---- values -----------------------------------------------------------------------------------


def make(**changes: Any) -> list[Any]:
    """One of each kind, each time anew."""
    return [
        Child("a", TARGET, **{"args": [1], **changes}),
        Pool("a", main, **{"count": 2, "backoff": Backoff(min=1), **changes}),
        Supervisor(children=[Child("a", main, **changes), Pool("b", main, count=1, **changes)]),
    ]


def test_equal_by_value() -> None:
    assert make() == make()
    assert make(env={"A": "1"}) == make(env={"A": "1"})
    assert make(settings={"cwd": "/"}) == make(settings={"cwd": "/"})
    for one, other in zip(make(), make(shutdown=6), strict=True):
        assert one != other
    for one, other in zip(make(env={"A": "1"}), make(env={"A": "2"}), strict=True):
        assert one != other
    values: list[Any] = [Child("a", TARGET), Pool("a", TARGET, count=1)]
    assert values[0] != values[1]


@pytest.mark.parametrize("changes", [{}, {"env": {"A": "1"}}, {"settings": {"cwd": "/"}}])
def test_hashable(changes: dict[str, Any]) -> None:
    assert 3 == len({*make(**changes), *make(**changes)})


def test_hashable_only_if_its_arguments_are() -> None:
    with pytest.raises(TypeError, match="unhashable type: 'list'"):
        hash(Child("a", TARGET, args=[[1]]))


@pytest.mark.parametrize("value", [*make(), Backoff(), RetryAfter(1)])
def test_frozen(value: Any) -> None:
    for field in attrs.fields(type(value)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, field.name, None)


def test_lists_become_tuples_and_mappings_copies() -> None:
    args, env, settings = [1, 2], {"A": "1"}, {"cwd": "/"}
    one = Child("a", TARGET, args=args, exec=["x", "y"], env=env, settings=settings)
    tree = Supervisor(children=[one])
    args.append(3)
    env["B"] = "2"
    settings["uid"] = "5"
    assert (1, 2) == one.args
    assert ("x", "y") == one.exec
    assert MappingProxyType({"A": "1"}) == one.env
    assert MappingProxyType({"cwd": "/"}) == one.settings
    assert (one,) == tree.children
    with pytest.raises(TypeError, match="does not support item assignment"):
        one.env["B"] = "2"  # type: ignore[index]  # wrong on purpose


def test_a_settings_stays_one() -> None:
    settings = Settings(cwd="/")
    assert settings is Child("a", TARGET, settings=settings).settings


def test_only_name_and_target_go_without_their_names() -> None:
    assert Child(name="a", target=TARGET) == Child("a", TARGET)
    assert Supervisor(name="a") == Supervisor("a")
    with pytest.raises(TypeError, match="positional"):
        Child("a", TARGET, ())  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(TypeError, match="positional"):
        Supervisor("a", "one_for_all")  # type: ignore[call-arg]  # wrong on purpose
    with pytest.raises(TypeError, match="count"):
        Pool("a", TARGET)  # type: ignore[call-arg]  # wrong on purpose


# ---- more than one field ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [child, functools.partial(pool, count=2)])
def test_who_is_significant_must_be_able_to_end(kind: Callable[..., Spec]) -> None:
    with pytest.raises(ValueError, match=r"^significant: 'a' is permanent, .* 'temporary'$"):
        kind("a", significant=True)
    for restart in ("transient", "temporary"):
        significant = kind("a", significant=True, restart=restart)
        text = r"^children\[1\]\.significant: 'a' is significant, but auto_shutdown is 'never'$"
        with pytest.raises(ValueError, match=text):
            supervisor("one_for_one", "b", significant, auto_shutdown="never")
        for auto_shutdown in ("any_significant", "all_significant"):
            supervisor("one_for_one", significant, auto_shutdown=auto_shutdown)


def test_who_is_significant_matters_to_its_own_supervisor_alone() -> None:
    inner = supervisor("one_for_one", transient("a", significant=True), name="b")
    supervisor("one_for_one", inner, auto_shutdown="never")


def test_names_are_unique_among_siblings() -> None:
    inner = supervisor("one_for_one", "a", name="b")
    for twice in (child("b"), pool("b", 1), supervisor("one_for_one", name="b")):
        with pytest.raises(ValueError, match=r"^children\[2\]\.name: 'b' is used twice$"):
            supervisor("one_for_one", "a", inner, twice)
    supervisor("one_for_one", "a", inner)


def test_who_is_killed_for_silence_was_asked() -> None:
    with pytest.raises(ValueError, match=r"^hung_after must be at least heartbeat \(9\), not 8$"):
        child("a", heartbeat=9, hung_after=8)
    with pytest.raises(ValueError, match=r"^heartbeat must be at least 0\.01, not 0\.001$"):
        child("a", heartbeat=0.001)
    with pytest.raises(ValueError, match=r"^hung_after must be at least heartbeat \(inf\)"):
        child("a", heartbeat=math.inf, hung_after=8)


def test_the_slots_of_a_pool() -> None:
    options: dict[str, Any] = {"restart": "transient", "args": [1], "env": {"A": "1"}}
    one = Pool("a", main, count=2, max_restarts=7, **options)
    assert Child("2", main, **options) == one.slot(2)


# ---- targets ----------------------------------------------------------------------------------


class Klass:
    async def method(self, actor: Any) -> None: ...

    async def __call__(self, actor: Any) -> None: ...


def sync(actor: Any) -> None: ...


async def generator(actor: Any) -> Any:
    yield 1


def nested() -> Any:
    async def inner(actor: Any) -> None: ...

    return inner


@pytest.mark.parametrize(
    ("target", "what_to_do"),
    [
        (lambda actor: None, "it is a lambda; write it as an async def at the top of a module"),
        (nested(), "move it to the top of a module and pass what it closes over as args"),
        (functools.partial(main), "give the function itself and its arguments after it"),
        (sync, r"write async def \(trio.to_thread.run_sync runs sync code\)"),
        (generator, "take the yield out of it"),
        (Klass, "give an async function"),
        (Klass().method, "give a module's async function, the state as args"),
        (Klass(), "give an async function of a module"),
        ("no_colon", 'write "package.module:function"'),
        ("a.b:", 'write "package.module:function"'),
        ("a b:c", 'write "package.module:function"'),
        (5, 'target must be an async function, "package.module:function" or None, not 5'),
    ],
)
@pytest.mark.parametrize("run", ["process", "task"])
def test_what_no_worker_can_run(run: Any, target: Any, what_to_do: str) -> None:
    with pytest.raises(TypeError, match=what_to_do):
        Child("a", target, run=run)


def test_a_coroutine_is_closed() -> None:
    """Else Python would say that it was never awaited, which is not what is wrong."""
    with pytest.raises(TypeError, match="give the function without the parentheses"):
        Child("a", main(None))


def test_a_name_is_looked_up_later() -> None:
    assert "no.such.module:f" == Child("a", "no.such.module:f").target


def test_a_tree_at_the_top_of_a_module() -> None:
    """It has been imported above, with a name in it that leads nowhere."""
    targets = [getattr(spec, "target", "group") for _, spec in TREE.walk()]
    assert [main, "group", "no.such.module:main", main, main, None] == targets


# ---- the whole --------------------------------------------------------------------------------


def test_walk() -> None:
    """A pool is one place: how many slots it has may change."""
    assert ["clock", "mail", "mail.store", "mail.smtp", "web", "node"] == [
        name for name, _ in TREE.walk()
    ]
    assert TREE.children[1] == dict(TREE.walk())["mail"]
    assert ["a.b"] == [name for name, _ in supervisor("one_for_one", "b").walk("a.")]
    assert [] == [*Supervisor().walk()]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (child("a"), 5 + 4),
        (child("a", shutdown=0), 4),
        (child("a", shutdown="brutal_kill"), 0),
        (child("a", shutdown=math.inf), math.inf),
        # A task that ignores its cancellation is given up when a process would be killed.
        (child("a", run="task", shutdown=1), 1 + 4),
        (child("a", run="task", shutdown="brutal_kill"), 4),
        # Slots stop at once.
        (pool("a", 7, shutdown=3), 3 + 4),
        (pool("a", 7, shutdown="brutal_kill"), 0),
        (Supervisor(), 0),
        (supervisor("one_for_one", "a", "b"), 2 * (5 + 4)),
        (supervisor("one_for_one", child("a", shutdown="brutal_kill"), "b"), 5 + 4),
        (supervisor("one_for_one", "a", child("b", shutdown=math.inf)), math.inf),
        (
            supervisor(
                "one_for_all",
                child("a", shutdown=1),
                supervisor("one_for_one", pool("c", 9, shutdown=2), child("d"), name="b"),
            ),
            (1 + 4) + (2 + 4) + (5 + 4),
        ),
        (TREE, (5 + 4) + (5 + 4) + (30 + 4) + (5 + 4) + (5 + 4)),
    ],
)
def test_how_long_a_stop_may_take(spec: Spec, expected: float) -> None:
    assert expected == stop_seconds(spec)
