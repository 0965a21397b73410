"""Secrets and configs as files in memory, mounted into containers one by one.

Each container has a folder of its own below the run root, which is a tmpfs, and in it a file a secret or config with the
owner and mode that were asked for. The file is bind-mounted read-only onto its target: nothing of it is in an image, in the
container's own layer or in anything that `inspect` shows.

    RUN_ROOT/compose/PROJECT/CONTAINER-DIGEST/0        uid, gid, mode as asked; 0444, root by default
    ROOT/compose/PROJECT/CONTAINER-DIGEST.json         how to make them again after a reboot; mode 0600

The digest is of the contents, so a container that is replaced because its secret changed leaves the old one's files alone.
"""

from __future__ import annotations

import os

from inception.engine.config import MountConfig
from inception.errors import InvalidArgument, NotFound
from inception.jsontext import dumps, loads
from inception.record import Record, decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import FileReference, FileSource, Project, Service
    from inception.engine import Engine

MAX_BYTES = 1 << 20  # Swarm's limit for configs; secrets have half of it there
_DEFAULT_MODE = 0o444


class _File(Record):
    """One file to make: `content` is hexadecimal; `source` is the host file that it came from, which is read again."""

    uid: int
    gid: int
    mode: int
    content: str = ""
    source: str = ""

    def __repr__(self) -> str:
        return f"_File(uid={self.uid}, gid={self.gid}, mode={self.mode:o})"


def contents_digest(project: Project, service: Service) -> str:
    """A digest of all that the service's secrets and configs contain."""
    from _blake2 import blake2b

    hasher = blake2b(digest_size=16)
    for kind, reference in _references(service):
        data = read_source(project, kind, reference.source)
        hasher.update(f"{kind}/{reference.source}/{len(data)}/".encode() + data)
    return hasher.hexdigest()


def _references(service: Service) -> list[tuple[str, FileReference]]:
    return [*(("secret", each) for each in service.secrets), *(("config", each) for each in service.configs)]


def read_source(project: Project, kind: str, key: str) -> bytes:
    """The content of secret or config *key*. Raises NotFound, InvalidArgument naming it, never showing it."""
    sources: dict[str, FileSource] = project.secrets if kind == "secret" else project.configs
    source = sources[key]
    if source.file:
        return _read_file(source.file, f"{kind} {key}")
    if source.environment:
        value = project.environment.get(source.environment)
        if value is None:
            raise NotFound(f'environment variable "{source.environment}" required by {kind} "{key}" is not set')
        return value.encode("utf-8", "surrogateescape")
    return source.content.encode("utf-8", "surrogateescape")


def _read_file(path: str, what: str) -> bytes:
    import stat

    try:
        # Not blocking: a named pipe that nobody writes to must not stop the command.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise InvalidArgument(f"{what}: {path} is not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise NotFound(f"{what}: open {path}: {(error.strerror or 'error').lower()}") from None
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{what}: {path} is larger than {MAX_BYTES} bytes")
    return data


def provide(engine: Engine, project: Project, service: Service, container_name: str) -> list[MountConfig]:
    """Make the files of a container, and answer the mounts that bring them in."""
    references = _references(service)
    if not references:
        return []
    files, mounts = [], []
    name = f"{container_name}-{contents_digest(project, service)[:12]}"
    folder = _folder(engine, project.name, name)
    for index, (kind, reference) in enumerate(references):
        source = (project.secrets if kind == "secret" else project.configs)[reference.source]
        data = b"" if source.file else read_source(project, kind, reference.source)
        files.append(
            _File(
                uid=_number(reference.uid, f"services.{service.name}.{kind}s.{reference.source}.uid"),
                gid=_number(reference.gid, f"services.{service.name}.{kind}s.{reference.source}.gid"),
                mode=_DEFAULT_MODE if reference.mode is None else reference.mode,
                content=data.hex(),
                source=source.file,
            )
        )
        mounts.append(MountConfig(type="bind", source=f"{folder}/{index}", target=reference.target, read_only=True))
    _make(folder, files)
    _write_manifest(_manifest(engine, project.name, name), files)
    return mounts


def _number(text: str, where: str) -> int:
    if text and not (text.isascii() and text.isdecimal() and int(text) < 1 << 32):
        raise InvalidArgument(f"{where}: expected a number, got {text!r}")
    return int(text or 0)


def _folder(engine: Engine, project: str, name: str) -> str:
    return f"{engine.run_root}/compose/{project}/{name}"


def _manifest(engine: Engine, project: str, name: str) -> str:
    return f"{engine.root}/compose/{project}/{name}.json"


def _make(folder: str, files: list[_File]) -> None:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for index, file in enumerate(files):
        data = _read_file(file.source, "secret or config") if file.source else bytes.fromhex(file.content)
        path = f"{folder}/{index}"
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as out:
            out.write(data)
            os.fchown(fd, file.uid, file.gid)
            os.fchmod(fd, file.mode)
        # Written over when it is there already: a container that has it mounted keeps seeing this inode.
        if os.path.exists(path):
            os.unlink(f"{path}.new")
        else:
            os.rename(f"{path}.new", path)


def _write_manifest(path: str, files: list[_File]) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w") as out:
        out.write(dumps([encode(file) for file in files]))
        out.flush()
        os.fsync(fd)
    os.rename(f"{path}.new", path)


def restore(engine: Engine, project: str = "") -> None:
    """Make again, after a reboot, the files of the containers of *project*, or of all. What is there stays."""
    top = f"{engine.root}/compose"
    for each in [project] if project else _listed(top):
        for entry in _listed(f"{top}/{each}"):
            name = entry.removesuffix(".json")
            folder = _folder(engine, each, name)
            if name == entry or os.path.isdir(folder):
                continue
            with open(f"{top}/{each}/{entry}", "rb") as file:
                _make(folder, [decode(_File, item, entry) for item in loads(file.read())])


def sweep(engine: Engine, project: str, used: set[str]) -> None:
    """Remove the folders of *project* that no mount source in *used* lies in."""
    base = f"{engine.run_root}/compose/{project}"
    kept = {os.path.dirname(source) for source in used if source.startswith(f"{base}/")}
    names = {*_listed(base), *(each.removesuffix(".json") for each in _listed(f"{engine.root}/compose/{project}"))}
    for name in names:
        folder = _folder(engine, project, name)
        if folder in kept:
            continue
        for path in (*(f"{folder}/{each}" for each in _listed(folder)), _manifest(engine, project, name)):
            _quietly(os.unlink, path)
        _quietly(os.rmdir, folder)
    for empty in (base, f"{engine.root}/compose/{project}"):
        _quietly(os.rmdir, empty)


def _listed(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def _quietly(act: object, path: str) -> None:
    try:
        act(path)  # type: ignore[operator]
    except OSError:
        pass  # gone already, or still in use: the next sweep sees it again
