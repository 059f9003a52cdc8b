"""How an actor that is a task reaches its primary, and the primary it.

Runs in: primary
"""

from __future__ import annotations

import logging
from typing import Any, Protocol, final

from .._link.channel import Channel
from .actorhome import ActorHome
from .ref import Home
from .tasklink import TaskLink

__all__ = ["TaskHome"]


class Residence(Protocol):
    """The life of an actor, as that knows it."""

    @property
    def is_connected(self) -> bool: ...
    def connect(self) -> TaskLink: ...
    def said_ready(self) -> None: ...
    def said_leave(self) -> None: ...


@final
class TaskHome(ActorHome):
    """How an actor that is a task reaches its primary.

    Args:
        life: its own.
        realm: the primary's home of refs.
    """

    def __init__(self, life: Residence, realm: Home) -> None:  # and no more, see `__getattr__`
        self._life = life
        self._realm = realm

    def __getattr__(self, name: str) -> Any:
        """What most tasks never need is made when somebody wants it."""
        if name == "channel":
            self.channel = self._life.connect().theirs
            return self.channel
        if name == "_known":
            self._known = set()
            return self._known
        raise AttributeError(name)

    @property
    def realm(self) -> Home:
        return self._realm

    @property
    def opened(self) -> Channel | None:
        return self.__dict__.get("channel")

    @property
    def may_lead(self) -> bool:
        return False  # whoever waits for mail needs no link for that

    def is_connected(self) -> bool:
        return self._life.is_connected

    def log_handler(self, level: int | str) -> logging.Handler:
        return logging.NullHandler(level)  # what a task logs is with its primary already

    def say_ready(self) -> None:
        self._life.said_ready()

    def say_leave(self) -> None:
        self._life.said_leave()
