"""`develop.watch`: what changed on the host, and what is to be done about it.

    inotify     says that something has changed below the watched folders: no more, so nothing depends on its events
    scan        the files that a rule is about, as they are now
    compare     with the scan before: the changes, one batch as soon as the folders have been quiet for a moment
    plan        a batch to actions: one rebuild of a service makes everything else of it superfluous

A build is told of what a folder holds, so its `.dockerignore` counts for the rules of its service too.
"""

from __future__ import annotations

import os
import select
import stat

from inception.build.ignore import IgnoreRules, parse_ignore
from inception.errors import InvalidArgument, Unavailable
from inception.linux import inotify
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import Project, Service, WatchRule

    Stamps = dict[str, tuple[int, int, int, int]]

REBUILD, RESTART, SYNC, SYNC_RESTART, SYNC_EXEC = "rebuild", "restart", "sync", "sync+restart", "sync+exec"
# How long nothing may happen before a batch is done: an editor that saves, a branch that is switched.
_QUIET_MS = 200
# What editors and version control leave beside the files that matter.
_NEVER = b"**/.git\n**/.DS_Store\n**/*~\n**/.*.sw?\n**/.#*\n**/4913\n"
_CHANGES = (
    inotify.IN_MODIFY | inotify.IN_ATTRIB | inotify.IN_CREATE | inotify.IN_DELETE | inotify.IN_MOVED_FROM | inotify.IN_MOVED_TO
)


class Watched(Record):
    """A rule of one service; `rules` are what it ignores, `included` what it is about when it says so."""

    service: str
    rule: WatchRule
    rules: IgnoreRules
    included: IgnoreRules | None = None


class Change(Record):
    """A file or folder of the host below a rule's path, as `relative` to it, that has changed, or is `gone`."""

    watched: Watched
    relative: str
    gone: bool = False

    @property
    def host_path(self) -> str:
        path = self.watched.rule.path
        return f"{path}/{self.relative}" if self.relative else path

    @property
    def container_path(self) -> str:
        rule = self.watched.rule
        if self.relative:
            return f"{rule.target.rstrip('/')}/{self.relative}"
        return rule.target + os.path.basename(rule.path) if rule.target.endswith("/") else rule.target


class Batch(Record):
    """What is to be done for one service. `restart` and `commands` come after what is synchronized."""

    service: str
    changes: int = 0
    rebuild: bool = False
    restart: bool = False
    synchronized: list[Change] = []
    hooks: list[WatchRule] = []


def watched_rules(project: Project, names: list[str]) -> list[Watched]:
    """The rules of the services *names*. Raises InvalidArgument for one that can't be followed, or when there is none."""
    found = []
    for name in names:
        service = project.services[name]
        for number, rule in enumerate(service.develop.watch):
            _check(service, rule, f"services.{name}.develop.watch[{number}]")
            ignored = b"\n".join([_NEVER, _of_the_build(service, rule), *map(os.fsencode, rule.ignore)])
            included = parse_ignore(b"\n".join(map(os.fsencode, rule.include)), "include") if rule.include else None
            found.append(Watched(service=name, rule=rule, rules=parse_ignore(ignored, "ignore"), included=included))
    if not found:
        raise InvalidArgument(
            "none of the selected services is configured for watch, consider setting a 'develop' section",
            "https://docs.docker.com/compose/file-watch/ says what it may hold",
        )
    return found


def _check(service: Service, rule: WatchRule, where: str) -> None:
    if rule.action == REBUILD and service.build is None:
        raise InvalidArgument(f"{where}: can't watch service {service.name!r} with action rebuild without a build context")
    if rule.action in (SYNC, SYNC_RESTART, SYNC_EXEC) and not rule.target.startswith("/"):
        raise InvalidArgument(f"{where}: target: action {rule.action} needs the absolute path inside the container")
    if rule.action == SYNC_EXEC and not rule.exec.command:
        raise InvalidArgument(f"{where}: exec: action {SYNC_EXEC} needs a command")
    if not os.path.lexists(rule.path):
        raise InvalidArgument(f"{where}: path {rule.path} does not exist")
    for mount in service.volumes:
        if (
            mount.type == "bind"
            and (rule.path + "/").startswith(mount.source.rstrip("/") + "/")
            and rule.action.startswith(SYNC)
        ):
            raise InvalidArgument(
                f"{where}: path {rule.path!r} is in the container already: service {service.name!r} mounts {mount.source}"
            )


