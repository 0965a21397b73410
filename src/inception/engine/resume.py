"""`inception resume`, for a unit that runs at boot: start what should run.

What ran when the machine went down has been started by recovery, as its policy wants; `always` starts those too that somebody
had stopped before, as Docker does when its daemon comes up.
"""

from __future__ import annotations

from inception.engine import records
from inception.engine.live import ContainerLock
from inception.engine.recover import recover, start_again
from inception.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine


def resume(engine: Engine) -> list[str]:
    """The names of the containers with a restart policy that run now."""
    recover(engine)
    for record in records.listed(engine, running_only=False):
        if record.config.restart.name == "always" and record.state.status == "exited":
            try:
                with ContainerLock(engine, record.id):
                    if records.load(engine, record.id).state.status == "exited":
                        start_again(engine, record.id)
            except NotFound:
                continue
    running = records.listed(engine, running_only=True)
    return [record.name for record in running if record.config.restart.name not in ("", "no")]
