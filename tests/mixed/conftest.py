"""The programs of the cluster, built once."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import pytest

from tests.mixed.cluster import languages
from tests.require import ensure, missing, promised

if TYPE_CHECKING:
    from languages import Language

#: What `tests.require` calls that which a language needs.
_TOOLS: Final = {
    "c": "gcc",
    "go": "go",
    "rust": "rust",
    "typescript": "npm",
    "node": "node",
    "perl": "perl",
}


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest) -> Iterator[tuple[list[Language], Path]]:
    """The languages that can be had here, and where they are built; promised ones must be there."""
    those = []
    with TemporaryDirectory(prefix="ac-mixed-") as directory:
        place = Path(directory)
        for language in languages():
            tool = _TOOLS.get(language.name)
            if tool is not None and missing(tool) and tool not in promised():
                continue
            if tool is not None:
                ensure(tool)
            assert language.missing() is None
            if language.name == "typescript":  # which other tests have built
                sample: Path = request.getfixturevalue("node_sample").parent
                (place / "typescript").symlink_to(sample)
            faulthandler.cancel_dump_traceback_later()  # a first build may take a minute
            language.make(place)
            those.append(language)
        yield those, place
