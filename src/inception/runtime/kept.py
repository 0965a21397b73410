"""`ROOT/@plans/NAME` and `ROOT/ID/again.N`: what `run`, `create` and `exec` have done before, to be done again without Python.

`_shortcut.c` looks for the file before it becomes this Python, and uses it when all that decides a plan is as it was: it has
put that into text, the *facts* (its own rights, the hierarchies, the boot, ...), the *shape* of config.json or of the
command, which is that without the values that every container has of its own (_shortcut_shape.h), and the image's *passwd*,
if HOME is made of it. It hands them over in a memory file for what is kept here, with the values of this time. So only one
place says what they are. It does so from the second time on: what never comes again is not worth 3 ms.

    "INCKEPT2"  sections, each: length (4 bytes)  bytes  NUL
    all:          facts   shape   passwd   warnings   program   patches
    run, create:  cgroup   creating   created   config   shortcut   devices

What is kept is made of these texts alone, twice: with marks in the place of the values, and with the values. Only when the
first, its marks replaced by the values, is the second, word for word, is it kept. In texts \\x02 is the pid, \\x03 its start
time, \\x04 the moment, and \\x05 with two letters a value by its number; of a run 0 is the container's id and 1 the bundle.

    patches: where in the program, what (0 a pointer to a string, 1 the length of one, 2 the cgroup), the string's length (4
             bytes each), the string with \\x05 and two letters for each value
"""

from __future__ import annotations

import os
import struct

from inception.errors import InceptionError
from inception.jsontext import compact, dumps
from inception.linux import abi
from inception.linux.files import write_file
from inception.record import Record, replace
from inception.runtime.plan import Plan, Program, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.oci.runtime import Process, Spec
    from inception.runtime.create import CreateOptions
    from inception.runtime.lifecycle import Container

_MAGIC = b"INCKEPT2"
_MOST = 64  # files; a shape is as good as hundreds of containers
_MOST_BYTES = 1 << 20
_FOLDER = "@plans"
_SIGNS = "\x01\x02\x03\x04\x05"
_GIVEN, _MISSING = b"+", b"-"  # of passwd: HOME is known without; there is none
_JOINED = ("network", "ipc", "uts")  # namespaces that a container may share with another
_POINTER, _LENGTH, _CGROUP = range(3)
_PATCH = struct.Struct("=III")
_OPAQUE = (int, bytes, Slot, Program, type(None))
_HEADER_CGROUP, _STEP_BYTES, _STEP_ARGS = 20, 64, 16  # places in a compiled plan: plan.py


class _NotKeptError(Exception):
    """It is not what it seems, or not ordinary."""


class _Texts(Record):
    """What a run writes."""

    plan: Plan
    warnings: list[str]
    texts: list[str]  # cgroup, creating, created, config, shortcut
    program: bytes


