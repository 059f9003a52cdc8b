"""Requests read with mistrust, sockets bound as asked."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from actorcluster._cluster.binding import Bound, PortRequest, bind
from actorcluster._worker.inet import bind_inet
from tests.require import require

pytestmark = pytest.mark.no_leaks


def opened(request: dict[str, Any], listen_fds: Any = ()) -> Bound:
    return bind(PortRequest.read(request), listen_fds)


def is_listening(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


# ---- reading a request -------------------------------------------------------------------------


def test_the_least_that_can_be_asked_for() -> None:
    request = PortRequest.read({"transport": "tcp"})
    assert PortRequest(transport="tcp", port=0, credit=1, key="", modes=None) == request
    assert PortRequest(transport="unix", path="/s") == PortRequest.read(
        {"transport": "unix", "path": "/s", "mode": None, "credit": None, "unknown": object()}
    )
    assert 0 == PortRequest.read({"transport": "tcp", "credit": 0}).credit


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({}, "transport is missing"),
        ({"transport": "sctp"}, "transport is 'sctp'"),
        ({"transport": ["tcp"]}, "transport is"),
        ({"transport": "tcp", "host": "localhost"}, "host is 'localhost'"),
        ({"transport": "tcp", "host": "1"}, "host is '1'"),
        ({"transport": "tcp", "host": b"127.0.0.1"}, "host is"),
        ({"transport": "tcp", "port": True}, "port is 'True'"),
        ({"transport": "tcp", "port": 65_536}, "port is"),
        ({"transport": "tcp", "credit": -1}, "credit is"),
        ({"transport": "tcp", "backlog": 2**31}, "backlog is"),
        ({"transport": "tcp", "v6only": 1}, "v6only is"),
        ({"transport": "tcp", "modes": "handoff"}, "modes is"),
        ({"transport": "tcp", "key": "k" * 256}, "key is"),
        ({"transport": "tcp", "limit": -1}, "limit is"),
        ({"transport": "tcp", "limit": 1.0}, "limit is"),
        ({"transport": "tcp", "wait": -0.1}, "wait is"),
        ({"transport": "tcp", "wait": float("nan")}, "wait is 'nan'"),
        ({"transport": "tcp", "wait": float("inf")}, "wait is 'inf'"),
        ({"transport": "tcp", "wait": True}, "wait is 'True'"),
        ({"transport": "tcp", "full": "close"}, "full is 'close'"),
        ({"transport": "tcp", "full": ["drop"]}, "full is"),
        ({"transport": "unix"}, "path is missing"),
        ({"transport": "unix", "path": "s"}, "path is 's'"),
        ({"transport": "unix", "path": "/s\0"}, "path is"),
        ({"transport": "unix", "path": "/s", "mode": 0o10000}, "mode is"),
        ({"transport": "fd"}, "name is missing"),
        ({"transport": "fd", "name": 1.5}, "name is"),
    ],
)
def test_what_cannot_be_asked_for(request_: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError) as caught:
        PortRequest.read(request_)
    assert text in str(caught.value)


NAMES = """transport host port path mode name backlog v6only modes credit key data
    limit wait full""".split()
VALUES = st.sampled_from(
    [
        None,
        True,
        0,
        1,
        -1,
        80,
        65_536,
        2**63,
        1.5,
        "",
        "web",
        "::1",
        "/s",
        "s",
        "\0",
        b"/s",
        [],
        ["x"],
    ]
)


@hypothesis.given(
    st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5).map(dict),
    st.sampled_from(["tcp", "udp", "unix", "fd", None]),
)
def test_anything_is_a_request_or_a_value_error(
    request_: dict[str, Any], transport: str | None
) -> None:
    if transport is not None:
        request_["transport"] = transport
    try:
        request = PortRequest.read(request_)
    except ValueError:
        return
    assert request_["transport"] == request.transport
    assert 0 <= request.port <= 65_535


def test_addresses_are_compared_as_addresses() -> None:
    one = PortRequest.read({"transport": "tcp", "host": "0:0::1", "port": 80})
    two = PortRequest.read({"transport": "tcp", "host": "::1", "port": 80, "backlog": 5})
    assert one.identity({}) == two.identity({})
    assert two.identity({}) == port_zero().identity_of(80)


def port_zero() -> PortRequest:
    return PortRequest.read({"transport": "tcp", "host": "::1", "port": 0, "key": "1"})


def test_keys_tell_ports_apart() -> None:
    identities = {
        PortRequest.read({"transport": transport, "port": 0, "key": key}).identity({})
        for transport in ("tcp", "udp")
        for key in ("1", "2")
    }
    assert 4 == len(identities)


# ---- internet sockets --------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_ipv4(transport: str) -> None:
    bound = opened({"transport": transport, "host": "127.0.0.1"})
    with bound.socket as sock:
        assert sock.getsockname() == bound.address
        assert (transport == "tcp") == is_listening(sock)
        assert not sock.getblocking()
        assert not os.get_inheritable(sock.fileno())


@require("ipv6")
@pytest.mark.parametrize(
    ("host", "v6only", "takes_ipv4"),
    [(None, False, True), (None, True, False), ("::", False, True), ("::", True, False)],
)
def test_all_addresses(host: str | None, v6only: bool, takes_ipv4: bool) -> None:
    """One socket for both families, unless IPv4 is left out."""
    with socket.socket() as reserved:
        # Without it, somebody else might listen at that port of IPv4 by chance.
        reserved.bind(("0.0.0.0", 0))
        port = 0 if takes_ipv4 else reserved.getsockname()[1]
        bound = opened({"transport": "tcp", "host": host, "port": port, "v6only": v6only})
        with bound.socket:
            port = bound.address[1]
            assert ("::", port) == bound.address
            with socket.create_connection(("::1", port)):
                pass
            if takes_ipv4:
                with socket.create_connection(("127.0.0.1", port)):
                    pass
            else:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(("127.0.0.1", port))


def test_all_addresses_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number stands in for IPv6 that is no address family of this kernel."""
    monkeypatch.setattr(socket, "AF_INET6", 45_000)
    with bind_inet(None, 0) as sock:
        assert "0.0.0.0" == sock.getsockname()[0]
        assert socket.AF_INET == sock.family
    for host, v6only in [(None, True), ("::1", False)]:
        with pytest.raises(OSError) as caught:
            bind_inet(host, 0, v6only=v6only)
        assert errno.EAFNOSUPPORT == caught.value.errno


