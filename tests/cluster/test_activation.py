"""What an environment says about sockets that were passed."""

from __future__ import annotations

import os

import pytest

from actorcluster._cluster.activation import passed, read


@pytest.mark.parametrize(
    ("count", "names", "expected"),
    [
        ("0", None, {}),
        ("2", None, {"unknown": 3, "unknown.2": 4}),
        ("2", "web:admin", {"web": 3, "admin": 4}),
        ("3", "a.socket:a.socket:a.socket", {"a.socket": 3, "a.socket.2": 4, "a.socket.3": 5}),
        ("3", "a:a.2:a", {"a": 3, "a.2": 4, "a.3": 5}),
        ("3", "a:a:a.2", {"a": 3, "a.2": 4, "a.2.2": 5}),
        ("2", ":", {"": 3, ".2": 4}),
    ],
)
def test_names(count: str, names: str | None, expected: dict[str, int]) -> None:
    environ = {"LISTEN_PID": "17", "LISTEN_FDS": count}
    if names is not None:
        environ["LISTEN_FDNAMES"] = names
    assert expected == read(environ, 17)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({}, "LISTEN_PID and LISTEN_FDS are not in the environment"),
        ({"LISTEN_PID": "17"}, "LISTEN_PID and LISTEN_FDS are not in the environment"),
        ({"LISTEN_PID": "18", "LISTEN_FDS": "1"}, "LISTEN_PID=18 is not this process, which is 17"),
        ({"LISTEN_PID": "17", "LISTEN_FDS": "-1"}, "LISTEN_FDS=-1 is no number of descriptors"),
        ({"LISTEN_PID": "17", "LISTEN_FDS": "²"}, "LISTEN_FDS=² is no number of descriptors"),
        ({"LISTEN_PID": "17", "LISTEN_FDS": "9" * 9}, "is no number of descriptors"),
        (
            {"LISTEN_PID": "17", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"},
            "LISTEN_FDNAMES=a are not 2 names",
        ),
    ],
)
def test_none_for_this_process(environ: dict[str, str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(environ, 17)


def test_it_is_said_why(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert {} == passed()
    assert f"listen_fds='systemd', but LISTEN_PID={os.getpid() + 1} is not this" in caplog.text
