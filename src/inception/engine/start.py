"""Starting a container: everything is decided and made, then one `launch` walks the plan.

    lock, claim     row `starting`, addresses, in one transaction
    files           hosts, hostname, resolv.conf
    plan            spec -> plan -> bytes, kept in the run folder for restarts
    network         a namespace, links, held ports, names             (host, none, container:X: less of it)
    launch          init runs; its monitor is a process of its own, or a thread of this one
    row `running`   owned by the monitor

After an error all of it is taken back. Nothing here looks at other containers, but for those that this one names.
"""

from __future__ import annotations

import os

from inception._spawn import SpawnError
from inception.engine import endpoints as networking
from inception.engine import files, records, templates
from inception.engine.cgroups import cgroup_of
from inception.engine.config import PortBinding, has_own_network, wanted_networks
from inception.engine.lifecycle import log_path
from inception.engine.live import ContainerLock
from inception.engine.logtags import log_attributes
from inception.engine.owner import start_or_zero, take
from inception.engine.published import Targets, hold_ports
from inception.engine.records import event_attributes, snapshot_of
from inception.engine.release import await_monitor, ended_state, release_locked, tear_down
from inception.engine.seccomp import filter_of
from inception.engine.spec import build_spec
from inception.engine.surroundings import OpenSurroundings
from inception.engine.times import now
from inception.engine.validate import log_limits, parse_signal
from inception.errors import Conflict, NotModified, StartFailed, Unavailable
from inception.jsontext import dumps
from inception.linux.namespaces import new_netns
from inception.monitor import handover
from inception.monitor.config import MonitorConfig, PublishedPort
from inception.monitor.status import HealthStatus, MonitorStatus, status_text
from inception.record import encode, replace
from inception.runtime import launch, plan_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.engine.config import ContainerConfig
    from inception.engine.endpoints import Endpoint
    from inception.engine.engine import Engine
    from inception.engine.networks import Network
    from inception.engine.records import ContainerRecord
    from inception.engine.spec import Surroundings
    from inception.engine.templates import Prepared
    from inception.linux.namespaces import PendingNetns
    from inception.monitor.client import AttachStream
    from inception.network.ports import Listener
    from inception.oci.health import Healthcheck
    from inception.oci.runtime import Mount, Resources, Spec
    from inception.runtime import Plan


def start(
    engine: Engine, container_id: str, connect: Callable[[str], None] | None = None, checkpoint: tuple[str, str] = ("", "")
) -> None:
    """Start it under a monitor of its own; *connect* is called with its run folder when the monitor's socket listens.

    *checkpoint* is the name of one that it goes on from, and the folder that has it.
    """
    with ContainerLock(engine, container_id):
        record = startable(engine, container_id)
        Start(engine, record, connect=connect, images=_images(engine, record, *checkpoint)).run()


def start_attached(engine: Engine, container_id: str, checkpoint: tuple[str, str] = ("", "")) -> AttachStream:
    """Start it with a stream that is connected before init runs; whoever has the stream releases the container at its end."""
    with ContainerLock(engine, container_id):
        record = startable(engine, container_id)
        run = Start(engine, record, attach=True, images=_images(engine, record, *checkpoint))
        run.run()
    assert run.stream is not None
    return run.stream


def _images(engine: Engine, record: ContainerRecord, checkpoint: str, folder: str) -> str:
    if not checkpoint:
        return ""
    from inception.engine import checkpoints

    return checkpoints.find(engine, record, checkpoint, folder)


def startable(engine: Engine, container_id: str) -> ContainerRecord:
    """A container that may be started, for the holder of its lock. An end that nobody has put down yet is put down."""
    record = records.load(engine, container_id)
    state = ended_state(engine, record)
    if state is not None:
        release_locked(engine, record, state)
        record = records.load(engine, container_id)
    if record.state.status == "paused":
        raise Conflict("cannot start a paused container, try unpause instead")
    if record.state.status in ("running", "restarting"):
        raise NotModified(f"container {record.name} is already running")
    if record.status not in ("created", "exited"):
        raise Conflict(f"container {record.name} is {record.status} and cannot be started")
    if not await_monitor(engine, container_id):
        raise Unavailable(f"start {record.name}: its former monitor is still there")
    return record


