"""`ROOT/ID/`: what the command line runtime knows of a container, and what is still true of it.

    state.json    written whole to another name and renamed; there from the first moment of `create`, with no pid yet
    config.json   the spec as it was at `create`
    shortcut      what a program without Python needs to know (shortcut.py)
    start         the socket on which a created container's process waits; renamed once `start` was called
    again.N       an `exec` that was done once (kept.py)
    output        what hooks in the container's namespaces have written, for the error when one fails
    lock          held by whoever changes the container; it goes with the folder

Any number of commands run at once. `status` is not kept but observed: a pid counts only together with its start time and the
boot it was seen in.
"""

from __future__ import annotations

import fcntl
import os
import time

from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable
from inception.jsontext import dumps, loads
from inception.linux import process
from inception.linux.files import read_file, write_file
from inception.oci.runtime import SPEC_VERSION, Spec, State
from inception.record import Record, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

_NAME = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")
_MAX_NAME = 1024


class RuntimeState(Record, style="camel"):
    """What it takes to find the container's process and resources again, and to be sure of them."""

    id: str
    bundle: str
    cgroup: str
    created: str
    oci_version: str = SPEC_VERSION
    pid: int = 0
    pid_start_time: int = 0
    boot_id: str = ""
    foreign_cgroups: list[str] = []  # folders at the cgroup's path that were there before, and stay
    resctrl: list[str] = []  # groups that were made for it
    unit: str = ""  # systemd's, where it owns the cgroup
    steps: int = 0  # of the plan: a failure after `start` is counted from its end
    shares_pids: bool = False  # its pid namespace is not of its own making
    rootfs: str = ""
    annotations: dict[str, str] = {}

    def told(self, status: str) -> State:
        """The specification's state, as hooks and `state` give it."""
        return State(
            oci_version=self.oci_version,
            id=self.id,
            status=status,
            pid=0 if status == "stopped" else self.pid,
            bundle=self.bundle,
            annotations=self.annotations,
        )

    def row(self, status: str, pid: int) -> dict[str, Any]:
        """What the command line shows of it: runc's fields, which engines parse."""
        row: dict[str, Any] = {
            "ociVersion": self.oci_version,
            "id": self.id,
            "pid": 0 if status == "stopped" else pid,
            "status": status,
            "bundle": self.bundle,
            "rootfs": self.rootfs,
            "created": self.created,
        }
        if self.annotations:
            row["annotations"] = self.annotations
        return {**row, "owner": ""}


