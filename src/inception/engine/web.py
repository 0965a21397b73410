"""What a web address holds, for `import` and `ADD`. The errors are the user's words, not a library's."""

from __future__ import annotations

import io

from inception.errors import InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

_TIMEOUT_S = 60.0


def is_url(text: str) -> bool:
    """Whether *text* is an address and not a path, as Docker tells them apart."""
    return text.startswith(("http://", "https://"))


def open_url(url: str) -> BinaryIO:
    """The bytes at *url* as they come; the caller closes it. Raises Unavailable, and InvalidArgument unless it answers 200."""
    import urllib3  # 70 ms, which only this costs

    try:
        answer = urllib3.PoolManager(timeout=_TIMEOUT_S).request("GET", url, preload_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise unreachable(f"import {url}", url, error) from error
    if answer.status != 200:
        raise InvalidArgument(f"import {url}: the server answers {answer.status} {answer.reason}")
    setattr(answer, "auto_close", False)  # noqa: B010 - as a buffered reader wants it
    return io.BufferedReader(answer)  # type: ignore[type-var,arg-type,return-value,unused-ignore]


def unreachable(what: str, url: str, error: Exception) -> Unavailable:
    """A failure of urllib3's in a few words, without the names of its objects."""
    from urllib.parse import urlsplit

    host = urlsplit(url).netloc.rpartition("@")[2]
    return Unavailable(f"{what}: {host} does not answer: {_plainly(getattr(error, 'reason', None) or error)}")


def _plainly(error: BaseException) -> str:
    if "resolve" in str(error):
        return "no such host"
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return (error.strerror if isinstance(error, OSError) else "") or str(error)
