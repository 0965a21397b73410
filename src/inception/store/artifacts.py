"""Artifacts: files under a name of a registry, and what belongs to an image there (signatures, SBOMs) by referring to it.

    push   files ──▶ blobs; a manifest over them, with its type and, if any, its *subject* ──▶ tag, or digest alone
    pull   manifest ──▶ files beneath one folder, each whole and verified before it gets its name
    list   who refers to an image: the referrers API, or on registries from before it the tag `sha256-HEX`, which is an index
           that whoever pushes a referrer keeps up to date

Names of files come from annotations that strangers write: they are relative paths beneath the folder, or an error
(CVE-2025-62725).
Source: image-spec manifest.md, "Guidelines for Artifact Usage"; distribution-spec, "Listing Referrers", "Pushing Manifests with
Subject", "Referrers Tag Schema".
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable
from inception.linux.path import RootDir
from inception.oci.digest import Digest, sha256
from inception.oci.image import MEDIA_INDEX, MEDIA_MANIFEST, Descriptor, Index, Manifest
from inception.oci.reference import Reference
from inception.record import Record, decode, encode
from inception.store.content import write_all
from inception.store.documents import decode_manifest, load_json
from inception.store.hosts import Registries, endpoint, load_registries
from inception.store.progress import Progress, silent
from inception.store.pull import open_repository
from inception.store.push import Pushed
from inception.store.registry import INDEXES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from inception.store.credentials import Credentials
    from inception.store.progress import OnProgress
    from inception.store.registry import Repository

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
UNKNOWN_TYPE = "application/vnd.unknown.artifact.v1"
FILE_TYPE = "application/octet-stream"
TITLE = "org.opencontainers.image.title"
_EMPTY = b"{}"
_MAX_FILES = 10_000
_MAX_NAME_BYTES = 1024


class File(Record):
    """One file of an artifact: where it is on this machine, what it is called there, what it is."""

    path: str
    title: str
    media_type: str = FILE_TYPE


def push(
    name: str,
    files: Sequence[File],
    progress: OnProgress = silent,
    *,
    artifact_type: str = UNKNOWN_TYPE,
    annotations: Mapping[str, str] | None = None,
    subject: str = "",
    credentials: Credentials | None = None,
    registries: Registries | None = None,
) -> Pushed:
    """Uploads *files* as one artifact under the tag of *name*; with a *subject* (a tag or a digest of the same repository) it
    refers to that, and needs no tag of its own.

    Raises NotFound (no such file, no such subject), Forbidden, Unavailable.
    """
    reference = Reference.parse(name)
    if reference.digest:
        raise InvalidArgument("cannot push a digest reference")
    tagged = ":" in name.rpartition("/")[2]
    for title in [file.title for file in files]:
        check_title(title)
    if len({file.title for file in files}) < len(files):
        raise InvalidArgument(f"push {name}: two files of one name")
    repository = _open(reference, f"push {reference.familiar}", credentials, registries, "pull,push")
    try:
        about = _subject(repository, reference, subject) if subject else None
        layers = [_upload(repository, file, progress) for file in files]
        empty = Descriptor(media_type=EMPTY_TYPE, digest=sha256(_EMPTY), size=len(_EMPTY))
        _put_bytes(repository, _EMPTY)
        manifest = Manifest(
            media_type=MEDIA_MANIFEST,
            artifact_type=artifact_type,
            config=empty,
            layers=layers or [empty],
            subject=about,
            annotations=dict(annotations or {}),
        )
        data = jsontext.dumps({"schemaVersion": 2, **encode(manifest)}).encode()
        digest = sha256(data)
        knows_subjects = repository.put_referrer(data, MEDIA_MANIFEST, reference.tag if tagged or not about else digest)
        if about is not None and not knows_subjects:
            own = Descriptor(media_type=MEDIA_MANIFEST, digest=digest, size=len(data), artifact_type=artifact_type)
            own.annotations = dict(annotations or {})
            _note(repository, about.digest, own)
    finally:
        repository.close()
    return Pushed(tag=reference.tag if tagged or not subject else "", digest=digest, size_bytes=len(data))


def pull(
    name: str,
    folder: str,
    progress: OnProgress = silent,
    *,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
) -> list[str]:
    """Brings the files of an artifact into *folder*; their names, relative to it. Nothing that is there is overwritten.

    Raises Conflict for a file that is there, InvalidArgument for a name that leads out or for bytes that are not what the
    manifest says.
    """
    reference = Reference.parse(name)
    repository = _open(reference, f"pull {reference.familiar}", credentials, registries, "pull")
    try:
        data, media_type = repository.manifest(reference.digest or reference.tag)
        if media_type in INDEXES:
            raise InvalidArgument(f"{reference.familiar}: an index, not an artifact: `inception pull` is for images")
        blobs = [blob for blob in decode_manifest(data).layers if blob.media_type != EMPTY_TYPE]
        if len(blobs) > _MAX_FILES:
            raise InvalidArgument(f"{reference.familiar}: more than {_MAX_FILES} files")
        titles = [blob.annotations.get(TITLE) or Digest(blob.digest).hex for blob in blobs]
        for title in titles:
            check_title(title)
        os.makedirs(folder, exist_ok=True)
        with RootDir.open_host(folder) as root:
            for blob, title in zip(blobs, titles, strict=True):
                _save(repository, blob, root, title, progress)
    finally:
        repository.close()
    return titles


def referrers(
    name: str,
    artifact_type: str = "",
    *,
    credentials: Credentials | None = None,
    registries: Registries | None = None,
) -> list[Descriptor]:
    """What refers to an image or an artifact on its registry, of all types or of one. Raises NotFound, Forbidden."""
    reference = Reference.parse(name)
    repository = _open(reference, f"inspect {reference.familiar}", credentials, registries, "pull")
    try:
        digest = reference.digest or sha256(repository.manifest(reference.tag)[0])
        found = repository.referrers(digest, artifact_type)
        if found is None:
            found = _fallback(repository, digest)
    finally:
        repository.close()
    return [each for each in found if not artifact_type or each.artifact_type == artifact_type]


def split_type(text: str) -> tuple[str, str]:
    """`PATH` or `PATH:MEDIA_TYPE` as path and type."""
    path, colon, media_type = text.rpartition(":")
    if not colon or "/" not in media_type.strip("/") or media_type.startswith("/"):
        return text, FILE_TYPE
    return path, media_type


def check_title(title: str) -> None:
    """A relative path that stays beneath its folder. Raises InvalidArgument."""
    parts = title.split("/")
    sound = title.isprintable() and len(title.encode(errors="surrogateescape")) <= _MAX_NAME_BYTES
    if not sound or any(part in ("", ".", "..") for part in parts) or "\\" in title:
        raise InvalidArgument(f"artifact: {title[:80]!r} is no name for a file")


def _open(
    reference: Reference, what: str, credentials: Credentials | None, registries: Registries | None, actions: str
) -> Repository:
    where = endpoint(registries if registries is not None else load_registries(), reference.domain)
    return open_repository(reference, where, what, credentials, actions)


def _subject(repository: Repository, reference: Reference, text: str) -> Descriptor:
    """What *text* stands for: a tag, a digest, or a whole name in the repository of *reference*."""
    own = text
    if "/" in text:
        named = Reference.parse(text)
        if named.repository != reference.repository:
            raise InvalidArgument(
                f"subject {text}: not in the repository {reference.familiar_repository}",
                "what refers to it must be pushed there",
            )
        own = named.digest or named.tag
    try:
        data, media_type = repository.manifest(own)
    except NotFound as error:
        raise NotFound(f"subject {text} not found in {reference.familiar_repository}", error.hint) from error
    return Descriptor(media_type=media_type, digest=sha256(data), size=len(data))


def _upload(repository: Repository, file: File, progress: OnProgress) -> Descriptor:
    import hashlib

    try:
        with open(file.path, "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            digest = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise NotFound(f"push {file.path}: {error.strerror}") from error
    short = Digest(digest).hex[:12]
    if repository.has_blob(digest):
        progress(Progress(id=short, status=f"Already exists {file.title}"))
    else:
        repository.upload(
            digest,
            size,
            lambda: open(file.path, "rb", buffering=0),
            "",
            lambda done: progress(Progress(id=short, status="Pushing", current=done, total=size)),
        )
        progress(Progress(id=short, status=f"Pushed {file.title}"))
    return Descriptor(media_type=file.media_type, digest=digest, size=size, annotations={TITLE: file.title})


def _put_bytes(repository: Repository, data: bytes) -> None:
    import io

    digest = sha256(data)
    if not repository.has_blob(digest):
        repository.upload(digest, len(data), lambda: io.BytesIO(data), "", lambda _done: None)


def _save(repository: Repository, blob: Descriptor, root: RootDir, title: str, progress: OnProgress) -> None:
    import hashlib

    head, _, name = title.rpartition("/")
    short = Digest(blob.digest).hex[:12]
    parent = root.mkdirs(head)
    try:
        if _is_there(name, parent):
            raise Conflict(f"pull {title}: file exists", "move it away, or choose another folder")
        partial = f".{name[:200]}.{os.urandom(6).hex()}"
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent)
        try:
            hasher, length = hashlib.new(Digest(blob.digest).algorithm), 0
            for chunk in repository.blob(blob):
                length += len(chunk)
                if length > blob.size:
                    raise InvalidArgument(f"content {blob.digest}: longer than the {blob.size} bytes that were announced")
                hasher.update(chunk)
                write_all(fd, chunk)
                progress(Progress(id=short, status="Downloading", current=length, total=blob.size))
            if hasher.hexdigest() != Digest(blob.digest).hex or length != blob.size:
                raise InvalidArgument(f"content {blob.digest}: the bytes have digest {hasher.name}:{hasher.hexdigest()}")
            os.fsync(fd)
            os.link(partial, name, src_dir_fd=parent, dst_dir_fd=parent)  # unlike a rename it replaces nothing
        except FileExistsError:
            raise Conflict(f"pull {title}: file exists", "move it away, or choose another folder") from None
        except OSError as error:
            raise Unavailable(f"pull {title}: {error.strerror}") from error
        finally:
            os.close(fd)
            os.unlink(partial, dir_fd=parent)
    finally:
        os.close(parent)
    progress(Progress(id=short, status=f"Downloaded {title}"))


def _is_there(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


# Registries from before the referrers API


def _fallback_tag(digest: str) -> str:
    """`sha256-HEX`, cut to what a tag may be."""
    checked = Digest(digest)
    return f"{checked.algorithm[:32]}-{checked.hex[:64]}"


def _fallback(repository: Repository, digest: str) -> list[Descriptor]:
    try:
        return _listed(repository, digest)
    except (NotFound, Conflict):
        return []


def _listed(repository: Repository, digest: str) -> list[Descriptor]:
    """Raises NotFound when there is no such tag, Conflict when it is something else."""
    tag = _fallback_tag(digest)
    data, media_type = repository.manifest(tag)
    if media_type not in INDEXES:
        raise Conflict(f"{repository.transport.what}: tag {tag} is not a list of referrers: it is left as it is")
    return decode(Index, load_json(data, "index"), "index").manifests


def forget(repository: Repository, subject: str, digest: str) -> None:
    """Takes a referrer that is gone off the index of its subject."""
    try:
        found = _listed(repository, subject)
    except (NotFound, Conflict):
        return
    left = [each for each in found if each.digest != digest]
    if len(left) < len(found):
        _put_list(repository, subject, left)


def _note(repository: Repository, subject: str, own: Descriptor) -> None:
    """Adds a referrer to the index of its subject; one that is in it already is left alone."""
    try:
        found = _listed(repository, subject)
    except NotFound:
        found = []
    if any(each.digest == own.digest for each in found):
        return
    _put_list(repository, subject, [*found, own])


def _put_list(repository: Repository, subject: str, referrers: list[Descriptor]) -> None:
    index = Index(media_type=MEDIA_INDEX, manifests=referrers)
    data = jsontext.dumps({"schemaVersion": 2, **encode(index)}).encode()
    repository.put_manifest(data, MEDIA_INDEX, _fallback_tag(subject))
