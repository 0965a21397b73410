"""Documents of images, read from whoever wrote them: bounded, without two meanings, each error with its place."""

from __future__ import annotations

from inception import jsontext
from inception.errors import InvalidArgument
from inception.oci.digest import Digest
from inception.oci.image import ImageDocument, Manifest
from inception.record import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_DOCUMENT_BYTES = 4 << 20
#: As many as Docker takes, and as fit into the one page of mount(2)'s options.
MAX_LAYERS = 127
#: Labels that begin so are this engine's own: an image's are not seen. Its bytes stay as they are.
RESERVED_LABELS = "inception."


def parse_document(data: bytes, *, trusted: bool = False) -> ImageDocument:
    """An image configuration. Raises InvalidArgument naming the place."""
    value = jsontext.loads(data) if trusted else load_json(data, "image configuration")
    document = decode(ImageDocument, value, "image configuration")
    _check_bounds(document)
    if not trusted:
        _check_times(document)
    document.config.labels = _own(document.config.labels)
    return document


def labels_of(data: bytes) -> dict[str, str]:
    """The labels of a configuration that `parse_document` has accepted, for listings: a tenth of its time."""
    config = jsontext.loads(data).get("config") or {}
    return _own(config.get("Labels") or {})


def _own(labels: dict[str, str]) -> dict[str, str]:
    # What strangers write must never be taken for what this engine notes (CVE-2026-53488: a label became a log URI).
    return {key: text for key, text in labels.items() if not key.startswith(RESERVED_LABELS)}


def _check_times(document: ImageDocument) -> None:
    from inception.oci.times import is_rfc3339

    times = {"created": document.created}
    times |= {f"history[{position}].created": step.created for position, step in enumerate(document.history)}
    for place, text in times.items():
        if text and not is_rfc3339(text):
            raise InvalidArgument(f"image configuration: {place}: not a time of RFC 3339: {text[:40]!r}")


def _check_bounds(document: ImageDocument) -> None:
    """What no honest image has, and what could not be run anyway."""
    if len(document.rootfs.diff_ids) > MAX_LAYERS:
        raise InvalidArgument(f"image configuration: rootfs.diff_ids: more than {MAX_LAYERS} layers")
    if document.rootfs.type != "layers":
        raise InvalidArgument(f"image configuration: rootfs.type: {document.rootfs.type[:40]!r} is not supported")
    config = document.config
    plain = {"User": [config.user], "WorkingDir": [config.working_dir], "StopSignal": [config.stop_signal], "Env": config.env}
    lists = {"Entrypoint": config.entrypoint, "Cmd": config.cmd, "Shell": config.shell, "Volumes": list(config.volumes)}
    for place, texts in {**plain, **lists}.items():
        if texts and any("\0" in text for text in texts):
            raise InvalidArgument(f"image configuration: config.{place}: a NUL character")


def document_bytes(document: ImageDocument) -> bytes:
    """The bytes of a configuration that was made here; their digest is the image's id."""
    value: dict[str, Any] = encode(document)
    value["rootfs"] = {"type": "layers", "diff_ids": document.rootfs.diff_ids}
    value.setdefault("config", {})
    return jsontext.dumps(value).encode()


def decode_manifest(data: bytes) -> Manifest:
    """A manifest of either family. Raises InvalidArgument, also for a document that could be read as two things."""
    value = load_json(data, "manifest")
    if isinstance(value, dict) and "manifests" in value and ("layers" in value or "config" in value):
        raise InvalidArgument("manifest: it is both an index and a manifest")  # CVE-2021-41190
    manifest = decode(Manifest, value, "manifest")
    for place, descriptor in [("config", manifest.config), *((f"layers[{i}]", each) for i, each in enumerate(manifest.layers))]:
        Digest(descriptor.digest)
        if descriptor.size < 0:
            raise InvalidArgument(f"manifest: {place}.size: negative")
    return manifest


def load_json(data: bytes, what: str) -> Any:
    """A document from outside: bounded, without duplicate keys (two readers could disagree on which one counts)."""
    import json  # the plain reader doesn't see duplicates

    if len(data) > MAX_DOCUMENT_BYTES:
        raise InvalidArgument(f"{what}: larger than {MAX_DOCUMENT_BYTES} bytes")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise InvalidArgument(f"{what}: a key is there twice")
        return found

    try:
        return json.loads(data, object_pairs_hook=unique)
    except RecursionError:
        raise InvalidArgument(f"{what}: nested too deeply") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{what}: not JSON: {error}") from error
