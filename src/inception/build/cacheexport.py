"""`--cache-to`: this build's cache for other machines.

What is kept of each step are its keys, the layer that it made and when; a record has all the keys that this store knows for the
layer, so a machine whose other stages were made again finds it by its files too.
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.build.cacheimport import CacheDocument, CacheEntry
from inception.build.cacheplaces import MEDIA_CACHE
from inception.build.config import CachePlace
from inception.errors import Unavailable
from inception.oci.digest import Digest, sha256
from inception.oci.image import MEDIA_INDEX, MEDIA_LAYER, MEDIA_MANIFEST, Descriptor, Index, Manifest
from inception.record import Record, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from inception.build.cache import BuildCache
    from inception.store import Store
    from inception.store.credentials import Credentials

_REF_NAME = "org.opencontainers.image.ref.name"


class Made(Record):
    """What a step of *stage* came to in this build, found or made."""

    stage: int
    keys: list[str]
    layer_id: int | None
    created: str


def records_of(cache: BuildCache, made: Sequence[Made], layer_ids: list[int]) -> list[CacheEntry]:
    """The entries of steps; their layers join *layer_ids*, where they aren't in it, and are counted there."""
    entries = []
    for step in made:
        if step.layer_id is not None and step.layer_id not in layer_ids:
            layer_ids.append(step.layer_id)
        keys = sorted({*step.keys, *(cache.keys_of(step.layer_id) if step.layer_id is not None else ())})
        position = None if step.layer_id is None else layer_ids.index(step.layer_id)
        entries.append(CacheEntry(keys=keys, layer=position, created=step.created))
    return entries


def inline(cache: BuildCache, made: Sequence[Made], stages: Collection[int], layer_ids: Sequence[int]) -> dict[str, object]:
    """What an image's own configuration says of the layers it has."""
    known = list(layer_ids)
    entries = [
        entry
        for entry in records_of(cache, [step for step in made if step.stage in stages], known)
        if (entry.layer or 0) < len(layer_ids)
    ]
    return {"records": [encode(entry) for entry in entries]}


def export(
    store: Store, place: CachePlace, cache: BuildCache, made: Sequence[Made], credentials: Credentials | None = None
) -> None:
    """*credentials* None means this user's own log-ins. Raises Unavailable, Forbidden, InvalidArgument. The caller holds a
    lease."""
    layer_ids: list[int] = []
    entries = records_of(cache, made, layer_ids)
    layers = [(store.layers.get(number).diff_id, number) for number in layer_ids]
    document = CacheDocument(diff_ids=[diff_id for diff_id, _ in layers], records=entries)
    config = jsontext.dumps(encode(document)).encode()
    if place.type == "registry":
        from inception.store.push import push_artifact

        push_artifact(store, place.place, config, MEDIA_CACHE, layers, compression=place.compression, credentials=credentials)
    else:
        try:
            _to_folder(store, place, config, layers)
        except OSError as error:
            raise Unavailable(f"cache {place.place}: {error.strerror}") from error


def _to_folder(store: Store, place: CachePlace, config: bytes, layers: list[tuple[str, int]]) -> None:
    from inception.store.push import compressed

    os.makedirs(f"{place.place}/blobs/sha256", exist_ok=True)
    described = []
    for diff_id, number in layers:
        layer = compressed(store, Descriptor(media_type=MEDIA_LAYER, digest=diff_id, size=0), number, place.compression)
        path = _blob_path(place.place, layer.digest)
        if not (os.path.exists(path) and os.path.getsize(path) == layer.size):
            with store.content.open(layer.digest) as source:
                _write(path, iter(lambda source=source: source.read(1 << 20), b""))  # type: ignore[misc]
        described.append(layer)
    head = Descriptor(media_type=MEDIA_CACHE, digest=sha256(config), size=len(config))
    manifest = jsontext.dumps(
        {"schemaVersion": 2, **encode(Manifest(media_type=MEDIA_MANIFEST, config=head, layers=described))}
    ).encode()
    for data in (config, manifest):
        _write(_blob_path(place.place, sha256(data)), [data])
    _write(f"{place.place}/oci-layout", [b'{"imageLayoutVersion": "1.0.0"}'])
    entry = Descriptor(
        media_type=MEDIA_MANIFEST, digest=sha256(manifest), size=len(manifest), annotations={_REF_NAME: place.tag}
    )
    others = [each for each in _entries(place.place) if each.annotations.get(_REF_NAME) != place.tag]
    index = Index(media_type=MEDIA_INDEX, manifests=[*others, entry])
    _write(f"{place.place}/index.json", [jsontext.dumps({"schemaVersion": 2, **encode(index)}).encode()])


def _entries(folder: str) -> list[Descriptor]:
    from inception.record import decode
    from inception.store.documents import load_json

    try:
        with open(f"{folder}/index.json", "rb") as file:
            return decode(Index, load_json(file.read(), "index.json"), "index.json").manifests
    except FileNotFoundError:
        return []


def _blob_path(folder: str, digest: str) -> str:
    return f"{folder}/blobs/sha256/{Digest(digest).hex}"


def _write(path: str, chunks: object) -> None:
    """Whole or not at all."""
    partial = f"{path}.{os.urandom(4).hex()}.partial"
    try:
        with open(partial, "xb") as file:
            for chunk in chunks:  # type: ignore[attr-defined]
                file.write(chunk)
        os.replace(partial, path)
    finally:
        if os.path.lexists(partial):
            os.unlink(partial)
