"""What the world outside of a configuration contributes to a container's start: see `spec.Surroundings`.

user        looked up in the image's own passwd and group, from outside, bounded
namespaces  those of other containers, held by fd, so that none can change hands between here and the start
mounts      sources checked and, below a volume, looked for inside it (a subpath)
devices     read from the host
"""

from __future__ import annotations

import os
import stat

from inception.engine import records
from inception.engine.cgroups import cgroup_path
from inception.engine.config import network_mode
from inception.engine.live import open_init
from inception.engine.spec import Surroundings, held_capabilities, plan_mount
from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable
from inception.linux.namespaces import open_ns
from inception.linux.path import RootDir
from inception.oci.runtime import Device, Mount, User
from inception.record import replace
from inception.runtime.users import resolve_user

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import ContainerConfig
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord, MountPoint


class OpenSurroundings:
    """`value`, and the descriptors that its `fd:NAME` sources and namespaces stand for. Close it."""

    def __init__(self, engine: Engine, record: ContainerRecord) -> None:
        self.engine = engine
        self.record = record
        self.slots: dict[str, int] = {}
        self.own_netns = False  # a network namespace of the engine's making will be in the slot `netns`
        self.value = Surroundings()

    def __enter__(self) -> OpenSurroundings:
        return self

    def __exit__(self, *_exc: object) -> None:
        for fd in self.slots.values():
            os.close(fd)
        self.slots.clear()

    def gather(self, files: dict[str, str]) -> Surroundings:
        """Fill `value` and answer it. *files* are the engine's own, by their place inside."""
        from inception.engine import private_files

        config = self.record.config
        joined, shared = self._namespaces(config)
        user = look_up_user(self.engine, self.record)
        self.value = Surroundings(
            hostname=hostname(self.engine, self.record),
            user=user.user,
            home=user.home,
            mounts=[*self._mounts(), *self._ipc_mounts(config), *private_files.mounts(self.engine, self.record.id)],
            files={place: source for place, source in files.items() if place not in self._own_places()},
            joined=joined,
            shared=shared,
            held=held_capabilities(),
            devices=plan_devices(config),
            cgroup_path=cgroup_path(config.cgroup_parent, self.record.id),
        )
        if config.links:
            from inception.engine.links import environment

            self.value.link_env = environment(self.engine, self.record)
        names = config.resources.cdi_devices
        if config.resources.device_requests:
            from inception.engine.gpus import find_devices

            names = [*names, *find_devices(config.resources.device_requests)]
        if names:
            from inception.engine.cdi import inject

            inject(names, self.value)
        return self.value

    def _own_places(self) -> set[str]:
        return {point.destination for point in self.record.mounts}

    # Namespaces

    def _namespaces(self, config: ContainerConfig) -> tuple[dict[str, str], list[str]]:
        joined: dict[str, str] = {}
        shared: list[str] = []
        modes = {
            "network": network_mode(config),
            "pid": config.pid_mode,
            "ipc": config.ipc_mode,
            "uts": config.uts_mode,
            "cgroup": config.cgroupns_mode,
        }
        for kind, mode in modes.items():
            if mode == "host":
                shared.append(kind)
            elif mode.startswith("container:"):
                joined[kind] = self._slot(f"joined-{kind}", self._open_other(mode, kind))
        if self.own_netns:
            joined["network"] = "fd:netns"
        return joined, shared

    def _open_other(self, mode: str, kind: str) -> int:
        other = find_running(self.engine, mode)
        if kind == "ipc" and other.config.ipc_mode not in ("shareable", "host"):
            raise Conflict(f"can't join IPC of container {other.id}: non-shareable IPC", "start that one with --ipc shareable")
        if kind == "network":
            self.engine.database.execute("UPDATE containers SET lends_network = 1 WHERE id = ?", (other.id,))
        pidfd = open_init(self.engine, other)
        try:
            return open_ns(other.state.pid, kind)
        finally:
            os.close(pidfd)

    def _slot(self, name: str, fd: int) -> str:
        self.slots[name] = fd
        return f"fd:{name}"

    # Mounts

    def _mounts(self) -> list[Mount]:
        return [self._mount(point) for point in self.record.mounts]

    def _mount(self, point: MountPoint) -> Mount:
        if point.type == "image":
            from inception.engine.imagemounts import plan_image_mount

            return plan_image_mount(self.engine, point)
        return plan_mount(self._as_volume_says(point), self._source(point))

    def _as_volume_says(self, point: MountPoint) -> MountPoint:
        """*point* with what the `o` of its volume's driver options asks for."""
        if point.type != "volume":
            return point
        options = self.engine.volumes.get(point.source).config.driver_options
        words = [word for word in options.get("o", "").split(",") if word]
        read_only = point.read_only or "ro" in words
        own = [word for word in words if word not in ("ro", "rw")] if options.get("type") == "tmpfs" else []
        return replace(point, read_only=read_only, tmpfs_options=own) if own or read_only else point

    def _source(self, point: MountPoint) -> str:
        if point.type == "tmpfs":
            return ""
        path = point.source
        if point.type == "volume":
            volume = self.engine.volumes.get(point.source)
            path = volume.host_path
            if not path:
                return ""
        if not os.path.lexists(path):
            if point.type == "volume" and not self.engine.volumes.get(point.source).config.driver_options:
                os.makedirs(path, mode=0o755, exist_ok=True)
            else:
                raise Unavailable(f"mount {point.destination}: bind source path does not exist: {path}")
        if not point.subpath:
            return path
        try:
            with RootDir.open_host(path) as root:
                os.close(root.open(point.subpath, os.O_PATH))
        except OSError as error:
            raise NotFound(
                f"mount {point.destination}: cannot access path {point.subpath} in volume: {str(error.strerror).lower()}"
            ) from error
        return f"in:{os.path.normpath(path)}//{point.subpath}"

    def _ipc_mounts(self, config: ContainerConfig) -> list[Mount]:
        """/dev/shm and /dev/mqueue where the IPC namespace is not the container's alone."""
        mode, owner = config.ipc_mode, self.record
        if mode.startswith("container:"):
            owner = find_running(self.engine, mode)
            mode = owner.config.ipc_mode
        if mode == "host":
            return [
                Mount(destination=place, type="bind", source=place, options=["bind", "rprivate"])
                for place in ("/dev/shm", "/dev/mqueue")
                if os.path.isdir(place)
            ]
        if mode != "shareable":
            return []
        # A folder of the run root, which is memory: a mount inside the one container could not be cloned into another.
        shm = f"{self.engine.run_dir(owner.id)}/shm"
        if owner is self.record:
            os.makedirs(shm, exist_ok=True)
            os.chmod(shm, 0o1777)
        restricted = ["nosuid", "nodev", "noexec"]
        return [
            Mount(destination="/dev/shm", type="bind", source=shm, options=["bind", "rprivate", *restricted]),
            Mount(destination="/dev/mqueue", type="mqueue", source="mqueue", options=restricted),
        ]


