"""The specification's operations on a container that was created: start, exec, kill, delete, state; pause and resume.

    start: a connection to the socket `start` ───▶ startContainer hooks, seccomp, execve
           poststart hooks                    ◀─── the connection closes: the program runs; or (step, errno)

Whoever changes the container holds its lock; `exec` and `kill` don't wait for it. A signal goes to a pidfd that was opened
before the start time was compared, never to a pid. Source: runtime-spec runtime.md, "Operations".
"""

from __future__ import annotations

import os

from inception._spawn import SpawnError
from inception.errors import Conflict, InceptionError, InvalidArgument, NotFound, Unavailable
from inception.linux import namespaces, process, socket
from inception.linux.cgroup import Cgroup
from inception.oci.runtime import Hooks, Mount, Process, Spec, State
from inception.runtime import cgroups
from inception.runtime.child import Child, begin, resume
from inception.runtime.hooks import run_hooks
from inception.runtime.state import Folder, RuntimeState, remove_resctrl

# What makes plans is imported where one is made: `state`, `kill` and `delete`, which engines call most, need none.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.runtime.checkpoint import CriuOptions
    from inception.runtime.plan import Plan

_SIGKILL = 9
_FREEZER_TIMEOUT_S = 0.5
_KILL_TIMEOUT_S = 10.0
_LOCK_TIMEOUT_S = 30.0


