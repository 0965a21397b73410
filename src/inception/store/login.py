"""Logging in to a registry, and what else is asked of a registry as a whole."""

from __future__ import annotations

from inception.errors import Forbidden, InvalidArgument
from inception.oci.reference import DEFAULT_DOMAIN
from inception.record import Record
from inception.store import credentials as logins
from inception.store import registry
from inception.store.credentials import Credentials
from inception.store.hosts import Registries, endpoint, load_registries
from inception.store.transport import Transport

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_SEARCH_HOST = f"index.{DEFAULT_DOMAIN}"
_RESULTS, _MAX_RESULTS = 25, 100


class Found(Record):
    """One repository that a search has found."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False


def domain_of(server: str) -> str:
    """The registry that a user means: a host name, a URL, or nothing for Docker Hub. Raises InvalidArgument."""
    host = server.partition("://")[2] if "://" in server else server
    host = host.partition("/")[0]
    if host in ("", "index.docker.io", f"registry-1.{DEFAULT_DOMAIN}"):
        return DEFAULT_DOMAIN
    if "@" in host or any(character <= " " for character in host):
        raise InvalidArgument(f"invalid registry name {server!r}")
    return host


def check(domain: str, credentials: Credentials, registries: Registries | None = None) -> None:
    """Whether the registry takes the log-in. Raises Forbidden, Unavailable."""
    where = endpoint(registries if registries is not None else load_registries(), domain)
    transport = Transport(where, f"login {domain}", credentials)
    try:
        registry.ping(transport)
    except Forbidden as error:
        # What the registry forbids here is the log-in itself; a hint to log in would lead in a circle.
        raise Forbidden(str(error), "" if "inception login" in error.hint else error.hint) from error
    finally:
        transport.close()


def login(domain: str, credentials: Credentials, registries: Registries | None = None) -> str:
    """Checks a log-in and keeps it for this user; where it is: a file's path, or a credential helper's name."""
    check(domain, credentials, registries)
    return logins.save(domain, credentials)


def logout(domain: str) -> None:
    """Forgets a log-in. Raises NotFound: `Not logged in to x`."""
    logins.erase(domain)


def search(
    term: str, limit: int = _RESULTS, filters: Mapping[str, Sequence[str]] | None = None, registries: Registries | None = None
) -> list[Found]:
    """Repositories whose names hold *term*: on Docker Hub, or with `host/term` on another registry that lists its own.
    *filters* are Docker's: `stars` at least, `is-official`, `is-automated` (none is any more)."""
    wanted = _test(filters or {})
    limit = limit or _RESULTS
    if not 1 <= limit <= _MAX_RESULTS:
        raise InvalidArgument(f"limit {limit} is outside the range of [1, {_MAX_RESULTS}]")
    first, slash, rest = term.partition("/")
    elsewhere = bool(slash) and ("." in first or ":" in first or first == "localhost")
    domain = first if elsewhere else DEFAULT_DOMAIN
    where = endpoint(registries if registries is not None else load_registries(), domain)
    if not elsewhere:
        where.base, where.host = f"https://{_SEARCH_HOST}", _SEARCH_HOST
    found, _ = logins.find_or_anonymous(domain)
    transport = Transport(where, f"search {term}", found)
    try:
        results = registry.search(transport, rest if elsewhere else term, limit)
    finally:
        transport.close()
    prefix = f"{domain}/" if elsewhere else ""
    every = [
        Found(
            name=f"{prefix}{each['name']}",
            description=str(each.get("description") or ""),
            stars=_number(each.get("star_count")),
            official=each.get("is_official") is True,
        )
        for each in results
    ]
    return [found for found in every if wanted(found)]


def _test(filters: Mapping[str, Sequence[str]]) -> Callable[[Found], bool]:
    """Whether a repository is wanted. Raises InvalidArgument in Docker's words, before anybody is asked."""
    least, official, automated = 0, None, None
    for key, values in filters.items():
        for value in values:
            truth = {"1": True, "true": True, "0": False, "false": False}.get(value.lower())
            if key == "stars" and value.isdecimal():
                least = max(least, int(value))
            elif key == "is-official" and truth is not None:
                official = truth
            elif key == "is-automated" and truth is not None:
                automated = truth
            elif key in ("stars", "is-official", "is-automated"):
                raise InvalidArgument(f"invalid filter '{key}=[{value}]'")
            else:
                raise InvalidArgument(f"invalid filter '{key}'")
    return lambda found: found.stars >= least and official in (None, found.official) and not automated


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
