"""What a fork may say about one worker, checked.

Runs in: primary
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypedDict

import attrs

from .._worker.settings import Settings
from ..wire._generated import LIMIT_DEFAULTS

__all__ = ["ChildOptions", "Ready", "checked_options", "limits_of", "own_settings"]

Ready = Literal["online", "listening", "called"]


class ChildOptions(TypedDict, total=False):
    """Keywords of `Primary.fork` beside name and restart.

    Attributes:
        ready: what counts as ready: ``"online"`` (default) runtime up and target found,
            ``"listening"`` first shared port, ``"called"`` `Actor.ready`.
        start_timeout: seconds until it must be ready, default 30, ``inf`` for no limit.
        shutdown: seconds from Stop to cancelling main, default 5, ``inf``, or ``"brutal_kill"``.
        exec: overrides `Settings.exec`; None does not.
        env: merged over `Settings.env`; None adds nothing.
        settings: fields of `Settings` for this worker alone, or all of them.
    """

    ready: Ready
    start_timeout: float
    shutdown: float | Literal["brutal_kill"]
    exec: str | tuple[str, ...] | None
    env: Mapping[str, str | None] | None
    settings: Settings | Mapping[str, Any] | None


def checked_options(restart: str, given: ChildOptions) -> dict[str, Any]:
    """Check what a fork says about the life; returns the fields of `LifeOptions` it names."""
    unknown = set(given) - set(ChildOptions.__annotations__)
    if unknown:
        wrong = ", ".join(sorted(unknown))
        raise TypeError(f"no such option of fork: {wrong}; {_hint(unknown)}")
    if restart != "temporary":
        raise ValueError(f"restart must be 'temporary', not {restart!r}")
    ready = given.get("ready", "online")
    if ready not in ("online", "listening", "called"):
        raise ValueError(f"ready must be 'online', 'listening' or 'called', not {ready!r}")
    _check_seconds("start_timeout", given.get("start_timeout", 30.0))
    if given.get("shutdown") != "brutal_kill":
        _check_seconds("shutdown", given.get("shutdown", 5.0))
    names = ("ready", "start_timeout", "shutdown")
    return {name: value for name, value in given.items() if name in names}


def _hint(unknown: set[str]) -> str:
    """Say where such an option belongs, or which ones there are."""
    settings = sorted(unknown & {field.name for field in attrs.fields(Settings)})
    if settings:
        return f"give settings={{{settings[0]!r}: ...}}"
    known = ", ".join(["name", "restart", *ChildOptions.__annotations__])
    return f"there are {known}; arguments of the target are positional"


def own_settings(settings: Settings, given: ChildOptions) -> Settings:
    """Give the settings of one fork: the primary's, with what the fork says for itself.

    Raises:
        TypeError, ValueError: a value is wrong; the text names the field.
    """
    own = given.get("settings")
    if isinstance(own, Settings):
        settings = own
    elif isinstance(own, Mapping):
        settings = settings.merged(**own)
    elif own is not None:
        raise TypeError(f"settings must be a Settings or a mapping of its fields, not {own!r}")
    if (program := given.get("exec")) is not None:
        settings = settings.merged(exec=program)
    if (env := given.get("env")) is not None:
        if not isinstance(env, Mapping):
            raise TypeError(f"env must be a mapping of str to str or None, not {env!r}")
        settings = settings.merged(env={**settings.env, **env})
    return settings


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


def _check_seconds(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{field} must be a number of seconds, not {value!r}")
    if not value >= 0:
        raise ValueError(f"{field} must not be negative, not {value!r}")
