"""`plan_container`: a runtime-spec value becomes the plan of a container's init.

    clone3(new namespaces, into the cgroup)
    own session; limits' cgroups (v1); joined namespaces; no mount of ours reaches the host
    root: overlay or bind, attached over "/" (the host's root stays beneath until the end)
    mounts, devices, terminal, sysctls, read-only and masked paths: all beneath the root's descriptor
    pivot_root; the host's root goes away
    limits, user, capabilities, seccomp, execve                                     (process.py)

Pure: nothing here touches the kernel beyond reading facts about it, and plans are compared as text in tests.
"""

from __future__ import annotations

import os
import struct

from inception.errors import InvalidArgument
from inception.linux import abi
from inception.linux.files import read_file
from inception.linux.path import IN_ROOT
from inception.runtime import process as process_steps
from inception.runtime.mounts import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    ATTACH,
    RDONLY,
    MountOptions,
    is_bind,
    mount_attr,
    plan_attach,
    plan_bind,
    plan_mount,
    plan_remount,
    plan_setattr,
    plan_source,
    plan_symlink,
)
from inception.runtime.namespaces import has_mount_namespace, has_user_namespace, plan_namespaces
from inception.runtime.plan import Plan, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    from inception.oci.runtime import Device, IdMapping, Linux, Mount, Process, Spec

    class Join(Protocol):
        """How to get into cgroups; `linux.cgroup.JoinPlan` is one."""

        @property
        def cgroup2_path(self) -> str | None: ...
        @property
        def v1_folders(self) -> list[str]: ...
        @property
        def tasks_files(self) -> list[str]: ...


ROOT = Slot("rootfs")
_PATH_DIR: int = abi.O_PATH | abi.O_DIRECTORY | abi.O_CLOEXEC
_DEVICE_TYPES = {"c": abi.S_IFCHR, "u": abi.S_IFCHR, "b": abi.S_IFBLK, "p": abi.S_IFIFO}
DEFAULT_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_DEV_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
)
_ENOENT, _EACCES, _EEXIST, _ENOTDIR, _EINVAL, _ENOSYS = 2, 13, 17, 20, 22, 38


