"""`ROOT/@plans/NAME` and `ROOT/ID/again.N`: what `run`, `create` and `exec` have done once, to be done again without Python.

`_shortcut.c` looks for the file before it becomes this Python, and uses it when everything that decides a plan is as it was: it
has put all of that into one text, the *facts* (the bytes of config.json or the words of the command, its own rights, the
hierarchies, the boot, ...), and hands them over in a memory file for what is kept here. So only one place says what they are.
It does so from the second time on: what never comes again is not worth 3 ms.

    "INCKEPT1"  sections, each: length (4 bytes)  bytes  NUL
    all:          facts   passwd   warnings   program
    run, create:  mark   cgroup   creating   created   config   shortcut   devices

*passwd* says of which files HOME was made. A container's id stands in strings of the program as *mark*, which is as long as an
id can be here, so that any other fits in; in texts \\x01 is the id, \\x02 the pid, \\x03 its start time, \\x04 the moment.
"""

from __future__ import annotations

import os

from inception.jsontext import compact, dumps
from inception.linux.files import write_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Process, Spec
    from inception.runtime.create import CreateOptions
    from inception.runtime.plan import Plan
    from inception.runtime.state import Folder

_MAGIC = b"INCKEPT1"
_MARK_BYTES = 32  # twice as many letters: the longest id that is common
_MOST = 64  # files; engines have another configuration each time
_MOST_BYTES = 1 << 20
_FOLDER = "@plans"
_TEXTS = "\x01\x02\x03\x04"


class Kept:
    """Where `_shortcut.c` looks the next time, and the facts of this time.

    *root* is the container's root directory, and looked at now: before its files are read, or written by programs.
    """

    def __init__(self, text: str, root: str) -> None:
        self._passwd = _passwd(root)
        fd, _, self.name = text.partition(",")
        self._fd = int(fd)
        os.set_inheritable(self._fd, False)

    def keep_run(self, root: str, spec: Spec, bundle: str, options: CreateOptions, warnings: list[str]) -> None:
        """Keep what `run` of *spec* is made of, when it is ordinary. Only a saving of time: where it fails, nothing is kept."""
        try:
            sections = _run_sections(root, spec, bundle, options)
            if sections is not None and self._passwd:
                os.makedirs(f"{root}/{_FOLDER}", 0o700, exist_ok=True)
                self._write(f"{root}/{_FOLDER}", [self._passwd, _lines(warnings), *sections])
                _forget_old(f"{root}/{_FOLDER}")
        except (OSError, ValueError):
            return

    def keep_exec(self, folder: Folder, value: Process, plan: Plan, warnings: list[str]) -> None:
        """The same of an `exec` of *value* in the container of *folder*; not while somebody changes or removes that."""
        affinity = value.exec_cpu_affinity
        if plan.fds != ["init"] or not self._passwd or (affinity is not None and affinity.initial):
            return
        lock = folder.try_lock()
        if lock is None:
            return
        with lock:
            try:
                self._write(folder.path, [self._passwd, _lines(warnings), plan.compile()])
            except (OSError, ValueError):
                return

    def _write(self, folder: str, sections: list[bytes]) -> None:
        facts = os.pread(self._fd, _MOST_BYTES, 0)
        data = _MAGIC + b"".join(len(part).to_bytes(4, "little") + part + b"\0" for part in [facts, *sections])
        if len(data) > _MOST_BYTES:
            return
        scratch = f"{folder}/.{self.name}.{os.getpid()}"
        write_file(scratch, data, 0o600)
        os.rename(scratch, f"{folder}/{self.name}")


