"""A new release of a worker that does not speak our protocol: starting it again cannot help."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from actorcluster import (
    Child,
    RemoteProtocolError,
    Supervisor,
    VersionMismatch,
    WorkerStartError,
    events,
    open_primary,
)
from tests.e2e.supervised import AT_ONCE, comes, dies, puppet, run_tree

PROGRAM = Path(__file__).parent / "programs" / "otherversion.py"
FAULTS = ["other version", "no version", "other words", "too early"]


def other(says: Path) -> Child:
    """A program of another make."""
    code = f"import runpy; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')"
    command = (sys.executable, "-c", code, str(says))
    return Child("other", None, exec=command, backoff=AT_ONCE, shutdown="brutal_kill")


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_restarted_one_does_not_speak_our_protocol(fault: str, tmp_path: Path) -> None:
    """It is parked, stays down whatever becomes of others, and can be started by hand."""
    says = tmp_path / "says"
    says.write_text("")
    async with run_tree([puppet("a"), other(says), puppet("b")]) as scene:
        says.write_text(fault)
        await scene.tell("other", "end")
        await scene.until("gaveup other")
        await scene.calm()
        assert {"a": "up", "other": "parked", "b": "up"} == scene.states()
        await scene.ends("a")
        await scene.until("online a")
        await scene.calm()
        assert "parked" == scene.states()["other"]
        with pytest.raises(WorkerStartError) as caught:
            await scene.primary.restart_child("other")
        assert caught.value.status is not None
        assert "protocol" == caught.value.status.reason
        assert "down" == scene.states()["other"]
        says.write_text("")
        await scene.primary.restart_child("other")
        assert 4 == scene.worker("other").incarnation
    assert [
        *[*dies("other", "exit"), "restart other 1", "fork other", "error other"],
        *[*dies("other", "protocol"), "gaveup other"],
        *["fork other", "error other", *dies("other", "protocol"), *comes("other")],
        *dies("other", "killed"),
    ] == scene.about("other")
    gave_up = next(one for one in scene.events if isinstance(one, events.GaveUp))
    report = gave_up.status.report
    assert report is not None
    assert ("protocol SIGKILL", 2, ["exit 3"]) == (
        report.ended,
        report.incarnation,
        [past.ended for past in report.history],
    )
    errors = [one.error for one in scene.events if isinstance(one, events.Error)]
    expected = VersionMismatch if "version" in fault else RemoteProtocolError
    assert [expected, expected] == list(map(type, errors))


async def test_the_first_one_does_not_speak_our_protocol(tmp_path: Path) -> None:
    """Then the tree cannot be started, as with any first start that fails."""
    says = tmp_path / "says"
    says.write_text("other version")
    with pytest.raises(WorkerStartError, match="other") as caught:
        async with open_primary(Supervisor(children=[other(says)])):
            raise AssertionError("it was started")
    assert caught.value.status is not None
    assert "protocol" == caught.value.status.reason
