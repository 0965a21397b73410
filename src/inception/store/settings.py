"""What this machine's owner says, in files of JSON: how they are found and read, and the one about the image store.

`/etc/inception/NAME.json`, without root `$XDG_CONFIG_HOME/inception/NAME.json`; a variable of the environment names another
(INCEPTION_STORE for `store.json`). A file that is not there says nothing.

    {"limits": {"max_bytes": 20000000000, "max_entries": 1000000, "max_ratio": 500, "max_depth": 128},
     "gc": {"unused_days": 30, "max_bytes": 50000000000},
     "snapshotter": "copy"}
"""

from __future__ import annotations

import os

from inception.errors import InvalidArgument, Unavailable
from inception.record import Record, decode
from inception.store.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T", bound=Record)

_MAX_BYTES = 1 << 20
SNAPSHOTTERS = ("auto", "overlay", "copy")


class Policy(Record):
    """What goes by itself, after a pull, a load or a build. Images that no container uses and that were last of use more than
    `unused_days` ago, whatever their names; and while the store takes more than `max_bytes`, those that were longest of no
    use. 0 means no such rule. `compressed_days`: how long layers stay that were compressed for a push; `partial_hours`: parts
    of downloads that nobody came back for."""

    unused_days: float = 0
    max_bytes: int = 0
    compressed_days: float = 7
    partial_hours: float = 24


class Settings(Record):
    """The file. `snapshotter` is how roots of containers are made: `overlay`, `copy`, or `auto` (overlay where it works)."""

    limits: Limits = Limits()
    gc: Policy = Policy()
    snapshotter: str = "auto"


def owners_path(name: str) -> str:
    """Where the file `NAME.json` is looked for."""
    named = os.environ.get(f"INCEPTION_{name.upper()}", "")
    if named:
        return named
    if os.geteuid() == 0:
        return f"/etc/inception/{name}.json"
    return f"{os.environ.get('XDG_CONFIG_HOME') or os.path.expanduser('~/.config')}/inception/{name}.json"


def load_owners(kind: type[T], path: str) -> T:
    """What a file says, as a *kind*. Raises InvalidArgument naming file and place, Unavailable."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return kind()
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    from inception.store.documents import load_json

    if len(data) > _MAX_BYTES:
        raise InvalidArgument(f"{path}: larger than {_MAX_BYTES} bytes")
    return decode(kind, load_json(data, path), path, unknown="error")


def settings_path() -> str:
    """Where the store's file is looked for."""
    return owners_path("store")


def load_settings(path: str = "") -> Settings:
    """Raises InvalidArgument naming file and place."""
    path = path or settings_path()
    settings = load_owners(Settings, path)
    if settings.snapshotter not in SNAPSHOTTERS:
        raise InvalidArgument(f"{path}: snapshotter: {settings.snapshotter!r} is none of {', '.join(SNAPSHOTTERS)}")
    for place in ("limits", "gc"):
        for name, value in vars(getattr(settings, place)).items():
            if value < 0:
                raise InvalidArgument(f"{path}: {place}.{name}: must not be negative")
    return settings
