"""The specification's operations on bundles: create, start, kill, delete, state.

    create                                          init
    check the spec, make the cgroup
    begin(plan)                       ───▶          namespaces, root, mounts
    prestart, createRuntime hooks     ◀── pause 1 ──
    resume                            ───▶          pivot_root
    write state.json                  ◀── pause 2 ──  waits on the FIFO `start`
    start: startContainer hooks, a byte ───▶        limits, user, seccomp, execve
    poststart hooks

Source: runtime-spec runtime.md, "Lifecycle".
"""

from __future__ import annotations

import os
import socket
import time

from inception._spawn import SpawnError
from inception.errors import Conflict, InvalidArgument, NotFound, StartFailed
from inception.jsontext import loads
from inception.linux import process
from inception.linux.cgroup import Cgroup, Cgroups, JoinPlan
from inception.oci.runtime import Hooks, Mount, Process, Spec, State
from inception.record import decode, replace
from inception.runtime.child import Child, begin, resume, start
from inception.runtime.container import plan_container
from inception.runtime.exec import plan_exec
from inception.runtime.hooks import run_hooks
from inception.runtime.plan import Plan
from inception.runtime.resources import device_rules, limited_controllers, plan_resources
from inception.runtime.state import Folder, RuntimeState
from inception.runtime.validate import check_spec

_CGROUP_PARENT = "/inception-runc"
_MAX_CONFIG_BYTES = 16 << 20


def load_bundle(bundle: str) -> Spec:
    """`config.json` of a bundle; relative paths in it become absolute. Raises InvalidArgument, NotFound."""
    path = f"{bundle}/config.json"
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise NotFound(f"{path}: {error.strerror}") from error
    if len(data) > _MAX_CONFIG_BYTES:
        raise InvalidArgument(f"{path}: larger than {_MAX_CONFIG_BYTES} bytes")
    try:
        spec = decode(Spec, loads(data))
        check_spec(spec)
    except (ValueError, InvalidArgument) as error:
        raise InvalidArgument(f"{path}: {error}") from error
    assert spec.root is not None
    mounts = [
        replace(mount, source=os.path.join(bundle, mount.source))
        if mount.source and ({"bind", "rbind"} & {mount.type, *mount.options}) and not mount.source.startswith("/")
        else mount
        for mount in spec.mounts
    ]
    return replace(spec, root=replace(spec.root, path=os.path.join(bundle, spec.root.path)), mounts=mounts)


