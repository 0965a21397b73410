"""Lists of manifests in the making, as `docker manifest create`, `annotate` and `push` have them: images that lie on a registry
already, each for a platform, put under one name without coming here.

A list is one file, `ROOT/manifests/NAME`, until it is removed. Pushing mounts the blobs of images from other repositories of
the same registry, or carries them over where the registry mounts nothing.
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.errors import Conflict, InvalidArgument, NotFound
from inception.oci.digest import sha256
from inception.oci.image import DOCKER_INDEX, MEDIA_INDEX, MEDIA_MANIFEST, Descriptor, Index, Platform
from inception.oci.reference import Reference
from inception.record import Record, decode, encode, replace
from inception.store.content import copy_hashed, sync_folder, write_all
from inception.store.documents import MAX_DOCUMENT_BYTES, decode_manifest, load_json, parse_document
from inception.store.hosts import Registries, endpoint, full_name, load_registries
from inception.store.progress import Progress, silent
from inception.store.pull import open_repository
from inception.store.push import Pushed
from inception.store.registry import INDEXES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from inception.store import Store
    from inception.store.credentials import Credentials
    from inception.store.progress import OnProgress
    from inception.store.registry import Repository


class Entry(Record):
    """One image of a list: the name that it was added by, and how the list describes it."""

    source: str
    descriptor: Descriptor


class ManifestList(Record):
    """`name` in full: `docker.io/library/app:1`."""

    name: str
    entries: list[Entry] = []

    def index(self) -> bytes:
        """The document as it goes to the registry: Docker's kind when one of its images is, else OCI's."""
        manifests = [entry.descriptor for entry in self.entries]
        oci = all(each.media_type == MEDIA_MANIFEST for each in manifests)
        index = Index(media_type=MEDIA_INDEX if oci else DOCKER_INDEX, manifests=manifests)
        return jsontext.dumps({"schemaVersion": 2, **encode(index)}).encode()


class ManifestLists:
    """The lists of one store."""

    def __init__(self, store: Store, registries: Registries | None = None) -> None:
        self._store = store
        self._folder = f"{store.root}/manifests"
        self._registries = registries if registries is not None else load_registries()

    def create(
        self, name: str, sources: Sequence[str], *, amend: bool = False, credentials: Credentials | None = None
    ) -> ManifestList:
        """A list of images that are on their registries; with *amend* they are added to one that is there. Raises Conflict
        when there is one, InvalidArgument for what is a list itself."""
        path, known = self._path(name), self._read(name)
        if known is not None and not amend:
            raise Conflict("refusing to amend an existing manifest list with no --amend flag")
        made = known or ManifestList(name=str(self._reference(name)))
        for source in sources:
            entry = self._look(source, credentials)
            made.entries = [each for each in made.entries if each.source != entry.source] + [entry]
        self._write(path, made)
        return made

    def annotate(self, name: str, source: str, platform: Platform) -> None:
        """Says what an image of a list is for; empty fields leave what it says. Raises NotFound."""
        known, wanted = self.get(name), str(self._reference(source))
        found = next((entry for entry in known.entries if entry.source == wanted), None)
        if found is None:
            raise NotFound(f"manifest for image {source} does not exist in {name}")
        said = {key: value for key, value in vars(platform).items() if value}
        found.descriptor.platform = replace(found.descriptor.platform or Platform(os="", architecture=""), **said)
        self._write(self._path(name), known)

    def get(self, name: str) -> ManifestList:
        """Raises NotFound."""
        found = self._read(name)
        if found is None:
            raise NotFound(f"No such manifest: {name}")
        return found

    def remove(self, name: str) -> None:
        """Raises NotFound."""
        self.get(name)
        os.unlink(self._path(name))

    def push(self, name: str, progress: OnProgress = silent, *, credentials: Credentials | None = None) -> Pushed:
        """Puts a list on its registry, under its name. Raises InvalidArgument for an image of another registry, or one
        that says no platform."""
        known = self.get(name)
        target = self._reference(name)
        for entry in known.entries:
            source, platform = Reference.parse(entry.source), entry.descriptor.platform
            if source.domain != target.domain:
                raise InvalidArgument(
                    "cannot use source images from a different registry than the target image: "
                    f"{source.domain} != {target.domain}"
                )
            if platform is None or not platform.os or not platform.architecture:
                raise InvalidArgument(f"manifest {entry.source} must have an OS and Architecture to be pushed to a registry")
        repository = self._open(target, f"push {target.familiar}", "pull,push", credentials)
        try:
            for entry in known.entries:
                self._bring(repository, target, entry, credentials)
                digest = entry.descriptor.digest
                progress(Progress(status=f"Pushed ref {target.repository}@{digest} with digest: {digest}"))
            data = known.index()
            media_type = decode(Index, load_json(data, "index"), "index").media_type
            name_digest = repository.put_manifest(data, media_type, target.tag)
        finally:
            repository.close()
        return Pushed(tag=target.tag, digest=name_digest, size_bytes=len(data))

    def _look(self, name: str, credentials: Credentials | None) -> Entry:
        reference = self._reference(name)
        repository = self._open(reference, f"inspect {reference.familiar}", "pull", credentials)
        try:
            data, media_type = repository.manifest(reference.digest or reference.tag)
            if media_type in INDEXES:
                raise InvalidArgument(f"{name} is a manifest list")
            config = decode_manifest(data).config
            document = b"".join(repository.blob(config)) if config.size <= MAX_DOCUMENT_BYTES else b""
            if sha256(document) != config.digest:
                raise InvalidArgument(f"{name}: configuration: the bytes have digest {sha256(document)}")
        finally:
            repository.close()
        says = parse_document(document)
        platform = Platform(
            os=says.os,
            architecture=says.architecture,
            variant=says.variant,
            os_version=says.os_version,
            os_features=says.os_features,
        )
        described = Descriptor(media_type=media_type, digest=sha256(data), size=len(data), platform=platform)
        return Entry(source=str(reference), descriptor=described)

    def _bring(self, target: Repository, reference: Reference, entry: Entry, credentials: Credentials | None) -> None:
        """An image's blobs and manifest into the list's own repository."""
        source = Reference.parse(entry.source)
        if source.repository == reference.repository:
            return
        repository = self._open(source, f"push {reference.familiar}", "pull", credentials)
        try:
            data, media_type = repository.manifest(entry.descriptor.digest)
            manifest = decode_manifest(data)
            for blob in [manifest.config, *manifest.layers]:
                if blob.urls or target.has_blob(blob.digest):
                    continue
                with self._store.scratch() as scratch:
                    path = f"{scratch.path}/blob"

                    def fetched(blob: Descriptor = blob, path: str = path) -> BinaryIO:
                        if not os.path.exists(path):
                            with open(f"{path}.part", "wb", buffering=0) as file:
                                copy_hashed(repository.blob(blob), file, blob.digest, blob.size)
                            os.rename(f"{path}.part", path)
                        return open(path, "rb", buffering=0)

                    target.upload(blob.digest, blob.size, fetched, source.path, lambda _done: None)
            target.put_manifest(data, media_type, entry.descriptor.digest)
        finally:
            repository.close()

    def _reference(self, name: str) -> Reference:
        return Reference.parse(full_name(self._registries, name))

    def _open(self, reference: Reference, what: str, actions: str, credentials: Credentials | None) -> Repository:
        return open_repository(reference, endpoint(self._registries, reference.domain), what, credentials, actions)

    def _path(self, name: str) -> str:
        reference = self._reference(name)
        if reference.digest:
            raise InvalidArgument(f"manifest list {name}: a name with a tag, not a digest")
        return f"{self._folder}/{str(reference).replace('/', '_')}-{sha256(str(reference).encode())[7:19]}"

    def _read(self, name: str) -> ManifestList | None:
        path = self._path(name)
        try:
            with open(path, "rb") as file:
                return decode(ManifestList, load_json(file.read(MAX_DOCUMENT_BYTES + 1), path), path)
        except FileNotFoundError:
            return None

    def _write(self, path: str, value: ManifestList) -> None:
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        with self._store.scratch() as scratch:
            fd = os.open(f"{scratch.path}/list", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                write_all(fd, jsontext.dumps(encode(value)).encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(f"{scratch.path}/list", path)
        sync_folder(self._folder)
