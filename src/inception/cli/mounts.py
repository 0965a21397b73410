"""`-v`, `--mount` and `--tmpfs` as Docker reads them.

Each `parse_` raises ValueError with Docker's words; whoever reads the flag says which one it was.
"""

from __future__ import annotations

import os

from inception.cli.values import parse_bool, parse_bytes
from inception.engine.config import MountConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROPAGATION = ("shared", "rshared", "slave", "rslave", "private", "rprivate")
_CONSISTENCY = ("consistent", "cached", "delegated")  # words for macOS that mean nothing on Linux, in Docker too


def parse_volume(text: str, driver: str = "") -> MountConfig:
    """`[SOURCE:]TARGET[:OPTIONS]`: a source with a slash or a dot in front is a host path, else the name of a volume."""
    parts = text.split(":")
    if "" in parts:
        raise ValueError(f"invalid spec: {text}: empty section between colons")
    if len(parts) > 3:
        raise ValueError(f"invalid volume specification: '{text}'")
    source, target, options = "", parts[0], ""
    if len(parts) == 2 and not os.path.isabs(parts[1]) and os.path.isabs(parts[0]) and _is_mode(parts[1]):
        options = parts[1]
    elif len(parts) > 1:
        source, target = parts[0], parts[1]
        options = parts[2] if len(parts) == 3 else ""
    _check_target(text, target)
    bind = source.startswith(("/", ".", "~"))
    if bind and source.startswith("."):
        source = os.path.abspath(source)
    if bind and not os.path.isabs(source):
        raise ValueError(f"invalid volume specification: '{text}': the shell expands ~ only at the start of a word")
    values = _volume_options(text, options, bind)
    return MountConfig(
        type="bind" if bind else "volume",
        source=source,
        target=os.path.normpath(target),
        create_host_path=bind,
        driver="" if bind else driver,
        short=True,
        **values,
    )


def _is_mode(word: str) -> bool:
    return all(part in ("ro", "rw", "z", "Z", "nocopy", *_PROPAGATION, *_CONSISTENCY) for part in word.split(","))


def _check_target(text: str, target: str) -> None:
    if not os.path.isabs(target):
        raise ValueError(f"invalid volume specification: '{text}': invalid mount path: '{target}' mount path must be absolute")
    if os.path.normpath(target) in ("/", "//"):
        raise ValueError(f"invalid volume specification: '{text}': invalid specification: destination can't be '/'")


