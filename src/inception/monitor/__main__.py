"""A monitor as a process: `python -I -S __main__.py CONFIG NAME=FD...`, executed by the one that cloned init.

Isolated and without `site`: nothing of the user's environment is read, and start-up is a third shorter. That leaves out the
folder we are in, so the first lines find it.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.monitor.config import MonitorConfig

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def main(arguments: list[str]) -> None:
    sys.path.insert(0, _PACKAGE_ROOT)
    from inception.monitor.process import run

    config = run(arguments[0], {name: int(fd) for name, _, fd in (argument.partition("=") for argument in arguments[1:])})
    if config is not None:
        release(config)


def release(config: MonitorConfig) -> None:
    """Becomes the process that cleans up after the container: there is no daemon that would."""
    code = (
        f"import sys; sys.path.insert(0, {_PACKAGE_ROOT!r}); "
        "from inception.engine.release import main; sys.exit(main(sys.argv[1:]))"
    )
    os.execv(sys.executable, [sys.executable, "-I", "-c", code, config.engine_root, config.engine_run_root, config.id])


if __name__ == "__main__":
    main(sys.argv[1:])
