"""How a registry is shown who asks: challenges, tokens, and where a secret may go.

    request                ───▶   401, WWW-Authenticate: Bearer realm="https://auth.example/token",service=...,scope=...
    GET realm?service&scope ──▶   (with name and password, when there is a log-in)   {"token": ..., "expires_in": ...}
    request, Authorization ───▶   200

    request                ───▶   401, WWW-Authenticate: Basic          then with name and password at once

Rules of the place. A token or a password is sent to the registry's own origin (scheme, host and port) and nowhere else; a
redirect that leaves it travels bare (CVE-2020-15157). The realm comes from the registry, so it is not believed: it must be
https, or the same host as a registry that itself is plain http; a password goes only to the same host, a host above or below
it in the same domain, Docker Hub's own, or one that the settings list under `realms`; a realm by address must be the
registry's own.
Source: distribution's token specification; RFC 7235 for the grammar of challenges; RFC 6749 section 6 for refresh tokens.
"""

from __future__ import annotations

import time
from _thread import allocate_lock

from inception.errors import Forbidden, InvalidArgument, Unavailable
from inception.oci.reference import DEFAULT_DOMAIN
from inception.record import Record
from inception.store.hosts import host_name, is_loopback, settings_path
from inception.store.http import split_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from inception.store.credentials import Credentials
    from inception.store.hosts import Endpoint

_CLIENT = "inception"
_MIN_LIFE_S = 60  # what a token without a lifetime is good for
_SLACK_S = 10
_REALMS = {f"registry-1.{DEFAULT_DOMAIN}": (f"auth.{DEFAULT_DOMAIN}",)}


class Challenge(Record):
    """One scheme of a WWW-Authenticate header, in lower case, with its parameters."""

    scheme: str
    parameters: dict[str, str] = {}


class Authorizer:
    """What is sent to one endpoint as Authorization. Safe from several threads.

    *fetch* does one request without any of this: `(method, url, headers, form) -> (status, document)`; *what* is what errors
    say is being done.
    """

    def __init__(self, endpoint: Endpoint, what: str, credentials: Credentials, fetch: Callable[..., tuple[int, Any]]) -> None:
        self._endpoint = endpoint
        self._what = what
        self._credentials = credentials
        self._fetch = fetch
        self._lock = allocate_lock()
        self._basic = False
        self._tokens: dict[str, tuple[str, float]] = {}

    @property
    def has_login(self) -> bool:
        return bool(self._credentials)

    def header(self, scope: str) -> str:
        """The header's value for requests of *scope*, or an empty text while nothing has been asked for."""
        if self._credentials.registry_token:
            return f"Bearer {self._credentials.registry_token}"
        if self._basic:
            return basic(self._credentials)
        token, until = self._tokens.get(scope, ("", 0.0))
        return f"Bearer {token}" if token and time.monotonic() < until else ""

    def answer(self, headers: Sequence[str], scope: str, refused: str) -> bool:
        """Prepares for the challenges of a 401; whether asking again is worth it. *refused* is the header that was sent.

        Raises Forbidden for a realm that must not be asked, or when the token server says no.
        """
        challenges = parse_challenges(headers)
        with self._lock:
            if self.header(scope) not in ("", refused):
                return True  # another thread has been here
            for challenge in challenges:
                if challenge.scheme == "bearer" and not self._credentials.registry_token:
                    known = self._tokens.pop(scope, None)
                    if known is not None and refused and time.monotonic() < known[1] - _MIN_LIFE_S / 2:
                        return False  # fresh, and yet refused: another of the same kind won't do better
                    self._tokens[scope] = self._token(challenge, scope)
                    return True
                if challenge.scheme == "basic" and self._credentials.username and not self._basic:
                    self._basic = True
                    return True
        return False

    def _token(self, challenge: Challenge, scope: str) -> tuple[str, float]:
        realm = challenge.parameters.get("realm", "")
        secret = bool(self._credentials)
        check_realm(self._endpoint, realm, secret)
        scopes = [each for each in [*challenge.parameters.get("scope", "").split(" "), *scope.split(" ")] if each]
        service = challenge.parameters.get("service", "")
        if self._credentials.identity_token:
            status, document = self._fetch("POST", realm, {}, self._form(service, scopes))
        else:
            from urllib.parse import urlencode

            query = [("service", service)] if service else []
            query += [("scope", each) for each in dict.fromkeys(scopes)]
            headers = {}
            if secret:
                query += [("account", self._credentials.username), ("client_id", _CLIENT)]
                headers["Authorization"] = basic(self._credentials)
            joint = "&" if "?" in realm else "?"
            status, document = self._fetch("GET", f"{realm}{joint}{urlencode(query)}", headers, None)
        where = _origin_of(realm)
        if status in (400, 401, 403):
            raise Forbidden(
                f"{self._what}: {where} refuses a token: "
                + ("incorrect username or password" if secret else "it wants a login"),
                f"inception login {self._endpoint.settings_of}",
            )
        token = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
        if status != 200 or not isinstance(token, str) or not token or any(character <= " " for character in token):
            raise Unavailable(f"{self._what}: {where} gives no token: answer {status}")
        life = document.get("expires_in")
        life_s = max(life if isinstance(life, int) else 0, _MIN_LIFE_S)
        return token, time.monotonic() + life_s - _SLACK_S

    def _form(self, service: str, scopes: list[str]) -> dict[str, str]:
        return {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": _CLIENT,
            "scope": " ".join(dict.fromkeys(scopes)),
            "refresh_token": self._credentials.identity_token,
        }


