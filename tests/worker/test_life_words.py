"""What a worker may say in its life, and what becomes of one that says something else."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import trio
import trio.testing

from actorcluster import PeerClosed, RemoteProtocolError, VersionMismatch
from actorcluster.wire import events
from actorcluster.wire._generated import Kind
from actorcluster.wire.frames import encode_frame
from tests.worker.lines import until
from tests.worker.rig import DEAF, Rig, leaves, rig, settle, shape

Clock = trio.testing.MockClock


# ---- what a worker may say --------------------------------------------------------------------


async def test_mail_for_somebody_else_goes_to_the_owner() -> None:
    async with rig() as one:
        await one.comes_online()
        await one.worker.channel.send("x", to="other")
        await settle()
        assert ["x"] == [event.body for event in one.moments.mails]
        assert 0 == len(one.life.mailbox)


async def test_ports_are_the_owners_business() -> None:
    async with rig() as one:
        await one.comes_online()
        one.worker.connection.send_listen({"transport": "tcp", "port": 0})
        one.worker.channel.flush()
        await settle()
        assert isinstance(one.moments.ports[0], events.Listen)


@pytest.mark.parametrize(
    "breach",
    [
        lambda one: one.says(Kind.TELL, "before READY", [None]),
        lambda one: one.says(Kind.STOP, {}),
        lambda one: one.says(Kind.HELLO, {"versions": [[1, 0]]}),
        lambda one: one.says(Kind.READY, "no map"),
    ],
)
async def test_a_broken_protocol(
    breach: Callable[[Rig], None], caplog: pytest.LogCaptureFixture
) -> None:
    """The worker is killed; the primary is none the worse for it."""
    async with rig(DEAF) as one:
        one.worker.connection.send_hello()
        one.worker.channel.flush()
        await one.hears(events.Welcome)
        breach(one)
        assert (None, "SIGKILL", "protocol", False) == shape(await one.ends())
        assert isinstance(one.moments.errors[0], RemoteProtocolError)
        assert "broke the protocol" in caplog.text


async def test_no_common_version() -> None:
    async with rig() as one:
        one.says(Kind.HELLO, {"versions": [[7, 3], [9, 0]]})
        assert "protocol" == (await one.ends()).reason
        error = one.moments.errors[0]
        assert isinstance(error, VersionMismatch)
        assert (((1, 0),), ((7, 3), (9, 0))) == (error.ours, error.theirs)


async def test_a_worker_that_cannot_take_its_settings() -> None:
    async with rig(config={"args": ["x" * 20_000]}) as one:
        one.says(Kind.HELLO, {"versions": [[1, 0]], "limits": {"max_frame": 16384}})
        assert "protocol" == (await one.ends()).reason
        assert "exceeds" in str(one.moments.errors[0])


async def test_goodbye_is_answered_and_then_the_stream_ends() -> None:
    """AWP-ST-2: a worker may wait for that before it goes, having said no end of its own."""
    async with rig() as one:
        await one.comes_online()
        one.says(Kind.GOODBYE, {"recv": 0})
        await until(lambda: one.worker.channel._ended)
        assert events.Goodbye in map(type, one.worker.events)
        one.process_ends()
        assert "normal" == (await one.ends()).reason


async def test_goodbye_twice() -> None:
    """It is said once too often, and that is all."""
    async with rig() as one:
        await one.comes_online()
        one.says(Kind.GOODBYE, {"recv": 0})
        one.says(Kind.GOODBYE, {"recv": 0})
        await settle()
        with pytest.raises(PeerClosed):
            one.life.channel_or_raise().send_nowait("x")
        one.process_ends()
        assert "normal" == (await one.ends()).reason


@pytest.mark.parametrize("before", [Kind.HELLO, Kind.GOODBYE, Kind.LEAVE])
async def test_what_comes_in_one_breath_with_the_end(before: Kind) -> None:
    """When it is acted upon the connection is over already, and there is nothing left to answer."""
    async with rig() as one:
        payload = {"versions": [[1, 0]]} if before == Kind.HELLO else {"recv": 0}
        if before != Kind.HELLO:
            await one.comes_online()
        outbox = one.worker.connection._outbox
        outbox.put(encode_frame(before, 0, b"\xc0", msgpack.packb(payload)))
        one.says(Kind.ABORT, {"code": 15})
        one.process_ends()
        assert "protocol" == (await one.ends()).reason
        assert 1 == len(one.moments.errors)


async def test_the_worker_gives_up(caplog: pytest.LogCaptureFixture) -> None:
    async with rig() as one:
        await one.comes_online()
        one.worker.connection.abort(15, "it hurts\x1b[0m")
        one.worker.channel.flush()
        await settle()
        one.process_ends()
        assert (0, None, "protocol", False) == shape(await one.ends())
        assert r"code 15: it hurts\x1b[0m" in caplog.text
        assert isinstance(one.moments.errors[0], PeerClosed)


async def test_the_worker_gives_up_and_stays(fast_clock: Clock) -> None:
    async with rig() as one:
        await one.comes_online()
        one.worker.connection.abort(15)
        one.worker.channel.flush()
        assert (None, "SIGTERM", "protocol", False) == shape(await one.ends())


async def test_log_lines_are_untrusted_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1, "actorcluster.worker")
    async with rig() as one:
        await one.comes_online()
        one.says(Kind.LOG, ["50 % {done}\nFAKE \x1b]0;title\x07", {"k": 1}], [30, 1.5, "a\rb"])
        one.says(Kind.LOG, ["quiet"], [0, 1.5, "x"])
        one.says(Kind.LOG, ["loud"], [255, 1.5, "x"])
        one.says(Kind.LOG, ["not a level"], ["high", 1.5, "x"])
        one.says(Kind.LOG, "no list", [30, 1.5, "x"])
        one.says(Kind.LOG, [5], [30, "soon", "x"])
        await settle()
        assert "normal" == (await leaves(one)).reason
    ours = [record for record in caplog.records if record.name == "actorcluster.worker.w"]
    assert r"a\rb: 50 % {done}\nFAKE \x1b]0;title\x07" == ours[0].getMessage()
    assert [logging.WARNING, 1, logging.CRITICAL] == [record.levelno for record in ours]


@pytest.mark.parametrize("info", [{}, {"code": 3}, {"message": [1]}, {"remote": {"stack": 1}}])
async def test_odd_last_words(info: dict[str, Any]) -> None:
    async with rig() as one:
        await one.comes_online()
        one.says(Kind.EXIT_INFO, info)
        one.says(Kind.EXIT_INFO, "no map")
        assert "normal" == (await leaves(one)).reason


async def test_undeliverable_is_an_event_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with rig() as one:
        await one.comes_online()
        assert one.life.channel is not None
        await one.life.channel.send("x")
        one.says(Kind.UNDELIVERABLE, {"code": "mailbox_full", "message": "a\nb"}, [1, None])
        await settle()
        assert r"message 1 was not delivered: mailbox_full (a\nb)" in caplog.text
        assert isinstance(one.moments.errors[0], PeerClosed)


async def test_cancel_of_what_was_never_asked() -> None:
    async with rig() as one:
        await one.comes_online()
        one.says(Kind.CANCEL, channel=101)
        await settle()
        assert "normal" == (await leaves(one)).reason


async def test_what_goes_wrong_on_our_side_of_the_channel(
    caplog: pytest.LogCaptureFixture, fast_clock: Clock
) -> None:
    """An error in this program ends one life, and is told with its traceback."""
    async with rig() as one:
        await one.comes_online()

        def fail(_: Any) -> None:
            raise ZeroDivisionError("on purpose")

        one.moments.mail = fail  # type: ignore[assignment]  # fails in its place
        await one.worker.channel.send("x", to="other")
        assert "lost" == (await one.ends()).reason
        assert "on purpose" in caplog.text
        assert 1 == len(one.moments.errors)


def test_pids_are_real() -> None:
    """The rig would prove nothing otherwise."""

    async def main() -> None:
        async with rig() as one:
            await settle()
            assert one.life.process is not None
            os.kill(one.life.process.pid, 0)

    trio.run(main)
