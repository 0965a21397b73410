"""Mounts, and requests for devices, as Docker's documents have them: in a create body and in `inspect`."""

from __future__ import annotations

from inception.engine.config import DeviceRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from inception.engine.config import MountConfig, ResourceConfig


def mount_body(mount: MountConfig) -> dict[str, Any]:
    """One of `HostConfig.Mounts`."""
    body: dict[str, Any] = {"Type": mount.type, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
    if mount.type == "bind":
        options: dict[str, Any] = {"Propagation": mount.propagation}
        options |= {
            "CreateMountpoint": mount.create_host_path,
            "NonRecursive": mount.non_recursive,
            "ReadOnlyNonRecursive": not mount.recursive_read_only,
            "ReadOnlyForceRecursive": mount.force_recursive_read_only,
        }
        body["BindOptions"] = {name: value for name, value in options.items() if value}
    elif mount.type == "image":
        body["ImageOptions"] = {"Subpath": mount.subpath} if mount.subpath else {}
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


def device_requests(limits: ResourceConfig) -> list[dict[str, Any]]:
    """`HostConfig.DeviceRequests`: what was asked for of CDI's devices by name comes last."""
    cdi = DeviceRequest(driver="cdi", device_ids=limits.cdi_devices)
    return [
        {
            "Driver": request.driver,
            "Count": request.count,
            "DeviceIDs": request.device_ids or None,
            "Capabilities": request.capabilities or None,
            "Options": request.options or None,
        }
        for request in [*limits.device_requests, *([cdi] if limits.cdi_devices else [])]
    ]
