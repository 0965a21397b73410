"""What a long operation tells its caller while it runs."""

from __future__ import annotations

from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Progress(Record):
    """One line of news: `id` is what it is about (a layer's short digest, or empty), `status` Docker's word for it
    (`Downloading`, `Pull complete`), `current` of `total` bytes where there is something to count (0: unknown)."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


def silent(_progress: Progress) -> None:
    """For callers that don't want to know."""


if TYPE_CHECKING:
    OnProgress = Callable[[Progress], None]
