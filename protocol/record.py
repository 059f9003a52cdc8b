"""Writes down what a primary and a worker say: ``python protocol/record.py FILE -- COMMAND...``.

Runs in: neither; a program that stands between the two, standard library only.

It is started in the worker's place and starts the worker itself, on a socket pair of its own. What
either side says goes on to the other, descriptors included, and as whole frames into FILE: JSON in
the form of the preludes of ``vectors/``, with the worker as the one under test.
"""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HEADER = 16
READ = 65536
MOST_DESCRIPTORS = 253
VARIABLE = "ACTORCLUSTER_CHANNEL"


class Record:
    """What has been said, frame by frame, in the order in which frames were complete."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._begun = {"send": b"", "receive": b""}
        self._descriptors = {"send": 0, "receive": 0}

    def add(self, who: str, data: bytes, descriptors: int) -> None:
        """Note bytes, cut into frames by their headers alone."""
        with self._lock:
            self._descriptors[who] += descriptors
            begun = self._begun[who] + data
            while len(begun) >= HEADER:
                end = HEADER + int.from_bytes(begun[2:6], "big")
                if len(begun) < end:
                    break
                self.steps.append(self._step(who, begun[:end]))
                begun = begun[end:]
            self._begun[who] = begun

    def _step(self, who: str, frame: bytes) -> dict[str, Any]:
        step: dict[str, Any] = {who: frame.hex()}
        if count := min(frame[9], self._descriptors[who]):
            self._descriptors[who] -= count
            step["fds"] = [chr(ord("A") + at) for at in range(count)]
        return step


def pump(source: socket.socket, target: socket.socket, record: Record, who: str) -> None:
    """Pass everything on, then the end."""
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * 4)
    while True:
        try:
            data, control, _, _ = source.recvmsg(READ, room)
        except ConnectionResetError:
            data, control = b"", []
        if not data:
            break
        descriptors = array.array("i")
        for level, kind, payload in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(payload[: len(payload) - len(payload) % 4])
        record.add(who, data, len(descriptors))
        try:
            send(target, data, descriptors)
        except (BrokenPipeError, ConnectionResetError):
            break
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it is closed at both ends already


def send(target: socket.socket, data: bytes, descriptors: array.array[int]) -> None:
    """All bytes, with the descriptors at the first of them."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)] if descriptors else []
    sent = target.sendmsg([data], rights)
    target.sendall(data[sent:])


def main(arguments: Sequence[str]) -> int:
    """Record until both have said all; the worker's exit status."""
    if len(arguments) < 3 or arguments[1] != "--":
        print("record.py: usage: record.py FILE -- COMMAND...", file=sys.stderr)
        return 2
    if VARIABLE not in os.environ:
        print("record.py: a primary has to start it, in the worker's place", file=sys.stderr)
        return 2
    path, _, *command = arguments
    primary = socket.socket(fileno=int(os.environ.pop(VARIABLE).removeprefix("fd:")))
    primary.setblocking(True)
    primary.set_inheritable(False)
    ours, theirs = socket.socketpair()
    with primary, ours:
        with theirs:
            environment = {**os.environ, VARIABLE: f"fd:{theirs.fileno()}"}
            worker = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])
        record = Record()
        ways = [(ours, primary, "send"), (primary, ours, "receive")]
        threads = [threading.Thread(target=pump, args=(a, b, record, who)) for a, b, who in ways]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    status = worker.wait()
    said = {"recorded": {"role": "worker", "comment": " ".join(command), "steps": record.steps}}
    Path(path).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
