"""What goes wrong, as Docker tells it: a status and `{"message": ...}`."""

from __future__ import annotations

from inception.errors import (
    Conflict,
    Forbidden,
    InceptionError,
    InvalidArgument,
    NotFound,
    NotModified,
    StartFailed,
    Unavailable,
)


class NotSupported(InceptionError):
    """Docker has it, we don't. The message names what."""


class NoSwarm(Unavailable):
    """What every swarm path of a Docker without swarm says."""

    def __init__(self) -> None:
        super().__init__(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to '
            "swarm and try again."
        )


class Unauthorized(Forbidden):
    """A registry does not take a log-in."""


class TooLarge(InvalidArgument):
    """A body beyond its bound."""


# The first class that fits counts.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotSupported, 501),
    (NoSwarm, 503),
    (TooLarge, 413),
    (Unauthorized, 401),
    (NotModified, 304),
    (InvalidArgument, 400),
    (Forbidden, 403),
    (NotFound, 404),
    (Conflict, 409),
    (Unavailable, 500),
    (StartFailed, 500),
    (InceptionError, 500),
)


def status_of(error: InceptionError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, StartFailed) and error.exit_code in (126, 127):
        return 400  # the command is the caller's mistake, and Docker's clients read 126 and 127 out of the text
    return next(status for kind, status in _STATUS if isinstance(error, kind))


def message_of(error: InceptionError) -> str:
    """The text, with the hint behind it: an API has only one place for both."""
    return f"{error} ({error.hint})" if error.hint else str(error)
