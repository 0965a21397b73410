"""Containers of an engine elsewhere: the same verbs as `engine/container.py` and `engine/containers.py` have."""

from __future__ import annotations

import base64
import io
import json
import stat
import threading
import time
from typing import TYPE_CHECKING, Any, BinaryIO

from inception.client.bodies import container_body, update_body
from inception.client.records import container_record
from inception.client.streams import RemoteStream
from inception.client.transport import filters_text, segment
from inception.engine.config import CommitConfig, ExecConfig
from inception.engine.results import ContainerStats, ExecResult, PathStat, PruneReport, TopResult
from inception.errors import Conflict, NotFound, Unavailable
from inception.monitor.logs import LogLine
from inception.monitor.times import parse
from inception.store.snapshots import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from inception.client.engine import RemoteEngine
    from inception.client.transport import Answer
    from inception.engine.config import ContainerConfig, ContainerState, PortBinding, UpdateConfig
    from inception.engine.private_files import PrivateFile
    from inception.engine.records import ContainerRecord
    from inception.runtime import Plan
    from inception.store.progress import Progress

_KINDS = "CAD"
_POLL_S = 0.1
# Go's fs.FileMode as st_mode; the other way round in `api/archive.py`.
_GO_KINDS = {1 << 31: stat.S_IFDIR, 1 << 27: stat.S_IFLNK, 1 << 25: stat.S_IFIFO, 1 << 24: stat.S_IFSOCK}
_GO_DEVICE, _GO_CHARACTER = 1 << 26, 1 << 21


class RemoteContainers:
    """`engine.containers`."""

    def __init__(self, engine: RemoteEngine) -> None:
        self.engine = engine

    def create(
        self,
        config: ContainerConfig,
        *,
        pull: str = "missing",
        progress: Callable[[Progress], None] | None = None,
        files: list[PrivateFile] | None = None,
    ) -> RemoteContainer:
        """Make a container; it does not run yet. *files* are put into its own layer, as Docker's Compose does."""
        if pull == "always":
            self.engine.images.pull(config.image, progress=progress, platform=config.platform)
        query = {"name": config.name, "platform": config.platform}
        try:
            answer = self.engine.transport.json("POST", "/containers/create", container_body(config), **query)
        except NotFound as error:
            if pull != "missing" or not str(error).startswith("No such image"):
                raise
            self.engine.images.ensure(config.image, progress=progress, platform=config.platform)
            answer = self.engine.transport.json("POST", "/containers/create", container_body(config), **query)
        container = self.get(answer["Id"])
        try:
            if files:
                container.put_archive("/", io.BytesIO(_tar_of(files)), copy_uid_gid=True)
        except BaseException:
            container.remove(force=True, volumes=True)
            raise
        return container

    def get(self, reference: str) -> RemoteContainer:
        """The container with this name, id or unique id prefix. Raises NotFound."""
        return RemoteContainer(self.engine, self.engine.transport.json("GET", f"/containers/{segment(reference)}/json"))

    def prune(self, filters: dict[str, list[str]] | None = None) -> PruneReport:
        found = self.engine.transport.json("POST", "/containers/prune", filters=filters_text(filters))
        return PruneReport(containers=found["ContainersDeleted"] or [], space_reclaimed_bytes=found["SpaceReclaimed"])

    def run(self, image: str, command: list[str] | None = None, **fields: Any) -> RemoteContainer:
        """Create and start a container, which is removed at the end of the block."""
        from inception.engine.config import ContainerConfig

        container = self.create(ContainerConfig(image=image, command=command, **fields))
        container.start()
        return container

    def plan(self, config: ContainerConfig, *, pull: str = "missing") -> Plan:
        raise self.engine.unsupported("--explain")

    def list(self, *, all: bool = False, filters: dict[str, list[str]] | None = None, limit: int = 0) -> list[RemoteContainer]:
        """Containers, newest first: running ones, or *all*."""
        query = {"all": all, "limit": limit or None, "filters": filters_text(filters)}
        found: list[RemoteContainer] = []
        for row in self.engine.transport.json("GET", "/containers/json", **query):
            try:
                found.append(self.get(row["Id"]))
            except NotFound:
                continue  # removed meanwhile
        return found


