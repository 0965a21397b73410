"""From images to a process of ours: criu's part of a restoration, whoever asks for it.

    we                                              criu
    fork                                   ───▶     a mount namespace of its own: the root as a mount
    into the cgroup, request               ───▶     namespaces
    loopback; *set_up*                     ◀──      setup-namespaces
                                                    memory, files, mounts
    *restored*                             ◀──      post-restore; then everything runs on

The process is our child: criu makes it its sibling. Everything that it restores is in the cgroup from its first moment.
"""

from __future__ import annotations

import os
import socket
import stat

from inception.errors import InvalidArgument, Unavailable
from inception.jsontext import loads
from inception.linux import abi, mount, namespaces, netlink, process
from inception.linux.files import read_file
from inception.linux.path import RootDir
from inception.runtime import cgroups, checkpoint
from inception.runtime.child import Child
from inception.runtime.container import device_mode, outside
from inception.runtime.criu import INHERITED, RESTORE, Criu, Stuck, Worker, open_folders
from inception.runtime.namespaces import has_user_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from inception.linux.cgroup import Cgroup, JoinPlan
    from inception.oci.runtime import Namespace, Spec

    Told = Callable[[Child], None]

_STREAMS = ("stdin", "stdout", "stderr")
_ROOT, _NODE = "root", "node"  # in criu's mount namespace
_PATIENCE_S = 20.0  # for criu, once it reads nothing any more
_MAX_PARENTS = 64  # of images that build upon others, each a mount


