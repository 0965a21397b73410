"""One OCI mount as steps: make it detached, give it its flags, attach it beneath the root by descriptor.

Source: runtime-spec config.md, "Linux mount options"; mount(8); the documents of each filesystem. Options that no table here
knows are the filesystem's own.
"""

from __future__ import annotations

import struct

from inception.errors import InvalidArgument
from inception.linux import abi
from inception.linux.path import IN_ROOT
from inception.runtime.plan import Plan, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Mount

RDONLY: int = abi.MOUNT_ATTR_RDONLY
_ATIME: int = abi.MOUNT_ATTR__ATIME
_REC: int = abi.MS_REC
AT_FDCWD: int = abi.AT_FDCWD
AT_EMPTY_PATH: int = abi.AT_EMPTY_PATH
ATTACH: int = abi.MOVE_MOUNT_F_EMPTY_PATH | abi.MOVE_MOUNT_T_EMPTY_PATH

# option -> (set, clear). A leading "r" on one of these applies it to everything below a bind mount (mount_setattr).
_ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (RDONLY, 0),
    "rw": (0, RDONLY),
    "nosuid": (abi.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, abi.MOUNT_ATTR_NOSUID),
    "nodev": (abi.MOUNT_ATTR_NODEV, 0),
    "dev": (0, abi.MOUNT_ATTR_NODEV),
    "noexec": (abi.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, abi.MOUNT_ATTR_NOEXEC),
    "nodiratime": (abi.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, abi.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (abi.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, abi.MOUNT_ATTR_NOSYMFOLLOW),
    "relatime": (abi.MOUNT_ATTR_RELATIME, _ATIME),
    "norelatime": (0, _ATIME),
    "noatime": (abi.MOUNT_ATTR_NOATIME, _ATIME),
    "atime": (0, _ATIME),
    "strictatime": (abi.MOUNT_ATTR_STRICTATIME, _ATIME),
    "nostrictatime": (0, _ATIME),
}
_PROPAGATION: dict[str, int] = {
    name: flag | extra
    for name, flag in (
        ("private", abi.MS_PRIVATE),
        ("shared", abi.MS_SHARED),
        ("slave", abi.MS_SLAVE),
        ("unbindable", abi.MS_UNBINDABLE),
    )
    for name, extra in ((name, 0), ("r" + name, _REC))
}
# Flags of the superblock that fsconfig(2) takes as options without a value, ...
_SUPERBLOCK = {"sync", "dirsync", "lazytime", "mand", "iversion"}
# ... and words for what is the case anyway. (`silent` is about the kernel's log; fsconfig keeps its words in the descriptor.)
_NEGATED = {"async", "nolazytime", "nomand", "loud", "silent", "noiversion", "defaults"}
# Files of the kernel's, which have labels of its policy.
_UNLABELLED = {"proc", "sysfs", "mqueue", "cgroup", "cgroup2"}
_EEXIST, _EINVAL = 17, 22


def option_names() -> list[str]:
    """Every option that has a meaning here, for `features`."""
    recursive = [f"r{name}" for name in _ATTRIBUTES]
    others = ("bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup", "copy-symlink")
    return sorted({*_ATTRIBUTES, *recursive, *_PROPAGATION, *_SUPERBLOCK, *_NEGATED, *others})


class MountOptions:
    """Options of one mount, taken apart."""

    __slots__ = (
        "bind",
        "clear",
        "copy_symlink",
        "copy_up",
        "data",
        "idmap",
        "propagation",
        "recursive_bind",
        "recursive_clear",
        "recursive_idmap",
        "recursive_set",
        "remount",
        "set",
    )

    def __init__(self, options: list[str], where: str) -> None:
        self.bind = self.recursive_bind = self.idmap = self.recursive_idmap = self.remount = self.copy_up = False
        self.copy_symlink = False
        self.set = self.clear = self.recursive_set = self.recursive_clear = self.propagation = 0
        self.data: list[str] = []
        for option in options:
            if (attribute := _ATTRIBUTES.get(option)) is not None:
                self.set = self.set & ~attribute[1] | attribute[0]
                self.clear |= attribute[1]
            elif option in ("bind", "rbind"):
                self.bind = True
                self.recursive_bind = option == "rbind"
            elif (propagation := _PROPAGATION.get(option)) is not None:
                self.propagation = propagation
            elif option[:1] == "r" and (attribute := _ATTRIBUTES.get(option[1:])) is not None:
                self.recursive_set = self.recursive_set & ~attribute[1] | attribute[0]
                self.recursive_clear |= attribute[1]
            elif option in ("idmap", "ridmap"):
                self.idmap = True
                self.recursive_idmap = option == "ridmap"
            elif option == "remount":
                self.remount = True
            elif option == "tmpcopyup":
                self.copy_up = True
            elif option == "copy-symlink":
                self.copy_symlink = True
            elif option not in _NEGATED:
                self.data.append(option)
        self.clear &= ~self.set | _ATIME
        self.recursive_clear &= ~self.recursive_set | _ATIME


