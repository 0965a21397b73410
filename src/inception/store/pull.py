"""Pulling an image.

    name ──▶ manifest or index (by tag or digest) ──▶ one platform's manifest ──▶ config, layers (several at once)

Mirrors of the settings are asked first, in their order, and the registry itself last; a blob that the chosen one does not have
comes from those after it. What is in the store already is not fetched again: a second pull is one request, a HEAD, which
registries don't count against anyone's limit. What only a transfer needs is imported when there is one.
"""

from __future__ import annotations

from inception.errors import Forbidden, InceptionError, InvalidArgument, NotFound, Unavailable
from inception.oci.digest import Digest, sha256
from inception.oci.image import DOCKER_CONFIG, MEDIA_CONFIG, Index, host_platform
from inception.oci.reference import Reference
from inception.record import Record, decode
from inception.store import credentials as logins
from inception.store.credentials import Credentials
from inception.store.documents import decode_manifest, load_json
from inception.store.hosts import Registries, endpoint, full_name, load_registries, mirrors
from inception.store.indexes import fits, misfit
from inception.store.progress import Progress, silent
from inception.store.registry import INDEXES, MANIFESTS, Repository
from inception.store.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.oci.image import Descriptor, Platform
    from inception.store import Store
    from inception.store.extract import Limits
    from inception.store.hosts import Endpoint
    from inception.store.images import Image
    from inception.store.progress import OnProgress
    from inception.store.scratch import Scratch

_DEPTH = 3  # an index of indexes is allowed; a longer chain is a joke


def pull(
    store: Store,
    name: str,
    progress: OnProgress = silent,
    *,
    platform: Platform | None = None,
    all_platforms: bool = False,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
    limits: Limits | None = None,
) -> Image:
    """Brings an image into the store and gives it its name. What is there already is not fetched again.

    With *all_platforms* everything that an index lists comes; the name then means the one for this machine.
    *credentials* None means those of this user's log-ins, *registries* None this machine's settings. Raises NotFound (no such
    name, or not for this platform), Forbidden (the registry wants another login), Unavailable (it does not answer, or
    breaks), InvalidArgument (what it sent is not what it says).
    """
    registries = registries if registries is not None else load_registries()
    reference = Reference.parse(full_name(registries, name))
    sources = _Sources(reference, registries, credentials)
    try:
        digest, image = _known(store, reference, sources, platform, all_platforms)
        newer = image is None
        if image is None:
            image, digest, newer = _Pull(store, reference, sources, progress, limits).run(platform, all_platforms)
        else:
            progress(_begun(reference))
        store.images.touch(image.id)
    finally:
        sources.close()
    for warning in sources.warnings():
        progress(warning)
    progress(Progress(status=f"Digest: {digest}"))
    what = "Downloaded newer image" if newer else "Image is up to date"
    progress(Progress(status=f"Status: {what} for {reference.familiar}"))
    if platform is not None and not fits(image.document, platform):  # its registry has it for one platform, whoever asks
        progress(Progress(status=f"WARNING: {misfit(reference.familiar, image.document, platform)}"))
    return image


def _begun(reference: Reference) -> Progress:
    return Progress(id=reference.tag or reference.digest, status=f"Pulling from {reference.path}")


def _known(
    store: Store, reference: Reference, sources: _Sources, platform: Platform | None, all_platforms: bool
) -> tuple[str, Image | None]:
    """The digest that the name has on its registry, and the image here that it means already, all of it here; asks for the
    digest alone, and only when this repository has been pulled from before."""
    repository = reference.repository
    if not store.db.row("SELECT 1 FROM image_digests WHERE repository = ?", (repository,)):
        return "", None
    try:
        image = store.images.resolve(str(reference))
    except NotFound:
        return "", None
    digest = sources.digest()
    row = store.db.row("SELECT image_id FROM image_digests WHERE repository = ? AND digest = ?", (repository, digest))
    of_index = store.indexes.images(digest).values() if digest else ()
    if row is None or image.id not in (*of_index, row[0]):
        return "", None
    if not of_index and platform is None and not all_platforms:
        wanted = True  # one platform is all there is
    elif all_platforms:
        wanted = store.indexes.of(reference) == digest and store.indexes.is_complete(digest)
    else:
        wanted = fits(image.document, platform or host_platform())
    blobs = store.db.rows("SELECT digest FROM image_blobs WHERE image_id = ?", (image.id,))
    return digest, image if wanted and all(store.content.exists(blob) for (blob,) in blobs) else None


