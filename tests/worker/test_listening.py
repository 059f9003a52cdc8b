"""What may be asked for: arguments, names, addresses; and the sockets that a worker binds."""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio

from actorcluster import SCHED_NONE, SCHED_RR
from actorcluster._worker.listening import bind_udp, listen_fd, listen_tcp, listen_unix
from actorcluster.wire import events
from tests.require import require
from tests.worker.boss import Background, Boss, open_boss

DROPS = {"when_full": "drop", "max_connections": 1}


class Names(trio.abc.HostnameResolver):
    """A name service that knows one host."""

    def __init__(self, *addresses: tuple[Any, ...]) -> None:
        self._addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if host != b"web.example":
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        family = {2: socket.AF_INET, 4: socket.AF_INET6}
        return [
            (family[len(one)], socket.SOCK_STREAM, 6, "", one)
            for one in self._addresses
            for _ in "ab"
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> Any:
        raise NotImplementedError


async def said(boss: Boss, answers: Sequence[str | int], **options: Any) -> Any:
    """Listen; the primary answers with port numbers and codes. What it heard, and the outcome."""
    heard = []
    async with trio.open_nursery() as nursery:
        listening = Background(
            nursery, lambda: listen_tcp(boss.listeners, **{"port": 0, **options})
        )
        for answer in answers:
            listen = await boss.hear(events.Listen)
            heard.append((listen.request["host"], listen.request["port"]))
            if isinstance(answer, int):
                boss.grant(listen.channel, address=("x", answer))
            else:
                boss.connection.send_error(listen.channel, {"code": answer})
                boss.say()
        await listening.done.wait()
    return heard, listening


# ---- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"port": "80"}, TypeError, "port must be an int"),
        ({"port": True}, TypeError, "port must be an int"),
        ({"port": -1}, ValueError, "port must be 0 to 65535"),
        ({"port": 65_536}, ValueError, "port must be 0 to 65535"),
        ({"backlog": 0}, ValueError, "backlog must be 1 to"),
        ({"backlog": 2**31}, ValueError, "backlog must be 1 to"),
        ({"backlog": 1.5}, TypeError, "backlog must be an int"),
        ({"max_connections": -1}, ValueError, "max_connections must be 0 to 92233720"),
        ({"max_connections": 2**63}, ValueError, "max_connections must be 0 to 92233720"),
        ({"max_connections": "9"}, TypeError, "max_connections must be an int"),
        ({"policy": 5}, TypeError, "policy must be the name of one, or None"),
        ({"policy": ""}, ValueError, "policy must not be empty"),
        ({"policy": "\udcff"}, ValueError, "policy must have a form in UTF-8, which '.udcff' has"),
        ({"when_full": "close"}, ValueError, "when_full must be 'wait' or 'drop', not 'close'"),
        ({"when_full": None}, ValueError, "when_full must be"),
        ({"when_full": "drop"}, ValueError, "when_full='drop' needs max_connections"),
        ({**DROPS, "policy": "none"}, ValueError, "when_full needs .* not with policy='none'"),
        ({**DROPS, "exclusive": True}, ValueError, "when_full needs .* not with exclusive"),
        ({"wait_timeout": "1"}, TypeError, "wait_timeout must be a number of seconds, not '1'"),
        ({"wait_timeout": True}, TypeError, "wait_timeout must be a number"),
        ({"wait_timeout": 0}, ValueError, "wait_timeout must be more than 0"),
        ({"wait_timeout": math.nan}, ValueError, "wait_timeout must be more than 0"),
        ({"wait_timeout": 1, "policy": "none"}, ValueError, "wait_timeout needs"),
        ({"wait_timeout": 1, "reuse_port": True}, ValueError, "wait_timeout needs"),
    ],
)
async def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    async with open_boss() as boss:
        with pytest.raises(error, match=text):
            await listen_tcp(boss.listeners, **{"port": 80, **arguments})


