"""A monitor's process around its `Monitor`: signals, descriptors, the end.

Executed by the one that cloned init. Isolated and without `site`: nothing of the user's environment is read.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

from inception import jsontext
from inception.monitor.config import MonitorConfig
from inception.monitor.monitor import Monitor
from inception.preload import command_of
from inception.record import decode


def main(arguments: list[str]) -> None:
    """CONFIG NAME=FD...: serve, then become the process that cleans up after the container: there is no daemon that would."""
    config = run(arguments[0], {name: int(fd) for name, _, fd in (argument.partition("=") for argument in arguments[1:])})
    if config is not None:
        command = command_of("inception.engine.release")
        os.execv(command[0], [*command, config.engine_root, config.engine_run_root, config.id])


def run(config_path: str, fds: dict[str, int]) -> MonitorConfig | None:
    """Serves one container until its end; its configuration when this process is to release what is left of it."""
    # The pidfd names init for certain; init dies with us, so from here on only SIGKILL and the kernel end a monitor. At
    # shutdown init gets its own SIGTERM and may finish its work, which it could not if we went first.
    for number in (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGPIPE):
        _signal.signal(number, _signal.SIG_IGN)
    for fd in set(fds.values()):
        os.set_inheritable(fd, False)
    with open(config_path, "rb") as file:
        config = decode(MonitorConfig, jsontext.loads(file.read()), config_path)
    monitor = Monitor(config, fds)
    try:
        monitor.start()
        monitor.run()
    except Exception as error:  # a defect or a broken run folder: init goes with us, and the status says why
        monitor.fail(f"monitor: {error}")
    claimed = monitor.release_claimed
    monitor.close()
    return None if claimed else config