class RemoteContainer:
    """A container of an engine elsewhere; equal to another with the same id."""

    def __init__(self, engine: RemoteEngine, document: dict[str, Any]) -> None:
        self.engine = engine
        self.id: str = document["Id"]
        self.record: ContainerRecord = container_record(document)
        self._path = f"/containers/{self.id}"

    def __repr__(self) -> str:
        return f"RemoteContainer({self.short_id}, {self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteContainer) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __enter__(self) -> RemoteContainer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.remove(force=True, volumes=True)
        except NotFound:
            pass

    # What it is

    @property
    def short_id(self) -> str:
        return self.id[:12]

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def config(self) -> ContainerConfig:
        return self.record.config

    @property
    def image(self) -> str:
        return self.record.config.image

    @property
    def image_id(self) -> str:
        return self.record.image_id

    @property
    def created_at(self) -> str:
        return self.record.created_at

    @property
    def labels(self) -> dict[str, str]:
        return self.record.config.labels

    @property
    def state(self) -> ContainerState:
        self.reload()
        return self.record.state

    @property
    def status_text(self) -> str:
        from inception.engine.status import status_text

        return status_text(self.record.state)

    @property
    def mounts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.inspect()["Mounts"]
        return found

    def reload(self) -> None:
        self.record = container_record(self._ask("GET", "/json"))

    def inspect(self, *, size: bool = False) -> dict[str, Any]:
        document: dict[str, Any] = self._ask("GET", "/json", size=size or None)
        return document

    def size(self) -> tuple[int, int]:
        document = self.inspect(size=True)
        return document.get("SizeRw") or 0, document.get("SizeRootFs") or 0

    def port(self, container_port: str = "") -> list[PortBinding]:
        from inception.engine.inspect import port

        self.reload()
        return port(self.record, container_port)

    # Its life

    def start(self, *, checkpoint: str = "", checkpoint_dir: str = "") -> None:
        self._do("/start", **_from(checkpoint, checkpoint_dir))
        self.reload()

    def start_attached(self, *, checkpoint: str = "", checkpoint_dir: str = "") -> RemoteAttachment:
        """Start it with a stream that is connected before."""
        condition = "removed" if self.config.auto_remove else "next-exit"
        stream = self._attach(self.config.open_stdin, condition)
        try:
            self._do("/start", **_from(checkpoint, checkpoint_dir))
            self.reload_if_there()
        except BaseException:
            stream.close()
            raise
        return stream

    def checkpoint(self, name: str, *, checkpoint_dir: str = "", leave_running: bool = False) -> None:
        """Save what it is doing as *name*, for `start`; then it is killed, unless *leave_running*."""
        body = {"CheckpointID": name, "CheckpointDir": checkpoint_dir, "Exit": not leave_running}
        self._do("/checkpoints", body)

    def checkpoints(self, checkpoint_dir: str = "") -> list[str]:
        """The names of its checkpoints."""
        return [found["Name"] for found in self._ask("GET", "/checkpoints", dir=checkpoint_dir)]

    def remove_checkpoint(self, name: str, *, checkpoint_dir: str = "") -> None:
        self._ask("DELETE", f"/checkpoints/{segment(name)}", dir=checkpoint_dir)

    def reload_if_there(self) -> None:
        """As `reload`; one that is over and removed already keeps what was known."""
        try:
            self.reload()
        except NotFound:
            pass

    def attach(
        self, *, stdin: bool = True, stdout: bool = True, stderr: bool = True, lossless: bool = False
    ) -> RemoteAttachment:
        if self.record.state.status != "running":
            raise Conflict(f"You cannot attach to a stopped container, start it first: {self.name}")
        return self._attach(stdin and self.config.open_stdin, "not-running", stdout=stdout, stderr=stderr)

    def _attach(self, stdin: bool, condition: str, *, stdout: bool = True, stderr: bool = True) -> RemoteAttachment:
        query = {"stream": True, "stdin": stdin, "stdout": stdout, "stderr": stderr}
        connection = self.engine.transport.upgrade(f"{self._path}/attach", None, **query)
        try:
            end = self.engine.transport.request("POST", f"{self._path}/wait", query={"condition": condition})
        except BaseException:
            connection.close()
            raise
        return RemoteAttachment(self, connection, end)

    def settle(self, stream: RemoteAttachment) -> int:
        """The exit code of a container whose *stream* has ended."""
        return stream.exit_code()

    def stop(self, *, timeout_s: float | None = None, signal: str = "") -> None:
        self._do("/stop", t=None if timeout_s is None else int(timeout_s), signal=signal)

    def restart(self, *, timeout_s: float | None = None, signal: str = "") -> None:
        self._do("/restart", t=None if timeout_s is None else int(timeout_s), signal=signal)

    def kill(self, signal: str = "KILL") -> None:
        self._do("/kill", signal=signal)

    def pause(self) -> None:
        self._do("/pause")

    def unpause(self) -> None:
        self._do("/unpause")

    def wait(self, condition: str = "not-running", timeout_s: float | None = None) -> int:
        """Wait until it is `not-running`, until its `next-exit`, or until it is `removed`; answers the exit code."""
        with self.engine.transport.request("POST", f"{self._path}/wait", query={"condition": condition}) as answer:
            timer = threading.Timer(timeout_s, answer.hang_up) if timeout_s is not None else None
            if timer is not None:
                timer.start()
            try:
                data = answer.read()
            except Unavailable:
                data = b""
            finally:
                if timer is not None:
                    timer.cancel()
        if not data:
            raise Unavailable(f"wait {self.name}: it did not end" + (f" within {timeout_s} s" if timeout_s is not None else ""))
        return _status_code(data)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        self._ask("DELETE", "", force=force, v=volumes)

    def rename(self, new_name: str) -> None:
        self._do("/rename", name=new_name)
        self.reload()

    def update(self, changes: UpdateConfig) -> None:
        self._do("/update", update_body(changes))
        self.reload()

    def resize(self, rows: int, columns: int) -> None:
        self._do("/resize", h=rows, w=columns)

    # What happens inside

    def logs(
        self,
        *,
        stdout: bool = True,
        stderr: bool = True,
        follow: bool | Callable[[], bool] = False,
        tail: int | None = None,
        since: str = "",
        until: str = "",
    ) -> Iterator[LogLine]:
        """Lines of its log, oldest first."""
        query = {
            "stdout": stdout,
            "stderr": stderr,
            "follow": bool(follow),
            "tail": "all" if tail is None else tail,
            "since": moment(since),
            "until": moment(until),
            "timestamps": True,
            "details": True,
        }
        answer = self.engine.transport.request("GET", f"{self._path}/logs", query=query)
        return self._lines(answer, follow if callable(follow) else None)

    def _lines(self, answer: Answer, wanted: Callable[[], bool] | None) -> Iterator[LogLine]:
        ended = threading.Event()
        if wanted is not None:
            threading.Thread(target=_hang_up_when, args=(answer, wanted, ended), daemon=True).start()
        try:
            yield from _log_lines(answer.pieces(), framed=not self.config.tty)
        except Unavailable:
            if wanted is None or wanted():
                raise
        finally:
            ended.set()

    def exec(
        self,
        command: list[str],
        *,
        env: list[str] | None = None,
        user: str = "",
        working_dir: str = "",
        tty: bool = False,
        privileged: bool = False,
        stdin: bytes = b"",
        timeout_s: float | None = None,
    ) -> ExecResult:
        """Run *command* inside and wait for it. After *timeout_s* Unavailable is raised; it goes on there."""
        config = ExecConfig(
            command=command,
            env=env or [],
            user=user,
            working_dir=working_dir,
            tty=tty,
            open_stdin=bool(stdin),
            privileged=privileged,
        )
        said: list[tuple[str, bytes]] = []
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self.exec_start(config) as process:
            if stdin:
                threading.Thread(target=_feed, args=(process, stdin), daemon=True).start()
            while not process.ended or process.pending:
                piece = process.read(None if deadline is None else max(0.0, deadline - time.monotonic()))
                if piece is not None:
                    said.append(piece)
                elif not process.ended:
                    raise Unavailable(f"exec {command[0]}: timed out after {timeout_s} s")
            code = process.wait()
        return ExecResult(
            exit_code=code,
            output=b"".join(data for _, data in said),
            stdout=b"".join(data for stream, data in said if stream == "stdout"),
            stderr=b"".join(data for stream, data in said if stream == "stderr"),
        )

    def exec_start(self, config: ExecConfig) -> RemoteExec:
        """Start a process inside with its streams connected to this one."""
        exec_id = self._exec(config, attached=True)
        body = {"Detach": False, "Tty": config.tty}
        return RemoteExec(self.engine, exec_id, self.engine.transport.upgrade(f"/exec/{exec_id}/start", body), config)

    def exec_detached(self, config: ExecConfig) -> str:
        exec_id = self._exec(config, attached=False)
        self.engine.transport.json("POST", f"/exec/{exec_id}/start", {"Detach": True, "Tty": config.tty})
        return exec_id

    def _exec(self, config: ExecConfig, *, attached: bool) -> str:
        body = {
            "Cmd": config.command,
            "Env": config.env,
            "User": config.user,
            "WorkingDir": config.working_dir,
            "Tty": config.tty,
            "Privileged": config.privileged,
            "AttachStdin": config.open_stdin and attached,
            "AttachStdout": attached,
            "AttachStderr": attached,
            "DetachKeys": config.detach_keys,
        }
        made: str = self._ask("POST", "/exec", body)["Id"]
        return made

    def top(self, ps_args: str = "") -> TopResult:
        found = self._ask("GET", "/top", ps_args=ps_args)
        return TopResult(titles=found["Titles"], processes=found["Processes"] or [])

    def stats(self) -> ContainerStats:
        """One sample of what it uses; all zero when it does not run."""
        return _sample(self._ask("GET", "/stats", stream=False, one_shot=True), self)

    def stats_stream(self, interval_s: float = 1.0) -> Iterator[ContainerStats]:
        """A sample each second, until it is removed."""
        answer = self.engine.transport.request("GET", f"{self._path}/stats", query={"stream": True})
        for document in answer.documents():
            yield _sample(document, self)

    # Its files

    def stat_path(self, path: str) -> PathStat:
        with self.engine.transport.request("HEAD", f"{self._path}/archive", query={"path": path}) as answer:
            answer.read()
            return _path_stat(answer.header("X-Docker-Container-Path-Stat"))

    def get_archive(self, path: str) -> tuple[PathStat, Iterator[bytes]]:
        answer = self.engine.transport.request("GET", f"{self._path}/archive", query={"path": path})
        return _path_stat(answer.header("X-Docker-Container-Path-Stat")), answer.pieces()

    def put_archive(
        self, path: str, stream: BinaryIO, *, copy_uid_gid: bool = False, no_overwrite_dir_non_dir: bool = False
    ) -> None:
        query = {"path": path, "copyUIDGID": copy_uid_gid, "noOverwriteDirNonDir": no_overwrite_dir_non_dir}
        pieces = iter(lambda: stream.read(1 << 16), b"")
        with self.engine.transport.request("PUT", f"{self._path}/archive", pieces, query=query) as answer:
            answer.read()

    def diff(self) -> list[Change]:
        return [Change(kind=_KINDS[each["Kind"]], path=each["Path"]) for each in self._ask("GET", "/changes") or []]

    def export(self) -> Iterator[bytes]:
        return self.engine.transport.request("GET", f"{self._path}/export").pieces()

    def commit(self, config: CommitConfig | None = None) -> str:
        config = config or CommitConfig()
        query = {
            "container": self.id,
            "repo": config.reference,
            "author": config.author,
            "comment": config.message,
            "changes": config.changes,
            "pause": config.pause,
        }
        made: str = self.engine.transport.json("POST", "/commit", {}, **query)["Id"]
        return made

    def _ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        return self.engine.transport.json(method, self._path + path, body, **query)

    def _do(self, path: str, body: Any = None, **query: Any) -> None:
        self._ask("POST", path, body, **query)