def plan_container(
    spec: Spec,
    *,
    rootfs: Mount,
    join: Join | None = None,
    die_with_parent: bool = False,
    init: bool = False,
    seccomp: bytes | None = None,
    hold: bool = False,
    pivot: bool = True,
    keyring: str = "",
    preserve_fds: int = 0,
    absent_fds: Sequence[int] = (),
    rootless: bool = False,
    nested: bool = False,
    termios: bytes | None = None,
) -> Plan:
    """The plan of *spec*'s init, with *rootfs* (an overlay or bind mount) as its root.

    `join` says which cgroups to enter. `init` keeps a small reaper as process 1. `seccomp` is the compiled filter of
    `spec.linux.seccomp` (compiled here when absent). `hold` makes the plan pause twice for the OCI lifecycle: before
    pivot_root (value 1, with the hooks of that moment) and before the program (value 2), where it waits on the listening
    socket `start` for whoever lets it go on. Not `pivot`: chroot, for a host on a ramdisk. `keyring` names a session keyring
    of its own. The descriptors `preserve0`.. become 3.. of the program, but for those of `absent_fds`. `rootless`: our rights
    come from the container's user namespace. `nested`: we are root of a user namespace, where nobody makes device nodes; the
    host's are bound. `termios` is the terminal's mode.

    A namespace whose path is `fd:NAME` is joined through the inherited descriptor NAME; a bind mount's source may be `fd:NAME`
    too; with a terminal the plan needs the socket `console`, with hooks of the container's namespaces `state.creating`,
    `state.created` and `output`. Raises InvalidArgument naming the place in the spec.
    """
    process, linux = spec.process, spec.linux
    if process is None or linux is None:
        raise InvalidArgument("process: missing" if process is None else "linux: missing")
    if seccomp is None and linux.seccomp is not None:
        from inception.linux.seccomp import compile_filter  # 20 ms of tables; callers with a cache pass the result

        seccomp = compile_filter(linux.seccomp)
    plan = Plan()
    preserved = [plan.inherit(f"preserve{number}") for number in range(preserve_fds)]
    _plan_session(plan, die_with_parent, keyring)
    process_steps.plan_oom_score(plan, process)
    _plan_cgroups(plan, join)
    if hold:
        process_steps.plan_affinity(plan)
    builder = _Root(plan, spec, join, rootfs.source if rootfs.type == "bind" else "", nested=nested)
    if has_user_namespace(linux) and not rootless:
        # While the host's paths can be reached: its root may use what the namespace's root may not.
        _plan_root(plan, spec, rootfs)
        builder.sources()
        plan_namespaces(plan, linux)
        _plan_propagation(plan, linux)
    else:
        plan_namespaces(plan, linux, rootless=rootless)
        _plan_propagation(plan, linux)
        _plan_root(plan, spec, rootfs)
    plan.source = "process"
    plan.call("setsid", why="A session of its own: signals to ours don't reach it.")
    _plan_attach_root(plan, spec, rootfs, hold=hold)
    builder.mounts()
    builder.devices()
    slave = builder.terminal(process, termios) if process.terminal else None
    _plan_loopback(plan, linux)
    _plan_names(plan, spec)
    builder.kernel_settings(process)
    builder.protect(linux)
    builder.working_directory(process)
    builder.finish()
    if spec.root and spec.root.readonly:
        plan.source = "root.readonly"
        plan_setattr(plan, ROOT, RDONLY, 0, 0, recursive=False, why="Nothing can be written to the root itself.")
    hooks = spec.hooks
    if hold:
        plan.source = "hooks"
        plan.call("pause", 1, 1, why="The runtime runs the hooks that may see the container before its root is entered.")
        if hooks is not None and hooks.create_container:
            plan.call("fchdir", ROOT, why="Where these hooks run.")
            process_steps.plan_hooks(plan, hooks.create_container, "createContainer", "state.creating", process)
    if has_mount_namespace(linux):
        _plan_pivot(plan, pivot=pivot)
    else:
        _plan_chroot(plan)
    _plan_root_propagation(plan, linux)
    if slave is not None:
        process_steps.plan_controlling_terminal(plan, slave)
    process_steps.plan_personality(plan, linux)
    filter = process_steps.Filter.of(linux.seccomp, seccomp)
    if filter is not None and filter.listener and not hold:
        raise InvalidArgument("linux.seccomp.listenerPath: only the command line runtime hands a listener on")
    process_steps.plan_process(
        plan,
        process,
        filter=filter,
        die_with_parent=die_with_parent,
        init=init,
        start_hooks=(hooks.start_container if hooks is not None else []) if hold else None,
        preserved=preserved,
        absent=absent_fds,
        rootless=rootless or nested,
        # crun's word for it, which `podman run --group-add keep-groups` uses. Only from the command line's bundles.
        keep_groups=hold and spec.annotations.get("run.oci.keep_original_groups") == "1",
    )
    return plan


def _plan_session(plan: Plan, die_with_parent: bool, keyring: str) -> None:
    plan.source = "process"
    plan.call("prctl", abi.PR_SET_NAME, "inception:init", 0, 0, 0, why="Its name in ps until its program starts.")
    if die_with_parent:
        process_steps.plan_die_with_parent(plan)
        plan.source = "process"
    plan.call("umask", 0, why="Modes below are meant as they are written.")
    if keyring:
        plan.call("keyctl", abi.KEYCTL_JOIN_SESSION_KEYRING, keyring, why="Keys of its own.", tolerate=(_ENOSYS,))


def _plan_cgroups(plan: Plan, join: Join | None) -> None:
    if join is None:
        return
    plan.source = "linux.cgroupsPath"
    plan.cgroup_path = join.cgroup2_path or ""
    for path in join.tasks_files:
        plan.call("write", AT_FDCWD, path, "0", 1, 0, why="Enters the cgroup of this controller before anything runs in it.")


def _plan_propagation(plan: Plan, linux: Linux) -> None:
    plan.source = "linux.rootfsPropagation"
    propagation = linux.rootfs_propagation.removeprefix("r")
    if propagation not in ("", "private", "slave", "shared", "unbindable"):
        raise InvalidArgument(f"linux.rootfsPropagation: unknown value {linux.rootfs_propagation!r}")
    if not has_mount_namespace(linux):
        return  # how the host's mounts hang together is not for a container to change
    # What is mounted here must never appear on the host. With "shared" the mounts below stay in step with the host's, which
    # is what was asked for; "/" itself, which the new root is attached to, does not.
    flag = {"slave": abi.MS_SLAVE}.get(propagation, abi.MS_PRIVATE)
    recursive = 0 if propagation == "shared" else abi.AT_RECURSIVE
    why = "No mount made from here on is seen outside."
    plan.call("mount_setattr", AT_FDCWD, "/", recursive, mount_attr(propagation=flag), 32, why=why)
    if propagation in ("slave", "shared"):
        plan.call("mount_setattr", AT_FDCWD, "/", 0, mount_attr(propagation=abi.MS_PRIVATE), 32)


