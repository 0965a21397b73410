"""Errors of Compose files: the message in Compose's words, with the place where it was written."""

from __future__ import annotations

from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.yaml import Place


class ComposeFileError(InvalidArgument):
    """A Compose file says something that cannot be; nothing was changed.

    `place` is where, when it is known; the message starts with it: `/srv/compose.yaml:4: ...`.
    """

    def __init__(self, message: str, place: Place | None = None, hint: str = "") -> None:
        super().__init__(f"{place}: {message}" if place else message, hint)
        self.place = place
