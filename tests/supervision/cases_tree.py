"""Cases of rules that are kept when a tree is written down."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import attrs

from actorcluster._cluster.restarts import Backoff
from actorcluster._cluster.tree import Child, Supervisor, stop_seconds
from tests.supervision.transcript import TARGET, child, supervisor, words

__all__ = ["WRITTEN", "Written"]


@attrs.frozen
class Written:
    """What somebody writes down and what comes of it: a value, or the text of an error.

    Attributes:
        name: unique; the id of the test.
        rules: ids of `tests.supervision.rules`.
        make: writes it down.
        gives: the value, or ``"ValueError: TEXT"``.
    """

    name: str
    rules: tuple[str, ...] = attrs.field(converter=words)
    make: Callable[[], Any]
    gives: Any

    def given(self) -> Any:
        try:
            return self.make()
        except (TypeError, ValueError) as error:
            return f"{type(error).__name__}: {error}"


def _without_target() -> Child:
    return Child("a")  # type: ignore[call-arg]  # wrong on purpose


def _defaults(kind: type) -> dict[str, Any]:
    """The fields that have one."""
    fields = attrs.fields_dict(kind)
    return {name: field.default for name, field in fields.items() if field.default != attrs.NOTHING}


def _significant(**options: Any) -> Supervisor:
    one = child("a", restart="transient", significant=True)
    return Supervisor(children=[one], **options)


WRITTEN: Final = [
    Written(
        "a name used twice",
        "B1-SPEC-1",
        lambda: supervisor("one_for_one", "a", "b", "a"),
        "ValueError: children[2].name: 'a' is used twice",
    ),
    Written(
        "no target",
        "B1-SPEC-2",
        _without_target,
        "TypeError: Child.__init__() missing 1 required positional argument: 'target'",
    ),
    Written(
        "the restart type left out", "B1-SPEC-3", lambda: _defaults(Child)["restart"], "permanent"
    ),
    Written(
        "another restart type",
        "B1-SPEC-3",
        lambda: child("a", restart="intrinsic"),
        "ValueError: restart must be 'permanent', 'transient' or 'temporary', not 'intrinsic'",
    ),
    Written("the time to stop left out", "B1-SPEC-4", lambda: Child("a", TARGET).shutdown, 5.0),
    Written(
        "other times to stop",
        "B1-SPEC-4",
        lambda: [child("a", shutdown=time).shutdown for time in (0, 7.5, math.inf, "brutal_kill")],
        [0, 7.5, math.inf, "brutal_kill"],
    ),
    Written(
        "the time of a supervisor to stop",
        "B1-SPEC-5 B1-STOP-8",
        # Four seconds each for what follows when the time has passed.
        lambda: stop_seconds(supervisor("one_for_one", child("a", shutdown=1), child("b"))),
        1 + 4 + 5 + 4,
    ),
    Written(
        "a supervisor with what only a child has",
        "B1-SPEC-6",
        lambda: supervisor("one_for_one", restart="permanent"),
        "TypeError: Supervisor.__init__() got an unexpected keyword argument 'restart'",
    ),
    Written("significance left out", "B1-SPEC-7", lambda: _defaults(Child)["significant"], False),
    Written(
        "permanent and significant",
        "B1-SPEC-8",
        lambda: child("a", significant=True),
        "ValueError: significant: 'a' is permanent, it never ends for good; restart must be"
        " 'transient' or 'temporary'",
    ),
    Written(
        "significant for nobody",
        "B1-SPEC-9",
        lambda: _significant(auto_shutdown="never"),
        "ValueError: children[0].significant: 'a' is significant, but auto_shutdown is 'never'",
    ),
    Written(
        "no restarts",
        "B1-SPEC-10",
        lambda: supervisor("one_for_one", max_restarts=0).max_restarts,
        0,
    ),
    Written(
        "no window",
        "B1-SPEC-10",
        lambda: supervisor("one_for_one", within=0),
        "ValueError: within must be a finite number of seconds above 0, not 0",
    ),
    Written(
        "a negative number of restarts",
        "B1-SPEC-10 B3-BACKOFF-6",
        lambda: supervisor("one_for_one", max_restarts=-1),
        "ValueError: max_restarts must be an int of at least 0, not -1",
    ),
    Written(
        "a negative time to stop",
        "B1-SPEC-10",
        lambda: child("a", shutdown=-1),
        "ValueError: shutdown must be a number of seconds, 0 or more, not -1",
    ),
    Written(
        "the fields of a supervisor left out",
        "B1-FLAGS-1 B1-FLAGS-2 B1-FLAGS-3",
        lambda: _defaults(Supervisor),
        {
            "name": "root",
            "strategy": "one_for_one",
            "max_restarts": 5,
            "within": 30.0,
            "on_exhausted": "escalate",
            "auto_shutdown": "any_significant",
            "children": (),
            "listeners": (),
        },
    ),
    Written(
        "a significant child is enough",
        "B1-FLAGS-3",
        lambda: _significant().auto_shutdown,
        "any_significant",
    ),
    Written("the time of being well left out", "B3-BACKOFF-5", lambda: Backoff().reset_after, 30.0),
]
