"""Pulling from a registry over the OCI distribution protocol.

    name ──▶ manifest or index (by tag or digest) ──▶ one platform's manifest ──▶ config, layers (several at once)

Everything that has a digest is verified against it before anything looks inside. Transfers that break are taken up where they
broke (Range) a few times. Plain http is spoken to this machine itself, and to hosts that the caller lists; everything else is
https with verified certificates, and no redirect leaves https. Each host has an `_Origin`: what a later login adds to requests
belongs there, to that one host, and never travels with a redirect.

Source: distribution-spec, "Pull"; urllib3 brings pooling and TLS.
"""

from __future__ import annotations

import time

from inception.errors import Forbidden, InceptionError, InvalidArgument, NotFound, Unavailable
from inception.oci.digest import Digest, sha256
from inception.oci.image import DOCKER_INDEX, DOCKER_MANIFEST, MEDIA_INDEX, MEDIA_MANIFEST, Index, host_platform
from inception.oci.reference import DEFAULT_DOMAIN, Reference
from inception.record import decode
from inception.store.archive import choose_platform
from inception.store.assemble import assemble
from inception.store.extract import Limits
from inception.store.images import MAX_DOCUMENT_BYTES, load_json
from inception.store.progress import Progress, silent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from inception.oci.image import Descriptor, Platform
    from inception.store import Store
    from inception.store.images import Image
    from inception.store.progress import OnProgress

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
_ATTEMPTS = 4
_BACKOFF_S = 0.2  # doubled each time
_REDIRECTS = 5
_CHUNK = 1 << 20
_INDEXES = (MEDIA_INDEX, DOCKER_INDEX)
_MANIFESTS = (MEDIA_MANIFEST, DOCKER_MANIFEST)
_DEFAULT_HOST = f"registry-1.{DEFAULT_DOMAIN}"


def pull(
    store: Store,
    name: str,
    progress: OnProgress = silent,
    *,
    platform: Platform | None = None,
    plain_http: Sequence[str] = (),
    limits: Limits = Limits(),
) -> Image:
    """Brings an image into the store and gives it its name. What is there already is not fetched again.

    *plain_http* lists `host[:port]`s without TLS. Raises NotFound (no such name, or not for this platform), Forbidden (the
    registry wants a login), Unavailable (it does not answer, or breaks), InvalidArgument (what it sent is not what it says).
    """
    reference = Reference.parse(name)
    origin = _Origin(reference, plain_http)
    try:
        progress(Progress(id=reference.tag or reference.digest, status=f"Pulling from {reference.path}"))
        data, digest = _resolve(origin, reference, platform or host_platform())
        fetcher = _Fetcher(store, origin, progress)
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
        origin.close()
    progress(Progress(status=f"Digest: {digest}"))
    what = "Downloaded newer image" if fetcher.fetched else "Image is up to date"
    progress(Progress(status=f"Status: {what} for {reference.familiar}"))
    return image


def _resolve(origin: _Origin, reference: Reference, platform: Platform) -> tuple[bytes, Digest]:
    """The manifest for *platform*, and the digest of the document that the name itself points to."""
    data, media_type = origin.manifest(reference.digest or reference.tag)
    digest = sha256(data)
    for _ in range(3):  # an index of indexes is allowed; a longer chain is a joke
        if media_type in _MANIFESTS:
            return data, digest
        index = decode(Index, load_json(data, "index"), "index")
        data, media_type = origin.manifest(choose_platform(index.manifests, platform).digest)
    raise InvalidArgument(f"{reference.familiar}: indexes nested too deeply")


