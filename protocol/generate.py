"""Writes everything that follows from ``awp.v1.toml``: ``python protocol/generate.py [--check]``.

Runs in: neither; a tool for those who change the protocol.

Written are ``actorcluster/wire/_generated.py``, the tables and requirement sentences of
``SPEC.md``, ``registry.lock``, the JSON Schema of the vectors, and the constants for other
languages in ``gen/``. With ``--check`` nothing is written, and any difference, and any number or
name that the lock knows and the registry lost, ends in exit status 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from awp_c import c_text
from awp_go import go_text
from awp_markdown import spec_text
from awp_plain import plain_text
from awp_python import python_text
from awp_registry import Registry, RegistryError, load, lock_entries
from awp_rust import rust_text
from awp_schema import schema_text
from awp_typescript import typescript_text


def lock_text(registry: Registry, old: str) -> str:
    """The lock with new entries appended.

    Raises:
        RegistryError: an entry of the old lock was renumbered, renamed or removed.
    """
    lines = [" ".join(entry) for entry in lock_entries(registry)]
    kept = old.splitlines()
    lost = [line for line in kept if line not in set(lines)]
    if lost:
        listed = "\n".join(f"  {line}" for line in lost)
        raise RegistryError(f"released entries were renumbered, renamed or removed:\n{listed}")
    added = [line for line in lines if line not in set(kept)]
    return "".join(f"{line}\n" for line in [*kept, *added])


OUTPUTS: dict[str, Callable[[Registry, str], str]] = {
    "protocol/registry.lock": lock_text,
    "actorcluster/wire/_generated.py": python_text,
    "protocol/SPEC.md": spec_text,
    "protocol/awp.v1.schema.json": schema_text,
    "protocol/gen/awp_v1.h": c_text,
    "protocol/gen/awp_v1.go": go_text,
    "examples/workers/go/internal/awp/awp_v1.go": go_text,  # the sample builds alone in its folder
    "protocol/gen/awp_v1.rs": rust_text,
    "examples/workers/rust/src/awp_v1.rs": rust_text,
    "protocol/gen/awp_v1.ts": typescript_text,
    "examples/workers/node/src/awp/awp_v1.ts": typescript_text,
    "protocol/gen/awp_v1.py": plain_text,
    "examples/workers/asyncio/awp/awp_v1.py": plain_text,
    "examples/workers/c/awp_v1.h": c_text,
}


def outputs(root: Path) -> Iterator[tuple[Path, str, str]]:
    """(path, old text, new text) of every generated file."""
    registry = load(root / "protocol" / "awp.v1.toml")
    for name, produce in OUTPUTS.items():
        path = root / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        yield path, old, produce(registry, old)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, report differences")
    check = parser.parse_args(arguments).check
    root = Path(__file__).resolve().parent.parent
    try:
        changed = [(path, new) for path, old, new in outputs(root) if new != old]
    except RegistryError as error:
        print(error, file=sys.stderr)
        return 1
    for path, new in changed:
        print(f"{'differs' if check else 'written'}: {path.relative_to(root)}", file=sys.stderr)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(new, encoding="utf-8")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
