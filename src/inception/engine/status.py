"""The STATUS column of `ps`, from a state."""

from __future__ import annotations

import time

from inception.engine.times import human_duration, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerState


def status_text(state: ContainerState) -> str:
    """`Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`."""
    if state.status == "created":
        return "Created"
    if state.status in ("dead", "removing"):
        return "Dead" if state.status == "dead" else "Removal In Progress"
    if state.status == "exited":
        return f"Exited ({state.exit_code}) {_age(state.finished_at)} ago"
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {_age(state.finished_at)} ago"
    up = f"Up {_age(state.started_at)}"
    if state.status == "paused":
        return f"{up} (Paused)"
    health = state.health.status
    return up if health == "none" else f"{up} ({'health: starting' if health == 'starting' else health})"


def _age(when: str) -> str:
    return human_duration(max(0.0, (time.time_ns() - parse(when)) / 1e9))
