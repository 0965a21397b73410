"""Where a finished build goes: the image store, archives, registries, folders, with what describes it.

Images are in the store under their names, wherever else they go. Of several platforms, and of what is said about an image, an
index is made, which the store keeps under the same names.
"""

from __future__ import annotations

from inception.build.config import Annotation, Attestations, Output
from inception.build.image import make_document
from inception.build.output import write_stream
from inception.errors import InvalidArgument, NotFound
from inception.oci.digest import sha256
from inception.oci.image import MEDIA_INDEX, MEDIA_MANIFEST, Platform
from inception.oci.reference import Reference
from inception.record import Record
from inception.store.documents import document_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from inception.build.config import BuildConfig
    from inception.build.session import Session
    from inception.oci.image import Descriptor
    from inception.store.archive_save import MadeIndex
    from inception.store.images import Image
    from inception.store.push import Attached


class Finished(Record):
    """`image_id` is empty when only files were asked for; `metadata` is what `--metadata-file` gets."""

    image_id: str = ""
    metadata: dict[str, object] = {}


def check_outputs(config: BuildConfig, platforms: Sequence[str]) -> None:
    """Raises InvalidArgument for what can't go where it is sent, before anything is made."""
    outputs = config.outputs or [Output(type="image")]
    several = len(platforms) > 1
    for output in outputs:
        if not output.holds_index and (several or (config.attestations and output.type in ("docker", "tar"))):
            what = "several platforms make an index" if several else "attestations stand in an index"
            raise InvalidArgument(
                f"output type={output.type}: {what}, and it has no place there", "use --push or --output type=oci,dest=FILE"
            )
    wanted = {note.level for note in config.annotations}
    if wanted & {"index", "index-descriptor", "manifest-descriptor"} and not (several or config.attestations):
        raise InvalidArgument("annotations of an index are not supported for one platform: no index is made")
    if "index-descriptor" in wanted and not any(output.type == "oci" for output in outputs):
        raise InvalidArgument("index-descriptor annotations stand in an OCI layout alone: use --output type=oci,dest=FILE")


def finish(sessions: Sequence[Session]) -> Finished:
    """Sends what *sessions*, one a platform, have built where it should go."""
    first = sessions[0]
    outputs = first.config.outputs or [Output(type="image")]
    if not any(output.needs_image for output in outputs):
        for output in outputs:
            _write_files(sessions, output)
        return Finished(metadata=_metadata(first, "", []))
    if len(sessions) == 1 and not first.config.attestations:
        return _one(first, outputs)
    return _several(sessions, outputs)


def _one(session: Session, outputs: Sequence[Output]) -> Finished:
    """An image under its names, and copies of it."""
    image_id, manifest_digest, size = store_image(session, session.names)
    described = [_described(MEDIA_MANIFEST, manifest_digest, size)]
    for output in outputs:
        if not output.needs_image:
            _write_files([session], output)
        elif output.destination or output.to_caller:
            with session.reporter.step(f"exporting to {output.type} image format"):
                session.caller.write_archive(session.engine.images.save(session.names or [image_id]), output)
        for name in session.names if output.push else ():
            with session.reporter.step(f"pushing {name}"):
                pushed = session.engine.images.push(name, credentials=session.caller.credentials(name))
                described = [_described(MEDIA_MANIFEST, pushed.digest, pushed.size_bytes)]
    return Finished(image_id=image_id, metadata=_metadata(session, image_id, described))


def _several(sessions: Sequence[Session], outputs: Sequence[Output]) -> Finished:
    """An index of images and of what is said about them."""
    from inception.store.archive_save import make_index, save_index

    first = sessions[0]
    store, config = first.store, first.config
    before = {image.id for image in store.images.list()}
    ids = [store_image(session, [])[0] for session in sessions]
    images = [store.images.resolve(image_id) for image_id in ids]
    notes = {note.key: note.value for note in config.annotations if note.level == "index"}
    root_notes = {note.key: note.value for note in config.annotations if note.level == "index-descriptor"}
    by_id = dict(zip(ids, sessions, strict=True))

    def attach(image: Image, entry: Descriptor) -> Iterable[Attached]:
        from inception.build.attest import attach, statements

        session = by_id[image.id]
        entry.annotations |= {
            note.key: note.value for note in config.annotations if note.level == "manifest-descriptor" and _fits(note, session)
        }
        if config.attestations:
            platform = entry.platform or Platform(architecture=image.document.architecture, os=image.document.os)
            with session.reporter.step(f"{session.label}exporting attestation manifest"):
                found = statements(session, session.names, platform, entry.digest, image.created)
            yield attach(found, entry)

    made = make_index(store, images, attach=attach, annotations=notes)
    described = [_described(MEDIA_INDEX, made.digest, made.size_bytes)]
    if first.names:
        _keep(first, made, dict(zip([image.manifest_digest for image in images], ids, strict=True)), _here(sessions, ids))
    for output in outputs:
        if not output.needs_image:
            _write_files(sessions, output)
        elif output.destination or output.to_caller:
            with first.reporter.step(f"exporting to {output.type} image format"):
                first.caller.write_archive(save_index(store, first.names, made, root_notes), output)
        for name in first.names if output.push else ():
            from inception.store.push import push_index

            with first.reporter.step(f"pushing {name}"):
                pushed = push_index(
                    store, name, ids, attach=attach, annotations=notes, credentials=first.caller.credentials(name)
                )
                described = [_described(MEDIA_INDEX, pushed.digest, pushed.size_bytes)]
    if not first.names and len(sessions) > 1:
        for image_id in set(ids) - before:  # without a name nobody would find them
            store.images.remove(image_id, force=True, prune=False)
    image_id = ids[0] if len(sessions) == 1 else str(described[0]["digest"])
    return Finished(image_id=image_id, metadata=_metadata(first, ids[0] if len(sessions) == 1 else "", described))