def _from(checkpoint: str, folder: str) -> dict[str, str]:
    return {name: value for name, value in (("checkpoint", checkpoint), ("checkpoint-dir", folder)) if value}


class RemoteAttachment(RemoteStream):
    """A container's streams, and the answer to the wait for its end."""

    def __init__(self, container: RemoteContainer, connection: Any, end: Answer) -> None:
        super().__init__(connection, framed=not container.config.tty, resize_to=self._resize)
        self._container = container
        self._end: Answer | None = end

    def exit_code(self) -> int:
        """Waits for the container's end."""
        end, self._end = self._end, None
        if end is None:
            return self._container.wait()
        with end:
            return _status_code(end.read())

    def close(self) -> None:
        super().close()
        if self._end is not None:
            self._end.hang_up()
            self._end.__exit__()

    def _resize(self, rows: int, columns: int) -> None:
        try:
            self._container.resize(rows, columns)
        except (Conflict, NotFound, Unavailable):
            pass  # over


class RemoteExec(RemoteStream):
    """A process inside a container, with its streams."""

    def __init__(self, engine: RemoteEngine, exec_id: str, connection: Any, config: ExecConfig) -> None:
        super().__init__(connection, framed=not config.tty, resize_to=self._resize)
        self.exit_code: int | None = None
        self._engine = engine
        self._id = exec_id
        if not config.open_stdin and not config.tty:
            self.close_stdin()

    @property
    def pid(self) -> int:
        """Its number over there."""
        return int(self._inspect()["Pid"] or 0)

    def wait(self) -> int:
        """Its exit code; what it says until then is thrown away."""
        while self.read() is not None:
            pass
        while True:
            found = self._inspect()
            if not found["Running"]:
                self.exit_code = int(found["ExitCode"] or 0)
                return self.exit_code
            time.sleep(_POLL_S / 5)  # its output has ended before it

    def _inspect(self) -> Any:
        return self._engine.transport.json("GET", f"/exec/{self._id}/json")

    def _resize(self, rows: int, columns: int) -> None:
        try:
            self._engine.transport.json("POST", f"/exec/{self._id}/resize", h=rows, w=columns)
        except (Conflict, NotFound, Unavailable):
            pass  # not there yet, or over