class _Pull:
    """One pull that has something to fetch."""

    def __init__(
        self, store: Store, reference: Reference, sources: _Sources, progress: OnProgress, limits: Limits | None
    ) -> None:
        from inception.store.settings import load_settings

        self._store = store
        self._reference = reference
        self._sources = sources
        self._progress = progress
        self._limits = limits or load_settings().limits
        self._fetcher = _Fetcher(store, sources, progress)
        self._images: dict[str, str] = {}  # by manifest
        self._blobs: list[str] = []

    def run(self, platform: Platform | None, all_platforms: bool) -> tuple[Image, Digest, bool]:
        """The image, the digest of the name, and whether anything is new: bytes, or what the name means."""
        reference, store = self._reference, self._store
        names = [f"{reference.repository}:{reference.tag}"] if reference.tag else []
        found = self._sources.resolve(platform or host_platform(), any_platform=all_platforms)
        self._progress(_begun(reference))
        before = self._meaning()
        with store.lease(), store.scratch() as scratch:
            if all_platforms and found.index:
                self._everything(scratch, found.index)
            image = self._assemble(scratch, found.manifest, names, f"{reference.repository}@{found.digest}")
            if found.index:
                self._images[sha256(found.manifest)] = image.id
                for document in found.documents:
                    self._blobs.append(store.content.put_bytes(document))
                store.indexes.keep(reference, found.digest, self._images, self._blobs)
        return image, found.digest, self._fetcher.fetched > 0 or image.id != before

    def _meaning(self) -> str:
        """The id of the image that the name means so far."""
        try:
            return self._store.images.find(str(self._reference))
        except NotFound:
            return ""

    def _assemble(self, scratch: Scratch, manifest: bytes, names: list[str], repo_digest: str) -> Image:
        from inception.store.assemble import NotAnImage, assemble

        try:
            return assemble(
                self._store,
                scratch,
                manifest,
                self._fetcher.fetch,
                names=names,
                repo_digest=repo_digest,
                progress=self._progress,
                limits=self._limits,
            )
        except NotAnImage as error:
            name = self._reference.familiar
            raise NotAnImage(f"pull {name}: {error}", f"`inception artifact pull {name}` brings its files") from error

    def _everything(self, scratch: Scratch, index: bytes, depth: int = _DEPTH) -> None:
        """All that an index lists: what can be run here as images, the rest as the blobs that it is."""
        from inception.store.archive import known, runs_here

        for entry in known(decode(Index, load_json(index, "index"), "index").manifests):
            data, media_type = self._sources.manifest(entry.digest)
            if media_type in INDEXES:
                if not depth:
                    raise InvalidArgument(f"{self._reference.familiar}: indexes nested too deeply")
                self._blobs.append(self._store.content.put_bytes(data))
                self._everything(scratch, data, depth - 1)
                continue
            manifest = decode_manifest(data)
            if runs_here(entry, manifest):
                self._images[sha256(data)] = self._assemble(scratch, data, [], "").id
                continue
            for blob in [manifest.config, *manifest.layers]:
                if not self._store.content.exists(blob.digest):
                    self._fetcher.fetch(blob)
                self._blobs.append(blob.digest)
            self._blobs.append(self._store.content.put_bytes(data))


def pull_all_tags(
    store: Store,
    name: str,
    progress: OnProgress = silent,
    *,
    platform: Platform | None = None,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
) -> list[Image]:
    """Every tag of a repository that means an image."""
    registries = registries if registries is not None else load_registries()
    reference = Reference.parse(full_name(registries, name))
    from inception.store.assemble import NotAnImage

    sources = _Sources(reference, registries, credentials)
    try:
        tags = sources.tags()
    finally:
        sources.close()
    images, left_out = [], None
    for tag in tags:
        name = f"{reference.repository}:{tag}"
        try:
            images.append(pull(store, name, progress, platform=platform, credentials=credentials, registries=registries))
        except NotAnImage as error:  # signatures and SBOMs have tags beside those of the images that they are about
            left_out = error
            progress(Progress(status=f"Skipped: {str(error).removeprefix('pull ')}"))
    if left_out is not None and not images:
        raise left_out
    return images


def fetch_document(
    name: str, credentials: Credentials | None = None, registries: Registries | None = None
) -> tuple[bytes, str]:
    """The manifest or index that a name stands for, as it lies in its registry, and its media type."""
    registries = registries if registries is not None else load_registries()
    reference = Reference.parse(full_name(registries, name))
    where = endpoint(registries, reference.domain)
    repository = open_repository(reference, where, f"inspect {reference.familiar}", credentials, "pull")
    try:
        return repository.manifest(reference.digest or reference.tag)
    finally:
        repository.close()


def open_repository(
    reference: Reference, where: Endpoint, what: str, credentials: Credentials | None, actions: str
) -> Repository:
    """A repository with the log-in that belongs to *where*."""
    refused = ""
    if credentials is None:
        # A mirror is another host: it gets its own log-in, never the registry's.
        credentials, refused = logins.find_or_anonymous(where.settings_of)
    transport = Transport(where, what, credentials)
    transport.login_trouble = refused
    return Repository(transport, reference, actions)


def told_warnings(repository: Repository) -> list[Progress]:
    """What a registry has said that its users should know."""
    host = repository.transport.endpoint.host
    return [Progress(status=f"Warning from {host}: {text}") for text in repository.transport.warnings]


