"""Devices by the names of the Container Device Interface: `vendor.com/class=name`.

Files in /etc/cdi and /var/run/cdi, YAML or JSON, say what a device means inside: nodes, mounts, variables, groups. A name of a
later folder goes before one of an earlier; one that two files of the same folder have belongs to neither. Hooks and what else
would run or change something outside of the container are refused by name, never left out.
Source: Container Device Interface, SPEC.md, version 1.0.
"""

from __future__ import annotations

import os
import re
import stat

from inception.errors import InceptionError, InvalidArgument, NotFound
from inception.oci.runtime import Device, Mount
from inception.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inception.engine.spec import Surroundings

FOLDERS = ("/etc/cdi", "/var/run/cdi")
_MAX_BYTES = 4 << 20
_QUALIFIED = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*/[A-Za-z][A-Za-z0-9_-]*=[A-Za-z0-9][A-Za-z0-9_.:-]*")
_NOT_HERE = ("hooks", "intelRdt", "netDevices")
_VERSIONS = ("0.", "1.")


class CdiDevice(Record):
    """`edits` are its own containerEdits, `common` those of its file, which come once whatever is asked of that file."""

    name: str
    edits: dict[str, object]
    common: dict[str, object]
    path: str
    annotations: dict[str, str] = {}

    @property
    def kind(self) -> str:
        return self.name.partition("=")[0]


class Registry:
    """All devices of *folders*, the machine's own by default. `broken` are the files that couldn't be read, with the reason."""

    def __init__(self, folders: Sequence[str] = ()) -> None:
        self.devices: dict[str, CdiDevice] = {}
        self.broken: dict[str, str] = {}
        for folder in folders or FOLDERS:
            self._add(folder)

    def find(self, name: str) -> CdiDevice:
        """Raises NotFound in dockerd's words."""
        if name not in self.devices:
            broken = "; ".join(f"{path}: {why}" for path, why in self.broken.items())
            hint = f"unreadable: {broken}" if broken else f"specifications are looked for in {' and '.join(FOLDERS)}"
            raise NotFound(f"could not select device driver: unresolvable CDI devices {name}", hint)
        return self.devices[name]

    def select(self, text: str) -> list[CdiDevice]:
        """What a Dockerfile means: a device, `KIND` for the first of its kind, `KIND=*` for all, or the name of a class."""
        devices = list(self.devices.values())
        if "/" not in text:
            return [each for each in devices if each.annotations.get("org.mobyproject.buildkit.device.class") == text]
        kind, equals, name = text.partition("=")
        found = [each for each in devices if each.kind == kind]
        if not equals:
            return found[:1]
        return found if name == "*" else [each for each in found if each.name == text]

    def _add(self, folder: str) -> None:
        here: dict[str, CdiDevice] = {}
        twice: set[str] = set()
        for path in _files(folder):
            try:
                for device in _load(path):
                    if device.name in here:
                        twice.add(device.name)
                    here[device.name] = device
            except (InceptionError, OSError) as error:
                self.broken[path] = getattr(error, "strerror", None) or str(error)
        for name in twice:
            del here[name]
            self.broken[name] = "two files of one folder have it"
        self.devices |= here


def is_qualified(text: str) -> bool:
    """Whether *text* is a device's full name, as `run --device` may have it beside a path."""
    return _QUALIFIED.fullmatch(text) is not None


def inject(names: Sequence[str], around: Surroundings) -> None:
    """Puts what the devices *names* mean into *around*. Raises NotFound, InvalidArgument."""
    registry = Registry()
    done: set[str] = set()
    for name in dict.fromkeys(names):
        device = registry.find(name)
        if device.path not in done:
            done.add(device.path)
            _apply(device.common, device, around)
        _apply(device.edits, device, around)