class Lock:
    """The exclusive right to change one container, for a `with` block."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._fd)


class Folder:
    """One container's folder below a runtime root."""

    def __init__(self, root: str, id: str) -> None:
        if not id or len(id) > _MAX_NAME or id[0] == "." or not set(id) <= _NAME:
            strange = next((f"invalid character `{letter}` in the ID; " for letter in id if letter not in _NAME), "")
            raise InvalidArgument(f"invalid container ID {id!r}: {strange}use letters, digits and _+-., and no dot in front")
        self.root = root
        self.id = id
        self.path = f"{root}/{id}"
        self.start_socket = f"{self.path}/start"
        self.output = f"{self.path}/output"
        self._spec: Spec | None = None  # it never changes

    # ---- making, locking, removing ----------------------------------------------------------------------------------

    def make(self) -> Lock:
        """Make the folder and hold its lock. Raises Conflict when the id is taken."""
        os.makedirs(self.root, 0o711, exist_ok=True)
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            raise Conflict(f"container with given ID already exists: {self.id}") from None
        except OSError as error:
            raise InvalidArgument(f"{self.path}: {(error.strerror or '').lower()}") from None
        try:
            fd = os.open(f"{self.path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
        except OSError:
            self.remove()
            raise
        return Lock(fd)

    def lock(self, timeout_s: float | None = None) -> Lock:
        """Wait for the lock. Raises NotFound when the container goes meanwhile, Unavailable after *timeout_s*."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                fd = os.open(f"{self.path}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except (FileNotFoundError, NotADirectoryError):
                raise self._missing() from None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX if deadline is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(fd):
                    return Lock(fd)
            except BlockingIOError:
                os.close(fd)
                if deadline is not None and time.monotonic() > deadline:
                    raise Unavailable(f"container {self.id} is in use by another command") from None
                time.sleep(0.01)
                continue
            except BaseException:
                os.close(fd)  # else we would wait for ourselves
                raise
            os.close(fd)  # of a folder that was removed while we waited

    def try_lock(self) -> Lock | None:
        """The lock, unless somebody has it or the container goes; makes no file."""
        try:
            fd = os.open(f"{self.path}/lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_current(fd):
                return Lock(fd)
        except BlockingIOError:
            pass
        os.close(fd)
        return None

    def _is_current(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(f"{self.path}/lock"))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Everything in the folder and the folder; again is harmless. The lock goes last, since others wait for it."""
        for name in (
            ".state.json",
            ".config.json",
            ".shortcut",
            "shortcut",
            "start",
            "started",
            "output",
            "config.json",
            "state.json",
            *_again(self.path),
            "lock",
        ):
            try:
                os.unlink(f"{self.path}/{name}")
            except FileNotFoundError:
                pass
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            pass

    # ---- contents ---------------------------------------------------------------------------------------------------

    def save(self, state: RuntimeState) -> None:
        """Write state.json."""
        self._write("state.json", dumps(encode(state)))

    def save_spec(self, spec: Spec) -> None:
        """Write config.json."""
        self._spec = spec
        self._write("config.json", dumps(encode(spec)))

    def save_shortcut(self, text: str) -> None:
        """Write the file `shortcut`, unless *text* is empty."""
        if text:
            self._write("shortcut", text)

    def _write(self, name: str, text: str) -> None:
        write_file(f"{self.path}/.{name}", os.fsencode(text), 0o666)
        os.rename(f"{self.path}/.{name}", f"{self.path}/{name}")

    def load(self) -> RuntimeState:
        """Raises NotFound; InvalidArgument when the file is not what we wrote."""
        try:
            return decode(RuntimeState, loads(read_file(f"{self.path}/state.json")))
        except (FileNotFoundError, NotADirectoryError):
            raise self._missing() from None
        except ValueError as error:
            raise InvalidArgument(f"{self.path}/state.json: {error}") from None

    def load_spec(self) -> Spec:
        """The spec of `create`."""
        if self._spec is None:
            self._spec = decode(Spec, loads(read_file(f"{self.path}/config.json")))
        return self._spec

    def _missing(self) -> NotFound:
        return NotFound(f"container does not exist: {self.id}")

    # ---- what is true -----------------------------------------------------------------------------------------------

    def is_alive(self, state: RuntimeState) -> bool:
        """Whether its init still runs; a reboot or another process with its pid is not it."""
        return state.pid > 0 and process.is_alive(state.pid, state.pid_start_time) and state.boot_id == process.boot_id()

    def open_init(self, state: RuntimeState) -> int:
        """A pidfd of its init, which the caller owns. Raises Conflict when it has ended."""
        pidfd = process.open_alive(state.pid, state.pid_start_time) if self.is_alive(state) else None
        if pidfd is None:
            raise Conflict("container not running")
        return pidfd

    def status(self, state: RuntimeState) -> str:
        """`creating`, `created`, `running` or `stopped`; `paused` is the cgroup's to know."""
        if state.pid == 0:
            return "creating"
        if not self.is_alive(state):
            return "stopped"
        return "created" if os.path.exists(self.start_socket) else "running"

    def take_start(self) -> str:
        """Claim the start socket: from here on the container counts as running. Its new path."""
        started = f"{self.path}/started"
        os.rename(self.start_socket, started)
        return started


def _again(path: str) -> list[str]:
    try:
        return [name for name in os.listdir(path) if "again" in name]
    except OSError:
        return []


def remove_resctrl(state: RuntimeState) -> None:
    """The groups of `linux.intelRdt` that go with the container. Raises Unavailable."""
    if state.resctrl:
        from inception.runtime import resctrl

        resctrl.remove(state.resctrl)


def list_ids(root: str) -> list[str]:
    """The containers below a runtime root."""
    try:
        return sorted(name for name in os.listdir(root) if os.path.exists(f"{root}/{name}/state.json"))
    except (FileNotFoundError, NotADirectoryError):
        return []
