"""ADD of a URL: http and https, bounded, with the server asked only whether anything changed when we have it already."""

from __future__ import annotations

import hashlib
import os

from inception.build.cache import Download
from inception.build.operations import hide_password
from inception.engine import web
from inception.errors import InvalidArgument
from inception.oci.digest import Digest
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.cache import BuildCache

MAX_BYTES = 8 << 30


class Remote(Record):
    """A URL as it is now. `path` is where its bytes lie, empty while they haven't been needed."""

    url: str
    name: str
    digest: str
    mtime_ns: int = 0
    path: str = ""


def file_name(url: str) -> str:
    """The last part of the URL's path. Raises InvalidArgument when there is none, as for `http://example.com/`."""
    from urllib.parse import unquote, urlsplit

    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise InvalidArgument(f"cannot determine filename from url: {url}")
    return name


def check(url: str, checksum: str, cache: BuildCache, scratch: str) -> Remote:
    """What *url* holds: known by its *checksum*, or by asking the server; downloaded only when it changed."""
    if checksum:
        return Remote(url=url, name=_name(url), digest=checksum)
    return _fetch(url, cache, scratch, cache.download(url))


def fetch(remote: Remote, checksum: str, cache: BuildCache, scratch: str) -> Remote:
    """*remote* with its bytes. Raises InvalidArgument when they are not what *checksum* says."""
    if remote.path:
        return remote
    found = _fetch(remote.url, cache, scratch, None)
    if checksum and found.digest != checksum:
        raise InvalidArgument(f"digest mismatch {found.digest}: {checksum}")
    return found


def _name(url: str) -> str:
    try:
        return file_name(url)
    except InvalidArgument:
        return ""


def _fetch(url: str, cache: BuildCache, scratch: str, known: Download | None) -> Remote:
    headers: dict[str, str] = {}
    if known is not None:
        headers |= {"If-None-Match": known.etag} if known.etag else {}
        headers |= {"If-Modified-Since": known.last_modified} if known.last_modified else {}
    with web.get(f"download {hide_password(url)}", url, headers) as answer:
        modified = answer.headers.get("last-modified")
        if answer.status == 304 and known is not None:
            return Remote(url=url, name=_name(url), digest=known.digest, mtime_ns=_time_ns(known.last_modified))
        if answer.status != 200:
            raise InvalidArgument(f"invalid response status {answer.status} of {hide_password(url)}")
        path, digest = _save(answer, scratch, url)
    cache.note_download(url, Download(etag=answer.headers.get("etag"), last_modified=modified, digest=digest))
    return Remote(url=url, name=_name(url), digest=digest, mtime_ns=_time_ns(modified), path=path)


def _save(answer: web.Answer, scratch: str, url: str) -> tuple[str, str]:
    path = f"{scratch}/{os.urandom(8).hex()}"
    hasher = hashlib.sha256()
    length = 0
    with open(path, "xb", buffering=0) as file:
        for chunk in answer.stream():
            length += len(chunk)
            if length > MAX_BYTES:
                raise InvalidArgument(f"download {hide_password(url)}: larger than {MAX_BYTES} bytes")
            hasher.update(chunk)
            file.write(chunk)
    return path, Digest(f"sha256:{hasher.hexdigest()}")


def _time_ns(text: str) -> int:
    """Last-Modified as nanoseconds; 0 when there is none, so that the layer doesn't depend on the day of the download."""
    import email.utils  # 13 ms

    try:
        return int(email.utils.parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except (TypeError, ValueError, IndexError, OverflowError):
        return 0
