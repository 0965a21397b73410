"""The cgroup of a container of the command line runtime: where it is, how it is made, limited, joined and removed."""

from __future__ import annotations

import errno
import os

from inception.caching import lru_cache
from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable
from inception.linux.bpf import DeviceRule
from inception.linux.cgroup import Cgroup, Cgroups, JoinPlan
from inception.linux.files import read_file
from inception.record import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.linux.cgroup import Write
    from inception.oci.runtime import Resources

# What every container may use and whoever writes `resources.devices` counts on; the nodes are in every /dev. mknod alone opens
# nothing. Source: runtime-spec config-linux.md, "Default Devices"; runc and crun add the same.
_ALLOWED = [
    DeviceRule(allow=True, type="c", access="m"),
    DeviceRule(allow=True, type="b", access="m"),
    *(DeviceRule(allow=True, type="c", major=1, minor=minor, access="rwm") for minor in (3, 5, 7, 8, 9)),
    *(DeviceRule(allow=True, type="c", major=5, minor=minor, access="rwm") for minor in (0, 2)),
    DeviceRule(allow=True, type="c", major=136, access="rwm"),
]


def cgroup_path(given: str, id: str) -> str:
    """The absolute path for `linux.cgroupsPath`; a relative one begins at the root too. Raises InvalidArgument."""
    if not given:
        return f"/{id}"  # runc's place, where people and scripts look
    parts = [part for part in given.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in given:
        raise InvalidArgument(f"linux.cgroupsPath: {given!r} must not contain '..'")
    if given.count(":") == 2:
        raise InvalidArgument(f"linux.cgroupsPath: {given!r} is of systemd's form, which needs --systemd-cgroup")
    if not parts:
        raise InvalidArgument("linux.cgroupsPath: the root of all cgroups can't be a container's")
    return "/" + "/".join(parts)


def at(path: str) -> Cgroup:
    """The cgroup at *path* of this machine's hierarchies."""
    return _hierarchies().at(path)


@lru_cache(1)
def _hierarchies() -> Cgroups:
    return Cgroups.detect()  # for a command, once is enough


def make(cgroup: Cgroup, resources: Resources | None, *, owned: bool = False) -> JoinPlan:
    """Make *cgroup* and put the limits in force. Raises Conflict when processes are in it, or it is frozen; when it is *owned*
    already, nobody looks."""
    from inception.oci.runtime import Resources
    from inception.runtime.resources import device_rules, limited_controllers, plan_resources  # only where limits are set

    if not owned and cgroup.exists():
        _check_fit(cgroup)
    resources = resources or Resources()
    writes = plan_resources(resources, cgroup.cgroups)
    rules = device_rules(resources)
    try:
        # In all hierarchies, limited there or not: engines and their users look for a container in any of them.
        join = cgroup.create([*limited_controllers(writes), *cgroup.cgroups.v1], allowed_devices(rules) if rules else None)
        _apply(cgroup, writes)
    except OSError as error:
        raise Unavailable(f"linux.resources: {error.filename or cgroup.path}: {error.strerror}") from error
    return join


def allowed_devices(rules: list[DeviceRule]) -> list[DeviceRule]:
    """*rules*, and what every container may use whatever they say."""
    return [*rules, *_ALLOWED]


def update(cgroup: Cgroup, pid: int, resources: Resources) -> None:
    """Other limits for a running container. Raises InvalidArgument, Unavailable."""
    from inception.runtime.resources import device_rules, limited_controllers, plan_resources

    writes = plan_resources(resources, cgroup.cgroups)
    try:
        cgroup.join(pid, [name for name in limited_controllers(writes) if not _is_there(cgroup, name)])
        _apply(cgroup, writes)
        if resources.devices:
            cgroup.set_devices(allowed_devices(device_rules(resources)))
    except OSError as error:
        raise Unavailable(f"{error.filename or cgroup.path}: {error.strerror}") from error


# What the kernel calls a file where the scheduler of the disks is BFQ.
_OTHER_NAMES = {
    "blkio.weight": "blkio.bfq.weight",
    "blkio.weight_device": "blkio.bfq.weight_device",
    "io.weight": "io.bfq.weight",
}


def _apply(cgroup: Cgroup, writes: list[Write]) -> None:
    """Write limits. One that only makes sense with another's new value (a period with its quota, memory with swap) is refused
    before that, and tried again at the end."""
    again = []
    for write in writes:
        try:
            cgroup.apply([write])
        except OSError as error:
            other = _OTHER_NAMES.get(write.file, "")
            if error.errno == errno.ENOENT and other:
                cgroup.apply([replace(write, file=other)])
            elif error.errno == errno.EINVAL:
                again.append(write)
            else:
                raise
    cgroup.apply(again)


def join(cgroup: Cgroup, below: list[str] | None = None) -> JoinPlan:
    """How another process gets where the container's are, or *below*: `PATH` in every hierarchy, or `CONTROLLER,...:PATH`.

    Raises InvalidArgument, NotFound.
    """
    places = {folder: folder for folder in folders(cgroup)}
    unified = cgroup.folder(None)
    for given in below or []:
        controllers, _, path = given.rpartition(":")
        if ".." in path.split("/") or "\0" in path:
            raise InvalidArgument(f"--cgroup: bad sub cgroup path: {path} is not a sub cgroup path")
        chosen = list(places)
        if controllers:
            chosen = [_known(cgroup, controller) for controller in controllers.split(",")]
        for folder in chosen:
            places[folder] = f"{folder}/{path.strip('/')}".rstrip("/")
            if not os.path.isdir(places[folder]):
                missing = f"adding pid to {places[folder]}/cgroup.procs: no such file or directory"
                raise NotFound(f"--cgroup {given}: {missing}")
    return JoinPlan(
        cgroup2_path=places.pop(unified, None) if unified else None,
        v1_folders=list(places.values()),
    )


def _known(cgroup: Cgroup, controller: str) -> str:
    folder = cgroup.folder(controller)
    if controller not in cgroup.cgroups.v1 or folder is None:
        raise InvalidArgument(f"--cgroup: unknown controller {controller}: no cgroup v1 hierarchy has it")
    return folder


def folders(cgroup: Cgroup) -> list[str]:
    """Its folders in all hierarchies that are there now."""
    return [folder for folder in all_folders(cgroup) if os.path.isdir(folder)]


def remove(cgroup: Cgroup, foreign: list[str]) -> None:
    """Remove it but for the *foreign* folders, which were there before us. Raises Unavailable."""
    try:
        if not foreign:
            cgroup.remove()
            return
        for folder in set(folders(cgroup)) - set(foreign):
            os.rmdir(folder)
    except OSError as error:
        raise Unavailable(f"remove cgroup {cgroup.path}: {error.strerror}") from error


def unfreeze(cgroup: Cgroup, pid: int) -> None:
    """Let *pid* and the cgroup's other processes die, which they don't in a frozen v1 cgroup: somebody else's may hold them."""
    freezer = cgroup.folder("freezer")
    if freezer is None:
        return
    members = {pid}
    for folder in folders(cgroup):
        with open(f"{folder}/cgroup.procs", encoding="utf-8") as file:
            members.update(map(int, file.read().split()))
    os.makedirs(freezer, exist_ok=True)
    for member in members - {0}:
        try:
            fd = os.open(f"{freezer}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, str(member).encode())
            finally:
                os.close(fd)
        except OSError:
            continue  # it has ended
    try:
        cgroup.thaw()
    except OSError:
        pass


def is_frozen(cgroup: Cgroup) -> bool:
    """Whether it is paused; False where there is no freezer."""
    try:
        return cgroup.frozen()
    except OSError:
        return False


def _is_there(cgroup: Cgroup, controller: str) -> bool:
    folder = cgroup.folder(controller)
    return folder is not None and os.path.isdir(folder)


def all_folders(cgroup: Cgroup) -> list[str]:
    """Where it is or would be in each hierarchy."""
    roots = dict.fromkeys([*cgroup.cgroups.v1.values(), *([cgroup.cgroups.v2] if cgroup.cgroups.v2 else [])])
    return [root + cgroup.path for root in roots]


def _check_fit(cgroup: Cgroup) -> None:
    for folder in folders(cgroup):
        if read_file(f"{folder}/cgroup.procs"):
            raise Conflict(f"linux.cgroupsPath: container's cgroup is not empty: there are processes in {folder}")
    if is_frozen(cgroup) or _is_frozen1(cgroup):
        raise Conflict(f"linux.cgroupsPath: container's cgroup unexpectedly frozen: {cgroup.path}")


def _is_frozen1(cgroup: Cgroup) -> bool:
    """By the freezer of v1, where another is the one that we use."""
    try:
        with open(f"{cgroup.folder('freezer')}/freezer.state", encoding="utf-8") as file:
            return file.read().strip() != "THAWED"
    except OSError:
        return False
