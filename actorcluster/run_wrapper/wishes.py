"""Ports to listen on, as they are written on a command line.

Runs in: worker
"""

from __future__ import annotations

import ipaddress
import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs

__all__ = ["Wish", "read_wish", "read_wishes"]


@attrs.frozen
class Wish:
    """A port that a program wants.

    Attributes:
        name: what the program finds it by, in LISTEN_FDNAMES.
        request: the map of LISTEN.
    """

    name: str
    request: dict[str, Any]

    @property
    def place(self) -> str:
        """What it asks for, as it would be written."""
        if self.request["transport"] == "unix":
            return f"unix:{self.request['path']}"
        host, port = self.request.get("host"), self.request["port"]
        return f"[{host}]:{port}" if host and ":" in host else f"{host or ''}:{port}".lstrip(":")

    def excludes(self, other: Wish) -> bool:
        """Whether no program can have both."""
        one, two = self.request, other.request
        if one["transport"] != two["transport"] or one["transport"] == "unix":
            return one == two
        if not one["port"] == two["port"] != 0:
            return False
        return _meet(one.get("host"), two.get("host"))


def read_wishes(texts: Iterable[str]) -> list[Wish]:
    """Read all that a program wants; see `read_wish`.

    Several ports 0 are different ones. They are counted as everywhere: the n-th of one worker is
    the n-th of every worker that asks for the same address.

    Raises:
        ValueError: there is one that cannot be read, or had beside another.
    """
    wishes = [read_wish(text) for text in texts]
    for one, two in itertools.combinations(wishes, 2):
        if one.excludes(two):
            what = one.place if one.place == two.place else f"{one.place} beside {two.place}"
            raise ValueError(f"{what}: no program can have one port twice")
    counts: Counter[str | None] = Counter()
    for wish in wishes:
        if wish.request.get("port") == 0:
            host = wish.request.get("host")
            counts[host] += 1
            wish.request["key"] = str(counts[host])
    return wishes


def _meet(one: str | None, two: str | None) -> bool:
    """Whether some client would find both hosts; None is every address."""
    hosts = {host or "::" for host in (one, two)}
    if len(hosts) == 1 or "::" in hosts:  # which takes IPv4 as well
        return True
    return "0.0.0.0" in hosts and not any(":" in host for host in hosts)  # noqa: S104  (compared)


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
