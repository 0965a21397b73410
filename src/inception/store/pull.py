"""Pulling an image.

    name ──▶ manifest or index (by tag or digest) ──▶ one platform's manifest ──▶ config, layers (several at once)

Mirrors of the settings are asked first, in their order, and the registry itself last; a blob that the chosen one does not have
comes from those after it. What is in the store already is not fetched again: a second pull is one request.
"""

from __future__ import annotations

from inception.errors import Forbidden, InceptionError, InvalidArgument, NotFound, Unavailable
from inception.oci.digest import Digest, sha256
from inception.oci.image import Index, host_platform
from inception.oci.reference import Reference
from inception.record import decode
from inception.store import credentials as logins
from inception.store.archive import choose_platform
from inception.store.assemble import assemble
from inception.store.credentials import Credentials
from inception.store.downloads import download
from inception.store.extract import Limits
from inception.store.hosts import Registries, endpoint, load_registries, mirrors
from inception.store.images import load_json
from inception.store.progress import Progress, silent
from inception.store.registry import MANIFESTS, Repository
from inception.store.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from inception.oci.image import Descriptor, Platform
    from inception.store import Store
    from inception.store.hosts import Endpoint
    from inception.store.images import Image
    from inception.store.progress import OnProgress


def pull(
    store: Store,
    name: str,
    progress: OnProgress = silent,
    *,
    platform: Platform | None = None,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
    limits: Limits = Limits(),
) -> Image:
    """Brings an image into the store and gives it its name. What is there already is not fetched again.

    *credentials* None means those of this user's log-ins, *registries* None this machine's settings. Raises NotFound (no such
    name, or not for this platform), Forbidden (the registry wants another login), Unavailable (it does not answer, or
    breaks), InvalidArgument (what it sent is not what it says).
    """
    reference = Reference.parse(name)
    sources = _Sources(reference, registries, credentials)
    try:
        progress(Progress(id=reference.tag or reference.digest, status=f"Pulling from {reference.path}"))
        data, digest = sources.resolve(platform or host_platform())
        fetcher = _Fetcher(store, sources, progress)
        names = [f"{reference.repository}:{reference.tag}"] if reference.tag else []
        with store.lease(), store.scratch() as scratch:
            image = assemble(
                store,
                scratch,
                data,
                fetcher.fetch,
                names=names,
                repo_digest=f"{reference.repository}@{digest}",
                progress=progress,
                limits=limits,
            )
    finally:
        sources.close()
    progress(Progress(status=f"Digest: {digest}"))
    what = "Downloaded newer image" if fetcher.fetched else "Image is up to date"
    progress(Progress(status=f"Status: {what} for {reference.familiar}"))
    return image


def pull_all_tags(
    store: Store,
    name: str,
    progress: OnProgress = silent,
    *,
    platform: Platform | None = None,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
) -> list[Image]:
    """Every tag of a repository."""
    reference = Reference.parse(name)
    sources = _Sources(reference, registries, credentials)
    try:
        tags = sources.tags()
    finally:
        sources.close()
    return [
        pull(
            store,
            f"{reference.repository}:{tag}",
            progress,
            platform=platform,
            credentials=credentials,
            registries=registries,
        )
        for tag in tags
    ]


def fetch_document(
    name: str, credentials: Credentials | None = None, registries: Registries | None = None
) -> tuple[bytes, str]:
    """The manifest or index that a name stands for, as it lies in its registry, and its media type."""
    reference = Reference.parse(name)
    where = endpoint(registries if registries is not None else load_registries(), reference.domain)
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

    def resolve(self, platform: Platform) -> tuple[bytes, Digest]:
        """The manifest for *platform*, and the digest of the document that the name itself points to."""
        while True:
            try:
                return self._resolve(self._left[0], platform)
            except (NotFound, Unavailable, Forbidden):
                if len(self._left) == 1:
                    raise
                del self._left[0]

    def tags(self) -> list[str]:
        return self._all[-1].tags()

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

    def close(self) -> None:
        for repository in self._all:
            repository.close()

    def _resolve(self, repository: Repository, platform: Platform) -> tuple[bytes, Digest]:
        reference = self._reference
        data, media_type = repository.manifest(reference.digest or reference.tag)
        digest = sha256(data)
        for _ in range(3):  # an index of indexes is allowed; a longer chain is a joke
            if media_type in MANIFESTS:
                return data, digest
            index = decode(Index, load_json(data, "index"), "index")
            if not index.manifests:
                raise InvalidArgument(f"{reference.familiar}: its index is empty")
            data, media_type = repository.manifest(choose_platform(index.manifests, platform).digest)
        raise InvalidArgument(f"{reference.familiar}: indexes nested too deeply")


class _Fetcher:
    """Brings single blobs into the store; counts them."""

    def __init__(self, store: Store, sources: _Sources, progress: OnProgress) -> None:
        self._store = store
        self._sources = sources
        self._progress = progress
        self.fetched = 0

    def fetch(self, descriptor: Descriptor) -> None:
        short = Digest(descriptor.digest).hex[:12]

        def tell(status: str, done: int) -> None:
            self._progress(Progress(id=short, status=status, current=done, total=descriptor.size))

        try:
            download(self._store, descriptor, lambda offset: self._sources.blob(descriptor, offset), tell)
        except InceptionError:
            tell("Download failed", 0)
            raise
        self.fetched += 1
        self._progress(Progress(id=short, status="Download complete"))