def find_running(engine: Engine, mode: str) -> ContainerRecord:
    """The container of a `container:NAME` mode. Raises Conflict when it does not run."""
    other = records.find(engine, mode.removeprefix("container:"))
    if other.state.status not in ("running", "paused"):
        raise Conflict(f"cannot join namespace of a non running container: {other.id}")
    return other


def hostname(engine: Engine, record: ContainerRecord) -> str:
    """Its own, the machine's with the host's network or UTS, else the start of its id, as Docker does it."""
    config = record.config
    if config.hostname:
        return config.hostname
    if config.uts_mode == "host" or config.network_mode == "host":
        return os.uname().nodename
    if config.network_mode.startswith("container:"):
        other = records.find(engine, config.network_mode.removeprefix("container:"))
        return hostname(engine, other)
    return record.id[:12]


class FoundUser:
    """A resolved user with its home."""

    def __init__(self, user: User, home: str) -> None:
        self.user = user
        self.home = home


def look_up_user(engine: Engine, record: ContainerRecord) -> FoundUser:
    """The user of the first process. Fresh containers of one image share the answer: their files are the image's."""
    config = record.config
    key = (record.image_id, config.user, tuple(config.group_add))
    fresh = record.state.status == "created" and record.kind != "step"
    known = engine.users.get(key) if fresh else None
    if known is None:
        with engine.store.snapshots.view(records.snapshot_of(record)) as root:
            known = resolve_user_of(root, config.user, config.group_add)
        if fresh:
            engine.users[key] = known
    return known


def resolve_user_of(root: RootDir, user: str, group_add: list[str]) -> FoundUser:
    """*user* (`name`, `uid`, with `:group`) by the files beneath *root*."""
    found = resolve_user(root, user, group_add)
    return FoundUser(
        User(uid=found.uid, gid=found.gid, additional_gids=list(found.additional_gids), username=found.name), found.home or "/"
    )


def plan_devices(config: ContainerConfig) -> list[Device]:
    """Device nodes to make inside: all of the host's when privileged, else those that were asked for."""
    if config.privileged:
        return [device for device in _walk("/dev", "/dev") if not device.path.startswith(("/dev/pts/", "/dev/shm/"))]
    devices: list[Device] = []
    for asked in config.resources.devices:
        found = list(_walk(asked.host_path, asked.container_path or asked.host_path))
        if not found:
            raise InvalidArgument(
                f'error gathering device information while adding custom device "{asked.host_path}": no such file or directory'
            )
        devices.extend(found)
    return devices


def _walk(host_path: str, container_path: str) -> list[Device]:
    """The device nodes at or beneath a host path; symbolic links lead to their devices, as with Docker."""
    try:
        info = os.stat(host_path)
    except OSError:
        return []
    if stat.S_ISDIR(info.st_mode):
        found: list[Device] = []
        for entry in sorted(os.listdir(host_path)):
            path = f"{host_path}/{entry}"
            if not os.path.islink(path) and entry not in ("pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"):
                found.extend(_walk(path, f"{container_path}/{entry}"))
        return found
    kind = "c" if stat.S_ISCHR(info.st_mode) else "b" if stat.S_ISBLK(info.st_mode) else ""
    if not kind:
        return []
    return [
        Device(
            type=kind,
            path=container_path,
            major=os.major(info.st_rdev),
            minor=os.minor(info.st_rdev),
            file_mode=stat.S_IMODE(info.st_mode),
            uid=info.st_uid,
            gid=info.st_gid,
        )
    ]
