"""Saying to a connection whatever a test wants, allowed or not, and reading what it answers."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from actorcluster.errors import RemoteProtocolError
from actorcluster.wire._generated import FLAG_FRAG, FLAG_MORE, AbortCode, Kind, State
from actorcluster.wire.connection import Connection
from actorcluster.wire.frames import Frame, FrameReader, encode_frame
from actorcluster.wire.values import Values
from tests.wire.pair import CLUSTER, joined

NIL = b"\xc0"
MIB = 1 << 20
PROTOCOL = AbortCode.PROTOCOL_ERROR
FD = AbortCode.FD_VIOLATION

HELLO = {"versions": [[1, 0]]}
WELCOME = {"version": [1, 0], "worker": 1, "cluster": CLUSTER}
MESSAGE_WITH_HANDLE = [None, None, [[1, {}]]]


def frame(
    kind: int,
    envelope: Any = None,
    payload: Any = None,
    *,
    channel: int = 0,
    flags: int = 0,
    nfds: int = 0,
) -> bytes:
    """A frame that says whatever the test wants, allowed or not."""
    body = msgpack.packb(envelope), msgpack.packb(payload)
    return encode_frame(kind, channel, *body, flags=flags, nfds=nfds)


def said(connection: Connection) -> list[Frame]:
    """The frames that a connection has queued."""
    reader = FrameReader(Values(), max_frame=1 << 24)
    return reader.feed(b"".join(data for data, _, _ in joined(connection)))


def kinds_said(connection: Connection) -> list[Kind]:
    return [Kind(one.kind) for one in said(connection)]


def breaks(
    connection: Connection, data: bytes, requirement: str, code: AbortCode, fds: Any = ()
) -> RemoteProtocolError:
    """Feed what breaks the protocol; the connection must be closed, and must have said so."""
    with pytest.raises(RemoteProtocolError) as caught:
        connection.receive(data, fds)
    assert (requirement, code) == (caught.value.requirement, caught.value.code)
    assert State.CLOSED is connection.state
    abort = said(connection)[-1]
    assert (Kind.ABORT, code) == (abort.kind, abort.payload["code"])
    return caught.value


def hello(**changes: Any) -> bytes:
    return frame(Kind.HELLO, None, {**HELLO, **changes})


def pieces(kind: int, channel: int, envelope: Any, body: Any, *, cut: int = 10) -> list[bytes]:
    """A message in two fragments."""
    data = msgpack.packb(body)
    more = FLAG_FRAG | FLAG_MORE
    return [
        frame(kind, envelope, data[:cut], channel=channel, flags=more),
        frame(kind, None, data[cut:], channel=channel, flags=FLAG_FRAG),
    ]


def with_fds(data: bytes, count: int) -> bytes:
    """The same frame, declaring descriptors."""
    return data[:9] + bytes([count]) + data[10:]
