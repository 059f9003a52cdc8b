"""What the kit holds against a worker, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

from actorcluster.conform.frames import Cutter, frame
from actorcluster.conform.watch import Watch
from actorcluster.wire._generated import Kind

MESSAGE = frame(Kind.TELL, [None], "x" * 1000)
COST = 16 + 2 + 1003


def watch(window: int) -> Watch:
    """Of a worker that is ready, and may spend so much."""
    found = Watch()
    hear(found, frame(Kind.HELLO, None, {"versions": [[1, 0]], "caps": ["msg"]}))
    welcome = {"version": [1, 0], "worker": 1, "cluster": bytes(16), "caps": ["msg"]}
    found.say(frame(Kind.WELCOME, None, {**welcome, "limits": {"window": window}}))
    hear(found, frame(Kind.READY, None, {}))
    return found


def hear(one: Watch, data: bytes) -> None:
    for heard in Cutter().feed(data, 0.0):
        one.hear(heard)


def broken(one: Watch) -> Sequence[str]:
    return [rule for rule, _ in one.findings]


def settings(**limits: int) -> bytes:
    return frame(Kind.SETTINGS, None, {"limits": limits})


def test_a_window_that_grows_counts_from_settings_ack_on() -> None:
    one = watch(COST)
    one.say(settings(window=2 * COST))
    hear(one, frame(Kind.SETTINGS_ACK, None, None) + MESSAGE + MESSAGE)
    assert [] == broken(one)
    hear(one, MESSAGE)
    assert ["watch.credit-spent"] == broken(one)


def test_before_that_it_is_as_small_as_it_was() -> None:
    one = watch(COST)
    one.say(settings(window=2 * COST))
    hear(one, MESSAGE + MESSAGE)
    assert ["watch.credit-spent"] == broken(one)


def test_a_frame_may_be_longer_as_soon_as_that_was_said() -> None:
    one = watch(1 << 20)
    one.say(settings(max_frame=16_384))
    hear(one, frame(Kind.SETTINGS_ACK, None, None))
    one.say(settings(max_frame=32_768))
    hear(one, frame(Kind.TELL, [None], "x" * 20_000))
    assert [] == broken(one)


def test_who_says_nothing_behind_goodbye_has_kept_to_it() -> None:
    one = watch(1 << 20)
    hear(one, frame(Kind.GOODBYE, None, {"recv": 0}))
    assert [] == broken(one)
    assert "watch.after-goodbye" in one.tried
    hear(one, MESSAGE)
    assert ["watch.after-goodbye"] == broken(one)


def test_a_sender_is_nobody_or_an_actor_of_this_worker() -> None:
    for sender, expected in ((None, []), (1 << 32, []), (2 << 32, ["watch.sender"])):
        one = watch(1 << 20)
        hear(one, frame(Kind.TELL, [None, sender], "hi"))
        assert "watch.sender" in one.tried
        assert expected == broken(one)
