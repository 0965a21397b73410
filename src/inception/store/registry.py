"""A repository of a registry over the OCI distribution protocol: documents, blobs, uploads.

Everything that has a digest is verified against it by whoever takes it in. Transfers that break are taken up where they broke:
downloads by Range, uploads by asking how far they came. Small blobs go up in one request; large ones as one stream, as every
registry takes it from Docker, and in pieces where that broke or was too much at once (413).

Source: distribution-spec, "Pull", "Push", "Content Discovery"; image-spec for the documents.
"""

from __future__ import annotations

import time

from inception.errors import Conflict, Forbidden, InceptionError, InvalidArgument, NotFound, Unavailable
from inception.oci.digest import Digest, sha256
from inception.oci.image import DOCKER_INDEX, DOCKER_MANIFEST, MEDIA_INDEX, MEDIA_MANIFEST
from inception.store.documents import MAX_DOCUMENT_BYTES, load_json
from inception.store.hosts import is_loopback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

    from inception.oci.image import Descriptor
    from inception.oci.reference import Reference
    from inception.store.transport import Transport

INDEXES = (MEDIA_INDEX, DOCKER_INDEX)
MANIFESTS = (MEDIA_MANIFEST, DOCKER_MANIFEST)
#: What servers call a document that they know nothing of.
_UNTYPED = ("", "application/json", "application/octet-stream", "text/plain")
_ATTEMPTS = 5
_BACKOFF_S = 0.2
_CHUNK = 1 << 20
_MONOLITHIC_BYTES = 4 << 20
_PIECE_BYTES = 16 << 20
_MAX_PAGES = 1000


