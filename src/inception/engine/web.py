"""What a web address holds, for `import` and `ADD`: redirects are followed, an exchange that breaks is tried again.

The client is the one that registries are asked with (`store/http.py`). The errors are the user's words, not a library's.
"""

from __future__ import annotations

import io
import time

from inception.errors import InvalidArgument, Unavailable
from inception.store import http
from inception.store.authorities import trusting
from inception.store.hosts import proxy_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO

_CONNECT_S, _READ_S = 30.0, 60.0
_REDIRECTS = 10
_MOVED = (301, 302, 303, 307, 308)
_ATTEMPTS, _PAUSE_S = 3, 0.2


def is_url(text: str) -> bool:
    """Whether *text* is an address and not a path, as Docker tells them apart."""
    return text.startswith(("http://", "https://"))


def open_url(url: str) -> BinaryIO:
    """The bytes at *url* as they come; the caller closes it. Raises Unavailable, and InvalidArgument unless it answers 200."""
    answer = get(f"import {_plain(url)}", url)
    if answer.status != 200:
        answer.close()
        raise InvalidArgument(f"import {_plain(url)}: the server answers {answer.status} {answer.reason}")
    return io.BufferedReader(_Stream(answer), 1 << 18)


class Answer:
    """An answer whose body is still to be read. Close it."""

    def __init__(self, what: str, client: http.Client, response: http.Response) -> None:
        self._what, self._client, self._response = what, client, response
        self.status, self.reason, self.headers = response.status, response.reason, response.headers

    def stream(self) -> Iterator[bytes]:
        """Raises Unavailable when it breaks off."""
        try:
            yield from self._response.stream()
        except (http.HttpError, OSError) as error:
            raise _silent(self._what, self._client.authority, error) from error

    def close(self) -> None:
        self._response.close()
        self._client.close()

    def __enter__(self) -> Answer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def get(what: str, url: str, headers: dict[str, str] | None = None) -> Answer:
    """The answer to a GET. *what* is what errors begin with. Raises Unavailable, and InvalidArgument for what is no address."""
    for _ in range(_REDIRECTS + 1):
        answer = _ask(what, url, headers or {})
        location = answer.headers.get("location")
        if answer.status not in _MOVED or not location:
            return answer
        from urllib.parse import urljoin

        answer.close()
        url = urljoin(url, location)
    raise Unavailable(f"{what}: more than {_REDIRECTS} redirects")


def _ask(what: str, url: str, headers: dict[str, str]) -> Answer:
    login, plain = _login(url)
    try:
        scheme, host, port, target = http.split_url(plain)
    except ValueError as error:
        raise InvalidArgument(f"{what}: {error}") from None
    proxy = proxy_for(scheme, f"{host}:{port}")
    client = http.Client(scheme, host, port, tls=trusting, proxy=proxy, connect_s=_CONNECT_S, read_s=_READ_S)
    for attempt in range(_ATTEMPTS):
        try:
            return Answer(what, client, client.request("GET", target, {**headers, **login}))
        except (http.HttpError, OSError) as error:
            if attempt + 1 == _ATTEMPTS or isinstance(error, http.Unreachable):
                client.close()
                raise _silent(what, client.authority, error) from error
            time.sleep(_PAUSE_S)
    raise AssertionError("unreachable")


def _login(url: str) -> tuple[dict[str, str], str]:
    """The header for `user:password@` of *url*, and *url* without."""
    scheme, _, rest = url.partition("://")
    authority = rest[: min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))]
    login, at, _ = authority.rpartition("@")
    if not at:
        return {}, url
    from base64 import b64encode
    from urllib.parse import unquote

    header = {"Authorization": f"Basic {b64encode(unquote(login).encode()).decode()}"}
    return header, f"{scheme}://{rest[len(login) + 1 :]}"


def _plain(url: str) -> str:
    return _login(url)[1]


def _silent(what: str, server: str, error: Exception) -> Unavailable:
    reason = str(error)
    if isinstance(error, http.ProxyError):
        return Unavailable(f"{what}: {reason}", "the proxy is named by HTTP_PROXY, HTTPS_PROXY and NO_PROXY")
    if isinstance(error, http.TlsError):
        return Unavailable(f"{what}: TLS with {server} failed: {reason}")
    return Unavailable(f"{what}: {server} does not answer: {getattr(error, 'strerror', None) or reason}")


class _Stream(io.RawIOBase):
    """The body as a file."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._pieces = answer.stream()
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._pieces, b""))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._answer.close()
        super().close()
