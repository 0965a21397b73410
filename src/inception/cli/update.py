"""`update`: other limits and another restart policy for containers that exist."""

from __future__ import annotations

from inception.cli.call import Call, for_each
from inception.cli.flags import Command, UsageError, more
from inception.cli.run_config import parse_restart
from inception.cli.run_flags import REFUSED
from inception.engine.config import UpdateConfig
from inception.engine.limits import LIMITS, TEXTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def update(call: Call) -> int:
    flags = call.flags
    if not flags.any_given:
        raise UsageError("you must provide one or more flags when using this command", exit_code=1)
    values: dict[str, Any] = {}
    for field, name, _document in LIMITS:
        if flags.given(name):
            values[field] = flags.text(name) if field in TEXTS else flags.number(name)
    if flags.given("restart"):
        try:
            values["restart"] = parse_restart(flags.text("restart"))
        except ValueError as error:
            raise UsageError(str(error), more(call.path)) from None
    changes = UpdateConfig(**values)
    return for_each(call.arguments, lambda name: call.engine.containers.get(name).update(changes))


UPDATE = Command(
    update,
    "[OPTIONS] CONTAINER [CONTAINER...]",
    "Update configuration of one or more containers",
    """\
      --blkio-weight uint          Relative weight of block IO, 10 to 1000 (0 turns it off)
      --cpu-period int             Length of a CFS period in microseconds
      --cpu-quota int              CPU time in each CFS period in microseconds
  -c, --cpu-shares int             Relative weight of CPU time
      --cpus decimal               Number of CPUs
      --cpuset-cpus string         CPUs that may be used (0-3, 0,1)
      --cpuset-mems string         Memory nodes that may be used (0-3, 0,1)
  -m, --memory bytes               Memory limit
      --memory-reservation bytes   Memory soft limit
      --memory-swap bytes          Memory plus swap; -1 for unlimited swap
      --pids-limit int             Limit of processes (-1 for unlimited)
      --restart string             When to start again ("no", "on-failure[:N]", "always", "unless-stopped")
""",
    minimum=1,
    refused={name: REFUSED[name] for name in ("cpu-rt-period", "cpu-rt-runtime", "kernel-memory")},
)
