"""`Healthcheck`: Docker's addition to the image configuration, which containers and their monitors have too."""

from __future__ import annotations

from inception.record import Record


class Healthcheck(Record, style="pascal"):
    """Durations are nanoseconds; 0 means the default (30 s, 30 s, 0 s, 5 s, 3)."""

    test: list[str] = []
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0
