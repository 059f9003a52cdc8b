"""A module that is written anew between reloads."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["BROKEN", "Release", "released"]

_GOOD: Final = """
VERSION = {version}

async def main(actor):
    actor.ready()
    async for message in actor.mailbox:
        with message:
            if message.body == "signal":
                import os
                os.kill(os.getpid(), 9)
            await message.reply(VERSION)
"""

#: What is wrong with a release, by the reason with which its workers end.
BROKEN: Final = {
    "syntax": "async def main(actor:\n",
    "import": "raise RuntimeError('a broken release')\n",
    "missing": "async def other(actor):\n    pass\n",
    "never ready": "import trio\n\nasync def main(actor):\n    await trio.sleep_forever()\n",
    "exits": "async def main(actor):\n    raise SystemExit(3)\n",
    "hangs": "while True:\n    pass\n",
    "stops": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n",
}


class Release:
    """The module, in a directory of its own.

    Attributes:
        name: to import it by.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self._path = directory / f"{name}.py"
        self._seconds = itertools.count(1)

    @property
    def target(self) -> str:
        """Its main function."""
        return f"{self.name}:main"

    def write(self, version: int) -> None:
        """Release a version that works."""
        self.write_text(_GOOD.format(version=version))

    def write_text(self, text: str) -> None:
        """Release anything, in one piece."""
        new = self._path.with_suffix(".new")
        new.write_text(text)
        # What Python has compiled counts as current if size and second are the same.
        stat = new.stat()
        os.utime(new, (stat.st_atime, stat.st_mtime + next(self._seconds)))
        new.replace(self._path)


@contextmanager
def released(directory: Path, name: str = "some_release") -> Iterator[Release]:
    """Have a module that can be imported, also by workers, as long as the block lasts."""
    sys.path.insert(0, str(directory))
    try:
        yield Release(directory, name)
    finally:
        sys.path.remove(str(directory))
        sys.modules.pop(name, None)
