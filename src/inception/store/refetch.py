"""Brings a blob that a store has lost back from a registry that is known to have it."""

from __future__ import annotations

from inception.errors import InceptionError, NotFound, Unavailable
from inception.oci.image import Descriptor
from inception.oci.reference import Reference
from inception.store.downloads import download
from inception.store.hosts import endpoint, load_registries
from inception.store.pull import open_repository

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.store import Store
    from inception.store.registry import Repository
    from inception.store.verify import Refetch


def refetch_from_registry(store: Store) -> Refetch:
    """Fetches a lost blob from the first repository that gives it."""

    def fetch(blob: Descriptor, repositories: list[str]) -> None:
        trouble: InceptionError = NotFound("nobody has it")
        for name in repositories:
            domain, _, path = name.partition("/")
            reference = Reference(domain=domain, path=path)
            try:
                where = endpoint(load_registries(), domain)
                repository = open_repository(reference, where, f"fetch {name}", None, "pull")
                try:
                    _fetch_one(store, repository, blob)
                finally:
                    repository.close()
                return
            except InceptionError as error:
                trouble = error
        raise Unavailable(str(trouble))

    return fetch


def _fetch_one(store: Store, repository: Repository, blob: Descriptor) -> None:
    try:
        size = blob.size or repository.blob_size(blob.digest)
    except NotFound:
        data, _ = repository.manifest(blob.digest)
        store.content.put([data], blob.digest)
        return
    whole = Descriptor(media_type=blob.media_type, digest=blob.digest, size=size)
    download(store, whole, lambda offset: repository.blob(whole, offset), lambda _status, _done: None)