def _plan_root(plan: Plan, spec: Spec, rootfs: Mount) -> None:
    """The root as a mount that is attached nowhere."""
    plan.source = "root"
    options = MountOptions([option for option in rootfs.options if "=" not in option], "root.options")
    if rootfs.type == "overlay":
        _plan_overlay(plan, rootfs, options)
    elif rootfs.type in ("bind", ""):
        options.recursive_bind = True
        options.data.clear()
        plan_bind(plan, rootfs.source, options, ROOT)
    else:
        raise InvalidArgument(f"root: a {rootfs.type!r} mount can't be the root")
    if spec.linux is not None and has_user_namespace(spec.linux):
        plan.source = "linux.rootfsPropagation"
        attributes = mount_attr(propagation=abi.MS_PRIVATE)
        flags = abi.AT_EMPTY_PATH | abi.AT_RECURSIVE
        plan.call(
            "mount_setattr", ROOT, "", flags, attributes, 32, why="Taken from the host's mounts, but not in step with them."
        )


def _plan_attach_root(plan: Plan, spec: Spec, rootfs: Mount, *, hold: bool) -> None:
    """Where the container's root is until it becomes "/": over the host's, or where the bundle has it."""
    plan.source = "root"
    assert spec.linux is not None
    attach: int = abi.MOVE_MOUNT_F_EMPTY_PATH
    there = attach | abi.MOVE_MOUNT_T_SYMLINKS  # a bundle's root may be a symlink
    if not has_mount_namespace(spec.linux):
        if rootfs.type != "bind" or rootfs.source == "/":
            raise InvalidArgument("linux.namespaces: without a mount namespace the root must be a folder of its own")
        plan.call("move_mount", ROOT, "", AT_FDCWD, rootfs.source, there, why="For all of the host: there it stays.")
        return
    plan.call("move_mount", ROOT, "", AT_FDCWD, "/", attach, why="Attaches the root over the host's.")
    if not hold or spec.hooks is None or rootfs.type != "bind" or rootfs.source == "/":
        return
    if spec.hooks.prestart or spec.hooks.create_runtime or spec.hooks.create_container:
        # Hooks that bring drivers along enter this namespace and look for the root by its path, beside the host's files.
        # The root of a user namespace may not be able to walk there: it is left over "/" then.
        why = "Where hooks that enter this namespace look for it."
        plan.call("move_mount", ROOT, "", AT_FDCWD, rootfs.source, there, why=why, tolerate=(_EACCES, _ENOENT))


def _plan_overlay(plan: Plan, rootfs: Mount, options: MountOptions) -> None:
    layers: list[str] = []
    rest: list[tuple[str, str]] = []
    for option in rootfs.options:
        key, equals, value = option.partition("=")
        if key == "lowerdir" and equals:
            layers = split_layers(value)
        elif equals:
            rest.append((key, value))
    if _kernel() < (6, 8) or any(len(os.fsencode(path)) > 255 for path in (*layers, *(value for _, value in rest))):
        _plan_old_overlay(plan, rootfs, options)
        return
    fs = Slot("fs")
    string: int = abi.FSCONFIG_SET_STRING
    plan.call(
        "fsopen", "overlay", abi.FSOPEN_CLOEXEC, out=fs, why="The image's layers as one tree, with a layer of our own on top."
    )
    plan.call("fsconfig", fs, string, "source", "overlay", 0)
    for path in layers:
        plan.call("fsconfig", fs, string, "lowerdir+", path, 0)
    for key, value in rest:
        plan.call("fsconfig", fs, string, key, value, 0)
    for flag in options.data:
        plan.call("fsconfig", fs, abi.FSCONFIG_SET_FLAG, flag, None, 0)
    plan.call("fsconfig", fs, abi.FSCONFIG_CMD_CREATE, None, None, 0)
    plan.call("fsmount", fs, abi.FSMOUNT_CLOEXEC, options.set, out=ROOT)


