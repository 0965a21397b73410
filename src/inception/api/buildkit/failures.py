"""Errors of a build in BuildKit's words, with the lines of the Dockerfile that clients show beneath them."""

from __future__ import annotations

from typing import Any

from inception.api.errors import message_of
from inception.build import BuildFailed, DockerfileError
from inception.build.running import Abandoned
from inception.build.source import CommandFailed
from inception.buildkit.grpc import (
    CANCELED,
    UNIMPLEMENTED,
    UNKNOWN,
    GrpcError,
    details_of,
)
from inception.buildkit.messages import SOURCE, SUBREQUEST
from inception.errors import InceptionError


def explain(error: InceptionError) -> GrpcError:
    """The error as a client of BuildKit wants it."""
    if isinstance(error, GrpcError):
        return error
    # Go's clients put the name of any other code before the words.
    code = CANCELED if isinstance(error, Abandoned) else UNKNOWN
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
