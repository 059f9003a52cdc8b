"""A message before it is queued: whatever is wrong with it, its handles are still their giver's."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest
import trio

from actorcluster._link import kinds
from actorcluster._link.handles import HANDLES, Handle
from actorcluster._link.parcel import Parcel
from actorcluster.errors import HandleError, LocalProtocolError, MessageTooLarge
from actorcluster.wire import events
from actorcluster.wire._generated import BUILT_CAPABILITIES, Capability, HandleKind
from tests.descriptors import is_open, memfd
from tests.wire.pair import ConnectionPair


def joined(**worker: Any) -> ConnectionPair:
    """Two cores with the handshake done, which know `Handle`."""
    pair = ConnectionPair(primary={"handles": HANDLES}, worker={"handles": HANDLES, **worker})
    pair.start()
    return pair


def collect(pair: ConnectionPair) -> events.Event:
    """What the worker was told; both sides' descriptors are closed."""
    for batch in pair.primary.data_to_send():
        fds = [os.dup(handle.fileno()) for handle in batch.handles]
        for handle in batch.handles:
            handle.close()
        (event,) = pair.worker.receive(b"".join(batch.buffers), fds)
        for handle in getattr(event, "handles", ()):
            handle.close()
    return event


def test_a_plain_message() -> None:
    pair = joined()
    parcel = Parcel(pair.primary, [1, 2])
    assert (3, 256, False) == (parcel.size, parcel.charge, parcel.is_call)
    assert 1 == parcel.tell()
    event = collect(pair)
    assert isinstance(event, events.TellReceived)
    assert ([1, 2], {}) == (event.body, event.meta)


def test_a_call() -> None:
    pair = joined()
    parcel = Parcel(pair.primary, None, call=True)
    channel = parcel.call(ttl=1.5)
    event = collect(pair)
    assert isinstance(event, events.CallReceived)
    assert (channel, {"ttl": 1500.0}) == (event.channel, event.meta)


def test_an_address() -> None:
    pair = joined()
    address = {"to": "web", "meta": {"k": 1}}
    parcel = Parcel(pair.primary, None, address=address)
    parcel.tell()
    event = collect(pair)
    assert isinstance(event, events.TellReceived)
    assert ("web", {"k": 1}) == (event.to, event.meta)


def test_the_handle_beside_is_named() -> None:
    """Also beside a meta map of the caller's, which is left alone."""
    pair = joined()
    meta = {"k": 1}
    Parcel(pair.primary, None, memfd(), address={"meta": meta}).tell()
    event = collect(pair)
    assert isinstance(event, events.TellReceived)
    assert {"k": 1, "handle": 0} == event.meta
    assert {"k": 1} == meta


@pytest.mark.parametrize("keep_open", [False, True])
def test_all_handles_are_treated_alike(keep_open: bool) -> None:
    """Given beside, or anywhere in the body; the same one twice is one."""
    pair = joined()
    fd, handles = memfd(), [Handle.of(memfd()) for _ in range(2)]
    body = {"a": [handles[0]], "b": {"c": handles[1]}, "d": handles[0]}
    parcel = Parcel(pair.primary, body, fd, keep_open=keep_open)
    assert not any(handle.closed for handle in handles)
    parcel.tell()
    event = collect(pair)
    assert isinstance(event, events.TellReceived)
    assert 3 == len(event.handles)
    assert [keep_open] * 3 == [is_open(fd), *(not handle.closed for handle in handles)]
    if keep_open:
        os.close(fd)
        for handle in handles:
            handle.close()


@pytest.mark.parametrize("keep_open", [False, True])
def test_the_kernel_is_asked_once(keep_open: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a socket is: for the charge, for the envelope, for the handle that is sent."""
    pair = joined()
    asked, socket_kind = [], kinds.socket_kind

    def ask(sock: socket.socket) -> HandleKind:
        asked.append(sock)
        return socket_kind(sock)

    monkeypatch.setattr(kinds, "socket_kind", ask)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        Parcel(pair.primary, None, ours, keep_open=keep_open).tell()
        assert 1 == len(asked)
        event = collect(pair)
        assert isinstance(event, events.TellReceived)
        assert keep_open is not (-1 == ours.fileno())


def test_a_handle_beside_and_in_the_body() -> None:
    pair = joined()
    handle = Handle.of(memfd())
    Parcel(pair.primary, [handle], handle).tell()
    event = collect(pair)
    assert isinstance(event, events.TellReceived)
    assert 1 == len(event.handles)


def test_the_charge_covers_what_is_said_about_kept_handles() -> None:
    """In the body too, where the codec sees the handle itself."""
    pair = joined()
    handle, body = Handle.of(memfd()), b"x" * 300
    kept = Parcel(pair.primary, [handle, body], keep_open=True)
    moved = Parcel(pair.primary, [handle, body])
    assert kept.charge > moved.charge
    before = pair.primary.available
    kept.tell()
    assert kept.charge == before - pair.primary.available
    collect(pair)
    before = pair.primary.available
    moved.tell()
    assert moved.charge == before - pair.primary.available
    collect(pair)


def test_what_is_wrong_is_found_before_anything_is_taken() -> None:
    pair = joined(capabilities=BUILT_CAPABILITIES - {Capability.FRAG})
    other = joined(handle_names=["pipe-read"])
    fd, handle = memfd(), Handle.of(memfd())
    for error, connection, body, options in (
        (TypeError, pair.primary, [handle, object()], {}),
        (MessageTooLarge, pair.primary, [handle, bytes(2_000_000)], {}),
        (MessageTooLarge, pair.primary, [handle], {"address": {"to": "x" * 10_000}}),
        (HandleError, other.primary, [handle], {}),
        (TypeError, pair.primary, [handle], {"handle": object()}),
    ):
        with pytest.raises(error):
            Parcel(connection, body, **{"handle": fd, **options})  # type: ignore[arg-type]  # wrong on purpose, one of them
    assert is_open(fd)
    assert not handle.closed
    handle.close()
    with pytest.raises(trio.ClosedResourceError):
        Parcel(pair.primary, [handle], fd)
    assert is_open(fd)
    os.close(fd)


def test_taken_twice() -> None:
    """The second time nothing happens: it is not ours any more."""
    pair = joined()
    ours, theirs = socket.socketpair()
    with theirs:
        parcel = Parcel(pair.primary, None, ours)
        parcel.tell()
        with pytest.raises(trio.ClosedResourceError):
            parcel.tell()
        assert isinstance(collect(pair), events.TellReceived)
        assert b"" == theirs.recv(1)


def test_a_reply() -> None:
    pair = joined()
    channel = pair.ask(pair.worker, "x")
    pair.run()
    Parcel(pair.primary, "y", memfd()).reply(channel)
    event = collect(pair)
    assert isinstance(event, events.ReplyReceived)
    assert ("y", {"handle": 0}) == (event.body, event.meta)
    with pytest.raises(LocalProtocolError):
        Parcel(pair.primary, "y").reply(channel)
