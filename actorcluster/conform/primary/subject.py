"""The primary under test: a program, watched from outside.

Runs in: both
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final, final

import trio

from ..process import status_text

__all__ = ["TEST_WORKER", "TEST_WORKERS", "Subject", "Unfit"]

TEST_WORKER: Final = "ACTORCLUSTER_TEST_WORKER"
TEST_WORKERS: Final = "ACTORCLUSTER_TEST_WORKERS"

#: Lines of its stderr that are shown.
_TAIL: Final = 20
_LONGEST_LINE: Final = 1000
#: For a program that has closed its output, to end as well.
_SECONDS_TO_END: Final = 1


class Unfit(Exception):
    """The program is no primary that can be tested; the text says why."""


@final
class Subject:
    """A running primary.

    Attributes:
        port: of the innocent worker.
        pid: of the program, which need not be the primary itself.
    """

    def __init__(self, process: trio.Process, log: IO[bytes]) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid
        self.port = 0

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        worker: Sequence[str],
        lanes: int = 1,
        patience: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> Subject:
        """Start the program and wait until it says which port the innocent worker has.

        Args:
            worker: the command line of its hostile workers.

        Raises:
            Unfit: it cannot be started, ends, or says nothing; or a word of `worker` has a space.
        """
        if any(word.split() != [word] for word in worker):
            raise Unfit(f"the kit's own path must not have spaces in it: {worker}")
        environment = {**(os.environ if env is None else env)}
        environment |= {TEST_WORKER: " ".join(worker), TEST_WORKERS: str(lanes)}
        environment["ACTORCLUSTER_CONFORMANCE"] = "1"
        log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `stop`
        try:
            process = await trio.lowlevel.open_process(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        except OSError as exc:
            log.close()
            raise Unfit(f"{argv[0]} cannot be started: {exc}") from None
        subject = cls(process, log)
        try:
            with trio.fail_after(patience):
                subject.port = await subject._hear_port()
        except BaseException as exc:
            try:
                why = await subject._why_unfit(exc, patience)
            finally:
                tail = subject.tail()
                await subject.stop(0)
            if not why:
                raise
            text = f"{argv[0]} {why}; annex B of protocol/SPEC.md has what is asked of it\n{tail}"
            raise Unfit(text.rstrip()) from None
        return subject

    async def _why_unfit(self, exc: BaseException, patience: float) -> str:
        """Say in words what went wrong while its port was waited for; empty: nothing of its own."""
        if isinstance(exc, trio.TooSlowError):
            return f"did not say `port NUMBER` within {patience:g} s"
        if isinstance(exc, ValueError):
            return f"says {exc}, and not `port NUMBER`"
        if not isinstance(exc, EOFError):
            return ""
        with trio.move_on_after(_SECONDS_TO_END):
            await self.wait()
        how = "closed its output" if self.status is None else status_text(self.status)
        return f"{how} and has not said `port NUMBER`"

    async def _hear_port(self) -> int:
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            data = await self._process.stdout.receive_some(1)
            if not data and not line:
                raise EOFError
            if not data or len(line) > _LONGEST_LINE:
                break
            line += data
        word, _, number = line.partition(b" ")
        if word != b"port" or not number.strip().isdigit():
            raise ValueError(repr(line.decode(errors="replace")))
        return int(number)

    @property
    def status(self) -> int | None:
        """How the program has ended; None while it lives."""
        return self._process.poll()

    async def wait(self) -> None:
        """Wait until the program has ended."""
        await self._process.wait()

    def tail(self) -> str:
        """The last lines of what it wrote to stderr."""
        size = os.fstat(self._log.fileno()).st_size
        data = os.pread(self._log.fileno(), 65536, max(0, size - 65536))
        return "\n".join(data.decode(errors="replace").splitlines()[-_TAIL:])

    async def stop(self, patience: float = 15) -> int:
        """End it: first by closing its stdin; returns its exit status.

        Cancellation:
            It is killed.
        """
        with trio.CancelScope(shield=True):
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            await self._process.stdin.aclose()
            with trio.move_on_after(patience):
                await self._process.wait()
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGKILL)
                await self._process.wait()
            await self._process.stdout.aclose()
            self._log.close()
        status = self._process.returncode
        assert status is not None
        return status


# ---- what the kernel says of a process --------------------------------------------------------


def descriptors(pid: int, served: int) -> tuple[Counter[str], int]:
    """Which it has that have nothing to do with ports, by kind, and how many have; 0 if it is gone.

    The latter are counted apart because a primary may keep a port, and who waits there, for the
    next worker that asks.

    Args:
        served: a port whose connections are none of these.
    """
    links = []
    with contextlib.suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    sockets = {link for link in links if link.startswith("socket:")}
    ports = _of_ports(pid, sockets, f":{served:04X}")
    others = Counter(link.partition(":[")[0] for link in links if link not in ports)
    return others, len(ports)


def _of_ports(pid: int, sockets: set[str], served: str) -> set[str]:
    """Those of its sockets that are of ports, and who waits there.

    A client that waits and has reset its connection leaves a socket that no table has any more: all
    of those count as such, for nobody can say where they waited.
    """
    found, waiting, bound, known = set(), [], set(), set()
    for name, state, inode in (("tcp", "0A", 9), ("tcp6", "0A", 9), ("udp", "07", 9),
                               ("udp6", "07", 9), ("unix", "00010000", 6)):  # fmt: skip
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{name}") as file:
            for line in file:
                words = line.split()
                if len(words) <= inode or (link := f"socket:[{words[inode]}]") not in sockets:
                    continue
                known.add(link)
                address = words[1][-5:]
                if words[3] == state:
                    found.add(link)
                    bound.add(address)
                elif address != served:
                    waiting.append((address, link))
    return found | {link for address, link in waiting if address in bound} | (sockets - known)


def memory(pid: int) -> int:
    """Resident bytes; 0 if it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0
