"""The program that a primary under test starts as its worker: it gives its channel away, and waits.

Runs in: worker

What is said on the channel is said by the kit, one process for all lives, so that this one has next
to nothing to do: it is started with ``python -I -S`` many times a second, and imports only what the
interpreter has built in. Its argument is the path of the kit's socket. The kit then tells it, in
two bytes each time, how to end; it also ends when the kit does.
"""

import _socket
import posix
import sys

# ``E`` status: exit. ``K`` signal: end by that signal. ``I`` signal: ignore it from now on.


def connect(path: str) -> _socket.socket:
    """Connect to a unix socket."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    end.connect(path)
    return end


def ignore(number: int) -> None:
    """Ignore a signal."""
    import signal  # noqa: PLC0415  # it takes its time, and few need it

    signal.signal(number, signal.SIG_IGN)


def main() -> None:
    """Give the channel to the kit; end as it says."""
    kit = connect(sys.argv[1])
    environment = posix.environ
    channel = environment.get(b"ACTORCLUSTER_CHANNEL", b"").decode()
    scheme, _, rest = channel.partition(":")
    held = connect(rest) if scheme == "unix" else None
    number = int(rest) if held is None else held.fileno()
    # The kit asks the channel itself who is at its other end; the rest is said here.
    facts = [
        str(posix.getpid()).encode(),
        str(posix.getppid()).encode(),
        environment.get(b"ACTORCLUSTER_WORKER_ID", b""),
        environment.get(b"ACTORCLUSTER_TOKEN", b""),
        rest.encode() if held is not None else b"",
    ]
    rights = number.to_bytes(4, sys.byteorder)
    kit.sendmsg([b"\t".join(facts)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    posix.close(number)
    while True:
        order = kit.recv(1)
        number = kit.recv(1)[0] if order else 0
        if order == b"I":
            ignore(number)
            kit.send(b"I")
        elif order == b"K":
            posix.kill(posix.getpid(), number)
        else:
            posix._exit(number)


if __name__ == "__main__":
    try:
        main()
    except OSError:  # the kit is gone
        posix._exit(1)
