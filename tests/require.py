"""Tools and rights that some tests need: skip without them, or fail where they were promised.

``@require("node")`` on a test, or ``ensure("node")`` inside one, skips it with its reason where
node is missing. Where the environment variable ``ACTORCLUSTER_REQUIRE`` names node, because
somebody has just installed it, the same test fails instead: a skip cannot hide there.

`tests/conftest.py` refuses every other way to skip, so a skip always names what it lacks.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import platform
import pty
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SKIP_PREFIX = "needs "


def require(*names: str) -> pytest.MarkDecorator:
    """Mark a test, class or module (``pytestmark``) as needing what `names` say."""
    for name in names:
        _probe_of(name)  # a misspelt name fails at import, not as a skip that nobody reads
    return pytest.mark.require(*names)


def ensure(*names: str) -> None:
    """Go on if all of `names` are here; skip if one is missing; fail if it was promised."""
    for name in names:
        lack = missing(name)
        if lack is None:
            continue
        if name in promised():
            pytest.fail(f"ACTORCLUSTER_REQUIRE names {name}, but: {lack}", pytrace=False)
        pytest.skip(f"{SKIP_PREFIX}{name}: {lack}")


def promised() -> frozenset[str]:
    """The names in ``ACTORCLUSTER_REQUIRE``, a comma-separated list."""
    names = frozenset(filter(None, os.environ.get("ACTORCLUSTER_REQUIRE", "").split(",")))
    for name in names:
        _probe_of(name)
    return names


@functools.cache
def missing(name: str) -> str | None:
    """Why `name` cannot be used here, or None if it can. Probed once."""
    return _probe_of(name)(name)


@functools.cache
def interpreter(name: str) -> str | None:
    """A program that really is `name`, e.g. ``"python3.12"``: on the path, or one of pyenv's.

    A pyenv shim on the path exists for versions that are not chosen too, and then only fails.
    """
    candidates = [shutil.which(name)]
    if root := _output("pyenv", "root"):
        version = name.removeprefix("python")
        candidates += sorted(map(str, Path(root).glob(f"versions/{version}*/bin/python")))
    for candidate in filter(None, candidates):
        code = "import sys; print('python%d.%d' % sys.version_info[:2])"
        if _output(candidate, "-c", code) == name:
            return candidate
    return None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _coverage(name: str) -> str | None:
    return None if importlib.util.find_spec(name) else "it is not installed"


def _gcc(_: str) -> str | None:
    """A compiler for the sample in C, with make and the sanitizers' libraries."""
    version = _output("gcc", "-dumpversion")
    if version is None or _output("make", "--version") is None:
        return "gcc and make are not both here"
    if int(version.partition(".")[0]) < 9:
        return f"gcc {version} is older than 9"
    library = _output("gcc", "-print-file-name=libasan.so") or ""
    return None if os.path.isabs(library) else "gcc has no sanitizers"


def _erlang(_: str) -> str | None:
    return None if shutil.which("escript") else "escript is not installed"


def _go(_: str) -> str | None:
    """The toolchain that examples/workers/go/go.mod asks for, or a newer one."""
    said = _output("go", "env", "GOVERSION")
    if not said:
        return "go does not run"
    version = re.match(r"go(\d+)\.(\d+)", said)
    is_new = version is not None and (int(version[1]), int(version[2])) >= (1, 22)
    return None if is_new else f"this is {said}, go1.22 or newer is needed"


def _node(name: str) -> str | None:
    return None if _output(name, "--version") else "node does not run"


def _npm(_: str) -> str | None:
    """What the worker in TypeScript is built with: Node 20 or newer, npm, and its registry."""
    if lack := _program("npm"):
        return lack
    said = _output("node", "--version")
    if not said:
        return "node does not run"
    if int(said.lstrip("v").partition(".")[0]) < 20:
        return f"this is Node {said}, v20 or newer is needed"
    found = _output("npm", "view", "typescript", "name", "--silent", "--fetch-retries=0")
    return None if found else "npm cannot reach its registry"


def _express(_: str) -> str | None:
    """A framework for Node, from where its users have it."""
    if lack := _program("npm"):
        return lack
    found = _output("npm", "view", "express@4", "name", "--silent", "--fetch-retries=0")
    return None if found else "npm cannot reach its registry"


