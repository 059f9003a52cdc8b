"""Handles are found wherever a body holds them."""

from __future__ import annotations

import os

from actorcluster import Handle
from actorcluster._link.held import handles_in
from actorcluster._link.writing import close_all


def test_handles_in_a_body() -> None:
    one, two, three = (Handle.of(os.memfd_create("test")) for _ in range(3))
    try:
        assert [one] == list(handles_in(one))
        body = {"a": [1, one, {"b": [two]}], "c": {"d": three}, "e": one}
        assert 4 == len(list(handles_in(body)))
        assert {id(one), id(two), id(three)} == set(map(id, handles_in(body)))
        assert [] == list(handles_in({"a": [None, b"x", {}]}))
    finally:
        close_all((one, two, three))
