"""Ports that supervisors hold: bound before a supervisor's first child, kept until it is over.

Runs in: primary

Theory of operation
===================

Who starts a supervisor by hand, or the whole tree, binds first what it and those below it hold: so
a port that cannot be had is an error of that call, and nothing was started. From then on the plan
decides: what a supervisor holds is let go when it is down and nothing but somebody's hand will
start it. Between two lives of its own, too, clients wait rather than being refused.

One case is left: a supervisor that had finished is started again with a sibling that failed. Nobody
waits for that start. If a port is taken by then, that is logged; children that ask for it are told,
and fail as their restart rules say.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import os
from collections.abc import Iterator
from typing import Any, Final, final

from .._worker.listening import MODES, SCHED_NONE, SCHED_RR
from .binding import ListenFds, PortRequest
from .listen import Listen
from .places import Absence, Group, Phase, Place
from .plan import Plan
from .ports import Ports
from .ties import may_return
from .tree import Supervisor

__all__ = ["Pins"]

log = logging.getLogger("actorcluster.supervisor")

_DOWN: Final = Phase.DOWN


@final
class Pins:
    """The ports that the supervisors of one tree hold.

    Args:
        ports: of the primary.

    Attributes:
        held: by supervisor that wants some; None: it holds none at present.
    """

    def __init__(self, ports: Ports) -> None:
        self.held: dict[Place, list[Any] | None] = {}
        self._ports = ports
        self._listen_fds: ListenFds = ()

    def hold(self, top: Place, listen_fds: ListenFds) -> None:
        """Bind what a place and all below are to hold; they must be started at once.

        Args:
            top: a place that is down.
            listen_fds: of the primary's settings.

        Raises:
            OSError, ValueError: a port cannot be had; the text says whose. Nothing is held then.
        """
        self._listen_fds = listen_fds
        new: list[Place] = []
        try:
            for place in _starting(top):
                if _listeners(place) and self.held.get(place) is None:
                    self.held[place] = self._bind(place)
                    new.append(place)
        except BaseException:
            for place in new:
                self._release(place)
                del self.held[place]
            raise

    def settle(self, plan: Plan) -> None:
        """Something has changed in the tree: let go what nobody will need."""
        for place, ports in list(self.held.items()):
            if place.phase is not _DOWN or may_return(place):
                if ports is None:
                    self._hold_again(place)
                continue
            self._release(place)
            if place is not plan.root and plan.places.get(place.name) is not place:
                del self.held[place]

    def _bind(self, place: Place) -> list[Any]:
        ports: list[Any] = []
        try:
            for index, listen in enumerate(_listeners(place)):
                where = f"{place.name}: listeners[{index}]: cannot listen on {listen}"
                try:
                    ports.append(self._ports.pin(place.name, _request(listen), self._listen_fds))
                except OSError as exc:
                    raise OSError(exc.errno, f"{where}: {exc.strerror}") from exc
                except ValueError as exc:
                    raise ValueError(f"{where}: {exc}") from exc
        except BaseException:
            for port in ports:
                self._ports.unpin(place.name, port)
            raise
        return ports

    def _release(self, place: Place) -> None:
        for port in self.held[place] or ():
            self._ports.unpin(place.name, port)
        self.held[place] = None

    def _hold_again(self, place: Place) -> None:
        try:
            self.held[place] = self._bind(place)
        except (OSError, ValueError) as exc:
            self.held[place] = []
            log.error("%s", exc.strerror if isinstance(exc, OSError) else exc)


def _starting(place: Place) -> Iterator[Place]:
    """A place, and those below that are started with it."""
    yield place
    for child in place.children.values() if isinstance(place, Group) else ():
        if child.absence is not Absence.BY_HAND:
            yield from _starting(child)


def _listeners(place: Place) -> tuple[Listen, ...]:
    return place.spec.listeners if isinstance(place.spec, Supervisor) else ()


def _request(listen: Listen) -> PortRequest:
    """What a worker would have asked for."""
    if listen.port is not None:
        host = None if listen.host is None else str(ipaddress.ip_address(listen.host))
        where: dict[str, Any] = {"transport": "tcp", "host": host, "port": listen.port}
    elif listen.path is not None:
        where = {"transport": "unix", "path": os.path.abspath(listen.path), "mode": listen.mode}
    else:
        where = {"transport": "fd", "name": listen.fd}
    policy, timeout = listen.policy, listen.wait_timeout
    is_bounded = timeout is not None or listen.when_full != "wait"  # then the primary accepts
    way = SCHED_NONE if policy == SCHED_NONE else SCHED_RR
    return PortRequest(
        **where,
        backlog=listen.backlog,
        v6only=listen.ipv6_only,
        modes=None if policy is None and not is_bounded else [MODES[way]],
        policy=None if policy == SCHED_NONE else policy,
        wait=None if timeout in (None, math.inf) else timeout * 1000,
        full=None if listen.when_full == "wait" else listen.when_full,
    )
