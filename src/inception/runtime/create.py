"""`create`: from a bundle to a process that waits for `start`.

    create                                            init
    folder, lock, state "creating"
    cgroup; plan
    begin(plan)                         ───▶          (its id maps are written while it pauses)
                                                      namespaces, root, mounts
    prestart, createRuntime hooks       ◀── pause 1 ──
    resume                              ───▶          createContainer hooks, pivot_root, limits, user
    state with its pid, pid file        ◀── pause 2 ──  waits on the socket `start`

Whatever fails on the way leaves nothing behind. Source: runtime-spec runtime.md, "Lifecycle", steps 1 to 5.
"""

from __future__ import annotations

import os
import time

from inception._spawn import SpawnError
from inception.errors import InceptionError, InvalidArgument
from inception.linux import abi, namespaces, process, socket
from inception.linux.cgroup import JoinPlan
from inception.linux.mount import load_mountinfo, umount2
from inception.oci.runtime import Hooks, Mount, Spec
from inception.record import Record, encode, replace
from inception.runtime import cgroups, filters, idmap
from inception.runtime.child import Child, begin, resume
from inception.runtime.container import plan_container
from inception.runtime.environment import complete
from inception.runtime.hooks import encode_state, run_hooks, tail
from inception.runtime.namespaces import has_mount_namespace, has_new_user_namespace
from inception.runtime.shortcut import shortcut_of
from inception.runtime.state import Folder, RuntimeState, remove_resctrl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.oci.runtime import Resources
    from inception.runtime.netdevices import NetDevices
    from inception.runtime.plan import Plan
    from inception.runtime.systemd import Helper, Scope


class CreateOptions(Record):
    """What the command line adds to a bundle. Descriptors stay the caller's."""

    console: int | None = None  # the socket that gets the terminal's master
    termios: bytes | None = None  # its mode, other than the kernel's usual one
    pivot: bool = True
    keyring: bool = True
    preserve_fds: int = 0  # from 3 on, after those of LISTEN_FDS
    absent_fds: list[int] = []  # of these, counted from 3, those that the caller does not have
    listen_fds: int = 0
    systemd: bool = False  # which then makes the cgroup
    rootless: bool | None = None  # whether it may go without a cgroup; None: where we are not the machine's root


def create(
    folder: Folder, spec: Spec, bundle: str, options: CreateOptions, making: Callable[..., Creation] | None = None
) -> Child:
    """Make the container of *folder*; the caller owns the child's pidfd and channel. Raises Conflict when the id is taken.

    *making* is another way to do it than a plan (restore.py).
    """
    assert spec.linux is not None and spec.root is not None and spec.process is not None
    if spec.process.terminal and options.console is None:
        raise InvalidArgument("cannot allocate tty if runc will detach without setting console socket")
    if options.console is not None and not spec.process.terminal:
        raise InvalidArgument("cannot use console socket if runc will not detach or allocate tty")
    scope = None
    if options.systemd:
        from inception.runtime.systemd import parse_scope

        scope = parse_scope(spec.linux.cgroups_path, folder.id)
    path = scope.path if scope else cgroups.cgroup_path(spec.linux.cgroups_path, folder.id)
    with folder.make():
        try:
            creation = (making or Creation)(folder, spec, new_state(folder, spec, bundle, path, scope), options, scope)
        except BaseException:
            folder.remove()
            raise
        try:
            folder.save(creation.state)
            folder.save_spec(spec)
            return creation.run()
        except BaseException:
            creation.undo()
            raise
        finally:
            creation.close()


def new_state(folder: Folder, spec: Spec, bundle: str, cgroup: str, scope: Scope | None = None) -> RuntimeState:
    """What is known of it before its process is there."""
    assert spec.linux is not None and spec.root is not None
    return RuntimeState(
        id=folder.id,
        bundle=bundle,
        cgroup=cgroup,
        foreign_cgroups=[] if scope else cgroups.folders(cgroups.at(cgroup)),
        unit=scope.unit if scope else "",
        created=_now(),
        oci_version=spec.oci_version,
        shares_pids=not any(space.type == "pid" and not space.path for space in spec.linux.namespaces),
        rootfs=spec.root.path,
        annotations=spec.annotations,
    )


