"""`ROOT/ID/state.json`: what the command line runtime knows of a container, and what is still true of it.

ROOT/ID/state.json    written whole to another name and renamed
ROOT/ID/config.json   the spec as it was at `create`
ROOT/ID/start         a FIFO: a container that was created waits on it; it is gone once it was started
"""

from __future__ import annotations

import os

from inception.errors import Conflict, InvalidArgument, NotFound
from inception.jsontext import dumps, loads
from inception.linux import process
from inception.oci.runtime import Spec
from inception.record import Record, decode, encode

_NAME = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class RuntimeState(Record, style="camel"):
    """The specification's state and what it takes to be sure of it; `status` is not kept but observed."""

    id: str
    bundle: str
    pid: int
    pid_start_time: int
    boot_id: str
    cgroup: str
    created: str
    oci_version: str
    annotations: dict[str, str] = {}


class Folder:
    """One container's folder below a runtime root."""

    def __init__(self, root: str, id: str) -> None:
        if not id or len(id) > 1024 or id in (".", "..") or not set(id) <= _NAME:
            raise InvalidArgument(f"invalid container ID {id!r}: use letters, digits and _+-.")
        self.id = id
        self.path = f"{root}/{id}"
        self.fifo = f"{self.path}/start"

    def make(self) -> None:
        """Raises Conflict when the id is taken."""
        os.makedirs(os.path.dirname(self.path), 0o711, exist_ok=True)
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            raise Conflict(f"container with given ID already exists: {self.id}") from None

    def save(self, state: RuntimeState, spec: Spec) -> None:
        """Write both files; state.json last, since it is what makes the container exist."""
        for name, value in (("config.json", encode(spec)), ("state.json", encode(state, keep_defaults=True))):
            scratch = f"{self.path}/.{name}"
            with open(scratch, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(dumps(value))
            os.rename(scratch, f"{self.path}/{name}")

    def load(self) -> RuntimeState:
        """Raises NotFound."""
        try:
            with open(f"{self.path}/state.json", "rb") as file:
                return decode(RuntimeState, loads(file.read()))
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(f"container does not exist: {self.id}") from None

    def load_spec(self) -> Spec:
        """The spec of `create`."""
        with open(f"{self.path}/config.json", "rb") as file:
            return decode(Spec, loads(file.read()))

    def is_alive(self, state: RuntimeState) -> bool:
        """Whether its init still runs; a reboot or another process with its pid is not it."""
        return state.boot_id == process.boot_id() and process.is_alive(state.pid, state.pid_start_time)

    def status(self, state: RuntimeState) -> str:
        """`created`, `running` or `stopped`; `paused` is the cgroup's to know."""
        if not self.is_alive(state):
            return "stopped"
        return "created" if os.path.exists(self.fifo) else "running"

    def remove(self) -> None:
        """Everything in the folder and the folder; again is harmless."""
        for name in (".state.json", ".config.json", "start", "config.json", "state.json"):
            try:
                os.unlink(f"{self.path}/{name}")
            except FileNotFoundError:
                pass
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            pass


def list_ids(root: str) -> list[str]:
    """The containers below a runtime root."""
    try:
        return sorted(name for name in os.listdir(root) if os.path.exists(f"{root}/{name}/state.json"))
    except FileNotFoundError:
        return []
