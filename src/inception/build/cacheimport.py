"""`--cache-from`: the cache of other machines.

A place is asked once for its records (which keys it has, and which layer each made), and for a layer only when a step of this
build hits it. The layer is then one of this store like any other, and the key one of its cache. A place that can't be read is
told and the build goes on without it, as with Docker.

What an entry says is believed, as a base image is: who names a place trusts it. Its bytes are not: a layer must have the digest
that its manifest says, packed and unpacked.
"""

from __future__ import annotations

from inception.build.cacheplaces import MEDIA_CACHE
from inception.build.config import CachePlace
from inception.errors import InceptionError, InvalidArgument, NotFound
from inception.oci.digest import Digest, sha256
from inception.oci.image import Descriptor, Index
from inception.record import Record, decode
from inception.store.documents import MAX_DOCUMENT_BYTES, decode_manifest, load_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inception.build.cache import BuildCache
    from inception.build.inputs import Stack
    from inception.build.progress import Reporter
    from inception.store import Store
    from inception.store.credentials import Credentials
    from inception.store.registry import Repository

    Fetch = Callable[[Descriptor, int], Iterator[bytes]]

_REF_NAME = "org.opencontainers.image.ref.name"
_MAX_CONFIG_BYTES = 32 << 20


class CacheEntry(Record):
    """One outcome under its keys; `layer` counts among the layers of its manifest, None is a step that changed nothing."""

    keys: list[str]
    layer: int | None = None
    created: str


class CacheDocument(Record, style="camel"):
    """The configuration of a cache manifest, or the part of an image's that is one."""

    diff_ids: list[str] = []
    records: list[CacheEntry] = []


class ImportedCache:
    """The entries of one place, and a way to its blobs."""

    def __init__(self, document: CacheDocument, layers: list[Descriptor], fetch: Fetch, close: Callable[[], None]) -> None:
        if len(document.diff_ids) != len(layers):
            raise InvalidArgument(f"its manifest has {len(layers)} layers, and its records speak of {len(document.diff_ids)}")
        self._document = document
        self._layers = layers
        self._fetch = fetch
        self.close = close
        self._entries: dict[str, CacheEntry] = {}
        for entry in document.records:
            if entry.layer is not None and not 0 <= entry.layer < len(layers):
                raise InvalidArgument(f"a record has layer {entry.layer} of {len(layers)}")
            self._entries |= dict.fromkeys(entry.keys, entry)

    def __len__(self) -> int:
        return len(self._document.records)

    def find(self, key: str) -> CacheEntry | None:
        return self._entries.get(key)

    def bring(self, store: Store, entry: CacheEntry, stack: Stack) -> int | None:
        """The number of *entry*'s layer in *store*, on top of *stack*; fetched where it is missing. A lease is held."""
        if entry.layer is None:
            return None
        diff_id, blob = self._document.diff_ids[entry.layer], self._layers[entry.layer]
        known = store.layers.find([*stack.diff_ids, diff_id])[-1]
        if known is not None:
            return known
        from inception.store.downloads import download

        download(store, blob, lambda offset: self._fetch(blob, offset), lambda _status, _done: None)
        with store.scratch() as scratch:
            with store.content.open(blob.digest) as file:
                staged = store.layers.stage(file, scratch, diff_id)
            # A layer of ours packs to the very same bytes again, and then its blob is only a way to save work.
            staged.packed = not staged.implicit and store.layers.pack_digest(staged.path) == diff_id
            number = store.layers.register([*stack.layer_ids, staged])[-1]
            store.db.execute(
                "INSERT OR REPLACE INTO layer_blobs (layer_id, digest, media_type, size_bytes, made) VALUES (?, ?, ?, ?, ?)",
                (number, blob.digest, blob.media_type, blob.size, int(staged.packed)),
            )
        return number


def open_place(place: CachePlace, credentials: Credentials | None = None) -> ImportedCache:
    """*credentials* None means this user's own log-ins. Raises NotFound, Unavailable, InvalidArgument."""
    return _from_folder(place) if place.type == "local" else _from_registry(place, credentials)