def _feed(process: RemoteExec, data: bytes) -> None:
    process.write(data)
    process.close_stdin()


def _hang_up_when(answer: Answer, wanted: Callable[[], bool], ended: threading.Event) -> None:
    while not ended.wait(_POLL_S):
        if not wanted():
            answer.hang_up()
            return


def _status_code(data: bytes) -> int:
    document = json.loads(data)
    if document.get("Error"):
        raise Unavailable(document["Error"].get("Message") or "waiting failed")
    return int(document["StatusCode"])


def moment(text: str) -> str:
    """A time as the API takes it: seconds with a fraction, from ages too."""
    if not text:
        return ""
    from inception.engine.times import parse_when_ns

    nanoseconds = parse_when_ns(text)
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09d}"


def _log_lines(pieces: Iterator[bytes], *, framed: bool) -> Iterator[LogLine]:
    received = b""
    for piece in pieces:
        received += piece
        while framed and len(received) >= 8:
            length = int.from_bytes(received[4:8], "big")
            if len(received) < 8 + length:
                break
            stream = "stderr" if received[0] == 2 else "stdout"
            yield _log_line(stream, received[8 : 8 + length])
            received = received[8 + length :]
        while not framed and b"\n" in received:
            line, _, received = received.partition(b"\n")
            yield _log_line("stdout", line + b"\n")
    if received and not framed:
        yield _log_line("stdout", received)