class Revival:
    """One restoration by criu. *folder* is an empty one, or one that may be covered in criu's mount namespace.

    *root* is the container's root: the folder *rootfs*, or when that is empty a mount of its own that is attached nowhere.
    *console* is the socket that gets the master of a terminal. `child` is the process once there is one, restored or not; the
    caller owns its pidfd.
    """

    def __init__(
        self,
        images: checkpoint.CriuOptions,
        spec: Spec,
        folder: str,
        root: RootDir,
        rootfs: str,
        cgroup: Cgroup,
        console: int | None = None,
    ) -> None:
        self.images = images
        self.spec = spec
        self.folder = folder
        self.root = root
        self.rootfs = rootfs
        self.cgroup = cgroup
        self.console = console
        self.work = ""
        self.child: Child | None = None
        self.nodes = [device for device in checkpoint.bound_nodes(spec).values() if device is not None]
        self._set_up: Told = lambda _: None
        self._restored: Told = lambda _: None

    def run(self, join: JoinPlan | None, set_up: Told, restored: Told) -> Child:
        """Raises InvalidArgument, Unavailable; then what is left of it is in the cgroup, and `child` perhaps."""
        self._set_up, self._restored = set_up, restored
        criu = Criu(self.images.program)
        if not os.path.isdir(self.images.images):
            raise InvalidArgument(f"--image-path {self.images.images}: there is no checkpoint")
        self.work = checkpoint.make_folders(self.images)[1]
        request, inherited = self._request(criu)
        try:
            worker = Worker(criu.program, self._enter, inherited)
        finally:
            for fd in inherited:
                os.close(fd)
        try:
            request["cg_root"] = _join(worker.pid, join)
            worker.ask({"type": RESTORE, "opts": request}, self._notified, _PATIENCE_S)
        except Unavailable as error:
            worker.close(kill=isinstance(error, Stuck))
            raise checkpoint.explained(error, f"{self.work}/restore.log") from None
        except BaseException:
            worker.close(kill=True)
            raise
        worker.close()
        if self.child is None:
            raise Unavailable("criu told of no process")
        return self.child

    # ---- what criu is asked for -------------------------------------------------------------------------------------

    def _request(self, criu: Criu) -> tuple[dict[str, Any], list[int]]:
        """The options, and the descriptors that criu is to have from `INHERITED` on."""
        options = self.images
        request = {
            **checkpoint.common_options(self.spec, options, "restore.log"),
            "evasive_devices": True,
            "rst_sibling": True,
            "root": f"{self.folder}/{_ROOT}",
            "ext_mnt": [{"key": key, "val": val} for key, val in self._external_mounts().items()],
        }
        for option, value in (("lsm_profile", options.lsm_profile), ("lsm_mount_context", options.lsm_mount_context)):
            if value:
                criu.need(31600, f"--{option.replace('_', '-')}")
                request[option] = value
        if options.lazy_pages:
            criu.need_feature("lazy_pages", "--lazy-pages")
        inherited: list[int] = []
        keys = self._descriptors(inherited)
        request["join_ns"] = []
        for space in self._joined():
            if space.type in checkpoint.EXTERNAL_NAMESPACES:
                _, key, version = checkpoint.EXTERNAL_NAMESPACES[space.type]
                criu.need(version, f"a joined {space.type} namespace")
                try:
                    fd = os.open(space.path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    raise InvalidArgument(f"linux.namespaces: {space.path}: {(error.strerror or '').lower()}") from None
                keys.append((key, INHERITED + len(inherited)))
                inherited.append(fd)
            elif space.type == "cgroup":
                raise Unavailable("linux.namespaces: criu can't restore into a cgroup namespace that exists")
            else:
                request["join_ns"].append({"ns": namespaces.KINDS[space.type][0], "ns_file": space.path})
        request["inherit_fd"] = [{"key": key, "fd": fd} for key, fd in keys]
        return request, inherited

    def _joined(self) -> list[Namespace]:
        assert self.spec.linux is not None
        return [space for space in self.spec.linux.namespaces if space.path]

    def _descriptors(self, inherited: list[int]) -> list[tuple[str, int]]:
        """What criu is to take for the container's stdio: ours for pipes and files of the host; a terminal comes by itself."""
        path = f"{self.images.images}/{checkpoint.DESCRIPTORS}"
        try:
            names = loads(read_file(path))
        except FileNotFoundError:
            raise InvalidArgument(f"--image-path {self.images.images}: there is no checkpoint") from None
        except ValueError as error:
            raise InvalidArgument(f"{path}: {error}") from None
        found: dict[str, int] = {}
        for number, name in enumerate(names[:3] if isinstance(names, list) else []):
            key, _, file = str(name).partition(" ")
            if key in found or not key.startswith(("pipe:", "file[")):
                continue
            found[key] = number
            if file == os.devnull:
                found[key] = INHERITED + len(inherited)
                inherited.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            elif file and not _is_seekable(number):  # criu goes to where it was
                raise InvalidArgument(f"{_STREAMS[number]} was the file {file} and can be a file only; this one is none")
        return list(found.items())

    def _external_mounts(self) -> dict[str, str]:
        """The names that a checkpoint gave the host's mounts -> where the host has them."""
        assert self.spec.linux is not None
        found = {checkpoint.MASK: checkpoint.MASK} if self.spec.linux.masked_paths else {}
        root = self.root
        for each in checkpoint.bind_mounts(self.spec):
            place, source = checkpoint.resolved(root, each.destination), os.path.realpath(each.source)
            found[place] = source
            for below in mount.load_mountinfo() if "rbind" in (*each.options, each.type) else []:
                if below.mount_point.startswith(f"{source}/"):
                    found[place + below.mount_point[len(source) :]] = below.mount_point
        if not any(space.type == "cgroup" for space in self.spec.linux.namespaces):
            for each in self.spec.mounts:
                if each.type in ("cgroup", "cgroup2"):
                    found.update(_cgroup_mounts(checkpoint.resolved(root, each.destination), self.cgroup))
        for path, device in checkpoint.bound_nodes(self.spec).items():
            place = f"{self.folder}/{_NODE}{self.nodes.index(device)}" if device else path
            found[checkpoint.resolved(root, path)] = place
        return found

    def _enter(self) -> list[int]:
        """In criu's process: the root must be a mount of its own. Nobody else sees it, and it goes with criu.

        The folders of the images and of the work.
        """
        namespaces.unshare(abi.CLONE_NEWNS)
        mount.mount(None, "/", None, abi.MS_REC | abi.MS_PRIVATE)
        target = f"{self.folder}/{_ROOT}"
        mount.mount("tmpfs", self.folder, "tmpfs", 0, "mode=755")
        os.mkdir(target)
        if self.rootfs:
            mount.mount(self.rootfs, target, None, abi.MS_BIND | abi.MS_REC)
        else:
            mount.move_mount(self.root.fd, abi.AT_FDCWD, target)
        self._make_nodes()
        (work,) = open_folders(self.work)
        if self.spec.linux is not None and has_user_namespace(self.spec.linux):
            self._open_images()
        return [*open_folders(self.images.images), work]

    def _make_nodes(self) -> None:
        """The devices that its user namespace can't make."""
        assert self.spec.linux is not None
        for index, device in enumerate(self.nodes):
            path = f"{self.folder}/{_NODE}{index}"
            os.mknod(path, device_mode(device, device.path), os.makedev(device.major, device.minor))
            uid, gid = device.uid or 0, device.gid or 0
            os.chown(path, outside(uid, self.spec.linux.uid_mappings), outside(gid, self.spec.linux.gid_mappings))
            os.chmod(path, stat.S_IMODE(device_mode(device, device.path)))

    def _open_images(self) -> None:
        """Let its root look into the folders of the images: it does so itself once it is in its user namespace.

        The folders are root's alone, and stay so: what is opened is an overlay of each, which nobody else sees.
        """
        place = self.images.images
        for number in range(_MAX_PARENTS):
            upper = [f"{self.folder}/{kind}{number}" for kind in ("upper", "work")]
            for path in upper:
                os.mkdir(path, 0o711)
            (lower,) = open_folders(place)
            options = f"lowerdir=/proc/self/fd/{lower},upperdir={upper[0]},workdir={upper[1]}"
            mount.mount("overlay", place, "overlay", 0, options)
            os.close(lower)
            place = os.path.realpath(f"{place}/parent")
            if not os.path.isdir(place):
                return

    # ---- what criu tells --------------------------------------------------------------------------------------------

    def _notified(self, what: str, pid: int, fds: list[int]) -> None:
        if what == "setup-namespaces":
            child = self._note(pid)
            self._raise_loopback(pid)
            self._set_up(child)
        elif what == "orphan-pts-master" and fds:
            if self.console is None:
                raise InvalidArgument("cannot restore a terminal without --console-socket")
            with socket.socket(fileno=os.dup(self.console)) as console:
                socket.send_fds(console, [b"/dev/ptmx"], fds[:1])
        elif what == "post-restore":
            self._restored(self._note(pid))  # it may have ended by the time that criu has

    def _raise_loopback(self, pid: int) -> None:
        """As in every new network namespace of ours."""
        assert self.spec.linux is not None
        if any(space.type == "network" and not space.path for space in self.spec.linux.namespaces):
            fd = namespaces.open_ns(pid, "network")
            try:
                with netlink.Netlink(fd) as link:
                    link.run(netlink.set_link("lo", up=True))
            finally:
                os.close(fd)

    def _note(self, pid: int) -> Child:
        if self.child is None:
            self.child = Child(pid=pid, pidfd=process.pidfd_open(pid))
        return self.child


def _is_seekable(fd: int) -> bool:
    try:
        os.lseek(fd, 0, os.SEEK_CUR)
    except OSError:
        return False
    return True


def _cgroup_mounts(place: str, cgroup: Cgroup) -> dict[str, str]:
    """The folders that `cgroup_mounts` binds where there is no cgroup namespace."""
    folders = cgroups.all_folders(cgroup)
    if not cgroup.cgroups.v1:
        return {place: folders[0]}
    names = [folder.removesuffix(cgroup.path).rpartition("/")[2] for folder in folders]
    return {f"{place}/{name}": folder for name, folder in zip(names, folders, strict=True)}


def _join(pid: int, join: JoinPlan | None) -> list[dict[str, str]]:
    """Put criu, and so what it restores, in the cgroups; where that is, by controller, as criu wants to hear it."""
    if join is None:
        return []
    for folder in [*([join.cgroup2_path] if join.cgroup2_path else []), *join.v1_folders]:
        with open(f"{folder}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(pid))
    found = []
    for line in read_file(f"/proc/{pid}/cgroup").decode(errors="surrogateescape").splitlines():
        _, controllers, path = line.split(":", 2)
        found += [{"ctrl": name, "path": path} for name in controllers.split(",")]
    return found
