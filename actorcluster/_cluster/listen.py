"""What a supervisor listens on for its children, as a value.

Runs in: primary
"""

from __future__ import annotations

import ipaddress
import os
from typing import Any, Final, Literal, final

import attrs

from . import checks

__all__ = ["Listen", "check_listeners"]

_MOST_BACKLOG: Final = 2**31 - 1
_LONGEST_POLICY: Final = 255


def _path(value: Any) -> Any:
    return os.fsdecode(value) if isinstance(value, (bytes, os.PathLike)) else value


def _check_path(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{field.name} must be a path, not {value!r}")
    if not value or "\0" in value:
        raise ValueError(f"{field.name} must name a file, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:  # no worker could ask for it
        text = f"{field.name} must have a form in UTF-8, which {value!r} has not"
        raise ValueError(text) from None


def _check_fd(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{field.name} must be an int or a str, not {value!r}")


def _check_host(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{field.name} must be a str, not {value!r}")
    try:
        ipaddress.ip_address(value)
    except ValueError:
        text = f"{field.name} must be a numeric address, no name is looked up here; not {value!r}"
        raise ValueError(text) from None


def _check_policy(_: object, field: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{field.name} must be the name of one, not {value!r}")
    if not 0 < len(value) <= _LONGEST_POLICY:
        raise ValueError(f"{field.name} must have 1 to {_LONGEST_POLICY} characters, not {value!r}")


@final
@attrs.frozen
class Listen:
    """One port that a supervisor binds before its children, and holds as long as it runs.

    A child that asks for the same, by `Actor.listen_tcp`, `Actor.listen_unix` or `Actor.listen_fd`,
    shares it; it is as it says here, whatever the child says, unless a worker listens there already
    when the supervisor begins. One of *port*, *path* and *fd* says what it is.

    Attributes:
        port: of TCP, 0 to 65535. 0: the kernel chooses; the first such port of a host is what each
            worker's first port 0 of that host is, the second its second.
        path: of a unix socket, from the primary's directory.
        fd: of a listening socket that the primary has, by its number or name in the
            `Settings.listen_fds` of `open_primary`.
        host: numeric address; None: all, IPv6 and IPv4. For a port.
        ipv6_only: leave IPv4 out of an IPv6 socket. For a port.
        mode: permission bits of the file, set before the first client can connect; None: by the
            umask. For a path.
        backlog: clients that the kernel lets wait; None: 511. Not for a descriptor, which has one.
        policy: see `Actor.listen_tcp`.
        when_full: what becomes of a connection that finds every worker at its ``max_connections``:
            ``"wait"``, or ``"drop"``.
        wait_timeout: seconds until a connection that no worker takes is closed; None: never.
    """

    port: int | None = attrs.field(default=None, validator=checks.optional(checks.whole(0, 65_535)))
    path: str | None = attrs.field(
        kw_only=True, default=None, converter=_path, validator=checks.optional(_check_path)
    )
    fd: int | str | None = attrs.field(
        kw_only=True, default=None, validator=checks.optional(_check_fd)
    )
    host: str | None = attrs.field(
        kw_only=True, default=None, validator=checks.optional(_check_host)
    )
    ipv6_only: bool = attrs.field(
        kw_only=True, default=False, validator=checks.instance(bool, "a bool")
    )
    mode: int | None = attrs.field(
        kw_only=True, default=None, validator=checks.optional(checks.whole(0, 0o7777))
    )
    backlog: int | None = attrs.field(
        kw_only=True, default=None, validator=checks.optional(checks.whole(1, _MOST_BACKLOG))
    )
    policy: str | None = attrs.field(
        kw_only=True, default=None, validator=checks.optional(_check_policy)
    )
    when_full: Literal["wait", "drop"] = attrs.field(
        kw_only=True, default="wait", validator=checks.one_of("wait", "drop")
    )
    wait_timeout: float | None = attrs.field(
        kw_only=True, default=None, validator=checks.optional(checks.positive_or_inf)
    )

    def __attrs_post_init__(self) -> None:
        given = [name for name in ("port", "path", "fd") if getattr(self, name) is not None]
        if len(given) != 1:
            what = " and ".join(given) or "none of them"
            raise ValueError(f"one of port, path and fd must be given, not {what}")
        for name, which in _BELONGS.items():
            if getattr(self, name) not in (None, False) and given[0] not in which:
                raise ValueError(f"{name}: a {given[0]} has none, only a {' or '.join(which)}")
        if self.policy == "none" and self._is_bounded:
            name = "when_full" if self.wait_timeout is None else "wait_timeout"
            raise ValueError(f"{name} needs a primary that accepts: not with policy='none'")

    def __str__(self) -> str:
        """Say where."""
        if self.port is None:
            return str(self.path) if self.fd is None else f"descriptor {self.fd}"
        host = self.host or "*"
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def _is_bounded(self) -> bool:
        """Whether connections are closed that no worker takes."""
        return self.when_full != "wait" or self.wait_timeout is not None

    @property
    def _place(self) -> tuple[Any, ...] | None:
        """What another cannot have; None: there are others."""
        is_any = self.port == 0
        return None if is_any else (self.port, self.path, self.fd, self.host, self.ipv6_only)


#: What only some of them have.
_BELONGS: Final = {
    "host": ("port",),
    "ipv6_only": ("port",),
    "mode": ("path",),
    "backlog": ("port", "path"),
}


def check_listeners(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """Refuse what are no listeners, or not different ones."""
    if not isinstance(value, tuple):
        raise TypeError(f"{field.name} must be a tuple or list, not {value!r}")
    places = set()
    for index, listen in enumerate(value):
        if not isinstance(listen, Listen):
            raise TypeError(f"{field.name}[{index}] must be a Listen, not {listen!r}")
        if listen._place in places:
            raise ValueError(f"{field.name}[{index}]: {listen} is there twice")
        if listen._place is not None:
            places.add(listen._place)