class Repository:
    """One repository on one endpoint. *actions* are what its tokens are good for. Safe from several threads."""

    def __init__(self, transport: Transport, reference: Reference, actions: str = "pull") -> None:
        self.transport = transport
        self._reference = reference
        self._base = f"{transport.endpoint.base}/v2/{reference.path}"
        #: What a mirror of several registries goes by. Source: containerd's docs/hosts.md, "Registry Host Namespace".
        self._namespace = transport.endpoint.namespace
        self._scope = f"repository:{reference.path}:{actions}"

    def close(self) -> None:
        self.transport.close()

    def manifest(self, tag_or_digest: str) -> tuple[bytes, str]:
        """A document and its media type; verified when asked for by digest. Raises NotFound, Forbidden."""
        url = self._url(f"manifests/{tag_or_digest}")
        accept = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}
        response = self.transport.open("GET", url, accept, scope=self._scope)
        try:
            if response.status == 404:
                said = self.transport.complaint(response) or "manifest unknown: manifest unknown"
                raise NotFound(f"manifest for {self._reference.familiar} not found: {said}")
            if response.status in (401, 403):
                raise self._no_access(self.transport.refusal(response, "manifest"))
            self.transport.expect(response, 200, what="manifest")
            data = self.transport.read(response, MAX_DOCUMENT_BYTES + 1)
        finally:
            response.close()
        said = response.headers.get("Docker-Content-Digest")
        if said.startswith("sha256:") and said != sha256(data):
            raise InvalidArgument(
                f"{self._reference.familiar}: manifest {tag_or_digest}: the registry says {said[:80]}, the bytes have digest "
                f"{sha256(data)}"
            )
        if ":" in tag_or_digest and sha256(data) != Digest(tag_or_digest):
            raise InvalidArgument(f"{self._reference.familiar}: manifest {tag_or_digest}: the bytes have digest {sha256(data)}")
        return data, self._media_type(data, response.headers.get("Content-Type", ""))

    def digest(self, tag_or_digest: str) -> str:
        """The digest of a document, without the document; an empty text when the registry does not say it. Raises NotFound."""
        url = self._url(f"manifests/{tag_or_digest}")
        accept = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}
        response = self.transport.open("HEAD", url, accept, scope=self._scope, retry=False)
        self.transport.discard(response)
        if response.status != 200:
            raise NotFound(f"manifest for {self._reference.familiar} not found: answer {response.status}")
        return response.headers.get("Docker-Content-Digest")

    def blob(self, descriptor: Descriptor, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from *offset* on, taken up again where a transfer broke. Whoever takes them in verifies them."""
        url = self._url(f"blobs/{Digest(descriptor.digest)}")
        try:
            yield from self._resumed(lambda done: self._from(url, descriptor.digest, done), descriptor.size, offset)
            return
        except NotFound:
            if not descriptor.urls or offset:
                raise
        for position, place in enumerate(descriptor.urls):
            try:
                yield from self._foreign(place, descriptor)
                return
            except InceptionError:
                if position == len(descriptor.urls) - 1:
                    raise

    def has_blob(self, digest: str) -> bool:
        return self._head(digest) is not None

    def blob_size(self, digest: str) -> int:
        """Bytes. Raises NotFound."""
        headers = self._head(digest)
        length = headers.get("Content-Length", "") if headers is not None else ""
        if not length.isdigit():
            raise NotFound(f"{self._reference.familiar}: blob {digest} is not in the registry")
        return int(length)

    def tags(self) -> list[str]:
        """All tags, page by page. Source: distribution-spec, "Listing Tags"."""
        found: list[str] = []
        url = f"{self._base}/tags/list"
        for _ in range(_MAX_PAGES):
            response = self.transport.open("GET", url, scope=self._scope)
            try:
                if response.status == 404:
                    raise NotFound(f"repository {self._reference.familiar_repository} not found")
                if response.status in (401, 403):
                    raise self._no_access(self.transport.refusal(response, "tags"))
                self.transport.expect(response, 200, what="tags")
                value = load_json(self.transport.read(response, MAX_DOCUMENT_BYTES + 1), "list of tags")
            finally:
                response.close()
            tags = value.get("tags") if isinstance(value, dict) else None
            found += [tag for tag in tags or [] if isinstance(tag, str)]
            following = next_page(response.headers.get("Link", ""))
            if not following:
                return found
            url = self.transport.resolve(url, following)
        raise Unavailable(f"{self.transport.what}: the list of tags has no end")

    def upload(
        self, digest: str, size: int, open_blob: Callable[[], BinaryIO], mount_from: str, tell: Callable[[int], None]
    ) -> str:
        """Puts a blob; how: `mounted` or `pushed`. *mount_from* is another repository here that may have it, or empty."""
        url, mounted = self._begin(Digest(digest), mount_from)
        if mounted:
            return "mounted"
        if size > _MONOLITHIC_BYTES:
            _Upload(self.transport, self._scope, url, digest, size, open_blob, tell).run()
            return "pushed"
        try:
            with open_blob() as file:
                data = file.read(size + 1)
            response = self.transport.open(
                "PUT", _with_digest(url, digest), _octets(len(data)), data, scope=self._scope, retry=False
            )
            self._finish(response, digest)
        except BaseException:
            cancel_upload(self.transport, url, self._scope)
            raise
        return "pushed"

    def put_manifest(self, data: bytes, media_type: str, tag_or_digest: str) -> Digest:
        """Names a document; its digest. All that it refers to must be there."""
        self.put_referrer(data, media_type, tag_or_digest)
        return sha256(data)

    def put_referrer(self, data: bytes, media_type: str, tag_or_digest: str) -> bool:
        """`put_manifest`; whether the registry has understood what the document's subject is."""
        url = f"{self._base}/manifests/{tag_or_digest}"
        headers = {"Content-Type": media_type, "Content-Length": str(len(data))}
        response = self.transport.open("PUT", url, headers, data, scope=self._scope)
        try:
            self.transport.expect(response, 200, 201, 202, what=f"manifest {tag_or_digest}")
            self.transport.discard(response)
        finally:
            response.close()
        digest = sha256(data)
        said = response.headers.get("Docker-Content-Digest", "")
        if said and said != digest:
            raise Unavailable(
                f"{self.transport.what}: {self.transport.endpoint.host} has stored {said[:80]} instead of {digest}"
            )
        return bool(response.headers.get("OCI-Subject"))

    def delete(self, kind: str, tag_or_digest: str) -> None:
        """Deletes what *kind* says: `manifests` (a tag, or by digest a document with all its tags) or `blobs`.

        Raises NotFound, Forbidden; Conflict where the registry deletes nothing, or no tags. Source: distribution-spec,
        "Content Management".
        """
        response = self.transport.open("DELETE", f"{self._base}/{kind}/{tag_or_digest}", scope=self._scope, retry=False)
        try:
            if response.status == 404:
                raise NotFound(f"{self.transport.what}: no such {kind.removesuffix('s')} on {self.transport.endpoint.host}")
            if response.status in (401, 403):
                raise self._no_access(self.transport.refusal(response, "delete"))
            if response.status in (400, 405):
                raise Conflict(f"{self.transport.what}: {self.transport.endpoint.host} does not delete this")
            self.transport.expect(response, 200, 202, 204, what="delete")
            self.transport.discard(response)
        finally:
            response.close()

    def referrers(self, digest: str, artifact_type: str = "") -> list[Descriptor] | None:
        """What refers to a document, page by page; None where the registry doesn't list them. The type may be ignored.
        Source: distribution-spec, "Listing Referrers"."""
        from urllib.parse import quote

        from inception.oci.image import Index
        from inception.record import decode

        url = f"{self._base}/referrers/{Digest(digest)}"
        if artifact_type:
            url += f"?artifactType={quote(artifact_type, safe='')}"
        found: list[Descriptor] = []
        for page in range(_MAX_PAGES):
            response = self.transport.open("GET", url, {"Accept": MEDIA_INDEX}, scope=self._scope)
            try:
                if response.status == 404 and not page:
                    return None
                if response.status in (401, 403):
                    raise self._no_access(self.transport.refusal(response, "referrers"))
                self.transport.expect(response, 200, what="referrers")
                data = self.transport.read(response, MAX_DOCUMENT_BYTES + 1)
            finally:
                response.close()
            found += decode(Index, load_json(data, "referrers"), "referrers").manifests
            following = next_page(response.headers.get("Link"))
            if not following:
                return found
            url = self.transport.resolve(url, following)
        raise Unavailable(f"{self.transport.what}: the list of referrers has no end")

    def _url(self, rest: str) -> str:
        return f"{self._base}/{rest}" + (f"?ns={self._namespace}" if self._namespace else "")

    def _head(self, digest: str) -> Any | None:
        """The headers of a blob that is there, else None."""
        response = self.transport.open("HEAD", self._url(f"blobs/{Digest(digest)}"), scope=self._scope)
        self.transport.discard(response)
        if response.status == 404:
            return None
        if response.status in (401, 403):
            raise self._no_access(self.transport.refusal(response, "blob"))
        self.transport.expect(response, 200, what="check")
        return response.headers

    def _begin(self, digest: Digest, mount_from: str) -> tuple[str, bool]:
        from urllib.parse import urlencode

        url, scope = f"{self._base}/blobs/uploads/", self._scope
        if mount_from:
            query = urlencode({"mount": digest, "from": mount_from})
            response = self.transport.open(
                "POST", f"{url}?{query}", _octets(0), b"", scope=f"{scope} repository:{mount_from}:pull"
            )
            if response.status in (401, 403, 404):  # it may not be read, or be gone: then it is sent
                self.transport.discard(response)
                response = self.transport.open("POST", url, _octets(0), b"", scope=scope)
        else:
            response = self.transport.open("POST", url, _octets(0), b"", scope=scope)
        if response.status in (401, 403):
            raise self._no_access(self.transport.refusal(response, "push"))
        self.transport.expect(response, 201, 202, what=f"upload of {digest}")
        self.transport.discard(response)
        if response.status == 201:
            return "", True
        return self.transport.resolve(url, _location(response, self.transport)), False

    def _finish(self, response: Any, digest: str) -> None:
        self.transport.expect(response, 201, 204, what=f"upload of {digest}")
        self.transport.discard(response)

    def _resumed(self, start: Callable[[int], Iterator[bytes]], size: int, offset: int) -> Iterator[bytes]:
        done, failures = offset, 0
        while done < size or size == 0:
            before = done
            try:
                for chunk in start(done):
                    done += len(chunk)
                    yield chunk
                if done >= size:
                    return
                cause: Exception = InvalidArgument("the transfer ended early")
            except self.transport.failures as error:
                cause = error
            failures = 0 if done > before else failures + 1
            if failures >= _ATTEMPTS or size == 0:
                raise self.transport.broken(cause) from cause
            time.sleep(min(_BACKOFF_S * 2**failures, 2.0))

    def _from(self, url: str, digest: str, offset: int, bare: bool = False) -> Iterator[bytes]:
        # identity: content coding would hide the bytes that the digest is of
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
        response = self.transport.open("GET", url, headers, scope=self._scope, bare=bare)
        try:
            if response.status == 404:
                raise NotFound(f"{self._reference.familiar}: blob {digest} is not in the registry")
            skip = offset
            if offset and response.status == 206:
                start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
                if start != str(offset):
                    raise InvalidArgument(f"{self._reference.familiar}: blob {digest}: the registry sent another range")
                skip = 0
            else:
                self.transport.expect(response, 200, what=f"blob {digest}")
            for chunk in response.stream(_CHUNK):
                if skip:  # it does not know ranges: what we have comes again
                    chunk, skip = chunk[skip:], max(skip - len(chunk), 0)
                if chunk:
                    yield chunk
        finally:
            response.close()

    def _foreign(self, url: str, descriptor: Descriptor) -> Iterator[bytes]:
        """A layer that may not be distributed, from where its manifest says: without any secret (CVE-2020-15157), over
        https, and not from machines that only we can reach."""
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        own = self.transport.endpoint
        host = parts.hostname or ""
        here = is_loopback(own.host)
        numeric = host.replace(".", "").isdigit() or ":" in host
        if not host or "@" in parts.netloc or (not here and (parts.scheme != "https" or numeric or is_loopback(host))):
            raise Forbidden(f"{self.transport.what}: layer {descriptor.digest}: {url[:80]!r} is not asked for it")
        yield from self._resumed(lambda done: self._from(url, descriptor.digest, done, bare=True), descriptor.size, 0)

    def _no_access(self, refusal: InceptionError) -> InceptionError:
        """Docker's words: registries don't tell what is not there from what may not be seen."""
        verb = self.transport.what.partition(" ")[0]
        said = str(refusal).removeprefix(f"{self.transport.what}: ").partition(": ")[2]
        return Forbidden(
            f"{verb} access denied for {self._reference.familiar_repository}, "
            f"repository does not exist or may require a login: {said}",
            refusal.hint,
        )

    def _media_type(self, data: bytes, header: str) -> str:
        """What the document is: header and body must agree, or two readers would see two images (CVE-2021-41190)."""
        name = self._reference.familiar
        value = load_json(data, f"{name}: manifest")
        if not isinstance(value, dict):
            raise InvalidArgument(f"{name}: manifest: expected an object")
        stated, sent = value.get("mediaType", ""), header.partition(";")[0].strip()
        if value.get("schemaVersion") != 2:
            old = "it is of 2016 or before: `skopeo copy --format v2s2` makes it one that is read"
            hint = old if value.get("schemaVersion") == 1 else ""
            raise InvalidArgument(f"{name}: manifest: schema {value.get('schemaVersion')!r} is not supported", hint)
        known = (*MANIFESTS, *INDEXES)
        if stated and sent in known and stated != sent:
            raise InvalidArgument(f"{name}: manifest: it says {stated!r}, the registry says {sent!r}")
        media_type = stated or sent
        if media_type in _UNTYPED:  # of a registry that serves plain files: OCI's own documents need not name their type
            media_type = MEDIA_INDEX if "manifests" in value else MEDIA_MANIFEST
        if media_type not in known:
            raise InvalidArgument(f"{name}: manifest: unsupported media type {media_type!r}")
        if (media_type in INDEXES) != ("manifests" in value) or (media_type in MANIFESTS) != ("layers" in value):
            raise InvalidArgument(f"{name}: manifest: its content is not what {media_type!r} says")
        return str(media_type)


class _Upload:
    """One large blob on its way up: as a stream, then from wherever the registry says it has come to."""

    def __init__(
        self,
        transport: Transport,
        scope: str,
        url: str,
        digest: str,
        size: int,
        open_blob: Callable[[], BinaryIO],
        tell: Callable[[int], None],
    ) -> None:
        self._transport = transport
        self._scope = scope
        self._url = url
        self._digest = digest
        self._size = size
        self._open_blob = open_blob
        self._tell = tell
        self._piece_bytes = size

    def run(self) -> None:
        try:
            self._run()
        except BaseException:
            cancel_upload(self._transport, self._url, self._scope)
            raise

    def _run(self) -> None:
        done = failures = 0
        while done < self._size:
            try:
                done = self._send(done)
                failures = 0
            except self._transport.failures as error:
                cause: InceptionError = self._transport.broken(error)
            except Unavailable as error:
                cause = error
            else:
                continue
            failures += 1
            if failures >= _ATTEMPTS:
                raise cause
            time.sleep(min(_BACKOFF_S * 2**failures, 5.0))
            done = self._ask(cause)
            self._piece_bytes = min(self._piece_bytes, _PIECE_BYTES)
        response = self._transport.open("PUT", _with_digest(self._url, self._digest), _octets(0), b"", scope=self._scope)
        self._transport.expect(response, 201, 204, what=f"upload of {self._digest}")
        self._transport.discard(response)

    def _send(self, start: int) -> int:
        """One request; how far it is now."""
        end = min(start + self._piece_bytes, self._size)
        headers = _octets(end - start)
        if (start, end) != (0, self._size):
            headers["Content-Range"] = f"{start}-{end - 1}"
        with self._open_blob() as file:
            body = _Body(file, start, end, self._tell)
            response = self._transport.open("PATCH", self._url, headers, body.rewound, scope=self._scope, retry=False)
        try:
            if response.status == 413 and self._piece_bytes > _PIECE_BYTES:
                self._piece_bytes = _PIECE_BYTES
                return start
            if response.status == 416:
                raise Unavailable(f"{self._transport.what}: upload of {self._digest}: out of step with the registry")
            self._transport.expect(response, 202, 204, what=f"upload of {self._digest}")
        finally:
            self._transport.discard(response)
        self._url = self._transport.resolve(self._url, _location(response, self._transport))
        least = response.headers.get("OCI-Chunk-Min-Length", "")
        if least.isdigit():
            self._piece_bytes = max(self._piece_bytes, min(int(least), self._size))
        return end

    def _ask(self, cause: InceptionError) -> int:
        """How many bytes the registry has. Source: distribution-spec, "Pushing a blob in chunks"."""
        response = self._transport.open("GET", self._url, scope=self._scope)
        self._transport.discard(response)
        if response.status not in (202, 204):
            raise cause
        self._url = self._transport.resolve(self._url, response.headers.get("Location") or self._url)
        first, dash, last = response.headers.get("Range", "").removeprefix("bytes=").partition("-")
        if not dash or first != "0" or not last.isdigit():
            return 0
        # Of no bytes at all, too, many registries say 0-0.
        return min(int(last) + 1, self._size) if int(last) else 0


def cancel_upload(transport: Transport, url: str, scope: str) -> None:
    """Tells the registry that it need not keep what has come; whatever it says to that. Source: distribution-spec,
    "Cancel a blob upload"."""
    try:
        transport.discard(transport.open("DELETE", url, scope=scope, retry=False))
    except (InceptionError, OSError):
        pass


class _Body:
    """A part of a file as a request's body."""

    def __init__(self, file: BinaryIO, start: int, end: int, tell: Callable[[int], None]) -> None:
        self._file = file
        self._start = start
        self._end = end
        self._tell = tell
        self._at = start

    def rewound(self) -> _Body:
        """From its beginning, for every time that it is sent."""
        self._file.seek(self._start)
        self._at = self._start
        return self

    def read(self, size: int = -1) -> bytes:
        left = self._end - self._at
        data = self._file.read(left if size < 0 else min(size, left))
        self._at += len(data)
        self._tell(self._at)
        return data


def next_page(link: str) -> str:
    """The URL of a Link header's `next`, or an empty text. Source: RFC 8288."""
    for part in link.split(","):
        url, _, parameters = part.strip().partition(">")
        if url.startswith("<") and any(word.strip() in ('rel="next"', "rel=next") for word in parameters.split(";")):
            return url[1:]
    return ""


def _location(response: Any, transport: Transport) -> str:
    location = response.headers.get("Location", "")
    if not location:
        raise Unavailable(f"{transport.what}: {transport.endpoint.host} does not say where to upload to")
    return str(location)


def _with_digest(url: str, digest: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}digest={digest.replace(':', '%3A')}"


def _octets(length: int) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream", "Content-Length": str(length)}


def ping(transport: Transport) -> None:
    """Whether the registry is there and takes our login. Raises Forbidden, Unavailable."""
    response = transport.open("GET", f"{transport.endpoint.base}/v2/")
    try:
        if response.status in (401, 403):
            said = str(transport.refusal(response, "login")).rpartition(": ")[2]
            raise Forbidden(f"{transport.what}: unauthorized: {said}", "are name and password right?")
        transport.expect(response, 200, what="/v2/")
    finally:
        transport.discard(response)


def search(transport: Transport, term: str, limit: int) -> list[dict[str, Any]]:
    """Docker Hub's answer to a search; elsewhere the catalog's names that hold *term*."""
    from urllib.parse import urlencode

    base = transport.endpoint.base
    response = transport.open("GET", f"{base}/v1/search?{urlencode({'q': term, 'n': limit})}", {"Accept": "application/json"})
    if response.status == 200:
        value = load_json(transport.read(response, MAX_DOCUMENT_BYTES + 1), "search results")
        results = value.get("results") if isinstance(value, dict) else None
        return [each for each in results or [] if isinstance(each, dict) and isinstance(each.get("name"), str)][:limit]
    transport.discard(response)
    response = transport.open("GET", f"{base}/v2/_catalog?n=1000", scope="registry:catalog:*")
    transport.expect(response, 200, what="search")
    value = load_json(transport.read(response, MAX_DOCUMENT_BYTES + 1), "catalog")
    names = value.get("repositories") if isinstance(value, dict) else None
    return [{"name": name} for name in names or [] if isinstance(name, str) and term in name][:limit]