def _files(folder: str) -> list[str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [f"{folder}/{name}" for name in names if name.endswith((".json", ".yaml", ".yml")) and not name.startswith(".")]


def _load(path: str) -> Iterator[CdiDevice]:
    with open(path, "rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise InvalidArgument(f"larger than {_MAX_BYTES} bytes")
    spec = _Fields(_parse(path, data))
    version, kind = spec.text("cdiVersion"), spec.text("kind")
    if not version.removeprefix("v").startswith(_VERSIONS):
        raise InvalidArgument(f"version {version!r} is not supported")
    common = spec.map("containerEdits")
    for item in spec.items("devices"):
        device = _Fields(item)
        name = f"{kind}={device.text('name')}"
        if not is_qualified(name):
            raise InvalidArgument(f"{name!r} is no name of a device")
        notes = {**spec.map("annotations"), **device.map("annotations")}
        yield CdiDevice(
            name=name,
            edits=device.map("containerEdits"),
            common=common,
            path=path,
            annotations={key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in notes.items()},
        )


def _parse(path: str, data: bytes) -> object:
    try:
        if path.endswith(".json"):
            from inception import jsontext

            return jsontext.loads(data.decode())
        import yaml

        return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # both are safe loaders
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(str(error).partition("\n")[0]) from None
    except Exception as error:  # PyYAML's errors have no name without its import
        if type(error).__module__.startswith("yaml"):
            raise InvalidArgument(" ".join(str(error).split())) from None
        raise


class _Fields:
    """A mapping whose values have the types that they should have."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise InvalidArgument("not a mapping")
        self._value = value

    def text(self, name: str) -> str:
        value = self._value.get(name, "")
        if not isinstance(value, str):
            raise InvalidArgument(f"{name}: expected a text")
        return value

    def number(self, name: str) -> int | None:
        value = self._value.get(name)
        if value is not None and (type(value) is not int or value < 0):
            raise InvalidArgument(f"{name}: expected a number")
        return value

    def items(self, name: str) -> list[object]:
        value = self._value.get(name) or []
        if not isinstance(value, list):
            raise InvalidArgument(f"{name}: expected a list")
        return value

    def texts(self, name: str) -> list[str]:
        found = [item for item in self.items(name) if isinstance(item, str)]
        if len(found) != len(self.items(name)):
            raise InvalidArgument(f"{name}: expected texts")
        return found

    def map(self, name: str) -> dict[str, object]:
        value = self._value.get(name) or {}
        if not isinstance(value, dict):
            raise InvalidArgument(f"{name}: expected a mapping")
        return value


def _apply(given: dict[str, object], device: CdiDevice, around: Surroundings) -> None:
    try:
        edits = _Fields(given)
        for name in _NOT_HERE:
            if given.get(name):
                raise InvalidArgument(f"{name} are not supported")
        for text in edits.texts("env"):
            if "=" not in text or "\0" in text:
                raise InvalidArgument(f"env {text!r}: expected NAME=VALUE")
            around.device_env.append(text)
        for item in edits.items("deviceNodes"):
            _add_node(_Fields(item), around)
        for item in edits.items("mounts"):
            around.mounts.append(_mount(_Fields(item)))
        groups = [group for group in edits.items("additionalGids") if type(group) is int and group > 0]
        if groups:  # the user may be one that several containers share
            around.user = replace(around.user, additional_gids=[*around.user.additional_gids, *groups])
    except InceptionError as error:
        raise InvalidArgument(f"CDI device {device.name} ({device.path}): {error}") from None


def _add_node(node: _Fields, around: Surroundings) -> None:
    inside = _absolute(node.text("path"), "path")
    outside = node.text("hostPath") or inside
    kind = node.text("type")
    major, minor = node.number("major"), node.number("minor")
    mode, uid, gid = node.number("fileMode"), node.number("uid"), node.number("gid")
    if not kind or (kind != "p" and not major):
        found = _stat(outside)
        kind, major, minor = _kind_of(found, outside), os.major(found.st_rdev), os.minor(found.st_rdev)
        mode = stat.S_IMODE(found.st_mode) if mode is None else mode
    if kind not in ("b", "c", "u", "p"):
        raise InvalidArgument(f"deviceNodes: type {kind!r}: expected b, c, u or p")
    access = node.text("permissions") or "rwm"
    if not set(access) <= set("rwm"):
        raise InvalidArgument(f"deviceNodes: permissions {access!r}: expected some of rwm")
    around.devices = [each for each in around.devices if each.path != inside]
    mode = 0o666 if mode is None else mode
    around.devices.append(
        Device(type=kind, path=inside, major=major or 0, minor=minor or 0, file_mode=mode, uid=uid or 0, gid=gid or 0)
    )
    around.device_access[inside] = access


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except OSError as error:
        raise InvalidArgument(f"deviceNodes: {path}: {error.strerror}") from None


def _kind_of(found: os.stat_result, path: str) -> str:
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}
    try:
        return kinds[stat.S_IFMT(found.st_mode)]
    except KeyError:
        raise InvalidArgument(f"deviceNodes: {path}: not a device") from None


def _mount(mount: _Fields) -> Mount:
    inside, outside = _absolute(mount.text("containerPath"), "containerPath"), mount.text("hostPath")
    kind = mount.text("type") or "bind"
    options = mount.texts("options") or ["ro", "nosuid", "nodev", "bind"]
    if kind == "bind":
        _absolute(outside, "hostPath")
        if not ({"bind", "rbind"} & set(options)):
            options = ["rbind", *options]
    elif kind != "tmpfs":
        raise InvalidArgument(f"mounts: type {kind!r}: expected bind or tmpfs")
    return Mount(destination=inside, type=kind, source=outside or kind, options=options)


def _absolute(path: str, name: str) -> str:
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        raise InvalidArgument(f"{name} {path!r}: expected an absolute path")
    return path
