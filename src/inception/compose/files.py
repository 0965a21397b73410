"""Secrets and configs of a service as files of its containers: read here, made by the engine at every start, in memory."""

from __future__ import annotations

import os
import stat

from inception.engine.private_files import PrivateFile
from inception.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import FileReference, FileSource, Project, Service

MAX_BYTES = 1 << 20  # Swarm's limit for configs; secrets have half of it there
_DEFAULT_MODE = 0o444


def service_files(project: Project, service: Service) -> list[PrivateFile]:
    """The files of every container of *service*. Raises NotFound or InvalidArgument naming the secret, never showing it."""
    return [
        PrivateFile(
            target=_target(kind, reference),
            content=_read_source(project, kind, reference.source).hex(),
            uid=_number(reference.uid, f"services.{service.name}.{kind}s.{reference.source}.uid"),
            gid=_number(reference.gid, f"services.{service.name}.{kind}s.{reference.source}.gid"),
            mode=_DEFAULT_MODE if reference.mode is None else reference.mode,
        )
        for kind, reference in _references(service)
    ]


def _target(kind: str, reference: FileReference) -> str:
    """Where the file is seen: secrets below /run/secrets, configs below /, unless a whole path is given."""
    target = reference.target or reference.source
    return target if target.startswith("/") else ("/run/secrets/" if kind == "secret" else "/") + target


def _references(service: Service) -> list[tuple[str, FileReference]]:
    return [*(("secret", each) for each in service.secrets), *(("config", each) for each in service.configs)]


def build_secrets(project: Project, references: list[FileReference]) -> dict[str, str]:
    """The secrets of a build by the id that its steps ask for, in hex. Raises NotFound or InvalidArgument."""
    return {each.target or each.source: _read_source(project, "secret", each.source).hex() for each in references}


def _read_source(project: Project, kind: str, key: str) -> bytes:
    sources: dict[str, FileSource] = project.secrets if kind == "secret" else project.configs
    source = sources[key]
    if source.file:
        return _read_file(source.file, f"{kind} {key}")
    if source.environment:
        value = project.environment.get(source.environment)
        if value is None:
            raise NotFound(f'environment variable "{source.environment}" required by {kind} "{key}" is not set')
        return os.fsencode(value)
    return os.fsencode(source.content)


def _read_file(path: str, what: str) -> bytes:
    try:
        # Not blocking: a named pipe that nobody writes to must not stop the command.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise NotFound(f"{what}: open {path}: {(error.strerror or 'error').lower()}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise InvalidArgument(f"{what}: {path} is not a regular file")
        data = b""
        while len(data) <= MAX_BYTES and (piece := os.read(fd, MAX_BYTES + 1)):
            data += piece
    finally:
        os.close(fd)
    if len(data) > MAX_BYTES:
        raise InvalidArgument(f"{what}: {path} is larger than {MAX_BYTES} bytes")
    return data


def _number(text: str, where: str) -> int:
    if text and not (text.isascii() and text.isdecimal() and int(text) < 1 << 32):
        raise InvalidArgument(f"{where}: expected a number, got {text!r}")
    return int(text or 0)
