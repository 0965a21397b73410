"""Builds that nothing has changed for are known as a whole: the steps, one by one, are then not even planned.

    what was asked, the Dockerfile ── digest ──▶ a file: what the bases were, what the context was, what came of it
                                                      all still so?  ──▶ the same image, told like a cached build

A build rests on its options, its Dockerfile, its base images and the files of its context, and on nothing else unless it says
so (downloads, caches elsewhere, --no-cache, ...), in which case it isn't remembered. Files count by what stat(2) says of them,
names, sizes and times and inodes, folder by folder as the build looked at them; a file that was written so shortly before the
build that its times may not tell (git's "racy" entries) makes a build that isn't remembered. Every hour the long way is gone
once, so that the layers' own entries stay in use.

Images are what they were when the database has had no commit since (`store/dbstate.py`): then it isn't even opened. All of this
is to import little: to plan, expand and look up ten steps takes a few milliseconds, to load the code for that ten, to open the
store five.
"""

from __future__ import annotations

import os
import stat
import time

from inception import jsontext
from inception.build.config import DEFAULT_NAMES, BuildResult
from inception.build.wholebuilds import WholeBuilds
from inception.errors import InceptionError
from inception.oci.digest import small_sha256
from inception.store.dbstate import last_commit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from inception.build.config import BuildConfig
    from inception.build.progress import OnEvent
    from inception.build.session import Session
    from inception.build.tree import Node
    from inception.engine import Engine
    from inception.store import Store

_CLOCK_GRAIN_NS = 50_000_000
_MAX_BYTES = 4 << 20
_MAX_FOLDERS = 20_000
# Another form of files, or other outcomes of the same words: then nothing of before counts.
_VERSION = 4


class Recollection:
    """What is known of a build that is about to be done. `key` is empty when it isn't one to be remembered."""

    def __init__(self, engine: Engine, config: BuildConfig) -> None:
        self._engine = engine
        self._config = config
        self._builds = WholeBuilds(engine.root)
        self._started_ns = time.time_ns()
        self._key = self._make_key()

    def _make_key(self) -> str:
        if not _is_plain(self._config):
            return ""
        try:
            root = _open_folder(self._config.context)
            try:
                return _key(self._config, root)
            finally:
                os.close(root)
        except (OSError, InceptionError):
            return ""  # whatever it is, the long way says it properly

    def result(self, progress: OnEvent | None) -> BuildResult | None:
        """That of the last time, when nothing it rests on has changed since; its names are given to it again."""
        text = self._builds.load(self._key) if self._key else None
        if text is None:
            return None
        known = jsontext.loads(text)
        commit = self._last_commit()
        try:
            root = _open_folder(self._config.context)
            try:
                if not all(_mark(root, path) == mark for path, mark in known["folders"]):
                    return None
            finally:
                os.close(root)
        except OSError:
            return None
        tags = self._config.tags
        nothing_happened = commit and commit == known["commit"] and set(tags) <= set(known["tags"])
        if not nothing_happened and not self._confirm(known, commit):
            return None
        _tell(known, tags, progress)
        steps = known["steps"]
        return BuildResult(
            image_id=known["image"], steps=steps, cached_steps=steps, warnings=known["warnings"], reasons=known["reasons"]
        )

    def _last_commit(self) -> str:
        return last_commit(f"{self._engine.root}/state.db")

    def _confirm(self, known: dict[str, object], commit: str) -> bool:
        """Whether the images are what they were, as the database says; *commit* was its last one before. The build's names are
        given again."""
        from inception.oci.reference import Reference

        store, image_id = self._engine.store, str(known["image"])
        bases: list[list[str]] = known["bases"]  # type: ignore[assignment]
        with store.lease():
            if _image(store, image_id) is None or any(_image(store, name) != base for name, base in bases):
                return False
            for name in self._config.tags:
                if _image(store, name) != image_id or store.indexes.of(Reference.parse(name)):
                    self._engine.images.tag(image_id, name)
        # What it was given now is a commit of its own: the next time finds that nothing has to be given.
        known |= {"commit": commit, "tags": self._config.tags}
        self._builds.note(self._key, jsontext.dumps(known))
        return True

    def remember(self, session: Session, image_id: str) -> None:
        """Notes a build that has just succeeded."""
        tree = session.context.tree
        # The same words before the build and after it: they were not changed while it read them.
        if not self._key or session.downloads or tree is None or self._make_key() != self._key:
            return
        if b"--device" in session.context.dockerfile:  # what a device means is written elsewhere
            return
        folders = _folders(tree.root)
        marks = []
        try:
            root = _open_folder(self._config.context)
            try:
                for node in folders[:_MAX_FOLDERS]:
                    mark = _mark(root, node.path, node, self._started_ns - _CLOCK_GRAIN_NS)
                    if mark is None:
                        return
                    marks.append([node.path, mark])
            finally:
                os.close(root)
        except OSError:
            return
        known = {
            "image": image_id,
            "commit": "",  # the bases' names may have changed hands since they were looked up
            "tags": [],
            "bases": [[name, image.id] for name, image in session.bases.images.items()],
            "folders": marks,
            "told": session.reporter.names,
            "steps": session.steps,
            "warnings": session.plan.warnings,
            "reasons": _as_cached(session.reasons),
        }
        text = jsontext.dumps(known)
        if len(text) <= _MAX_BYTES and len(folders) <= _MAX_FOLDERS:
            self._builds.save(self._key, text)