class Start:
    """One start of a container whose lock the caller holds."""

    def __init__(
        self,
        engine: Engine,
        record: ContainerRecord,
        *,
        attach: bool = False,
        connect: Callable[[str], None] | None = None,
        netns: PendingNetns | None = None,
        images: str = "",
    ) -> None:
        self.engine = engine
        self.record = record
        self.run_dir = engine.run_dir(record.id)
        self.stream: AttachStream | None = None
        self._attach = attach
        self._connect = connect
        self._netns = netns
        self._images = images  # the checkpoint that it comes out of
        self._around: Surroundings | None = None
        self._endpoints: list[Endpoint] = []
        self._ports: list[Listener] = []
        self._fds: dict[str, int] = {}  # what the monitor inherits, by the names of its package
        self._theirs: list[int] = []  # what init gets as its stdio

    def run(self) -> None:
        """Raises StartFailed, Conflict, Unavailable; then all is as it was, and the error noted in the state."""
        try:
            try:
                self._claim()
                with OpenSurroundings(self.engine, self.record) as around:
                    around.own_netns = self._wants_netns()
                    plan = self._plan(around)
                    self._open_network(around)
                    self._open_monitor(around)
                    networking.publish(self.engine, self.record, self._endpoints, self._ports)
                    self._launch(plan)
            finally:
                self._close()
        except BaseException as error:
            self._take_back(error)
            raise
        self.emit_start()

    def emit_start(self) -> None:
        """Tell the world."""
        self.engine.events.emit("container", "start", self.record.id, event_attributes(self.record))

    # The steps, in their order

    def _claim(self) -> None:
        if self.record.status != "creating" or wanted_networks(self.record.config):  # else its row is ours and says all
            self._claim_row()
        try:
            os.unlink(f"{self.run_dir}/status.json")  # of the run before
        except FileNotFoundError:
            pass

    def _claim_row(self) -> None:
        with self.engine.database.transaction() as tx:
            take(self.engine, self.record.id, "starting")
            self._endpoints = networking.claim(self.engine, tx, self.record)
            # Noted already here, for whoever adopts the monitor when this process is killed.
            there = {endpoint.network.name: endpoint.state for endpoint in self._endpoints}
            self.record = replace(self.record, state=replace(self.record.state, endpoints=there, error=""))
            tx.execute("UPDATE containers SET state = ? WHERE id = ?", (records.to_json(self.record.state), self.record.id))

    def _wants_netns(self) -> bool:
        """Whether we make its network namespace: the clone makes one that has a loopback and nothing else, cheaper than we."""
        return has_own_network(self.record.config) and (self._netns is not None or bool(self._endpoints))

    def _open_network(self, around: OpenSurroundings) -> None:
        if not around.own_netns:
            return
        netns_fd = self._netns.take() if self._netns is not None else new_netns()
        around.slots["netns"] = netns_fd
        for endpoint in self._endpoints:
            networking.attach_endpoint(self.engine, endpoint, netns_fd)
        self._ports = hold_ports(self.engine, self.record, self._endpoints)

    def _plan(self, around: OpenSurroundings) -> Plan | Prepared:
        engine, record = self.engine, self.record
        value = self._around = around.gather(files.write_files(engine, record, self._endpoints))
        rootfs = engine.store.snapshots.mount(snapshot_of(record), over=files.marks(engine))
        if probe_command(record.config.healthcheck):  # the probe's plan is not kept
            spec = build_spec(record.config, value, engine.cgroups)
            self._write_health_plan(around, spec)
            return self._plan_anew(spec, rootfs)
        config = records.to_json(replace(record.config, name="", labels={}))
        key = templates.key_of(record, config, value, rootfs)
        ready = engine.templates.find(key, record.id, lambda: self._plan_anew(self._spec(value), rootfs))
        if ready is not None:
            templates.open_cgroup(engine, record, ready.limits)
            return ready
        spec = self._spec(value)
        plan = self._plan_anew(spec, rootfs)
        engine.templates.keep(key, record.id, plan.compile(), templates.plan_limits(engine, resources_of(spec)))
        return plan

    def _spec(self, value: Surroundings) -> Spec:
        return build_spec(self.record.config, value, self.engine.cgroups)

    def _plan_anew(self, spec: Spec, rootfs: Mount) -> Plan:
        """The cgroup with its limits, and the plan that joins it."""
        engine, record = self.engine, self.record
        assert spec.process is not None and spec.process.capabilities is not None
        join = templates.open_cgroup(engine, record, templates.plan_limits(engine, resources_of(spec)))
        return plan_container(
            spec,
            rootfs=rootfs,
            join=join,
            die_with_parent=True,
            init=record.config.init,
            seccomp=filter_of(engine, record.config, spec.process.capabilities.bounding),
        )

    def _write_health_plan(self, around: OpenSurroundings, spec: Spec) -> None:
        """What the monitor runs again and again, compiled once: it knows users, rights and cgroups only from here."""
        command = probe_command(self.record.config.healthcheck)
        if command and spec.process is not None:
            from inception.engine.exec import plan_probe

            plan = plan_probe(self.engine, self.record, command, spec.process.user, around.value)
            files.write(f"{self.run_dir}/health-plan", plan.compile())

    def _open_monitor(self, around: OpenSurroundings) -> None:
        lock = handover.open_lock(self.run_dir)
        if lock is None:
            raise Unavailable(f"start {self.record.name}: its former monitor is still there")
        fds = self._fds
        fds["lock"] = lock
        fds["listen"] = handover.listen(self.run_dir)
        self._open_stdio()
        for name, fd in around.slots.items():
            fds[f"plan.{name}"] = os.dup(fd)
        if "netns" in around.slots and files.has_resolver(self._networks()):
            fds["dns-udp"], fds["dns-tcp"] = handover.dns_sockets(around.slots["netns"])
        for number, held in enumerate(self._ports):
            fds[f"port{number}"] = held.socket.detach()
        if self._attach:
            from inception.monitor.client import attach

            config = self.record.config
            self.stream = attach(self.run_dir, stdin=config.open_stdin, lossless=True, claim_release=True)
        if self._connect is not None:
            self._connect(self.run_dir)

    def _open_stdio(self) -> None:
        fds, config = self._fds, self.record.config
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        if config.tty:
            import _socket

            ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
            fds["console"], fds["plan.console"] = ours.detach(), theirs.detach()
            self._theirs = [null, null, null]
            return
        stdin = null
        if config.open_stdin:
            os.close(null)
            stdin, fds["stdin"] = os.pipe2(os.O_CLOEXEC)
        fds["stdout"], stdout = os.pipe2(os.O_CLOEXEC)
        fds["stderr"], stderr = os.pipe2(os.O_CLOEXEC)
        self._theirs = [stdin, stdout, stderr]

    def _launch(self, plan: Plan | Prepared) -> None:
        """Run the plan; from here on the container is its monitor's business."""
        config_path = f"{self.run_dir}/monitor.json"
        compiled = plan.compile()
        files.write(config_path, dumps(encode(self._monitor_config())).encode())
        files.write(f"{self.run_dir}/plan", compiled)
        fds = self._fds
        fds["init"] = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)  # a number for init's pidfd
        slots = {name.removeprefix("plan."): fd for name, fd in fds.items() if name.startswith("plan.")}
        try:
            if self._images:
                from inception.engine import checkpoints

                assert self._around is not None
                spec = self._spec(self._around)
                launched = checkpoints.launch(self.engine, self.record, self._images, spec, fds, self._stdio(), config_path)
            else:
                launched = launch(compiled, slots, self._stdio(), handover.command(config_path, fds), fds)
        except SpawnError as error:
            raise start_failed(self.record, plan, error) from error
        os.close(launched.pidfd)
        monitor = (launched.monitor_pid, start_or_zero(launched.monitor_pid))
        self._first_status(launched.pid, launched.monitor_pid)
        self._set_running(launched.pid, monitor)

    def _stdio(self) -> tuple[int, int, int]:
        stdin, stdout, stderr = self._theirs
        return stdin, stdout, stderr

    def _first_status(self, pid: int, monitor_pid: int) -> None:
        """The monitor's first word, said for it until its interpreter is up; its own, if it was faster, stays."""
        started = MonitorStatus(pid=pid, pid_start_time=start_or_zero(pid), monitor_pid=monitor_pid, started_at=now())
        check = self.record.config.healthcheck
        if check is not None and check.test[:1] not in ([], ["NONE"]):
            started.health = HealthStatus(status="starting")
        path = f"{self.run_dir}/status.json"
        files.write(f"{path}.first", status_text(started).encode())
        try:
            os.link(f"{path}.first", path)
        except FileExistsError:
            pass
        os.unlink(f"{path}.first")

    def _set_running(self, pid: int, owner: tuple[int, int]) -> None:
        state = replace(
            self.record.state,
            status="running",
            pid=pid,
            exit_code=0,
            error="",
            oom_killed=False,
            started_at=now(),
            restart_count=0,
            ports=self._published(),
        )
        self.engine.database.execute(
            "UPDATE containers SET status = 'running', wanted = 1, state = ?, owner_pid = ?, owner_start = ? WHERE id = ?",
            (records.to_json(state), *owner, self.record.id),
        )

    def _networks(self) -> list[Network]:
        return [endpoint.network for endpoint in self._endpoints]

    def _published(self) -> list[PortBinding]:
        found = {}
        for held in self._ports:
            binding = PortBinding(**{**held.binding.__dict__, "host_port_end": 0})
            found[(binding.container_port, binding.protocol, binding.host_ip, binding.host_port)] = binding
        return list(found.values())

    def _monitor_config(self) -> MonitorConfig:
        engine, record = self.engine, self.record
        config = record.config
        max_size, max_files = log_limits(config)
        cgroup = cgroup_of(engine, record)
        targets = Targets([endpoint.state for endpoint in self._endpoints])
        return MonitorConfig(
            id=record.id,
            name=record.name,
            engine_root=engine.root,
            engine_run_root=engine.run_root,
            run_dir=self.run_dir,
            tty=config.tty,
            open_stdin=config.open_stdin,
            stdin_once=config.stdin_once,
            log_path=log_path(engine, record.id) if config.log.driver == "json-file" else "",
            log_max_size_bytes=max_size,
            log_max_files=max_files,
            log_attributes=log_attributes(record),
            restart=config.restart.name or "no",
            restart_maximum_retries=config.restart.maximum_retries,
            stop_signal=parse_signal(config.stop_signal or "TERM"),
            healthcheck=config.healthcheck,
            dns=files.plan_dns(engine, record, self._networks()),
            ports=[
                PublishedPort(
                    host_ip=held.address,
                    host_port=held.binding.host_port,
                    protocol=held.binding.protocol,
                    target_ip=targets.of(held.address),
                    target_port=held.binding.container_port,
                )
                for held in self._ports
            ],
            oom_paths=cgroup.oom_paths(),
            events_path=engine.events.path,
            event_attributes=event_attributes(record),
        )

    # The end of a start, good or bad

    def _close(self) -> None:
        for fd in {*self._fds.values(), *self._theirs}:
            os.close(fd)
        for held in self._ports:
            held.close()

    def _take_back(self, error: BaseException) -> None:
        engine, record = self.engine, self.record
        if self.stream is not None:
            self.stream.close()
        tear_down(engine, record)
        exit_code = error.exit_code if isinstance(error, StartFailed) else 128
        state = replace(record.state, error=str(error), exit_code=exit_code, endpoints={}, ports=[])
        engine.database.execute(
            "UPDATE containers SET status = ?, state = ?, owner_pid = 0, owner_start = 0 WHERE id = ?",
            (state.status, records.to_json(state), record.id),
        )
        if record.config.auto_remove:
            from inception.engine.remove import remove_locked

            remove_locked(engine, records.load(engine, record.id), volumes=True)


def resources_of(spec: Spec) -> Resources:
    assert spec.linux is not None and spec.linux.resources is not None
    return spec.linux.resources


def probe_command(check: Healthcheck | None) -> list[str]:
    """The command of a health check; empty when there is none."""
    kind, *words = check.test if check is not None and check.test else ["NONE"]
    if kind == "CMD-SHELL":
        return ["/bin/sh", "-c", " ".join(words)]
    return words if kind == "CMD" else []


def start_failed(record: ContainerRecord, plan: Plan | Prepared, error: SpawnError) -> StartFailed:
    """The error for a plan that failed, in Docker's words and with its exit codes."""
    found = plan.failure(error)
    return StartFailed(f"start {record.name}: {found}", found.hint, found.exit_code)


def explain(engine: Engine, config: ContainerConfig, *, pull: str) -> Plan:
    """The plan of a container that is never made: descriptors and the snapshot have names only."""
    from inception.engine.explain import explain_plan

    return explain_plan(engine, config, pull=pull)
