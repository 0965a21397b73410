"""What is asked of a repository on its registry beside transfers: which tags it has, and that something go.

A tag goes alone where the registry can do that; else only what it means can go, by digest, and takes all its tags along: that
is left to the user to say. What refers to an image is taken off the list that registries without the referrers API keep under
a tag. Source: distribution-spec, "Content Management", "Listing Tags".
"""

from __future__ import annotations

from inception.errors import Conflict, InvalidArgument
from inception.oci.reference import Reference
from inception.store.documents import decode_manifest
from inception.store.hosts import Registries, endpoint, full_name, load_registries
from inception.store.pull import open_repository
from inception.store.registry import MANIFESTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.oci.image import Descriptor
    from inception.store.credentials import Credentials
    from inception.store.registry import Repository


def tags(name: str, *, credentials: Credentials | None = None, registries: Registries | None = None) -> list[str]:
    """The tags of a repository. Raises NotFound, Forbidden, Unavailable."""
    _, repository = _open(name, "list tags of", credentials, registries, "pull")
    try:
        return repository.tags()
    finally:
        repository.close()


def delete(
    name: str, *, blob: bool = False, credentials: Credentials | None = None, registries: Registries | None = None
) -> str:
    """Deletes a tag, or by its digest a manifest with all its tags, or a *blob*; what is gone, in the user's words.

    Raises NotFound, Forbidden, and Conflict where the registry doesn't delete such a thing.
    """
    tagged = ":" in name.partition("@")[0].rpartition("/")[2]
    if "@" not in name and (blob or not tagged):
        raise InvalidArgument(f"delete {name}: {'a blob has a digest' if blob else 'which: a tag, or a digest'}?")
    reference, repository = _open(name, "delete", credentials, registries, "pull,push,delete")
    try:
        if blob:
            repository.delete("blobs", reference.digest)
        elif reference.digest:
            _delete_manifest(repository, reference)
        else:
            _delete_tag(repository, reference)
    finally:
        repository.close()
    return f"{reference.familiar_repository}@{reference.digest}" if reference.digest else reference.familiar


def _open(
    name: str, verb: str, credentials: Credentials | None, registries: Registries | None, actions: str
) -> tuple[Reference, Repository]:
    registries = registries if registries is not None else load_registries()
    reference = Reference.parse(full_name(registries, name))
    what = f"{verb} {reference.familiar if actions != 'pull' else reference.familiar_repository}"
    where = endpoint(registries, reference.domain)
    return reference, open_repository(reference, where, what, credentials, actions)


def _delete_tag(repository: Repository, reference: Reference) -> None:
    try:
        repository.delete("manifests", reference.tag)
    except Conflict as error:
        digest = repository.digest(reference.tag)
        again = f"`inception registry rm {reference.familiar_repository}@{digest}` deletes what it means, with all its tags"
        raise Conflict(f"{error}: it deletes no tags", again if digest else "") from error


def _delete_manifest(repository: Repository, reference: Reference) -> None:
    subject = _subject(repository, reference.digest)
    try:
        repository.delete("manifests", reference.digest)
    except Conflict as error:
        raise Conflict(str(error), "registries can forbid deletion, and many do unless they are told otherwise") from error
    if subject is not None and repository.referrers(subject.digest) is None:
        from inception.store.artifacts import forget

        forget(repository, subject.digest, reference.digest)


def _subject(repository: Repository, digest: str) -> Descriptor | None:
    data, media_type = repository.manifest(digest)
    return decode_manifest(data).subject if media_type in MANIFESTS else None