def open_places(
    places: Sequence[CachePlace], log_in: Callable[[CachePlace], Credentials | None], reporter: Reporter
) -> list[ImportedCache]:
    """Those that can be read; the others are told."""
    opened = []
    for place in places:
        try:
            with reporter.step(f"importing cache manifest from {place.place}") as report:
                found = open_place(place, log_in(place))
                report.output(f"{len(found)} records\n".encode())
        except InceptionError as error:
            reporter.warn(f"failed to import cache from {place.place}: {error}")
        else:
            opened.append(found)
    return opened


def bring(
    imports: Sequence[ImportedCache], key: str, stack: Stack, store: Store, cache: BuildCache, reporter: Reporter
) -> bool:
    """Puts what one of *imports* has for *key* into *cache*; False when none has it."""
    for imported in imports:
        entry = imported.find(key)
        if entry is None:
            continue
        try:
            layer_id = imported.bring(store, entry, stack)
        except InceptionError as error:
            reporter.warn(f"what the imported cache says is not there: {error}")
            continue
        cache.add([key], layer_id, entry.created)
        return True
    return False


def _from_registry(place: CachePlace, credentials: Credentials | None) -> ImportedCache:
    from inception.oci.image import host_platform
    from inception.oci.reference import Reference
    from inception.store.archive import choose_platform
    from inception.store.hosts import endpoint, load_registries
    from inception.store.pull import open_repository
    from inception.store.registry import MANIFESTS

    reference = Reference.parse(place.place)
    where = endpoint(load_registries(), reference.domain)
    repository: Repository = open_repository(reference, where, f"import cache {reference.familiar}", credentials, "pull")
    try:
        data, media_type = repository.manifest(reference.digest or reference.tag)
        if media_type not in MANIFESTS:
            index = decode(Index, load_json(data, "index"), "index")
            data, media_type = repository.manifest(choose_platform(index.manifests, host_platform()).digest)
        return _open(data, repository.blob, repository.close)
    except BaseException:
        repository.close()
        raise


def _from_folder(place: CachePlace) -> ImportedCache:
    folder = place.place

    def fetch(descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        digest = Digest(descriptor.digest)
        try:
            with open(f"{folder}/blobs/{digest.algorithm}/{digest.hex}", "rb", buffering=0) as file:
                file.seek(offset)
                while chunk := file.read(1 << 20):
                    yield chunk
        except OSError as error:
            raise NotFound(f"{folder}: blob {digest}: {error.strerror}") from error

    try:
        with open(f"{folder}/index.json", "rb") as file:
            index = decode(Index, load_json(file.read(MAX_DOCUMENT_BYTES), "index.json"), "index.json")
    except OSError as error:
        raise NotFound(f"{folder}/index.json: {error.strerror}") from error
    entry = _choose(index, place)
    return _open(_read(fetch, entry), fetch, lambda: None)


def _choose(index: Index, place: CachePlace) -> Descriptor:
    wanted = place.tag or "latest"
    for entry in index.manifests:
        if entry.digest == place.digest if place.digest else entry.annotations.get(_REF_NAME) == wanted:
            return entry
    if not place.digest and not place.tag and len(index.manifests) == 1:
        return index.manifests[0]
    raise NotFound(f"{place.place}: no cache {place.digest or wanted} in this OCI layout")


def _open(manifest: bytes, fetch: Fetch, close: Callable[[], None]) -> ImportedCache:
    parsed = decode_manifest(manifest)
    value = load_json(_read(fetch, parsed.config), "cache configuration")
    if parsed.config.media_type != MEDIA_CACHE:
        from inception.oci.image import ImageDocument

        document = decode(ImageDocument, value, "image configuration")
        if not document.build_cache:
            raise NotFound("no cache in it: it was built without --cache-to type=inline")
        value = {**document.build_cache, "diffIds": document.rootfs.diff_ids}
    return ImportedCache(decode(CacheDocument, value, "cache configuration"), parsed.layers, fetch, close)


def _read(fetch: Fetch, descriptor: Descriptor) -> bytes:
    """A document, verified."""
    data = b""
    for chunk in fetch(descriptor, 0):
        data += chunk
        if len(data) > _MAX_CONFIG_BYTES:
            raise InvalidArgument(f"{descriptor.digest}: longer than {_MAX_CONFIG_BYTES} bytes")
    if sha256(data) != descriptor.digest:
        raise InvalidArgument(f"{descriptor.digest}: the bytes have digest {sha256(data)}")
    return data
