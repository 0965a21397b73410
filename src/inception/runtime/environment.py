"""A process's environment as runtimes complete it: each name once, and HOME.

Of a name that is there twice the last value counts. HOME, when it is missing or empty, is what the container's own /etc/passwd
says for the user, else `/`: engines without users of their own (ctr, for one) leave it to the runtime. The file is hostile
(users.py); whatever is wrong with it means `/`.
"""

from __future__ import annotations

from inception.errors import InceptionError
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Mount, Process


def complete(process: Process, root: str, mounts: list[Mount] | None = None) -> Process:
    """*process* with its environment completed; its root is the directory *root*, with *mounts* on it (yet to be made)."""
    variables: dict[str, str] = {}
    for variable in process.env:
        variables[variable.partition("=")[0]] = variable
    if variables.get("HOME", "HOME=") == "HOME=":
        variables["HOME"] = f"HOME={_home(process.user.uid, root, mounts or [])}"
    elif len(variables) == len(process.env):
        return process
    return replace(process, env=list(variables.values()))


def _home(uid: int, root: str, mounts: list[Mount]) -> str:
    from inception.linux.path import RootDir
    from inception.runtime.users import home_of

    name = "etc/passwd"
    for mount in mounts:
        if mount.destination == "/etc/passwd" and mount.source.startswith("/"):
            root, _, name = mount.source.rpartition("/")
    try:
        with RootDir.open_host(root or "/") as folder:
            return home_of(folder, uid, name)
    except (InceptionError, OSError):
        return "/"


def listen_env(value: Process, listen_fds: int) -> Process:
    """The process with what sd_listen_fds(3) reads."""
    if not listen_fds:
        return value
    return replace(value, env=[*value.env, f"LISTEN_FDS={listen_fds}", "LISTEN_PID=1"])
