"""HTTP as registries need it: one endpoint, its connections, retries with patience, redirects without secrets, words.

A request that meets a busy or broken server is made again, later each time, or when the server says (Retry-After), within
reason. Redirects of reads are followed here, since what they may take along depends on where they lead: the Authorization
header stays with the endpoint's own origin, client certificates too, and https never becomes http.
"""

from __future__ import annotations

import os
import time

from inception import jsontext
from inception.errors import Forbidden, InceptionError, InvalidArgument, Unavailable
from inception.store import http
from inception.store.authorities import trusting
from inception.store.authorization import Authorizer, origin
from inception.store.hosts import host_name, proxy_for, settings_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ssl import SSLContext
    from typing import Any

    from inception.store.credentials import Credentials
    from inception.store.hosts import Endpoint

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 60.0
ATTEMPTS = 5
_BACKOFF_S = 0.2  # doubled each time
_MAX_WAIT_S = 60.0  # a server that wants us to wait longer gets to say so to the user
_REDIRECTS = 5
_BUSY = (408, 429, 500, 502, 503, 504)
_MAX_ANSWER = 1 << 20
_SKEW_S = 300
_MAX_WARNINGS, _MAX_WARNING = 16, 400


class Transport:
    """Requests to one endpoint. *what* is what errors start with: `pull nginx:latest`. Safe from several threads."""

    def __init__(self, endpoint: Endpoint, what: str, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.what = what
        self._origin = origin(endpoint.base)
        self._taken_for: tuple[str, str, int] | None = None  # the origin that it had before `_turn_to_tls`
        self._clients: dict[tuple[str, str, int, bool], http.Client] = {}
        self.warnings: dict[str, None] = {}  # what registries want their users to know, once each
        self.login_trouble = ""  # why there is no log-in, where there should be one
        self.authorizer = Authorizer(endpoint, what, credentials, self._fetch)

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def open(
        self,
        method: str,
        url: str,
        headers: dict[str, str] | None = None,
        body: Any = None,
        *,
        scope: str = "",
        retry: bool = True,
        bare: bool = False,
    ) -> http.Response:
        """The response, its body still to be read; whoever calls closes it. *bare*: no secret, whatever the origin.

        *body* is bytes, or a function that gives it from its beginning for each time that it is sent.

        Redirects of GET and HEAD are followed. Raises Unavailable, Forbidden.
        """
        for _ in range(_REDIRECTS):
            response = self._authorized(method, url, headers or {}, body, scope, retry, bare)
            url = self._current(url)
            location = response.headers.get("Location")
            if response.status not in (301, 302, 303, 307, 308) or not location or method not in ("GET", "HEAD"):
                return response
            self.discard(response)
            url = self.resolve(url, location)
        raise Unavailable(f"{self.what}: {self.endpoint.host} redirects too often")

    def resolve(self, url: str, location: str) -> str:
        """Where *location* leads, seen from *url*. Raises Forbidden when it gives up TLS."""
        from urllib.parse import urljoin

        target = urljoin(url, location)
        try:
            scheme = origin(target)[0]
        except InvalidArgument as error:
            raise Forbidden(f"{self.what}: {self.endpoint.host} redirects to {error}") from None
        if scheme != "https" and not url.startswith("http://"):
            raise Forbidden(f"{self.what}: {self.endpoint.host} redirects from https to {scheme}")
        return target

    def discard(self, response: http.Response) -> None:
        """Reads a short rest away, so that the connection can be used again."""
        try:
            response.read(_MAX_ANSWER)
        except self.failures:
            pass
        response.close()

    def read(self, response: http.Response, most: int) -> bytes:
        """A short body. Raises Unavailable when it breaks."""
        try:
            return response.read(most)
        except self.failures as error:
            raise self.broken(error) from error
        finally:
            response.close()

    def expect(self, response: http.Response, *statuses: int, what: str) -> None:
        """Raises in words unless the answer is one of *statuses*."""
        if response.status not in statuses:
            raise self.refusal(response, what)

    def refusal(self, response: http.Response, what: str) -> InceptionError:
        """The error that an answer means."""
        said = self.complaint(response)
        host = self.endpoint.host
        if response.status in (401, 403):
            login = f"inception login {self.endpoint.settings_of}"
            hint = (
                self._skew(response)
                or self.login_trouble
                or (f"this login may not: {login} as someone else" if self.authorizer.has_login else login)
            )
            return Forbidden(f"{self.what}: {what}: {said or 'denied: requested access to the resource is denied'}", hint)
        if response.status == 429:
            wait = retry_after_s(response.headers.get("Retry-After", ""))
            again = f"it says: again in {wait:.0f} s" if wait else "try again later"
            return Unavailable(f"{self.what}: {host} has had too many requests{f': {said}' if said else ''}", again)
        if response.status == 400 and "HTTPS server" in said:  # and yet TLS with it fails
            hint = f'"hosts": {{"{self.endpoint.settings_of}": {{"ca": "FILE"}}}} in {settings_path()}, or "skip_verify": true'
            return Unavailable(f"{self.what}: {host} speaks TLS, and was asked in plain http", hint)
        answer = f"{response.status} {response.reason}".strip()
        return Unavailable(f"{self.what}: {what}: {host} answers {answer}" + (f": {said}" if said else ""))

    def broken(self, error: BaseException) -> InceptionError:
        """The error for a transfer that ended in the middle."""
        return Unavailable(f"{self.what}: transfer from {self.endpoint.host} failed: {_reason(error)}")

    #: What reading a body may raise.
    failures: tuple[type[Exception], ...] = (http.HttpError, OSError)

    def is_own(self, url: str) -> bool:
        return origin(self._current(url)) == self._origin

    def _current(self, url: str) -> str:
        """*url*, which may be of before `_turn_to_tls`."""
        return f"https{url[4:]}" if self._taken_for is not None and origin(url) == self._taken_for else url

    def _turn_to_tls(self) -> bool:
        """Whether an endpoint on loopback that was taken for plain http speaks TLS; from now on it is asked so."""
        if not self.endpoint.guessed:
            return False
        import socket
        import ssl

        self.endpoint.guessed = False
        base = f"https{self.endpoint.base[4:]}"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # whom to believe is decided when something is asked
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with socket.create_connection(origin(base)[1:], CONNECT_TIMEOUT_S) as sock, context.wrap_socket(sock):
                pass
        except OSError:
            return False
        self._taken_for, self._origin, self.endpoint.base = self._origin, origin(base), base
        return True

    def _authorized(
        self, method: str, url: str, headers: dict[str, str], body: Any, scope: str, retry: bool, bare: bool
    ) -> http.Response:
        own = not bare and self.is_own(url)
        for _ in range(3):  # a token may have expired, and its successor's scope be too small
            secret = self.authorizer.header(scope) if own else ""
            all_headers = {**headers, "Authorization": secret} if secret else headers
            response = self._patient(method, url, all_headers, body, retry, own)
            if response.status != 401 or not own:
                return response
            challenges = response.headers.all("WWW-Authenticate")
            if not self.authorizer.answer(challenges, scope, secret):
                return response
            self.discard(response)
        return response

    def _patient(self, method: str, url: str, headers: dict[str, str], body: Any, retry: bool, own: bool) -> http.Response:
        attempts = ATTEMPTS if retry else 1
        for attempt in range(attempts):
            # Spread a little, so that many that failed together don't come back together (`random` is 13 ms to import).
            wait_s = min(_BACKOFF_S * 2**attempt, 5.0) * (0.8 + os.urandom(1)[0] / 640)
            try:
                response = self._ask(method, url, headers, body, own)
            except http.Unreachable as error:
                raise self._silent(url, error) from error  # nobody is there: asking again won't help the one who waits
            except self.failures as error:
                if attempt == attempts - 1:
                    raise self.broken(error) from error
            else:
                for text in response.headers.all("warning"):
                    self._warn(text)
                if response.status not in _BUSY or attempt == attempts - 1:
                    return response
                asked = retry_after_s(response.headers.get("Retry-After", ""))
                if asked > _MAX_WAIT_S:
                    return response
                wait_s = max(wait_s, asked)
                self.discard(response)
            time.sleep(wait_s)
        raise AssertionError("unreachable")

    def _ask(self, method: str, url: str, headers: dict[str, str], body: Any, own: bool) -> http.Response:
        try:
            response = self._send(method, url, headers, body, own)
        except self.failures:
            if not own or not self._turn_to_tls():
                raise
        else:
            if response.status != 400 or not own or not self._turn_to_tls():
                return response
            self.discard(response)
        return self._send(method, url, headers, body, own)

    def _send(self, method: str, url: str, headers: dict[str, str], body: Any, own: bool) -> http.Response:
        client, target = self._client(self._current(url), own)
        return client.request(method, target, headers, body() if callable(body) else body)

    def _warn(self, text: str) -> None:
        """Source: distribution-spec, "Warnings": `299 - "TEXT"`, for people to read and for nothing else."""
        code, _, rest = text.partition(" ")
        said = rest.partition(" ")[2].strip()
        if code == "299" and said.startswith('"') and said.endswith('"') and len(self.warnings) < _MAX_WARNINGS:
            words = "".join(character for character in said[1:-1].replace('\\"', '"') if character.isprintable())
            self.warnings[words[:_MAX_WARNING]] = None

    def _fetch(self, method: str, url: str, headers: dict[str, str], form: dict[str, str] | None) -> tuple[int, Any]:
        """A token server's answer: no redirect is followed with what it is given."""
        from urllib.parse import urlencode

        headers = {"Accept": "application/json", **headers}
        body = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(form).encode()
        response = self._patient(method, url, headers, body, True, self.is_own(url) or self._same_host(url))
        data = self.read(response, _MAX_ANSWER)
        try:
            return response.status, jsontext.loads(data)
        except (ValueError, RecursionError):
            return response.status, None

    def _same_host(self, url: str) -> bool:
        return origin(url)[1] == self._origin[1]

    def _client(self, url: str, own: bool) -> tuple[http.Client, str]:
        try:
            scheme, host, port, target = http.split_url(url)
        except ValueError as error:
            raise Unavailable(f"{self.what}: {url[:80]!r} is no URL: {error}") from error
        client = self._clients.get((scheme, host, port, own))
        if client is None:
            proxy = proxy_for(scheme, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            client = http.Client(
                scheme,
                host,
                port,
                tls=lambda everyone: self._tls(own, everyone),
                proxy=proxy,
                connect_s=CONNECT_TIMEOUT_S,
                read_s=READ_TIMEOUT_S,
            )
            self._clients[scheme, host, port, own] = client
        return client, target

    def _tls(self, own: bool, everyone: bool) -> SSLContext:
        """Whom to believe. The settings of a registry are for its own host, not for where it sends us."""
        import ssl

        context = trusting(everyone)
        settings = self.endpoint.settings
        if not own:
            return context
        try:
            if settings.ca:
                context.load_verify_locations(settings.ca)
            if settings.client_certificate:
                context.load_cert_chain(settings.client_certificate, settings.client_key or None)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(path for path in (settings.ca, settings.client_certificate, settings.client_key) if path)
            raise InvalidArgument(f"registry {self.endpoint.host}: certificates {files}: {_reason(error)}") from error
        if settings.skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _silent(self, url: str, error: Exception) -> InceptionError:
        host = origin(url)[1]
        reason = str(error)
        if isinstance(error, http.ProxyError):
            return Unavailable(f"{self.what}: {reason}", "the proxy is named by HTTP_PROXY, HTTPS_PROXY and NO_PROXY")
        own = host == host_name(self.endpoint.host)
        shown = self.endpoint.host if own else host
        if isinstance(error, http.TlsError):
            hint = _tls_hint(self.endpoint.settings_of if own else host, reason)
            return Unavailable(f"{self.what}: TLS with {shown} failed: {reason}", hint)
        return Unavailable(
            f"{self.what}: the registry {shown} does not answer: {reason}", "is the name right, and the network up?"
        )

    def complaint(self, response: http.Response) -> str:
        """What the registry says is wrong, in its own words, shortened. Source: distribution-spec, "Error Codes"."""
        try:
            data = response.read(_MAX_ANSWER)
        except self.failures:
            return ""
        try:
            first = jsontext.loads(data)["errors"][0]
            text = f"{str(first.get('code', '')).lower().replace('_', ' ')}: {first.get('message', '')}"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            text = data[:200].decode(errors="replace") if b"HTTPS server" in data[:200] else ""
        return "".join(character for character in text[:200] if character.isprintable()).strip(": ")

    def _skew(self, response: http.Response) -> str:
        """Tokens are good for minutes: with a wrong clock none ever is."""
        from email.utils import mktime_tz, parsedate_tz

        theirs = parsedate_tz(response.headers.get("Date", ""))
        off = int(time.time() - mktime_tz(theirs)) if theirs else 0
        if abs(off) < _SKEW_S:
            return ""
        return f"the clocks of this machine and of {self.endpoint.host} are {abs(off) // 60} minutes apart"


def retry_after_s(value: str) -> float:
    """Seconds that a Retry-After header asks for; 0 when it says nothing. Source: RFC 9110, 10.2.3."""
    if value.isdigit():
        return float(value)
    from email.utils import mktime_tz, parsedate_tz

    date = parsedate_tz(value) if value else None
    return max(mktime_tz(date) - time.time(), 0.0) if date else 0.0


def _tls_hint(host: str, reason: str) -> str:
    if "expired" in reason or "not yet valid" in reason:
        return f"this machine's clock says {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}: is it right?"
    if "mismatch" in reason:
        return "its certificate is for other names: use one of those, or have it issued anew"
    if "certificate verify failed" in reason:
        return f'name its authority: "hosts": {{"{host}": {{"ca": "FILE"}}}} in {settings_path()}'
    if "WRONG_VERSION_NUMBER" in reason or "wrong version number" in reason:
        return f'it does not speak TLS: "hosts": {{"{host}": {{"http": true}}}} in {settings_path()}'
    return ""


def _reason(error: BaseException) -> str:
    """The cause in words, without the number and the call that Python puts before it."""
    return getattr(error, "strerror", None) or str(error).rpartition("] ")[2] or type(error).__name__
