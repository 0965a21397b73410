"""Tests wait for what becomes true, never for a time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], object], what: str = "what was waited for", seconds: float = 60) -> None:
    """Returns when *condition* holds. *seconds* is what a very busy machine may take before it counts as never."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.01)
