"""How workers are to be started: one frozen, checked value, and the rule for the start method.

Runs in: primary

Names and meaning follow Node's ``cluster.settings``. What needs the machine (does that script
exist? is cloning to be had?) is asked elsewhere; everything here is arithmetic on values.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

import attrs

__all__ = [
    "MIN_SIZE",
    "STDIO_MOST",
    "Captured",
    "ListenFds",
    "Settings",
    "StartMethod",
    "Stdio",
    "check_stderr",
    "choose_start_method",
]

StartMethod = Literal["forkserver", "exec"]
START_METHODS: Final = ("auto", "forkserver", "exec")
STDIO_WORDS: Final = ("inherit", "pipe", "ignore")
STDERR_WORDS: Final = ("inherit", "capture")
CHANNELS: Final = ("fd", "unix")
STDIO_COUNT: Final = 3
STDIO_MOST: Final = 16
"""Descriptors 3 to 15 of a worker are for further streams; all that are ours lie above."""
MIN_SIZE: Final = 64 * 1024
"""Floor of ``mailbox_size`` and ``max_message``: what the protocol obliges every peer to take."""
MAX_ID: Final = 2**32 - 2  # (uid_t)-1 means "leave it as it is" to the kernel


class HasFileno(Protocol):
    """A file, socket or anything else with a descriptor."""

    def fileno(self) -> int: ...


Word = Literal["inherit", "pipe", "ignore"]
Stdio = Word | int | HasFileno
Captured = Literal["capture"]
ListenFds = Mapping[str, int] | tuple[int, ...] | Literal["systemd"]
"""Descriptors that a worker may listen on."""


# Converters only bring a value into its one stored shape and never raise; what they do not know
# they pass on for the validator to judge, which can name the field.


def _freeze(value: Any) -> Any:
    """Lists become tuples, mappings read-only copies; all else stays."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping):
        return MappingProxyType(dict(value))
    return value


def _texts(value: Sequence[str]) -> tuple[str, ...]:
    frozen: tuple[str, ...] = _freeze(value)
    return frozen


def _optional_texts(value: Sequence[str] | None) -> tuple[str, ...] | None:
    frozen: tuple[str, ...] | None = _freeze(value)
    return frozen


def _optional_path(value: str | os.PathLike[str] | None) -> str | None:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _program(value: str | os.PathLike[str] | Sequence[str] | None) -> str | tuple[str, ...] | None:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    frozen: str | tuple[str, ...] | None = _freeze(value)
    return frozen


def _environment(value: Mapping[str, str | None]) -> Mapping[str, str | None]:
    frozen: Mapping[str, str | None] = _freeze(value)
    return frozen


def _optional_stdio(value: Word | Sequence[Stdio] | None) -> tuple[Stdio, ...] | None:
    """One word is for all three of them, as in Node."""
    is_word = isinstance(value, str) and value in STDIO_WORDS
    frozen: tuple[Stdio, ...] | None = _freeze([value] * STDIO_COUNT if is_word else value)
    return frozen


def _descriptors(value: ListenFds | Sequence[int]) -> ListenFds:
    frozen: ListenFds = _freeze(value)
    return frozen


def _wrong_type(name: str, value: object, allowed: str) -> TypeError:
    return TypeError(f"{name} must be {allowed}, not {value!r}")


def _wrong_value(name: str, value: object, allowed: str) -> ValueError:
    return ValueError(f"{name} must be {allowed}, not {value!r}")


def _check_text(name: str, value: object, *, empty: bool = True) -> None:
    if not isinstance(value, str):
        raise _wrong_type(name, value, "a str")
    if "\0" in value:
        raise _wrong_value(name, value, "without NUL characters")
    if not value and not empty:
        raise _wrong_value(name, value, "a non-empty str")


