"""`ROOT/ID/shortcut`: what `state`, `start`, `kill` and `delete` of an ordinary container need, for a program without Python.

Engines call these four all the time. `_shortcut.c`, which is `inception-runc` where there was a compiler at set-up, reads the
file and does what is asked for, or leaves it to Python, as it does where there is none. Nothing in it ever changes.

    1 PID START-TIME
    BOOT-ID
    FREEZER                    the file that says whether it is paused; may be empty
    CGROUP ...                 a line each: what to remove; then an empty line
    JSON \\f JSON \\f JSON      its state, with its pid and its status to put between
"""

from __future__ import annotations

from inception.jsontext import pretty
from inception.linux.cgroup import Cgroup
from inception.oci.runtime import Hooks
from inception.runtime import cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Spec
    from inception.runtime.state import RuntimeState

_PID = 1 << 30  # no process has one as large


def shortcut_of(state: RuntimeState, spec: Spec, cgroup: Cgroup) -> str:
    """The file's text for a container that is created; empty for one that is not ordinary."""
    hooks, linux = spec.hooks or Hooks(), spec.linux
    assert linux is not None
    listener = linux.seccomp.listener_path if linux.seccomp is not None else ""
    own_pids = any(namespace.type == "pid" and not namespace.path for namespace in linux.namespaces)
    if state.unit or hooks.start_container or hooks.poststart or hooks.poststop or listener or not own_pids or state.resctrl:
        return ""
    folders = [folder for folder in cgroups.all_folders(cgroup) if folder not in state.foreign_cgroups]
    lines = [f"1 {state.pid} {state.pid_start_time}", state.boot_id, cgroup.frozen_file() or "", *folders, ""]
    if any("\n" in line for line in lines):
        return ""
    text = pretty(state.row("paused", _PID))
    head, _, rest = text.partition(str(_PID))
    middle, _, tail = rest.partition("paused")
    return "\n".join(lines) + f"\n{head}\f{middle}\f{tail}"
