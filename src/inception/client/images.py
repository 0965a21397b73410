"""Images of an engine elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from inception.client.bodies import encode_header, login_fields
from inception.client.transport import filters_text, segment
from inception.engine.results import HistoryEntry, ImageRemoval, PruneReport
from inception.errors import Forbidden, InvalidArgument, NotFound, Unavailable
from inception.monitor.times import timestamp
from inception.oci.image import ImageConfig, ImageDocument, RootFs
from inception.oci.reference import Reference
from inception.record import decode
from inception.store.images import Image
from inception.store.progress import Progress
from inception.store.push import Pushed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from inception.client.engine import RemoteEngine
    from inception.store.credentials import Credentials

    OnProgress = Callable[[Progress], None] | None

_CHUNK = 1 << 16


class RemoteImages:
    """`engine.images`. What an `Image` says of its layers, only its own engine knows: `layer_ids` are empty."""

    def __init__(self, engine: RemoteEngine) -> None:
        self.engine = engine

    def get(self, reference: str, *, platform: str = "") -> Image:
        """The image with this name, id, unique id prefix or digest. Raises NotFound."""
        return _image(self.inspect(reference, platform=platform))

    def inspect(self, reference: str, *, platform: str = "") -> dict[str, Any]:
        self._one_platform(platform)
        document: dict[str, Any] = self._ask("GET", f"/images/{segment(reference)}/json")
        return document

    def platforms(self, reference: str) -> Sequence[Image]:
        return [self.get(reference)]

    def shared_sizes(self) -> dict[str, int]:
        """Bytes of each image that another has too, by id."""
        rows = self._ask("GET", "/images/json", shared_size=True)
        return {row["Id"]: row["SharedSize"] for row in rows if row.get("SharedSize", -1) > 0}

    def ensure(
        self,
        reference: str,
        *,
        pull: str = "missing",
        progress: OnProgress = None,
        platform: str = "",
        credentials: Credentials | None = None,
    ) -> Image:
        """The image, pulled when it is not there; *pull* is `missing`, `always` or `never`."""
        if pull not in ("", "missing", "always", "never"):
            raise InvalidArgument(f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"')
        if pull != "always":
            try:
                return self.get(reference)
            except NotFound:
                if pull == "never":
                    raise
            if progress is not None:
                progress(Progress(status=f"Unable to find image '{_tagged(reference)}' locally"))
        return self.pull(reference, progress=progress, platform=platform, credentials=credentials)

    def pull(
        self,
        reference: str,
        *,
        progress: OnProgress = None,
        platform: str = "",
        all_platforms: bool = False,
        credentials: Credentials | None = None,
    ) -> Image:
        """Have the engine fetch it. *credentials* None means the log-ins of the user here, which travel with the request."""
        if all_platforms:
            raise self.engine.unsupported("pull --all-platforms")
        name, separator, tag = _tagged(reference).partition("@")
        if not separator:
            name, _, tag = name.rpartition(":")
        self._follow(
            f"pull {reference}", "/images/create", progress, reference, credentials, fromImage=name, tag=tag, platform=platform
        )
        return self.get(reference)

    def pull_all_tags(
        self, repository: str, *, progress: OnProgress = None, platform: str = "", credentials: Credentials | None = None
    ) -> Sequence[Image]:
        self._follow(
            f"pull {repository}", "/images/create", progress, repository, credentials, fromImage=repository, platform=platform
        )
        return self.list(filters={"reference": [repository]})

    def push(
        self,
        reference: str,
        *,
        progress: OnProgress = None,
        credentials: Credentials | None = None,
        compression: str = "gzip",
        platform: str = "",
        all_platforms: bool = False,
    ) -> Pushed:
        if compression != "gzip" or all_platforms:
            raise self.engine.unsupported("push with a choice of compression or platforms")
        self._one_platform(platform)
        repository, _, tag = _tagged(reference).rpartition(":")
        path = f"/images/{segment(repository)}/push"
        result = self._follow(f"push {reference}", path, progress, reference, credentials, tag=tag)
        return Pushed(tag=result.get("Tag") or tag, digest=result.get("Digest") or "", size_bytes=result.get("Size") or 0)

    def push_index(self, reference: str, sources: Sequence[str], **_options: Any) -> Pushed:
        raise self.engine.unsupported("manifest push")

    @property
    def manifest_lists(self) -> Any:
        raise self.engine.unsupported("manifest lists")

    def push_artifact(self, reference: str, files: Any, **_options: Any) -> Any:
        raise self.engine.unsupported("artifacts")

    def pull_artifact(self, reference: str, folder: str, **_options: Any) -> Sequence[str]:
        raise self.engine.unsupported("artifacts")

    def referrers(self, reference: str, artifact_type: str = "", **_options: Any) -> Any:
        raise self.engine.unsupported("artifacts")

    def tags(self, repository: str, **_options: Any) -> Sequence[str]:
        raise self.engine.unsupported("registry ls")

    def delete_remote(self, reference: str, **_options: Any) -> str:
        raise self.engine.unsupported("registry rm")

    def bootstrap(self, reference: str, *, progress: OnProgress = None) -> Image:
        raise self.engine.unsupported("image bootstrap")

    def verify(self, *, repair: bool = False, progress: OnProgress = None) -> Any:
        raise self.engine.unsupported("verify")

    def load(self, stream: BinaryIO, progress: OnProgress = None, *, platform: str = "") -> Sequence[str]:
        """Images from an archive; answers their names, or ids of nameless ones."""
        self._one_platform(platform)
        pieces = iter(lambda: stream.read(_CHUNK), b"")
        names = []
        answer = self.engine.transport.request("POST", "/images/load", pieces, query={"quiet": progress is None})
        for document in answer.documents():
            _check("load", document)
            said = document.get("stream", "").strip()
            for head in ("Loaded image: ", "Loaded image ID: "):
                if said.startswith(head):
                    names.append(said.removeprefix(head))
            _tell(progress, document)
        return names

    def save(self, references: Sequence[str], *, platform: str = "") -> Iterator[bytes]:
        self._one_platform(platform)
        return self.engine.transport.request("GET", "/images/get", query={"names": references}).pieces()

    def import_(
        self,
        stream: BinaryIO,
        reference: str = "",
        *,
        changes: Sequence[str] | None = None,
        message: str = "",
        platform: str = "",
    ) -> Image:
        pieces = iter(lambda: stream.read(_CHUNK), b"")
        query = {"fromSrc": "-", "repo": reference, "message": message, "changes": changes or None, "platform": platform}
        image_id = ""
        for document in self.engine.transport.request("POST", "/images/create", pieces, query=query).documents():
            _check("import", document)
            image_id = document.get("status", image_id)
        return self.get(image_id)

    def tag(self, source: str, target: str) -> None:
        repository, _, tag = _tagged(target).rpartition(":")
        self._ask("POST", f"/images/{segment(source)}/tag", repo=repository, tag=tag)

    def remove(
        self, reference: str, *, force: bool = False, prune: bool = True, platforms: Sequence[str] = ()
    ) -> Sequence[ImageRemoval]:
        if platforms:
            raise self.engine.unsupported("rmi --platform")
        found = self._ask("DELETE", f"/images/{segment(reference)}", force=force, noprune=not prune)
        return [ImageRemoval(untagged=each.get("Untagged") or "", deleted=each.get("Deleted") or "") for each in found]

    def history(self, reference: str, *, platform: str = "") -> Sequence[HistoryEntry]:
        self._one_platform(platform)
        return [
            HistoryEntry(
                id=each["Id"],
                created=timestamp(each["Created"] * 10**9) if each["Created"] else "",
                created_by=each["CreatedBy"],
                size_bytes=each["Size"],
                comment=each.get("Comment") or "",
                tags=each.get("Tags") or [],
            )
            for each in self._ask("GET", f"/images/{segment(reference)}/history")
        ]

    def prune(self, filters: dict[str, list[str]] | None = None, *, all: bool = False) -> PruneReport:
        wanted = {**(filters or {}), **({"dangling": ["false"]} if all else {})}
        found = self._ask("POST", "/images/prune", filters=filters_text(wanted))
        lines = [
            f"untagged: {each['Untagged']}" if each.get("Untagged") else f"deleted: {each['Deleted']}"
            for each in found["ImagesDeleted"] or []
        ]
        return PruneReport(images=lines, space_reclaimed_bytes=found["SpaceReclaimed"])

    def list(self, *, filters: dict[str, list[str]] | None = None, all: bool = False) -> list[Image]:
        """Images, newest first."""
        return [_listed(row) for row in self._ask("GET", "/images/json", filters=filters_text(filters), all=all)]

    def _ask(self, method: str, path: str, **query: Any) -> Any:
        return self.engine.transport.json(method, path, None, **query)

    def _one_platform(self, platform: str) -> None:
        if platform:
            raise self.engine.unsupported("--platform of an image that is there")

    def _follow(
        self, what: str, path: str, progress: OnProgress, reference: str, credentials: Credentials | None, **query: Any
    ) -> dict[str, Any]:
        """What a transfer tells, until its end; answers what came as its result."""
        headers = {"X-Registry-Auth": _login_text(reference, credentials)}
        result: dict[str, Any] = {}
        for document in self.engine.transport.request("POST", path, query=query, headers=headers).documents():
            _check(what, document)
            if "aux" in document:
                result = document["aux"] or {}
            else:
                _tell(progress, document)
        return result


def _tagged(reference: str) -> str:
    return Reference.parse(reference).familiar if not reference.startswith("sha256:") else reference


def _login_text(reference: str, credentials: Credentials | None) -> str:
    """X-Registry-Auth: base64url of JSON."""
    from inception.store.credentials import find_or_anonymous

    if credentials is None:
        credentials, _ = find_or_anonymous(Reference.parse(reference).domain)
    return encode_header(login_fields(credentials))


def _check(what: str, document: dict[str, Any]) -> None:
    """Raise the error that a stream ends with."""
    if "error" in document:
        message = str(document["error"])
        lowered = message.lower()
        if "not found" in lowered or "no such" in lowered or "manifest unknown" in lowered:
            raise NotFound(message)
        if "denied" in lowered or "unauthorized" in lowered:
            raise Forbidden(message)
        raise Unavailable(message or f"{what}: it failed")


def _tell(progress: OnProgress, document: dict[str, Any]) -> None:
    if progress is not None and "status" in document:
        detail = document.get("progressDetail") or {}
        progress(
            Progress(
                status=document["status"],
                id=document.get("id") or "",
                current=detail.get("current") or 0,
                total=detail.get("total") or 0,
            )
        )


def _image(document: dict[str, Any]) -> Image:
    config = {key: value for key, value in (document.get("Config") or {}).items() if value is not None}
    known = set(ImageConfig.__keys__.values())
    layers = (document.get("RootFS") or {}).get("Layers") or []
    return Image(
        id=document["Id"],
        names=document.get("RepoTags") or [],
        repo_digests=document.get("RepoDigests") or [],
        manifest_digest="",
        document=ImageDocument(
            created=document.get("Created") or "",
            author=document.get("Author") or "",
            architecture=document.get("Architecture") or "",
            os=document.get("Os") or "",
            variant=document.get("Variant") or "",
            config=decode(ImageConfig, {key: value for key, value in config.items() if key in known}, "image"),
            rootfs=RootFs(diff_ids=layers),
        ),
        size_bytes=document.get("Size") or 0,
        created=document.get("Created") or "",
        layer_ids=[],
        parent=document.get("Parent") or "",
    )


def _listed(row: dict[str, Any]) -> Image:
    created = timestamp(row["Created"] * 10**9) if row.get("Created") else ""
    nameless = ("<none>:<none>", "<none>@<none>")
    return Image(
        id=row["Id"],
        names=[name for name in row.get("RepoTags") or [] if name not in nameless],
        repo_digests=[name for name in row.get("RepoDigests") or [] if name not in nameless],
        manifest_digest="",
        document=ImageDocument(
            architecture="", os="linux", config=ImageConfig(labels=row.get("Labels") or {}), rootfs=RootFs(diff_ids=[])
        ),
        size_bytes=row.get("Size") or 0,
        created=created,
        layer_ids=[],
        parent=row.get("ParentId") or "",
    )