class _Sources:
    """The places that an image may come from; `resolve` finds the one that has it."""

    def __init__(self, reference: Reference, registries: Registries | None, credentials: Credentials | None) -> None:
        registries = registries if registries is not None else load_registries()
        own = endpoint(registries, reference.domain)
        what = f"pull {reference.familiar}"
        self._reference = reference
        self._left = [
            open_repository(reference, mirror, what, Credentials() if credentials is not None else None, "pull")
            for mirror in mirrors(registries, reference.domain)
        ]
        self._left.append(open_repository(reference, own, what, credentials, "pull"))
        self._all = list(self._left)
        self._refused: list[str] = []  # by the mirrors, and why

    def digest(self) -> str:
        """What the first that answers says that the name's digest is; an empty text when it does not say."""
        for repository in self._left:
            try:
                return repository.digest(self._reference.digest or self._reference.tag)
            except InceptionError:
                continue
        return ""

    def manifest(self, digest: str) -> tuple[bytes, str]:
        """A document by its digest, and its media type, from whoever has it."""
        for position, repository in enumerate(self._left):
            try:
                return repository.manifest(digest)
            except (NotFound, Unavailable, Forbidden):
                if position == len(self._left) - 1:
                    raise
        raise AssertionError("unreachable")

    def resolve(self, platform: Platform, *, any_platform: bool = False) -> _Resolved:
        """What the name points to, and of several platforms the manifest for *platform* (*any_platform*: else the first)."""
        while True:
            try:
                return self._resolve(self._left[0], platform, any_platform)
            except (NotFound, Unavailable, Forbidden) as error:
                if len(self._left) > 1:
                    self._refused.append(f"mirror {self._left[0].transport.endpoint.host}: {error}")
                    del self._left[0]
                    continue
                if self._refused:
                    error.hint = " ".join([error.hint, "Asked before:", "; ".join(self._refused)]).strip()
                raise

    def tags(self) -> list[str]:
        for repository in self._left[:-1]:
            try:
                return repository.tags()
            except (NotFound, Unavailable, Forbidden):
                continue
        return self._left[-1].tags()

    def blob(self, descriptor: Descriptor, offset: int) -> Iterator[bytes]:
        """The bytes from whoever has them."""
        sent = offset
        for position, repository in enumerate(self._left):
            try:
                for chunk in repository.blob(descriptor, sent):
                    sent += len(chunk)
                    yield chunk
                return
            except (NotFound, Unavailable, Forbidden):
                if position == len(self._left) - 1:
                    raise

    def warnings(self) -> list[Progress]:
        return [news for repository in self._all for news in told_warnings(repository)]

    def close(self) -> None:
        for repository in self._all:
            repository.close()

    def _resolve(self, repository: Repository, platform: Platform, any_platform: bool) -> _Resolved:
        from inception.store.archive import choose_platform, known

        reference = self._reference
        data, media_type = repository.manifest(reference.digest or reference.tag)
        found = _Resolved(manifest=data, digest=sha256(data))
        for _ in range(_DEPTH):
            if media_type in MANIFESTS:
                found.manifest = data
                return found
            found.documents.append(data)
            index = decode(Index, load_json(data, "index"), "index")
            entries = known(index.manifests)
            if not entries:
                raise InvalidArgument(f"{reference.familiar}: no image in its index")
            try:
                chosen = choose_platform(entries, platform)
            except NotFound:
                if not any_platform:
                    raise
                chosen = entries[0]
            data, media_type = repository.manifest(chosen.digest)
        raise InvalidArgument(f"{reference.familiar}: indexes nested too deeply")


class _Resolved(Record):
    """One platform's *manifest*; *digest* is that of the document that the name points to, `documents` the indexes that led
    there, outermost first."""

    manifest: bytes
    digest: Digest
    documents: list[bytes] = []

    @property
    def index(self) -> bytes:
        return self.documents[0] if self.documents else b""


class _Fetcher:
    """Brings single blobs into the store; counts them."""

    def __init__(self, store: Store, sources: _Sources, progress: OnProgress) -> None:
        self._store = store
        self._sources = sources
        self._progress = progress
        self.fetched = 0

    def fetch(self, descriptor: Descriptor) -> None:
        from inception.store.downloads import download

        short = Digest(descriptor.digest).hex[:12]

        quiet = descriptor.media_type in (MEDIA_CONFIG, DOCKER_CONFIG)  # a few bytes that nobody waits for

        def tell(status: str, done: int) -> None:
            if not quiet:
                self._progress(Progress(id=short, status=status, current=done, total=descriptor.size))

        try:
            download(self._store, descriptor, lambda offset: self._sources.blob(descriptor, offset), tell)
        except InceptionError:
            tell("Download failed", 0)
            raise
        self.fetched += 1
        if not quiet:
            self._progress(Progress(id=short, status="Download complete"))