def _plan_old_overlay(plan: Plan, rootfs: Mount, options: MountOptions) -> None:
    """mount(2), for kernels without `lowerdir+` and for paths that fsconfig does not take (over 255 bytes).

    Its options must fit one page; paths below a common folder are given relative to it, so many layers fit.
    """
    values = dict(option.partition("=")[::2] for option in rootfs.options if "=" in option)
    layers = split_layers(values.pop("lowerdir", ""))
    paths = [*layers, *(values[key] for key in ("upperdir", "workdir") if key in values)]
    common = os.path.commonpath(paths) if paths else "/"

    def short(path: str) -> str:
        return os.path.relpath(path, common).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")

    data = ["lowerdir=" + ":".join(short(path) for path in layers)]
    for key, value in values.items():
        data.append(f"{key}={short(value) if key in ('upperdir', 'workdir') else value}")
    data += options.data
    text = ",".join(data)
    if len(os.fsencode(text)) >= 4096:
        raise InvalidArgument(f"root: {len(layers)} layers are too many for this kernel (Linux 6.8 takes them one by one)")
    plan.call("chdir", common)
    # Mounted over a folder that every host has, then picked up from there as a descriptor.
    plan.call("mount", "overlay", "/proc", "overlay", options.set & RDONLY and abi.MS_RDONLY, text)
    plan.call("open_tree", AT_FDCWD, "/proc", abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC, out=ROOT)
    plan.call("umount2", "/proc", abi.MNT_DETACH)
    plan.call("chdir", "/")


def split_layers(value: str) -> list[str]:
    r"""The paths of a `lowerdir=` value, top first; `\:` is a colon of a path.

    >>> split_layers(r"/a\:b:/c")
    ['/a:b', '/c']
    """
    if "\\" not in value:
        return value.split(":")
    paths, path, escaped = [], "", False
    for character in value:
        if escaped:
            path += character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ":":
            paths.append(path)
            path = ""
        else:
            path += character
    return [*paths, path]


def _kernel() -> tuple[int, int]:
    if not _release:
        major, _, rest = os.uname().release.partition(".")
        digits = ""
        for character in rest:
            if not character.isdigit():
                break
            digits += character
        _release.append((int(major), int(digits or 0)))
    return _release[0]


_release: list[tuple[int, int]] = []