def _here(sessions: Sequence[Session], ids: Sequence[str]) -> str:
    """The image that a name means on this machine: its own platform's, or the first."""
    return next(
        (each for session, each in zip(sessions, ids, strict=True) if session.plan.platform == session.plan.machine), ids[0]
    )


def _keep(session: Session, index: MadeIndex, images: dict[str, str], here: str) -> None:
    """The index in the store under all names."""
    store = session.store
    for data in index.documents.values():
        store.content.put_bytes(data)
    for name in session.names:
        with session.reporter.step(f"naming to {name}"):
            store.images.tag(here, name)
            store.indexes.keep(Reference.parse(name), index.digest, images, list(index.documents))


def store_image(session: Session, names: Sequence[str]) -> tuple[str, str, int]:
    """The image of *session* in the store: its id, its manifest's digest and size."""
    plan, store, config = session.plan, session.store, session.config
    stack = session.stacks[plan.stages[-1].index]
    document = make_document(plan.stages[-1], session.root_document(), stack.outcomes, stack.diff_ids, session.epoch[0])
    if session.inline_cache:
        from inception.build.cacheexport import inline

        document.build_cache = inline(session.cache, session.made, plan.lineage(), stack.layer_ids)
    data = document_bytes(document)
    image_id = str(sha256(data))
    notes = {note.key: note.value for note in config.annotations if note.level == "manifest" and _fits(note, session)}
    with session.reporter.step(f"{session.label}exporting to image") as report:
        image = _known(session, image_id)
        if image is not None and _annotations(session, image) == notes:
            for name in names:
                store.images.tag(image_id, name)
            report.cached()
        else:
            image = store.images.put(data, stack.layer_ids, names=names, annotations=notes)
        session.engine.images.note_tags(image_id, names)
        report.output(f"writing image {image_id}\n".encode())
        for name in names:
            report.output(f"naming to {name}\n".encode())
    return image_id, image.manifest_digest, store.content.size(image.manifest_digest)


def _fits(note: Annotation, session: Session) -> bool:
    return note.platform in ("", session.plan.platform)


def _known(session: Session, image_id: str) -> Image | None:
    try:
        image = session.store.images.resolve(image_id)
    except NotFound:
        return None
    return image if image.id == image_id else None


def _annotations(session: Session, image: Image) -> dict[str, str]:
    data = session.store.content.read(image.manifest_digest)
    if b'"annotations"' not in data:
        return {}
    from inception.store.documents import decode_manifest

    return decode_manifest(data).annotations


def _write_files(sessions: Sequence[Session], output: Output) -> None:
    for session in sessions:
        target = output
        if len(sessions) > 1:
            target = Output(type=output.type, destination=f"{output.destination}/{session.plan.platform.replace('/', '_')}")
        stack = session.stacks[session.plan.stages[-1].index]
        view = session.store.snapshots.open_layers(stack.layer_ids)
        with session.reporter.step(f"{session.label}exporting to client {output.type}"), view as root:
            session.caller.write_files(root, target, session.epoch[1])
        if session.config.attestations and output.type == "local":
            _write_statements(session, target.destination, stack.diff_ids)


def _write_statements(session: Session, folder: str, diff_ids: Sequence[str]) -> None:
    """Beside the files, as BuildKit does it; what they speak of is the files' own digest."""
    from inception.build.attest import SPDX, statements
    from inception.oci.digest import chain_id
    from inception.oci.image import parse_platform

    digest = str(chain_id(list(diff_ids))) if diff_ids else str(sha256(b""))
    for kind, data in statements(session, [], parse_platform(session.plan.platform), digest, session.finished):
        write_stream([data], f"{folder}/{'sbom.spdx.json' if kind == SPDX else 'provenance.json'}")


def _described(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _metadata(session: Session, config_digest: str, described: Sequence[dict[str, object]]) -> dict[str, object]:
    """buildx's keys. Provenance is the short one unless more was asked for."""
    if not session.config.metadata:
        return {}
    from inception.build.attest import provenance
    from inception.record import replace

    asked = session.config.attestations
    asked = asked if asked.provenance else replace(asked, provenance="min") if asked else Attestations(provenance="min")
    found: dict[str, object] = {
        "buildx.build.provenance": provenance(session, asked),
        "buildx.build.ref": f"default/default/{session.build_id}",
    }
    if config_digest:
        found["containerimage.config.digest"] = config_digest
    if described:
        found["containerimage.descriptor"] = described[0]
        found["containerimage.digest"] = described[0]["digest"]
    if session.names:
        found["image.name"] = ",".join(str(Reference.parse(name)) for name in session.names)
    return found
