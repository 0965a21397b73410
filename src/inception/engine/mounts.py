"""A mount as Docker's documents have it: in a create body and in `inspect`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.config import MountConfig


def mount_body(mount: MountConfig) -> dict[str, Any]:
    """One of `HostConfig.Mounts`."""
    body: dict[str, Any] = {"Type": mount.type, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
    if mount.type == "bind":
        options: dict[str, Any] = {"Propagation": mount.propagation}
        if mount.read_only and not mount.recursive_read_only:
            options["ReadOnlyNonRecursive"] = True
        body["BindOptions"] = {name: value for name, value in options.items() if value}
    elif mount.type == "volume":
        options = {"NoCopy": mount.no_copy, "Labels": mount.labels, "Subpath": mount.subpath}
        if mount.driver or mount.driver_options:
            options["DriverConfig"] = {"Name": mount.driver or "local", "Options": mount.driver_options}
        body["VolumeOptions"] = {name: value for name, value in options.items() if value}
    else:
        words = [option.split("=", 1) for option in mount.tmpfs_options]
        options = {"SizeBytes": mount.tmpfs_size_bytes, "Mode": mount.tmpfs_mode, "Options": words}
        body["TmpfsOptions"] = {name: value for name, value in options.items() if value}
    return {name: value for name, value in body.items() if value not in ({}, "")}