class Kept:
    """Where `_shortcut.c` looks the next time, and the facts of this time."""

    def __init__(self, text: str) -> None:
        fd, _, self.name = text.partition(",")
        with open(int(fd), "rb") as file:
            file.seek(0)
            data = file.read()
        sections, at = [], 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "little")
            sections.append(data[at + 4 : at + 4 + size])
            at += size + 5
        self._facts, shape, self._passwd, values = sections
        self._shape = os.fsdecode(shape)
        self._values = os.fsdecode(values).split("\0")[:-1]
        self._marks = [os.urandom(16).hex() for _ in self._values]

    # ---- run and create ---------------------------------------------------------------------------------------------

    def keep_run(self, root: str, options: CreateOptions) -> None:
        """Keep what a container of this shape is made of, when it is ordinary. Only a saving of time: it may fail."""
        try:
            self._marks[1] = f"/{self._marks[1]}"
            marked, real = (self._texts(root, values, options) for values in (self._marks, self._values))
            texts = [self._template(text) for text in marked.texts]
            if [self._filled(text, quoted=True) for text in texts] != real.texts:
                raise _NotKeptError
            if marked.warnings != real.warnings or marked.program != real.program:
                raise _NotKeptError
            sections = self._program(marked.plan, real.plan)
            os.makedirs(f"{root}/{_FOLDER}", 0o700, exist_ok=True)
            self._write(f"{root}/{_FOLDER}", [_lines(marked.warnings), *sections, *map(os.fsencode, texts), marked.program])
            _forget_old(f"{root}/{_FOLDER}")
        except (_NotKeptError, InceptionError, OSError, ValueError, RecursionError):
            return

    def _texts(self, root: str, values: list[str], options: CreateOptions) -> _Texts:
        """What `create` would write for these values, with signs for what is not known yet."""
        from inception.runtime.bundle import parse_bundle

        id, bundle, *rest = values
        spec = parse_bundle(self._with(rest), bundle)
        if values is self._marks and any(mount.source.startswith(bundle) for mount in spec.mounts):
            raise _NotKeptError  # a source from the bundle on: it may lie in the root, and is then planned in another way
        return _ordinary(root, id, spec, bundle, options, self._complete)

    # ---- exec -------------------------------------------------------------------------------------------------------

    def keep_exec(self, container: Container, asked: Callable[[str], tuple[Process, list[str]]]) -> None:
        """The same of an `exec` in *container*; not while somebody changes or removes that. *asked* is what a shape with values
        in it asks for, and the warnings of that."""
        lock = container.folder.try_lock()
        if lock is None:
            return
        with lock:
            try:
                (marked, warnings), (real, said) = asked(self._with(self._marks)), asked(self._with(self._values))
                affinity = marked.exec_cpu_affinity
                if warnings != said or (affinity is not None and affinity.initial):
                    return
                marked, real = (self._complete(value) for value in (marked, real))
                plans = container.plan_exec(marked), container.plan_exec(real)
                if plans[0].fds == ["init"]:
                    self._write(container.folder.path, [_lines(warnings), *self._program(*plans)])
            except (_NotKeptError, InceptionError, OSError, ValueError, RecursionError):
                return

    # ---- values -----------------------------------------------------------------------------------------------------

    def _with(self, values: list[str]) -> str:
        """The shape, and *values* in it; in JSON they are as JSON has them."""
        parts = self._shape.split("\x01")
        if len(parts) != len(values) + 1:
            raise _NotKeptError
        json = parts[0].lstrip()[:1] == "{"
        words = [dumps(value)[1:-1] if json else value for value in values]
        return "".join(part + word for part, word in zip(parts, [*words, ""], strict=True))

    def _complete(self, process: Process) -> Process:
        """With the HOME that the passwd of the facts says, which the file may not say any more."""
        from inception.runtime.environment import complete, is_homeless

        if self._passwd == _GIVEN:
            if is_homeless(process):
                raise _NotKeptError
            return complete(process, "")
        return complete(process, "", passwd=b"" if self._passwd == _MISSING else self._passwd[1:])

    def _template(self, text: str) -> str:
        """*text*, with signs in the place of the marks."""
        if "\x05" in text:
            raise _NotKeptError
        for number, mark in enumerate(self._marks):
            text = text.replace(mark, _sign(number))
        return text

    def _filled(self, template: str, *, quoted: bool = False) -> str:
        """A template with the values of this time; *quoted* as JSON has them."""
        first, *rest = template.split("\x05")
        values = [self._values[(ord(part[0]) - 48) * 64 + ord(part[1]) - 48] for part in rest]
        if quoted:
            values = [dumps(value)[1:-1] for value in values]
        return first + "".join(value + part[2:] for value, part in zip(values, rest, strict=True))

    def _program(self, marked: Plan, real: Plan) -> list[bytes]:
        """The plan of the marks and its patches, which are what it takes to make *real* of it."""
        if (marked.clone_flags, marked.inherited) != (real.clone_flags, real.inherited) or len(marked.steps) != len(real.steps):
            raise _NotKeptError
        data = marked.compile()
        start = int.from_bytes(data[8:12], "little")
        patches: dict[int, tuple[int, str]] = {}

        def string(at: int, mine: str, theirs: str, kind: int = _POINTER) -> None:
            template = self._template(mine)
            if self._filled(template) != theirs:
                raise _NotKeptError
            if template != mine:
                patches[at] = kind, template

        string(_HEADER_CGROUP, marked.cgroup_path, real.cgroup_path, _CGROUP)
        for index, (one, other) in enumerate(zip(marked.steps, real.steps, strict=True)):
            if (one.name, one.out, one.tolerate, one.skip, len(one.args)) != (
                other.name,
                other.out,
                other.tolerate,
                other.skip,
                len(other.args),
            ):
                raise _NotKeptError
            for position, (mine, theirs) in enumerate(zip(one.args, other.args, strict=True)):
                at = start + _STEP_BYTES * index + _STEP_ARGS + 8 * position
                if one.name == "sethostname" and position == 1:
                    name = one.args[0]
                    assert isinstance(name, str)
                    if self._template(name) != name:
                        patches[at] = _LENGTH, self._template(name)
                elif type(mine) is str and type(theirs) is str:
                    string(at, mine, theirs)
                elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
                    array = int.from_bytes(data[at : at + 8], "little") - abi.PLAN_BASE
                    for number, (word, their_word) in enumerate(zip(mine, theirs, strict=True)):
                        string(array + 8 * number, word, their_word)
                elif mine != theirs or type(mine) not in _OPAQUE:
                    raise _NotKeptError
        rows = [(at, kind, os.fsencode(template)) for at, (kind, template) in patches.items()]
        return [data, b"".join(_PATCH.pack(at, kind, len(text)) + text for at, kind, text in rows)]

    def _write(self, folder: str, sections: list[bytes]) -> None:
        parts = [self._facts, os.fsencode(self._shape), self._passwd, *sections]
        data = _MAGIC + b"".join(len(part).to_bytes(4, "little") + part + b"\0" for part in parts)
        if len(data) > _MOST_BYTES:
            return
        scratch = f"{folder}/.{self.name}.{os.getpid()}"
        write_file(scratch, data, 0o600)
        os.rename(scratch, f"{folder}/{self.name}")