def test_a_port_can_be_bound_again_at_once() -> None:
    """SO_REUSEADDR: connections in TIME_WAIT are no obstacle to a restart."""
    bound = opened({"transport": "tcp", "host": "127.0.0.1"})
    with bound.socket as sock, socket.create_connection(bound.address):  # type: ignore[arg-type]  # TCP: host and port
        sock.setblocking(True)
        sock.accept()[0].close()
    with opened({"transport": "tcp", "host": "127.0.0.1", "port": bound.address[1]}).socket:
        pass


def test_sockets_that_share_a_port_by_option() -> None:
    with bind_inet("127.0.0.1", 0, reuse_port=True) as one:
        port = one.getsockname()[1]
        with bind_inet("127.0.0.1", port, reuse_port=True) as two:
            assert one.getsockname() == two.getsockname()
        with pytest.raises(OSError) as caught:
            bind_inet("127.0.0.1", port)
        assert errno.EADDRINUSE == caught.value.errno


@pytest.mark.parametrize(("backlog", "expected"), [(None, 511), (0, 0), (7, 7)])
def test_backlog(backlog: int | None, expected: int) -> None:
    bound = opened({"transport": "tcp", "host": "127.0.0.1", "backlog": backlog})
    with bound.socket as sock:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
        # Of a listening socket, tcpi_sacked is how many clients may wait.
        assert expected == int.from_bytes(info[28:32], sys.byteorder)