def plan_creation(root: str, id: str, spec: Spec, options: CreateOptions, join: JoinPlan | None) -> Plan:
    """The plan of a container of the runtime root *root*, up to where it waits for `start`."""
    process, linux = spec.process, spec.linux
    assert process is not None and spec.root is not None and linux is not None
    return plan_container(
        replace(spec, process=complete(process, spec.root.path, spec.mounts)),
        rootfs=Mount(destination="/", type="bind", source=spec.root.path, options=["rbind"]),
        join=join,
        hold=True,
        seccomp=filters.load(root, linux.seccomp),
        pivot=options.pivot,
        keyring=f"_ses.{id}" if options.keyring else "",
        preserve_fds=options.listen_fds + options.preserve_fds,
        absent_fds=options.absent_fds,
        rootless=os.geteuid() != 0,
        nested=os.geteuid() == 0 and namespaces.is_rootless(),
        termios=options.termios,
    )


class Creation:
    """One `create` under way, with what it holds."""

    def __init__(
        self, folder: Folder, spec: Spec, state: RuntimeState, options: CreateOptions, scope: Scope | None = None
    ) -> None:
        self.folder = folder
        self.spec = spec
        self.hooks = spec.hooks or Hooks()
        self.state = state
        self.options = options
        self.cgroup = cgroups.at(state.cgroup)
        self.child: Child | None = None
        self.fds: dict[str, int] = {}
        self.owned: list[int] = []
        self.hooks_ran = False
        self.scope = scope
        self.helper: Helper | None = None
        self.net_devices: NetDevices | None = None
        assert spec.linux is not None
        self.mounted = None if has_mount_namespace(spec.linux) else _mounts_at(state.rootfs)

    def run(self) -> Child:
        plan = self._plan()
        self._open_descriptors(plan)
        try:
            self.child = begin(plan.compile(), self.fds)
            self._write_maps()
            self._note_child(plan)
            self._enter_resctrl()
            self._move_net_devices()
            self._run_hooks()
            self.child = resume(self.child)
        except SpawnError as error:
            self.child = None  # reaped
            failure = plan.failure(error)
            output = tail(self.fds["output"]) if "output" in self.fds else ""
            raise type(failure)(f"{failure}{output}", failure.hint, failure.exit_code) from None
        self.folder.save(self.state)
        self.folder.save_shortcut(shortcut_of(self.state, self.spec, self.cgroup))
        return self.child

    def _plan(self) -> Plan:
        return plan_creation(self.folder.root, self.folder.id, self.spec, self.options, self._make_cgroup())

    def _make_cgroup(self) -> JoinPlan | None:
        assert self.spec.linux is not None
        resources = self.spec.linux.resources
        if self.scope is not None:
            return self._start_scope(self.scope, resources)
        try:
            return cgroups.make(self.cgroup, resources)
        except InceptionError:
            limits = encode(resources) if resources else {}
            rootless = self.options.rootless
            if set(limits) - {"devices"} or not (namespaces.is_rootless() if rootless is None else rootless):
                raise
            return None  # nobody asked for limits

    def _start_scope(self, scope: Scope, resources: Resources | None) -> JoinPlan:
        from inception.runtime import systemd

        v2 = "memory" not in self.cgroup.cgroups.v1
        helper = systemd.Helper()
        try:
            systemd.start_scope(scope, self.folder.id, helper, resources, self.spec.annotations, v2=v2)
        except BaseException:
            helper.close()
            raise
        self.helper = helper
        return cgroups.make(self.cgroup, resources, owned=True)

    def _open_descriptors(self, plan: Plan) -> None:
        """Everything that the plan names."""
        for name in plan.fds:
            if name == "console" and self.options.console is not None:
                self.fds[name] = self.options.console
            elif name.startswith("preserve") and (number := int(name[8:])) not in self.options.absent_fds:
                self.fds[name] = 3 + number
            else:
                self.fds[name] = self._open_descriptor(name)
                self.owned.append(self.fds[name])

    def _open_descriptor(self, name: str) -> int:
        if name == "start":
            return socket.listen(self.folder.start_socket)
        if name in ("state.creating", "state.created"):
            return os.memfd_create(name, os.MFD_CLOEXEC)
        if name.startswith("preserve"):
            return os.memfd_create("nothing", os.MFD_CLOEXEC)
        if name == "output":
            return os.open(self.folder.output, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        if name.startswith("idmap"):
            return self._open_idmap(int(name[5:]))
        if name.startswith("copy:"):
            from inception.runtime.copyup import open_copy

            place = name[5:]
            return open_copy(self.state.rootfs, self.spec.mounts[int(place[7:-1])], place)
        raise InvalidArgument(f"fd:{name}: there is no such descriptor here")

    def _open_idmap(self, index: int) -> int:
        mount, linux = self.spec.mounts[index], self.spec.linux
        assert linux is not None
        joined = next((space.path for space in linux.namespaces if space.type == "user" and space.path), "")
        if joined and not mount.uid_mappings:
            return os.open(joined, os.O_RDONLY | os.O_CLOEXEC)  # its maps are those of the namespace that is joined
        return idmap.open_user_namespace(mount.uid_mappings or linux.uid_mappings, mount.gid_mappings or linux.gid_mappings)

    def _write_maps(self) -> None:
        linux = self.spec.linux
        assert linux is not None and self.child is not None
        if has_new_user_namespace(linux):
            idmap.write_maps(self.child.pid, linux.uid_mappings, linux.gid_mappings)
            self.child = resume(self.child)

    def _note_child(self, plan: Plan) -> None:
        assert self.child is not None
        self.state.pid = self.child.pid
        self.state.pid_start_time = process.start_time(self.child.pid)
        self.state.boot_id = process.boot_id()
        self.state.steps = len(plan.steps)

    def _enter_resctrl(self) -> None:
        assert self.spec.linux is not None
        if self.spec.linux.intel_rdt is not None:
            from inception.runtime import resctrl

            root = resctrl.mounted() or ""  # it was there when the spec was read
            self.state.resctrl = resctrl.enter(self.spec.linux.intel_rdt, self.folder.id, self.state.pid, root)

    def _move_net_devices(self) -> None:
        assert self.spec.linux is not None
        if self.spec.linux.net_devices:
            from inception.runtime.netdevices import NetDevices

            self.net_devices = NetDevices(self.spec.linux, self.state.pid)
            self.net_devices.move()

    def _run_hooks(self) -> None:
        told = self.state.told("creating")
        self.hooks_ran = True
        if self.hooks.prestart or self.hooks.create_runtime:
            before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.chdir(self.state.bundle)  # where runc's run
                run_hooks(self.hooks.prestart, told, "prestart")
                run_hooks(self.hooks.create_runtime, told, "createRuntime")
            finally:
                os.fchdir(before)
                os.close(before)
        for status in ("creating", "created"):
            fd = self.fds.get(f"state.{status}")
            if fd is not None:
                told = self.state.told(status)
                told.pid = _pid_inside(self.state.pid)
                os.write(fd, encode_state(told))

    def undo(self) -> None:
        """End the process, remove the rest; poststop hooks when other hooks had their turn."""
        if self.net_devices is not None:
            self.net_devices.give_back()
        if self.child is not None:
            process.pidfd_send_signal(self.child.pidfd, 9)
            process.reap(self.child.pidfd)
            os.close(self.child.pidfd)
            if self.child.channel >= 0:
                os.close(self.child.channel)
        self._unmount()
        remove_resctrl(self.state)
        if self.scope is None:
            cgroups.remove(self.cgroup, self.state.foreign_cgroups)
        elif self.helper is not None:
            from inception.runtime.systemd import stop_scope

            self.helper.close()
            stop_scope(self.scope.unit)
            cgroups.remove(self.cgroup, [])
        self.folder.remove()
        if self.hooks_ran:
            run_hooks(self.hooks.poststop, self.state.told("stopped"), "poststop", warn=True)

    def _unmount(self) -> None:
        """What it has mounted on the host, where that was asked for."""
        if self.mounted is not None and _mounts_at(self.state.rootfs) > self.mounted:
            umount2(self.state.rootfs, abi.MNT_DETACH)

    def close(self) -> None:
        if self.helper is not None:
            self.helper.close()
        for fd in self.owned:
            os.close(fd)
        if self.net_devices is not None:
            self.net_devices.close()


def _mounts_at(path: str) -> int:
    return sum(mount.mount_point == path for mount in load_mountinfo())


def _pid_inside(pid: int) -> int:
    """The pid that the innermost pid namespace has for a process."""
    with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("NSpid:"):
                return int(line.split()[-1])
    return pid


def _now() -> str:
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09}Z"
