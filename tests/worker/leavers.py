"""What workers leave behind when they end: functions for a directory where the test will look."""

from __future__ import annotations

import builtins
import concurrent.futures
import contextvars
import ctypes
import functools
import gzip
import json
import logging
import logging.handlers
import multiprocessing
import os
import sys
import threading
import types
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from actorcluster import Actor

# `json` is where things are left in a module that is spared: the fork server has it, and nothing
# imports it that outlives the last collection, as `test_spared` makes sure.
kept: list[Any] = []


class Thing:
    """Something whose end can be seen, by who has a weak reference to it."""


class Last:
    """Something that writes a file when it is freed."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __del__(self, create: Callable[..., Any] = os.open) -> None:
        create(self.path, 0o100)  # O_CREAT: modules may have gone


def leave() -> int:
    """Run the function that the command line names, in the directory that it names."""
    name, here = sys.argv[1:3]
    globals()[name](Path(here))
    return 0


def _leave_things(here: Path) -> None:
    """Leave one in a module of our own, and one in a module that is spared."""
    watchers: list[weakref.ref[Thing]] = []
    sys.modules["mine"] = types.ModuleType("mine")
    json.watchers = watchers  # type: ignore[attr-defined]  # where it is found at exit
    for module in (sys.modules["mine"], json):
        module.thing = thing = Thing()  # type: ignore[attr-defined]  # where it is found at exit
        write = functools.partial((here / module.__name__).write_text, "freed")
        watchers.append(weakref.ref(thing, functools.partial(_call, write)))


async def ends(_: Actor, here: str, well: bool) -> None:
    """End as a worker that has a runtime and an event loop."""
    _leave_things(Path(here))
    if not well:
        raise ArithmeticError("on purpose")
    raise SystemExit(7)


def without_an_end(here: Path) -> None:
    """Leave what is seen to before modules are cleared, and two things of which one is spared."""
    _leave_things(here)
    logging.getLogger("leaver").addHandler(logging.FileHandler(here / "log"))
    logging.getLogger("leaver").warning("logged")
    memory = logging.handlers.MemoryHandler(100, target=logging.FileHandler(here / "memory"))
    memory.handle(logging.makeLogRecord({"msg": "held back", "levelno": logging.INFO}))
    json.memory = memory  # type: ignore[attr-defined]  # where it is found at exit
    pool = concurrent.futures.ThreadPoolExecutor()
    pool.submit((here / "pool").write_text, "done")
    threading.Thread(target=(here / "thread").write_text, args=("done",)).start()
    context = multiprocessing.get_context("fork")
    context.Process(target=(here / "process").write_text, args=("done",)).start()
    ctypes.CDLL(None).printf(b"C library\n")


def _call(write: Callable[[], object], _: object) -> None:
    write()


def files(here: Path) -> None:
    """Leave files open, where one can."""
    kept.append(open(here / "text", "w"))
    kept[-1].write("text")
    kept.append(zipfile.ZipFile(here / "zip", "w"))
    kept[-1].writestr("name", "zipped")
    _leave_archive(here / "gzip", json)
    _leave_archive(here / "builtins", builtins)


def _leave_archive(path: Path, where: Any) -> None:
    where.archive = gzip.open(path, "wt")
    where.archive.write("gzipped")


def objects(here: Path) -> None:
    """Leave objects that write when they are freed, where one can."""
    kept.append(Last(here / "of its own"))
    json.last = Last(here / "in a spared module")  # type: ignore[attr-defined]  # where it is found at exit
    cycle: list[Any] = [Last(here / "in a cycle")]
    cycle.append(cycle)
    json.cycle = cycle  # type: ignore[attr-defined]  # where it is found at exit
    local = threading.local()
    local.last = Last(here / "of a thread")
    context = contextvars.ContextVar[Last]("context")
    context.set(Last(here / "of a context"))
    kept.extend([local, context])


def output(here: Path) -> None:
    """Leave something in what has become the standard output."""
    sys.stdout = gzip.open(here / "stdout", "wt")
    print("gzipped", end="")


def failed(here: Path) -> None:
    """Fail, and leave something in a local variable that the traceback knows."""
    local = gzip.open(here / "local", "wt")
    local.write("gzipped")
    raise ArithmeticError("on purpose")


def of_preload(here: Path) -> None:
    """Write to what `preload` has opened."""
    from tests.worker import leftover

    leftover.archive.write("gzipped")
