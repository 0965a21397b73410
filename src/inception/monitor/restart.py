"""When an exited container is started again: Docker's restart policies and their back-off."""

from __future__ import annotations

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 60.0
# A run of this length counts as a success: the next delay is the first one again.
STEADY_RUN_S = 10.0


class RestartPolicy:
    """`no`, `on-failure` (with at most *maximum_retries*, 0 is no limit), `always` or `unless-stopped`.

    After `stop_requested` nothing is started again: also not with `always`, which differs from `unless-stopped` only at boot.
    """

    def __init__(self, name: str, maximum_retries: int = 0, restart_count: int = 0) -> None:
        self.name = name
        self.maximum_retries = maximum_retries
        self.restart_count = restart_count
        self.stop_requested = False
        self._delay_s = 0.0

    def next_delay_s(self, exit_code: int, ran_s: float) -> float | None:
        """How long to wait before the next start, or None when there is none. Counts the restart."""
        if not self._wants(exit_code):
            return None
        if self._delay_s == 0 or ran_s >= STEADY_RUN_S:
            self._delay_s = FIRST_DELAY_S
        else:
            self._delay_s = min(self._delay_s * 2, LONGEST_DELAY_S)
        self.restart_count += 1
        return self._delay_s

    def _wants(self, exit_code: int) -> bool:
        if self.stop_requested:
            return False
        if self.name == "on-failure":
            return exit_code != 0 and (self.maximum_retries == 0 or self.restart_count < self.maximum_retries)
        return self.name in ("always", "unless-stopped")
