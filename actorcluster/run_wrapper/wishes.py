"""Ports to listen on, as they are written on a command line.

Runs in: worker
"""

from __future__ import annotations

import ipaddress
from typing import Any

import attrs

__all__ = ["Wish", "read_wish"]


@attrs.frozen
class Wish:
    """A port that a program wants.

    Attributes:
        name: what the program finds it by, in LISTEN_FDNAMES.
        request: the map of LISTEN.
    """

    name: str
    request: dict[str, Any]


def read_wish(text: str) -> Wish:
    """Read ``[NAME=][HOST:]PORT`` or ``[NAME=]unix:/PATH``.

    Args:
        text: an IPv6 address stands in brackets; without HOST it is every address.

    Raises:
        ValueError: it is none of these.
    """
    name, equals, place = text.partition("=")
    if not equals:
        name, place = "", text
    if ":" in name:
        raise ValueError("a name has no colon: LISTEN_FDNAMES is divided by them")
    wanted: dict[str, Any] = {"modes": ["shared"]}
    if place.startswith("unix:"):
        path = place.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"{path!r} is not an absolute path")
        return Wish(name or "unknown", wanted | {"transport": "unix", "path": path})
    host, _, port = place.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise ValueError(f"{port!r} is no port")
    wanted |= {"transport": "tcp", "port": int(port)}
    if host:
        address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        wanted["host"] = str(ipaddress.ip_address(address))
    return Wish(name or "unknown", wanted)