def _check_int(name: str, value: object, low: int, high: int | None = None) -> None:
    allowed = f"an int of at least {low}" if high is None else f"an int from {low} to {high}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong_type(name, value, allowed)
    if value < low or (high is not None and value > high):
        raise _wrong_value(name, value, allowed)


def _check_texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, tuple):
        raise _wrong_type(name, value, "a tuple or list of str")
    for index, item in enumerate(value):
        _check_text(f"{name}[{index}]", item)
    return value


def _validate_exec(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, str):
        _check_text(field.name, value, empty=False)
    elif isinstance(value, tuple):
        if not _check_texts(field.name, value) or not value[0]:
            raise _wrong_value(field.name, value, "a command line that begins with a program")
    elif value is not None:
        allowed = "None, the path of a Python script, or a whole command line as a tuple of str"
        raise _wrong_type(field.name, value, allowed)


def _validate_texts(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    _check_texts(field.name, value)


def _validate_cwd(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    _check_text(field.name, value, empty=False)


def _validate_env(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise _wrong_type(field.name, value, "a mapping of str to str or None")
    for key, item in value.items():
        _check_text(f"{field.name} key", key, empty=False)
        if "=" in key:
            raise _wrong_value(f"{field.name} key", key, "without '='")
        if item is not None:
            _check_text(f"{field.name}[{key!r}]", item)


def _validate_bool(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, bool):
        raise _wrong_type(field.name, value, "a bool")


def _validate_stdio(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, str):
        raise _wrong_value(field.name, value, "'inherit', 'pipe', 'ignore' or a list")
    if not isinstance(value, tuple):
        raise _wrong_type(field.name, value, "None or a list with entries for fds 0, 1, 2 ...")
    if len(value) > STDIO_MOST:
        raise _wrong_value(field.name, value, f"at most {STDIO_MOST} entries")
    allowed = "'inherit', 'pipe', 'ignore', an fd number or an object with fileno()"
    for index, item in enumerate(value):
        name = f"{field.name}[{index}]"
        if isinstance(item, str):
            if item not in STDIO_WORDS:
                raise _wrong_value(name, item, allowed)
        elif isinstance(item, int):
            _check_int(name, item, 0)
        elif not callable(getattr(item, "fileno", None)):
            raise _wrong_type(name, item, allowed)


def check_stderr(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Check what is said about a stderr.

    Raises:
        TypeError, ValueError: it is wrong.
    """
    if not isinstance(value, str):
        raise _wrong_type(field.name, value, "'inherit' or 'capture'")
    if value not in STDERR_WORDS:
        raise _wrong_value(field.name, value, "'inherit' or 'capture'")


def _validate_id(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    _check_int(field.name, value, 0, MAX_ID)


def _validate_start_method(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or value not in START_METHODS:
        error = _wrong_value if isinstance(value, str) else _wrong_type
        raise error(field.name, value, "'auto', 'forkserver' or 'exec'")


def _validate_channel(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str) or value not in CHANNELS:
        error = _wrong_value if isinstance(value, str) else _wrong_type
        raise error(field.name, value, "'fd' or 'unix'")


def _validate_lane(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    if value is not None and value != "node":
        error = _wrong_value if isinstance(value, str) else _wrong_type
        raise error(field.name, value, "None or 'node'")


def _validate_preload(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    for index, item in enumerate(_check_texts(field.name, value)):
        if not all(part.isidentifier() for part in item.split(".")):
            raise _wrong_value(f"{field.name}[{index}]", item, "the full name of a module")


def _validate_size(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    _check_int(field.name, value, MIN_SIZE)


def _validate_listen_fds(_: Settings, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_text(f"{field.name} key", key, empty=False)
            _check_int(f"{field.name}[{key!r}]", item, 0)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            _check_int(f"{field.name}[{index}]", item, 0)
    elif value != "systemd":
        error = _wrong_value if isinstance(value, str) else _wrong_type
        allowed = "a mapping of names to fds, a sequence of fds, or 'systemd'"
        raise error(field.name, value, allowed)


_optional = attrs.validators.optional


@attrs.frozen(kw_only=True)
class Settings:
    """What the next workers are started with; later changes touch no worker that lives.

    Lists and mappings are copied; the attributes hold tuples and read-only mappings. A wrong
    value raises TypeError or ValueError naming the field, the value and what is allowed.

    Attributes:
        exec: what a worker without a target function runs: the path of a Python script, or a
            whole command line of any program as a tuple; None means the started script. A
            relative path is taken from the primary's directory, whatever *cwd* says.
        args: the worker's ``sys.argv[1:]``.
        exec_argv: flags of the worker's interpreter; None means those of the primary.
        cwd: working directory of the worker; None means the primary's.
        env: merged over the primary's environment; a value of None removes the variable.
        silent: the worker's stdout and stderr become pipes that the primary can read, and need
            not: see `Worker.stdout`.
        stdio: one of ``"inherit"``, ``"pipe"``, ``"ignore"``, an fd or an object with
            ``fileno()`` for each of fds 0, 1 and 2; what is left out is inherited. One word is for
            all three. Further entries are descriptors 3, 4 ... of the worker, at most up to 15; a
            pipe is a stream both ways there, see `Worker.stdio`. Overrides *silent*.
        stderr: ``"capture"``: what the worker writes there still comes out of our stderr, and its
            last lines are in the `CrashReport`. With ``"inherit"`` they are not.
        uid: user id of the worker; None leaves it.
        gid: group id of the worker; None leaves it.
        start_method: ``"forkserver"``, ``"exec"``, or ``"auto"``: the first that is possible.
        channel: ``"fd"``: the worker inherits its channel; ``"unix"``: it connects to a socket that
            is there for it alone, for programs that cannot use a descriptor which they inherit.
            Such a worker is executed.
        lane: ``"node"``: handles go to and from the worker, a program of its own in *exec*, by a
            channel of Node's beside ours; None: with the messages.
        preload: modules that the fork server imports before it forks.
        mailbox_size: room of a mailbox, bytes; 4 MiB, at least 64 KiB.
        max_message: largest encoded message taken, bytes; 16 MiB, at least 64 KiB.
        listen_fds: descriptors that workers may ask for by ``listen_fd``, by name or number;
            ``"systemd"``: those that were passed to the primary, see `Actor.listen_fd`.
    """

    exec: str | tuple[str, ...] | None = attrs.field(
        default=None, converter=_program, validator=_validate_exec
    )
    args: tuple[str, ...] = attrs.field(default=(), converter=_texts, validator=_validate_texts)
    exec_argv: tuple[str, ...] | None = attrs.field(
        default=None, converter=_optional_texts, validator=_optional(_validate_texts)
    )
    cwd: str | None = attrs.field(
        default=None, converter=_optional_path, validator=_optional(_validate_cwd)
    )
    env: Mapping[str, str | None] = attrs.field(
        factory=dict, converter=_environment, validator=_validate_env
    )
    silent: bool = attrs.field(default=False, validator=_validate_bool)
    stdio: tuple[Stdio, ...] | None = attrs.field(
        default=None, converter=_optional_stdio, validator=_optional(_validate_stdio)
    )
    stderr: Literal["inherit", "capture"] = attrs.field(default="inherit", validator=check_stderr)
    uid: int | None = attrs.field(default=None, validator=_optional(_validate_id))
    gid: int | None = attrs.field(default=None, validator=_optional(_validate_id))
    start_method: Literal["auto", "forkserver", "exec"] = attrs.field(
        default="auto", validator=_validate_start_method
    )
    channel: Literal["fd", "unix"] = attrs.field(default="fd", validator=_validate_channel)
    lane: Literal["node"] | None = attrs.field(default=None, validator=_validate_lane)
    preload: tuple[str, ...] = attrs.field(
        default=(), converter=_texts, validator=_validate_preload
    )
    mailbox_size: int = attrs.field(default=4 * 1024 * 1024, validator=_validate_size)
    max_message: int = attrs.field(default=16 * 1024 * 1024, validator=_validate_size)
    listen_fds: ListenFds = attrs.field(
        factory=dict, converter=_descriptors, validator=_validate_listen_fds
    )

    def __attrs_post_init__(self) -> None:
        wish = self._streams[2]
        if self.stderr == "capture" and wish != "inherit":
            why = "silent=True makes it a pipe" if self.stdio is None else f"stdio[2] is {wish!r}"
            raise ValueError(f"stderr='capture' cannot be kept: {why}, for somebody else to read")

        if self.lane is not None and self.channel != "fd":
            raise ValueError(f"lane={self.lane!r} goes with channel='fd' only")

    def merged(self, **changes: Any) -> Settings:
        """A copy with *changes*: what is not named stays as it is, as in Node's setup.

        Raises:
            TypeError: a name is unknown, or a value is of the wrong type.
            ValueError: a value is not allowed.
        """
        known = [field.name for field in attrs.fields(Settings)]
        unknown = [name for name in changes if name not in known]
        if unknown:
            names = ", ".join(map(repr, unknown))
            raise TypeError(f"no such setting: {names}; there are: {', '.join(known)}")
        return attrs.evolve(self, **changes)

    @property
    def stdio_plan(self) -> tuple[Stdio | Captured, ...]:
        """What becomes of fds 0, 1, 2 ..., once *stdio*, *silent*, *stderr* are taken together."""
        first, second, third, *more = self._streams
        return (first, second, "capture" if self.stderr == "capture" else third, *more)

    @property
    def _streams(self) -> tuple[Stdio, ...]:
        if self.stdio is None:
            return ("inherit", "pipe", "pipe") if self.silent else ("inherit",) * STDIO_COUNT
        left_out: list[Stdio] = ["inherit"] * (STDIO_COUNT - len(self.stdio))
        return (*self.stdio, *left_out)


def choose_start_method(
    settings: Settings,
    target_form: Literal["function", "name", "script"],
    *,
    available: bool,
    why_not: str,
) -> tuple[StartMethod, str | None]:
    """Decide how a worker's process comes into being.

    Args:
        settings: the settings of the worker.
        target_form: ``Target.form``; ``settings.exec`` matters only to ``"script"``.
        available: whether this machine can fork from a fork server.
        why_not: the reason when it cannot; not read otherwise.

    Returns:
        The method, and why ``"auto"`` had to fall back to ``"exec"`` (to be logged once) or None.

    Raises:
        ValueError: ``start_method="forkserver"`` or *lane* cannot be kept.
    """
    if settings.lane is not None and not (
        target_form == "script" and isinstance(settings.exec, tuple)
    ):
        raise ValueError(f"lane={settings.lane!r} is for a command line in exec, not for Python")
    if settings.start_method == "exec":
        return ("exec", None)
    obstacle = _obstacle(settings, target_form, available, why_not)
    if obstacle is None:
        return ("forkserver", None)
    if settings.start_method == "forkserver":
        raise ValueError(
            f"start_method='forkserver' cannot be kept: {obstacle}; use 'auto' or 'exec'"
        )
    return ("exec", obstacle)


def _obstacle(settings: Settings, target_form: str, available: bool, why_not: str) -> str | None:
    """Why these settings cannot be had from a fork server, or None."""
    if target_form == "script" and isinstance(settings.exec, tuple):
        return f"exec is a command line of its own, {settings.exec!r}"
    if settings.exec_argv is not None:
        return f"exec_argv={settings.exec_argv!r} needs an interpreter of its own"
    if settings.channel != "fd":
        return f"channel={settings.channel!r} is for a program that connects by itself"
    if not available:
        return f"the fork server is not available: {why_not}"
    return None
