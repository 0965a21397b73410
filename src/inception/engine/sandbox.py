"""One command of a build: a container without a name, image or monitor, on a snapshot that the builder prepared.

It is a row like any other while it runs, so that a builder that is killed leaves nothing that the next command would not
find. The calling thread is the parent of its process and waits for it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

from inception.engine import files
from inception.engine.create import insert, take_back
from inception.engine.exec import ExecProcess
from inception.engine.live import ContainerLock
from inception.engine.records import snapshot_of
from inception.engine.spec import build_spec
from inception.engine.start import Start, start_failed
from inception.engine.validate import check_config
from inception.errors import InvalidArgument
from inception.record import replace
from inception.runtime import SpawnError, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from inception.engine.config import ContainerConfig
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord
    from inception.engine.surroundings import OpenSurroundings
    from inception.engine.templates import Prepared
    from inception.monitor.dnsthread import ResolverThread
    from inception.oci.runtime import Mount
    from inception.runtime import Plan

_STREAMS = {"stdout": 1, "stderr": 2}


class StepExtras:
    """What a step gets that is written down nowhere: variables that are secrets, mounts of descriptors.

    `slots` are the descriptors that the `mount:NAME` sources of `mounts` stand for; they stay the caller's.
    """

    def __init__(self) -> None:
        self.env: list[str] = []
        self.mounts: list[Mount] = []
        self.slots: dict[str, int] = {}


def run_step(
    engine: Engine,
    snapshot_id: str,
    config: ContainerConfig,
    *,
    on_output: Callable[[int, bytes], None],
    extras: StepExtras | None = None,
    on_process: Callable[[ExecProcess], None] | None = None,
) -> int:
    """Run the command of *config* on the builder's snapshot; its exit code. The snapshot stays the builder's.

    *on_output* gets what it says, with 1 for stdout and 2 for stderr; *on_process* the process as soon as there is one, to
    kill it from another thread. Its network is of its own with a way out (`bridge`), none, or the host's. Raises StartFailed
    when the command can't be executed.
    """
    if config.tty or config.open_stdin:
        raise InvalidArgument("a build step has no terminal or input")
    with open_step(engine, snapshot_id, config, extras) as process:
        if on_process is not None:
            on_process(process)
        while (piece := process.read()) is not None:
            on_output(_STREAMS[piece[0]], piece[1])
        assert process.exit_code is not None
        return process.exit_code


@contextmanager
def open_step(
    engine: Engine, snapshot_id: str, config: ContainerConfig, extras: StepExtras | None = None
) -> Iterator[ExecProcess]:
    """The started command of a step, with a terminal when *config* says so; it is gone at the end of the block."""
    check_config(config)
    if config.ports:
        raise InvalidArgument("a build step has no published ports")
    record = insert(engine, replace(config, name=""), snapshot_id, kind="step")
    step = Step(engine, record, extras or StepExtras())
    try:
        with ContainerLock(engine, record.id):
            step.run()
        assert step.process is not None
        with step.process as process:
            try:
                yield process
            finally:
                if not process.ended:
                    process.kill()
                    process.wait()
    finally:
        if step.resolver is not None:
            step.resolver.close()
        _forget(engine, record)


class Step(Start):
    """A start whose process is this thread's own child."""

    process: ExecProcess | None = None
    resolver: ResolverThread | None = None

    def __init__(self, engine: Engine, record: ContainerRecord, extras: StepExtras) -> None:
        super().__init__(engine, record)
        self._extras = extras

    def _plan(self, around: OpenSurroundings) -> Plan:
        engine, record, extras = self.engine, self.record, self._extras
        found = around.gather(files.write_files(engine, record, self._endpoints))
        around.slots |= {name: os.dup(fd) for name, fd in extras.slots.items()}
        config = replace(record.config, env=[*record.config.env, *extras.env])
        spec = build_spec(config, replace(found, mounts=[*found.mounts, *extras.mounts]), engine.cgroups)
        # Never kept for the next start: there may be secrets in it.
        return self._plan_anew(spec, engine.store.snapshots.mount(snapshot_of(record)))

    def _open_monitor(self, around: OpenSurroundings) -> None:
        self._slots = around.slots
        dns = files.plan_dns(self.engine, self.record, self._networks())
        if dns is not None and "netns" in around.slots:
            from inception.monitor.dnsthread import ResolverThread

            self.resolver = ResolverThread(dns, around.slots["netns"])
        self._open_stdio()

    def _launch(self, plan: Plan | Prepared) -> None:
        slots = self._slots
        if self.record.config.tty:
            slots = {**slots, "console": self._fds["plan.console"]}
        try:
            child = spawn(plan.compile(), slots, self._stdio())
        except SpawnError as error:
            raise start_failed(self.record, plan, error) from error
        if self.record.config.tty:
            from inception.monitor.kernel import receive_fd

            terminal = receive_fd(self._fds["console"])
            self.process = ExecProcess(child.pid, child.pidfd, terminal, {terminal: "stdout"}, True)
            return
        outputs = {self._fds.pop("stdout"): "stdout", self._fds.pop("stderr"): "stderr"}
        self.process = ExecProcess(child.pid, child.pidfd, None, outputs, False)

    def emit_start(self) -> None:
        """Steps are the builder's business, not events."""


def _forget(engine: Engine, record: ContainerRecord) -> None:
    from inception.engine.release import tear_down

    tear_down(engine, record)
    take_back(engine, record)
