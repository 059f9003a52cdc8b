"""Ports that supervisors hold beside workers that listen there, or did."""

from __future__ import annotations

from typing import Any

from actorcluster._cluster.binding import PortRequest
from tests.cluster.inproc import open_cluster


async def test_a_port_that_nobody_uses_is_as_its_holder_says() -> None:
    """As long as a worker listens there, and for whom it is the same, it stays as it is."""
    ways: list[dict[str, Any]] = [
        {},
        {"policy": "weighted"},
        {"policy": "weighted", "wait": 5000},
        {"policy": "weighted", "backlog": 7, "full": "drop"},
        {"modes": ["shared"]},
    ]
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(credit=9)
        port = int(cluster.port.address[1])
        asked = PortRequest(transport="tcp", host="127.0.0.1", port=port, policy="weighted")
        held = cluster.ports.pin("some", asked, ())
        assert (("some",), "round_robin") == (cluster.port.held_by, cluster.port.policy)
        cluster.ports.unpin("some", held)
        await puppet.die()
        (before,) = set(cluster.ports._ports.values())
        for way in ways:
            request = PortRequest(transport="tcp", host="127.0.0.1", port=port, **way)
            held = cluster.ports.pin("some", request, ())
            policy = "none" if "modes" in way else way.get("policy", "round_robin")
            assert (("127.0.0.1", port), policy) == (cluster.port.address, cluster.port.policy)
            assert (held is before) == (way == {})
            if policy != "none":
                user = await cluster.puppet()  # so that it is not closed with its holder
                await user.listen(port=port)
                cluster.ports.unpin("some", held)
                await user.die()
