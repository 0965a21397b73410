"""What one step takes from elsewhere: files of the context, of other stages and images, downloads.

Each kind is known to the cache the cheap way first: files of a finished stage by that stage's layers, and only when those are
new by their own content, so that a stage which was made again with the same files invalidates nothing.
"""

from __future__ import annotations

from inception.build.image import Outcome
from inception.build.operations import Copy, Operation, Run, holds_layers
from inception.build.selection import Selection, hash_file, select
from inception.build.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.build.git import Repository
    from inception.build.remote import Remote
    from inception.build.session import Session
    from inception.linux.path import RootDir


class Stack:
    """Layers bottom first, and what each operation since the base image came to."""

    def __init__(self, layer_ids: list[int], diff_ids: list[str], outcomes: list[Outcome], stage: int = -1) -> None:
        self.layer_ids = layer_ids
        self.diff_ids = diff_ids
        self.outcomes = outcomes
        self.stage = stage
        self.fresh = False  # what is put on it is made anew

    def copy(self) -> Stack:
        return Stack(list(self.layer_ids), list(self.diff_ids), list(self.outcomes))


def files_copy(source: str, target: str, origin: str = "") -> Copy:
    """A COPY that no Dockerfile has: one source, as it is."""
    words = f"COPY {source} {target}"
    return Copy(
        instruction="COPY",
        title=words,
        created_by=words,
        first_line=1,
        last_line=1,
        sources=[source.strip("/") or "."],
        destination=target,
        origin=origin,
    )


class Inputs:
    """The files that one step takes, opened when they are needed and closed at its end."""

    def __init__(self, build: Session, step: Operation) -> None:
        self._build = build
        self._step = step
        self._views: list[RootDir] = []
        self._selected: dict[int, Selection] = {}
        self.remotes: list[Remote] = []
        self.repositories: list[Repository] = []
        self.commits: list[str] = []
        self._copies = _copies(step)

    def __enter__(self) -> Inputs:
        return self

    def __exit__(self, *_error: object) -> None:
        for view in self._views:
            view.close()

    def contents(self) -> Iterator[list[str]]:
        """What the key says of the files, the cheap way and then the exact one, where they differ."""
        downloads = self._downloads()
        yield [*downloads, *(part for number in range(len(self._copies)) for part in self._cheaply(number))]
        if any(holds_layers(copy.origin) for copy in self._copies):
            yield [*downloads, *(part for number in range(len(self._copies)) for part in self._exactly(number))]

    def selection(self) -> Selection | None:
        """What a COPY copies; None when all of it are here-documents and downloads."""
        return self._select(0) if self._copies else None

    def list_files(self) -> dict[str, str]:
        """What a COPY takes from a context, by path: `reasons.py`."""
        from inception.build.reasons import list_files

        found: dict[str, str] = {}
        for number, copy in enumerate(self._copies):
            if not holds_layers(copy.origin):
                found |= list_files(self._select(number), self._build.context_of(copy.origin).digests.of)
        return found

    def _downloads(self) -> list[str]:
        step = self._step
        if not isinstance(step, Copy) or not (step.urls or step.repositories):
            return []
        commits = []
        if step.repositories:
            from inception.build.git import resolve_commit

            self.repositories = [_repository(text, step) for text in step.repositories]
            self.commits = [resolve_commit(repository) for repository in self.repositories]
            for text, commit in zip(step.repositories, self.commits, strict=True):
                self._build.note_download(text, "sha1" if len(commit) == 40 else "sha256", commit)
            commits = [_git_content(each, commit) for each, commit in zip(self.repositories, self.commits, strict=True)]
            if not step.urls:
                return commits
        from inception.build.remote import check

        self.remotes = [check(url, step.checksum, self._build.cache, self._build.scratch.path) for url in step.urls]
        for remote in self.remotes:
            self._build.note_download(remote.url, *remote.digest.split(":", 1))
        return [*commits, *(f"{remote.name} {remote.digest}" for remote in self.remotes)]

    def _cheaply(self, number: int) -> list[str]:
        copy = self._copies[number]
        if not holds_layers(copy.origin):
            return self._exactly(number)
        return ["layers", *self._build.stack_of(copy.origin).diff_ids, *copy.sources, "exclude", *copy.exclude]

    def _exactly(self, number: int) -> list[str]:
        origin = self._copies[number].origin
        content = hash_file if holds_layers(origin) else self._build.context_of(origin).digests.of
        return ["files", self._select(number).digest(content)]

    def _select(self, number: int) -> Selection:
        if number not in self._selected:
            copy = self._copies[number]
            if holds_layers(copy.origin):
                view = self._build.store.snapshots.open_layers(self._build.stack_of(copy.origin).layer_ids)
                self._views.append(view)
                self._selected[number] = select(Tree(view.fd), copy)
            else:
                self._selected[number] = self._build.context_of(copy.origin).select(copy)
        return self._selected[number]


def _repository(text: str, step: Copy) -> Repository:
    from inception.build.git import parse_repository

    found = parse_repository(text)
    assert found is not None  # that is how it came to be among the repositories
    found.checksum = step.checksum or found.checksum
    found.keep_git_dir |= step.keep_git_dir
    return found


def _git_content(repository: Repository, commit: str) -> str:
    submodules = "" if repository.submodules else " without submodules"
    return f"git {commit} {repository.folder} {'with .git' if repository.keep_git_dir else ''}{submodules}"


def _copies(step: Operation) -> list[Copy]:
    """What *step* takes from other places, as copies."""
    if isinstance(step, Run):
        binds = [mount for mount in step.mounts if mount.type == "bind"]
        return [files_copy(mount.source or ".", mount.target, mount.origin) for mount in binds]
    return [step] if isinstance(step, Copy) and step.sources else []