_STRING_MAX = 255  # what fsconfig(2) takes at a time; `lowerdir+` is Linux 6.5


def mount_attr(set: int = 0, clear: int = 0, propagation: int = 0, userns: int = 0) -> bytes:
    """A `struct mount_attr`; a set of the access-time modes clears the field first, as the kernel demands."""
    if set & _ATIME:
        clear |= _ATIME
    return struct.pack("=QQQQ", set, clear, propagation, userns)


def plan_setattr(plan: Plan, mount: Slot, set: int, clear: int, propagation: int, *, recursive: bool, why: str) -> None:
    """mount_setattr of a mount by descriptor, when there is anything to set."""
    if set or clear or propagation:
        flags = AT_EMPTY_PATH | (abi.AT_RECURSIVE if recursive else 0)
        plan.call("mount_setattr", mount, "", flags, mount_attr(set, clear, propagation), 32, why=why)


def plan_filesystem(
    plan: Plan,
    fstype: str,
    source: str,
    options: MountOptions,
    out: Slot,
    why: str,
    *,
    like: tuple[Slot, str] | None = None,
    label: str = "",
) -> None:
    """fsopen, fsconfig, fsmount: a new mount of *fstype*, attached nowhere, in *out*. Its mode is that of the folder *like*, a
    path beneath a root, if that is there; *label* is SELinux's of its files."""
    fs = Slot("fs")
    plan.call("fsopen", fstype, abi.FSOPEN_CLOEXEC, out=fs, why=why)
    plan.call("fsconfig", fs, abi.FSCONFIG_SET_STRING, "source", source or fstype, 0)
    for option in options.data:
        key, equals, value = option.partition("=")
        if key == "lowerdir" and len(value) > _STRING_MAX:
            for folder in value.split(":"):
                plan.call("fsconfig", fs, abi.FSCONFIG_SET_STRING, "lowerdir+", folder, 0)
        elif equals:
            plan.call("fsconfig", fs, abi.FSCONFIG_SET_STRING, key, value, 0)
        else:
            # Filesystems without a counter of changes don't know the word.
            tolerate = (_EINVAL,) if key == "iversion" else ()
            key = "i_version" if key == "iversion" else key
            plan.call("fsconfig", fs, abi.FSCONFIG_SET_FLAG, key, None, 0, tolerate=tolerate)
    if label and fstype not in _UNLABELLED:
        plan.call("fsconfig", fs, abi.FSCONFIG_SET_STRING, "context", label, 0)
    if like is not None:
        plan.call("mode_of", *like, fs, IN_ROOT, why="Its mode is that of the folder it covers.")
    plan.call("fsconfig", fs, abi.FSCONFIG_CMD_CREATE, None, None, 0)
    plan.call("fsmount", fs, abi.FSMOUNT_CLOEXEC, options.set, out=out)


