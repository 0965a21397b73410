"""Images, as the verbs see them: the store does the work, this adds Docker's words and rules.

`ensure` is what `run` and `build` need: the store's image, else the registry's, else, when no registry answers and the name
is a distribution's, one made from that distribution's own packages.
"""

from __future__ import annotations

from inception.engine.results import HistoryEntry, ImageRemoval, PruneReport
from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

    from inception.engine.engine import Engine
    from inception.store import Image, Progress

    OnProgress = Callable[[Progress], None] | None


class Images:
    """`engine.images`. Images are the store's records: `id`, `names`, `repo_digests`, `document`, `size_bytes`, `created`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def get(self, reference: str) -> Image:
        """The image with this name, id, unique id prefix or digest. Raises NotFound: `No such image: x`."""
        return self.engine.store.images.resolve(reference)
