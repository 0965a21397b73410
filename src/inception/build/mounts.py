"""`RUN --mount=...`: what is written becomes a value. `mounting.py` carries it out.

    bind    files of the context, a stage, an image; what is written there is thrown away
    cache   a folder that outlives builds; never part of a layer or of a key
    tmpfs   memory
    secret  a file or a variable from the caller, in memory only
    ssh     a socket that leads to the caller's agent

Source: Dockerfile reference, "RUN --mount".
"""

from __future__ import annotations

from inception.build.shapes import suggest
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_SHARING = ("shared", "private", "locked")
_NAMES = {"dst": "target", "destination": "target", "src": "source", "ro": "readonly", "rw": "readwrite"}
_SWITCHES = ("readonly", "readwrite", "required")
_ALLOWED = {
    "bind": ("target", "source", "from", "readonly", "readwrite"),
    "cache": ("target", "source", "from", "readonly", "readwrite", "id", "sharing", "mode", "uid", "gid"),
    "tmpfs": ("target", "size"),
    "secret": ("target", "id", "required", "mode", "uid", "gid", "env"),
    "ssh": ("target", "id", "required", "mode", "uid", "gid"),
}
_KEYS = ("type", *dict.fromkeys(name for names in _ALLOWED.values() for name in names))
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class RunMount(Record):
    """`target` is absolute, or empty for a secret that is a variable alone. `origin` is where `source` is: empty for the
    context, `stage:N`, `image:REFERENCE`, `context:NAME`, or `none` for a cache that begins empty."""

    type: str
    target: str = ""
    source: str = ""
    origin: str = ""
    read_only: bool = True
    id: str = ""
    sharing: str = "shared"
    required: bool = False
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0
    env: str = ""

    def definition(self) -> list[object]:
        """What the outcome of a step may depend on: never what a secret or a cache holds."""
        shape: list[object] = [self.type, self.target, self.read_only]
        return [*shape, self.id, self.env, self.mode, self.uid, self.gid] if self.type in ("secret", "ssh") else shape

    def describe(self) -> str:
        shown = [f"type={self.type}"]
        for name in ("id", "origin", "source", "target", "env"):
            shown += [f"{name}={value}"] if (value := getattr(self, name)) else []
        return "mount=" + ",".join(shown if self.read_only else [*shown, "rw"])


def parse_mount(text: str, expand: Callable[[str], str], find: Callable[[str], str], place: Callable[[str], str]) -> RunMount:
    """*text* is the flag's value. *expand* replaces variables, *find* gives the origin that a `from` names, *place* makes a
    path absolute. Raises ValueError with Docker's words."""
    given = _fields(text, expand)
    kind = given.pop("type", "bind").lower()
    if kind not in TYPES:
        raise ValueError(f'unsupported mount type "{kind}"{suggest(kind, TYPES)}')
    if kind == "secret" and "source" in given:  # another word for it
        given.setdefault("id", given.pop("source"))
    for name in given:
        if name not in _ALLOWED[kind]:
            raise ValueError(f"unexpected key '{name}' for mount type '{kind}'{suggest(name, _ALLOWED[kind])}")
    found = RunMount(type=kind, read_only=_read_only(kind, given), required=given.get("required") == "true")
    found.source, found.id, found.env = given.get("source", ""), given.get("id", ""), given.get("env", "")
    found.origin = find(given["from"]) if given.get("from") else "none" if kind == "cache" else ""
    found.sharing = given.get("sharing", "shared").lower()
    if found.sharing not in _SHARING:
        raise ValueError(f'unsupported sharing value "{given["sharing"]}"{suggest(found.sharing, _SHARING)}')
    found.mode = _number(given, "mode", {"cache": 0o755, "secret": 0o400, "ssh": 0o600}.get(kind, 0), 8)
    found.uid, found.gid = _number(given, "uid", 0), _number(given, "gid", 0)
    found.size_bytes = _size(given.get("size", "0"))
    found.target = _target(found, given.get("target", ""), place)
    return found


def _fields(text: str, expand: Callable[[str], str]) -> dict[str, str]:
    import csv  # values may be quoted, as with every mount option of Docker's

    try:
        words = next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"invalid mount {text!r}: {error}") from None
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = _NAMES.get(key.lower(), key.lower())
        if not equals:
            if key not in _SWITCHES:
                raise ValueError(f"invalid field '{word}' must be a key=value pair")
            value = "true"
        if key not in _KEYS:
            raise ValueError(f"unexpected key '{key}' in '{word}'{suggest(key, _KEYS)}")
        if key == "from" and "$" in value:
            raise ValueError("'from' doesn't support variable expansion, define alias stage instead")
        value = value if key == "from" else expand(value)
        if key in _SWITCHES:
            value = _switch(key, value)
        given[key] = value
    return given


def _switch(key: str, value: str) -> str:
    if value.lower() in ("1", "t", "true"):
        return "true"
    if value.lower() in ("0", "f", "false"):
        return "false"
    raise ValueError(f"invalid value for {key}: {value}")


def _read_only(kind: str, given: dict[str, str]) -> bool:
    if "readwrite" in given:
        return given["readwrite"] == "false"
    return given.get("readonly", "true" if kind in ("bind", "secret") else "false") == "true"


def _target(mount: RunMount, target: str, place: Callable[[str], str]) -> str:
    if mount.type == "secret" and not mount.id:
        mount.id = target.rstrip("/").rpartition("/")[2]
        if not mount.id:
            raise ValueError("one of id, target required for a secret mount")
    if mount.type == "ssh":
        mount.id = mount.id or "default"
        return place(target) if target else ""
    if not target:
        if mount.type == "secret":
            return "" if mount.env else f"/run/secrets/{mount.id}"
        raise ValueError("target is required")
    absolute = place(target).rstrip("/")
    if not absolute:
        raise ValueError(f"invalid mount target {target!r}")
    if mount.type == "cache":
        mount.id = mount.id or absolute
    return absolute


def _number(given: dict[str, str], name: str, default: int, base: int = 10) -> int:
    if name not in given:
        return default
    try:
        value = int(given[name], base)
    except ValueError:
        value = -1
    if not 0 <= value < (0o10000 if base == 8 else 1 << 31) or not given[name].isalnum():
        raise ValueError(f"invalid value {given[name]} for {name}")
    return value


def _size(text: str) -> int:
    digits = text.lower().removesuffix("ib").removesuffix("b").rstrip("kmgt")
    unit = text.lower()[len(digits) :].removesuffix("ib").removesuffix("b")
    if not (digits.isascii() and digits.isdecimal()) or unit not in _UNITS:
        raise ValueError(f"invalid size: {text!r}")
    return int(digits) * _UNITS[unit]