class _Root:
    """The part of the plan that fills the root, with the descriptors it makes on the way."""

    def __init__(self, plan: Plan, spec: Spec, join: Join | None, root: str, *, nested: bool) -> None:
        assert spec.linux is not None
        self.root = root  # where it is on the host, if it is a folder there
        self.plan = plan
        self.join = join
        self.spec = spec
        self.linux = spec.linux
        self.proc: Slot | None = None  # a procfs of ours
        self.dev: Slot | None = None
        self.own_dev = False  # /dev is a filesystem of ours, empty but for what we put there
        self.host_dev = False  # /dev came from the host; its nodes are not ours to make
        self.readonly_dev = False  # ... once they are in it
        self.devpts: Slot | None = None
        self.opened: dict[str, Slot] = {}  # sources of bind mounts by their place, nodes by their path
        self.nested = nested
        self.in_userns = nested or has_user_namespace(spec.linux)

    def sources(self) -> None:
        """Take what comes from the host before a user namespace is entered whose root may not."""
        for index, mount in enumerate(self.spec.mounts):
            where = f"mounts[{index}]"
            options = MountOptions(mount.options, where)
            if options.copy_symlink and os.path.islink(mount.source):
                continue
            if is_bind(mount, options) and not options.remount and not self._below_root(mount):
                self.opened[where] = Slot(f"source{index}")
                plan_source(self.plan, mount, options, where, self.opened[where], self._idmap(index, mount, options))
                self._detach(self.opened[where])
        self.plan.source = "linux.devices"
        for path in (f"/dev/{name}" for name, _, _ in DEFAULT_DEVICES):
            self._take_node(AT_FDCWD, path, path)
        made = [device for device in self.linux.devices if device.type != "p" and device.path not in self.opened]
        # Before Linux 6.15, nothing could be cloned out of a mount that is attached nowhere.
        if made and (self.nested or _kernel() < (6, 15)):
            for device in made:
                self._take_node(AT_FDCWD, device.path, device.path)
                kind = _DEVICE_TYPES.get(device.type, 0)
                self.plan.call("expect_dev", self.opened[device.path], kind, os.makedev(device.major, device.minor))
        elif made:
            self._make_nodes(made)

    def _take_node(self, directory: Slot | int, name: str, path: str) -> None:
        mount = self.opened[path] = Slot(f"node:{path}")
        flags = abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC
        self.plan.call("open_tree", directory, name, flags, out=mount, why="Its root can't make devices.")
        self._detach(mount)

    def _make_nodes(self, devices: list[Device]) -> None:
        """Device nodes in a filesystem of the host's, since only there they open; each is then mounted by itself."""
        plan, fs, nodes = self.plan, Slot("fs"), Slot("nodes")
        plan.call("fsopen", "tmpfs", abi.FSOPEN_CLOEXEC, out=fs, why="For device nodes made outside of its user namespace.")
        plan.call("fsconfig", fs, abi.FSCONFIG_CMD_CREATE, None, None, 0)
        plan.call("fsmount", fs, abi.FSMOUNT_CLOEXEC, 0, out=nodes)
        for index, device in enumerate(devices):
            plan.source = f"linux.devices[{self.linux.devices.index(device)}]"
            name = f"n{index}"
            uid = outside(device.uid or 0, self.linux.uid_mappings)
            gid = outside(device.gid or 0, self.linux.gid_mappings)
            plan.call("mknodat", nodes, name, device_mode(device, plan.source), os.makedev(device.major, device.minor))
            plan.call("fchownat", nodes, name, uid, gid, abi.AT_SYMLINK_NOFOLLOW)
            self._take_node(nodes, name, device.path)

    def _below_root(self, mount: Mount) -> str:
        """The path inside the root of a source that lies there: what was mounted in the root before it counts."""
        path = os.path.normpath(mount.source)
        return path[len(self.root) :] if self.root not in ("", "/") and path.startswith(f"{self.root}/") else ""

    def _detach(self, mount: Slot) -> None:
        attributes = mount_attr(propagation=abi.MS_PRIVATE)
        self.plan.call("mount_setattr", mount, "", AT_EMPTY_PATH | abi.AT_RECURSIVE, attributes, 32)

    def _idmap(self, index: int, mount: Mount, options: MountOptions) -> Slot | None:
        """The user namespace whose maps a mount gets, which the caller makes."""
        if options.idmap or mount.uid_mappings or mount.gid_mappings:
            return self.plan.inherit(f"idmap{index}")
        return None

    def mounts(self) -> None:
        """Every entry of `mounts`, in order."""
        for index, mount in enumerate(self.spec.mounts):
            where = f"mounts[{index}]"
            options = MountOptions(mount.options, where)
            if options.remount:
                plan_remount(self.plan, ROOT, mount, options, where)
                continue
            if mount.type in ("cgroup", "cgroup2"):
                from inception.runtime.cgroup_mounts import plan_cgroup_mount

                plan_cgroup_mount(self.plan, ROOT, mount, options, self.linux, where, self.join)
                continue
            bind = is_bind(mount, options)
            check_destination(mount.destination, mount.type, bind, where)
            if bind and options.copy_symlink and os.path.islink(mount.source):
                plan_symlink(self.plan, ROOT, mount.destination, os.readlink(mount.source), where)
                continue
            opened = self.opened.get(where)
            if mount.destination == "/dev" and not bind and options.set & RDONLY:
                options.set, self.readonly_dev = options.set & ~RDONLY, True
            inside = self._below_root(mount) if bind and opened is None else ""
            idmap = None if opened is not None else self._idmap(index, mount, options)
            label = self.linux.mount_label
            made = plan_mount(self.plan, ROOT, mount, options, where, source=opened, idmap=idmap, inside=inside, label=label)
            if mount.destination == "/proc":
                self.plan.call("expect_fs", made, abi.PROC_SUPER_MAGIC)
                self.proc = None if bind else made
            elif mount.destination == "/dev":
                self.dev, self.own_dev, self.host_dev = made, not bind and mount.type == "tmpfs", bind
            elif mount.destination == "/dev/pts" and mount.type == "devpts":
                self.devpts = made

    def devices(self) -> None:
        """Device nodes and links in /dev; Docker's and the specification's defaults, then `linux.devices`."""
        if self.host_dev:
            return
        plan = self.plan
        plan.source = "linux.devices"
        if self.dev is None:
            self.dev = Slot("dev")
            plan.call("target", ROOT, "/dev", abi.TARGET_DIRECTORY, -1, 0o755, IN_ROOT, out=self.dev)
        for name, major, minor in DEFAULT_DEVICES:
            if self.in_userns:
                self._bind_node(f"/dev/{name}", self.dev, name)
            else:
                self._node(name, abi.S_IFCHR | 0o666, os.makedev(major, minor))
        defaults = {f"/dev/{name}" for name, _, _ in DEFAULT_DEVICES}
        for index, device in enumerate(self.linux.devices):
            plan.source = f"linux.devices[{index}]"
            if device.path not in defaults:
                self._device(device)
        plan.source = "linux.devices"
        for name, target in _DEV_LINKS:
            plan.call("symlinkat", target, self.dev, name, tolerate=(_EEXIST,))

    def _node(self, name: str, mode: int, number: int, directory: Slot | None = None) -> None:
        where = directory or self.dev
        tolerate = () if self.own_dev and directory is None else (_EEXIST,)
        self.plan.call("mknodat", where, name, mode, number, tolerate=tolerate, why="A device that every program expects.")
        if tolerate:  # what was there already must be that device
            found = Slot("node")
            how = _open_how(abi.O_PATH | abi.O_NOFOLLOW | abi.O_CLOEXEC, IN_ROOT)
            self.plan.call("openat2", where, name, how, 24, out=found)
            self.plan.call("expect_dev", found, mode & 0o170000, number if mode & 0o170000 != abi.S_IFIFO else 0)

    def finish(self) -> None:
        """What had to stay writable until here."""
        if self.readonly_dev and self.dev is not None:
            self.plan.source = "mounts"
            plan_setattr(self.plan, self.dev, RDONLY, 0, 0, recursive=False, why="/dev takes no files any more.")

    def _bind_node(self, path: str, directory: Slot, name: str) -> None:
        """The host's node, where no node can be made."""
        mount = self.opened.get(path)
        if mount is None:
            mount = Slot("node")
            self.plan.call("open_tree", AT_FDCWD, path, abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC, out=mount)
        plan_attach(self.plan, directory, name, mount, kind=abi.TARGET_FILE)

    def _device(self, device: Device) -> None:
        plan = self.plan
        folder, _, name = process_steps.clean(device.path, plan.source + ".path").rpartition("/")
        if not name:
            raise InvalidArgument(f"{plan.source}.path: {device.path!r} names no file")
        directory: Slot | None = Slot("target")
        if folder == "/dev":
            directory = None
        elif folder.startswith("/dev/"):
            plan.call("target", self.dev, folder[5:], abi.TARGET_DIRECTORY, -1, 0o755, IN_ROOT, out=directory)
        else:
            plan.call("target", ROOT, folder, abi.TARGET_DIRECTORY, -1, 0o755, IN_ROOT, out=directory)
        if self.in_userns and device.type != "p":
            self._bind_node(device.path, directory or self.dev or ROOT, name)
            return
        mode = device_mode(device, plan.source)
        number = 0 if device.type == "p" else os.makedev(device.major, device.minor)
        self._node(name, mode, number, directory)
        if device.uid or device.gid:
            where = directory or self.dev
            plan.call("fchownat", where, name, device.uid or 0, device.gid or 0, abi.AT_SYMLINK_NOFOLLOW)

    def terminal(self, process: Process, termios: bytes | None) -> Slot:
        """The container's terminal, also as /dev/console."""
        plan = self.plan
        if self.devpts is None:
            raise InvalidArgument("process.terminal: needs a devpts mount at /dev/pts")
        slave = process_steps.plan_terminal(plan, process, self.devpts, plan.inherit("console"), termios)
        if self.dev is not None and not self.host_dev:
            mount = Slot("mount")
            plan.call("open_tree", slave, "", abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC | AT_EMPTY_PATH, out=mount)
            plan_attach(plan, self.dev, "console", mount, kind=abi.TARGET_FILE)
        return slave

    def kernel_settings(self, process: Process) -> None:
        """Labels and sysctls, through a procfs of our own: nothing in the image can stand in its way."""
        if not (self.linux.sysctl or process.apparmor_profile or process.selinux_label):
            return
        plan = self.plan
        if self.proc is None:
            plan.source = "linux.sysctl"
            self.proc = Slot("proc")
            fs = Slot("fs")
            plan.call("fsopen", "proc", abi.FSOPEN_CLOEXEC, out=fs, why="A private view of the kernel's settings.")
            plan.call("fsconfig", fs, abi.FSCONFIG_CMD_CREATE, None, None, 0)
            plan.call("fsmount", fs, abi.FSMOUNT_CLOEXEC, 0, out=self.proc)
        resolve = abi.RESOLVE_BENEATH | abi.RESOLVE_NO_XDEV | abi.RESOLVE_NO_MAGICLINKS
        for key, value in self.linux.sysctl.items():
            plan.source = f"linux.sysctl.{key}"
            path = "sys/" + sysctl_path(key)
            plan.call(
                "write", self.proc, path, value, len(value.encode()), resolve, why="A kernel setting of these namespaces."
            )
        process_steps.plan_label(plan, process, self.proc)

    def protect(self, linux: Linux) -> None:
        """Read-only paths, then masked ones."""
        plan = self.plan
        how = _open_how(abi.O_PATH | abi.O_CLOEXEC, IN_ROOT)
        flags = abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | abi.AT_RECURSIVE
        target, mount = Slot("target"), Slot("mount")
        for index, path in enumerate(linux.readonly_paths):
            plan.source = f"linux.readonlyPaths[{index}]"
            relative = process_steps.clean(path, plan.source).lstrip("/") or "."
            why = "This part of the kernel's interface can be read only."
            plan.call("openat2", ROOT, relative, how, 24, out=target, why=why, tolerate=(_ENOENT, _ENOTDIR), skip=3)
            plan.call("open_tree", target, "", flags, out=mount)
            plan_setattr(plan, mount, RDONLY, 0, 0, recursive=True, why="")
            plan.call("move_mount", mount, "", target, "", ATTACH)
        if not linux.masked_paths:
            return
        plan.source = "linux.maskedPaths"
        null, empty, fs = Slot("null"), Slot("empty"), Slot("fs")
        # Not the container's own /dev/null, which the image or another process may have replaced (CVE-2025-31133).
        plan.call("openat", AT_FDCWD, "/dev/null", abi.O_PATH | abi.O_CLOEXEC, 0, out=null, why="The host's, to cover files.")
        plan.call("expect_dev", null, abi.S_IFCHR, os.makedev(1, 3))
        plan.call("fsopen", "tmpfs", abi.FSOPEN_CLOEXEC, out=fs, why="An empty folder, to cover folders.")
        plan.call("fsconfig", fs, abi.FSCONFIG_SET_STRING, "size", "0", 0)
        plan.call("fsconfig", fs, abi.FSCONFIG_SET_STRING, "nr_inodes", "1", 0)
        plan.call("fsconfig", fs, abi.FSCONFIG_CMD_CREATE, None, None, 0)
        attributes = RDONLY | abi.MOUNT_ATTR_NOSUID | abi.MOUNT_ATTR_NODEV | abi.MOUNT_ATTR_NOEXEC
        plan.call("fsmount", fs, abi.FSMOUNT_CLOEXEC, attributes, out=empty)
        for index, path in enumerate(linux.masked_paths):
            plan.source = f"linux.maskedPaths[{index}]"
            why = "Hides what tells about, or acts on, the whole machine; a path that is not there needs no cover."
            plan.call("mask", ROOT, process_steps.clean(path, plan.source), null, empty, IN_ROOT, why=why)

    def working_directory(self, process: Process) -> None:
        """Open (and make) `process.cwd` inside the root; entered after pivot_root by descriptor (CVE-2024-21626)."""
        self.plan.source = "process.cwd"
        if not process.cwd.startswith("/"):
            raise InvalidArgument(f"process.cwd: {process.cwd!r} is not an absolute path")
        path = process_steps.clean(process.cwd, "process.cwd")
        self.plan.call("target", ROOT, path, abi.TARGET_DIRECTORY, -1, 0o755, IN_ROOT, out=Slot("cwd"))


