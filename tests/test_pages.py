"""The pages that people read: every link leads somewhere, every page is found from the README."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

import actorcluster
from actorcluster import PrimaryStatistics
from actorcluster._cluster.ports import ConnectionCounts, PortStatistics
from actorcluster._link.tracing import TraceStatistics
from actorcluster._link.waits import ChannelStatistics
from actorcluster._worker.mailbox import MailboxStatistics
from actorcluster._worker.worker import WorkerStatistics

ROOT = Path(__file__).parents[1]
DOCS = [
    *(ROOT / "docs").glob("*.md"),
    *(
        page
        for room in ("explanation", "howto", "reference")
        for page in ROOT.glob(f"docs/{room}/*.md")
    ),
]
ROOMS = ["", "benchmarks", "examples", "protocol", "tests"]
PAGES = sorted([*DOCS, *(ROOT / room / "README.md" for room in ROOMS)])


def _anchors(page: Path) -> set[str]:
    """Give what may stand behind the ``#`` of a link: headings, as the sites that show them do."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"(?ms)^```.*?^```$", "", page.read_text())  # code has brackets of its own
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            there = page.parent / path if path else page
            assert there.exists(), link
            assert not anchor or anchor in _anchors(there), link


def test_the_readme_names_every_page() -> None:
    readme = (ROOT / "README.md").read_text()
    names = [str(page.relative_to(ROOT)) for page in DOCS]
    assert [] == [name for name in names if f"]({name})" not in readme]
    assert len(names) > 10


def test_every_logger_is_on_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "logging.md").read_text()
    package = Path(actorcluster.__file__).parent  # the wheel's, where that is what is tested
    source = "".join(path.read_text() for path in package.rglob("*.py"))
    loggers = set(re.findall(r"getLogger\(\"([\w.]+)\"\)", source))
    assert loggers == set(re.findall(r"(?m)^\| `(actorcluster\.\w+)`", page))


COUNTED = [  # in the order of the page
    PrimaryStatistics,
    PortStatistics,
    ConnectionCounts,
    WorkerStatistics,
    ChannelStatistics,
    TraceStatistics,
    MailboxStatistics,
]


def test_everything_that_is_counted_is_on_its_page() -> None:
    page = (ROOT / "docs" / "reference" / "statistics.md").read_text()
    tables = re.findall(r"(?m)^\|---\|---\|\n((?:\|.*\n)+)", page)
    first = ["".join(row.split("|")[1] for row in table.splitlines()) for table in tables]
    fields = [sorted(field.name for field in attrs.fields(one)) for one in COUNTED]
    assert fields == [sorted(re.findall(r"`(\w+)`", cells)) for cells in first]