def plan_bind(plan: Plan, source: str, options: MountOptions, out: Slot, *, root: Slot | None = None) -> None:
    """A copy of the host's mount (or folder, or file) at *source*, attached nowhere, in *out*.

    A source `in:FOLDER//PATH` is a path inside of a folder, which no link leads out of; `mount:NAME` is itself a mount, held
    by the inherited descriptor NAME.
    With *root* the source is a path inside of it.
    """
    flags = abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC | (abi.AT_RECURSIVE if options.recursive_bind else 0)
    if source.startswith("mount:"):  # made by the caller and attached nowhere: it is taken itself, for one start
        flags &= ~abi.OPEN_TREE_CLONE & ~abi.AT_RECURSIVE
        held = plan.inherit(source[6:])
        plan.call("open_tree", held, "", flags | AT_EMPTY_PATH, out=out, why="Takes the mount that was made before.")
    elif source.startswith("in:"):
        # Opened here and not by the caller: what another mount namespace has opened can't be copied.
        folder, _, path = source[3:].partition("//")
        top = Slot("folder")
        how = struct.pack("=QQQ", abi.O_PATH | abi.O_DIRECTORY | abi.O_CLOEXEC, 0, 0)
        plan.call("openat2", AT_FDCWD, folder, how, 24, out=top, why="The folder that its source lies in.")
        _plan_bind_inside(plan, top, path, flags, out, "A place in that folder, whatever links are on the way.")
    elif root is not None:
        _plan_bind_inside(plan, root, source.lstrip("/"), flags, out, "A place in the container's own root.")
    else:
        plan.call("open_tree", AT_FDCWD, source, flags, out=out, why="Takes a copy of what the host has there.")
    set, clear = options.set, options.clear & ~options.set
    plan_setattr(plan, out, set, clear, 0, recursive=False, why="Gives the copy its own flags; the host's stay.")
    plan_setattr(
        plan,
        out,
        options.recursive_set,
        options.recursive_clear & ~options.recursive_set,
        0,
        recursive=True,
        why="Gives them to every mount below it too.",
    )


def _plan_bind_inside(plan: Plan, root: Slot, path: str, flags: int, out: Slot, why: str) -> None:
    found = Slot("source")
    how = struct.pack("=QQQ", abi.O_PATH | abi.O_CLOEXEC, 0, IN_ROOT)
    plan.call("openat2", root, path, how, 24, out=found, why=why)
    plan.call("open_tree", found, "", flags | AT_EMPTY_PATH, out=out)


def plan_attach(plan: Plan, root: Slot, destination: str, mount: Slot, *, kind: int, resolve: int = IN_ROOT) -> None:
    """Resolve *destination* beneath *root*, making it when it is missing, and attach *mount* there."""
    target = Slot("target")
    mode = 0o644 if kind == abi.TARGET_FILE else 0o755
    plan.call(
        "target",
        root,
        destination,
        kind,
        mount,
        mode,
        resolve,
        out=target,
        why="Finds (or makes) the place inside the root; links cannot lead out of it.",
    )
    plan.call("move_mount", mount, "", target, "", ATTACH, why="Attaches the mount there, by descriptor: no path to race with.")


def plan_idmap(plan: Plan, mount: Slot, userns: Slot, *, recursive: bool) -> None:
    """Owners seen through *mount* are those of the filesystem, translated by the maps of a user namespace."""
    flags = AT_EMPTY_PATH | (abi.AT_RECURSIVE if recursive else 0)
    attributes = mount_attr(abi.MOUNT_ATTR_IDMAP, userns=plan.number(userns))
    plan.call("mount_setattr", mount, "", flags, attributes, 32, why="Translates the owners of its files.")


def is_bind(mount: Mount, options: MountOptions) -> bool:
    """Whether *mount* shows what the host has somewhere."""
    return options.bind or mount.type in ("bind", "rbind")


def plan_source(
    plan: Plan,
    mount: Mount,
    options: MountOptions,
    where: str,
    out: Slot,
    idmap: Slot | None,
    *,
    root: Slot | None = None,
    inside: str = "",
) -> None:
    """A bind mount's copy of the host's files, attached nowhere, with its flags and id map, in *out*; with *inside*, of the
    files that *root* has there."""
    plan.source = where
    options.recursive_bind |= mount.type == "rbind"
    if options.data:
        why = "bind mounts cannot have any filesystem-specific options applied"
        raise InvalidArgument(f"{where}.options: {options.data[0]!r} is not an option of a bind mount: {why}")
    plan_bind(plan, inside or mount.source, options, out, root=root if inside else None)
    if idmap is not None:
        plan_idmap(plan, out, idmap, recursive=options.recursive_idmap)