@pytest.mark.parametrize(
    ("call", "arguments", "error"),
    [
        (bind_udp, {"port": -1}, ValueError),
        (bind_udp, {"port": "53"}, TypeError),
        (listen_unix, {"path": "a\0b"}, ValueError),
        (listen_unix, {"path": b"/\xff"}, ValueError),
        (listen_fd, {"fd_or_name": "\ud800"}, ValueError),
        (listen_unix, {"path": 5}, TypeError),
        (listen_unix, {"path": "s", "mode": 0o10000}, ValueError),
        (listen_unix, {"path": "s", "mode": "rw"}, TypeError),
        (listen_fd, {"fd_or_name": True}, TypeError),
        (listen_fd, {"fd_or_name": 1.5}, TypeError),
        (listen_fd, {"fd_or_name": 3, "wait_timeout": -1}, ValueError),
        (listen_unix, {"path": "s", "max_connections": -1}, ValueError),
    ],
)
async def test_bad_arguments_of_the_others(
    call: Any, arguments: dict[str, Any], error: type[Exception]
) -> None:
    async with open_boss() as boss:
        with pytest.raises(error):
            await call(boss.listeners, **arguments)


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({}, {"modes": None}),
        ({"wait_timeout": 1.5}, {"modes": ["handoff", "shared"], "wait": 1500}),
        ({"wait_timeout": math.inf}, {"modes": None}),
        ({"max_connections": 0}, {"modes": None, "credit": 0, "limit": 0}),
        (
            {**DROPS, "wait_timeout": 2, "policy": "fair", "backlog": 3},
            {
                "modes": ["handoff", "shared"],
                "policy": "fair",
                "backlog": 3,
                "credit": 1,
                "limit": 1,
                "full": "drop",
                "wait": 2000,
            },
        ),
    ],
)
async def test_what_is_to_be_closed(wishes: dict[str, Any], expected: dict[str, Any]) -> None:
    """Only a primary that deals can close it, so it is asked to deal."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening = Background(nursery, lambda: listen_unix(boss.listeners, "/s", **wishes))
        request = {"transport": "unix", "path": "/s", "mode": None, "backlog": None, "credit": 64}
        assert {**request, **expected} == (await boss.hear(events.Listen)).request
        await listening.cancel()


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (None, {"modes": None}),
        (SCHED_RR, {"modes": ["handoff", "shared"], "policy": "round_robin"}),
        (SCHED_NONE, {"modes": ["shared", "handoff"]}),
        ("fair", {"modes": ["handoff", "shared"], "policy": "fair"}),
    ],
)
async def test_a_request(policy: str | None, expected: dict[str, Any]) -> None:
    """A policy is a wish: the first worker's choice wins, so both ways are offered."""
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening = Background(
            nursery,
            lambda: listen_tcp(
                boss.listeners, 80, policy=policy, backlog=7, ipv6_only=True, max_connections=3
            ),
        )
        assert {
            "transport": "tcp",
            "host": None,
            "port": 80,
            "backlog": 7,
            "v6only": True,
            "credit": 3,
            "limit": 3,
            **expected,
        } == (await boss.hear(events.Listen)).request
        await listening.cancel()


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
async def test_a_path_means_the_same_file_elsewhere(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening = Background(
            nursery, lambda: listen_unix(boss.listeners, kind("sub/../s"), mode=0o600)
        )
        request = (await boss.hear(events.Listen)).request
        assert (str(tmp_path / "s"), 0o600) == (request["path"], request["mode"])
        await listening.cancel()


@pytest.mark.parametrize("name", ["web", 5])
async def test_a_descriptor_by_name_or_number(name: int | str) -> None:
    async with open_boss() as boss, trio.open_nursery() as nursery:
        listening = Background(nursery, listen_fd, boss.listeners, name)
        request = (await boss.hear(events.Listen)).request
        expected = {"transport": "fd", "name": name, "credit": 64, "backlog": None, "modes": None}
        assert expected == request
        await listening.cancel()


# ---- names and addresses -----------------------------------------------------------------------

V4, V6 = ("192.0.2.1", 0), ("2001:db8::1", 0, 0, 0)


async def test_a_host_with_two_addresses() -> None:
    """Port 0 is the same number on both."""
    async with open_boss() as boss:
        trio.socket.set_custom_hostname_resolver(Names(V4, V6))
        heard, listening = await said(boss, [4711, 4711], host="web.example")
        assert [("192.0.2.1", 0), ("2001:db8::1", 4711)] == heard
        assert 2 == len(listening.result)


async def test_a_number_that_is_taken_on_the_second_address() -> None:
    async with open_boss() as boss:
        trio.socket.set_custom_hostname_resolver(Names(V4, V6))
        heard, listening = await said(boss, [4711, "os.EADDRINUSE", 4712], host="web.example")
        assert [("192.0.2.1", 0), ("2001:db8::1", 4711), ("2001:db8::1", 0)] == heard
        assert [("x", 4711), ("x", 4712)] == [one.address for one in listening.result]


@pytest.mark.parametrize("answers", [[4711, "os.EADDRNOTAVAIL"], ["os.EAFNOSUPPORT", 4711]])
async def test_a_family_that_this_machine_has_not(answers: list[Any]) -> None:
    async with open_boss() as boss:
        trio.socket.set_custom_hostname_resolver(Names(V4, V6))
        _, listening = await said(boss, answers, host="web.example", port=80)
        assert [("x", 4711)] == [one.address for one in listening.result]


async def test_no_address_of_this_machine() -> None:
    async with open_boss() as boss:
        trio.socket.set_custom_hostname_resolver(Names(V4, V6))
        both = ["os.EADDRNOTAVAIL", "os.EADDRNOTAVAIL"]
        _, listening = await said(boss, both, host="web.example", port=80)
        assert errno.EADDRNOTAVAIL == listening.error.errno
        trio.socket.set_custom_hostname_resolver(Names(V4))
        _, listening = await said(boss, both[:1], host="web.example", port=80)
        assert errno.EADDRNOTAVAIL == listening.error.errno


@pytest.mark.parametrize("code", ["os.EACCES", "os.EADDRINUSE"])
async def test_what_one_address_refuses_leaves_none_open(code: str) -> None:
    async with open_boss() as boss:
        trio.socket.set_custom_hostname_resolver(Names(V4, V6))
        _, listening = await said(boss, [4711, code], host="web.example", port=80)
        assert getattr(errno, code[3:]) == listening.error.errno
        assert isinstance(await boss.hear(events.ListenClosed), events.ListenClosed)
        assert not boss.listeners._requests


async def test_port_zero_that_the_second_address_refuses() -> None:
    async with open_boss() as boss:
        trio.socket.set_custom_hostname_resolver(Names(V4, V6))
        _, listening = await said(boss, [4711, "os.EACCES"], host="web.example")
        assert errno.EACCES == listening.error.errno


async def test_an_unknown_host() -> None:
    async with open_boss() as boss:
        trio.socket.set_custom_hostname_resolver(Names())
        with pytest.raises(socket.gaierror):
            await listen_tcp(boss.listeners, 80, host="other.example")


async def test_a_link_local_address_keeps_its_scope() -> None:
    async with open_boss() as boss:
        trio.socket.set_custom_hostname_resolver(
            Names(("fe80::1", 0, 0, 2), ("fe80::2%eth0", 0, 0, 3))
        )
        heard, _ = await said(boss, [80, 80], host="web.example", port=80)
        assert [("fe80::1%2", 80), ("fe80::2%eth0", 80)] == heard


# ---- the worker's own sockets ------------------------------------------------------------------


async def test_exclusive_ports_differ() -> None:
    """Bound here, shared with nobody; the primary hears nothing of it."""
    async with open_boss() as boss:
        listeners = []
        for _ in range(2):
            listeners += await listen_tcp(boss.listeners, 0, host="127.0.0.1", exclusive=True)
        assert 2 == len({listener.address for listener in listeners})
        assert isinstance(listeners[0].address, tuple)
        with pytest.raises(OSError) as caught:
            port = int(listeners[0].address[1])
            await listen_tcp(boss.listeners, port, host="127.0.0.1", exclusive=True)
        assert errno.EADDRINUSE == caught.value.errno
        for listener in listeners:
            await listener.aclose()
        assert not boss.heard


async def test_reuse_port() -> None:
    async with open_boss() as boss:
        (one,) = await listen_tcp(boss.listeners, 0, host="127.0.0.1", reuse_port=True)
        assert isinstance(one.address, tuple)
        port = int(one.address[1])
        (two,) = await listen_tcp(boss.listeners, port, host="127.0.0.1", reuse_port=True)
        assert one.address == two.address
        one.close()
        two.close()


async def test_listening_is_a_cancellation_point() -> None:
    async with open_boss() as boss:
        for exclusive in (False, True):
            with trio.CancelScope() as scope:
                scope.cancel()
                await listen_tcp(boss.listeners, 0, exclusive=exclusive)
            assert scope.cancelled_caught
        boss.read()
        assert not boss.heard


@require("ipv6")
async def test_localhost_is_two_addresses() -> None:
    """As this machine's name service has it; one port on all of them."""
    async with open_boss() as boss:
        listeners = await listen_tcp(boss.listeners, 0, host="localhost", exclusive=True)
        known = {entry[4][0] for entry in socket.getaddrinfo("localhost", None)}
        assert known == {listener.address[0] for listener in listeners}
        assert 1 == len({listener.address[1] for listener in listeners})
        for listener in listeners:
            listener.close()
