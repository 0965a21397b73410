"""One container and its verbs.

A `Container` holds an id and reads everything else fresh, since other processes change it too. Each verb lives in a module
of its own, imported when used: `ps` must not pay for `cp`.
"""

from __future__ import annotations

from inception.engine.config import (
    CommitConfig,
    ContainerConfig,
    ContainerState,
    ExecConfig,
    PortBinding,
    UpdateConfig,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Any, BinaryIO

    from inception.engine.engine import Engine
    from inception.engine.exec import ExecProcess
    from inception.engine.records import ContainerRecord
    from inception.engine.results import ContainerStats, ExecResult, PathStat, TopResult
    from inception.monitor.client import AttachStream
    from inception.monitor.logs import LogLine
    from inception.store.snapshots import Change


class Container:
    """A container of an engine; equal to another with the same id. As a context manager it removes itself at the end."""

    def __init__(self, engine: Engine, record: ContainerRecord) -> None:
        self.engine = engine
        self.record = record
        self.id = record.id

    def __repr__(self) -> str:
        return f"Container({self.short_id}, {self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        from inception.errors import NotFound

        try:
            self.remove(force=True, volumes=True)
        except NotFound:
            pass  # somebody else removed it, or auto_remove did

    # What it is

    @property
    def short_id(self) -> str:
        """The twelve digits that `ps` shows."""
        return self.id[:12]

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def config(self) -> ContainerConfig:
        """What was asked for, completed with the image's own configuration when it was created."""
        return self.record.config

    @property
    def image(self) -> str:
        """The image as it was named."""
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
        """What it is doing now, read fresh. Raises NotFound when it has been removed."""
        self.reload()
        return self.record.state

    @property
    def status_text(self) -> str:
        """The STATUS column of `ps`, of the state last read: `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`."""
        from inception.engine.status import status_text

        return status_text(self.record.state)

    @property
    def mounts(self) -> list[dict[str, Any]]:
        """The `Mounts` of `inspect`."""
        from inception.engine.inspect import mounts

        return mounts(self.engine, self.record)

    def reload(self) -> None:
        """Read name, config and state again."""
        from inception.engine.records import load

        self.record = load(self.engine, self.id)

    def inspect(self, *, size: bool = False) -> dict[str, Any]:
        """Docker's `inspect` document."""
        from inception.engine.inspect import inspect

        self.reload()
        return inspect(self.engine, self.record, size=size)

    def size(self) -> tuple[int, int]:
        """Bytes in its writable layer, and those plus its image's."""
        from inception.engine.inspect import size_of

        return size_of(self.engine, self.record)

    def port(self, container_port: str = "") -> list[PortBinding]:
        """Where *container_port* (`80`, `53/udp`), or every published port, can be reached. Raises NotFound for none."""
        from inception.engine.inspect import port

        self.reload()
        return port(self.record, container_port)

    # Its life

    def start(self, *, connect: Callable[[str], None] | None = None, checkpoint: str = "", checkpoint_dir: str = "") -> None:
        """Start it; returns when its process has been executed. With *checkpoint* it goes on from there.

        *connect* is called with its run folder when its monitor can be attached to, before its first instruction.
        Raises NotModified when it runs already; StartFailed, with Docker's exit code, when its command can't be executed.
        """
        from inception.engine.start import start

        start(self.engine, self.id, connect, (checkpoint, checkpoint_dir))
        self.reload()

    def start_attached(self, *, checkpoint: str = "", checkpoint_dir: str = "") -> AttachStream:
        """Start it with a stream that is connected before its first instruction, so no output is lost."""
        from inception.engine.start import start_attached

        stream = start_attached(self.engine, self.id, (checkpoint, checkpoint_dir))
        self.reload()
        return stream

    def attach(self, *, stdin: bool = True, stdout: bool = True, stderr: bool = True, lossless: bool = False) -> AttachStream:
        """A stream of its output from now on, and to its stdin. Raises Conflict when it does not run.

        *lossless*: it waits while this stream is not read, instead of dropping it.
        """
        from inception.engine.lifecycle import attach

        return attach(self.engine, self.id, stdin=stdin, stdout=stdout, stderr=stderr, lossless=lossless)

    def settle(self, stream: AttachStream) -> int:
        """The exit code of a container whose *stream* has ended; with what it leaves cleaned up."""
        from inception.engine.release import release
        from inception.errors import NotFound

        status = stream.exit_status
        try:
            # Without a status its monitor was killed together with it: what the engine makes of that is the answer.
            code = status.exit_code if status is not None else self.wait()
            release(self.engine, self.id)
        except NotFound:
            code = status.exit_code if status is not None else 137
        return code

    def stop(self, *, timeout_s: float | None = None, signal: str = "") -> None:
        """Ask it to end with its stop signal; after *timeout_s* (its own, else 10; -1 waits for ever) kill it.

        Raises NotModified when it does not run.
        """
        from inception.engine.lifecycle import stop

        stop(self.engine, self.id, timeout_s, signal)

    def restart(self, *, timeout_s: float | None = None, signal: str = "") -> None:
        """Stop it if it runs, and start it."""
        from inception.engine.lifecycle import restart

        restart(self.engine, self.id, timeout_s, signal)

    def kill(self, signal: str = "KILL") -> None:
        """Send *signal*, a name or a number, to its first process."""
        from inception.engine.lifecycle import kill

        kill(self.engine, self.id, signal)

    def pause(self) -> None:
        """Freeze all its processes."""
        from inception.engine.lifecycle import pause

        pause(self.engine, self.id)

    def unpause(self) -> None:
        from inception.engine.lifecycle import unpause

        unpause(self.engine, self.id)

    def checkpoint(self, name: str, *, checkpoint_dir: str = "", leave_running: bool = False) -> None:
        """Save what it is doing as *name*, for `start`; then it is killed, unless *leave_running*. criu does it, as root."""
        from inception.engine import checkpoints

        checkpoints.create(self.engine, self.id, name, checkpoint_dir, leave_running=leave_running)

    def checkpoints(self, checkpoint_dir: str = "") -> list[str]:
        """The names of its checkpoints."""
        from inception.engine import checkpoints

        return checkpoints.names(self.engine, self.id, checkpoint_dir)

    def remove_checkpoint(self, name: str, *, checkpoint_dir: str = "") -> None:
        from inception.engine import checkpoints

        checkpoints.remove(self.engine, self.id, name, checkpoint_dir)

    def wait(self, condition: str = "not-running", timeout_s: float | None = None) -> int:
        """Wait until it is `not-running`, until its `next-exit`, or until it is `removed`; answers the exit code.

        Raises Unavailable when *timeout_s* passes first.
        """
        from inception.engine.lifecycle import wait

        return wait(self.engine, self.id, condition, timeout_s)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; *force* kills it first, *volumes* removes its anonymous volumes too."""
        from inception.engine.remove import remove

        remove(self.engine, self.id, force=force, volumes=volumes)

    def rename(self, new_name: str) -> None:
        from inception.engine.lifecycle import rename

        rename(self.engine, self.id, new_name)
        self.reload()

    def update(self, changes: UpdateConfig) -> None:
        """Change its limits and restart policy, at once when it runs."""
        from inception.engine.update import update

        update(self.engine, self.id, changes)
        self.reload()

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        from inception.engine.lifecycle import resize

        resize(self.engine, self.id, rows, columns)

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
        """Lines of its log, oldest first: the last *tail* ones; *follow* goes on until it ends, or answers no.

        *since* and *until* are RFC 3339 times, Unix times, or ages such as `10m`.
        """
        from inception.engine.lifecycle import logs

        return logs(self.engine, self.id, stdout, stderr, follow, tail, since, until)

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
        """Run *command* inside and wait for it. After *timeout_s* it is killed and Unavailable raised."""
        from inception.engine.exec import run

        config = ExecConfig(
            command=command,
            env=env or [],
            user=user,
            working_dir=working_dir,
            tty=tty,
            open_stdin=bool(stdin),
            privileged=privileged,
        )
        return run(self.engine, self.id, config, stdin, timeout_s)

    def exec_start(self, config: ExecConfig) -> ExecProcess:
        """Start a process inside with its streams connected to this process."""
        from inception.engine.exec import start

        return start(self.engine, self.id, config)

    def exec_detached(self, config: ExecConfig) -> str:
        """Start a process inside and leave it to the container's monitor. Answers the exec's id."""
        from inception.engine.exec import start_detached

        return start_detached(self.engine, self.id, config)

    def top(self, ps_args: str = "") -> TopResult:
        """Its processes, as `ps` shows them; *ps_args* are `ps` options (default `-ef`)."""
        from inception.engine.top import top

        return top(self.engine, self.id, ps_args)

    def stats(self) -> ContainerStats:
        """One sample of what it uses; all zero when it does not run."""
        from inception.engine.stats import sample

        return sample(self.engine, self.id)

    def stats_stream(self, interval_s: float = 1.0) -> Iterator[ContainerStats]:
        """A sample each *interval_s* with `cpu_percent` of that interval, until it is removed."""
        from inception.engine.stats import stream

        return stream(self.engine, self.id, interval_s)

    # Its files

    def stat_path(self, path: str) -> PathStat:
        from inception.engine.copy import stat_path

        return stat_path(self.engine, self.id, path)

    def get_archive(self, path: str) -> tuple[PathStat, Iterator[bytes]]:
        """A tar stream of *path*, whose entries start with its last component."""
        from inception.engine.copy import get_archive

        return get_archive(self.engine, self.id, path)

    def put_archive(
        self, path: str, stream: BinaryIO, *, copy_uid_gid: bool = False, no_overwrite_dir_non_dir: bool = False
    ) -> None:
        """Unpack a tar stream into the folder *path*.

        Owners are the archive's, with *copy_uid_gid* the container's user if it has one; *no_overwrite_dir_non_dir* refuses to
        replace a folder by a file and back.
        """
        from inception.engine.copy import put_archive

        put_archive(self.engine, self.id, path, stream, copy_uid_gid, no_overwrite_dir_non_dir)

    def diff(self) -> list[Change]:
        """What it changed in its image's files."""
        from inception.engine.commit import diff

        return diff(self.engine, self.id)

    def export(self) -> Iterator[bytes]:
        """A tar stream of its whole filesystem, without volumes."""
        from inception.engine.commit import export

        return export(self.engine, self.id)

    def commit(self, config: CommitConfig | None = None) -> str:
        """Make an image of its filesystem and configuration; answers the image's id."""
        from inception.engine.commit import commit

        return commit(self.engine, self.id, config or CommitConfig())
