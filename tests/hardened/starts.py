"""What workers say of the process they find themselves in, as data.

A worker in function form runs `tell`; this file is a script too, whose workers tell the same. As
a program it is their primary: ``python -m tests.hardened.starts FORM STREAMS LATE``.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import locale
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import trio
from trio._core._thread_cache import THREAD_CACHE

import actorcluster
from actorcluster import Actor

METHODS = ("forkserver", "exec")

_MAIN_NAMES = ("__name__", "__file__", "__package__", "__spec__", "__loader__", "__cached__")
_STATUS = ("Umask", "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapEff", "NoNewPrivs")


def _limits() -> dict[str, list[int]]:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: list(resource.getrlimit(getattr(resource, name))) for name in names}


def _descriptors() -> list[str]:
    """Each open descriptor and what is behind it; of our own sockets and pipes only the kind."""
    found = []
    for number in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue  # with which the list was read
        if number > 2:
            found.append(f"{target.partition('[')[0]} inheritable={os.get_inheritable(number)}")
        else:
            kind = target.partition("[")[0]  # a pipe is the worker's own
            found.append(f"{number} {kind if kind == 'pipe:' else target}")
    return sorted(found)


def _streams() -> list[dict[str, Any]]:
    return [
        {
            "isatty": stream.isatty(),
            "name": str(stream.name),
            "mode": getattr(stream, "mode", "missing"),
            "encoding": stream.encoding,
            "errors": stream.errors,
            "newlines": repr(stream.newlines),
            "line_buffering": stream.line_buffering,
            "write_through": getattr(stream, "write_through", "missing"),
            "buffer": type(stream.buffer).__name__,
            "fileno": stream.fileno(),
            "default": stream is default,
        }
        for stream, default in (
            (sys.stdin, sys.__stdin__),
            (sys.stdout, sys.__stdout__),
            (sys.stderr, sys.__stderr__),
        )
    ]


def _status() -> dict[str, str]:
    with open("/proc/self/status") as file:
        pairs = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    return {name: pairs[name] for name in _STATUS}


def _main() -> dict[str, str]:
    """``__main__``: what the interpreter puts there, and the other names in it."""
    names = vars(sys.modules["__main__"])
    facts = {name: type(names[name]).__name__ for name in names if name not in _MAIN_NAMES}
    for name in _MAIN_NAMES:
        value = names.get(name, "missing")
        facts[name] = value if isinstance(value, str) else type(value).__name__
    return facts


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()


def _trio() -> dict[str, Any]:
    statistics = trio.lowlevel.current_statistics()
    return {
        "tasks": statistics.tasks_living,
        "queued": statistics.run_sync_soon_queue_size,
        "backend": statistics.io_statistics.backend,
        "idle threads": len(THREAD_CACHE._idle_workers),
        "task": trio.lowlevel.current_task().name.rpartition(".")[2],
        "limiter": trio.to_thread.current_default_thread_limiter().borrowed_tokens,
    }


FACTS: dict[str, Callable[[], Any]] = {
    "argv": lambda: sys.argv,
    "orig_argv": lambda: sys.orig_argv,
    "/proc/PID/cmdline": lambda: _read("/proc/self/cmdline"),
    "/proc/PID/environ": lambda: sorted(_read("/proc/self/environ").split("\0")),
    "/proc/PID/comm": lambda: _read("/proc/self/comm"),
    "executable": lambda: [sys.executable, sys.prefix, sys.base_prefix],
    "flags": lambda: repr(sys.flags),
    "interpreter options": lambda: [sys.warnoptions, sys._xoptions],
    "path": lambda: sys.path,
    "__main__": _main,
    "environ": lambda: dict(os.environ),
    "cwd": os.getcwd,
    "status": _status,
    "descriptors": _descriptors,
    "blocked signals": lambda: sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "signal handlers": lambda: {
        number.name: getattr(handler := signal.getsignal(number), "__name__", str(handler))
        for number in signal.Signals
    },
    "resource limits": _limits,
    "process group": os.getpgrp,
    "session": lambda: os.getsid(0),
    "parent": os.getppid,
    "ids": lambda: [os.getresuid(), os.getresgid(), os.getgroups()],
    "nice": lambda: os.getpriority(os.PRIO_PROCESS, 0),
    "processors": lambda: sorted(os.sched_getaffinity(0)),
    "oom_score_adj": lambda: _read("/proc/self/oom_score_adj"),
    "threads": lambda: sorted(thread.name for thread in threading.enumerate()),
    "kernel threads": lambda: len(os.listdir("/proc/self/task")),
    "locale": lambda: [
        locale.setlocale(locale.LC_ALL),
        locale.getpreferredencoding(False),
        sys.getfilesystemencoding(),
        sys.getfilesystemencodeerrors(),
    ],
    "streams": _streams,
    "hash seed": lambda: hash("one seed"),
    "garbage collector": lambda: [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
    "frozen objects": lambda: all(thing is not trio for thing in gc.get_objects()),
    "interpreter settings": lambda: [
        sys.getswitchinterval(),
        sys.getrecursionlimit(),
        sys.get_int_max_str_digits(),
        sys.dont_write_bytecode,
        threading.stack_size(),
        faulthandler.is_enabled(),
        sys.excepthook is sys.__excepthook__,
    ],
    "warning filters": lambda: list(map(repr, warnings.filters)),
    "modules": lambda: sorted(sys.modules),
    "Trio": _trio,
}


async def tell(actor: Actor) -> None:
    """Send all facts, and leave."""
    await actor.send({name: repr(fact()) for name, fact in FACTS.items()})


# ---- the primary ------------------------------------------------------------------------------


def change_what_is_inherited() -> None:
    """Change everything of this process that a child gets without being told."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    os.nice(1)
    os.setsid()
    score = int(_read("/proc/self/oom_score_adj"))
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(score + 1))
    os.umask(0o027)
    os.chdir("/")
    os.environ["CHANGED"] = "yes"
    sys.path.append("/nowhere")


async def main(form: str, streams: str, late: str) -> None:
    """Print as JSON what two workers tell, one by each method."""
    told: dict[str, Any] = {}
    settings: dict[str, Any] = {"args": ["one", "two"], "exec": __file__}
    with contextlib.ExitStack() as stack:
        if streams == "terminal":
            ours, theirs = os.openpty()
            stack.callback(os.close, ours)
            stack.callback(os.close, theirs)
            settings["stdio"] = [theirs] * 3
        elif streams == "pipes":
            settings["stdio"] = ["pipe"] * 3
        async with actorcluster.open_primary(settings=settings) as primary:
            target = "tests.hardened.starts:tell" if form == "function" else None
            if late:
                worker = await primary.fork(target, settings={"start_method": "forkserver"})
                await worker.wait()  # the fork server runs
                change_what_is_inherited()
            for method in METHODS:
                worker = await primary.fork(target, settings={"start_method": method})
                told[method] = (await worker.mailbox.receive()).body
                await worker.wait()
                for stream in (worker.stdin, worker.stdout, worker.stderr):
                    if stream is not None:
                        await stream.aclose()
    print(json.dumps(told))


if __name__ == "__main__":
    if actorcluster.is_worker():
        actorcluster.run_worker(tell)
    else:
        trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
