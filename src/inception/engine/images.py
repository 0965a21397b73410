"""Images, as the verbs see them: the store does the work, this adds Docker's rules, documents and events.

`ensure` is what `run` and `build` need: the store's image, else the registry's, else, when no registry answers and the name
is a distribution's, one made from that distribution's own packages.
"""

from __future__ import annotations

from inception.errors import Forbidden, InvalidArgument, NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, BinaryIO

    from inception.engine.engine import Engine
    from inception.engine.results import HistoryEntry, ImageRemoval, PruneReport
    from inception.oci.image import Descriptor, Platform
    from inception.store.credentials import Credentials
    from inception.store.images import Image
    from inception.store.manifestlists import ManifestLists
    from inception.store.progress import Progress
    from inception.store.push import Pushed
    from inception.store.removal import Usage
    from inception.store.verify import Report

    OnProgress = Callable[[Progress], None] | None


class Images:
    """`engine.images`. Images are the store's records: `id`, `names`, `repo_digests`, `document`, `size_bytes`, `created`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def get(self, reference: str, *, platform: str = "") -> Image:
        """The image with this name, id, unique id prefix or digest; of several under one name the one for *platform*
        (`linux/arm64`). Raises NotFound: `No such image: x`."""
        return self.engine.store.images.resolve(reference, _parsed(platform))

    def platforms(self, reference: str) -> Sequence[Image]:
        """All that is here under a name, each for a platform of its own."""
        return self.engine.store.images.platforms(reference)

    def ensure(
        self,
        reference: str,
        *,
        pull: str = "missing",
        progress: OnProgress = None,
        platform: str = "",
        credentials: Credentials | None = None,
    ) -> Image:
        """The image, from wherever it is to be had; *pull* is `missing`, `always` or `never`. One that is here but for
        another *platform* counts as missing. *credentials* as for `pull`.

        Raises NotFound when it is nowhere, Unavailable when nobody who could have it answers.
        """
        if pull not in ("", "missing", "always", "never"):
            raise InvalidArgument(f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"')
        if pull != "always":
            try:
                return self.get(reference, platform=platform)
            except NotFound:
                if pull == "never":
                    raise
            return self._fetch_once(reference, progress, platform, credentials)
        return self._fetch(reference, progress, platform, credentials)

    def _fetch_once(self, reference: str, progress: OnProgress, platform: str, credentials: Credentials | None) -> Image:
        """Of several that miss the same image at once (the services of a project), one fetches it and the others wait."""
        import fcntl
        import os
        import zlib

        folder = f"{self.engine.run_root}/fetch"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        # Opened anew by each, so it excludes threads as well as processes; the kernel lets go when a holder dies.
        fd = os.open(f"{folder}/{zlib.crc32(reference.encode()):08x}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            try:
                return self.get(reference, platform=platform)
            except NotFound:
                pass
            return self._fetch(reference, progress, platform, credentials)
        finally:
            os.close(fd)

    def _fetch(self, reference: str, progress: OnProgress, platform: str, credentials: Credentials | None) -> Image:
        from inception.store.bootstrap import find_recipe
        from inception.store.progress import Progress

        recipe = find_recipe(reference)
        try:
            if progress is not None:
                progress(Progress(status=f"Unable to find image '{_tagged(reference)}' locally"))
            return self.pull(reference, progress=progress, platform=platform, credentials=credentials)
        except (Unavailable, NotFound, Forbidden) as error:
            if recipe is None or platform:
                raise
            if progress is not None:
                progress(Progress(status=f"{error}; making {_tagged(reference)} from its distribution's own packages"))
        return self.bootstrap(reference, progress=progress)

    def pull(
        self,
        reference: str,
        *,
        progress: OnProgress = None,
        platform: str = "",
        all_platforms: bool = False,
        credentials: Credentials | None = None,
    ) -> Image:
        """Fetch from its registry, for this machine or another *platform* (`linux/arm64`); with *all_platforms* everything
        that the name lists.

        *credentials* None means this user's own log-ins. Raises NotFound, Forbidden or Unavailable.
        """
        from inception.store.progress import silent
        from inception.store.pull import pull

        if platform and all_platforms:
            raise InvalidArgument("one platform, or all of them")
        image = pull(
            self.engine.store,
            reference,
            progress or silent,
            platform=_parsed(platform),
            all_platforms=all_platforms,
            credentials=credentials,
        )
        self._emit("pull", _tagged(reference), image)
        self._tidy(image)
        return image

    def pull_all_tags(
        self, repository: str, *, progress: OnProgress = None, platform: str = "", credentials: Credentials | None = None
    ) -> list[Image]:
        """Fetch every tag of a repository."""
        from inception.store.progress import silent
        from inception.store.pull import pull_all_tags

        store = self.engine.store
        images = pull_all_tags(store, repository, progress or silent, platform=_parsed(platform), credentials=credentials)
        for image in images:
            self._emit("pull", _tagged(repository), image)
        self._tidy(*images)
        return images

    def push(
        self,
        reference: str,
        *,
        progress: OnProgress = None,
        credentials: Credentials | None = None,
        compression: str = "gzip",
        platform: str = "",
        all_platforms: bool = False,
    ) -> Pushed:
        """Upload to its registry; layers that were made here are compressed with `gzip` or `zstd`. A name of several
        platforms goes as such when all are here, or only *platform*; with *all_platforms* less is an error.

        Raises NotFound, Forbidden or Unavailable.
        """
        from inception.store.progress import silent
        from inception.store.push import push

        pushed = push(
            self.engine.store,
            reference,
            progress or silent,
            credentials=credentials,
            compression=compression,
            platform=_parsed(platform),
            all_platforms=all_platforms,
        )
        self._emit("push", _tagged(reference), self.get(reference))
        return pushed

    def push_index(
        self,
        reference: str,
        sources: Sequence[str],
        *,
        progress: OnProgress = None,
        credentials: Credentials | None = None,
        compression: str = "gzip",
    ) -> Pushed:
        """Upload images of several platforms under one name, as an index."""
        from inception.store.progress import silent
        from inception.store.push import push_index

        store = self.engine.store
        return push_index(store, reference, sources, progress or silent, credentials=credentials, compression=compression)

    @property
    def manifest_lists(self) -> ManifestLists:
        """Lists of images that lie on a registry, to be put under one name there: `docker manifest`."""
        from inception.store.manifestlists import ManifestLists

        return ManifestLists(self.engine.store)

    def push_artifact(
        self,
        reference: str,
        files: Mapping[str, str],
        *,
        artifact_type: str = "",
        annotations: Mapping[str, str] | None = None,
        subject: str = "",
        progress: OnProgress = None,
        credentials: Credentials | None = None,
    ) -> Pushed:
        """Upload *files* (names there to paths here, `PATH` or `PATH:MEDIA_TYPE`) as one artifact. With a *subject*, a tag or a
        digest of the same repository, it refers to that and needs no tag. Nothing of it is kept here."""
        from inception.store import artifacts
        from inception.store.progress import silent

        found = []
        for title, text in files.items():
            path, media_type = artifacts.split_type(text)
            found.append(artifacts.File(path=path, title=title, media_type=media_type))
        return artifacts.push(
            reference,
            found,
            progress or silent,
            artifact_type=artifact_type or artifacts.UNKNOWN_TYPE,
            annotations=annotations,
            subject=subject,
            credentials=credentials,
        )

    def pull_artifact(
        self, reference: str, folder: str, *, progress: OnProgress = None, credentials: Credentials | None = None
    ) -> Sequence[str]:
        """Bring the files of an artifact into *folder*; their names there."""
        from inception.store import artifacts
        from inception.store.progress import silent

        return artifacts.pull(reference, folder, progress or silent, credentials=credentials)

    def referrers(
        self, reference: str, artifact_type: str = "", *, credentials: Credentials | None = None
    ) -> Sequence[Descriptor]:
        """What belongs to an image on its registry by referring to it: signatures, SBOMs, attestations."""
        from inception.store import artifacts

        return artifacts.referrers(reference, artifact_type, credentials=credentials)

    def tags(self, repository: str, *, credentials: Credentials | None = None) -> Sequence[str]:
        """The tags that a repository has on its registry."""
        from inception.store.remote import tags

        return tags(repository, credentials=credentials)

    def delete_remote(self, reference: str, *, blob: bool = False, credentials: Credentials | None = None) -> str:
        """Delete a tag on its registry, or by digest a manifest with all its tags, or a *blob*. Raises Conflict where the
        registry doesn't do that."""
        from inception.store.remote import delete

        return delete(reference, blob=blob, credentials=credentials)

    def open(self, reference: str, path: str, *, platform: str = "") -> BinaryIO:
        """A file of an image for reading, links followed inside it; no container is made. Raises NotFound, InvalidArgument for
        what is no regular file."""
        from inception.engine.imagefiles import open_file

        return open_file(self.engine, self.get(reference, platform=platform), path)

    def bootstrap(self, reference: str, *, progress: OnProgress = None) -> Image:
        """Make a base image from its distribution's packages, reproducibly. Raises NotFound when there is no recipe."""
        from inception.store.bootstrap import bootstrap
        from inception.store.progress import silent

        image = bootstrap(self.engine.store, reference, progress or silent)
        self._emit("bootstrap", _tagged(reference), image)
        return image

    def load(self, stream: BinaryIO, progress: OnProgress = None, *, platform: str = "") -> list[str]:
        """Images from an archive of `save` or an OCI archive, of several platforms under a name all, or the one for
        *platform*; answers their names, or ids of nameless ones."""
        from inception.store.archive import load
        from inception.store.progress import silent

        names: list[str] = []
        images = load(self.engine.store, stream, progress or silent, platform=_parsed(platform))
        for image in images:
            names += image.names or [image.id]
            self._emit("load", image.id, image)
        self._tidy(*images)
        return names

    def save(self, references: list[str], *, platform: str = "") -> Iterator[bytes]:
        """An archive that Docker, OCI tools and `load` read: of several platforms under a name all that are here, or those of
        *platform* (`linux/arm64,linux/amd64`)."""
        from inception.oci.image import parse_platform
        from inception.store.archive_save import all_tags, save

        platforms = [parse_platform(text) for text in platform.split(",") if text]
        names = [name for reference in references for name in all_tags(self.engine.store, reference)]
        for reference in names:
            image = self.engine.store.images.resolve(reference, platforms[0] if platforms else None)
            self._emit("save", image.id, image)
        return save(self.engine.store, names, platforms)

    def import_(
        self,
        stream: BinaryIO,
        reference: str = "",
        *,
        changes: list[str] | None = None,
        message: str = "",
        platform: str = "",
    ) -> Image:
        """An image of one layer from a tar of a root filesystem; *changes* are Dockerfile instructions."""
        from inception.engine.changes import apply_changes
        from inception.engine.times import now
        from inception.oci.image import ImageConfig
        from inception.store.archive import import_rootfs

        config = apply_changes(ImageConfig(), changes or [])
        image = import_rootfs(
            self.engine.store,
            stream,
            reference,
            config=config,
            message=message,
            created=now(),  # to the nanosecond: the same tar twice is two images, as in Docker
            platform=_parsed(platform),
        )
        self._emit("import", image.id, image)
        return image

    def tag(self, source: str, target: str) -> None:
        """Give an image another name; the name's former image keeps its others."""
        self.engine.store.images.tag(source, target)
        self.note_tags(target, [target])

    def note_tags(self, image: str, names: Sequence[str]) -> None:
        """Tells whoever listens that *image* has been given *names*: by `tag`, or by a build."""
        found = self.get(image)
        for name in names:
            self._emit("tag", found.id, found, _tagged(name))

    def remove(
        self, reference: str, *, force: bool = False, prune: bool = True, platforms: Sequence[str] = ()
    ) -> list[ImageRemoval]:
        """Take the name away, and delete the image with its last one; with *platforms* only those of what the name means.

        Raises Conflict when a container has it: a stopped one yields to *force*, a running one never.
        """
        from inception.engine.results import ImageRemoval
        from inception.oci.image import parse_platform

        image = self.get(reference)
        wanted = [parse_platform(text) for text in platforms]
        done = self.engine.store.images.remove(reference, force=force, in_use=self._usages(), prune=prune, platforms=wanted)
        for each in done:
            if each.untagged or each.deleted:  # of layers nobody is told
                action, actor = ("untag", image.id) if each.untagged else ("delete", each.deleted)
                self._emit(action, actor, image, each.untagged)
        return [ImageRemoval(untagged=each.untagged, deleted=each.deleted or each.layer) for each in done]

    def shared_sizes(self) -> dict[str, int]:
        """Bytes of each image that another has too, by id; images that share nothing are not in it."""
        return dict(
            self.engine.database.rows(
                """SELECT image_id, sum(size_bytes) FROM image_layers JOIN layers ON layers.id = layer_id
                   WHERE layer_id IN (SELECT layer_id FROM image_layers GROUP BY layer_id HAVING count(DISTINCT image_id) > 1)
                   GROUP BY image_id"""
            )
        )

    def history(self, reference: str, *, platform: str = "") -> list[HistoryEntry]:
        """How it came to be, newest step first."""
        from inception.engine.results import HistoryEntry

        image = self.get(reference, platform=platform)
        entries = []
        for position, (step, size_bytes) in enumerate(self.engine.store.images.history(image.id)):
            entries.append(
                HistoryEntry(
                    id=image.id if position == 0 else "<missing>",
                    created=step.created,
                    created_by=step.created_by,
                    size_bytes=size_bytes,
                    comment=step.comment,
                    tags=image.names if position == 0 else [],
                )
            )
        return entries

    def inspect(self, reference: str, *, platform: str = "") -> dict[str, Any]:
        """Docker's `image inspect` document."""
        from inception.engine.inspect import inspect_image

        return inspect_image(self.engine, self.get(reference, platform=platform))

    def prune(self, filters: dict[str, list[str]] | None = None, *, all: bool = False) -> PruneReport:
        """Delete nameless images that nothing uses; with *all* every image that no container uses. Filters: label, until."""
        from inception.engine.prune import prune_images

        return prune_images(self.engine, filters or {}, all=all)

    def verify(self, *, repair: bool = False, progress: OnProgress = None) -> Report:
        """Check all that the store holds, and mend it with *repair*. Reads everything.

        Raises Conflict while a pull or a build is at work.
        """
        from inception.engine.mending import mend_database
        from inception.engine.records import listed
        from inception.engine.recover import recover
        from inception.store.progress import silent
        from inception.store.refetch import refetch_from_registry
        from inception.store.verify import verify

        rescued = mend_database(self.engine, repair=repair)
        recover(self.engine)  # what a crash left half done is nobody's damage
        records = listed(self.engine, running_only=False)
        report = verify(
            self.engine.store,
            repair=repair,
            owners={record.id for record in records},
            running={record.id for record in records if record.state.status in ("running", "paused", "restarting")},
            refetch=refetch_from_registry(self.engine.store),
            progress=progress or silent,
        )
        report.problems[:0] = rescued
        return report

    def _tidy(self, *new: Image) -> None:
        """What store.json wants gone by itself goes when something has come."""
        from inception.store.settings import load_settings

        policy = load_settings().gc
        if not policy.unused_days and not policy.max_bytes:
            return
        from inception.engine.prune import apply_policy  # a second pull of an image has no use for what this brings

        apply_policy(self.engine, keep=[image.id for image in new])

    def _usages(self) -> list[Usage]:
        from inception.engine.records import listed
        from inception.store.removal import Usage

        return [
            Usage(
                container_id=record.id,
                image_id=record.image_id,
                running=record.state.status in ("running", "paused", "restarting"),
                image_name=record.config.image,
            )
            for record in listed(self.engine, running_only=False)
        ]

    def _emit(self, action: str, actor: str, image: Image, name: str = "") -> None:
        attributes = {**image.labels, "name": name or (image.names[0] if image.names else actor)}
        self.engine.events.emit("image", action, actor, attributes)

    # Last, since its name hides the type's in the annotations of a class.

    def list(self, *, filters: dict[str, list[str]] | None = None, all: bool = False) -> list[Image]:
        """Images, newest first; *all* shows the nameless ones between build steps too.

        Filters as `docker images`: reference, label, dangling, before, since, until.
        """
        from inception.engine.filters import select_images

        images = self.engine.store.images.list()
        if not all:
            parents = {image.parent for image in images}
            images = [image for image in images if _is_shown(image, parents)]
        return select_images(self.engine, images, filters or {})


def _is_shown(image: Image, parents: set[str]) -> bool:
    """Whether `images` lists it: not what lies between the steps of a build, nor the other platforms of a name."""
    return bool(image.names) or (not image.indexed and (bool(image.repo_digests) or image.id not in parents))


def _parsed(platform: str) -> Platform | None:
    from inception.oci.image import parse_platform

    return parse_platform(platform) if platform else None


def _tagged(reference: str) -> str:
    from inception.oci.reference import Reference

    return Reference.parse(reference).familiar
