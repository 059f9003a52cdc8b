"""Payloads in memory files: made, read, and refused whatever else they are."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from actorcluster._link import bulk as bulk_module
from actorcluster._link.bulk import make_bulk, read_bulk
from actorcluster.wire import events
from actorcluster.wire._generated import BUILT_CAPABILITIES, HandleKind, Kind
from actorcluster.wire.connection import Connection
from actorcluster.wire.frames import encode_frame

SHRINK, GROW, WRITE, FUTURE_WRITE = 2, 4, 8, 16
ALL = SHRINK | GROW | WRITE
MEMFD = int(HandleKind.MEMFD)


def memfd(data: bytes, seals: int = ALL, flags: int = os.MFD_ALLOW_SEALING) -> int:
    fd = os.memfd_create("test", flags | os.MFD_CLOEXEC)
    os.write(fd, data)
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


# ---- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100_000, 5_000_000])
def test_there_and_back(size: int) -> None:
    data = os.urandom(size)
    handle = make_bulk(memoryview(data))
    assert handle is not None
    assert "memfd" == handle.kind
    assert data == read_bulk(handle.fileno(), size)
    assert data == read_bulk(handle.fileno(), size)  # wherever it was read up to
    with pytest.raises(PermissionError):
        os.write(handle.fileno(), b"x")
    with pytest.raises(PermissionError):
        os.truncate(handle.fileno(), 0)
    with pytest.raises(PermissionError):
        fcntl.fcntl(handle.fileno(), fcntl.F_ADD_SEALS, FUTURE_WRITE)
    handle.close()


def test_without_a_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise OSError(errno.EMFILE, "no room")

    monkeypatch.setattr(os, "memfd_create", fail)
    assert make_bulk(b"x") is None


def test_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "write", fail)
    assert make_bulk(b"x") is None


@pytest.mark.parametrize(
    "seals", [0, SHRINK | GROW, SHRINK | WRITE, GROW | WRITE, 7 | FUTURE_WRITE]
)
def test_what_may_change(seals: int) -> None:
    fd = memfd(b"data", seals)
    assert read_bulk(fd, 4) is None
    os.close(fd)


@pytest.mark.parametrize("size", [3, 5, 2**62])
def test_lies_about_its_size(size: int) -> None:
    fd = memfd(b"data")
    assert read_bulk(fd, size) is None
    os.close(fd)


def others(directory: Path) -> Iterator[int]:
    path = directory / "file"
    path.write_bytes(b"data")
    yield os.open(path, os.O_RDONLY)
    yield os.open(directory, os.O_RDONLY)
    yield os.open("/dev/zero", os.O_RDONLY)
    yield socket.socket().detach()
    reader, writer = os.pipe()
    os.close(writer)
    yield reader
    yield memfd(b"data", 0, flags=0)


def test_what_is_no_memory_file(tmp_path: Path) -> None:
    for fd in others(tmp_path):
        assert read_bulk(fd, 4) is None
        os.close(fd)
    assert read_bulk(-1, 4) is None


# ---- messages -----------------------------------------------------------------------------------


def pair(**limits: int) -> tuple[Connection, Connection]:
    """A primary and a worker, introduced to each other."""
    primary, worker = Connection("primary", limits=limits), Connection("worker")
    for side in (primary, worker):
        side.offer_bulk(read_bulk)
    worker.send_hello()
    pass_on(worker, primary)
    primary.send_welcome(worker=1, cluster=bytes(16), name="w", config={})
    pass_on(primary, worker)
    worker.send_ready()
    pass_on(worker, primary)
    return primary, worker


def pass_on(sender: Connection, receiver: Connection) -> list[Any]:
    data = b"".join(bytes(b) for batch in sender.data_to_send() for b in batch.buffers)
    return receiver.receive(data)


def tell(payload: Any, meta: Any, kinds: list[int], **options: Any) -> bytes:
    envelope = [None, None, [[kind, {}] for kind in kinds], meta]
    body = msgpack.packb(envelope), msgpack.packb(payload)
    channel = options.get("channel", 0)
    kind = Kind.CALL if channel else Kind.TELL
    return encode_frame(kind, channel, *body, nfds=len(kinds))


def given(data: bytes, fds: list[int], **limits: int) -> tuple[Connection, list[Any]]:
    """What a primary makes of a frame; its own copies of descriptors are closed."""
    primary, _ = pair(**limits)
    found = primary.receive(data, fds)
    for event in found:
        for handle in getattr(event, "handles", ()):
            os.close(handle.fd)
    for fd in primary.take_discarded():
        os.close(fd)
    return primary, found


def answers(connection: Connection) -> list[tuple[str, str]]:
    """Kinds and codes of errors."""
    from tests.wire.vectors import split_frames

    data = b"".join(bytes(b) for batch in connection.data_to_send() for b in batch.buffers)
    frames = [frame for frame in split_frames(data) if frame["kind"] in ("UNDELIVERABLE", "ERROR")]
    return [(frame["kind"], frame["payload"]["code"]) for frame in frames]


def test_a_payload_in_a_file() -> None:
    packed = msgpack.packb({"x": [1, 2, 3]})
    data = tell(None, {"bulk": {"size": len(packed)}, "other": 5}, [MEMFD])
    _, found = given(data, [memfd(packed)])
    (event,) = found
    assert isinstance(event, events.TellReceived)
    assert ({"x": [1, 2, 3]}, (), {"other": 5}) == (event.body, event.handles, event.meta)


def test_other_handles_stay() -> None:
    packed = msgpack.packb([msgpack.ExtType(1, b"\x00"), 7])
    data = tell(None, {"bulk": {"size": len(packed)}}, [MEMFD, MEMFD])
    other = memfd(b"other")
    _, (event,) = given(data, [other, memfd(packed)])
    assert [other] == [handle.fd for handle in event.handles]
    assert (other, 7) == (event.body[0].fd, event.body[1])


def test_it_costs_as_if_it_were_in_the_frame() -> None:
    packed = msgpack.packb(bytes(10_000))
    meta = {"bulk": {"size": len(packed)}}
    data = tell(None, meta, [MEMFD])
    _, (event,) = given(data, [memfd(packed)])
    assert len(data) - 1 + len(packed) == event.charge


FAULTS: dict[str, tuple[Any, Any, list[int], str]] = {
    "no size": (None, {}, [MEMFD], "bad_payload"),
    "no map": (None, 7, [MEMFD], "bad_payload"),
    "a size of text": (None, {"size": "4"}, [MEMFD], "bad_payload"),
    "a size of true": (None, {"size": True}, [MEMFD], "bad_payload"),
    "nothing": (None, {"size": 0}, [MEMFD], "bad_payload"),
    "less than nothing": (None, {"size": -4}, [MEMFD], "bad_payload"),
    "no handle": (None, {"size": 4}, [], "bad_payload"),
    "another kind": (None, {"size": 4}, [int(HandleKind.FILE)], "bad_payload"),
    "another kind last": (None, {"size": 4}, [MEMFD, int(HandleKind.FILE)], "bad_payload"),
    "a payload besides": (5, {"size": 4}, [MEMFD], "bad_payload"),
    "another size": (None, {"size": 5}, [MEMFD], "unsupported_handle"),
    "too large": (None, {"size": 70_000}, [MEMFD], "too_large"),
    "far too large": (None, {"size": 2**63}, [MEMFD], "too_large"),
}


@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_spoils_one_message(fault: str, channel: int) -> None:
    payload, about, kinds, code = FAULTS[fault]
    data = tell(payload, {"bulk": about}, kinds, channel=channel)
    fds = [memfd(msgpack.packb([1, 2, 3])) for _ in kinds]
    primary, found = given(data, fds, max_message=65536)
    assert [] == found
    assert [("ERROR" if channel else "UNDELIVERABLE", code)] == answers(primary)
    packed = msgpack.packb("next")
    more = tell(None, {"bulk": {"size": len(packed)}}, [MEMFD])
    (event,) = primary.receive(more, [memfd(packed)])
    assert isinstance(event, events.TellReceived)
    assert "next" == event.body
    for fd in primary.take_discarded():
        os.close(fd)


@pytest.mark.parametrize(
    "packed",
    [
        b"\xc1\xc1",
        b"\x01\x02",
        b"\xa5hell",
        b"\x91" * 100 + b"\xc0",
        b"\xdd\xff\xff\xff\xff",
        b"\xd4\x01\x00",  # the file itself
        b"\xd4\x01\x01",
        b"\x81\x01\x02",
        b"\xa1\xff",
    ],
)
def test_what_the_file_holds_is_no_body(packed: bytes) -> None:
    data = tell(None, {"bulk": {"size": len(packed)}}, [MEMFD])
    primary, found = given(data, [memfd(packed)])
    assert [] == found
    assert [("UNDELIVERABLE", "bad_payload")] == answers(primary)


@pytest.mark.parametrize("seals", [0, SHRINK | GROW])
def test_a_file_that_may_change(seals: int) -> None:
    packed = msgpack.packb("text")
    data = tell(None, {"bulk": {"size": len(packed)}}, [MEMFD])
    primary, found = given(data, [memfd(packed, seals)])
    assert [] == found
    assert [("UNDELIVERABLE", "unsupported_handle")] == answers(primary)


def test_where_it_is_not_in_force_it_is_a_key_like_any_other() -> None:
    primary, worker = Connection("primary"), Connection("worker")
    worker.send_hello()
    pass_on(worker, primary)
    primary.send_welcome(worker=1, cluster=bytes(16), name="w", config={})
    pass_on(primary, worker)
    worker.send_ready()
    pass_on(worker, primary)
    assert "bulk.memfd" in BUILT_CAPABILITIES - primary.capabilities
    fd = memfd(b"data")
    (event,) = primary.receive(tell(None, {"bulk": {"size": 4}}, [MEMFD]), [fd])
    assert isinstance(event, events.TellReceived)
    assert ({"bulk": {"size": 4}}, [fd]) == (event.meta, [handle.fd for handle in event.handles])
    os.close(fd)


def test_the_threshold_is_what_was_measured() -> None:
    assert 2 * 1024 * 1024 == bulk_module.BULK_FROM
