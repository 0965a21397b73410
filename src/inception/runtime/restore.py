"""`restore`: a container from a bundle and the images of a checkpoint.

    folder, lock, state "creating", cgroup
    criu makes its namespaces          (revival.py)
    prestart, createRuntime hooks; loopback, network devices
    criu fills them
    state with its pid; everything runs on

Whatever fails on the way leaves nothing behind, as with `create`.
"""

from __future__ import annotations

import os

from inception.linux import namespaces, process
from inception.linux.path import RootDir
from inception.oci.runtime import Namespace
from inception.record import replace
from inception.runtime import checkpoint
from inception.runtime.create import Creation
from inception.runtime.hooks import run_hooks
from inception.runtime.revival import Revival
from inception.runtime.shortcut import shortcut_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.runtime import Mount, Spec
    from inception.runtime.child import Child
    from inception.runtime.create import CreateOptions
    from inception.runtime.state import Folder, RuntimeState
    from inception.runtime.systemd import Scope


class Restoration(Creation):
    """One `restore` under way."""

    def __init__(
        self,
        images: checkpoint.CriuOptions,
        folder: Folder,
        spec: Spec,
        state: RuntimeState,
        options: CreateOptions,
        scope: Scope | None = None,
    ) -> None:
        super().__init__(folder, spec, state, options, scope)
        self.images = images

    def run(self) -> Child:
        with RootDir.open_host(self.state.rootfs) as root:
            revival = Revival(
                self.images, self.spec, self.folder.path, root, self.state.rootfs, self.cgroup, self.options.console
            )
            self._make_mount_points(root)
            try:
                child = revival.run(self._make_cgroup(), self._set_up, self._note)
            finally:
                self.child = revival.child
        self.folder.save(self.state)
        self.folder.save_shortcut(shortcut_of(self.state, self.spec, self.cgroup))
        return child

    def undo(self) -> None:
        """As with `create`; what criu has begun to restore is in the cgroup, told of or not."""
        if not self.state.foreign_cgroups:
            self.cgroup.kill()
        super().undo()

    def _make_mount_points(self, root: RootDir) -> None:
        """What `create` would make in the root for mounts; what lies in a tmpfs criu fills itself."""
        covered: list[tuple[str, str]] = []
        for each in self.spec.mounts:
            place = os.path.normpath(each.destination)
            above = next((item for item in covered[::-1] if place.startswith(f"{item[0]}/")), None)
            bind = each in checkpoint.bind_mounts(self.spec)
            covered.append((place, each.source if bind else ""))
            if above is None:
                _make_mount_point(root, each, place, bind)
            elif above[1] and os.path.isdir(above[1]):
                with RootDir.open_host(above[1]) as source:
                    _make_mount_point(source, each, place[len(above[0]) :], bind)

    def _set_up(self, child: Child) -> None:
        """Its namespaces are there, and nothing is in them yet."""
        self._note(child)
        self._enter_resctrl()
        self._move_net_devices()
        told = self.state.told("creating")
        self.hooks_ran = True
        run_hooks(self.hooks.prestart, told, "prestart")
        run_hooks(self.hooks.create_runtime, told, "createRuntime")

    def _note(self, child: Child) -> None:
        self.state.pid = child.pid
        self.state.pid_start_time = process.start_time(child.pid)
        self.state.boot_id = process.boot_id()
        self._note_time_namespace()

    def _note_time_namespace(self) -> None:
        """criu gives it clocks of its own, which go on where they were: `exec` has to join that namespace too."""
        linux = self.spec.linux
        assert linux is not None
        known = any(space.type == "time" for space in linux.namespaces)
        if not known and namespaces.ns_id(self.state.pid, "time") != namespaces.ns_id("self", "time"):
            own = Namespace(type="time", path=f"/proc/{self.state.pid}/ns/time")
            self.spec = replace(self.spec, linux=replace(linux, namespaces=[*linux.namespaces, own]))
            self.folder.save_spec(self.spec)


def _make_mount_point(root: RootDir, each: Mount, place: str, bind: bool) -> None:
    if each.type in ("cgroup", "cgroup2"):
        return  # in sysfs
    if not bind or os.path.isdir(each.source):
        os.close(root.mkdirs(place))
    elif not root.exists(place):
        os.close(root.mkdirs(os.path.dirname(place)))
        root.write_bytes(place, b"")
