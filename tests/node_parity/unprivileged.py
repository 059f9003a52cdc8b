"""A primary that may bind no privileged port, and what its workers are told."""

from __future__ import annotations

import ctypes
import json
import os
import sys

import trio

from actorcluster import SCHED_NONE, SCHED_RR
from tests.node_parity.scene import scene

_PR_CAPBSET_DROP = 24
_CAP_NET_BIND_SERVICE = 10


async def main() -> None:
    told = []
    async with scene() as stage:
        for policy in (SCHED_RR, SCHED_NONE):
            worker = await stage.worker()
            answer = await worker.ask(["listen", 42, {"policy": policy}])
            code = (await worker.disconnect()).code
            await stage.everything()
            told.append({"answer": answer, "code": code, "events": stage.kinds(worker)})
    print(json.dumps(told))


if __name__ == "__main__":
    if sys.argv[1:] == ["without"]:
        trio.run(main)
    else:  # root has no more rights than others from the next exec on
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_NET_BIND_SERVICE, 0, 0, 0)
        os.execv(
            sys.executable, [sys.executable, "-m", "tests.node_parity.unprivileged", "without"]
        )
