"""Containers whose monitor is a thread of this process: the library's `run`.

They live at most as long as this process: init dies with the thread that made it, and what is left is removed by whoever
looks next. A container that ends by itself is released by whoever waits for it, or a moment later by the janitor, so that
its addresses and ports are not held until the end of the block. The janitor also removes the files of those that are gone:
that is half of what a removal takes, and nobody has to wait for it.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref

from inception._spawn import SpawnError
from inception.engine import files
from inception.engine.config import ContainerConfig, has_own_network
from inception.engine.container import Container
from inception.engine.create import complete, fill_volumes, insert, resolve, take_back
from inception.engine.engine import Engine
from inception.engine.live import ContainerLock
from inception.engine.owner import me
from inception.engine.release import release
from inception.engine.remove import TRASH, sweep_gone
from inception.engine.start import Start, start_failed
from inception.errors import InceptionError
from inception.linux.namespaces import PendingNetns
from inception.monitor import handover
from inception.store.scratch import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.records import ContainerRecord
    from inception.engine.templates import Prepared
    from inception.monitor.handover import MonitorThread
    from inception.monitor.status import MonitorStatus
    from inception.runtime import Plan
    from inception.store.scratch import Scratch

_JANITOR_DELAY_S = 0.2
_default: Engine | None = None
_default_lock = threading.Lock()


def run_here(image: str, command: list[str] | None = None, *, engine: Engine | None = None, **fields: Any) -> Container:
    """Start a container that belongs to this process; `with run(...) as container:` removes it at the end of the block.

    *fields* are those of ContainerConfig (`env=["A=1"]`, `network_mode="none"`, `mounts=[...]`). Without *engine* all calls
    share one on the default root. Raises NotFound for an image that is nowhere, StartFailed for a command that can't run.
    """
    global _default
    if engine is None:
        with _default_lock:
            engine = _default = _default or Engine()
    return engine.containers.run(image, command, **fields)


def run(engine: Engine, config: ContainerConfig) -> Container:
    """Create and start; nothing is left when that fails."""
    netns = PendingNetns() if has_own_network(config) else None
    try:
        image = resolve(engine, config)
        record = insert(engine, complete(engine, config, image), image.id, kind="bound")
        try:
            fill_volumes(engine, record)
            with ContainerLock(engine, record.id):
                StartHere(engine, record, supervisor_of(engine), netns).run()
        except BaseException:
            take_back(engine, record)
            raise
    finally:
        if netns is not None:
            netns.close()
    return Container(engine, record)


class StartHere(Start):
    """A start under a monitor in a thread of this process."""

    def __init__(self, engine: Engine, record: ContainerRecord, supervisor: Supervisor, netns: PendingNetns | None) -> None:
        super().__init__(engine, record, netns=netns)
        self._supervisor = supervisor

    def _open_stdio(self) -> None:
        if self.record.config.tty:  # the thread makes pipes itself
            super()._open_stdio()

    def _launch(self, plan: Plan | Prepared) -> None:
        fds, self._fds = self._fds, {}  # the monitor's from here on
        compiled = plan.compile()
        if self.record.config.restart.name not in ("", "no"):
            files.write(f"{self.run_dir}/plan", compiled)
        try:
            thread = handover.run_in_thread(self._monitor_config(), compiled, fds, self._supervisor.on_exit(self.record.id))
        except SpawnError as error:
            raise start_failed(self.record, plan, error) from error
        self._supervisor.threads[self.record.id] = thread
        self._set_running(thread.pid, me())


class Supervisor:
    """The monitors of one engine in this process, and the janitor who releases what nobody waited for."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.pid = os.getpid()
        self.threads: dict[str, MonitorThread] = {}
        self._ended: list[str] = []
        self._trash: list[str] = []
        self._scratch: Scratch | None = None  # where trash lies; whoever comes after us finds it unlocked, and removes it
        self._wake = threading.Condition()
        self._closed = False
        self._janitor: threading.Thread | None = None

    def on_exit(self, container_id: str) -> Any:
        """What a monitor calls when its container has ended; it must not wait for the janitor."""

        def ended(_status: MonitorStatus) -> None:
            with self._wake:
                self._ended.append(container_id)
                self._call_janitor()

        return ended

    def make_trash(self) -> str:
        """A path beside the snapshots; what is moved to it, with an ending of TRASH, is removed after the janitor's delay."""
        with self._wake:
            if self._scratch is None:
                self._scratch = self.engine.store.scratch().__enter__()
            place = f"{self._scratch.path}/{len(self._trash)}-{time.monotonic_ns()}"
            self._trash.append(place)
            self._call_janitor()
        return place

    def forget(self, container_id: str) -> None:
        """A container has been removed: nobody needs to release it."""
        with self._wake:
            self.threads.pop(container_id, None)

    def _call_janitor(self) -> None:
        if self._janitor is None and not self._closed:
            self._janitor = threading.Thread(target=self._clean, name="inception-janitor", daemon=True)
            self._janitor.start()
        self._wake.notify()

    def _clean(self) -> None:
        while True:
            with self._wake:
                while not self._ended and not self._trash and not self._closed:
                    self._wake.wait()
                if self._closed:
                    return
                self._wake.wait_for(lambda: self._closed, _JANITOR_DELAY_S)  # who waits for a container is first
                ended, self._ended = [each for each in self._ended if each in self.threads], []
                trash, self._trash = self._trash, []
            for container_id in ended:
                self.threads.pop(container_id, None)
                try:
                    release(self.engine, container_id)
                except InceptionError:
                    pass  # removed already; what could not be released, recovery finds when this process is gone
            for place in trash:
                for ending in TRASH:
                    self._empty(place + ending)
            if trash:
                sweep_gone(self.engine)

    def _empty(self, place: str) -> None:
        try:
            remove_tree(place)
        except OSError:
            pass  # still in use by somebody of the machine's; the next process tries again

    def close(self) -> None:
        """Remove the containers of this process."""
        if self.pid != os.getpid():
            return  # a fork: they are the parent's
        for container_id in list(self.threads):
            try:
                from inception.engine.remove import remove

                remove(self.engine, container_id, force=True, volumes=True)
            except InceptionError:
                pass
        with self._wake:
            self._closed = True
            self._wake.notify()
            janitor = self._janitor
        if janitor is not None:
            janitor.join()
        if self._scratch is not None:
            self._empty(self._scratch.path)
            self._scratch.__exit__(None, None, None)
            sweep_gone(self.engine)


_supervisors: weakref.WeakSet[Supervisor] = weakref.WeakSet()


def supervisor_of(engine: Engine) -> Supervisor:
    """The engine's supervisor in this process, made when first asked; a fork gets one of its own."""
    containers = engine.containers
    with _default_lock:
        if containers.supervisor is None or containers.supervisor.pid != os.getpid():
            containers.supervisor = Supervisor(engine)
            if not _supervisors:
                atexit.register(_close_all)
            _supervisors.add(containers.supervisor)
        return containers.supervisor


def _close_all() -> None:
    for supervisor in list(_supervisors):
        supervisor.close()