class Container:
    """A container of a runtime root, by id."""

    def __init__(self, root: str, id: str) -> None:
        self.folder = Folder(root, id)

    # ---- create and start -------------------------------------------------------------------------------------------

    def create(self, bundle: str, *, console_socket: int | None = None) -> tuple[Child, Plan]:
        """Make the container; its process waits for `start`. The caller owns the child's pidfd and channel."""
        spec = load_bundle(bundle)
        assert spec.linux is not None and spec.process is not None and spec.root is not None
        if spec.process.terminal and console_socket is None:
            raise InvalidArgument("process.terminal: needs --console-socket, or `run` in the foreground")
        self.folder.make()
        cgroup = self._cgroup(spec.linux.cgroups_path or f"{_CGROUP_PARENT}/{self.folder.id}")
        fifo = -1
        try:
            os.mkfifo(self.folder.fifo, 0o600)
            fifo = os.open(self.folder.fifo, os.O_RDWR | os.O_CLOEXEC)
            join = self._make_cgroup(cgroup, spec)
            rootfs = Mount(destination="/", type="bind", source=spec.root.path, options=["rbind"])
            plan = plan_container(spec, rootfs=rootfs, join=join, hold=True)
            fds = {"start": fifo} if console_socket is None else {"start": fifo, "console": console_socket}
            try:
                child = begin(plan.compile(), fds)
                hooks = spec.hooks or Hooks()
                state = self._state(spec, bundle, child.pid, cgroup)
                told = self._told(state, "creating")
                try:
                    run_hooks(hooks.prestart, told, "prestart")
                    run_hooks(hooks.create_runtime, told, "createRuntime")
                except BaseException:
                    self._abandon(child)
                    raise
                child = resume(child)
            except SpawnError as error:
                raise plan.failure(error) from None
            self.folder.save(state, spec)
            return child, plan
        except BaseException:
            self._remove_cgroup(cgroup)
            self.folder.remove()
            raise
        finally:
            if fifo >= 0:
                os.close(fifo)

    def start(self) -> None:
        """Let a created container run its program. Raises Conflict for one in another state."""
        state = self.folder.load()
        status = self.folder.status(state)
        if status != "created":
            raise Conflict(f"cannot start a container that has {'stopped' if status == 'stopped' else 'already run'}")
        spec = self.folder.load_spec()
        hooks = spec.hooks or Hooks()
        self._run_inside(hooks, spec, state)
        try:
            fifo = os.open(self.folder.fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            raise Conflict("cannot start a container that has stopped") from None
        try:
            os.unlink(self.folder.fifo)
            os.write(fifo, b"\0")
        finally:
            os.close(fifo)
        run_hooks(hooks.poststart, self._told(state, "running"), "poststart")

    def _run_inside(self, hooks: Hooks, spec: Spec, state: RuntimeState) -> None:
        """startContainer hooks: programs of the container, in its namespaces."""
        if not hooks.start_container or spec.linux is None:
            return
        from inception.jsontext import dumps
        from inception.record import encode

        document = dumps(encode(self._told(state, "created"), keep_defaults=True)).encode()
        for hook in hooks.start_container:
            value = Process(cwd="/", args=[hook.path, *hook.args[1:]], env=hook.env)
            plan = plan_exec(value, namespaces=spec.linux.namespaces)
            init, stdin = self._open_init(state), process.memfd("state", document)
            try:
                child = start(plan, {"init": init}, (stdin, 1, 2))
                code = process.reap(child.pidfd)
                os.close(child.pidfd)
            finally:
                os.close(init)
                os.close(stdin)
            if code:
                raise StartFailed(f"hooks.startContainer: {hook.path}: exit status {code}")

    # ---- a running one ----------------------------------------------------------------------------------------------

    def exec(self, value: Process, stdio: tuple[int, int, int], console_socket: int | None = None) -> Child:
        """Another process in the container; the caller is its parent."""
        state = self.folder.load()
        spec = self.folder.load_spec()
        assert spec.linux is not None
        if self.folder.status(state) == "stopped":
            raise Conflict("cannot exec in a stopped container")
        filter = None
        if spec.linux.seccomp is not None:
            from inception.linux.seccomp import compile_filter

            filter = compile_filter(spec.linux.seccomp)
        join = self._make_cgroup(self._cgroup(state.cgroup), spec, fresh=False)
        plan = plan_exec(value, namespaces=spec.linux.namespaces, join=join, seccomp=filter)
        init = self._open_init(state)
        fds = {"init": init} if console_socket is None else {"init": init, "console": console_socket}
        try:
            return start(plan, fds, stdio)
        finally:
            os.close(init)

    def kill(self, signal: int, *, all: bool = False) -> None:
        """Send *signal* to init, or with *all* SIGKILL to everything in its cgroup."""
        state = self.folder.load()
        if all:
            self._cgroup(state.cgroup).kill()
            return
        pidfd = process.open_alive(state.pid, state.pid_start_time) if self.folder.is_alive(state) else None
        if pidfd is None:
            raise Conflict("container not running")
        try:
            process.pidfd_send_signal(pidfd, signal)
        finally:
            os.close(pidfd)

    def delete(self, *, force: bool = False) -> list[str]:
        """Remove a stopped container; warnings of poststop hooks. *force* kills it first and takes a missing one as gone."""
        try:
            state = self.folder.load()
        except NotFound:
            if force:
                self.folder.remove()
                return []
            raise
        status = self.folder.status(state)
        if status != "stopped":
            if not force:
                raise Conflict(f"cannot delete container {self.folder.id} that is not stopped: {status}")
            self._kill_and_wait(state)
        cgroup = self._cgroup(state.cgroup)
        cgroup.kill()
        self._remove_cgroup(cgroup)
        hooks = self.folder.load_spec().hooks or Hooks()
        self.folder.remove()
        return run_hooks(hooks.poststop, self._told(state, "stopped"), "poststop", warn=True)

    def state(self) -> State:
        """The specification's state, as it is now."""
        state = self.folder.load()
        status = self.folder.status(state)
        told = self._told(state, status)
        if status == "running" and self._cgroup(state.cgroup).frozen():
            return replace(told, status="paused")
        return told

    def cgroup(self) -> Cgroup:
        """Its control group."""
        return self._cgroup(self.folder.load().cgroup)

    # ---- helpers ----------------------------------------------------------------------------------------------------

    def _kill_and_wait(self, state: RuntimeState) -> None:
        pidfd = process.open_alive(state.pid, state.pid_start_time)
        if pidfd is not None:
            process.pidfd_send_signal(pidfd, 9)
            process.wait_pidfd(pidfd, 10)
            os.close(pidfd)

    def _open_init(self, state: RuntimeState) -> int:
        pidfd = process.open_alive(state.pid, state.pid_start_time) if self.folder.is_alive(state) else None
        if pidfd is None:
            raise Conflict("container not running")
        return pidfd

    @staticmethod
    def _abandon(child: Child) -> None:
        os.close(child.channel)
        process.pidfd_send_signal(child.pidfd, 9)
        process.reap(child.pidfd)
        os.close(child.pidfd)

    @staticmethod
    def _cgroup(path: str) -> Cgroup:
        if ":" in path or ".." in path.split("/"):
            raise InvalidArgument(f"linux.cgroupsPath: {path!r} is not supported (systemd's form, or with ..)")
        return Cgroups.detect().at("/" + path.strip("/"))

    @classmethod
    def _remove_cgroup(cls, cgroup: Cgroup) -> None:
        """And the folder above it that we made, once the last container has left it."""
        cgroup.remove()
        if os.path.dirname(cgroup.path) != _CGROUP_PARENT:
            return
        parent = cls._cgroup(_CGROUP_PARENT)
        for folder in {parent.folder(name) for name in (None, *parent.cgroups.controllers(), *parent.cgroups.v1)}:
            try:
                os.rmdir(folder or "")
            except OSError:  # others are in it, or it was never made
                pass

    @staticmethod
    def _make_cgroup(cgroup: Cgroup, spec: Spec, *, fresh: bool = True) -> JoinPlan:
        """Make and limit it; not *fresh*: only say how to join."""
        assert spec.linux is not None
        resources = spec.linux.resources
        if resources is None:
            return cgroup.create()
        writes = plan_resources(resources, cgroup.cgroups)
        join = cgroup.create(limited_controllers(writes), device_rules(resources) if resources.devices and fresh else None)
        if fresh:
            cgroup.apply(writes)
        return join

    def _state(self, spec: Spec, bundle: str, pid: int, cgroup: Cgroup) -> RuntimeState:
        return RuntimeState(
            id=self.folder.id,
            bundle=bundle,
            pid=pid,
            pid_start_time=process.start_time(pid),
            boot_id=process.boot_id(),
            cgroup=cgroup.path,
            created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            oci_version=spec.oci_version,
            annotations=spec.annotations,
        )

    @staticmethod
    def _told(state: RuntimeState, status: str) -> State:
        return State(
            oci_version=state.oci_version,
            id=state.id,
            status=status,
            pid=0 if status == "stopped" else state.pid,
            bundle=state.bundle,
            annotations=state.annotations,
        )


def connect_console(path: str) -> socket.socket:
    """The socket that a terminal's master is sent to."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(path)
    except OSError as error:
        connection.close()
        raise InvalidArgument(f"--console-socket {path}: {error.strerror}") from error
    return connection