class _Fetcher:
    """Brings single blobs into the store; counts them."""

    def __init__(self, store: Store, origin: _Origin, progress: OnProgress) -> None:
        self._store = store
        self._origin = origin
        self._progress = progress
        self.fetched = 0

    def fetch(self, descriptor: Descriptor) -> None:
        short = Digest(descriptor.digest).hex[:12]
        self._store.content.put(self._chunks(descriptor, short), descriptor.digest, descriptor.size)
        self.fetched += 1
        self._progress(Progress(id=short, status="Download complete"))

    def _chunks(self, descriptor: Descriptor, short: str) -> Iterator[bytes]:
        done, told = 0, 0.0
        for chunk in self._origin.blob(descriptor.digest, descriptor.size):
            yield chunk
            done += len(chunk)
            if (now := time.monotonic()) - told > 0.1:
                told = now
                self._progress(Progress(id=short, status="Downloading", current=done, total=descriptor.size))


class _Origin:
    """One repository of one registry, with its connections. Safe from several threads."""

    def __init__(self, reference: Reference, plain_http: Sequence[str]) -> None:
        import urllib3  # 100 ms that only transfers pay

        self._reference = reference
        host = _DEFAULT_HOST if reference.domain == DEFAULT_DOMAIN else reference.domain
        scheme = "http" if is_loopback(host) or host in plain_http else "https"
        self._base = f"{scheme}://{host}/v2/{reference.path}"
        self._host = host
        self._errors = urllib3.exceptions
        timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S)
        # Retries and redirects are ours: they know about digests, ranges and schemes.
        self._pool = urllib3.PoolManager(
            num_pools=8,
            maxsize=4,
            timeout=timeout,
            retries=False,
            headers={"User-Agent": "inception"},
            cert_reqs="CERT_REQUIRED",
        )

    def close(self) -> None:
        self._pool.clear()

    def manifest(self, tag_or_digest: str) -> tuple[bytes, str]:
        """A document and its media type; verified when asked for by digest."""
        url = f"{self._base}/manifests/{tag_or_digest}"
        response = self._get(url, {"Accept": ", ".join((*_MANIFESTS, *_INDEXES))})
        try:
            if response.status == 404:
                raise NotFound(f"manifest for {self._reference.familiar} not found: manifest unknown: manifest unknown")
            self._expect(response, 200, "manifest")
            try:
                data = response.read(MAX_DOCUMENT_BYTES + 1)
            except self._errors.HTTPError as error:
                raise self._broken(error) from error
        finally:
            response.release_conn()
        if ":" in tag_or_digest and sha256(data) != Digest(tag_or_digest):
            raise InvalidArgument(f"{self._reference.familiar}: manifest {tag_or_digest}: the bytes have digest {sha256(data)}")
        return data, self._media_type(data, response.headers.get("Content-Type", ""))

    def blob(self, digest: str, size: int) -> Iterator[bytes]:
        """The bytes of a blob, taken up again where a transfer broke. Whoever consumes them checks digest and size."""
        url = f"{self._base}/blobs/{Digest(digest)}"
        done = failures = 0
        while done < size or size == 0:
            before = done
            try:
                for chunk in self._blob_from(url, digest, done):
                    done += len(chunk)
                    yield chunk
                if done >= size:
                    return
                cause: Exception = InvalidArgument("the transfer ended early")
            except (self._errors.HTTPError, OSError) as error:
                cause = error
            failures = 0 if done > before else failures + 1
            if failures >= _ATTEMPTS or size == 0:
                raise self._broken(cause) from cause
            time.sleep(min(_BACKOFF_S * 2**failures, 2.0))

    def _blob_from(self, url: str, digest: str, offset: int) -> Iterator[bytes]:
        # identity: content coding would hide the bytes that the digest is of
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={offset}-"} if offset else {})}
        response = self._get(url, headers)
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
                self._expect(response, 200, f"blob {digest}")
            for chunk in response.stream(_CHUNK, decode_content=False):
                if skip:  # it does not know ranges: what we have comes again
                    chunk, skip = chunk[skip:], max(skip - len(chunk), 0)
                if chunk:
                    yield chunk
        finally:
            # Not given back to the pool half-read.
            response.close()
            response.release_conn()

    def _get(self, url: str, headers: dict[str, str]) -> Any:
        for _ in range(_REDIRECTS):
            response = self._request(url, headers)
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location:
                return response
            response.drain_conn()
            url = self._follow(url, location)
        raise Unavailable(f"pull {self._reference.familiar}: {self._host} redirects too often")

    def _follow(self, url: str, location: str) -> str:
        from urllib.parse import urljoin, urlsplit

        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
        if scheme != "https" and not (scheme == "http" and url.startswith("http://")):
            raise Forbidden(f"pull {self._reference.familiar}: {self._host} redirects from https to {scheme or 'nowhere'}")
        return target

    def _request(self, url: str, headers: dict[str, str]) -> Any:
        for attempt in range(_ATTEMPTS):
            try:
                response = self._pool.request("GET", url, headers=headers, preload_content=False, redirect=False)
            except (self._errors.NewConnectionError, self._errors.ConnectTimeoutError, self._errors.SSLError) as error:
                raise self._silent(error) from error  # nobody is there: asking again won't help the one who waits
            except (self._errors.HTTPError, OSError) as error:
                if attempt == _ATTEMPTS - 1:
                    raise self._broken(error) from error
            else:
                if response.status not in (429, 500, 502, 503, 504) or attempt == _ATTEMPTS - 1:
                    return response
                response.drain_conn()
            time.sleep(_BACKOFF_S * 2**attempt)
        raise AssertionError("unreachable")

    def _expect(self, response: Any, status: int, what: str) -> None:
        if response.status == status:
            return
        if response.status in (401, 403):
            raise Forbidden(
                f"pull access denied for {self._reference.familiar_repository}, "
                "repository does not exist or may require a login",
                "registries that want credentials or a token are not supported yet: load the image from an archive",
            )
        raise Unavailable(f"pull {self._reference.familiar}: {what}: {self._host} answers {response.status} {response.reason}")

    def _media_type(self, data: bytes, header: str) -> str:
        """What the document is: header and body must agree, or two readers would see two images (CVE-2021-41190)."""
        value = load_json(data, "manifest")
        if not isinstance(value, dict):
            raise InvalidArgument(f"{self._reference.familiar}: manifest: expected an object")
        stated, sent = value.get("mediaType", ""), header.partition(";")[0].strip()
        if value.get("schemaVersion") != 2:
            raise InvalidArgument(
                f"{self._reference.familiar}: manifest: schema {value.get('schemaVersion')!r} is not supported"
            )
        known = (*_MANIFESTS, *_INDEXES)
        if stated and sent in known and stated != sent:
            raise InvalidArgument(f"{self._reference.familiar}: manifest: it says {stated!r}, the registry says {sent!r}")
        media_type = stated or sent
        if media_type not in known:
            raise InvalidArgument(f"{self._reference.familiar}: manifest: unsupported media type {media_type!r}")
        if (media_type in _INDEXES) != ("manifests" in value) or (media_type in _MANIFESTS) != ("layers" in value):
            raise InvalidArgument(f"{self._reference.familiar}: manifest: its content is not what {media_type!r} says")
        return str(media_type)

    def _silent(self, error: Exception) -> InceptionError:
        return Unavailable(
            f"pull {self._reference.familiar}: the registry {self._host} does not answer: {_reason(error)}",
            "is the name right, and the network up?",
        )

    def _broken(self, error: Exception) -> InceptionError:
        return Unavailable(f"pull {self._reference.familiar}: transfer from {self._host} failed: {_reason(error)}")


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine itself."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    parts = name.split(".")
    numeric = len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)
    return name in ("localhost", "::1") or (numeric and parts[0] == "127")


def _reason(error: Exception) -> str:
    """The innermost cause in words: urllib3 wraps it with the address of its own objects."""
    text = str(error).rpartition(">: ")[2] or str(error)
    return text.removeprefix("Failed to establish a new connection: ").rpartition("] ")[2] or type(error).__name__
