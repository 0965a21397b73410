"""Builds that nothing has changed for are known as a whole: the steps, one by one, are then not even planned.

    what was asked, the Dockerfile ── digest ──▶ a row: what the bases were, what the context was, what came of it
                                                      all still so?  ──▶ the same image, told like a cached build

A build rests on its options, its Dockerfile, its base images and the files of its context, and on nothing else unless it says
so (downloads, caches elsewhere, --no-cache, ...), in which case it isn't remembered. Files count by what stat(2) says of them,
names, sizes and times and inodes, folder by folder as the build looked at them; a file that was written so shortly before the
build that its times may not tell (git's "racy" entries) makes a build that isn't remembered. Every hour the long way is gone
once, so that the layers' own entries stay in use.

All of it is to import little: to plan, expand and look up ten steps takes a few milliseconds, to load the code for that ten.
"""

from __future__ import annotations

import os
import time

from inception import jsontext
from inception.build.cache import BuildCache
from inception.build.config import DEFAULT_NAMES, BuildResult
from inception.errors import InceptionError
from inception.linux.path import RootDir
from inception.oci.digest import small_sha256
from inception.oci.reference import Reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.build.config import BuildConfig
    from inception.build.progress import OnEvent
    from inception.build.session import Session
    from inception.build.tree import Node
    from inception.engine import Engine
    from inception.store import Store

_FRESH_S = 3600
_CLOCK_GRAIN_NS = 50_000_000
_MAX_BYTES = 4 << 20
_MAX_FOLDERS = 20_000
# Another form of rows, or other outcomes of the same words: then nothing of before counts.
_VERSION = 3


class Recollection:
    """What is known of a build that is about to be done. `key` is empty when it isn't one to be remembered."""

    def __init__(self, engine: Engine, config: BuildConfig) -> None:
        self._engine, self._store = engine, engine.store
        self._config = config
        self._started_ns = time.time_ns()
        self._key = self._make_key()

    def _make_key(self) -> str:
        if not _is_plain(self._config):
            return ""
        try:
            with RootDir.open_host(self._config.context) as root:
                return _key(self._config, root)
        except (OSError, InceptionError):
            return ""  # whatever it is, the long way says it properly

    def result(self, progress: OnEvent | None) -> BuildResult | None:
        """That of the last time, when nothing it rests on has changed since; its names are given to it again."""
        store, config = self._store, self._config
        text = BuildCache(store).result(self._key, int(time.time()) - _FRESH_S) if self._key else None
        if text is None:
            return None
        known = jsontext.loads(text)
        with store.lease():
            try:
                with RootDir.open_host(config.context) as root:
                    if not _is_so(store, known, root):
                        return None
            except (OSError, InceptionError):
                return None
            for name in config.tags:
                if _image(store, name) != known["image"] or store.indexes.of(Reference.parse(name)):
                    self._engine.images.tag(known["image"], name)
        _tell(known, config.tags, progress)
        steps = known["steps"]
        return BuildResult(
            image_id=known["image"], steps=steps, cached_steps=steps, warnings=known["warnings"], reasons=known["reasons"]
        )

    def remember(self, session: Session, image_id: str) -> None:
        """Notes a build that has just succeeded."""
        tree = session.context.tree
        # The same words before the build and after it: they were not changed while it read them.
        if not self._key or session.downloads or tree is None or self._make_key() != self._key:
            return
        if b"--device" in session.context.dockerfile:  # what a device means is written elsewhere
            return
        try:
            with RootDir.open_host(self._config.context) as root:
                folders = _folders(tree.root)
                marks = []
                for node in folders[:_MAX_FOLDERS]:
                    mark = _mark(root, node.path, node, self._started_ns - _CLOCK_GRAIN_NS)
                    if mark is None:
                        return
                    marks.append([node.path, mark])
        except OSError:
            return
        known = {
            "image": image_id,
            "bases": [[name, image.id] for name, image in session.images.items()],
            "folders": marks,
            "told": session.reporter.names,
            "steps": session.steps,
            "warnings": session.plan.warnings,
            "reasons": _as_cached(session.reasons),
        }
        text = jsontext.dumps(known)
        if len(text) <= _MAX_BYTES and len(folders) <= _MAX_FOLDERS:
            session.cache.note_result(self._key, text)


def _is_plain(config: BuildConfig) -> bool:
    """Whether a build rests on nothing but files here and images here, and ends as an image in the store."""
    elsewhere = config.outputs or config.cache_from or config.cache_to or config.contexts or config.annotations
    asked = config.no_cache or config.pull or config.no_cache_stages or config.metadata or config.attestations
    streams = "-" in (config.context, config.dockerfile)
    return not (elsewhere or asked or config.platform or streams) and os.path.isdir(config.context)