def _is_plain(config: BuildConfig) -> bool:
    """Whether a build rests on nothing but files here and images here, and ends as an image in the store."""
    elsewhere = config.outputs or config.cache_from or config.cache_to or config.contexts or config.annotations
    asked = config.no_cache or config.pull or config.no_cache_stages or config.metadata or config.attestations
    streams = "-" in (config.context, config.dockerfile)
    return not (elsewhere or asked or config.platform or streams) and os.path.isdir(config.context)


def _key(config: BuildConfig, root: int) -> str:
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


def _open_folder(path: str, root: int | None = None) -> int:
    """Names are followed here as the build does it, since no component of a remembered path was a link, and each of the folders
    above has a mark that says so."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return os.open(path, flags if root is None else flags | os.O_NOFOLLOW, dir_fd=root)


def _read(root: int, path: str, *, inside: bool) -> str:
    """Raises OSError for a link inside the context: it leads where only the long way looks safely."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW, dir_fd=root) if inside else os.open(path, flags)
    except FileNotFoundError:
        return ""
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(22, "not a regular file", path)
        return "=" + file.read(_MAX_BYTES).decode("latin-1")


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


def _mark(root: int, path: str, node: Node | None = None, before_ns: int = 0) -> str | None:
    """The digest of what a folder holds. With *node*, None when that isn't what the build has seen, or when something in the
    folder is younger than *before_ns*."""
    fd = _open_folder(path or ".", root)
    try:
        with os.scandir(fd) as entries:
            found = sorted([(entry.name, entry.stat(follow_symlinks=False)) for entry in entries])
        lines = [f"{os.fstat(fd).st_mode:o}"]
    finally:
        os.close(fd)
    for name, status in found:
        if stat.S_ISDIR(status.st_mode):
            # What is in it is its own mark's business.
            lines.append(f"{name}\0{status.st_mode:o} {status.st_ino}")
        else:
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
            lines.append(f"{name}\0{status.st_mode:o} {status.st_ino} {status.st_size} {status.st_rdev} {times}")
    if node is not None and not _as_seen(node, dict(found), before_ns):
        return None
    hasher = small_sha256()
    hasher.update("\n".join(lines).encode("utf-8", "surrogateescape"))
    return hasher.hexdigest()


def _as_seen(folder: Node, found: dict[str, os.stat_result], before_ns: int) -> bool:
    seen = folder.children or {}
    for name, status in found.items():
        # A folder that was seen is young when something was put into it or taken out: its own mark tells.
        known = stat.S_ISDIR(status.st_mode) and name in seen
        if not known and max(status.st_mtime_ns, status.st_ctime_ns) >= before_ns:
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
