"""What is no worker does not pass, however it fails to be one."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pytest

from actorcluster.conform import Outcome
from tests.conform.kit import tried
from tests.hostile.speech import HELLO, READY, frame

MUTE = {
    "true": ["/bin/true"],
    "cat": ["cat"],
    "sleep": ["sleep", "1000"],
    "yes": ["yes"],
}
PONG = 7
IMPOSTOR = (sys.executable, "-m", "tests.conform.impostors")


@pytest.mark.parametrize("command", MUTE.values(), ids=MUTE)
def test_what_says_nothing_of_the_kind_does_not_pass(command: Sequence[str]) -> None:
    report = tried(command, timeout=1.0)
    assert 1 == report.exit_status
    assert ["hs.hello"] == [one.case.id for one in report.of(Outcome.FAIL)]
    assert report.badge().startswith("not conformant")
    if command == MUTE["true"]:
        assert "the program exited with status 0 before it said HELLO" == report.results[0].text


def test_who_understands_nothing_does_not_pass() -> None:
    report = tried([*IMPOSTOR, "unimplemented"], timeout=1.0)
    assert (1, [Outcome.FAIL]) == (report.exit_status, [one.outcome for one in report.results])


def test_who_says_what_it_once_said_does_not_pass() -> None:
    """A recording of the case that everything begins with gets no further than that."""
    hello = frame(HELLO, None, {"versions": [[1, 0]], "caps": ["msg", "call"]})
    pong = frame(PONG, None, "ping 2")  # the answer to the one PING there
    recording = [
        {"send": hello.hex()},
        {"receive": ""},
        {"send": frame(READY, None, {}).hex()},
        {"receive": ""},
        {"send": pong.hex()},
    ]
    report = tried(
        [*IMPOSTOR, "replay", json.dumps(recording)],
        timeout=5.0,  # it does get as far as that, if slowly
        only=("hs.hello", "pi.empty", "pi.channels", "st.stop"),
    )
    assert 1 == report.exit_status
    failed = {one.case.id for one in report.of(Outcome.FAIL)}
    assert failed >= {"pi.empty", "pi.channels", "st.stop"}


def test_good_manners_are_not_enough() -> None:
    report = tried([*IMPOSTOR, "polite"], timeout=1.0, only=("hs.*", "st.*", "pi.*"))
    assert 1 == report.exit_status
    assert report.of(Outcome.FAIL)
