"""A container's files from outside, through its mounts, whether it runs or not: a `RootDir` for `cp` and copy-up.

A running container's root is reached through /proc/PID/root, so its own mounts are there. That of a stopped one is put
together in a mount namespace that only one thread is in: overlay, then its volumes and binds, each placed by descriptor
beneath the root, where links of the image can't lead out. Nothing runs inside, nothing is left when the thread ends.
"""

from __future__ import annotations

import os
import threading

from inception.engine import records
from inception.engine.lifecycle import RUNNING
from inception.engine.live import ContainerLock, open_init
from inception.errors import Unavailable
from inception.linux import abi, mount
from inception.linux.namespaces import unshare
from inception.linux.path import RootDir
from inception.linux.process import pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord, MountPoint


class ContainerRoot:
    """`with ContainerRoot(engine, id) as root:` the RootDir of a container. A stopped one stays locked meanwhile."""

    def __init__(self, engine: Engine, container_id: str, *, writable: bool) -> None:
        self._engine = engine
        self._id = container_id
        self._writable = writable
        self._root: RootDir | None = None
        self._lock: ContainerLock | None = None
        self._stage: _Stage | None = None

    def __enter__(self) -> RootDir:
        record = records.load(self._engine, self._id)
        if record.state.status not in RUNNING:
            self._lock = ContainerLock(self._engine, self._id).__enter__()
            record = records.load(self._engine, self._id)
        try:
            if record.state.status in ("running", "paused"):
                self._root = _running_root(self._engine, record)
            else:
                self._root = self._stopped_root(record)
            return self._root
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._root is not None:
            self._root.close()
        if self._stage is not None:
            self._stage.finish()
        if self._lock is not None:
            self._lock.__exit__(None, None, None)

    def _stopped_root(self, record: ContainerRecord) -> RootDir:
        places = [point for point in record.mounts if point.type in ("bind", "volume")]
        if not places:
            return self._engine.store.snapshots.open(record.id, read_only=not self._writable)
        self._stage = _Stage(self._engine, record, places)
        return self._stage.open()


def _running_root(engine: Engine, record: ContainerRecord) -> RootDir:
    pidfd = open_init(engine, record)
    try:
        root = RootDir.open_host(f"/proc/{record.state.pid}/root")
        pidfd_send_signal(pidfd, 0)  # it was that process's root, not a stranger's
        return root
    finally:
        os.close(pidfd)


class _Stage(threading.Thread):
    """The thread whose mount namespace holds a stopped container's mounts."""

    def __init__(self, engine: Engine, record: ContainerRecord, places: list[MountPoint]) -> None:
        super().__init__(name="inception-root", daemon=True)
        self._engine = engine
        self._record = record
        self._places = places
        self._ready = threading.Event()
        self._done = threading.Event()
        self._root_fd = -1
        self._error: BaseException | None = None

    def open(self) -> RootDir:
        self.start()
        self._ready.wait()
        if self._error is not None:
            raise Unavailable(f"mount the files of {self._record.name}: {self._error}") from self._error
        return RootDir(self._root_fd)

    def finish(self) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        try:
            unshare(abi.CLONE_NEWNS | abi.CLONE_FS)
            mount.mount(None, "/", None, abi.MS_REC | abi.MS_PRIVATE)
            self._root_fd = self._build()
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()
        if self._error is None:
            self._done.wait()

    def _build(self) -> int:
        place = f"{self._engine.run_dir(self._record.id)}/root"
        os.makedirs(place, mode=0o700, exist_ok=True)
        # Not with `read_only`, whoever asks: places to mount on may have to be made.
        with self._engine.store.snapshots.open(self._record.id, read_only=False) as overlay:
            mount.move_mount(overlay.fd, abi.AT_FDCWD, place)
        root = RootDir.open_host(place)
        for point in sorted(self._places, key=lambda point: point.destination.count("/")):
            source = _host_source(self._engine, point)
            if source:
                _attach(root, source, point.destination)
        fd, root.fd = root.fd, -1
        return fd


def _host_source(engine: Engine, point: MountPoint) -> str:
    return engine.volumes.get(point.source).host_path if point.type == "volume" else point.source


def _attach(root: RootDir, source: str, destination: str) -> None:
    tree = mount.open_tree(abi.AT_FDCWD, source, abi.OPEN_TREE_CLONE | abi.AT_RECURSIVE)
    try:
        if os.path.isdir(source):
            target = root.mkdirs(destination)
        else:
            target = root.open(destination, abi.O_PATH)
        try:
            mount.move_mount(tree, target)
        finally:
            os.close(target)
    finally:
        os.close(tree)