def _volume_options(text: str, options: str, bind: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word in options.split(",") if options else ():
        if word in ("ro", "rw") and "read_only" not in values:
            values["read_only"] = word == "ro"
        elif word in _PROPAGATION and bind and "propagation" not in values:
            values["propagation"] = word
        elif word == "nocopy" and not bind:
            values["no_copy"] = True
        elif word in ("z", "Z"):
            _check_relabel(word)
        elif word not in _CONSISTENCY:
            raise ValueError(f"invalid volume specification: '{text}': invalid mode: {options}")
    return values


def _check_relabel(word: str) -> None:
    # Without SELinux there is no label to change, and nothing is what Docker does then.
    if os.path.exists("/sys/fs/selinux/enforce"):
        raise ValueError(f"the option {word} is not supported: files are not relabelled for SELinux")


def parse_tmpfs(text: str) -> MountConfig:
    """`PATH[:OPTIONS]`, the options as mount(8) takes them."""
    target, _, options = text.partition(":")
    _check_target(text, target)
    size_bytes, mode, rest = 0, 0o1777, []
    for word in options.split(",") if options else ():
        key, equals, value = word.partition("=")
        if key == "size" and equals and not value.endswith("%"):
            size_bytes = parse_bytes(value)
        elif key == "mode" and equals:
            mode = _parse_mode(value)
        else:
            rest.append(word)
    return MountConfig(
        type="tmpfs",
        target=os.path.normpath(target),
        tmpfs_size_bytes=size_bytes,
        tmpfs_mode=mode,
        tmpfs_options=rest,
        short=True,
    )


def _parse_mode(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise ValueError(f"invalid value for tmpfs-mode: {text}") from None


def _fields(text: str) -> list[str]:
    if '"' not in text:
        return text.split(",")
    import csv  # only for quoted fields: `"volume-opt=o=addr=10.0.0.1,rw"`

    try:
        return next(csv.reader([text], strict=True), [])
    except csv.Error as error:
        raise ValueError(f"parse error on line 1: {error}") from None


def parse_mount(text: str) -> MountConfig:
    """A `--mount`: comma-separated `key=value` fields, quoted as CSV where a value holds a comma."""
    values: dict[str, Any] = {"type": "volume", "target": "", "source": ""}
    options: dict[str, str] = {}
    labels: dict[str, str] = {}
    families: list[str] = []
    for field in _fields(text):
        key, equals, value = field.partition("=")
        if key != key.strip():
            raise ValueError(f"invalid option '{key.strip()}' in '{field}': option should not have whitespace")
        if equals and value != value.strip() and key.lower() != "volume-opt":
            raise ValueError(f"invalid value for '{key}' in '{field}': value should not have whitespace")
        key = key.lower()
        if not equals and key not in ("readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"):
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if key.partition("-")[0] in ("bind", "volume", "tmpfs", "image"):
            families.append(key.partition("-")[0])
        if key == "volume-opt":
            name, _, option = value.partition("=")
            options[name] = option
        elif key == "volume-label":
            name, _, option = value.partition("=")
            labels[name] = option
        else:
            _set_field(values, key, value if equals else "true", field)
    return _mount_of(values, options, labels, families)


def _set_field(values: dict[str, Any], key: str, value: str, field: str) -> None:
    """One `key=value` of a --mount into the fields of MountConfig."""
    names = {
        "type": "type",
        "source": "source",
        "src": "source",
        "target": "target",
        "dst": "target",
        "destination": "target",
        "bind-propagation": "propagation",
        "volume-driver": "driver",
        "volume-subpath": "subpath",
        "image-subpath": "subpath",
    }
    if key in names:
        values[names[key]] = value.lower() if key in ("type", "bind-propagation") else value
    elif key in ("readonly", "ro"):
        values["read_only"] = _flag(key, value)
    elif key == "volume-nocopy":
        values["no_copy"] = _flag(key, value)
    elif key == "bind-create-src":
        values["create_host_path"] = _flag(key, value)
    elif key == "bind-recursive":
        _set_recursive(values, value)
    elif key == "bind-nonrecursive":
        if _flag(key, value):
            _set_recursive(values, "disabled")
    elif key == "tmpfs-size":
        try:
            values["tmpfs_size_bytes"] = parse_bytes(value)
        except ValueError:
            raise ValueError(f"invalid value for {key}: {value}") from None
    elif key == "tmpfs-mode":
        values["tmpfs_mode"] = _parse_mode(value)
    elif key == "consistency" and value in (*_CONSISTENCY, "default"):
        pass
    else:
        raise ValueError(f"unexpected key '{key}' in '{field}'")


def _flag(key: str, value: str) -> bool:
    try:
        return parse_bool(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _set_recursive(values: dict[str, Any], value: str) -> None:
    if value not in ("enabled", "disabled", "writable", "readonly"):
        raise ValueError(
            f'invalid value for bind-recursive: {value} (must be "enabled", "disabled", "writable", or "readonly")'
        )
    values["non_recursive"] = value == "disabled"
    values["recursive_read_only"] = value != "writable"
    values["force_recursive_read_only"] = value == "readonly"


def _check_recursive(values: dict[str, Any]) -> None:
    for field, meant, option in (("recursive_read_only", False, "writable"), ("force_recursive_read_only", True, "readonly")):
        if values.get(field, not meant) is meant and not values.get("read_only"):
            raise ValueError(f"option 'bind-recursive={option}' requires 'readonly' to be specified in conjunction")
    if values.get("force_recursive_read_only") and values.get("propagation") != "rprivate":
        raise ValueError("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be specified in conjunction")


def _mount_of(values: dict[str, Any], options: dict[str, str], labels: dict[str, str], families: list[str]) -> MountConfig:
    kind, target = str(values["type"]), str(values["target"])
    if kind not in ("bind", "volume", "tmpfs", "image"):
        known = kind in ("cluster", "npipe")
        raise ValueError(f"mount type {kind} is not supported" if known else f"mount type unknown: '{kind}'")
    if not target:
        raise ValueError("target is required")
    for family in families:
        if family != kind:
            raise ValueError(f"cannot mix '{family}-*' options with mount type '{kind}'")
    if not os.path.isabs(target):
        raise ValueError(f"invalid mount target, must be an absolute path: {target}")
    if os.path.normpath(target) in ("/", "//"):
        raise ValueError("invalid specification: destination can't be '/'")
    source = str(values["source"])
    if kind == "image" and not source:
        raise ValueError('invalid mount config for type "image": field Source must not be empty')
    if kind == "bind":
        _check_recursive(values)
        if not source:
            raise ValueError('invalid mount config for type "bind": field Source must not be empty')
        if values.get("propagation", "rprivate") not in _PROPAGATION:
            raise ValueError(f"invalid propagation mode: {values['propagation']}")
        source = os.path.abspath(source) if source.startswith(".") else source
        if not os.path.isabs(source):
            raise ValueError(
                f"invalid mount config for type \"bind\": invalid mount path: '{source}' mount path must be absolute"
            )
    if kind == "tmpfs" and source:
        raise ValueError('invalid mount config for type "tmpfs": field Source must not be specified')
    fields = {**values, "source": source, "target": os.path.normpath(target)}
    return MountConfig(driver_options=options, labels=labels, **fields)
