"""Files that only one container has: the secrets and configs of Compose.

    ROOT/containers/ID/files.json       what they are, mode 0600: a container started after a reboot has them again
    RUN_ROOT/containers/ID/files/0      made at every start, in memory (the run root is a tmpfs), with the wanted owner and mode

Each is bind-mounted read-only onto its place. So nothing of them is in an image, in the container's own layer (`commit`,
`diff` and `export` never see them), in its environment or in what `inspect` shows; and they go with the container.
"""

from __future__ import annotations

import os

from inception.jsontext import dumps, loads
from inception.oci.runtime import Mount
from inception.record import Record, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine


class PrivateFile(Record):
    """A file at *target*; `content` is hexadecimal, so that JSON can hold any bytes."""

    target: str
    content: str
    uid: int = 0
    gid: int = 0
    mode: int = 0o444

    def __repr__(self) -> str:
        return f"PrivateFile({self.target!r}, uid={self.uid}, gid={self.gid}, mode={self.mode:o})"  # never the content


def keep(engine: Engine, container_id: str, files: list[PrivateFile]) -> None:
    """Note down what files the container has; they are made when it starts."""
    folder = engine.container_dir(container_id)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    path = f"{folder}/files.json"
    with open(os.open(f"{path}.new", _NEW, 0o600), "w") as file:
        file.write(dumps([encode(each) for each in files]))
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{path}.new", path)


def mounts(engine: Engine, container_id: str) -> list[Mount]:
    """Make the container's files, and answer the mounts that bring them in."""
    try:
        with open(f"{engine.container_dir(container_id)}/files.json", "rb") as file:
            found = [decode(PrivateFile, item, "files.json") for item in loads(file.read())]
    except FileNotFoundError:
        return []
    folder = f"{engine.run_dir(container_id)}/files"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    made = []
    for index, each in enumerate(found):
        path = f"{folder}/{index}"
        with open(os.open(f"{path}.new", _NEW, 0o600), "wb") as file:
            file.write(bytes.fromhex(each.content))
            os.fchown(file.fileno(), each.uid, each.gid)
            os.fchmod(file.fileno(), each.mode)
        os.rename(f"{path}.new", path)
        made.append(Mount(destination=each.target, type="bind", source=path, options=["bind", "rprivate", "ro"]))
    return made


_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