def plan_symlink(plan: Plan, root: Slot, destination: str, text: str, where: str) -> None:
    """A symbolic link that says *text*; one that is there already stays."""
    plan.source = where
    folder, _, name = destination.rstrip("/").rpartition("/")
    directory = Slot("target")
    plan.call("target", root, folder or "/", abi.TARGET_DIRECTORY, -1, 0o755, IN_ROOT, out=directory)
    plan.call("symlinkat", text, directory, name, tolerate=(_EEXIST,), why="Its source is a link, which is copied as such.")


def plan_remount(plan: Plan, root: Slot, mount: Mount, options: MountOptions, where: str) -> None:
    """New flags for what is mounted at the destination already."""
    plan.source = where
    target, fs = Slot("target"), Slot("fs")
    how = struct.pack("=QQQ", abi.O_PATH | abi.O_CLOEXEC, 0, IN_ROOT)
    plan.call("openat2", root, mount.destination.strip("/") or ".", how, 24, out=target)
    settable = abi.MOUNT_ATTR_NOSUID | abi.MOUNT_ATTR_NODEV | abi.MOUNT_ATTR_NOEXEC | RDONLY  # what is not said is off
    clear = settable & ~options.set
    plan_setattr(
        plan, target, options.set, clear, options.propagation & ~_REC, recursive=False, why="Other flags from here on."
    )
    if options.data:
        plan.call("fspick", target, "", abi.FSPICK_CLOEXEC | abi.FSPICK_EMPTY_PATH, out=fs)
        for option in options.data:
            key, equals, value = option.partition("=")
            command = abi.FSCONFIG_SET_STRING if equals else abi.FSCONFIG_SET_FLAG
            plan.call("fsconfig", fs, command, key, value if equals else None, 0)
        plan.call("fsconfig", fs, abi.FSCONFIG_CMD_RECONFIGURE, None, None, 0)


def plan_mount(
    plan: Plan,
    root: Slot,
    mount: Mount,
    options: MountOptions,
    where: str,
    *,
    source: Slot | None = None,
    idmap: Slot | None = None,
    inside: str = "",
    label: str = "",
) -> Slot:
    """One entry of the spec's `mounts`; the slot holds the mount. A bind mount's *source* may be there already, or be a path
    *inside* the root."""
    plan.source = where
    made = Slot({"/proc": "proc", "/dev": "dev", "/dev/pts": "devpts"}.get(mount.destination, "mount"))
    kind: int = abi.TARGET_DIRECTORY
    resolve = IN_ROOT
    if is_bind(mount, options):
        if source is not None:
            made = source
        else:
            plan_source(plan, mount, options, where, made, idmap, root=root, inside=inside)
        kind = abi.TARGET_LIKE_SOURCE
    elif options.copy_up:
        if mount.type != "tmpfs":
            raise InvalidArgument(f"{where}.options: tmpcopyup is for a tmpfs")
        made = plan.inherit(f"copy:{where}")
        plan_setattr(plan, made, options.set & RDONLY, 0, 0, recursive=False, why="")
    else:
        if mount.type in ("proc", "sysfs"):
            # An image where /proc is a link would get its labels, sysctls and masks somewhere else (CVE-2019-19921).
            resolve |= abi.RESOLVE_NO_SYMLINKS
        why = f"A new {mount.type} filesystem, not yet visible to anyone."
        own_mode = mount.type != "tmpfs" or any(option.startswith("mode=") for option in options.data)
        like = None if own_mode else (root, mount.destination)
        plan_filesystem(plan, mount.type, mount.source, options, made, why, like=like, label=label)
    plan_attach(plan, root, mount.destination, made, kind=kind, resolve=resolve)
    if not is_bind(mount, options):
        set, clear = options.recursive_set, options.recursive_clear & ~options.recursive_set
        plan_setattr(plan, made, set, clear, 0, recursive=True, why="Nothing is below it yet: they are its own.")
    if options.propagation:
        plan_setattr(
            plan,
            made,
            0,
            0,
            options.propagation & ~_REC,
            recursive=bool(options.propagation & _REC),
            why="Says whether mounts made later on one side appear on the other.",
        )
    return made
