"""Open sockets with blocking calls and msgpack alone: one ``sendmsg``, one ``recvmsg`` for each.

The least that it asks of Python: no loop of events, and nobody else.
"""

from __future__ import annotations

import array
import os
import signal
import socket
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from benchmarks.programs.common import Arguments, arguments, now, say, spread, tcp_pair

_SIZE: Final = 4096
_ANCILLARY_SIZE: Final = socket.CMSG_SPACE(4)


def receiver(end: socket.socket) -> None:
    """Take every socket; say at each end what it was, and answer each question with the port."""
    received = checksum = 0
    while True:
        data, ancillary, _, _ = end.recvmsg(_SIZE, _ANCILLARY_SIZE)
        body = msgpack.unpackb(data)
        if "end" in body:
            result = {"sent": body["end"], "received": received, "checksum": checksum}
            end.send(msgpack.packb(result))
            received = checksum = 0
            continue
        port = look(ancillary)
        received += 1
        checksum += body["n"] + port
        if "ask" in body:
            end.send(msgpack.packb({"n": body["n"], "port": port}))


def look(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """Take what came along, and close it; returns the port of its other end."""
    (fd,) = array.array("i", ancillary[0][2])
    sock = socket.socket(fileno=fd)
    port: int = sock.getpeername()[1]
    sock.close()
    return port


def send(end: socket.socket, body: Any, sock: socket.socket) -> None:
    """Send one message with a socket."""
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno()]))]
    end.sendmsg([msgpack.packb(body)], ancillary)


def send_for(end: socket.socket, sock: socket.socket, seconds: float, chunk: int) -> dict[str, Any]:
    """Send for so long, then wait until all have arrived."""
    sent, until = 0, now() + seconds
    while now() < until:
        for _ in range(chunk):
            send(end, {"n": sent}, sock)
            sent += 1
    end.send(msgpack.packb({"end": sent}))
    result: dict[str, Any] = msgpack.unpackb(end.recv(_SIZE))
    return result


def ask_for(end: socket.socket, sock: socket.socket, seconds: float) -> dict[str, Any]:
    """Ask about one after another for so long."""
    sent, checksum, until = 0, 0, now() + seconds
    times: list[float] = []
    while (asked := now()) < until:
        send(end, {"n": sent, "ask": True}, sock)
        answer = msgpack.unpackb(end.recv(_SIZE))
        times.append(now() - asked)
        checksum += answer["n"] + answer["port"]
        sent += 1
    return {"sent": sent, "received": len(times), "checksum": checksum, **spread(times)}


def main(given: Arguments) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if not pid:
        ours.close()
        receiver(theirs)
    theirs.close()
    result: dict[str, Any] = {}
    with tcp_pair() as (sock, port):
        for seconds in given.phases():
            started = now()
            if given.text("mode", "send") == "send":
                result = send_for(ours, sock, seconds, given.whole("chunk", 16))
            else:
                result = ask_for(ours, sock, seconds)
            result["seconds"] = now() - started
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    say(port=port, **result)


if __name__ == "__main__":
    main(arguments())