def _run_sections(root: str, spec: Spec, bundle: str, options: CreateOptions) -> list[bytes] | None:
    """What comes after the warnings; None for a container that is not ordinary."""
    # Of no use to `exec`.
    from inception.linux import process
    from inception.linux.bpf import device_program
    from inception.linux.cgroup import V2_CONTROLLERS, device_writes
    from inception.oci.runtime import Resources
    from inception.record import encode, replace
    from inception.runtime import cgroups
    from inception.runtime.create import new_state, plan_creation
    from inception.runtime.resources import device_rules, limited_controllers, plan_resources
    from inception.runtime.shortcut import shortcut_of
    from inception.runtime.state import Folder

    linux = spec.linux
    assert linux is not None
    unusual = [
        os.geteuid() != 0,
        any(namespace.type == "user" or namespace.path for namespace in linux.namespaces),
        not any(namespace.type == "mount" for namespace in linux.namespaces),
        any(mount.destination == "/etc/passwd" or "copy-symlink" in mount.options for mount in spec.mounts),
        bool(linux.net_devices) or linux.intel_rdt is not None,
        spec.hooks is not None and bool(encode(spec.hooks)),
    ]
    if any(unusual):
        return None
    mark = os.urandom(_MARK_BYTES).hex()
    path = cgroups.cgroup_path(linux.cgroups_path, mark)
    cgroup = cgroups.at(path)
    resources = linux.resources or Resources()
    writes, rules = plan_resources(resources, cgroup.cgroups), device_rules(resources)
    join = cgroup.join_plan([*limited_controllers(writes), *cgroup.cgroups.v1])
    plan = plan_creation(root, mark, spec, options, join)
    if plan.fds != ["start"]:
        return None
    lines = []
    if join.cgroup2_path:
        around = os.path.dirname(join.cgroup2_path)
        wanted = [f"+{name}" for name in V2_CONTROLLERS if name in cgroup.cgroups.v2_controllers]
        if wanted:
            lines.append(f"write {around}/cgroup.subtree_control\t{' '.join(wanted)}")
        lines.append(f"mkdir {join.cgroup2_path}")
    cpuset = cgroup.folder("cpuset") if "cpuset" in cgroup.cgroups.v1 else None
    for folder in join.v1_folders:
        lines.append(f"mkdir {folder}")
        if folder == cpuset:
            lines += [f"inherit {folder}/{file}\t{os.path.dirname(folder)}/{file}" for file in ("cpuset.cpus", "cpuset.mems")]
    allowed = cgroups.allowed_devices(rules) if rules else []
    if allowed and join.cgroup2_path:
        lines.append(f"devices {join.cgroup2_path}")
    elif allowed:
        writes = [*device_writes(allowed), *writes]
    lines += [f"write {cgroup.folder(write.controller)}/{write.file}\t{write.value}" for write in writes]
    if any("\n" in line for line in lines):
        return None
    # As `create` writes them, with something in the place of what is not known yet.
    pid, start, created = (str(10**19 + int.from_bytes(os.urandom(7), "little")) for _ in range(3))
    creating = replace(new_state(Folder(root, mark), spec, bundle, path), created=created, foreign_cgroups=[])
    whole = replace(creating, pid=int(pid), pid_start_time=int(start), boot_id=process.boot_id(), steps=len(plan.steps))
    shortcut = shortcut_of(whole, spec, cgroup)
    if not shortcut:
        return None
    texts = ["\n".join([*lines, ""]), dumps(encode(creating)), dumps(encode(whole)), dumps(encode(spec)), shortcut]
    if any(sign in text for text in texts for sign in _TEXTS):
        return None
    for sign, mine in zip(_TEXTS, (mark, pid, start, created), strict=True):
        texts = [text.replace(mine, sign) for text in texts]
    program = device_program(allowed) if allowed and join.cgroup2_path else b""
    return [plan.compile(), mark.encode(), *(os.fsencode(text) for text in texts), program]


def _passwd(root: str) -> bytes:
    """What is known of the file that HOME is made of; empty for one that is reached through links."""
    found = []
    for path in (f"{root}/etc", f"{root}/etc/passwd"):
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            found.append("-")
            continue
        if status.st_mode & 0o170000 == 0o120000:
            return b""
        if path.endswith("passwd"):
            found.append(f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")
    return os.fsencode(f"{root}\n{' '.join(found)}")


def _lines(warnings: list[str]) -> bytes:
    return "".join(f"{compact(warning)}\n" for warning in warnings).encode(errors="surrogateescape")


def _forget_old(folder: str) -> None:
    names = [name for name in os.listdir(folder) if name != "seen"]
    if len(names) > _MOST:
        paths = [f"{folder}/{name}" for name in names]
        for path in sorted(paths, key=os.path.getmtime)[: len(paths) - _MOST // 2]:
            os.unlink(path)
