"""Clients without a worker, on all ports together: half of the descriptors is left to others."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator

from trio.testing import MockClock, wait_all_tasks_blocked

from actorcluster import Peek
from actorcluster._cluster.ports import PortStatistics
from tests.cluster.inproc import Cluster, connect, open_cluster, until


@contextlib.contextmanager
def half_taken() -> Iterator[int]:
    """Lower the limit of open files to a little more than twice those that are open.

    Yields:
        half of it.
    """
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    half = lowest_free + 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * half, before[1]))
    try:
        yield half
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def ports(cluster: Cluster) -> tuple[PortStatistics, ...]:
    return cluster.ports.statistics()


def waiting(cluster: Cluster) -> list[int]:
    return [port.waiting for port in ports(cluster)]


async def test_those_that_wait(mock_clock: MockClock) -> None:
    """Where one port has taken all there is, others leave theirs to the kernel."""
    async with open_cluster() as cluster:
        puppet = await cluster.puppet()
        for key in ("1", "2"):
            await puppet.listen(key=key, credit=0, wait=50_000)
        one, two = (port.address for port in ports(cluster))
        with half_taken() as half:
            for _ in range(half + 1):
                connect(one).close()  # it waits all the same
            await until(lambda: [half, 0] == waiting(cluster))
            for _ in range(3):
                connect(two).close()
            await wait_all_tasks_blocked()
            assert [half, 0] == waiting(cluster)
            mock_clock.jump(50)
            await until(lambda: half == ports(cluster)[0].timed_out)
            mock_clock.jump(0.1)
            await until(lambda: [1, 3] == waiting(cluster))


async def test_those_that_are_looked_at(mock_clock: MockClock) -> None:
    """The oldest goes to the next in turn, but for one."""
    policies = {"lines": Peek(lambda *_: None, until=b"\n")}
    async with open_cluster(policies=policies) as cluster:
        puppet = await cluster.puppet()
        await puppet.listen(key="1", credit=0, wait=50_000)
        await puppet.listen(key="2", credit=9, policy="lines")
        one, two = (port.address for port in ports(cluster))
        with half_taken() as half:
            for _ in range(half):
                connect(one).close()
            await until(lambda: [half, 0] == waiting(cluster))
            for number in range(3):
                cluster.keep(connect(two))
                await until(lambda: (1, number) == looked_at(cluster))  # noqa: B023  (waited for in the same turn)
        puppet.read()


def looked_at(cluster: Cluster) -> tuple[int, int]:
    port = ports(cluster)[1]
    return port.peeking, port.peek_fallbacks
