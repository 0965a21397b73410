"""`Binds`, `Mounts`, `Tmpfs` and `Volumes` of a create body as mounts."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from inception.api.fields import Fields
from inception.engine.config import MountConfig
from inception.errors import InvalidArgument

_PROPAGATIONS = ("shared", "rshared", "slave", "rslave", "private", "rprivate")
# Words that change nothing on Linux without SELinux, in Docker too.
_EMPTY_WORDS = ("z", "Z", "consistent", "cached", "delegated", "default")
_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_TMPFS_VALUES = {"size": re.compile(r"\d+[bkmgBKMG%]?"), "mode": re.compile("[0-7]{1,4}")}


def mounts_of(body: Fields, host: Fields) -> list[MountConfig]:
    """All mounts of a container. Raises InvalidArgument in Docker's words."""
    driver = host.text("VolumeDriver")
    found = [parse_bind(text, driver) for text in host.strings("Binds")]
    found += [_mount(item) for item in host.objects("Mounts")]
    found += [parse_tmpfs(target, options) for target, options in host.texts("Tmpfs").items()]
    taken = {posixpath.normpath(mount.target) for mount in found}
    for target in body.keys("Volumes"):
        if posixpath.normpath(target) not in taken:
            found.append(MountConfig(type="volume", target=target, driver=driver, short=True))
    return found


def parse_bind(text: str, driver: str = "") -> MountConfig:
    """`SOURCE:TARGET[:OPTIONS]`; a source that starts with a slash is a host path, else it names a volume."""
    parts = text.split(":")
    if not 1 <= len(parts) <= 3 or "" in parts:
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    bind = source.startswith("/")
    values: dict[str, Any] = {}
    for word in parts[2].split(",") if len(parts) == 3 else ():
        if word in ("ro", "rw") and "read_only" not in values:
            values["read_only"] = word == "ro"
        elif word in _PROPAGATIONS and bind:
            values["propagation"] = word
        elif word == "nocopy" and not bind:
            values["no_copy"] = True
        elif word not in _EMPTY_WORDS:
            raise InvalidArgument(f"invalid mode: {parts[2]}")
    if not target.startswith("/"):
        raise InvalidArgument(
            f"invalid volume specification: '{text}': invalid mount path: '{target}' mount path must be absolute"
        )
    if source and not bind and not _VOLUME_NAME.fullmatch(source):
        raise InvalidArgument(
            f'create {source}: "{source}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
        )
    kind = "bind" if bind else "volume"
    return MountConfig(
        type=kind, source=source, target=target, create_host_path=bind, driver="" if bind else driver, short=True, **values
    )


def parse_tmpfs(target: str, options: str) -> MountConfig:
    """One entry of `Tmpfs`: mount options by commas, kept as they were given."""
    words = [word for word in options.split(",") if word]
    for word in words:
        name, _, value = word.partition("=")
        pattern = _TMPFS_VALUES.get(name)
        if pattern is not None and not pattern.fullmatch(value):
            raise InvalidArgument(f'invalid tmpfs option "{word}"')
    read_only = "ro" in words and "rw" not in words[words.index("ro") :]
    kept = [word for word in words if word not in ("ro", "rw")]
    return MountConfig(type="tmpfs", target=target, tmpfs_options=kept, read_only=read_only, short=True)


def _mount(item: Fields) -> MountConfig:
    kind = item.text("Type")
    bind, volume, tmpfs = item.object("BindOptions"), item.object("VolumeOptions"), item.object("TmpfsOptions")
    image = item.object("ImageOptions")
    if kind not in ("bind", "volume", "tmpfs", "image"):
        raise InvalidArgument(f'invalid mount config for type "{kind}": mount type unknown: "{kind}"')
    for family, options in (("bind", bind), ("volume", volume), ("tmpfs", tmpfs), ("image", image)):
        if options.value and family != kind:
            raise InvalidArgument(f'invalid mount config for type "{kind}": field {options.where} must not be specified')
    driver = volume.object("DriverConfig")
    return MountConfig(
        type=kind,
        source=item.text("Source"),
        target=item.text("Target"),
        read_only=item.flag("ReadOnly"),
        propagation=bind.text("Propagation"),
        recursive_read_only=not bind.flag("ReadOnlyNonRecursive"),
        create_host_path=bind.flag("CreateMountpoint"),
        subpath=image.text("Subpath") if kind == "image" else volume.text("Subpath"),
        non_recursive=bind.flag("NonRecursive"),
        force_recursive_read_only=bind.flag("ReadOnlyForceRecursive"),
        no_copy=volume.flag("NoCopy"),
        driver=driver.text("Name"),
        driver_options=driver.texts("Options"),
        labels=volume.texts("Labels"),
        tmpfs_size_bytes=tmpfs.number("SizeBytes"),
        tmpfs_mode=tmpfs.number("Mode") or 0o1777,
        tmpfs_options=[("=".join(map(str, option))) for option in tmpfs.get("Options") or []],
    )
