"""Our configuration as the JSON that Docker's API takes: the other way round than `api/convert.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inception.engine.limits import DEVICE_LIMITS, LIMITS
from inception.engine.mounts import device_requests, mount_body
from inception.engine.pools import pools_of
from inception.errors import InvalidArgument
from inception.record import encode

if TYPE_CHECKING:
    from inception.engine.config import (
        ContainerConfig,
        EndpointConfig,
        MountConfig,
        NetworkConfig,
        PortBinding,
        ResourceConfig,
        UpdateConfig,
    )
    from inception.store.credentials import Credentials

_BRIDGE = "com.docker.network.bridge."


def container_body(config: ContainerConfig) -> dict[str, Any]:
    """The body of `POST /containers/create`; name and platform are the query's."""
    exposed = [*config.exposed_ports, *(f"{port.container_port}/{port.protocol}" for port in config.ports)]
    volumes = [mount.target for mount in config.mounts if mount.type == "volume" and not mount.source and not mount.labels]
    networks = dict(config.networks)
    body: dict[str, Any] = {
        "Image": config.image,
        "Cmd": config.command,
        "Entrypoint": config.entrypoint,
        "Env": config.env,
        "User": config.user,
        "WorkingDir": config.working_dir,
        "Hostname": config.hostname,
        "Domainname": config.domainname,
        "Labels": config.labels,
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.stdin_once,
        "AttachStdin": "stdin" in config.attached,
        "AttachStdout": "stdout" in config.attached,
        "AttachStderr": "stderr" in config.attached,
        "ExposedPorts": {port if "/" in port else f"{port}/tcp": {} for port in exposed},
        "Volumes": {target: {} for target in volumes},
        "HostConfig": _host(config),
    }
    if config.stop_signal:
        body["StopSignal"] = config.stop_signal
    if config.stop_timeout_s is not None:
        body["StopTimeout"] = config.stop_timeout_s
    if config.healthcheck is not None:
        body["Healthcheck"] = encode(config.healthcheck)
    if networks:
        body["NetworkingConfig"] = {"EndpointsConfig": {name: endpoint_body(each) for name, each in networks.items()}}
    return body


def _host(config: ContainerConfig) -> dict[str, Any]:
    body: dict[str, Any] = {
        "Binds": [_bind(mount) for mount in config.mounts if _is_bind_text(mount)],
        "Mounts": [mount_body(mount) for mount in config.mounts if _is_mount(mount)],
        "Tmpfs": {mount.target: _tmpfs(mount) for mount in config.mounts if mount.type == "tmpfs" and mount.short},
        "VolumesFrom": config.volumes_from,
        "NetworkMode": config.network_mode or "bridge",
        "PortBindings": _ports(config.ports),
        "PublishAllPorts": config.publish_all,
        "RestartPolicy": {"Name": config.restart.name, "MaximumRetryCount": config.restart.maximum_retries},
        "AutoRemove": config.auto_remove,
        "CapAdd": config.cap_add,
        "CapDrop": config.cap_drop,
        "SecurityOpt": config.security_opt,
        "Privileged": config.privileged,
        "ReadonlyRootfs": config.read_only,
        "PidMode": config.pid_mode,
        "IpcMode": config.ipc_mode,
        "UTSMode": config.uts_mode,
        "CgroupnsMode": config.cgroupns_mode,
        "UsernsMode": config.userns_mode,
        "CgroupParent": config.cgroup_parent,
        "ExtraHosts": [
            entry.replace("=", ":", 1) if ":" not in entry.partition("=")[0] else entry for entry in config.extra_hosts
        ],
        "Dns": config.dns,
        "DnsSearch": config.dns_search,
        "DnsOptions": config.dns_options,
        "Sysctls": config.sysctls,
        "GroupAdd": config.group_add,
        "Links": config.links,
        "Isolation": config.isolation,
        "VolumeDriver": config.volume_driver,
        "Annotations": config.annotations,
        "LogConfig": {"Type": config.log.driver, "Config": config.log.options},
        **resources_body(config.resources),
    }
    if config.init:
        body["Init"] = True
    if config.masked_paths is not None:
        body["MaskedPaths"] = config.masked_paths
    if config.readonly_paths is not None:
        body["ReadonlyPaths"] = config.readonly_paths
    if config.runtime:
        body["Runtime"] = config.runtime
    return {name: value for name, value in body.items() if value not in ("", [], {}, None)}