def device_mode(device: Device, where: str) -> int:
    kind = _DEVICE_TYPES.get(device.type)
    if kind is None:
        raise InvalidArgument(f"{where}.type: unknown device type {device.type!r}")
    return kind | (0o666 if device.file_mode is None else device.file_mode & 0o7777)


def outside(id: int, maps: list[IdMapping]) -> int:
    """The host's number of an id inside; without maps, or for one that has none, the id itself.

    >>> outside(5, [])
    5
    """
    for entry in maps:
        if entry.container_id <= id < entry.container_id + entry.size:
            return entry.host_id + id - entry.container_id
    return id


def _plan_loopback(plan: Plan, linux: Linux) -> None:
    """A network namespace starts with its loopback down, which surprises every program."""
    if any(namespace.type == "network" and not namespace.path for namespace in linux.namespaces):
        plan.source = "linux.namespaces"
        link = Slot("socket")
        plan.call("socket", abi.AF_INET, abi.SOCK_DGRAM | abi.SOCK_CLOEXEC, 0, out=link)
        request = struct.pack("=16sh22x", b"lo", abi.IFF_UP)
        plan.call("ioctl", link, abi.SIOCSIFFLAGS, request, why="127.0.0.1 answers.")


def _plan_names(plan: Plan, spec: Spec) -> None:
    if spec.hostname:
        plan.source = "hostname"
        plan.call("sethostname", spec.hostname, len(spec.hostname.encode()), why="The name it has for itself.")
    if spec.domainname:
        plan.source = "domainname"
        plan.call("setdomainname", spec.domainname, len(spec.domainname.encode()))


