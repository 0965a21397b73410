"""docs/security.md, docs/distribution-spec.md and docs/image-spec.md name tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("security", "distribution-spec", "image-spec")


def _named(page: str) -> list[tuple[str, str]]:
    """(file, test) for each test that the page names."""
    text = (ROOT / f"docs/{page}.md").read_text()
    short = dict(re.findall(r"`([A-Z])` is\s+`(tests/[^`]+\.py)`", text))
    return sorted(
        {(short.get(place, place), name) for place, name in re.findall(r"`([A-Z]|tests/[\w/]+\.py)::(test_\w+)`", text)}
    )


def test_the_pages_name_tests():
    assert len(_named("security")) > 40 and all(len(_named(page)) > 20 for page in PAGES)


@pytest.mark.parametrize(("place", "name"), [each for page in PAGES for each in _named(page)])
def test_a_test_that_a_page_names_exists(place: str, name: str):
    text = (ROOT / place).read_text()
    assert f"def {name}(" in text
