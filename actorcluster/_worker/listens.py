"""The part of an `Actor` that listens on ports.

Runs in: both
"""

from __future__ import annotations

import os

import trio

from . import listening
from .listeners import ClusterListener, Listeners

__all__ = ["Listens"]


class Listens:
    """Listens on ports that all workers share."""

    @property
    def _listeners(self) -> Listeners:
        raise AssertionError("whoever listens has listeners")

    async def listen_tcp(
        self,
        port: int,
        *,
        host: str | None = None,
        backlog: int | None = None,
        policy: str | None = None,
        exclusive: bool = False,
        reuse_port: bool = False,
        ipv6_only: bool = False,
        max_connections: int | None = None,
        when_full: str = "wait",
        wait_timeout: float | None = None,
    ) -> list[ClusterListener]:
        """Listen on a TCP port that all workers share.

        The first worker's choice of policy, backlog and flags wins. One that warms up, see
        `Child`, gets less in turn, by weight and by fewest connections; sticky clients go where
        they belong. Port 0 is one port for all
        workers, chosen by the kernel; a worker's second port 0 is another one.

        Args:
            port: 0 to 65535.
            host: name or numeric address; None: all, IPv6 and IPv4.
            backlog: clients that wait in the kernel's queue, at most; with a *wait_timeout* as
                many more in the primary. Default 511.
            policy: who gets a connection: ``"round_robin"`` (`SCHED_RR`) each worker in turn;
                ``"least_connections"`` who has fewest open, of this port; ``"weighted"`` each in
                turn, as often as its `Worker.weight` says; ``"sticky_address"`` the same worker
                for the same client address; ``"sticky_peek"`` so, too, by the address that a
                proxy tells (X-Forwarded-For); a name in the ``policies`` of `open_primary`.
                ``"none"`` (`SCHED_NONE`): the workers share the socket. None: the primary's
                ``scheduling_policy``.
            exclusive: bind here, and share with nobody.
            reuse_port: bind here with SO_REUSEPORT; the kernel spreads the clients.
            ipv6_only: leave IPv4 out of an IPv6 socket.
            max_connections: open at the same time in this worker; beyond, it declines, and others
                get them. 0: it gets none.
            when_full: with all workers that listen here at their ``max_connections``, a client
                waits (``"wait"``), or its connection is closed at once (``"drop"``), and counted
                as ``dropped`` in `Primary.statistics`.
            wait_timeout: seconds, of more than 0: a connection that no worker could take for so
                long is closed, oldest first, and counted as ``timed_out``. None: clients wait in
                the kernel's queue, for as long as they like. Neither this nor ``"drop"`` goes with
                policy ``"none"``, *exclusive* or *reuse_port*: nobody deals there.

        Returns:
            A listener for each address of the host, for ``trio.serve_listeners``; its ``address``
            is ``(host, port)`` as bound, or the path.

        Raises:
            OSError: it could not be bound; EADDRINUSE also when this worker listens there.
            TypeError, ValueError: an argument is wrong, or the primary has no such policy.
            trio.ClosedResourceError: the worker was told to stop; a main that this leaves has ended
                well.

        Cancellation:
            Nothing is listened on.
        """
        return await listening.listen_tcp(
            self._listeners,
            port,
            host=host,
            backlog=backlog,
            policy=policy,
            exclusive=exclusive,
            reuse_port=reuse_port,
            ipv6_only=ipv6_only,
            max_connections=max_connections,
            when_full=when_full,
            wait_timeout=wait_timeout,
        )

    async def listen_unix(
        self,
        path: str | os.PathLike[str],
        *,
        mode: int | None = None,
        backlog: int | None = None,
        policy: str | None = None,
        max_connections: int | None = None,
        when_full: str = "wait",
        wait_timeout: float | None = None,
    ) -> ClusterListener:
        """Listen on a unix stream socket that all workers share.

        The file is removed with the last worker that used it, however that ends, unless its
        supervisor starts it again. One that a killed primary of the same user left behind is
        replaced; any other file stays.

        Args:
            path: of the socket file, from this worker's directory. At most 107 bytes, or so short
                from the primary's directory.
            mode: permission bits, set before the first client can connect; None: by the umask.
            backlog: and what follows: see `listen_tcp`.
            policy: who gets a connection.
            max_connections: open at the same time in this worker.
            when_full: what becomes of a connection that finds all workers at their limit.
            wait_timeout: seconds that a connection waits for a worker.

        Raises:
            OSError: see `listen_tcp`. EADDRINUSE: there is a file that is not replaced.
                ENAMETOOLONG: the path.
            TypeError, ValueError: an argument is wrong; there is a NUL in the path, as in abstract
                names, which have no file.
            trio.ClosedResourceError: see `listen_tcp`.

        Cancellation:
            Nothing is listened on.
        """
        return await listening.listen_unix(
            self._listeners,
            path,
            mode=mode,
            backlog=backlog,
            policy=policy,
            max_connections=max_connections,
            when_full=when_full,
            wait_timeout=wait_timeout,
        )

    async def listen_fd(
        self,
        fd_or_name: int | str,
        *,
        policy: str | None = None,
        max_connections: int | None = None,
        when_full: str = "wait",
        wait_timeout: float | None = None,
    ) -> ClusterListener:
        """Listen on a descriptor of the primary.

        Args:
            fd_or_name: one that `Settings.listen_fds` names. With ``listen_fds="systemd"`` these
                are the sockets that were passed to the primary, by socket activation: the name is
                their ``FileDescriptorName=``; the second of a name is ``name.2``, and so on.
            policy: and what follows: see `listen_tcp`.
            max_connections: open at the same time in this worker.
            when_full: what becomes of a connection that finds all workers at their limit.
            wait_timeout: seconds that a connection waits for a worker.

        Raises:
            OSError: EPERM when the settings do not name it.
            TypeError, ValueError: an argument is wrong.
            trio.ClosedResourceError: see `listen_tcp`.

        Cancellation:
            Nothing is listened on.
        """
        return await listening.listen_fd(
            self._listeners,
            fd_or_name,
            policy=policy,
            max_connections=max_connections,
            when_full=when_full,
            wait_timeout=wait_timeout,
        )

    async def bind_udp(
        self, port: int, *, host: str | None = None, ipv6_only: bool = False
    ) -> trio.socket.SocketType:
        """Bind a datagram socket that all workers share; the kernel decides who receives.

        Args:
            port: 0 to 65535; see `listen_tcp`.
            host: name or numeric address; None: all.
            ipv6_only: leave IPv4 out of an IPv6 socket; the first worker's choice wins.

        Raises:
            OSError: it could not be bound.
            trio.ClosedResourceError: see `listen_tcp`.

        Cancellation:
            Nothing is bound.
        """
        return await listening.bind_udp(self._listeners, port, host=host, ipv6_only=ipv6_only)
