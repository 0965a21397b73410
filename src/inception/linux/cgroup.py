"""Control groups, v1, hybrid and v2 behind one interface.

    v1      one hierarchy a controller (or co-mounted pair) below /sys/fs/cgroup
    hybrid  the same, and a v2 hierarchy beside it that holds no (or few) controllers
    v2      one hierarchy that holds them all

A `Cgroup` is one path in all of them. Where a v2 hierarchy exists, even an empty one, freezing, killing and device control
use it: `cgroup.freeze`, `cgroup.kill` and eBPF need no controller.

A process is born into a v2 cgroup by CLONE_INTO_CGROUP. Into those of v1 hierarchies it goes itself, before it runs: one that
has a single thread and writes "0" into `tasks` moves at once, where any write to `cgroup.procs` stops all forks of the machine
and first waits for an RCU grace period, about 7 ms (Linux 5.6, kernel/cgroup/cgroup.c, cgroup_procs_write_start).

Source: cgroups(7); kernel admin-guide/cgroup-v1/, admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os
import time

from inception.linux.files import read_file
from inception.linux.process import oom_kills
from inception.record import Record, replace

_SIGKILL = 9  # `signal` builds enums, 5 ms
_MOVES = 8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inception.linux.bpf import DeviceRule

_GONE = (errno.ENOENT, errno.ENODEV)

#: v1 controllers that every container is counted by, also without a limit.
ACCOUNTING = ("memory", "pids", "blkio", "cpuacct")
#: v2 controllers that are switched on for every container, where the hierarchy has them.
V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc")


class Write(Record):
    """One value for one control file: `memory`, `memory.limit_in_bytes`, `1048576`."""

    controller: str
    file: str
    value: str


class JoinPlan(Record):
    """How a process becomes a member: see the module's theory. Paths are the host's."""

    cgroup2_path: str | None = None
    v1_folders: list[str] = []

    @property
    def tasks_files(self) -> list[str]:
        """Where the process writes "0", while it has one thread."""
        return [f"{folder}/tasks" for folder in self.v1_folders]


class BlockIo(Record):
    major: int
    minor: int
    operation: str
    bytes: int = 0
    operations: int = 0


class HugePages(Record):
    """Bytes in huge pages of one size; how often the limit was in the way."""

    usage_bytes: int = 0
    peak_bytes: int = 0
    failures: int = 0


class CgroupStats(Record):
    """Counters of one cgroup. None means that no controller counts it here. Times in nanoseconds."""

    cpu_usage_ns: int = 0
    cpu_user_ns: int = 0
    cpu_system_ns: int = 0
    cpu_periods: int = 0
    cpu_throttled_periods: int = 0
    cpu_throttled_ns: int = 0
    memory_usage_bytes: int | None = None
    memory_limit_bytes: int | None = None
    memory_peak_bytes: int | None = None
    #: Memory and swap together, as v1 counts.
    memswap_usage_bytes: int | None = None
    memswap_limit_bytes: int | None = None
    memory_failures: int = 0
    huge_pages: dict[str, HugePages] = {}
    memory: dict[str, int] = {}
    pids_current: int | None = None
    pids_limit: int | None = None
    block_io: list[BlockIo] = []
    oom_kills: int = 0


class Cgroups:
    """The hierarchies of this machine: `v1` maps a controller to its mount point, `v2` is the unified mount point or None."""

    def __init__(self, v1: dict[str, str], v2: str | None, v2_controllers: Sequence[str] = ()) -> None:
        self.v1 = v1
        self.v2 = v2
        self.v2_controllers = tuple(v2_controllers)
        self._ready: dict[str, int] = {}  # v2 folders that hand all controllers down, by path: their inode

    @property
    def layout(self) -> str:
        """`v1`, `hybrid` or `v2`."""
        if self.v2 is None:
            return "v1"
        return "hybrid" if self.v1 else "v2"

    @staticmethod
    def detect(mountinfo: str = "/proc/self/mountinfo") -> Cgroups:
        """Reads the mount table; of several mounts of one hierarchy the first counts."""
        v1: dict[str, str] = {}
        v2: str | None = None
        for line in os.fsdecode(read_file(mountinfo)).splitlines():
            head, _, tail = line.partition(" - ")
            kind, _, rest = tail.partition(" ")
            if kind not in ("cgroup", "cgroup2"):
                continue
            root, mount_point = head.split(" ")[3:5]
            if root.startswith("/.."):
                continue  # a hierarchy's part outside of our cgroup namespace
            if not os.path.exists(f"{mount_point}/cgroup.procs"):
                continue  # beneath another mount that hides it
            if kind == "cgroup2":
                v2 = v2 or mount_point
            else:
                for option in rest.split(" ", 1)[1].strip().split(","):
                    if option not in ("rw", "ro", "xattr", "clone_children", "noprefix", "release_agent"):
                        v1.setdefault(option.removeprefix("name="), mount_point)
        controllers = _read(f"{v2}/cgroup.controllers").split() if v2 else []
        return Cgroups(v1, v2, controllers)

    def at(self, path: str) -> Cgroup:
        """The cgroup at *path* (absolute, from the root of each hierarchy), existing or not."""
        return Cgroup(self, path)

    def make_v2(self, path: str) -> bool:
        """The v2 folders of *path*, each handing its controllers down; whether the last is new.

        Source: cgroup-v2.rst, "Controlling Controllers".
        """
        assert self.v2 is not None
        folder = self.v2 + path
        parent = os.path.dirname(folder)
        if self._ready.get(parent) != _inode(parent):
            complete = True
            for place in _above(self.v2, path):
                _make_folder(place)
                complete = self._hand_controllers_down(place) and complete
            if complete:
                self._ready[parent] = _inode(parent)
        return _make_folder(folder)

    def _hand_controllers_down(self, folder: str) -> bool:
        """Whether all of them are handed down. A cgroup with processes of its own can't ("no internal processes"): in the root
        of our cgroup namespace, as in a container that has containers, they move to `init`, a cgroup below it. Elsewhere a
        limit of a controller that is missing fails by itself."""
        wanted = [controller for controller in V2_CONTROLLERS if controller in self.v2_controllers]
        enabled = _read(f"{folder}/cgroup.subtree_control").split() if wanted else []
        missing = [f"+{controller}" for controller in wanted if controller not in enabled]
        moves = _MOVES
        while missing:
            try:
                _write(f"{folder}/cgroup.subtree_control", " ".join(missing))
                break
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                # The machine's own root has no type, and no such rule.
                if not moves or folder != self.v2 or not os.path.exists(f"{folder}/cgroup.type"):
                    return False
            _make_folder(f"{folder}/init")
            _move_processes(map(int, _read(f"{folder}/cgroup.procs").split()), f"{folder}/init/cgroup.procs")
            moves -= 1  # they may have forked meanwhile
        return True

    def controllers(self) -> set[str]:
        """All controllers that could limit something here, named as in v1 or v2."""
        return {*self.v1, *self.v2_controllers}


class Cgroup:
    """One path in all hierarchies. Making and removing are idempotent; files are opened by paths of the host's own mounts."""

    def __init__(self, cgroups: Cgroups, path: str) -> None:
        if not path.startswith("/") or ".." in path.split("/"):
            raise ValueError(f"cgroup path {path!r} must be absolute, without '..'")
        self.cgroups = cgroups
        self.path = path.rstrip("/")

    def create(self, controllers: Iterable[str] = (), devices: Sequence[DeviceRule] | None = None) -> JoinPlan:
        """Makes the cgroup for a process that *controllers* shall limit and says how to join.

        On v1 these are the folders of *controllers* and of ACCOUNTING. *devices* are put in force: by eBPF where there is a v2
        hierarchy, else by the v1 controller. Raises OSError: EROFS or EACCES where the tree is not ours.
        """
        fresh = False
        if self.cgroups.v2 is not None:
            fresh = self.cgroups.make_v2(self.path)
        join = self.join_plan(controllers)
        for folder in join.v1_folders:
            self._make_v1(folder)
        if devices is not None:
            self.set_devices(devices, fresh=fresh)
        return join

    def join_plan(self, controllers: Iterable[str] = ()) -> JoinPlan:
        """What `create` gives, made or not."""
        wanted = [*controllers, *ACCOUNTING]
        if self.cgroups.v2 is None:
            wanted += ["freezer", "devices"]
        folders = {
            self._v1_folder(controller): None
            for controller in wanted
            if controller in self.cgroups.v1 and controller not in self.cgroups.v2_controllers
        }
        return JoinPlan(cgroup2_path=self.folder(None), v1_folders=list(folders))

    def join_beside(self, join: JoinPlan, pid: int) -> JoinPlan:
        """*join*, for a process beside *pid*: where the cgroup hands v2 controllers on, as a service manager in a container
        makes it do, no process may be in it, and the one that *pid* is in below it is joined.

        Source: cgroup-v2.rst, "No Internal Process Constraint".
        """
        own = self.folder(None)
        if own is None or join.cgroup2_path != own or not _read(f"{own}/cgroup.subtree_control", "").strip():
            return join
        for line in _read(f"/proc/{pid}/cgroup", "").splitlines():
            if line.startswith(f"0::{self.path}/") and "/../" not in line:
                return replace(join, cgroup2_path=f"{self.cgroups.v2}{line[3:]}")
        return join

    def folder(self, controller: str | None) -> str | None:
        """The folder that holds *controller*'s files; None asks for the v2 folder. None where there is none."""
        if controller is not None and controller in self.cgroups.v1:
            return self.cgroups.v1[controller] + self.path
        if self.cgroups.v2 is None or (controller is not None and controller not in self.cgroups.v2_controllers):
            return None
        return self.cgroups.v2 + self.path

    def exists(self) -> bool:
        return any(os.path.isdir(folder) for folder in self._folders())

    def apply(self, writes: Iterable[Write]) -> None:
        """Writes limits. Raises OSError that names the file; ENOENT where the controller is missing here."""
        for write in writes:
            folder = self.folder(write.controller)
            if folder is None:
                raise OSError(errno.ENOENT, f"cgroup controller {write.controller!r} is not available", write.file)
            _write(f"{folder}/{write.file}", write.value)

    def set_devices(self, rules: Sequence[DeviceRule], *, fresh: bool = False) -> None:
        """Replaces the device rules; the last that matches wins, none means denied. A *fresh* cgroup has none to replace."""
        if self.cgroups.v2 is not None:
            from inception.linux.bpf import attach_device_program  # no `exec` changes devices

            fd = os.open(self.cgroups.v2 + self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                attach_device_program(fd, rules, fresh=fresh)
            finally:
                os.close(fd)
            return
        folder = self.folder("devices")
        if folder is None:
            raise OSError(errno.ENOENT, "cgroup controller 'devices' is not available", "devices.allow")
        self.apply(device_writes(rules))

    def join(self, pid: int, controllers: Iterable[str]) -> None:
        """Moves *pid* (and those already in the cgroup) into the v1 folders of *controllers*, for a limit set on the run."""
        for controller in controllers:
            if controller in self.cgroups.v1:
                procs = f"{self._make_v1(self._v1_folder(controller))}/cgroup.procs"
                _move_processes({pid, *self.pids()}, procs)

    def pids(self) -> list[int]:
        """All processes in this cgroup and those below it, as this process's pid namespace sees them."""
        found: set[int] = set()
        for folder in self._member_folders():
            for path, _, files in os.walk(folder):
                if "cgroup.procs" in files:
                    found.update(map(int, _read(f"{path}/cgroup.procs").split()))
        return sorted(found - {0})

    def freeze(self, timeout_s: float = 2.0) -> None:
        """Stops all processes; returns when they are stopped. Raises TimeoutError and thaws when they don't."""
        folder, file, on = self._freezer()
        _write(f"{folder}/{file}", on)
        deadline = time.monotonic() + timeout_s
        pause_s = 0.0005
        while not self._is_frozen(folder, file):
            if time.monotonic() > deadline:
                self.thaw()
                raise TimeoutError(errno.ETIMEDOUT, "processes did not freeze", folder)
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 0.02)
            if file == "freezer.state":
                _write(f"{folder}/{file}", on)  # FREEZING can get stuck on a task that forks; asking again helps

    def thaw(self) -> None:
        """Lets them go on; nothing happens where none is frozen."""
        folder, file, _ = self._freezer()
        _write(f"{folder}/{file}", "0" if file == "cgroup.freeze" else "THAWED")

    def frozen(self) -> bool:
        folder, file, _ = self._freezer()
        try:
            return self._is_frozen(folder, file)
        except FileNotFoundError:
            return False

    def frozen_file(self) -> str | None:
        """The file that has `frozen 1` or `FROZEN` in it when it is frozen; None where there is no freezer."""
        try:
            folder, file, _ = self._freezer()
        except OSError:
            return None
        return f"{folder}/{'cgroup.events' if file == 'cgroup.freeze' else file}"

    def kill(self) -> None:
        """SIGKILL to every process here and below, forks under way included. Nothing happens where the cgroup is gone."""
        if self.cgroups.v2 is not None:
            try:
                _write(f"{self.cgroups.v2}{self.path}/cgroup.kill", "1")
                return
            except OSError as error:  # Linux before 5.14, or removed already
                if error.errno not in _GONE:
                    raise
        for _ in range(64):
            pids = self.pids()
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, _SIGKILL)
                except ProcessLookupError:
                    continue
            try:
                self.thaw()  # a frozen task does not die in v1
            except OSError:
                pass
            time.sleep(0.002)

    def oom_kills(self) -> int:
        """How many processes the kernel killed here for want of memory."""
        return oom_kills(self.oom_paths())

    def oom_paths(self) -> list[str]:
        """The files that count OOM kills; `oom_kills` reads them."""
        folder = self.folder("memory")
        if folder is None:
            return []
        return [f"{folder}/{'memory.oom_control' if 'memory' in self.cgroups.v1 else 'memory.events'}"]

    def stats(self) -> CgroupStats:
        """All counters at once; those of missing controllers stay None or empty."""
        if "memory" in self.cgroups.v1 or "cpuacct" in self.cgroups.v1:
            from inception.linux.cgroup1 import read_stats
        else:
            from inception.linux.cgroup2 import read_stats
        return read_stats(self)

    def remove(self, timeout_s: float = 5.0) -> None:
        """Removes it and what is below; kills what still runs there.

        Raises OSError EBUSY when that takes longer than *timeout_s*.
        """
        deadline = time.monotonic() + timeout_s
        for folder in self._folders():
            pause_s = 0.0002
            while True:
                try:
                    _remove_tree(folder)
                    break
                except OSError as error:
                    if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) or time.monotonic() > deadline:
                        raise
                # Zombies and exiting tasks keep a cgroup busy for a moment after their parent has seen them die.
                self.kill()
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, 0.02)

    def _v1_folder(self, controller: str) -> str:
        return self.cgroups.v1[controller] + self.path

    def _make_v1(self, folder: str) -> str:
        root = folder.removesuffix(self.path)
        _make_folders(root, self.path)
        if root == self.cgroups.v1.get("cpuset"):
            for file in ("cpuset.cpus", "cpuset.mems"):
                _hand_down(folder, file)
        return folder

    def _folders(self) -> list[str]:
        roots = dict.fromkeys([*self.cgroups.v1.values(), *([self.cgroups.v2] if self.cgroups.v2 else [])])
        return [root + self.path for root in roots]

    def _member_folders(self) -> list[str]:
        """Where every member is sure to be listed: v2, else the freezer, else all."""
        if self.cgroups.v2 is not None:
            return [self.cgroups.v2 + self.path]
        return [self.cgroups.v1["freezer"] + self.path] if "freezer" in self.cgroups.v1 else self._folders()

    def _freezer(self) -> tuple[str, str, str]:
        if self.cgroups.v2 is not None:
            return self.cgroups.v2 + self.path, "cgroup.freeze", "1"
        if "freezer" not in self.cgroups.v1:
            raise OSError(errno.ENOENT, "no cgroup freezer is available", self.path)
        return self.cgroups.v1["freezer"] + self.path, "freezer.state", "FROZEN"

    @staticmethod
    def _is_frozen(folder: str, file: str) -> bool:
        if file == "cgroup.freeze":
            return "frozen 1" in _read(f"{folder}/cgroup.events")
        return _read(f"{folder}/{file}").strip() == "FROZEN"