def _sign(number: int) -> str:
    return f"\x05{chr(48 + number // 64)}{chr(48 + number % 64)}"


def _ordinary(
    root: str, id: str, spec: Spec, bundle: str, options: CreateOptions, completed: Callable[[Process], Process]
) -> _Texts:
    """What `create` writes for an ordinary container. Raises _NotKeptError for another."""
    # Of no use to `exec`.
    from inception.linux import process
    from inception.linux.bpf import device_program
    from inception.linux.cgroup import V2_CONTROLLERS, device_writes
    from inception.oci.runtime import Resources
    from inception.record import encode
    from inception.runtime import cgroups
    from inception.runtime.create import new_state, plan_creation
    from inception.runtime.resources import device_rules, limited_controllers, plan_resources
    from inception.runtime.shortcut import shortcut_of
    from inception.runtime.state import Folder
    from inception.runtime.validate import grantable

    linux = spec.linux
    assert linux is not None and spec.process is not None
    unusual = [
        os.geteuid() != 0,
        any(space.type == "user" or (space.path and space.type not in _JOINED) for space in linux.namespaces),
        not any(space.type == "mount" for space in linux.namespaces),
        any(mount.destination == "/etc/passwd" or "copy-symlink" in mount.options for mount in spec.mounts),
        bool(linux.net_devices) or linux.intel_rdt is not None,
        spec.hooks is not None and bool(encode(spec.hooks)),
    ]
    if any(unusual):
        raise _NotKeptError
    granted, warnings = grantable(spec.process, own_user_namespace=False)
    spec = replace(spec, process=granted)
    path = cgroups.cgroup_path(linux.cgroups_path, id)
    cgroup = cgroups.at(path)
    resources = linux.resources or Resources()
    writes, rules = plan_resources(resources, cgroup.cgroups), device_rules(resources)
    join = cgroup.join_plan([*limited_controllers(writes), *cgroup.cgroups.v1])
    plan = plan_creation(root, id, replace(spec, process=completed(granted)), options, join)
    if plan.fds != ["start"]:
        raise _NotKeptError
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
        raise _NotKeptError
    # As `create` writes them, with something in the place of what is not known yet.
    pid, start, created = (str(10**19 + int.from_bytes(os.urandom(7), "little")) for _ in range(3))
    creating = replace(new_state(Folder(root, id), spec, bundle, path), created=created, foreign_cgroups=[])
    whole = replace(creating, pid=int(pid), pid_start_time=int(start), boot_id=process.boot_id(), steps=len(plan.steps))
    shortcut = shortcut_of(whole, spec, cgroup)
    if not shortcut:
        raise _NotKeptError
    texts = ["\n".join([*lines, ""]), dumps(encode(creating)), dumps(encode(whole)), dumps(encode(spec)), shortcut]
    if any(sign in text for text in texts for sign in _SIGNS):
        raise _NotKeptError
    for sign, mine in zip(_SIGNS[1:], (pid, start, created), strict=False):
        texts = [text.replace(mine, sign) for text in texts]
    program = device_program(allowed) if allowed and join.cgroup2_path else b""
    return _Texts(plan=plan, warnings=warnings, texts=texts, program=program)


def _lines(warnings: list[str]) -> bytes:
    return "".join(f"{compact(warning)}\n" for warning in warnings).encode(errors="surrogateescape")


def _forget_old(folder: str) -> None:
    names = [name for name in os.listdir(folder) if name != "seen"]
    if len(names) > _MOST:
        paths = [f"{folder}/{name}" for name in names]
        for path in sorted(paths, key=os.path.getmtime)[: len(paths) - _MOST // 2]:
            os.unlink(path)
