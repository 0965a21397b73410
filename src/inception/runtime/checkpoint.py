"""`checkpoint`: a running container as files, written by criu, from which `restore` (restore.py) makes it again.

What is the container's own, criu saves: processes, memory, tmpfs contents, its namespaces. What is the host's is only named:

    bind mounts, masked files, its cgroups' folders   external mounts; `restore` finds them again by the spec
    joined network and pid namespaces                 external namespaces, `extRootNetNS` and `extRootPidNS`
    stdin, stdout, stderr                             `descriptors.json`: pipes, and files of the host's
    a terminal                                        its slave; the master is asked for at `restore`
    a network namespace's links and addresses         nothing: hooks, engines or whoever made them do so again

The names are runc's. Source: criu(8), "External resources".
"""

from __future__ import annotations

import os

from inception.errors import InceptionError, InvalidArgument, Unavailable
from inception.jsontext import compact
from inception.linux import abi
from inception.linux.mount import load_mountinfo
from inception.linux.path import RootDir
from inception.record import Record
from inception.runtime import cgroups
from inception.runtime.criu import (
    CGROUP_MODES,
    CHECK_HINT,
    DUMP,
    IMAGES,
    LOG_LEVEL,
    WORK,
    Criu,
    Stuck,
    Worker,
    log_errors,
    open_folders,
)
from inception.runtime.mounts import MountOptions, is_bind
from inception.runtime.namespaces import has_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.linux.mount import MountInfo
    from inception.oci.runtime import Device, Mount, Spec
    from inception.runtime.state import RuntimeState

DESCRIPTORS = "descriptors.json"
MASK = "/dev/null"
# kind -> its key, and the version of criu that knows it as external.
EXTERNAL_NAMESPACES = {"network": ("net", "extRootNetNS", 31100), "pid": ("pid", "extRootPidNS", 31500)}
_CONFIG_ANNOTATION, _CONFIG = "org.criu.config", "/etc/criu/runc.conf"


class CriuOptions(Record):
    """What the command line says of a checkpoint or of its restoration."""

    program: str = ""
    images: str = "checkpoint"
    work: str = ""  # for logs and scratch files; with the images when empty
    parent: str = ""  # of earlier images, relative to these
    page_server: tuple[str, int] | None = None
    cgroups_mode: str = ""
    status_fd: int = -1
    lsm_profile: str = ""
    lsm_mount_context: str = ""
    leave_running: bool = False
    pre_dump: bool = False
    tcp_established: bool = False
    tcp_skip_in_flight: bool = False
    ext_unix_sk: bool = False
    shell_job: bool = False
    file_locks: bool = False
    link_remap: bool = False
    auto_dedup: bool = False
    lazy_pages: bool = False


def dump(state: RuntimeState, spec: Spec, options: CriuOptions) -> None:
    """Write the images of a container that runs. Raises InvalidArgument, Unavailable; it runs on then."""
    criu = Criu(options.program)
    images, work = make_folders(options)
    request = {
        **common_options(spec, options, "dump.log"),
        "pid": state.pid,
        "root": state.rootfs,
        "leave_running": options.leave_running,
        "link_remap": options.link_remap,
        "tcp_skip_in_flight": options.tcp_skip_in_flight,
        "external": external_namespaces(spec, criu),
    }
    if options.page_server is not None:
        request["ps"] = {"address": options.page_server[0], "port": options.page_server[1]}
    if options.parent:
        request.update(parent_img=options.parent, track_mem=True)
    if options.pre_dump:
        criu.need_feature("mem_track", "--pre-dump")
    if options.lazy_pages:
        criu.need_feature("lazy_pages", "--lazy-pages")
        if options.status_fd >= 0:
            criu.need(31500, "--status-fd")
    frozen = cgroups.at(state.cgroup).frozen_file()
    if frozen and (not frozen.endswith("cgroup.freeze") or criu.version >= 31400):
        request["freeze_cgroup"] = os.path.dirname(frozen)
    if not options.pre_dump:
        mounts = load_mountinfo(str(state.pid))
        request["ext_mnt"] = [{"key": key, "val": val} for key, val in external_mounts(state.pid, spec, mounts).items()]
        names, files = descriptors(state.pid, {mount.id for mount in mounts})
        request["external"] += files
        _write(f"{images}/{DESCRIPTORS}", compact(names))
    worker = Worker(criu.program, lambda: open_folders(images, work))
    try:
        worker.ask({"type": criu.pre_dump if options.pre_dump else DUMP, "opts": request}, _Ready(options.status_fd))
    except Unavailable as error:
        raise explained(error, f"{work}/dump.log") from None
    finally:
        worker.close()


def make_folders(options: CriuOptions) -> tuple[str, str]:
    """The folders of the images and of the work, made where they are missing. Raises InvalidArgument."""
    work = options.work or options.images
    for option, path in (("image", options.images), ("work", work)):
        try:
            os.makedirs(path, 0o700, exist_ok=True)  # images are memory, and criu lets everybody read them
        except OSError as error:
            raise InvalidArgument(f"--{option}-path {path}: {(error.strerror or '').lower()}") from None
    return options.images, work