def _log_line(stream: str, data: bytes) -> LogLine:
    """A line with its time and its details before it: `TIME name=value,… TEXT`."""
    moment, _, rest = data.partition(b" ")
    details, _, said = rest.partition(b" ")
    attributes = None
    if details:
        from urllib.parse import parse_qsl

        attributes = dict(parse_qsl(details.decode("utf-8", "replace").replace(",", "&"), keep_blank_values=True))
    return LogLine(stream, moment.decode("utf-8", "replace"), said, attributes)


def _path_stat(header: str) -> PathStat:
    try:
        found = json.loads(base64.b64decode(header))
    except ValueError:
        raise Unavailable("the engine's answer has no X-Docker-Container-Path-Stat") from None
    mode = found["mode"]
    kind = next((here for there, here in _GO_KINDS.items() if mode & there), stat.S_IFREG)
    if mode & _GO_DEVICE:
        kind = stat.S_IFCHR if mode & _GO_CHARACTER else stat.S_IFBLK
    special = (
        (stat.S_ISUID if mode & 1 << 23 else 0)
        | (stat.S_ISGID if mode & 1 << 22 else 0)
        | (stat.S_ISVTX if mode & 1 << 20 else 0)
    )
    return PathStat(
        name=found["name"],
        size=found["size"],
        mode=kind | special | (mode & 0o777),
        mtime_ns=parse(found["mtime"]),
        link_target=found.get("linkTarget") or "",
    )


