"""The mounts of one RUN, made before it starts and gone after it.

Every mount is handed over as a descriptor of a mount that is attached nowhere: paths in it were resolved beneath its own root
(`source=../..`, links swapped by a build beside this one: CVE-2024-23651, CVE-2024-11218), secrets lie in memory that no name
leads to, and when this process is killed nothing of it stays. Files of a context are copied into a layer of the cache first:
that is what .dockerignore, ownership and throwing away writes ask for, and it costs once per content.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from inception.build.copy import Writer
from inception.build.inputs import Stack, files_copy
from inception.build.leftovers import new_snapshot_id
from inception.build.operations import holds_layers
from inception.build.selection import select
from inception.build.tree import Tree
from inception.engine.sandbox import StepExtras
from inception.errors import InvalidArgument, NotFound
from inception.linux import abi
from inception.linux import mount as kernel
from inception.linux.path import RootDir
from inception.oci.runtime import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.mounts import RunMount
    from inception.build.operations import Run
    from inception.build.session import Session

_AT_EMPTY_PATH = 0x1000
_CLONE: int = abi.OPEN_TREE_CLONE | abi.OPEN_TREE_CLOEXEC | _AT_EMPTY_PATH
_AT = "/files"  # where a layer of context files has them


class StepMounts:
    """`extras` for the sandbox; `targets` are the places that were mounted on."""

    def __init__(self, build: Session, step: Run) -> None:
        self.extras = StepExtras()
        self.targets: list[str] = []
        self._build = build
        self._step = step
        self._held = ExitStack()
        self._memory: int | None = None

    def __enter__(self) -> StepMounts:
        try:
            # Locks are taken in one order by all, so that two steps can't wait for each other.
            for number, mount in sorted(enumerate(self._step.mounts), key=lambda item: (item[1].type, item[1].id, item[0])):
                _MAKERS[mount.type](self, number, mount)
        except BaseException:
            self._held.close()
            raise
        self.extras.mounts.sort(key=lambda mount: mount.destination.count("/"))
        return self

    def __exit__(self, *_error: object) -> None:
        self._held.close()

    # --- one kind each ---

    def bind(self, number: int, mount: RunMount) -> None:
        build = self._build
        if holds_layers(mount.origin):
            stack, source = build.stack_of(mount.origin), mount.source
        else:
            stack, source = build.maker.files_stack(build.context_of(mount.origin), mount.source or ".", _AT), _AT
        root = self._open(stack, mount.read_only)
        self._attach(number, mount.target, self._inside(root, source, mount), ["ro" if mount.read_only else "rw"])

    def cache(self, number: int, mount: RunMount) -> None:
        build = self._build
        base = build.stack_of(mount.origin) if holds_layers(mount.origin) else None
        from inception.build.folders import CacheFolders

        name = "\0".join([mount.id, *(base.diff_ids if base is not None else ())])
        folder = CacheFolders(build.store.root).take(name, mount.sharing, build.check)
        self._held.callback(folder.close)
        root = RootDir(os.dup(folder.data_fd))
        self._held.callback(root.close)
        if folder.fresh:
            self._fill(root, mount, base)
            folder.filled()
        if mount.sharing == "shared":
            folder.share()
        source = "" if base is not None else mount.source
        self._attach(number, mount.target, self._inside(root, source, mount), ["ro" if mount.read_only else "rw"])

    def _fill(self, root: RootDir, mount: RunMount, base: Stack | None) -> None:
        os.fchmod(self._inside_file(root), mount.mode)
        os.fchown(self._inside_file(root), mount.uid, mount.gid)
        if base is not None:
            step = files_copy(mount.source or ".", "/", mount.origin)
            with self._build.store.snapshots.open_layers(base.layer_ids) as view:
                writer = Writer(root, step, None)
                try:
                    writer.copy(select(Tree(view.fd), step))
                finally:
                    writer.close()
        elif mount.source:
            os.close(root.mkdirs(mount.source, mount.mode, mount.uid, mount.gid))

    def _inside_file(self, root: RootDir) -> int:
        fd = root.open(".", os.O_RDONLY | os.O_DIRECTORY)
        self._held.callback(os.close, fd)
        return fd

    def tmpfs(self, number: int, mount: RunMount) -> None:
        options = ["nosuid", "nodev", *([f"size={mount.size_bytes}"] if mount.size_bytes else [])]
        self.extras.mounts.append(Mount(destination=mount.target, type="tmpfs", source="tmpfs", options=options))
        self.targets.append(mount.target)

    def secret(self, number: int, mount: RunMount) -> None:
        value = self._build.caller.secret(mount.id)
        if value is None:
            if mount.required:
                raise NotFound(f"secret {mount.id}: not found", f"give it with --secret id={mount.id},src=FILE")
            return
        if mount.env:
            try:
                text = value.decode()
            except UnicodeDecodeError:
                raise InvalidArgument(f"secret {mount.id}: it is not text, and can't be a variable") from None
            if "\0" in text:
                raise InvalidArgument(f"secret {mount.id}: it holds a zero byte, and can't be a variable")
            self.extras.env.append(f"{mount.env}={text}")
        if mount.target:
            folder = self._memory_folder()
            fd = os.open(str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
            with open(fd, "wb") as file:
                file.write(value)
                os.fchown(fd, mount.uid, mount.gid)
                os.fchmod(fd, mount.mode)
            self._attach_memory(number, mount.target)

    def ssh(self, number: int, mount: RunMount) -> None:
        from inception.build.agent import AgentSocket

        agent = self._build.caller.agent(mount.id)
        if agent is None and (keys := self._build.caller.keys(mount.id)):
            from inception.build.agent import KeyAgent

            started = KeyAgent(keys, self._build.scratch.path)
            self._held.callback(started.close)
            agent = started.reach
        if agent is None:
            if mount.required:
                raise NotFound(f"ssh agent {mount.id}: not found", f"give it with --ssh {mount.id}")
            return
        before = sum(1 for target in self.targets if target.startswith("/run/buildkit/ssh_agent."))
        target = mount.target or f"/run/buildkit/ssh_agent.{before}"
        folder = self._memory_folder()
        listener = AgentSocket(folder, str(number), agent)
        self._held.callback(listener.close)
        os.chown(str(number), mount.uid, mount.gid, dir_fd=folder)
        os.chmod(str(number), mount.mode, dir_fd=folder)
        self._attach_memory(number, target)
        if not any(text.startswith("SSH_AUTH_SOCK=") for text in (*self._step.env, *self.extras.env)):
            self.extras.env.append(f"SSH_AUTH_SOCK={target}")

    # --- helpers ---

    def _open(self, stack: Stack, read_only: bool) -> RootDir:
        """*stack* as a mount; what is written to it goes into a snapshot that is thrown away."""
        snapshots = self._build.store.snapshots
        if read_only:
            root = snapshots.open_layers(stack.layer_ids)
        else:
            snapshot_id = new_snapshot_id()
            snapshots.prepare(snapshot_id, stack.layer_ids)
            self._held.callback(snapshots.remove, snapshot_id)
            root = snapshots.open(snapshot_id, read_only=False)
        self._held.callback(root.close)
        return root

    def _inside(self, root: RootDir, path: str, mount: RunMount) -> int:
        """A mount of its own of *path* inside *root*, attached nowhere."""
        try:
            place = root.open(path.strip("/") or ".", abi.O_PATH)
        except OSError as error:
            raise NotFound(f"mount {mount.target}: {mount.source or '/'}: {error.strerror}") from None
        try:
            return kernel.open_tree(place, "", _CLONE)
        finally:
            os.close(place)

    def _memory_folder(self) -> int:
        """A tmpfs that only this step sees, and of it only single files."""
        if self._memory is None:
            fs = kernel.fsopen("tmpfs")
            try:
                kernel.fsconfig_string(fs, "mode", "0700")
                kernel.fsconfig_create(fs)
                self._memory = kernel.fsmount(fs, abi.MOUNT_ATTR_NOSUID | abi.MOUNT_ATTR_NODEV | abi.MOUNT_ATTR_NOEXEC)
            finally:
                os.close(fs)
            self._held.callback(os.close, self._memory)
        return self._memory

    def _attach_memory(self, number: int, target: str) -> None:
        place = os.open(str(number), abi.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._memory_folder())
        try:
            mount_fd = kernel.open_tree(place, "", _CLONE)
        finally:
            os.close(place)
        self._attach(number, target, mount_fd, ["ro", "nosuid", "nodev", "noexec"])

    def _attach(self, number: int, target: str, mount_fd: int, options: list[str]) -> None:
        self._held.callback(os.close, mount_fd)
        slot = f"run-mount-{number}"
        self.extras.slots[slot] = mount_fd
        self.extras.mounts.append(
            Mount(destination=target, type="bind", source=f"mount:{slot}", options=["bind", "rprivate", *options])
        )
        self.targets.append(target)


_MAKERS = {
    "bind": StepMounts.bind,
    "cache": StepMounts.cache,
    "tmpfs": StepMounts.tmpfs,
    "secret": StepMounts.secret,
    "ssh": StepMounts.ssh,
}