def common_options(spec: Spec, options: CriuOptions, log_file: str) -> dict[str, Any]:
    """What a dump and a restoration say alike."""
    found = {
        "images_dir_fd": IMAGES,
        "work_dir_fd": WORK,
        "log_level": LOG_LEVEL,
        "log_file": log_file,
        "notify_scripts": True,
        "manage_cgroups": True,
        "manage_cgroups_mode": CGROUP_MODES[options.cgroups_mode],
        "orphan_pts_master": True,
        # Links and addresses are whose who made them; criu would want iproute2's words for each.
        "empty_ns": abi.CLONE_NEWNET,
        "config_file": spec.annotations.get(_CONFIG_ANNOTATION, _CONFIG),
        **{
            name: getattr(options, name)
            for name in ("tcp_established", "ext_unix_sk", "shell_job", "file_locks", "auto_dedup", "lazy_pages")
        },
    }
    if not found["config_file"]:
        del found["config_file"]  # an empty annotation asks for none
    return found


def explained(error: Unavailable, log: str) -> InceptionError:
    """The error with the reason that criu's log has, and where to read on."""
    if isinstance(error, Stuck):
        return Unavailable(f"{error} (see {log})")
    if why := log_errors(log):
        return Unavailable(f"criu: {why} (see {log})")
    return Unavailable(f"{error} (see {log})" if os.path.exists(log) else str(error), hint=CHECK_HINT)


def external_namespaces(spec: Spec, criu: Criu) -> list[str]:
    """Those that the container has joined, by kind and inode."""
    found = []
    for space in spec.linux.namespaces if spec.linux else []:
        if space.type in EXTERNAL_NAMESPACES and space.path:
            kind, key, version = EXTERNAL_NAMESPACES[space.type]
            criu.need(version, f"a joined {space.type} namespace")
            try:
                found.append(f"{kind}[{os.stat(space.path).st_ino}]:{key}")
            except OSError as error:
                raise Unavailable(f"linux.namespaces: {space.path}: {error.strerror}") from None
    return found


def external_mounts(pid: int, spec: Spec, mounts: list[MountInfo]) -> dict[str, str]:
    """Mount point -> the name under which `restore` will look for it, for each mount of the host's in the container."""
    assert spec.linux is not None
    own_cgroups = any(space.type == "cgroup" for space in spec.linux.namespaces)
    with RootDir.open_host(f"/proc/{pid}/root") as root:
        binds = [resolved(root, mount.destination) for mount in spec.mounts if _is_bind(mount)]
        masks = {resolved(root, path) for path in spec.linux.masked_paths}
        nodes = {resolved(root, path) for path in bound_nodes(spec)}
    found = {}
    for mount in mounts:
        place = mount.mount_point
        if any(place == bind or place.startswith(f"{bind}/") for bind in binds):
            found[place] = place
        elif place in masks and mount.root.endswith("/null"):
            found[place] = MASK
        elif place in nodes or (mount.fstype in ("cgroup", "cgroup2") and not own_cgroups):
            found[place] = place
    return found


def bind_mounts(spec: Spec) -> list[Mount]:
    """Those of the spec that show what the host has."""
    return [mount for mount in spec.mounts if _is_bind(mount)]


def bound_nodes(spec: Spec) -> dict[str, Device | None]:
    """The devices that are mounts, since the root of a user namespace can't make them; None where the host's is taken."""
    from inception.runtime.container import DEFAULT_DEVICES

    assert spec.linux is not None
    if not has_user_namespace(spec.linux):
        return {}
    made: dict[str, Device | None] = {device.path: device for device in spec.linux.devices if device.type != "p"}
    return made | {f"/dev/{name}": None for name, _, _ in DEFAULT_DEVICES}


def _is_bind(mount: Mount) -> bool:
    options = MountOptions(mount.options, "mounts")
    return is_bind(mount, options) and not options.remount


def resolved(root: RootDir, path: str) -> str:
    """*path* without links, as the root sees it; as it is when nothing is there."""
    try:
        fd = root.open(path, abi.O_PATH)
    except OSError:
        return os.path.normpath(path)
    try:
        base = os.readlink(f"/proc/self/fd/{root.fd}").rstrip("/")
        return os.readlink(f"/proc/self/fd/{fd}").removeprefix(base) or "/"
    finally:
        os.close(fd)


def descriptors(pid: int, mounts: set[int]) -> tuple[list[str], list[str]]:
    """What stdin, stdout and stderr are; and of these the files that no mount of the container's has, as criu names them."""
    names, files = [], []
    for number in range(3):
        try:
            name = os.readlink(f"/proc/{pid}/fd/{number}")
            where = _mount_id(pid, number)
            if name.startswith("/") and where not in mounts and not name.startswith("/dev/pts/"):
                key = f"file[{where:x}:{os.stat(f'/proc/{pid}/fd/{number}').st_ino:x}]"
                files.append(key)
                name = f"{key} {name}"
        except OSError:
            name = ""  # closed
        names.append(name)
    return names, list(dict.fromkeys(files))


def _mount_id(pid: int, number: int) -> int:
    with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii") as file:
        return next((int(line.split()[1]) for line in file if line.startswith("mnt_id:")), 0)


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise InvalidArgument(f"--image-path: {path}: {error.strerror}") from None


class _Ready:
    """Tells --status-fd that the pages can be fetched."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __call__(self, what: str, pid: int, fds: list[int]) -> None:
        if what == "status-ready" and self._fd >= 0:
            os.write(self._fd, b"\0")
            os.close(self._fd)
            self._fd = -1