def resources_body(limits: ResourceConfig) -> dict[str, Any]:
    body: dict[str, Any] = {
        **{document: getattr(limits, field) for field, _flag, document in LIMITS},
        **{
            document: [{"Path": limit.path, name: limit.value} for limit in getattr(limits, field)]
            for field, _flag, document, name in DEVICE_LIMITS
        },
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "OomScoreAdj": limits.oom_score_adj,
        "ShmSize": limits.shm_size_bytes,
        "Ulimits": [{"Name": each.name, "Soft": each.soft, "Hard": each.hard} for each in limits.ulimits],
        "Devices": [
            {"PathOnHost": each.host_path, "PathInContainer": each.container_path, "CgroupPermissions": each.permissions}
            for each in limits.devices
        ],
        "DeviceCgroupRules": limits.device_cgroup_rules,
        "DeviceRequests": device_requests(limits),
    }
    return {name: value for name, value in body.items() if value}


def update_body(changes: UpdateConfig) -> dict[str, Any]:
    """The body of `POST /containers/ID/update`."""
    given = changes.__dict__
    body: dict[str, Any] = {document: given[field] for field, _flag, document in LIMITS if given.get(field) is not None}
    if changes.restart is not None:
        body["RestartPolicy"] = {"Name": changes.restart.name, "MaximumRetryCount": changes.restart.maximum_retries}
    return body


def login_fields(credentials: Credentials) -> dict[str, str]:
    """One log-in in X-Registry-Auth and X-Registry-Config."""
    fields = {
        "username": credentials.username,
        "password": credentials.password,
        "identitytoken": credentials.identity_token,
        "registrytoken": credentials.registry_token,
    }
    return {name: value for name, value in fields.items() if value}


def encode_header(document: dict[str, Any]) -> str:
    """Base64url of JSON, as log-ins are sent."""
    import base64
    import json

    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def endpoint_body(endpoint: EndpointConfig) -> dict[str, Any]:
    """One `EndpointSettings`."""
    body: dict[str, Any] = {
        "Aliases": endpoint.aliases,
        "Links": endpoint.links,
        "MacAddress": endpoint.mac_address,
        "DriverOpts": endpoint.driver_options,
        "GwPriority": endpoint.gateway_priority,
    }
    body["IPAMConfig"] = endpoint.asked_addresses
    return {name: value for name, value in body.items() if value}


def network_body(config: NetworkConfig) -> dict[str, Any]:
    """The body of `POST /networks/create`."""
    pools = pools_of(config, config.subnet, config.gateway, config.subnet6, config.gateway6)
    options = dict(config.options)
    if config.mtu:
        options.setdefault("com.docker.network.driver.mtu", str(config.mtu))
    if config.bridge_name:
        options.setdefault(f"{_BRIDGE}name", config.bridge_name)
    if not config.inter_container:
        options.setdefault(f"{_BRIDGE}enable_icc", "false")
    if not config.masquerade:
        options.setdefault(f"{_BRIDGE}enable_ip_masquerade", "false")
    if config.default_host_ip:
        options.setdefault(f"{_BRIDGE}host_binding_ipv4", config.default_host_ip)
    return {
        "Name": config.name,
        "Driver": config.driver,
        "CheckDuplicate": True,
        "Internal": config.internal,
        "Attachable": config.attachable,
        "Labels": config.labels,
        "Options": options,
        "IPAM": {"Driver": "default", "Config": pools},
        "EnableIPv4": config.ipv4,
        "EnableIPv6": config.ipv6,
    }


def _is_bind_text(mount: MountConfig) -> bool:
    """`-v`: it makes a missing host folder, which no other form asks for."""
    if mount.type == "volume":
        return mount.short and bool(mount.source) and not mount.driver
    return mount.type == "bind" and mount.create_host_path


def _is_mount(mount: MountConfig) -> bool:
    if mount.type == "volume":
        return bool(mount.source or mount.labels) and not _is_bind_text(mount)
    return not mount.short if mount.type == "tmpfs" else not mount.create_host_path


def _bind(mount: MountConfig) -> str:
    words = ["ro"] if mount.read_only else []
    if mount.propagation:
        words.append(mount.propagation)
    if mount.no_copy:
        words.append("nocopy")
    return ":".join([mount.source, mount.target, *([",".join(words)] if words else [])])


def _tmpfs(mount: MountConfig) -> str:
    given = {option.partition("=")[0] for option in mount.tmpfs_options}
    size = [f"size={mount.tmpfs_size_bytes}"] if mount.tmpfs_size_bytes and "size" not in given else []
    mode = [f"mode={mount.tmpfs_mode:o}"] if mount.tmpfs_mode != 0o1777 and "mode" not in given else []
    return ",".join([*(["ro"] if mount.read_only else []), *mount.tmpfs_options, *size, *mode])


def _ports(ports: list[PortBinding]) -> dict[str, Any]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        if port.host_port_end and not port.host_port:
            raise InvalidArgument(f"invalid port range of {port.container_port}")
        number = f"{port.host_port}-{port.host_port_end}" if port.host_port_end else str(port.host_port or "")
        found.setdefault(f"{port.container_port}/{port.protocol}", []).append({"HostIp": port.host_ip, "HostPort": number})
    return found
