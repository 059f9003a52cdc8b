"""The workers of the mixed cluster: for each, what it needs, how it is built and how it is run.

Another language is another entry of `LANGUAGES`. In the commands stand ``{workers}`` for the
directory of the samples, ``{here}`` for this one, ``{built}`` for where the programs are built,
``{port}``, ``{python}``, and ``{scripts}``, where pip puts commands.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from actorcluster import Backoff, Child

HERE = Path(__file__).parent
WORKERS = HERE.parent / "workers"


@dataclass(frozen=True, kw_only=True)
class Language:
    """One worker.

    Attributes:
        name: of the child.
        what: a line about it.
        run: the command line.
        needs: programs that have to be there.
        build: command lines; each does nothing when all is up to date.
        protocol: what the program speaks, see `Child`.
        connections: how it gets them: the primary deals them out; it accepts from the shared
            socket itself; or it has none.
        has_mail: it answers messages, that is level 1 of the protocol.
        made: what is built, where the commands would do all of it again; and of what.
        settings: others of the `Child`.
    """

    name: str
    what: str
    run: tuple[str, ...]
    needs: tuple[str, ...] = ()
    build: tuple[tuple[str, ...], ...] = ()
    protocol: Literal["awp", "node"] = "awp"
    connections: Literal["dealt", "shared", "none"] = "dealt"
    has_mail: bool = True
    made: tuple[str, str] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def missing(self) -> str | None:
        """The first program that is not there."""
        return next((need for need in self.needs if shutil.which(need) is None), None)

    def command(self, parts: Iterable[str], built: Path, port: int = 0) -> list[str]:
        """A command line with everything put in."""
        values = {
            "workers": WORKERS,
            "here": HERE,
            "built": built,
            "port": port,
            "python": sys.executable,
            "scripts": sysconfig.get_path("scripts"),
        }
        return [part.format(**values) for part in parts]

    def child(self, built: Path, port: int, **more: Any) -> Child:
        """Its place in a tree.

        Args:
            built: where it was built.
            port: that all of them share.
            more: other fields of the `Child`.
        """
        return Child(
            self.name,
            None,
            exec=self.command(self.run, built, port),
            protocol=self.protocol,
            ready="online" if self.connections == "none" else "listening",
            **{"backoff": Backoff(min=0.01, max=1.0), "settings": self.settings, **more},
        )

    def make(self, built: Path) -> None:
        """Build it.

        Raises:
            subprocess.CalledProcessError: it cannot be built; ``output`` says why.
        """
        built.mkdir(parents=True, exist_ok=True)
        if self.made is not None:
            made, source = map(Path, self.command(self.made, built))
            latest = max(one.stat().st_mtime for one in [source, *source.rglob("*")])
            if made.exists() and latest <= made.stat().st_mtime:
                return
        for parts in self.build:
            subprocess.run(
                self.command(parts, built),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=True,
            )


LANGUAGES = (
    Language(
        name="c",
        what="C11, with libc alone",
        needs=("make", "cc"),
        build=(("make", "--silent", "-C", "{workers}/c", "O={built}/c", "{built}/c/serve_http"),),
        run=("{built}/c/serve_http", "{port}"),
    ),
    Language(
        name="go",
        what="Go, net/http on our ports",
        needs=("go",),
        build=(
            (
                *("go", "build", "-C", "{workers}/go", "-buildvcs=false"),
                *("-o", "{built}/go/", "./cmd/serve_http"),
            ),
        ),
        run=("{built}/go/serve_http", "-port", "{port}"),
    ),
    Language(
        name="rust",
        what="Rust, with std alone",
        needs=("cargo",),
        build=(
            (
                *("cargo", "build", "--quiet", "--offline", "--locked", "--examples"),
                *("--manifest-path", "{workers}/rust/Cargo.toml", "--target-dir", "{built}/rust"),
            ),
        ),
        run=("{built}/rust/debug/examples/serve_http", "--port", "{port}"),
    ),
    Language(
        name="typescript",
        what="TypeScript on Node, handles by the side lane",
        needs=("node", "npm"),
        build=(
            ("cp", "-RT", "{workers}/node", "{built}/typescript"),
            (
                *("npm", "--prefix", "{built}/typescript", "ci", "--ignore-scripts"),
                *("--no-audit", "--no-fund", "--prefer-offline"),
            ),
            ("npm", "--prefix", "{built}/typescript", "run", "--silent", "build"),
        ),
        made=("{built}/typescript/dist/serve-http.js", "{workers}/node/src"),
        run=("node", "{built}/typescript/dist/serve-http.js", "--port", "{port}"),
        settings={"lane": "node"},
    ),
    Language(
        name="python",
        what="Python, with this library",
        run=("{python}", "{here}/web.py", "{port}"),
    ),
    Language(
        name="asyncio",
        what="Python, with asyncio and without this library",
        run=("{python}", "{workers}/asyncio/serve_http.py", "{port}"),
    ),
    Language(
        name="node",
        what="a program for Node, unmodified",
        needs=("node",),
        run=("node", "{here}/server.js", "{port}"),
        protocol="node",
        has_mail=False,
    ),
    Language(
        name="activated",
        what="any socket-activated program, under actorcluster-run",
        run=(
            *("{scripts}/actorcluster-run", "--listen", "web=127.0.0.1:{port}", "--"),
            *("{python}", "{here}/activated.py"),
        ),
        connections="shared",
        has_mail=False,
    ),
    Language(
        name="perl",
        what="Perl 5, messages alone",
        needs=("perl",),
        run=("perl", "{workers}/perl/worker.pl"),
        connections="none",
    ),
)