def _key(config: BuildConfig, root: RootDir) -> str:
    """The digest of what was asked, the Dockerfile's and the ignore rules' own words among it."""
    names = (config.dockerfile,) if config.dockerfile else DEFAULT_NAMES
    texts = [config.dockerfile_inline]
    for name in () if config.dockerfile_inline else names:
        texts += [_read(root, path, inside=not config.dockerfile) for path in (name, f"{name}.dockerignore")]
    texts.append(_read(root, ".dockerignore", inside=True))
    asked = [
        os.path.realpath(config.context),
        config.dockerfile,
        config.target,
        sorted(config.build_args.items()),
        sorted(config.labels.items()),
        config.network,
        config.extra_hosts,
        sorted(config.allow),
    ]
    hasher = small_sha256()
    hasher.update(jsontext.dumps([_VERSION, asked, texts]).encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def _read(root: RootDir, path: str, *, inside: bool) -> str:
    try:
        if inside:
            data = root.read_bytes(path, _MAX_BYTES)
        else:
            with open(path, "rb") as file:
                data = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return ""
    return "=" + data.decode("latin-1")


def _is_so(store: Store, known: dict[str, object], root: RootDir) -> bool:
    bases: list[list[str]] = known["bases"]  # type: ignore[assignment]
    folders: list[list[str]] = known["folders"]  # type: ignore[assignment]
    if _image(store, str(known["image"])) is None or any(_image(store, name) != image_id for name, image_id in bases):
        return False
    return all(_mark(root, path) == mark for path, mark in folders)


def _image(store: Store, text: str) -> str | None:
    try:
        return store.images.find(text)
    except InceptionError:
        return None


def _folders(node: Node) -> list[Node]:
    """Those that the build has looked into."""
    if node.children is None:
        return []
    return [node, *(each for child in node.children.values() if child.is_dir for each in _folders(child))]


def _mark(root: RootDir, path: str, node: Node | None = None, before_ns: int = 0) -> str | None:
    """The digest of what a folder holds. With *node*, None when that isn't what the build has seen, or when something in the
    folder is younger than *before_ns*."""
    fd = root.open(path or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(fd) as entries:
            found = sorted([(entry.name, entry.stat(follow_symlinks=False)) for entry in entries])
        lines = [f"{os.fstat(fd).st_mode:o}"]
    finally:
        os.close(fd)
    for name, stat in found:
        if stat.st_mode & 0o170000 == 0o040000:
            # What is in it is its own mark's business.
            lines.append(f"{name}\0{stat.st_mode:o} {stat.st_ino}")
        else:
            times = f"{stat.st_mtime_ns} {stat.st_ctime_ns}"
            lines.append(f"{name}\0{stat.st_mode:o} {stat.st_ino} {stat.st_size} {stat.st_rdev} {times}")
    if node is not None and not _as_seen(node, dict(found), before_ns):
        return None
    hasher = small_sha256()
    hasher.update("\n".join(lines).encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def _as_seen(folder: Node, found: dict[str, os.stat_result], before_ns: int) -> bool:
    seen = folder.children or {}
    for name, stat in found.items():
        # A folder that was seen is young when something was put into it or taken out: its own mark tells.
        known = stat.st_mode & 0o170000 == 0o040000 and name in seen
        if not known and max(stat.st_mtime_ns, stat.st_ctime_ns) >= before_ns:
            return False
    for name, node in seen.items():
        now, then = found.get(name), node.stat
        if now is None or (now.st_mode, now.st_ino) != (then.st_mode, then.st_ino):
            return False
        same = (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (then.st_size, then.st_mtime_ns, then.st_ctime_ns)
        if not (same or node.is_dir):
            return False
    return True


def _as_cached(reasons: Sequence[str]) -> list[str]:
    """What `--why` says when nothing was made."""
    return [reason if ": cached" in reason else f"{reason.rpartition(': ')[0]}: cached" for reason in reasons]


def _tell(known: dict[str, object], names: Sequence[str], progress: OnEvent | None) -> None:
    """The events of a build that found everything."""
    if progress is None:
        return
    from inception.build.progress import Reporter

    reporter = Reporter(progress)
    warnings: list[str] = known["warnings"]  # type: ignore[assignment]
    told: list[str] = known["told"]  # type: ignore[assignment]
    for warning in warnings:
        reporter.warn(warning)
    for title in told:
        with reporter.step(title) as step:
            if title == "exporting to image":
                step.output(f"writing image {known['image']}\n".encode())
                for name in names:
                    step.output(f"naming to {name}\n".encode())
            if not title.startswith("[internal]"):
                step.cached()
