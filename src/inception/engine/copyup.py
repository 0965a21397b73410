"""What an image has where a fresh volume is mounted goes into the volume: names, owners, modes, times, as in Docker."""

from __future__ import annotations

import os

from inception.errors import Unavailable
from inception.linux import abi
from inception.linux.path import RootDir
from inception.store.extract import Extractor
from inception.store.pack import pack
from inception.store.tar import TarReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine
    from inception.engine.records import ContainerRecord, MountPoint


def copy_up(engine: Engine, record: ContainerRecord, fresh: list[MountPoint]) -> None:
    """Fill the volumes of *fresh* that are empty; each is done once in its life."""
    with engine.store.snapshots.view(record.id) as root:
        for point in fresh:
            _fill(engine, root, point)
            engine.database.execute("UPDATE volumes SET filled = 1 WHERE name = ?", (point.source,))


def _fill(engine: Engine, root: RootDir, point: MountPoint) -> None:
    host_path = engine.volumes.get(point.source).host_path
    if not host_path or not os.path.isdir(host_path):
        return  # in memory, or a folder of the host's that isn't there: the start says so
    try:
        source = root.open(point.destination, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        with RootDir(os.open(host_path, abi.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as target:
            if not target.listdir("."):
                Extractor(target).run(TarReader(pack(source)))
    except OSError as error:
        raise Unavailable(f"copy what the image has at {point.destination} into volume {point.source}: {error}") from error
    finally:
        os.close(source)
