"""A look into an image without a container."""

from __future__ import annotations

import os
import stat

from inception.errors import InvalidArgument, NotFound
from inception.linux import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from inception.engine.engine import Engine
    from inception.store.images import Image


def open_file(engine: Engine, image: Image, path: str) -> BinaryIO:
    """The regular file *path* of *image*, links followed inside it. It stays readable when the image is removed."""
    what = f"open {path} of {image.names[0] if image.names else image.short_id}"
    with engine.store.lease(), engine.store.snapshots.open_layers(image.layer_ids) as root:
        try:
            # Looked at before it is opened: to open a device does things, and to open a FIFO waits.
            place = root.open(path, abi.O_PATH)
        except OSError as error:
            raise NotFound(f"{what}: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(place).st_mode):
                raise InvalidArgument(f"{what}: not a regular file")
            return open(f"/proc/self/fd/{place}", "rb")
        except OSError as error:
            raise NotFound(f"{what}: {error.strerror}") from error
        finally:
            os.close(place)
