"""Worker processes, with a primary of a few lines at the other end."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import unittest

from awp.awp_v1 import Abort, Kind

from .primary import PLACE, SECONDS, started

CONFORMANCE = str(PLACE / "conformance.py")

STUCK = """
import asyncio, time, awp
async def main(worker):
    worker.serving()
    await asyncio.sleep(0.01)
    time.sleep(60)
awp.run(main)
"""
DEAF = """
import asyncio, awp
async def main(worker):
    worker.serving()
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass
awp.run(main)
"""
ENVIRONMENT = """
import os, subprocess, sys, awp
async def main(worker):
    names = "('CHANNEL', 'WORKER_ID', 'LIMITS', 'TOKEN')"
    code = f"import os; print([n for n in {names} if 'ACTORCLUSTER_' + n in os.environ])"
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
awp.run(main)
"""
FAILS = """
import awp
async def main(worker):
    raise LookupError("nothing here")
awp.run(main)
"""
DROPS = """
import awp
async def main(worker):
    async for message in worker:
        del message
awp.run(main)
"""
ASKS = """
import awp
async def main(worker):
    try:
        await worker.call(None, "who?", timeout=0.05)
    except TimeoutError:
        await worker.tell(None, "nobody")
    await worker.stopping.wait()
awp.run(main)
"""


class Ends(unittest.TestCase):
    """How a worker ends."""

    def test_stop(self) -> None:
        with started(CONFORMANCE) as line:
            line.say(Kind.STOP, 0, None, {"deadline": 5000, "reason": 5})
            _, said = line.until(Kind.GOODBYE)
            self.assertEqual({"reason": 5, "recv": 0}, said[1])
            self.assertRaises(EOFError, line.frame)
            line.say(Kind.GOODBYE, 0, None, {"recv": 0})
            line.sock.close()
            self.assertEqual(0, line.process.wait(SECONDS))

    def test_primary_is_gone(self) -> None:
        for program in (STUCK, DEAF):
            with self.subTest(program), started("-c", program) as line:
                line.until(Kind.SERVING)
                time.sleep(0.05)
                began = time.monotonic()
                line.sock.close()
                self.assertEqual(0, line.process.wait(SECONDS))
                self.assertLess(time.monotonic() - began, SECONDS / 2)

    def test_deaf_to_stop(self) -> None:
        """Its calls are answered and it says good-bye, whatever its code thinks of that."""
        with started("-c", DEAF) as line:
            line.say(Kind.CALL, 2, None, "?")
            line.say(Kind.STOP, 0, None, {"deadline": 500})
            channel, said = line.until(Kind.ERROR)
            self.assertEqual((2, "stopping"), (channel, said[1]["code"]))
            line.until(Kind.GOODBYE)
            line.sock.close()
            self.assertEqual(0, line.process.wait(SECONDS))

    def test_it_wants_to_go(self) -> None:
        with started("-c", "import awp, asyncio\nawp.run(lambda w: asyncio.sleep(0))") as line:
            line.until(Kind.LEAVE)
            line.say(Kind.STOP, 0, None, {})
            line.until(Kind.GOODBYE)
            line.say(Kind.GOODBYE, 0, None, {"recv": 0})
            line.sock.shutdown(socket.SHUT_WR)
            self.assertEqual(0, line.process.wait(SECONDS))

    def test_it_fails(self) -> None:
        with started("-c", FAILS) as line:
            _, said = line.until(Kind.EXIT_INFO)
            self.assertEqual("LookupError", said[1]["remote"]["type"])
            line.until(Kind.GOODBYE)
            line.sock.close()
            self.assertEqual(1, line.process.wait(SECONDS))

    def test_primary_breaks_the_protocol(self) -> None:
        with started(CONFORMANCE) as line:
            line.say(Kind.HELLO, 0, None, {})
            _, said = line.until(Kind.ABORT)
            self.assertEqual(Abort.STATE_VIOLATION, said[1]["code"])
            self.assertEqual(1, line.process.wait(SECONDS))

    def test_primary_says_goodbye(self) -> None:
        with started(CONFORMANCE) as line:
            line.say(Kind.GOODBYE, 0, None, {"recv": 0})
            line.sock.shutdown(socket.SHUT_WR)
            line.until(Kind.GOODBYE)
            self.assertEqual(0, line.process.wait(SECONDS))

    def test_no_worker(self) -> None:
        done = subprocess.run(
            [sys.executable, CONFORMANCE], capture_output=True, text=True, check=False
        )
        self.assertEqual(2, done.returncode)
        self.assertIn("ACTORCLUSTER_CHANNEL", done.stderr)


class Talks(unittest.TestCase):
    """What a worker says."""

    def test_hello(self) -> None:
        with started(CONFORMANCE) as line:
            self.assertEqual([[1, 0]], line.hello["versions"])
            self.assertEqual(7, line.hello["worker"])
            self.assertEqual({"window": 131072}, line.hello["limits"])
            line.sock.close()

    def test_environment(self) -> None:
        with started("-c", ENVIRONMENT) as line:
            line.until(Kind.LEAVE)
            line.sock.close()
            assert line.process.stdout is not None
            self.assertEqual("[]", line.process.stdout.read().strip())

    def test_a_dropped_call_is_answered(self) -> None:
        with started("-c", DROPS) as line:
            self.assertEqual("not_handled", line.ask(2, "?")["code"])
            line.sock.close()

    def test_a_call_that_nobody_answers(self) -> None:
        with started("-c", ASKS) as line:
            channel, said = line.until(Kind.CALL)
            self.assertEqual((1, "who?"), (channel % 2, said[1]))
            self.assertEqual(50, said[0][3]["ttl"])
            self.assertEqual(channel, line.until(Kind.CANCEL)[0])
            self.assertEqual("nobody", line.until(Kind.TELL)[1][1])
            line.say(Kind.REPLY, channel, None, "too late")
            line.say(Kind.STOP, 0, None, {})
            line.until(Kind.GOODBYE)
            line.sock.close()

    def test_a_lie_about_a_handle(self) -> None:
        with started(CONFORMANCE) as line, socket.socket() as sock:
            line.say(Kind.CALL, 2, [None, None, [[4, {}]]], ["take_handle"], [sock.fileno()])
            _, said = line.until(Kind.ERROR)
            self.assertEqual("unsupported_handle", said[1]["code"])
            line.say(Kind.CALL, 4, [None, None, [[1, {}]]], ["take_handle"], [sock.fileno()])
            _, said = line.until(Kind.REPLY)
            self.assertEqual(1, said[1][0][0])
            line.sock.close()

    def test_too_many_log_records(self) -> None:
        with started("-c", "import awp\nasync def main(w):\n"
            "  for n in range(5000): w.log(20, str(n))\n"
            "  await w.tell(None, 'done')\n"
            "  await w.stopping.wait()\n"
            "awp.run(main)") as line:  # fmt: skip
            texts = []
            while (frame := line.frame())[0] != Kind.TELL:
                texts.append(frame[2][1][0])
            self.assertEqual([str(number) for number in range(200)], texts)
            self.assertEqual("4800 log records were dropped", line.until(Kind.LOG)[1][1][0])
            line.sock.close()


if __name__ == "__main__":
    unittest.main()
