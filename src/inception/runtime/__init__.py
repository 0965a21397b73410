"""An OCI runtime: a spec becomes a plan, a plan becomes a process.

    spec.py/oci  ->  validate.py  ->  container.py, exec.py (plans)  ->  plan.py (bytes)  ->  child.py  ->  _spawn_stub.h

`mounts.py`, `process.py`, `cgroup_mounts.py` are parts of a plan; `users.py` reads /etc/passwd and /etc/group of an image;
`defaults.py` holds Docker's defaults; `words.py` turns plans and failures into text; `state.py`, `lifecycle.py`, `hooks.py`
and `cli.py` are the runtime as a command, `inception-runc`. Names below are imported when they are used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception._spawn import SpawnError
    from inception.runtime.child import Child, Launched, begin, launch, resume, spawn, start
    from inception.runtime.container import plan_container
    from inception.runtime.exec import plan_exec
    from inception.runtime.plan import Plan, Slot, Step

_HOME = {
    "SpawnError": "inception._spawn",
    "plan_container": "inception.runtime.container",
    "plan_exec": "inception.runtime.exec",
    **dict.fromkeys(("Plan", "Slot", "Step"), "inception.runtime.plan"),
    **dict.fromkeys(("Child", "Launched", "begin", "launch", "resume", "spawn", "start"), "inception.runtime.child"),
}

__all__ = [
    "Child",
    "Launched",
    "Plan",
    "Slot",
    "SpawnError",
    "Step",
    "begin",
    "launch",
    "plan_container",
    "plan_exec",
    "resume",
    "spawn",
    "start",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(__import__(_HOME[name], fromlist=[name]), name)
    globals()[name] = value
    return value
