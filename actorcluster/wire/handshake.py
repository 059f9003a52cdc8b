"""HELLO and WELCOME: who is there, which version, what both can do.

Runs in: both
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import LocalProtocolError
from ._generated import LIMIT_DEFAULTS, MAJOR, MINOR, AbortCode, Kind, State
from .events import Hello, Welcome
from .fields import check_limits, is_version_array, read_map
from .frames import Frame
from .monitors import Monitors
from .session import FLOORS, kinds_of

__all__ = ["Handshake"]

_OURS: Final = ((MAJOR, MINOR),)
_NOTHING: Final[Mapping[str, Any]] = {}


class Handshake(Monitors):
    """The layer of the handshake."""

    # ---- the worker -----------------------------------------------------------------------

    def send_hello(
        self,
        *,
        worker: int | None = None,
        token: str | None = None,
        pid: int | None = None,
        implementation: Mapping[str, Any] = _NOTHING,
    ) -> None:
        """Worker: introduce this side. Its first frame, sent without waiting for anything."""
        self._check_introduction(Kind.HELLO)
        hello: dict[str, Any] = {
            "versions": _OURS,
            "caps": sorted(self._offered),
            "limits": self._announced_limits(),
            "handles": sorted(self._handle_names),
        }
        optional = {"worker": worker, "token": token, "pid": pid, "impl": implementation or None}
        hello.update({key: value for key, value in optional.items() if value is not None})
        self._outbox.put_urgent(self._map_frame(Kind.HELLO, hello))
        self._introduced = True

    def _on_welcome(self, frame: Frame) -> None:
        welcome = read_map(frame.kind, frame.payload)
        version = tuple(welcome["version"][:2])
        if version[0] != MAJOR or version[1] > MINOR:
            raise self._violation("AWP-HS-2", f"version {version} was not offered")
        capabilities = frozenset(welcome.get("caps") or ())
        if not capabilities <= self._offered:
            extra = sorted(capabilities - self._offered)
            raise self._violation("AWP-HS-3", f"capabilities {extra} were not offered")
        handles = frozenset(welcome.get("handles") or ())
        self._meet(capabilities, handles, welcome.get("limits"))
        self._worker_id = welcome["worker"]
        self._events.append(
            Welcome(
                (version[0], version[1]),
                welcome["worker"],
                welcome["cluster"],
                capabilities,
                dict(self.peer_limits),
                handles,
                (welcome.get("heartbeat") or 0) / 1000,
                welcome.get("config") or {},
                welcome.get("name") or "",
            )
        )

    # ---- the primary ----------------------------------------------------------------------

    def _on_hello(self, frame: Frame) -> None:
        self._check_versions(frame.payload)
        hello = read_map(frame.kind, frame.payload)
        self._offer = frozenset(hello.get("caps") or ())
        missing = frozenset(hello.get("require") or ()) - (self._offer & self._offered)
        if missing:
            text = f"the worker requires {sorted(missing)}"
            raise self._violation("AWP-HS-6", text, AbortCode.REQUIRED_CAPABILITY)
        handles = frozenset(hello.get("handles") or ())
        self._meet(frozenset(), handles, hello.get("limits"))
        minor = max(pair[1] for pair in hello["versions"] if pair[0] == MAJOR)
        self._version = (MAJOR, min(MINOR, minor))
        self._events.append(
            Hello(
                self._version,
                self._offer,
                dict(self.peer_limits),
                handles,
                hello.get("pid"),
                hello.get("worker"),
                hello.get("token"),
                hello.get("impl") or {},
            )
        )

    def _check_versions(self, payload: Any) -> None:
        """Check for a common version before anything else: with another the rest may differ."""
        versions = payload.get("versions") if type(payload) is dict else None
        if not isinstance(versions, list) or not is_version_array(versions):
            return  # `read_map` says what is wrong with it
        if all(pair[0] != MAJOR for pair in versions):
            theirs = self.peer_versions = tuple((pair[0], pair[1]) for pair in versions)
            text = f"no common version: ours {_OURS}, the worker's {theirs}"
            raise self._violation("AWP-HS-2", text, AbortCode.VERSION)

    def send_welcome(
        self,
        *,
        worker: int,
        cluster: bytes,
        name: str,
        config: Mapping[str, Any],
        heartbeat: float = 5.0,
    ) -> None:
        """Primary: take the worker in, after `Hello`. Capabilities are in force from now on.

        Args:
            worker: the worker's id.
            cluster: 16 bytes, new for every start of a primary.
            name: the worker's name.
            config: application settings.
            heartbeat: seconds between PINGs; 0 for none.
        """
        self._check_introduction(Kind.WELCOME)
        capabilities = self._offer & self._offered
        welcome = {
            "version": self._version,
            "worker": worker,
            "cluster": cluster,
            "caps": sorted(capabilities),
            "limits": self._announced_limits(),
            "handles": sorted(self._handle_names),
            "heartbeat": heartbeat * 1000,
            "config": config,
            "name": name,
        }
        self._outbox.put_urgent(self._map_frame(Kind.WELCOME, welcome))
        self._introduced = True
        self._worker_id = worker
        self._agree(capabilities)

    # ---- both -----------------------------------------------------------------------------

    def _check_sendable(self, kind: int) -> None:
        super()._check_sendable(kind)
        if self.state is State.STARTING and not self._introduced and kind != Kind.WELCOME:
            raise LocalProtocolError("WELCOME is the first frame of a primary")

    def _check_introduction(self, kind: Kind) -> None:
        self._check_sendable(kind)
        if self._introduced:
            raise LocalProtocolError(f"{kind.name} is sent once")

    def _announced_limits(self) -> dict[str, int]:
        return {name: value for name, value in self.limits.items() if value != LIMIT_DEFAULTS[name]}

    def _meet(self, capabilities: frozenset[str], handles: frozenset[str], limits: Any) -> None:
        """Take over what the peer said about itself."""
        self._set_peer_limits(check_limits(limits, FLOORS))
        self._peer_handle_kinds = kinds_of(handles) & self._sendable_kinds
        self._agree(capabilities)
