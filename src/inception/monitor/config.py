"""What a monitor is told when it starts: one JSON document, written by the engine, read once.

A monitor knows no database, image or network: it keeps one process going. Files it owns in `run_dir` (see the ladder in
`monitor/__init__.py`): `status.json` (its word on the container's state), `attach.sock` (its listening socket, inherited),
`monitor.lock` (flocked for as long as it lives).
"""

from __future__ import annotations

from inception.oci.health import Healthcheck
from inception.record import Record


class DnsConfig(Record):
    """The resolver at 127.0.0.11:53 inside the container's network namespace.

    `tables` are folders, one a network, searched in order: `<table>/<name>/` holds a file an endpoint whose name is its
    IPv4 address. What no table knows is forwarded to `upstream` (addresses as seen from the host's network namespace)
    unless `forward` is false (internal networks). `aliases` are further names of what the tables know, this container's alone.
    """

    tables: list[str] = []
    upstream: list[str] = []
    forward: bool = True
    aliases: dict[str, str] = {}


class PublishedPort(Record):
    """A host port that the monitor holds open, so that it is taken for everyone else, and proxies where nft can't redirect."""

    host_ip: str
    host_port: int
    protocol: str
    target_ip: str
    target_port: int


class MonitorConfig(Record):
    """One container, as its monitor needs to know it.

    `log_path` empty is the log driver `none`; `log_max_size_bytes` 0 is no limit; `log_attributes` go with
    every record. `restart` and what belongs to it are a
    policy's as in `restart.py`. `oom_paths` are cgroup files with an `oom_kill N` line. What only the monitor sees (die, oom,
    restarts, health) it adds to `events_path`, a JSON line each, with `event_attributes`.
    """

    id: str
    name: str
    engine_root: str
    engine_run_root: str
    run_dir: str
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    log_path: str = ""
    log_max_size_bytes: int = 0
    log_max_files: int = 1
    log_attributes: dict[str, str] = {}
    restart: str = "no"
    restart_maximum_retries: int = 0
    restart_count: int = 0
    stop_signal: int = 15
    healthcheck: Healthcheck | None = None
    dns: DnsConfig | None = None
    ports: list[PublishedPort] = []
    oom_paths: list[str] = []
    events_path: str = ""
    event_attributes: dict[str, str] = {}
