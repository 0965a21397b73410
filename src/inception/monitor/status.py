"""`status.json`: a monitor's word on its container, readable whole at any moment by anyone.

`phase` is `running`, `restarting` (between two starts) or `exited` (this monitor is done). A status whose monitor is gone
(its `monitor.lock` is free) while `phase` is not `exited` means the monitor was killed, and init with it.
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.linux.files import write_file
from inception.monitor.times import NEVER
from inception.record import Record, decode, encode


class ProbeResult(Record, style="pascal"):
    """One health probe, in the words of Docker's inspect. `exit_code` is -1 when it ran out of time."""

    start: str
    end: str
    exit_code: int
    output: str = ""


class HealthStatus(Record):
    """`status` is `none`, `starting`, `healthy` or `unhealthy`; `log` holds the last five probes, newest last."""

    status: str = "none"
    failing_streak: int = 0
    log: list[ProbeResult] = []


class MonitorStatus(Record):
    """`error` is why something of the monitor's own does not work (a log on a full disk, a failed restart)."""

    phase: str = "running"
    pid: int = 0
    pid_start_time: int = 0
    monitor_pid: int = 0
    exit_code: int = 0
    started_at: str = NEVER
    finished_at: str = NEVER
    oom_killed: bool = False
    restart_count: int = 0
    paused: bool = False
    health: HealthStatus = HealthStatus()
    error: str = ""


def status_path(run_dir: str) -> str:
    return f"{run_dir}/status.json"


def write_status(run_dir: str, status: MonitorStatus) -> None:
    """Replaces `status.json` in one step. The run folder is memory: nothing is synced."""
    path = status_path(run_dir)
    write_file(f"{path}.new", status_text(status).encode(), 0o600)
    os.rename(f"{path}.new", path)


def read_status(run_dir: str) -> MonitorStatus | None:
    """What the monitor last said; None when it never did. Raises InvalidArgument or ValueError when the file is damaged."""
    try:
        with open(status_path(run_dir), "rb") as file:
            return parse_status(file.read())
    except FileNotFoundError:
        return None


def status_text(status: MonitorStatus) -> str:
    return jsontext.dumps(encode(status, keep_defaults=True))


def parse_status(text: bytes) -> MonitorStatus:
    return decode(MonitorStatus, jsontext.loads(text), "status.json")
