"""Workers that have as many connections as they may."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from tests.node_parity.clauses import clause
from tests.node_parity.scene import Client, scene, shape
from tests.worker.lines import until


async def test_declining(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    async with scene() as stage:
        workers = [
            await stage.worker(["listen_unix", path, None, {"max_connections": limit}])
            for limit in (0, 1, 9)
        ]
        clients = [Client(await trio.open_unix_socket(path)) for _ in range(10)]
        served = [await client.served_by() for client in clients]
        with clause("RR-08.a"):
            assert [0, 1, 9] == [served.count(worker.id) for worker in workers]
        late = Client(await trio.open_unix_socket(path))
        await trio.testing.wait_all_tasks_blocked(0.05)
        (state,) = stage.primary.statistics().ports
        with clause("RR-08.b"):
            assert (10, 0) == (sum(state.dealt.values()), state.dropped)
        await clients[served.index(workers[1].id)].stream.aclose()
        with clause("RR-08.c"):
            assert workers[1].id == await late.served_by()
        for client in [*clients, late]:
            await client.stream.aclose()
        with clause("RR-08.d"):
            assert (0, None) == shape(await workers[0].disconnect())[:2]


async def test_dropping() -> None:
    nothing = {"max_connections": 0, "when_full": "drop"}
    async with scene() as stage:
        worker = await stage.worker()
        ((_, port),) = await worker.ask(["listen", 0, nothing])
        async with await Client.connect(port) as client:
            with clause("RR-09.a"):
                assert "" == await client.line()
        with clause("RR-09.b"):
            assert 1 == stage.primary.statistics().ports[0].dropped
        with clause("RR-09.c"):
            assert 0 == stage.primary.statistics().ports[0].dealt_again

        other = await stage.worker()
        await other.ask(["listen", port, {"max_connections": 1}])
        first = await Client.connect(port)
        with clause("RR-09.d"):
            assert other.id == await first.served_by()
        async with await Client.connect(port) as client:
            with clause("RR-09.e"):
                assert "" == await client.line()
        await first.stream.aclose()
        await until(lambda: not stage.primary.statistics().ports[0].workers[other.id].open)
        async with await Client.connect(port) as client:
            with clause("RR-09.f"):
                assert other.id == await client.served_by()
        with clause("RR-09.g"):
            assert [0, 0] == [(await one.disconnect()).code for one in (worker, other)]
