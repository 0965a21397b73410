"""A monitor whose container comes out of a checkpoint: this process has criu restore it, and then becomes the monitor.

    engine                              this process                              criu
    namespaces, cgroup, pipes
    posix_spawn        ───▶             leaves its parent, asks       ───▶        restores its sibling
    pid, or an error   ◀── a pipe ──    executes `inception.monitor.process`

What criu restores is the child of whoever asked, and has to be the monitor's.
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.errors import InceptionError
from inception.linux.path import RootDir
from inception.monitor import handover
from inception.oci.runtime import Spec
from inception.record import Record, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.runtime.child import Child

_ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class Request(Record):
    """What is to be restored. Namespaces of *spec* that are joined have the path `fd:NAME` of a descriptor."""

    spec: Spec
    images: str
    work: str  # for criu's log, and a folder to cover
    cgroup: str


class Report(Record):
    """What became of it: *pid* is 0 when there is an *error*."""

    pid: int = 0
    monitor_pid: int = 0
    error: str = ""
    hint: str = ""


def main(arguments: list[str]) -> int:
    """REQUEST CONFIG NAME=FD...: also `report`, a pipe, and `root`, the container's root as a mount of its own, nowhere."""
    request_path, config_path, *named = arguments
    fds = {name: int(fd) for name, _, fd in (word.partition("=") for word in named)}
    if os.fork():
        return 0  # the engine reaps this one; the other has no parent there
    for fd in fds.values():
        os.set_inheritable(fd, False)
    report, root = fds.pop("report"), fds.pop("root")
    try:
        with open(request_path, "rb") as file:
            request = decode(Request, jsontext.loads(file.read()), request_path)
        child = _restore(request, root, fds)
    except InceptionError as error:
        _tell(report, Report(error=str(error).partition("\nhint: ")[0], hint=error.hint))
        return 1
    except Exception as error:
        _tell(report, Report(error=f"{type(error).__name__}: {error}"))
        return 1
    _tell(report, Report(pid=child.pid, monitor_pid=os.getpid()))
    os.dup2(child.pidfd, fds["init"])
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    for fd in fds.values():
        os.set_inheritable(fd, True)
    command = handover.command(config_path, fds)
    os.execve(command[0], command, _ENV)


def _restore(request: Request, root_fd: int, fds: dict[str, int]) -> Child:
    """Its stdio is what this process has as its own."""
    from inception.runtime import cgroups
    from inception.runtime.checkpoint import CriuOptions
    from inception.runtime.revival import Revival

    linux = request.spec.linux
    assert linux is not None
    for space in linux.namespaces:
        if space.path.startswith("fd:"):
            space.path = f"/proc/{os.getpid()}/fd/{fds[f'plan.{space.path[3:]}']}"
    cgroup = cgroups.at(request.cgroup)
    folder = f"{request.work}/root"
    os.makedirs(folder, exist_ok=True)
    options = CriuOptions(images=request.images, work=request.work)
    with RootDir(root_fd) as root:
        revival = Revival(options, request.spec, folder, root, "", cgroup, fds.get("plan.console"))
        try:
            return revival.run(cgroups.join(cgroup), lambda _: None, lambda _: None)
        except BaseException:
            cgroup.kill()
            raise


def _tell(report: int, what: Report) -> None:
    os.write(report, jsontext.dumps(encode(what)).encode())
    os.close(report)