# ---- unix sockets ------------------------------------------------------------------------------


def test_the_mode_is_set_before_anybody_can_connect(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    before = os.umask(0)
    try:
        bound = opened({"transport": "unix", "path": path, "mode": 0o620})
    finally:
        os.umask(before)
    assert 0o620 == stat.S_IMODE(os.stat(path).st_mode)
    assert is_listening(bound.socket)
    bound.close()
    assert not os.path.exists(path)
    bound.close()


def test_a_socket_file_that_cannot_be_finished_is_removed(tmp_path: Path) -> None:
    """No socket file is left behind when something fails after it was made."""
    path = str(tmp_path / "s")
    request = PortRequest(transport="unix", path=path, backlog=2**40)
    with pytest.raises(OverflowError):
        bind(request, ())
    assert not os.path.exists(path)


def test_a_socket_file_that_is_there_already(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    Path(path).write_text("precious")
    with pytest.raises(OSError) as caught:
        opened({"transport": "unix", "path": path})
    assert errno.EADDRINUSE == caught.value.errno
    assert "precious" == Path(path).read_text()


def test_a_file_that_took_the_socket_files_place_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"
    bound = opened({"transport": "unix", "path": str(path)})
    path.unlink()
    path.write_text("precious")
    bound.close()
    assert "precious" == path.read_text()


def test_a_path_that_no_socket_address_holds(tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        opened({"transport": "unix", "path": f"{tmp_path}/{'x' * 108}"})
    assert errno.ENAMETOOLONG == caught.value.errno


# ---- inherited sockets -------------------------------------------------------------------------


def test_an_inherited_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        bound = opened({"transport": "fd", "name": "web"}, {"web": server.fileno()})
        with bound.socket as sock:
            assert server.getsockname() == bound.address
            assert server.fileno() != sock.fileno()
            assert not sock.getblocking()


@pytest.mark.parametrize("name", [b"\0ab\xff", b"\0plain"])
def test_an_inherited_abstract_socket(name: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name + os.urandom(4).hex().encode())
        server.listen()
        bound = opened({"transport": "fd", "name": server.fileno()}, (server.fileno(),))
        with bound.socket:
            assert isinstance(bound.address, str)
            bound.address.encode()
            assert bound.address.startswith("\0")


@pytest.mark.parametrize("name", ["other", 5000, "5000"])
@pytest.mark.parametrize("listen_fds", [{}, (), {"web": 5}, (5,)])
def test_only_what_the_settings_name(name: Any, listen_fds: Any) -> None:
    request = PortRequest.read({"transport": "fd", "name": name})
    for ask in (request.identity, lambda fds: bind(request, fds)):
        with pytest.raises(PermissionError) as caught:
            ask(listen_fds)
        assert errno.EPERM == caught.value.errno


def test_by_number_of_a_named_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        named = {"web": server.fileno()}
        by_name = PortRequest.read({"transport": "fd", "name": "web"})
        by_number = PortRequest.read({"transport": "fd", "name": server.fileno()})
        assert by_name.identity(named) == by_number.identity(named)


def test_descriptors_that_nobody_can_listen_on() -> None:
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    packets = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    packets.bind(b"\0" + os.urandom(8).hex().encode())
    packets.listen()
    try:
        for number, code in [
            (ours.fileno(), errno.EINVAL),
            (reading, errno.ENOTSOCK),
            (datagrams.fileno(), errno.EINVAL),
            (packets.fileno(), errno.EINVAL),
            (9999, errno.EBADF),
        ]:
            with pytest.raises(OSError) as caught:
                opened({"transport": "fd", "name": number}, (number,))
            assert code == caught.value.errno
    finally:
        for one in (ours, theirs, datagrams, packets):
            one.close()
        os.close(reading)
        os.close(writing)
