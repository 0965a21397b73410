"""Waiting for a monitor to be gone."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inception.engine.release import await_monitor
from inception.monitor import handover


def test_a_look_at_the_lock_lets_go_of_it_in_copies_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process cloned by another thread at that moment has the descriptor until it executes its program: fifty starts at once
    found each other's locks taken."""
    open_lock, copies = handover.open_lock, []

    def copied(run_dir: str) -> int | None:
        lock = open_lock(run_dir)
        if lock is not None:
            copies.append(os.dup(lock))
        return lock

    monkeypatch.setattr(handover, "open_lock", copied)
    engine: Any = SimpleNamespace(run_dir=lambda container_id: str(tmp_path))
    assert await_monitor(engine, "x", timeout_s=0)
    lock = open_lock(str(tmp_path))
    assert lock is not None
    for fd in (lock, *copies):
        os.close(fd)
