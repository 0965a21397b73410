"""Errors of a build in BuildKit's words, with the lines of the Dockerfile that clients show beneath them."""

from __future__ import annotations

from typing import Any

from inception.api.buildkit.grpc import (
    CANCELED,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    UNIMPLEMENTED,
    UNKNOWN,
    GrpcError,
    details_of,
)
from inception.api.buildkit.messages import SOURCE, SUBREQUEST
from inception.api.errors import NotSupported, message_of
from inception.build import BuildFailed, DockerfileError
from inception.build.execute import Abandoned
from inception.build.source import CommandFailed
from inception.errors import Conflict, InceptionError, InvalidArgument, NotFound

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (NotSupported, UNIMPLEMENTED),
    (Abandoned, CANCELED),
    (BuildFailed, UNKNOWN),
    (InvalidArgument, INVALID_ARGUMENT),
    (NotFound, NOT_FOUND),
    (Conflict, FAILED_PRECONDITION),
    (InceptionError, UNKNOWN),
)
# How Go's clients of BuildKit know the types of details: the path of the package, and JSON's mark although it is a message.
_PACKAGE = "github.com/moby/buildkit/errdefs"


def explain(error: InceptionError) -> GrpcError:
    """The error as a client of BuildKit wants it."""
    if isinstance(error, GrpcError):
        return error
    code = next(number for kind, number in _CODES if isinstance(error, kind))
    words = words_of(error)
    details = [_source(error)] if isinstance(error, (BuildFailed, DockerfileError)) else []
    return GrpcError(code, words, details_of(code, words, details))


def words_of(error: InceptionError) -> str:
    cause = error.__cause__
    if isinstance(cause, CommandFailed):
        return f'process "{" ".join(cause.command)}" did not complete successfully: exit code: {cause.exit_code}'
    if isinstance(error, BuildFailed) and isinstance(cause, InceptionError):
        return message_of(cause)
    return message_of(error)


def unsupported_subrequest(name: str) -> GrpcError:
    words = f"unsupported request {name}"
    details = [{"type_url": "errdefs.Subrequest", "value": SUBREQUEST.encode({"name": name})}]
    return GrpcError(UNIMPLEMENTED, words, details_of(UNIMPLEMENTED, words, details))


def _source(error: BuildFailed | DockerfileError) -> dict[str, Any]:
    lines = [{"start": {"line": error.first_line}, "end": {"line": error.last_line}}]
    info = {"filename": error.source.name, "data": "\n".join(error.source.lines).encode(), "language": "Dockerfile"}
    return {"type_url": "errdefs.Source", "value": SOURCE.encode({"info": info, "ranges": lines})}