def _of_the_build(service: Service, rule: WatchRule) -> bytes:
    """The build's own `.dockerignore`, where the rule is about its whole context."""
    if service.build is None or rule.path.rstrip("/") != service.build.context.rstrip("/"):
        return b""
    try:
        with open(f"{rule.path}/.dockerignore", "rb") as file:
            return file.read(1 << 20)
    except OSError:
        return b""


def scan(watched: Watched, folders: set[str]) -> Stamps:
    """The files that a rule is about and what tells that one has changed; the folders on the way are added to *folders*."""
    found: Stamps = {}
    path = watched.rule.path
    try:
        status = os.lstat(path)
    except OSError:
        return found
    if not stat.S_ISDIR(status.st_mode):
        folders.add(os.path.dirname(path))
        return {"": _stamp(status)}
    pending: list[tuple[str, tuple[bool, ...]]] = [("", ())]
    while pending:
        relative, above = pending.pop()
        folder = f"{path}/{relative}" if relative else path
        folders.add(folder)
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue  # removed meanwhile
        for entry in entries:
            name = f"{relative}/{entry.name}" if relative else entry.name
            ignored, matched = watched.rules.decide(name, above)
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder and not (ignored and not watched.rules.may_include_below(name)):
                pending.append((name, matched))
                if not ignored and watched.included is None:
                    found[name] = (0, 0, 0, 0)  # it is there: whatever happens in it is seen of its files
            elif not ignored and not is_folder and (watched.included is None or watched.included.ignored(name)):
                try:
                    found[name] = _stamp(entry.stat(follow_symlinks=False))
                except OSError:
                    pass
    return found


def _stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_mode, status.st_ino


class Watcher:
    """Everything that *rules* are about; `changes` waits for the next batch. Close it."""

    def __init__(self, rules: list[Watched]) -> None:
        self._rules = rules
        self._fd = inotify.open()
        self._followed: set[str] = set()
        self._before = self._scan()

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_exc: object) -> None:
        os.close(self._fd)

    def everything(self, watched: Watched) -> list[Change]:
        """All files of a rule, for the first time."""
        return [Change(watched=watched, relative=name) for name in sorted(self._before[self._rules.index(watched)])]

    def changes(self) -> list[Change]:
        """Waits until something has changed and all is quiet again."""
        ready = select.poll()
        ready.register(self._fd, select.POLLIN)
        while True:
            ready.poll()
            while ready.poll(_QUIET_MS):
                inotify.drain(self._fd)
            found = self._compare()
            if found:
                return found

    def _compare(self) -> list[Change]:
        before, self._before = self._before, self._scan()
        found = []
        for watched, then, now in zip(self._rules, before, self._before, strict=True):
            changed = [name for name, stamp in now.items() if then.get(name) != stamp]
            found += [Change(watched=watched, relative=name) for name in sorted(changed)]
            found += [Change(watched=watched, relative=name, gone=True) for name in sorted(then.keys() - now.keys())]
        return found

    def _scan(self) -> list[Stamps]:
        """What there is now. New folders are followed before they are read again, so that nothing in them is missed."""
        while True:
            folders: set[str] = set()
            found = [scan(watched, folders) for watched in self._rules]
            new = folders - self._followed
            self._followed = folders
            for folder in new:
                self._follow(folder)
            if not new:
                return found

    def _follow(self, folder: str) -> None:
        try:
            inotify.add(self._fd, folder, _CHANGES)
        except FileNotFoundError:
            self._followed.discard(folder)
        except OSError as error:
            hint = "raise fs.inotify.max_user_watches" if error.errno == 28 else ""  # ENOSPC
            raise Unavailable(f"watch {folder}: {(error.strerror or '').lower()}", hint) from None


def plan_batches(changes: list[Change]) -> list[Batch]:
    """What is to be done about *changes*, a batch a service."""
    found: dict[str, Batch] = {}
    for change in changes:
        rule = change.watched.rule
        batch = found.setdefault(change.watched.service, Batch(service=change.watched.service, synchronized=[], hooks=[]))
        batch.changes += 1
        batch.rebuild = batch.rebuild or rule.action == REBUILD
        batch.restart = batch.restart or rule.action in (RESTART, SYNC_RESTART)
        if rule.action.startswith(SYNC):
            batch.synchronized.append(change)
        if rule.action == SYNC_EXEC and rule not in batch.hooks:
            batch.hooks.append(rule)
    return list(found.values())


def pack(changes: list[Change]) -> bytes:
    """The files that are there as a tar stream to be unpacked at `/`."""
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for change in changes:
            try:
                if not change.gone:
                    tar.add(change.host_path, change.container_path.lstrip("/"), recursive=False)
            except FileNotFoundError:
                pass  # gone since: the next batch says so
    return stream.getvalue()
