"""Log-ins of registries, where Docker's tools keep them: `config.json` and its credential helpers.

    credHelpers[host]  ──▶ docker-credential-NAME get     the helper of one registry
    credsStore         ──▶ docker-credential-NAME get     the helper of all
    auths[host].auth                                      base64 of `user:password`, readable by the owner alone

A helper is a program in one of the system's own folders, never one that PATH or the file leads to, and gets the registry's
name on its stdin. The file is DOCKER_CONFIG/config.json or ~/.docker/config.json; what else stands in it is kept as it is.
"""

from __future__ import annotations

import os

from inception import jsontext
from inception.errors import InceptionError, InvalidArgument, NotFound, Unavailable
from inception.oci.reference import DEFAULT_DOMAIN
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Docker's name for its own registry in this file.
DEFAULT_SERVER = "https://index.docker.io/v1/"
_HELPER_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_HELPER_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_HELPER_TIMEOUT_S = 60.0
_MAX_BYTES = 4 << 20
_TOKEN_USER = "<token>"
_NOT_THERE = "credentials not found in native keychain"


class Credentials(Record):
    """A log-in: a name with a password, or a token in their place (`identity_token` is exchanged for others, a
    `registry_token` is sent as it is). Never printed."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, ...)"

    def __bool__(self) -> bool:
        return bool(self.username or self.password or self.identity_token or self.registry_token)


def config_path() -> str:
    """The file of this user."""
    return f"{os.environ.get('DOCKER_CONFIG') or os.path.expanduser('~/.docker')}/config.json"


def server_key(domain: str) -> str:
    """How the file calls a registry."""
    return DEFAULT_SERVER if domain == DEFAULT_DOMAIN else domain


def find(domain: str) -> Credentials:
    """The log-in of *domain*; an empty one when there is none. Raises Unavailable when a helper fails."""
    config = _read()
    helper = _helper_of(config, domain)
    if helper:
        found = _ask(helper, server_key(domain))
        if found:
            return found
    return _from_file(config, domain)


def servers() -> list[str]:
    """The registries that there are log-ins for, as the file calls them."""
    return list(_read().get("auths", {}))


def save(domain: str, credentials: Credentials) -> str:
    """Keeps a log-in; where: the path of the file for plain text, or the name of the helper."""
    config = _read()
    helper = _helper_of(config, domain)
    key = server_key(domain)
    if helper:
        name, secret = credentials.username, credentials.password
        if credentials.identity_token:
            name, secret = _TOKEN_USER, credentials.identity_token
        _run(helper, "store", jsontext.dumps({"ServerURL": key, "Username": name, "Secret": secret}))
        config.setdefault("auths", {})[key] = {}
        _write(config)
        return helper
    import base64

    entry = {"auth": base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()}
    if credentials.identity_token:
        entry = {
            "auth": base64.b64encode(f"{credentials.username}:".encode()).decode(),
            "identitytoken": credentials.identity_token,
        }
    config.setdefault("auths", {})[key] = entry
    _write(config)
    return config_path()


def erase(domain: str) -> None:
    """Forgets a log-in. Raises NotFound when there is none."""
    config = _read()
    helper = _helper_of(config, domain)
    auths = config.get("auths", {})
    keys = [key for key in auths if _same_server(key, domain)]
    if helper and (keys or _ask(helper, server_key(domain))):
        _run(helper, "erase", server_key(domain))
    elif not keys:
        raise NotFound(f"Not logged in to {server_key(domain)}")
    for key in keys:
        del auths[key]
    if keys:
        _write(config)


def _from_file(config: dict[str, Any], domain: str) -> Credentials:
    own = (server_key(domain), domain)  # before entries of single repositories, which other tools write
    for key, entry in sorted(config.get("auths", {}).items(), key=lambda item: item[0] not in own):
        if not _same_server(key, domain) or not isinstance(entry, dict):
            continue
        name, password = _decoded(str(entry.get("auth") or ""), key)
        return Credentials(
            username=name or str(entry.get("username") or ""),
            password=password or str(entry.get("password") or ""),
            identity_token=str(entry.get("identitytoken") or ""),
            registry_token=str(entry.get("registrytoken") or ""),
        )
    return Credentials()


def _decoded(auth: str, key: str) -> tuple[str, str]:
    import base64

    try:
        name, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except ValueError as error:
        raise InvalidArgument(f"{config_path()}: auths.{key}.auth: not base64 of `user:password`") from error
    if auth and not colon:
        raise InvalidArgument(f"{config_path()}: auths.{key}.auth: not base64 of `user:password`")
    return name, password.strip("\0")


def _same_server(key: str, domain: str) -> bool:
    """Keys are host names, and of old URLs: `https://host/v1/`."""
    if key == server_key(domain):
        return True
    host = key.partition("://")[2] or key
    host = host.partition("/")[0]
    return host == domain or (domain == DEFAULT_DOMAIN and host in ("index.docker.io", "registry-1.docker.io"))


def _helper_of(config: dict[str, Any], domain: str) -> str:
    helpers = config.get("credHelpers")
    own = ""
    if isinstance(helpers, dict):
        own = next((str(name) for key, name in helpers.items() if _same_server(key, domain)), "")
    return own or str(config.get("credsStore") or "")


def _ask(helper: str, server: str) -> Credentials:
    try:
        answer = jsontext.loads(_run(helper, "get", server))
        name, secret = answer["Username"], answer["Secret"]
    except NotFound:
        return Credentials()
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"credential helper docker-credential-{helper}: its answer makes no sense") from error
    return Credentials(identity_token=secret) if name == _TOKEN_USER else Credentials(username=name, password=secret)


def _run(helper: str, verb: str, text: str) -> bytes:
    import subprocess

    path = _find_helper(helper)
    # Its own folder of secrets, and the session's keyring, are found through these; nothing else of ours is its business.
    env = {key: value for key in ("HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "WAYLAND_DISPLAY",
                                  "GNUPGHOME", "PASSWORD_STORE_DIR", "GPG_TTY")
           if (value := os.environ.get(key))}  # fmt: skip
    env["PATH"] = ":".join(_HELPER_FOLDERS)
    try:
        done = subprocess.run([path, verb], input=text.encode(), capture_output=True, env=env, timeout=_HELPER_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"credential helper {path}: {error}") from error
    said = (done.stdout or done.stderr).decode(errors="replace").strip()
    if done.returncode != 0:
        if _NOT_THERE in said:
            raise NotFound(said)
        raise Unavailable(f"credential helper {path} {verb}: {said[:200] or f'exit code {done.returncode}'}")
    return done.stdout[:_MAX_BYTES]


def _find_helper(helper: str) -> str:
    if not helper or not _HELPER_NAME.issuperset(helper):
        raise InvalidArgument(f"{config_path()}: credential helper {helper!r}: not a name")
    for folder in _HELPER_FOLDERS:
        path = f"{folder}/docker-credential-{helper}"
        if os.access(path, os.X_OK):
            return path
    raise Unavailable(
        f"credential helper docker-credential-{helper}: not found in {', '.join(_HELPER_FOLDERS)}",
        f"install it, or take it out of {config_path()}",
    )


def _read() -> dict[str, Any]:
    path = config_path()
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise InvalidArgument(f"{path}: larger than {_MAX_BYTES} bytes")
    try:
        value = jsontext.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict) or not isinstance(value.get("auths", {}), dict):
        raise InvalidArgument(f"{path}: expected an object")
    return value


def _write(config: dict[str, Any]) -> None:
    import json  # people read and edit this file

    path = os.path.realpath(config_path())  # often a link into a folder of dotfiles
    partial = f"{path}.{os.urandom(4).hex()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w") as file:
            json.dump(config, file, indent="\t")
            file.flush()
            os.fsync(fd)
        os.rename(partial, path)
    except OSError as error:
        raise Unavailable(f"write {path}: {error.strerror}") from error


def find_or_anonymous(domain: str) -> tuple[Credentials, str]:
    """`find`, and in words why there is no log-in though there should be one: public images need none."""
    try:
        return find(domain), ""
    except InceptionError as error:
        return Credentials(), str(error)
