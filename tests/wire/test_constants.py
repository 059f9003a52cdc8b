"""The constants for other languages: built, linted, and asked what they say of states and kinds."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from actorcluster.wire._generated import (
    BUILT_CAPABILITIES,
    BUILT_HANDLE_NAMES,
    EOF,
    KINDS,
    PRIMARY_AFTER_SENDING,
    PRIMARY_SENDS,
    PRIMARY_TABLE,
    UNKNOWN_KIND,
    WORKER_AFTER_SENDING,
    WORKER_SENDS,
    WORKER_TABLE,
    Action,
    ErrorCode,
    State,
)
from tests.require import require

HERE = Path(__file__).resolve().parent / "constants"
GENERATED = Path(__file__).resolve().parents[2] / "protocol" / "gen"
ROLES = {
    "worker": (WORKER_TABLE, WORKER_SENDS, WORKER_AFTER_SENDING),
    "primary": (PRIMARY_TABLE, PRIMARY_SENDS, PRIMARY_AFTER_SENDING),
}
STATES = list(State)
ACTIONS = list(Action)
BUILT = {code: info for code, info in KINDS.items() if info.status == "built"}


def expected() -> Iterator[str]:
    """What each of the programs in `constants` has to print."""
    for role, (table, sends, after) in ROLES.items():
        for at, state in enumerate(STATES):
            for kind in [EOF, *range(256)]:
                action, following = table[state].get(kind, table[state][UNKNOWN_KIND])
                line = f"{role} {at} {'eof' if kind == EOF else kind} "
                line += f"{ACTIONS.index(action) + 1} {STATES.index(following)}"
                if kind in BUILT:
                    sent = STATES.index(after.get(kind, state))
                    line += f" {int(kind in sends[state])} {sent}"
                yield line
    for code, info in sorted(BUILT.items()):
        marks = (info.direction != "P>W", info.direction != "W>P", info.urgent, info.charged)
        bits = "".join(str(int(mark)) for mark in (*marks, info.handles))
        yield f"{code} {info.name} {info.capability or '-'} {info.level} {bits}"


def run(*command: str | Path, cwd: Path) -> str:
    """What a program says, which must not fail."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr), done.stdout
    return done.stdout


@pytest.fixture
def place(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A directory with a generated file and the program that prints what it says."""
    for name in request.param:
        shutil.copy((GENERATED if name.startswith("awp") else HERE) / name, tmp_path)
    return tmp_path


def of(*names: str) -> pytest.MarkDecorator:
    """What `place` holds."""
    return pytest.mark.parametrize("place", [names], ids=names[:1], indirect=True)


@require("cc")
@of("awp_v1.h", "main.c")
def test_c(place: Path) -> None:
    strict = ["-std=c11", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    run("cc", *strict, "main.c", "-o", "main", cwd=place)
    assert [*expected()] == run(place / "main", cwd=place).splitlines()


@require("clang-format")
@of("awp_v1.h", "main.c")
def test_the_format_of_c(place: Path) -> None:
    run("clang-format", "--style=LLVM", "--dry-run", "--Werror", "awp_v1.h", cwd=place)


@require("go")
@of("awp_v1.go", "main.go")
def test_go(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOFLAGS", "-mod=mod")
    monkeypatch.setenv("GOTOOLCHAIN", "local")
    assert "" == run("gofmt", "-l", "awp_v1.go", cwd=place)
    (place / "awp").mkdir()
    shutil.move(place / "awp_v1.go", place / "awp")
    (place / "go.mod").write_text("module constants\n\ngo 1.20\n")
    run("go", "vet", "./...", cwd=place)
    assert [*expected()] == run("go", "run", ".", cwd=place).splitlines()


@require("rust")
@of("awp_v1.rs", "main.rs")
def test_rust(place: Path) -> None:
    run("rustfmt", "--check", "--edition", "2021", "awp_v1.rs", cwd=place)
    (place / "src").mkdir()
    for name in ("main.rs", "awp_v1.rs"):
        shutil.move(place / name, place / "src")
    package = '[package]\nname = "constants"\nversion = "0.0.0"\nedition = "2021"\n'
    (place / "Cargo.toml").write_text(package)
    options = ["--quiet", "--offline"]
    run("cargo", "clippy", *options, "--", "-D", "warnings", cwd=place)
    assert [*expected()] == run("cargo", "run", *options, cwd=place).splitlines()


@require("tsc", "node")
@of("awp_v1.ts", "main.ts")
def test_typescript(place: Path) -> None:
    (place / "package.json").write_text('{"type": "module"}\n')
    strict = ["--strict", "--noUncheckedIndexedAccess", "--noImplicitReturns", "--isolatedModules"]
    run("tsc", *strict, "--target", "es2022", "--module", "node16", "main.ts", cwd=place)
    assert [*expected()] == run("node", "main.js", cwd=place).splitlines()


@pytest.mark.parametrize("name", ["awp_v1.h", "awp_v1.go", "awp_v1.rs", "awp_v1.ts"])
def test_every_name_that_means_something_is_there_and_none_that_is_reserved(name: str) -> None:
    text = (GENERATED / name).read_text()
    names = {*BUILT_CAPABILITIES, *BUILT_HANDLE_NAMES, *(code.value for code in ErrorCode)}
    names |= {info.name for info in BUILT.values()}
    assert set() == {word for word in names if f'"{word}"' not in text}
    reserved = {"listen.reuseport", "awp-peer", "max_streams", "PROGRESS"}
    assert set() == {word for word in reserved if f'"{word}"' in text}