class Container:
    """A container of a runtime root, by id."""

    def __init__(self, root: str, id: str) -> None:
        self.folder = Folder(root, id)

    # ---- what is ----------------------------------------------------------------------------------------------------

    def load(self) -> tuple[RuntimeState, str]:
        """What was kept, and the status as it is now. Raises NotFound."""
        state = self.folder.load()
        status = self.folder.status(state)
        if status in ("created", "running") and cgroups.is_frozen(cgroups.at(state.cgroup)):
            status = "paused"
        return state, status

    def state(self) -> State:
        """The specification's state."""
        state, status = self.load()
        return state.told(status)

    def cgroup(self) -> Cgroup:
        """Its control group."""
        return cgroups.at(self.folder.load().cgroup)

    def pids(self) -> list[int]:
        """All its processes as we see them; without a cgroup, as rootless, those in the pid namespace of its first one."""
        state, status = self.load()
        found = cgroups.at(state.cgroup).pids()
        if found or status == "stopped":
            return found
        return [state.pid] if state.shares_pids else namespaces.members(state.pid, "pid")

    # ---- start ------------------------------------------------------------------------------------------------------

    def go_on(self, channel: int, pidfd: int) -> None:
        """The rest of a start that `_shortcut.c` began, and that failed: this process has the lock from it.

        *channel* is its connection to init, -1 when nobody listened. Raises like `start`.
        """
        self._follow(self.folder.load(), self.folder.load_spec(), pidfd, channel)

    def start(self) -> None:
        """Let a created container run its program. Raises Conflict for one in another state, StartFailed."""
        with self.folder.lock():
            state, status = self.load()
            if status == "paused":
                raise Conflict("cannot start a paused container")
            if status == "stopped":
                raise Conflict("cannot start a container that has stopped")
            if status != "created":
                raise Conflict("cannot start an already running container")
            spec = self.folder.load_spec()
            self._let_go(state, spec)
            hooks = spec.hooks or Hooks()
            try:
                run_hooks(hooks.poststart, state.told("running"), "poststart")
            except InceptionError:
                self._destroy(state, hooks)
                raise

    def _let_go(self, state: RuntimeState, spec: Spec) -> None:
        """Returns when the program runs."""
        pidfd = self.folder.open_init(state)
        try:
            channel = socket.connect(self.folder.take_start())
        except OSError:
            channel = -1
        self._follow(state, spec, pidfd, channel)

    def _follow(self, state: RuntimeState, spec: Spec, pidfd: int, channel: int) -> None:
        if channel < 0:
            os.close(pidfd)
            raise Conflict("cannot start a container that has stopped")
        try:
            child = resume(Child(pid=state.pid, pidfd=pidfd, channel=channel))
            while child.channel >= 0:
                from inception.runtime.notify import pass_listener

                pass_listener(child, spec.linux.seccomp if spec.linux else None, state.told("created"))
                child = resume(child)
        except SpawnError as error:
            failure = _plan_again(spec, error, state).failure(error)
            if spec.hooks is not None and spec.hooks.start_container:
                failure = type(failure)(f"{failure}{self._hooks_output()}", failure.hint, failure.exit_code)
                self._destroy(state, spec.hooks)
            raise failure from None
        os.close(child.pidfd)

    def _hooks_output(self) -> str:
        from inception.runtime.hooks import tail

        try:
            with open(self.folder.output, "rb") as file:
                return tail(file.fileno())
        except FileNotFoundError:
            return ""

    # ---- another process --------------------------------------------------------------------------------------------

    def exec(
        self,
        value: Process,
        stdio: tuple[int, int, int] = (0, 1, 2),
        *,
        console: int | None = None,
        termios: bytes | None = None,
        preserve_fds: int = 0,
        absent_fds: Sequence[int] = (),
        ignore_paused: bool = False,
        below: list[str] | None = None,
    ) -> Child:
        """Another process in the container; the caller is its parent. Raises Conflict, StartFailed."""
        state, status = self.load()
        if status in ("stopped", "creating"):
            raise Conflict(f"cannot exec in a {status} container")
        if status == "paused" and not ignore_paused:
            raise Conflict("cannot exec in a paused container (use --ignore-paused to override)")
        spec = self.folder.load_spec()
        assert spec.linux is not None
        plan = self.plan_exec(
            value, termios=termios, preserve_fds=preserve_fds, absent_fds=absent_fds, below=below, state=state
        )
        init = self.folder.open_init(state)
        fds = {f"preserve{number}": init if number in absent_fds else 3 + number for number in range(preserve_fds)}
        fds["init"] = init
        if console is not None:
            fds["console"] = console
        affinity = os.sched_getaffinity(0)
        try:
            _set_affinity(value)
            child = begin(plan.compile(), fds, stdio)
            while child.channel >= 0:
                from inception.runtime.notify import pass_listener

                pass_listener(child, spec.linux.seccomp, state.told(status))
                child = resume(child)
            return child
        except SpawnError as error:
            raise plan.failure(error) from None
        finally:
            os.close(init)
            os.sched_setaffinity(0, affinity)

    def plan_exec(
        self,
        value: Process,
        *,
        termios: bytes | None = None,
        preserve_fds: int = 0,
        absent_fds: Sequence[int] = (),
        below: list[str] | None = None,
        state: RuntimeState | None = None,
    ) -> Plan:
        """The plan of another process in the container, whose *state* may be known."""
        from inception.runtime import filters
        from inception.runtime.exec import plan_exec

        state, spec = state or self.folder.load(), self.folder.load_spec()
        assert spec.linux is not None
        cgroup = cgroups.at(state.cgroup)
        return plan_exec(
            value,
            namespaces=spec.linux.namespaces,
            join=cgroup.join_beside(cgroups.join(cgroup, below), state.pid) if not below else cgroups.join(cgroup, below),
            seccomp=filters.load(self.folder.root, spec.linux.seccomp),
            profile=spec.linux.seccomp,
            preserve_fds=preserve_fds,
            absent_fds=absent_fds,
            rootless=os.geteuid() != 0,
            linux=spec.linux,
            termios=termios,
            root=f"/proc/{state.pid}/root",
        )

    # ---- signals ----------------------------------------------------------------------------------------------------

    def kill(self, signal: int, *, all: bool = False) -> None:
        """Send *signal* to init, or with *all* to everything in its cgroup. Raises Conflict for one that has ended."""
        state, status = self.load()
        cgroup = cgroups.at(state.cgroup)
        # Where init's end takes nobody along, for want of a pid namespace of its own, KILL is meant for all.
        if all or (signal == _SIGKILL and state.shares_pids and (status != "stopped" or cgroup.pids())):
            self._kill_all(cgroup, signal)
            return
        if status == "stopped":
            raise Conflict("container not running")
        pidfd = self.folder.open_init(state)
        try:
            process.pidfd_send_signal(pidfd, signal)
        except ProcessLookupError:
            raise Conflict("container not running") from None
        finally:
            os.close(pidfd)

    def _kill_all(self, cgroup: Cgroup, signal: int) -> None:
        if signal == _SIGKILL and cgroup.pids():
            cgroup.kill()
            return
        for pid in self.pids():
            try:
                pidfd = process.pidfd_open(pid)
            except OSError:
                continue
            try:
                if pid in self.pids():  # still, so the pidfd is of a process of the container
                    process.pidfd_send_signal(pidfd, signal)
            except ProcessLookupError:
                pass
            finally:
                os.close(pidfd)

    # ---- the end ----------------------------------------------------------------------------------------------------

    def delete(self, *, force: bool = False) -> list[str]:
        """Remove a stopped container, or one that was never started; warnings of its poststop hooks.

        *force* kills a running one first and takes a missing one as gone. Raises NotFound, Conflict, Unavailable.
        """
        try:
            with self.folder.lock(_LOCK_TIMEOUT_S if force else None):
                return self._delete(force=force)
        except NotFound:
            if force:
                return []
            raise

    def _delete(self, *, force: bool) -> list[str]:
        try:
            state, status = self.load()
        except (NotFound, InvalidArgument):
            if not force:
                raise
            self.folder.remove()  # killed in the middle of its first or last moment: nothing is known, so nothing is held
            return []
        try:
            hooks = self.folder.load_spec().hooks or Hooks()
        except (InceptionError, FileNotFoundError, ValueError):
            if not force:
                raise
            hooks = Hooks()
        if status not in ("stopped", "created", "creating") and not force:
            raise Conflict(f"cannot delete container {self.folder.id} that is not stopped: {status}")
        return self._destroy(state, hooks)

    def _destroy(self, state: RuntimeState, hooks: Hooks) -> list[str]:
        """End what runs, remove what `create` made, then the poststop hooks."""
        cgroup = cgroups.at(state.cgroup)
        pidfd = process.open_alive(state.pid, state.pid_start_time) if self.folder.is_alive(state) else None
        if pidfd is not None:
            try:
                process.pidfd_send_signal(pidfd, _SIGKILL)
                if not state.foreign_cgroups:
                    cgroup.kill()
                if not process.wait_pidfd(pidfd, _FREEZER_TIMEOUT_S):
                    cgroups.unfreeze(cgroup, state.pid)
                if not process.wait_pidfd(pidfd, _KILL_TIMEOUT_S):
                    raise Unavailable(f"container {self.folder.id} did not end within {_KILL_TIMEOUT_S:.0f} s of SIGKILL")
            except ProcessLookupError:
                pass
            finally:
                os.close(pidfd)
        if state.unit:
            from inception.runtime.systemd import stop_scope

            cgroup.kill()  # else systemd would ask what is left to end, and wait
            stop_scope(state.unit)
        cgroups.remove(cgroup, state.foreign_cgroups)
        remove_resctrl(state)
        self.folder.remove()
        return run_hooks(hooks.poststop, state.told("stopped"), "poststop", warn=True)

    # ---- checkpoint -------------------------------------------------------------------------------------------------

    def checkpoint(self, options: CriuOptions) -> list[str]:
        """Write it to files; then it is gone, unless *options* leave it running: warnings of its poststop hooks.

        Raises Conflict for one that doesn't run; InvalidArgument, Unavailable, and it runs on.
        """
        from inception.runtime.checkpoint import dump

        with self.folder.lock():
            state, status = self.load()
            if status not in ("running", "paused"):
                raise Conflict(f"container cannot be checkpointed in {status} state")
            spec = self.folder.load_spec()
            dump(state, spec, options)
            if options.leave_running or options.pre_dump:
                return []
            return self._destroy(state, spec.hooks or Hooks())

    # ---- pause ------------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Freeze all of its processes. Raises Conflict, Unavailable."""
        state, status = self.load()
        if status not in ("running", "created"):
            raise Conflict(f"container not running: {status}")
        try:
            cgroups.at(state.cgroup).freeze()
        except FileNotFoundError:
            raise Unavailable("unable to freeze: the container has no cgroup, as an ordinary user made it") from None
        except OSError as error:
            raise Unavailable(f"unable to freeze: {error.strerror}") from error

    def resume(self) -> None:
        """Let them go on. Raises Conflict, Unavailable."""
        state, status = self.load()
        if status != "paused":
            raise Conflict("container not paused")
        try:
            cgroups.at(state.cgroup).thaw()
        except OSError as error:
            raise Unavailable(f"unable to thaw: {error.strerror}") from error


def _plan_again(spec: Spec, error: SpawnError, state: RuntimeState) -> Plan:
    """The plan of `create`, for the words of a step that failed after it; *error*'s step is made one of this plan.

    What comes before may have come out differently there (what it found of the machine), what follows is the same.
    """
    from inception.runtime.container import plan_container

    root = spec.root.path if spec.root is not None else "/"
    plan = plan_container(spec, rootfs=Mount(destination="/", type="bind", source=root), hold=True, rootless=os.geteuid() != 0)
    if error.step >= 0:
        plan.before = state.steps - len(plan.steps)
        error.step -= plan.before
    return plan


def _set_affinity(value: Process) -> None:
    """Where the new process begins to run, before it is in the container's cgroup: it inherits ours."""
    from inception.runtime.process import number_set

    if value.exec_cpu_affinity is not None and value.exec_cpu_affinity.initial:
        mask = int.from_bytes(number_set(value.exec_cpu_affinity.initial, "process.execCPUAffinity.initial"), "little")
        os.sched_setaffinity(0, [cpu for cpu in range(mask.bit_length()) if mask >> cpu & 1])