def _program(name: str) -> str | None:
    return None if shutil.which(name) else f"{name} is not installed"


def _rust(_: str) -> str | None:
    """The compiler that examples/workers/rust/Cargo.toml asks for, and what checks a project."""
    tools = ("cargo", "cargo-clippy", "rustfmt")
    if lack := next((lack for tool in tools if (lack := _program(tool))), None):
        return lack
    said = _output("rustc", "--version") or "rustc, which does not run"
    version = re.match(r"rustc (\d+)\.(\d+)", said)
    is_new = version is not None and (int(version[1]), int(version[2])) >= (1, 75)
    return None if is_new else f"this is {said}, 1.75 or newer is needed"


def _root(_: str) -> str | None:
    return None if os.geteuid() == 0 else "not run as root"


def _other_user(_: str) -> str | None:
    """Workers with another uid: they have to reach the interpreter, the package and the tests."""
    if lack := _root(_):
        return lack
    nobody = 65534
    try:
        done = subprocess.run(
            [sys.executable, "-c", "import actorcluster, tests"],
            user=nobody, group=nobody, extra_groups=[], cwd=Path(__file__).parents[1],
            capture_output=True, check=False,
        )  # fmt: skip
    except PermissionError as exc:  # they may not even look into the directory where it is
        return str(exc)
    return f"other users cannot run {sys.executable}" if done.returncode else None


def _ipv6(_: str) -> str | None:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError as exc:
        return str(exc)
    return None


def _privileged_ports(_: str) -> str | None:
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    return None if first_free > 80 else f"everybody may bind port {first_free}"


def _pty(_: str) -> str | None:
    try:
        for fd in pty.openpty():
            os.close(fd)
    except OSError as exc:
        return str(exc)
    return None


def _namespaces(_: str) -> str | None:
    if _output("unshare", "--net", "--pid", "--fork", "true") is None:
        return "unshare cannot make a namespace"
    return None


def _cgroup(_: str) -> str | None:
    """A cgroup with a limit of memory."""
    if lack := _root(_):
        return lack
    with memory_cgroup() as group:
        return None if group else "no cgroup with a limit of memory can be made"


@contextlib.contextmanager
def memory_cgroup() -> Iterator[Path | None]:
    """Make a cgroup that may have 100 MB, and remove it when it is empty again; None: impossible.

    Whoever writes its number into ``cgroup.procs`` is in it, with all that it starts.
    """
    for top, limits in (
        ("/sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes")),
        ("/sys/fs/cgroup", ("memory.max",)),
    ):
        group = Path(top) / f"actorcluster-tests-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if (group / limits[0]).exists():
                for name in filter(lambda name: (group / name).exists(), limits):
                    (group / name).write_text("100M")
                yield group
                return
        finally:
            group.rmdir()
    yield None


def _glibc(_: str) -> str | None:
    return None if platform.libc_ver()[0] == "glibc" else "the C library is another one"


def _clone(_: str) -> str | None:
    """What the fork server forks with."""
    from actorcluster._worker.clone import available  # most tests do without

    works, why = available()
    return None if works else why


def _python(name: str) -> str | None:
    return None if interpreter(name) else f"no {name} runs"


_PROBES = {
    "cc": _program,
    "cgroup": _cgroup,
    "clang-format": _program,
    "clone": _clone,
    "coverage": _coverage,
    "gcc": _gcc,
    "glibc": _glibc,
    "express": _express,
    "ipv6": _ipv6,
    "namespaces": _namespaces,
    "erlang": _erlang,
    "go": _go,
    "node": _node,
    "npm": _npm,
    "other-user": _other_user,
    "perl": _program,
    "privileged-ports": _privileged_ports,
    "pty": _pty,
    "root": _root,
    "rust": _rust,
    "tsc": _program,
    "wrk": _program,
}


def _probe_of(name: str) -> Callable[[str], str | None]:
    if re.fullmatch(r"python3\.\d+", name):
        return _python
    if name not in _PROBES:
        raise ValueError(f"unknown tool or right {name!r}; tests/require.py knows {[*_PROBES]}")
    return _PROBES[name]
