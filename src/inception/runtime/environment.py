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


def complete(process: Process, root: str, mounts: list[Mount] | None = None, *, passwd: bytes | None = None) -> Process:
    """*process* with its environment completed; its root is the directory *root*, with *mounts* on it (yet to be made).
    *passwd* is the content of the image's file where it was read already."""
    variables = _variables(process)
    if is_homeless(process):
        if passwd is None:
            home = _home(process.user.uid, root, mounts or [])
        else:
            from inception.runtime.users import home_in

            home = home_in(passwd, process.user.uid)
        variables["HOME"] = f"HOME={home}"
    elif len(variables) == len(process.env):
        return process
    return replace(process, env=list(variables.values()))


def is_homeless(process: Process) -> bool:
    """Whether nobody says what HOME is."""
    return _variables(process).get("HOME", "HOME=") == "HOME="


def _variables(process: Process) -> dict[str, str]:
    return {variable.partition("=")[0]: variable for variable in process.env}


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
