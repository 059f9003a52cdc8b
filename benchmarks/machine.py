"""What there is to say of the machine on which something was measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.process import ROOT

__all__ = ["facts"]


def facts() -> dict[str, Any]:
    """Give what is to be known of this machine, and of how busy it is."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "kernel": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
        "load": os.getloadavg()[0],
        "commit": _commit(),
    }


def _cpu() -> str:
    match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _commit() -> str | None:
    """Give the commit that is checked out, and whether there is more than that; None if unknown."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    if commit is None:
        return None
    return f"{commit} with changes" if _git("status", "--porcelain", "actorcluster") else commit


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
