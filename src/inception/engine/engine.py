"""The engine: everything under one root, and the door to it.

    root      /var/lib/inception, or XDG_DATA_HOME/inception without root: what must survive a reboot
    run_root  /run/inception, or XDG_RUNTIME_DIR/inception: what a reboot ends

There is no daemon, so an `Engine` is cheap: two paths and a database connection, opened when first asked. Any number of
threads and processes may have one on the same root; they agree through the database and through one lock file a container.
"""

from __future__ import annotations

import os
import stat
from _thread import RLock

from inception.caching import cached_property
from inception.errors import Forbidden, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.containers import Containers
    from inception.engine.events import Events
    from inception.engine.images import Images
    from inception.engine.networks import Networks
    from inception.engine.surroundings import FoundUser
    from inception.engine.system import System
    from inception.engine.templates import Templates
    from inception.engine.volumes import Volumes
    from inception.linux.cgroup import Cgroups
    from inception.store import Store
    from inception.store.database import Database


class Engine:
    """Containers, images, networks and volumes under one root: `containers`, `images`, `networks`, `volumes`, `system` (disk
    usage, prune, information), `events`; `help(engine.containers)` says what each can do. Building is
    `inception.build.build(engine, ...)`, Compose `inception.compose.up(engine, ...)`.

    *root* and *run_root* default to `INCEPTION_ROOT` and `INCEPTION_RUN_ROOT`, then to the system's places:
    /var/lib/inception and /run/inception as root, else below XDG_DATA_HOME and XDG_RUNTIME_DIR. Nothing is opened or made
    until it is used. Safe to share between threads. Use it as a context manager, or `close` it, to let go of the database.
    """

    def __init__(self, root: str | None = None, run_root: str | None = None) -> None:
        self.root = os.path.abspath(root or os.environ.get("INCEPTION_ROOT") or _default_root())
        self.run_root = os.path.abspath(run_root or os.environ.get("INCEPTION_RUN_ROOT") or _default_run_root())
        self._lock = RLock()
        self.boot_checked = False
        self.filters: dict[str, bytes] = {}
        self.users: dict[tuple[object, ...], FoundUser] = {}

    def __repr__(self) -> str:
        return f"Engine({self.root!r}, {self.run_root!r})"

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what lives in this process (containers of `run`) and close the database."""
        with self._lock:
            if "containers" in self.__dict__:
                self.containers.close()
            self.__dict__.pop("store", None)
            database = self.__dict__.pop("database", None)
            if database is not None:
                database.close()

    # cached_property fills the instance's __dict__, so the second access costs nothing. Two threads may build the same
    # manager at once; they hold no state of their own, except the database, which is made under the lock.

    @cached_property
    def database(self) -> Database:
        with self._lock:
            database: Database | None = self.__dict__.get("database")
            if database is None:
                from inception.engine.schema import open_database

                make_private(self.root)
                make_private(self.run_root)
                database = self.__dict__["database"] = open_database(self.root)
            return database

    @cached_property
    def store(self) -> Store:
        from inception.store import Store

        return Store(self.root, self.database)

    @cached_property
    def containers(self) -> Containers:
        from inception.engine.containers import Containers

        with self._lock:
            containers: Containers = self.__dict__.setdefault("containers", Containers(self))
            return containers

    @cached_property
    def images(self) -> Images:
        from inception.engine.images import Images

        return Images(self)

    @cached_property
    def networks(self) -> Networks:
        from inception.engine.networks import Networks

        return Networks(self)

    @cached_property
    def volumes(self) -> Volumes:
        from inception.engine.volumes import Volumes

        return Volumes(self)

    @cached_property
    def system(self) -> System:
        from inception.engine.system import System

        return System(self)

    @cached_property
    def events(self) -> Events:
        from inception.engine.events import Events

        return Events(self.run_root)

    @cached_property
    def templates(self) -> Templates:
        """Compiled plans of this process."""
        from inception.engine.templates import Templates

        return Templates()

    @cached_property
    def tag(self) -> str:
        """A short name for this root, for what all engines of a machine share: links, the nft table."""
        from inception.network.address import engine_tag

        return engine_tag(self.root)

    @cached_property
    def cgroups(self) -> Cgroups:
        from inception.linux.cgroup import Cgroups

        return Cgroups.detect()

    def container_dir(self, container_id: str) -> str:
        return f"{self.root}/containers/{container_id}"

    def run_dir(self, container_id: str) -> str:
        return f"{self.run_root}/containers/{container_id}"


_ROOT = "/var/lib/inception"


def _default_root() -> str:
    if os.geteuid() == 0:
        return _ROOT
    return os.environ.get("XDG_DATA_HOME", os.path.expanduser("~/.local/share")) + "/inception"


def _default_run_root() -> str:
    if os.geteuid() == 0:
        return "/run/inception"
    given = os.environ.get("XDG_RUNTIME_DIR")
    session = given or f"/run/user/{os.geteuid()}"
    if given or os.path.isdir(session):
        return f"{session}/inception"
    # Nobody has made that folder where there is no session: under cron, su, in a container.
    path = f"/tmp/inception-{os.geteuid()}"
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():  # a trap of another user
            raise Forbidden(f"open {path}: it is not yours", "set XDG_RUNTIME_DIR to a folder that is") from None
    return path


def make_private(path: str) -> None:
    """Make the folder *path* with mode 0700: no other user may walk to a set-uid file in an image (CVE-2021-41091)."""
    try:
        if os.stat(path).st_mode & 0o777 != 0o700:
            os.chmod(path, 0o700)
    except FileNotFoundError:
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
        except OSError as error:
            hint = "is XDG_RUNTIME_DIR that of another user?" if "XDG_RUNTIME_DIR" in os.environ and os.geteuid() else ""
            raise Unavailable(f"make {path}: {error.strerror}", hint) from error
    except PermissionError as error:
        raise Forbidden(f"open {path}: {error.strerror}", "give --root and --run-root, or become root") from error