def _sample(document: dict[str, Any], container: RemoteContainer) -> ContainerStats:
    cpu, before = document.get("cpu_stats") or {}, document.get("precpu_stats") or {}
    memory, pids = document.get("memory_stats") or {}, document.get("pids_stats") or {}
    usage = cpu.get("cpu_usage") or {}
    networks = (document.get("networks") or {}).values()
    blocks = (document.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    detail = memory.get("stats") or {}
    online = cpu.get("online_cpus") or 1
    used = usage.get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = cpu.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    read = document.get("read") or ""
    return ContainerStats(
        id=container.id,
        name=container.name,
        time_ns=parse(read) if read and not read.startswith("0001") else time.time_ns(),
        cpu_total_ns=usage.get("total_usage", 0),
        cpu_user_ns=usage.get("usage_in_usermode", 0),
        cpu_system_ns=usage.get("usage_in_kernelmode", 0),
        cpu_percent=100.0 * used / passed * online if passed > 0 and before.get("system_cpu_usage") else 0.0,
        online_cpus=online,
        memory_usage_bytes=memory.get("usage", 0),
        memory_limit_bytes=memory.get("limit", 0),
        memory_cache_bytes=detail.get("inactive_file", detail.get("total_inactive_file", 0)),
        network_receive_bytes=sum(each.get("rx_bytes", 0) for each in networks),
        network_transmit_bytes=sum(each.get("tx_bytes", 0) for each in networks),
        block_read_bytes=sum(row["value"] for row in blocks if row["op"].lower() == "read"),
        block_write_bytes=sum(row["value"] for row in blocks if row["op"].lower() == "write"),
        pids=pids.get("current", 0),
        pids_limit=pids.get("limit", 0) if pids.get("limit", 0) < 1 << 62 else 0,
    )


def _tar_of(files: list[PrivateFile]) -> bytes:
    import tarfile

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for each in files:
            content = bytes.fromhex(each.content)
            entry = tarfile.TarInfo(each.target.lstrip("/"))
            entry.uid, entry.gid, entry.mode, entry.size = each.uid, each.gid, each.mode, len(content)
            tar.addfile(entry, io.BytesIO(content))
    return data.getvalue()
