"""What this machine's owner says about registries: one JSON file that everything obeys, from `run` to `build` and `compose`.

    {"offline": false,
     "short_names": {"web": "registry.example:5000/team/web"},
     "hosts": {
       "docker.io": {"mirrors": ["https://mirror.example"]},
       "registry.example:5000": {"ca": "/etc/ssl/example.pem", "realms": ["login.example"]},
       "old.example": {"http": true},
       "evil.example": {"blocked": true}}}

It is `/etc/inception/registries.json`, without root `$XDG_CONFIG_HOME/inception/registries.json`; INCEPTION_REGISTRIES names
another one. A file that is not there says nothing. Proxies come from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), as
everywhere; this machine itself is never asked through one.
"""

from __future__ import annotations

import os

from inception.errors import Forbidden, InvalidArgument, Unavailable
from inception.oci.reference import DEFAULT_DOMAIN, Reference
from inception.record import Record
from inception.store.settings import load_owners, owners_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULT_HOST = f"registry-1.{DEFAULT_DOMAIN}"


class Host(Record):
    """One registry, by the name that stands in images' names.

    `mirrors` are asked first when pulling, in their order, as `host[:port]` or a URL. `http`: without TLS (None: only this
    machine itself, and not when a `ca` is given); `skip_verify`: TLS with whatever certificate. `ca` is a PEM file that counts
    beside the system's authorities, `client_certificate` and `client_key` are PEM files. `realms` are other hosts that may be
    given this registry's password for a token.
    """

    mirrors: list[str] = []
    http: bool | None = None
    skip_verify: bool = False
    ca: str = ""
    client_certificate: str = ""
    client_key: str = ""
    realms: list[str] = []
    blocked: bool = False


class Registries(Record):
    """The file. `offline` forbids every transfer. `short_names` are repositories by a name without a registry."""

    hosts: dict[str, Host] = {}
    short_names: dict[str, str] = {}
    offline: bool = False


class Endpoint(Record):
    """Where to speak to: `base` is `https://host[:port]`, `host` its `host[:port]`, `settings_of` the name that the settings
    and log-ins know it by. A mirror is told the registry that it stands for, its `namespace`: one may mirror several."""

    base: str
    host: str
    settings_of: str
    namespace: str = ""
    settings: Host = Host()
    guessed: bool = False  # plain http, for nobody has said otherwise: it may speak TLS after all


def settings_path() -> str:
    """Where the file is looked for."""
    return owners_path("registries")


def load_registries(path: str = "") -> Registries:
    """The settings. Raises InvalidArgument naming file and place."""
    return load_owners(Registries, path or settings_path())


def full_name(registries: Registries, name: str) -> str:
    """*name* with its short name spelt out, or as it is. Raises InvalidArgument for settings that make no sense."""
    end = len(name)
    for mark in ("@", ":"):
        at = name.find(mark, 0, end)
        if at >= 0 and "/" not in name[at:end]:
            end = at
    found = registries.short_names.get(name[:end], "")
    if not found:
        return name
    reference = Reference.parse(found)
    if ":" in found.rpartition("/")[2] or "@" in found:
        raise InvalidArgument(f"{settings_path()}: short_names.{name[:end]}: {found!r}: a repository, without a tag")
    return f"{reference.repository}{name[end:]}"


def endpoint(registries: Registries, domain: str) -> Endpoint:
    """The registry itself. Raises Forbidden or Unavailable when the owner of this machine won't have it."""
    if registries.offline:
        raise Unavailable(f"registry {domain}: this machine is offline", f'"offline" is set in {settings_path()}')
    settings = registries.hosts.get(domain, Host())
    if settings.blocked:
        raise Forbidden(f"registry {domain}: blocked", f'"blocked" is set in {settings_path()}')
    host = _DEFAULT_HOST if domain == DEFAULT_DOMAIN else domain
    of_tls = settings.ca or settings.skip_verify or settings.client_certificate  # nobody sets these for plain http
    plain = settings.http if settings.http is not None else is_loopback(host) and not of_tls
    guessed = plain and settings.http is None
    base = f"{'http' if plain else 'https'}://{host}"
    return Endpoint(base=base, host=host, settings_of=domain, settings=settings, guessed=guessed)


def mirrors(registries: Registries, domain: str) -> list[Endpoint]:
    """The mirrors of *domain*, those that are blocked left out."""
    found = []
    for mirror in registries.hosts.get(domain, Host()).mirrors:
        scheme, colons, rest = mirror.partition("://")
        name = (rest if colons else mirror).strip("/")
        settings = registries.hosts.get(name, Host())
        if settings.blocked:
            continue
        if colons and scheme not in ("http", "https"):
            raise InvalidArgument(f"{settings_path()}: hosts.{domain}.mirrors: {mirror!r} is neither http nor https")
        if colons:
            where = Endpoint(base=f"{scheme}://{name}", host=name, settings_of=name, settings=settings)
        else:
            where = endpoint(registries, name)
        where.namespace = domain
        found.append(where)
    return found


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine itself."""
    name = host_name(host)
    parts = name.split(".")
    numeric = len(parts) == 4 and all(part.isdigit() and int(part) < 256 for part in parts)
    return name in ("localhost", "::1") or (numeric and parts[0] == "127")


def host_name(host: str) -> str:
    """`host[:port]` without its port and brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def proxy_for(scheme: str, host: str, environment: Mapping[str, str] | None = None) -> str:
    """The proxy for `host[:port]`, or an empty text. Source: the rules of Go's httpproxy, which Docker's tools follow."""
    env = os.environ if environment is None else environment
    proxy = env.get(f"{scheme}_proxy") or env.get(f"{scheme.upper()}_PROXY") or ""
    if scheme == "http" and "REQUEST_METHOD" in env:
        proxy = env.get("http_proxy", "")  # HTTP_PROXY is then a header that a client sent to a CGI program (httpoxy)
    if not proxy or is_loopback(host) or _bypassed(host, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        return ""
    return proxy if "://" in proxy else f"http://{proxy}"


def _bypassed(host: str, rules: str) -> bool:
    name = host_name(host).lower()
    port = host.rpartition(":")[2] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else ""
    for rule in rules.lower().replace(" ", ",").split(","):
        pattern, colon, wanted = rule.partition(":") if rule.count(":") == 1 else (rule, "", "")
        if not pattern or (colon and wanted != port):
            continue
        if pattern == "*" or name == pattern or _in_network(name, pattern):
            return True
        suffix = pattern.removeprefix("*")
        if name.endswith(suffix if suffix.startswith(".") else f".{suffix}"):
            return True
    return False


def _in_network(name: str, pattern: str) -> bool:
    if "/" not in pattern:
        return False
    import ipaddress  # only for rules that are networks

    try:
        return ipaddress.ip_address(name) in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False
