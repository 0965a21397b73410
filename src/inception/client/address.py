"""Where an engine is: `-H`, then DOCKER_HOST, then the context that `-c` or DOCKER_CONTEXT names.

A context is Docker's: `~/.docker/contexts/meta/HASH/meta.json`, its certificates in `contexts/tls/HASH/docker`. The one that
`docker context use` has chosen for docker is not ours to follow: a command without a word about it works on this machine.
"""

from __future__ import annotations

import os

from inception.errors import InvalidArgument, NotFound
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Tls(Record):
    """Files of certificates; `verify` false takes any server's."""

    authority: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True


class Address(Record):
    """`kind` is `unix` (*path*), `tcp` (*host* and *port*, with *tls*) or `ssh` (*host* with its user, *port* or 0)."""

    kind: str
    text: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: Tls | None = None


def find(
    host: str = "", context: str = "", environment: Mapping[str, str] = os.environ, tls: Mapping[str, str] | None = None
) -> Address | None:
    """The engine that is meant; None for this machine's own. *tls* are Docker's flags without their dashes (`tlsverify`,
    `tlscacert`, `tlscert`, `tlskey`). Raises InvalidArgument, NotFound."""
    if host and context:
        raise InvalidArgument("conflicting options: cannot specify both --host and --context")
    host = host or ("" if context else environment.get("DOCKER_HOST", ""))
    if host:
        return parse(host, _tls_by_flags(tls, environment) if tls else _tls_of(environment))
    context = context or environment.get("DOCKER_CONTEXT", "")
    if context and context != "default":
        return _context(context, _folder(environment))
    return None


def parse(text: str, tls: Tls | None = None) -> Address:
    """`unix:///run/docker.sock`, `tcp://HOST:PORT`, `ssh://[USER@]HOST[:PORT]`. Raises InvalidArgument."""
    kind, separator, rest = text.partition("://")
    if kind == "unix" and rest.startswith("/"):
        return Address(kind=kind, text=text, path=rest)
    if kind in ("tcp", "http", "https") and separator:
        host, port = _host_and_port(text, rest.rstrip("/"), 2376 if tls or kind == "https" else 2375)
        return Address(kind="tcp", text=text, host=host, port=port, tls=tls or (Tls() if kind == "https" else None))
    if kind == "ssh" and separator and rest and not rest.startswith("-"):
        host, port = _host_and_port(text, rest.partition("/")[0], 0)
        path = rest.partition("/")[2]
        return Address(kind=kind, text=text, host=host, port=port, path=f"/{path}" if path else "")
    raise InvalidArgument(f"unable to parse docker host `{text}`", "unix:///PATH, tcp://HOST:PORT or ssh://[USER@]HOST[:PORT]")


def _host_and_port(text: str, rest: str, default: int) -> tuple[str, int]:
    head, bracket, tail = rest.rpartition("]")
    if bracket:
        host, port = head.lstrip("["), tail.removeprefix(":")
    else:
        host, _, port = rest.partition(":")
    if not host or host.startswith("-") or (port and not port.isdecimal()):
        raise InvalidArgument(f"unable to parse docker host `{text}`")
    return host, int(port) if port else default


def _folder(environment: Mapping[str, str]) -> str:
    return environment.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")


def _tls_of(environment: Mapping[str, str]) -> Tls | None:
    """DOCKER_TLS_VERIFY and DOCKER_CERT_PATH, as Docker's clients read them."""
    verify = environment.get("DOCKER_TLS_VERIFY", "")
    if not verify and not environment.get("DOCKER_TLS", ""):
        return None
    folder = environment.get("DOCKER_CERT_PATH") or _folder(environment)
    return _tls_in(folder, verify=bool(verify))


def _tls_by_flags(flags: Mapping[str, str], environment: Mapping[str, str]) -> Tls:
    folder = _tls_in(environment.get("DOCKER_CERT_PATH") or _folder(environment), verify="tlsverify" in flags)
    return Tls(
        authority=flags.get("tlscacert", folder.authority),
        certificate=flags.get("tlscert", folder.certificate),
        key=flags.get("tlskey", folder.key),
        verify=folder.verify,
    )


def _tls_in(folder: str, *, verify: bool) -> Tls:
    found = {}
    for name, file in (("authority", "ca.pem"), ("certificate", "cert.pem"), ("key", "key.pem")):
        path = f"{folder}/{file}"
        found[name] = path if os.path.exists(path) else ""
    return Tls(**found, verify=verify)


def _context(name: str, folder: str) -> Address:
    import hashlib

    from inception.jsontext import loads

    key = hashlib.sha256(name.encode()).hexdigest()
    try:
        with open(f"{folder}/contexts/meta/{key}/meta.json", encoding="utf-8") as file:
            meta = loads(file.read(1 << 20))
        endpoint = meta["Endpoints"]["docker"]
        host = endpoint["Host"]
    except FileNotFoundError:
        raise NotFound(f'context "{name}": context not found', "docker context ls shows those there are") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidArgument(f'context "{name}": its file can\'t be read: {error}') from None
    certificates = f"{folder}/contexts/tls/{key}/docker"
    tls = _tls_in(certificates, verify=not endpoint.get("SkipTLSVerify")) if os.path.isdir(certificates) else None
    return parse(str(host), tls)