def _plan_pivot(plan: Plan, *, pivot: bool) -> None:
    plan.source = "root"
    if not pivot:
        # A chroot leaves the host's /proc in the mount namespace: with it the kernel would let a new, unmasked one be mounted.
        for path in kernel_mounts():
            plan.call("umount2", path, abi.MNT_DETACH, tolerate=(_ENOENT, _EINVAL), why="Not for the container to copy.")
        _plan_chroot(plan)
        return
    old = Slot("host")
    plan.call("openat", AT_FDCWD, "/", _PATH_DIR, 0, out=old)
    plan.call("fchdir", ROOT)
    plan.call("pivot_root", ".", ".", why="The new root becomes /; the host's lies over it for one more moment.")
    plan.call("fchdir", old)
    plan.call("mount", None, ".", None, abi.MS_SLAVE | abi.MS_REC, None, why="What goes away here stays on the host.")
    plan.call("umount2", ".", abi.MNT_DETACH, why="The host's files are gone from this process's world.")


def _plan_chroot(plan: Plan) -> None:
    plan.source = "root"
    plan.call("fchdir", ROOT)
    plan.call("chroot", ".", why="The new root hides the host's, which can't go away.")


def _plan_root_propagation(plan: Plan, linux: Linux) -> None:
    name = linux.rootfs_propagation.removeprefix("r")
    if name in ("shared", "slave", "unbindable"):
        flag = {"shared": abi.MS_SHARED, "slave": abi.MS_SLAVE, "unbindable": abi.MS_UNBINDABLE}[name]
        plan.source = "linux.rootfsPropagation"
        plan_setattr(plan, ROOT, 0, 0, flag, recursive=linux.rootfs_propagation.startswith("r"), why="")
    plan.source = "process.cwd"
    plan.call("chdir", "/")
    plan.call("fchdir", Slot("cwd"), why="The working directory, by the descriptor that was opened inside the root.")


