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
from inception.store.authorization import Authorizer, origin
from inception.store.hosts import host_name, proxy_for, settings_path

TYPE_CHECKING = False
if TYPE_CHECKING:
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


class Transport:
    """Requests to one endpoint. *what* is what errors start with: `pull nginx:latest`. Safe from several threads."""

    def __init__(self, endpoint: Endpoint, what: str, credentials: Credentials) -> None:
        import urllib3  # 100 ms that only transfers pay

        self.endpoint = endpoint
        self.what = what
        self._origin = origin(endpoint.base)
        self._errors = urllib3.exceptions
        self._pools: dict[tuple[str, str, bool], Any] = {}
        self.login_trouble = ""  # why there is no log-in, where there should be one
        self.authorizer = Authorizer(endpoint, credentials, self._fetch)

    def close(self) -> None:
        for pool in self._pools.values():
            pool.clear()

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
    ) -> Any:
        """The response, its body still to be read; whoever calls closes it. *bare*: no secret, whatever the origin.

        *body* is bytes, or a function that gives it from its beginning for each time that it is sent.

        Redirects of GET and HEAD are followed. Raises Unavailable, Forbidden.
        """
        for _ in range(_REDIRECTS):
            response = self._authorized(method, url, headers or {}, body, scope, retry, bare)
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
        scheme, host, _ = origin(target)
        if not host or (scheme != "https" and not (scheme == "http" and url.startswith("http://"))):
            raise Forbidden(f"{self.what}: {self.endpoint.host} redirects from https to {scheme or 'nowhere'}")
        return target

    def discard(self, response: Any) -> None:
        """Reads a short rest away, so that the connection can be used again."""
        try:
            response.read(_MAX_ANSWER)
        except (self._errors.HTTPError, OSError):
            pass
        response.release_conn()

    def expect(self, response: Any, *statuses: int, what: str) -> None:
        """Raises in words unless the answer is one of *statuses*."""
        if response.status not in statuses:
            raise self.refusal(response, what)

    def refusal(self, response: Any, what: str) -> InceptionError:
        """The error that an answer means."""
        said = self._complaint(response)
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
        if response.status == 400 and "HTTPS server" in said:
            return Unavailable(
                f"{self.what}: {host} speaks TLS, and was asked in plain http", f'set "http": false for it in {settings_path()}'
            )
        answer = f"{response.status} {response.reason}".strip()
        return Unavailable(f"{self.what}: {what}: {host} answers {answer}" + (f": {said}" if said else ""))

    def broken(self, error: BaseException) -> InceptionError:
        """The error for a transfer that ended in the middle."""
        return Unavailable(f"{self.what}: transfer from {self.endpoint.host} failed: {_reason(error)}")

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What reading a body may raise."""
        return self._errors.HTTPError, OSError

    def is_own(self, url: str) -> bool:
        return origin(url) == self._origin

    def _authorized(
        self, method: str, url: str, headers: dict[str, str], body: Any, scope: str, retry: bool, bare: bool
    ) -> Any:
        own = not bare and self.is_own(url)
        for _ in range(3):  # a token may have expired, and its successor's scope be too small
            secret = self.authorizer.header(scope) if own else ""
            all_headers = {**headers, "Authorization": secret} if secret else headers
            response = self._patient(method, url, all_headers, body, retry, own)
            if response.status != 401 or not own:
                return response
            challenges = response.headers.getlist("WWW-Authenticate")
            if not self.authorizer.answer(challenges, scope, secret):
                return response
            self.discard(response)
        return response

    def _patient(self, method: str, url: str, headers: dict[str, str], body: Any, retry: bool, own: bool) -> Any:
        attempts = ATTEMPTS if retry else 1
        for attempt in range(attempts):
            # Spread a little, so that many that failed together don't come back together (`random` is 13 ms to import).
            wait_s = min(_BACKOFF_S * 2**attempt, 5.0) * (0.8 + os.urandom(1)[0] / 640)
            try:
                response = self._pool(url, own).request(
                    method,
                    url,
                    headers=headers,
                    body=body() if callable(body) else body,
                    preload_content=False,
                    redirect=False,
                    retries=False,
                )
            except (self._errors.NewConnectionError, self._errors.ConnectTimeoutError, self._errors.SSLError) as error:
                raise self._silent(url, error) from error  # nobody is there: asking again won't help the one who waits
            except (self._errors.ProxyError, self._errors.HTTPError, OSError) as error:
                if attempt == attempts - 1 or isinstance(error, self._errors.ProxyError):
                    raise self.broken(error) from error
            else:
                if response.status not in _BUSY or attempt == attempts - 1:
                    return response
                asked = retry_after_s(response.headers.get("Retry-After", ""))
                if asked > _MAX_WAIT_S:
                    return response
                wait_s = max(wait_s, asked)
                self.discard(response)
            time.sleep(wait_s)
        raise AssertionError("unreachable")

    def _fetch(self, method: str, url: str, headers: dict[str, str], form: dict[str, str] | None) -> tuple[int, Any]:
        """A token server's answer: no redirect is followed with what it is given."""
        from urllib.parse import urlencode

        headers = {"Accept": "application/json", **headers}
        body = None
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(form)
        response = self._patient(method, url, headers, body, True, self.is_own(url) or self._same_host(url))
        try:
            data = response.read(_MAX_ANSWER)
        except self.failures as error:
            raise self.broken(error) from error
        finally:
            response.release_conn()
        try:
            return response.status, jsontext.loads(data)
        except (ValueError, RecursionError):
            return response.status, None

    def _same_host(self, url: str) -> bool:
        return origin(url)[1] == self._origin[1]

    def _pool(self, url: str, own: bool) -> Any:
        import urllib3

        scheme, host, port = origin(url)
        proxy = proxy_for(scheme, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        pool = self._pools.get((scheme, proxy, own))
        if pool is None:
            options: dict[str, Any] = {
                "num_pools": 8,
                "maxsize": 8,
                "blocksize": 1 << 18,
                "timeout": urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
                "headers": {"User-Agent": "inception"},
            }
            if scheme == "https" or proxy.startswith("https"):
                options["ssl_context"] = self._tls(own)  # reading the system's authorities takes longer than most requests
            if proxy:
                auth = urllib3.util.parse_url(proxy).auth
                secret = urllib3.make_headers(proxy_basic_auth=auth) if auth else None
                pool = urllib3.ProxyManager(proxy, proxy_headers=secret, **options)
            else:
                pool = urllib3.PoolManager(**options)
            self._pools[scheme, proxy, own] = pool
        return pool

    def _tls(self, own: bool) -> Any:
        """Whom to believe. The settings of a registry are for its own host, not for where it sends us."""
        import ssl

        context = ssl.create_default_context()
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
            import urllib3

            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return context

    def _silent(self, url: str, error: Exception) -> InceptionError:
        host = origin(url)[1]
        reason = _reason(error)
        if isinstance(error, self._errors.SSLError):
            return Unavailable(f"{self.what}: TLS with {host} failed: {reason}", _tls_hint(host, reason))
        if isinstance(error, self._errors.NameResolutionError):
            reason = "no such host"
        shown = self.endpoint.host if host == host_name(self.endpoint.host) else host
        return Unavailable(
            f"{self.what}: the registry {shown} does not answer: {reason}", "is the name right, and the network up?"
        )

    def _complaint(self, response: Any) -> str:
        """What the registry says is wrong, in its own words, shortened. Source: distribution-spec, "Error Codes"."""
        try:
            data = response.read(_MAX_ANSWER)
        except self.failures:
            return ""
        try:
            first = jsontext.loads(data)["errors"][0]
            text = f"{str(first.get('code', '')).lower()}: {first.get('message', '')}"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            text = data[:200].decode(errors="replace") if b"HTTPS server" in data[:200] else ""
        return "".join(character for character in text[:200] if character.isprintable()).strip(": ")

    def _skew(self, response: Any) -> str:
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
    if "certificate verify failed" in reason:
        return f'name its authority: "hosts": {{"{host}": {{"ca": "FILE"}}}} in {settings_path()}'
    if "WRONG_VERSION_NUMBER" in reason or "wrong version number" in reason:
        return f'it does not speak TLS: "hosts": {{"{host}": {{"http": true}}}} in {settings_path()}'
    return ""


def _reason(error: BaseException) -> str:
    """The innermost cause in words: urllib3 wraps it with the address of its own objects."""
    text = str(error).rpartition(">: ")[2] or str(error)
    return text.removeprefix("Failed to establish a new connection: ").rpartition("] ")[2] or type(error).__name__
