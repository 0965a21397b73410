"""The few things a caller can react to.

A message reads `operation object: cause`, lower case, with the name that the user typed; Docker's wording where Docker has
one (`No such container: web`). `hint` is the next step, where we know it. The CLI prints both and turns the class into an
exit code; the API will turn it into a status.
"""

from __future__ import annotations


class InceptionError(Exception):
    """Base of all errors that this package raises on purpose.

    `str(error)` is the message; `hint` the next step or an empty string.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InvalidArgument(InceptionError):
    """What was asked for makes no sense: a bad name, flag, file or combination. Nothing was changed."""


class NotFound(InceptionError):
    """The named object does not exist."""


class Conflict(InceptionError):
    """The object exists already, is in use, or is in a state that forbids the operation."""


class NotModified(InceptionError):
    """The object is in the wanted state already (starting a running container)."""


class Forbidden(InceptionError):
    """The kernel, the registry or a policy refuses."""


class Unavailable(InceptionError):
    """Something outside is missing for now: a registry, disk space, a kernel feature, a helper program."""


class StartFailed(InceptionError):
    """A container's or exec's process could not be started.

    `exit_code` is Docker's: 127 when the command is not there, 126 when it can't be executed, 125 (CLI) or 128 otherwise.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = 128) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code
