"""The package keeps the contract of tests/api_names.toml, and the page about it is current."""

from __future__ import annotations

from tests import api_status


def test_the_package_and_the_contract_agree() -> None:
    assert [] == list(api_status.contradictions())


def test_the_page_is_current() -> None:
    """Otherwise: ``python -m tests.api_status``."""
    assert api_status.render() == api_status.PAGE.read_text()