def basic(credentials: Credentials) -> str:
    """The header of name and password. Source: RFC 7617."""
    import base64

    return "Basic " + base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()


def check_realm(endpoint: Endpoint, realm: str, secret: bool) -> None:
    """Raises Forbidden when the realm must not be asked, or not with a *secret*."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(realm)
        host, scheme, userinfo = parts.hostname or "", parts.scheme, "@" in parts.netloc
    except ValueError:
        raise Forbidden(f"registry {endpoint.host}: its token server {realm[:80]!r} is not a URL") from None
    own = host_name(endpoint.host).lower()
    where = f"registry {endpoint.host}: its token server {host or realm[:80]!r}"
    if scheme != "https" and not (scheme == "http" and host == own and endpoint.base.startswith("http://")):
        raise Forbidden(f"{where} is not https")
    if not host or userinfo:
        raise Forbidden(f"{where} is not a host")
    if host == own:
        return
    # An address of its own choosing would let a registry ask inside our network, and read what it gets in our next request.
    if is_loopback(host) or ":" in host or host.replace(".", "").isdigit() or "." not in host:
        raise Forbidden(f"{where} is another machine of this network")
    related = own.endswith(f".{host}") or host.endswith(f".{own}")
    if secret and not related and host not in (*endpoint.settings.realms, *_REALMS.get(own, ())):
        raise Forbidden(
            f"{where} is not of its domain: it does not get the password",
            f'if it may have it, add "realms": ["{host}"] to this registry in {settings_path()}',
        )


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """The challenges of all WWW-Authenticate headers; what can't be read ends the list."""
    found: list[Challenge] = []
    for header in headers:
        text = header.strip()
        while text:
            word, text = _word(text)
            if not word:
                break
            if text.startswith("=") and found:
                value, text = _value(text[1:].lstrip())
                found[-1].parameters[word.lower()] = value
            else:
                found.append(Challenge(scheme=word.lower()))
            text = text.lstrip(" ,\t")
    return found


def _word(text: str) -> tuple[str, str]:
    end = next((i for i, character in enumerate(text) if character in ' =,"\t'), len(text))
    return text[:end], text[end:].lstrip(" \t")


def _value(text: str) -> tuple[str, str]:
    if not text.startswith('"'):
        end = next((i for i, character in enumerate(text) if character in ", \t"), len(text))
        return text[:end], text[end:]
    value, at = "", 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\"
        value += text[at : at + 1]
        at += 1
    return value, text[at + 1 :]


def _origin_of(url: str) -> str:
    return url.partition("?")[0][:120]


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL. Raises InvalidArgument."""
    try:
        return split_url(url)[:3]
    except ValueError as error:
        raise InvalidArgument(f"{url[:80]!r}: {error}") from error