def kernel_mounts() -> list[str]:
    """Where the host has procfs and sysfs, what is mounted last first."""
    found = []
    for line in os.fsdecode(read_file("/proc/self/mountinfo")).splitlines():
        head, _, tail = line.partition(" - ")
        if tail.partition(" ")[0] in ("proc", "sysfs"):
            found.append(head.split(" ")[4].replace("\\040", " "))
    return found[::-1]


def _open_how(flags: int, resolve: int) -> bytes:
    return struct.pack("=QQQ", flags, 0, resolve)


# What lxcfs and podman put there; everything else beneath /proc is the kernel's. Source: runc's and crun's lists.
_PROC_ALLOWED = {
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
}


def check_destination(destination: str, fstype: str, bind: bool, where: str) -> None:
    """A mount over / or into /proc would hide what the runtime itself writes to (CVE-2019-16884)."""
    path = process_steps.clean(destination, f"{where}.destination")
    if path == "/":
        raise InvalidArgument(f"{where}.destination: / is the root itself")
    if path == "/proc" and fstype != "proc" and not bind:
        raise InvalidArgument(f"{where}.destination: only a proc filesystem can be mounted on /proc")
    if path.startswith("/proc/") and path not in _PROC_ALLOWED:
        raise InvalidArgument(f'{where}.destination: "{path}" cannot be mounted because it is inside /proc')


def sysctl_path(key: str) -> str:
    """`net.ipv4.ip_forward` as a path; with slashes as separators, dots belong to names (`net/ipv4/conf/eth0.1/forwarding`)."""
    if "/" in key and ("." not in key or key.index("/") < key.index(".")):
        return key
    return key.replace(".", "\0").replace("/", ".").replace("\0", "/")
