"""What a fork may say about one worker, checked.

Runs in: primary
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

import attrs

from .._worker.settings import Settings
from ..wire._generated import LIMIT_DEFAULTS
from .tree import Backoff, Child, GivenSettings, Limits, Protocol, Ready, Run, SettingsOf

__all__ = ["ChildOptions", "child_of", "child_of_life", "limits_of", "own_settings"]


class ChildOptions(TypedDict, total=False):
    """Keywords of `Primary.fork` beside name and restart.

    Attributes:
        run: ``"process"`` (default) or ``"task"``, see `Child`.
        ready: what counts as ready: ``"online"`` (default) runtime up and target found,
            ``"listening"`` first shared port, ``"called"`` `Actor.ready`.
        start_timeout: seconds until it must be ready, default 30, ``inf`` for no limit.
        shutdown: seconds from Stop to cancelling main, default 5, ``inf``, or ``"brutal_kill"``.
        backoff: how long to wait before it is started again.
        limits: when it is replaced while it is well.
        heartbeat: seconds of silence after which it is reported as stuck, two thirds of
            that at the earliest; default 5, or ``inf``.
        hung_after: seconds without an answer after which it is killed; None (default): it is not.
        warm_up: seconds in which its share of connections grows, see `Child`; default 0.
        exec: overrides `Settings.exec`; None does not.
        protocol: ``"awp"`` (default) or ``"node"``, see `Child`.
        env: merged over `Settings.env`; None adds nothing.
        stderr: overrides `Settings.stderr`; None does not.
        settings: fields of `Settings` for this worker alone, or all of them; or a function that
            gives them for each of its lives, see `Child`.
    """

    run: Run
    ready: Ready
    start_timeout: float
    shutdown: float | Literal["brutal_kill"]
    backoff: Backoff
    limits: Limits | None
    heartbeat: float
    hung_after: float | None
    warm_up: float
    exec: str | Sequence[str] | None
    protocol: Protocol
    env: Mapping[str, str | None] | None
    stderr: Literal["inherit", "capture"] | None
    settings: GivenSettings | SettingsOf | None


def child_of(
    name: str, target: Any, args: tuple[Any, ...], restart: str, given: ChildOptions
) -> Child:
    """Make the spec of a fork.

    Raises:
        TypeError, ValueError: an option is unknown or wrong; the text names it.
    """
    unknown = set(given) - set(ChildOptions.__annotations__)
    if unknown:
        wrong = ", ".join(sorted(unknown))
        raise TypeError(f"no such option of fork: {wrong}; {_hint(unknown)}")
    fields: dict[str, Any] = {**given, "restart": restart}
    return Child(name, target, args=args, **fields)


def _hint(unknown: set[str]) -> str:
    """Say where such an option belongs, or which ones there are."""
    settings = sorted(unknown & {field.name for field in attrs.fields(Settings)})
    if settings:
        return f"give settings={{{settings[0]!r}: ...}}"
    known = ", ".join(["name", "restart", *ChildOptions.__annotations__])
    return f"there are {known}; arguments of the target are positional"


def own_settings(settings: Settings, child: Child) -> Settings:
    """Give the settings of one child: the primary's, with what the child says for itself.

    What only a life can know, it adds to these, see `child_of_life`.

    Raises:
        TypeError, ValueError: a value is wrong; the text names the field.
    """
    own = child.settings
    if isinstance(own, Settings):
        settings = own
    elif isinstance(own, Mapping):
        settings = settings.merged(**own)
    if child.exec is not None:
        settings = settings.merged(exec=child.exec)
    if child.env is not None:
        settings = settings.merged(env={**settings.env, **child.env})
    if child.stderr is not None:
        settings = settings.merged(stderr=child.stderr)
    return settings


def child_of_life(child: Child, worker_id: int, name: str) -> Child:
    """Give the spec of one life, where the child's settings are a function of it.

    Raises:
        Exception: whatever that function raises; TypeError, ValueError: for what it returns.
    """
    given = child.settings
    assert callable(given)
    found: Any = given(worker_id, name)
    if not isinstance(found, Settings | Mapping):
        allowed = "a Settings or a mapping of its fields"
        raise TypeError(f"settings({worker_id}, {name!r}) must return {allowed}, not {found!r}")
    return attrs.evolve(child, settings=found)


def limits_of(settings: Settings) -> dict[str, int]:
    """What the primary announces to a worker with these settings.

    No frame, and no unfinished message, need be larger than a message with its envelope: what is
    larger is refused before any memory is taken for it.
    """
    largest = settings.max_message + LIMIT_DEFAULTS["max_meta"]
    return {
        "window": settings.mailbox_size,
        "max_message": settings.max_message,
        "max_frame": min(largest, LIMIT_DEFAULTS["max_frame"]),
        "max_partial": largest,
    }
