"""docs/security.md names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()
SHORT = dict(re.findall(r"`([A-Z])` is\s+`(tests/[^`]+\.py)`", PAGE))
NAMED = sorted(set(re.findall(r"`([A-Z]|tests/[\w/]+\.py)::(test_\w+)`", PAGE)))


def test_the_page_names_tests():
    assert len(NAMED) > 40 and len(SHORT) == 9


@pytest.mark.parametrize(("place", "name"), NAMED)
def test_a_test_that_the_page_names_exists(place: str, name: str):
    text = (ROOT / SHORT.get(place, place)).read_text()
    assert f"def {name}(" in text