def device_writes(rules: Iterable[DeviceRule]) -> list[Write]:
    """Device rules for the v1 controller, from nothing is allowed on."""
    writes = [Write(controller="devices", file="devices.deny", value="a")]
    for rule in rules:
        major = "*" if rule.major is None else str(rule.major)
        minor = "*" if rule.minor is None else str(rule.minor)
        text = "a" if rule.type == "a" and rule.major is None else f"{rule.type} {major}:{minor} {rule.access}"
        writes.append(Write(controller="devices", file=f"devices.{'allow' if rule.allow else 'deny'}", value=text))
    return writes


def _above(root: str, path: str) -> list[str]:
    """*root* and the folders of *path* below it, but for the last."""
    parts = path.strip("/").split("/")
    return ["/".join([root, *parts[:depth]]) for depth in range(len(parts))]


def _move_processes(pids: Iterable[int], procs: str) -> None:
    """Into the cgroup whose file *procs* is; those that have ended meanwhile are none of it."""
    for pid in pids:
        try:
            _write(procs, str(pid))
        except ProcessLookupError:
            continue


def _make_folder(path: str) -> bool:
    """Whether it is new."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    return True


def _inode(path: str) -> int:
    """-1 for what isn't there."""
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return -1


def _hand_down(folder: str, file: str) -> str:
    """The value of *file* in *folder*: what is around it has, where it is empty, as in a new folder. No task may join there."""
    value = _read(f"{folder}/{file}").strip()
    if not value:
        value = _hand_down(os.path.dirname(folder), file)
        _write(f"{folder}/{file}", value)
    return value


def _make_folders(root: str, path: str) -> None:
    """mkdir -p."""
    try:
        _make_folder(root + path)  # nearly always what is around it is there
    except FileNotFoundError:
        for folder in [*_above(root, path)[1:], root + path]:
            _make_folder(folder)


def _remove_tree(folder: str) -> None:
    """Somebody else (a service manager, another `delete`) may be at it too: what is gone is gone."""
    try:
        os.rmdir(folder)
        return
    except OSError as error:
        if error.errno in _GONE:
            return
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise
    try:
        with os.scandir(folder) as entries:
            below = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        for path in below:
            _remove_tree(path)
        os.rmdir(folder)
    except OSError as error:
        if error.errno not in _GONE:
            raise


def _read(path: str, missing: str | None = None) -> str:
    try:
        return read_file(path).decode()
    except FileNotFoundError:
        if missing is None:
            raise
        return missing


def _write(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, f"write {value!r}: {os.strerror(error.errno or 0)}", path) from None
    finally:
        os.close(fd)
